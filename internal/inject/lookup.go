package inject

import (
	"slices"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/reason"
)

// Lookup asks what the image of a container says. A plan says what it would want to know; package admission finds out,
// and makes another plan with the answers in its Setting.
type Lookup struct {
	// Container that has the image.
	Container string
	Query     imageconfig.Query
	// Required is set where the registry is worth asking. Otherwise only what is known already is of use: it may name a
	// stop signal.
	Required bool
}

// LookedUp is the answer to a Lookup.
type LookedUp struct {
	Image imageconfig.Image
	// Failure is why there is no Image; nil if there is one.
	Failure *imageconfig.Failure
	// Stale is set where the registry does not answer, and Image is what it said before.
	Stale bool
	// NodesDiffer is set where a node holds another image than this one under the tag.
	NodesDiffer bool
}

// appendLookup appends the question about the container's image, if there is one.
func (s *subject) appendLookup(to []Lookup) []Lookup {
	if s.ImagePullPolicy == "Never" || s.image.invalid != nil {
		return to
	}
	required := s.image.before.Source != "" || s.choice.noFlags && saysStopSignal(s.container)
	if !s.pod.replacedInPlace() {
		_, known := s.pod.user(s.container)
		// The image says what runs without a command, and as which user.
		required = required || len(s.Command) == 0 && !s.specified() || !known && changesUser(&s.SecurityContext)
	}
	reference := s.image.Reference
	q := imageconfig.Query{
		Reference: reference, Namespace: s.setting.Namespace, Architectures: s.architectures, PullSecrets: s.pod.pullSecrets,
		// A node that asks the registry for each container runs what the tag stands for now. So does one whose image is pinned.
		Fresh: !reference.Pinned() && (s.alwaysPulled() || s.setting.Profile.Pins()),
	}
	return append(to, Lookup{Container: s.Name, Query: q, Required: required})
}

// specified says whether the Pod or the profile says what the container's image runs.
func (s *subject) specified() bool {
	annotated := has(s.pod.Metadata.Annotations, v1alpha1.EntrypointAnnotation+s.Name)
	return s.Image != "" && (annotated || s.setting.Profile.Entrypoint(s.Image) != nil)
}

// replacedInPlace says whether the Pod's images may be replaced while it runs. A command cannot be.
func (p *Pod) replacedInPlace() bool {
	return slices.ContainsFunc(p.Spec.ReadinessGates, func(g readinessGate) bool { return g.ConditionType == "InPlaceUpdateReady" })
}

// failedLookup is the Skip for a lookup that has failed.
func failedLookup(f *imageconfig.Failure) reason.Skip {
	s := reason.NewSkip(f.Reason, f.Error())
	s.Correctable = s.Correctable && !f.Transient
	return s
}
