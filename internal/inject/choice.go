package inject

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podinit/podinit/api/v1alpha1"
)

// choice is what a Pod's annotations choose: which containers are wrapped, and with which flags.
type choice struct {
	// only these are wrapped; nil if the profile decides.
	only map[string]bool
	// skip are left alone.
	skip map[string]bool
	// noFlags is set where annotations with flags do not count.
	noFlags bool
}

// newChoice reads the annotations, and says which of the names in them are of no container. Where the profile does not
// let Pods choose, it says that they are ignored.
func newChoice(pod *Pod, free bool) (choice, []Ignored) {
	annotations := pod.Metadata.Annotations
	var ignored []Ignored
	var existing map[string]bool // a set, since whoever writes a Pod could make lists of any length
	unknown := func(key, value, name string) {
		if existing == nil {
			existing = pod.containerNames()
		}
		if !existing[name] && len(ignored) < maxIgnored {
			ignored = append(ignored, Ignored{Wish: fmt.Sprintf("%s: %q", key, value), Reason: v1alpha1.ReasonUnknownContainer, Correctable: true})
		}
	}
	fixed := func(key string) {
		if len(ignored) < maxIgnored {
			ignored = append(ignored, Ignored{Wish: fmt.Sprintf("%s: %q", key, annotations[key]), Reason: v1alpha1.ReasonProfileFixed, Correctable: true})
		}
	}
	names := func(key string) map[string]bool {
		if !free && has(annotations, key) {
			fixed(key)
			return nil
		}
		var names map[string]bool
		for _, name := range strings.Split(annotations[key], ",") {
			if name = strings.TrimSpace(name); name != "" {
				if names == nil {
					names = map[string]bool{}
				}
				names[name] = true
				unknown(key, name, name)
			}
		}
		return names
	}
	c := choice{only: names(v1alpha1.ContainersAnnotation), skip: names(v1alpha1.SkipContainersAnnotation), noFlags: !free}

	var keys []string
	for key := range annotations {
		if strings.HasPrefix(key, v1alpha1.FlagsAnnotation) || strings.HasPrefix(key, v1alpha1.EntrypointAnnotation) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		if !free && strings.HasPrefix(key, v1alpha1.FlagsAnnotation) {
			fixed(key)
			continue
		}
		_, name, _ := strings.Cut(key[len(v1alpha1.Group):], ".")
		unknown(key, annotations[key], name)
	}
	return c, ignored
}

// containerNames are the names of the Pod's containers and initContainers that are not ours.
func (p *Pod) containerNames() map[string]bool {
	names := map[string]bool{}
	for _, containers := range [][]container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range containers {
			names[containers[i].Name] = true
		}
	}
	delete(names, CopierName)
	return names
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
	case p.choice.skip[c.Name]:
		return v1alpha1.ReasonNotChosen
	case p.choice.only[c.Name]:
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
