package inject

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podinit/podinit/api/v1alpha1"
)

// choice is which containers a Pod's annotations choose.
type choice struct {
	// only these are wrapped; nil if the profile decides.
	only []string
	// skip are left alone.
	skip []string
}

// newChoice reads the annotations, and says which of the names in them are of no container.
func newChoice(pod *Pod) (choice, []Ignored) {
	annotations := pod.Metadata.Annotations
	var ignored []Ignored
	unknown := func(key, value, name string) {
		if !pod.hasContainer(name) {
			ignored = append(ignored, Ignored{Wish: fmt.Sprintf("%s: %q", key, value), Reason: v1alpha1.ReasonUnknownContainer})
		}
	}
	names := func(key string) []string {
		var names []string
		for _, name := range strings.Split(annotations[key], ",") {
			if name = strings.TrimSpace(name); name != "" {
				names = append(names, name)
				unknown(key, name, name)
			}
		}
		return names
	}
	c := choice{only: names(v1alpha1.ContainersAnnotation), skip: names(v1alpha1.SkipContainersAnnotation)}

	var keys []string
	for key := range annotations {
		if strings.HasPrefix(key, v1alpha1.FlagsAnnotation) || strings.HasPrefix(key, v1alpha1.EntrypointAnnotation) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		_, name, _ := strings.Cut(key[len(v1alpha1.Group):], ".")
		unknown(key, annotations[key], name)
	}
	return c, ignored
}

// hasContainer says whether the Pod has a container or an initContainer of that name which is not ours.
func (p *Pod) hasContainer(name string) bool {
	named := func(c container) bool { return c.Name == name }
	return name != copierName && (slices.ContainsFunc(p.Spec.Containers, named) || slices.ContainsFunc(p.Spec.InitContainers, named))
}

// kind is what a container is to its Pod.
type kind int

const (
	regular kind = iota
	// sidecar is an initContainer with restartPolicy Always (KEP-753).
	sidecar
	initContainer
)

func kindOf(c *container, list string) kind {
	switch {
	case list == "containers":
		return regular
	case c.RestartPolicy == "Always":
		return sidecar
	}
	return initContainer
}

// leaveOut says why a container is not even looked at, or "". A Pod that names its containers chooses freely among
// them; otherwise the profile says what is wrapped.
func (p *Plan) leaveOut(c *container, k kind) v1alpha1.Reason {
	policy := p.profile.spec.Containers
	switch {
	case slices.Contains(p.choice.skip, c.Name):
		return v1alpha1.ReasonNotChosen
	case slices.Contains(p.choice.only, c.Name):
		return ""
	case p.choice.only != nil:
		return v1alpha1.ReasonNotChosen
	case slices.Contains(policy.Exclude, c.Name):
		return v1alpha1.ReasonExcludedByProfile
	case k == sidecar && !policy.Sidecars:
		return v1alpha1.ReasonSidecar
	case k == initContainer && !policy.InitContainers:
		return v1alpha1.ReasonInitContainer
	}
	return ""
}
