package inject

import (
	"encoding/json"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/internal/imageconfig"
)

// Lookup asks what the image of a container says. A plan says what it would want to know; whoever can find out makes
// another plan with the answers in its Setting.
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
}

// lookUp adds a question about a container to the plan.
func (p *Plan) lookUp(c *container) {
	if c.ImagePullPolicy == "Never" {
		return
	}
	required := len(c.Command) == 0 && !p.told(c) && !p.replacedInPlace
	if _, asked := p.askedBefore(c); asked {
		required = true
	}
	reference, err := imageconfig.ParseReference(c.Image)
	if err != nil {
		return
	}
	q := imageconfig.Query{
		Reference: reference, Namespace: p.setting.Namespace, Fresh: c.ImagePullPolicy == "Always", Architectures: p.architectures,
		PullSecrets: p.pullSecrets,
	}
	p.Lookups = append(p.Lookups, Lookup{Container: c.Name, Query: q, Required: required})
}

// told says whether the Pod or the profile says what the container's image runs.
func (p *Plan) told(c *container) bool {
	return c.Image != "" && (has(p.pod.Metadata.Annotations, v1alpha1.EntrypointAnnotation+c.Name) || p.profile.entrypoint(c.Image) != nil)
}

// lookedUp is what the container's image says according to its registry; not ok if that is not known. The failure
// says why, if somebody has tried.
func (p *Plan) lookedUp(c *container) (config imageconfig.Config, digest string, failure *imageconfig.Failure, ok bool) {
	found, ok := p.setting.Images[c.Name]
	if !ok || found.Failure != nil {
		return imageconfig.Config{}, "", found.Failure, false
	}
	if config, failure = found.Image.On(p.architectures); failure != nil {
		return imageconfig.Config{}, "", failure, false
	}
	return config, found.Image.Digest, nil, true
}

// readLists reads once what holds for all containers.
func (p *Plan) readLists() {
	for _, s := range p.pod.Spec.ImagePullSecrets {
		p.pullSecrets = append(p.pullSecrets, s.Name)
	}
	p.architectures = architectures(p.pod.Spec, p.setting.Architectures)
	p.replacedInPlace = slices.ContainsFunc(p.pod.Spec.ReadinessGates, func(g readinessGate) bool { return g.ConditionType == "InPlaceUpdateReady" })
}

// architectures are those on which a Pod can run: what it asks for itself, or else those that there are; nil if that is
// not known.
func architectures(spec *spec, all []string) []string {
	const label = "kubernetes.io/arch"
	if own := spec.NodeSelector[label]; own != "" {
		return []string{own}
	}
	var own []string
	for _, term := range spec.Affinity.NodeAffinity.Required.Terms {
		i := slices.IndexFunc(term.MatchExpressions, func(r nodeSelectorRequirement) bool { return r.Key == label && r.Operator == "In" })
		if i < 0 {
			return all // terms are alternatives, and this one leaves it open
		}
		own = append(own, term.MatchExpressions[i].Values...)
	}
	if len(own) == 0 {
		return all
	}
	slices.Sort(own)
	return slices.Compact(own)
}

// stopSignal is what the runtime stops the container with: what the Pod says, or else what the image does; 0 if that is
// SIGTERM, or not known.
func (p *Plan) stopSignal(c *container) options.Signal {
	config, _, _, known := p.lookedUp(c)
	for _, word := range []string{c.Lifecycle.StopSignal, config.StopSignal} {
		if s, ok := options.ParseSignal(word); ok {
			if s == sigterm {
				return 0
			}
			return s
		}
	}
	if !known && wrapped(c) {
		before, _, _ := options.Parse(options.Default(), c.Command[1:])
		return before.StopSignal
	}
	return 0
}

// wrapped says whether an earlier call has wrapped the container.
func wrapped(c *container) bool { return len(c.Command) > 0 && c.Command[0] == initPath }

// askedBefore is what the status says of a wrapped container whose command an earlier call had from the registry. That
// call may have been another replica's, which knows what this one does not. It is repeated, and decides nothing but
// that the registry is asked again.
func (p *Plan) askedBefore(c *container) (v1alpha1.ContainerStatus, bool) {
	if !wrapped(c) {
		return v1alpha1.ContainerStatus{}, false
	}
	if p.before == nil {
		p.before = &v1alpha1.Status{}
		_ = json.Unmarshal([]byte(p.pod.Metadata.Annotations[v1alpha1.StatusAnnotation]), p.before) // it may be anything
	}
	s := p.before.Containers[c.Name]
	_, err := v1.NewHash(s.Digest)
	return s, s.Source == v1alpha1.SourceRegistry && err == nil
}

// sigterm starts the drain anyway.
const sigterm options.Signal = 15

// pin is the container's image with the digest that was looked up, so that no node runs another; "" if it is to stay as
// it is. The tag stays, for people and policies to read.
func (p *Plan) pin(d *Decision) string {
	reference, err := imageconfig.ParseReference(d.container.Image)
	_, digest, _, known := p.lookedUp(d.container)
	if p.profile.spec.PinDigest != v1alpha1.PinOnLookup || d.Source != v1alpha1.SourceRegistry || !known || digest == "" || err != nil || reference.Pinned() {
		return ""
	}
	return d.container.Image + "@" + digest
}
