package inject

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/reason"
)

// choice is what a Pod's annotations choose: which containers are wrapped, and with which flags.
type choice struct {
	// only these are wrapped; nil if the profile decides.
	only map[string]bool
	// skipped are left alone.
	skipped map[string]bool
	// noFlags is set where annotations with flags do not count.
	noFlags bool
}

// newChoice reads the annotations, and says which of the names in them are of no container. Where the profile does not
// let Pods choose, it says that they are ignored.
func newChoice(pod *Pod, free bool) (choice, []reason.Ignored) {
	annotations := pod.Metadata.Annotations
	var ignored []reason.Ignored
	var existing map[string]bool // a set, since the Pod's lists may have any length
	ignore := func(key, value string, r v1alpha1.Reason) {
		if len(ignored) < maxIgnored {
			ignored = append(ignored, reason.Ignored{Setting: fmt.Sprintf("%s: %q", key, value), Skip: reason.NewSkip(r, "")})
		}
	}
	unknown := func(key, value, name string) {
		if existing == nil {
			existing = pod.containerNames()
		}
		if !existing[name] {
			ignore(key, value, v1alpha1.ReasonUnknownContainer)
		}
	}
	fixed := func(key string) { ignore(key, annotations[key], v1alpha1.ReasonProfileFixed) }
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
	c := choice{only: names(v1alpha1.ContainersAnnotation), skipped: names(v1alpha1.SkipContainersAnnotation), noFlags: !free}

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
	for c := range p.containers() {
		names[c.Name] = true
	}
	delete(names, CopierName)
	return names
}
