package inject

import (
	"cmp"
	"slices"
	"strings"

	"github.com/podinit/podinit/internal/imageconfig"
)

// mayNotSignal says whether the init may lack the right to signal the container's program: gosu, su-exec and setpriv become
// another user, and a process may signal those of others only with CAP_KILL (kill(2)). A program that does not run as root cannot
// become another user. Of a container that an earlier call has wrapped, that call may have known its image.
func (s *subject) mayNotSignal() bool {
	if !changesUser(&s.SecurityContext) {
		return false
	}
	root, known := s.pod.user(s.container)
	if !known && len(s.image.configs) > 0 {
		root, known = slices.ContainsFunc(s.image.configs, rootImage), true
	}
	return known && root || !known && !wrapped(s.container)
}

// changesUser says whether root in a container can become another user, and then not signal it.
func changesUser(sc *securityContext) bool {
	return !sc.Privileged && sc.Capabilities.has("SETUID") && !sc.Capabilities.has("KILL")
}

// has says whether a container has one of the capabilities that runtimes give by default, as KILL and SETUID are. What is added
// goes before ALL that is dropped, and what is dropped by name before that (containerd, internal/cri/opts).
func (c capabilities) has(name string) bool {
	names := func(list []string, name string) bool {
		return slices.ContainsFunc(list, func(s string) bool {
			return strings.TrimPrefix(strings.ToUpper(s), "CAP_") == name
		})
	}
	return !names(c.Drop, name) && (names(c.Add, name) || !names(c.Drop, "ALL"))
}

// user says whether the container's program starts as root, as far as the Pod says it.
func (p *Pod) user(c *container) (root, known bool) {
	own, pods := &c.SecurityContext, &p.Spec.SecurityContext
	id, nonRoot := cmp.Or(own.RunAsUser, pods.RunAsUser), cmp.Or(own.RunAsNonRoot, pods.RunAsNonRoot)
	switch {
	case id != nil:
		return *id == 0, true
	case nonRoot != nil && *nonRoot:
		return false, true
	}
	return false, false
}

// rootImage says whether an image's USER is root.
func rootImage(config imageconfig.Config) bool {
	name, _, _ := strings.Cut(config.User, ":")
	return name == "root" || strings.Trim(name, "0") == ""
}
