package inject_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/test/pods"
)

// scc is what of an OpenShift SecurityContextConstraints could concern the copier. Its methods do what
// pkg/securitycontextconstraints of openshift/apiserver-library-go does with that (sccmatching/provider.go, capabilities/
// mustrunas.go, seccomp/strategy.go, user/*.go), which no module proxy has.
type scc struct {
	name string
	// user is the strategy: RunAsAny, MustRunAsNonRoot or MustRunAsRange.
	user string
	// seccomp are the profiles that may be set; the first is the default.
	seccomp []string
	// anyCapability has capabilities not looked at.
	anyCapability                     bool
	requiredDrop, defaultAdd, allowed []corev1.Capability
	noEscalation, anySELinux          bool
}

// sccs are those that OpenShift 4.20 has, in the order in which they are tried (by priority, then the most restrictive first),
// and before them one of an administrator's own. Those of hostPath and host networks differ in nothing that is looked at here.
var sccs = []scc{
	{name: "own", user: "MustRunAsNonRoot", requiredDrop: []corev1.Capability{"NET_RAW"}, defaultAdd: []corev1.Capability{"CHOWN"}},
	{name: "anyuid", user: "RunAsAny", requiredDrop: []corev1.Capability{"MKNOD"}},
	{name: "restricted-v2", user: "MustRunAsRange", seccomp: []string{"RuntimeDefault"}, requiredDrop: []corev1.Capability{"ALL"}, allowed: []corev1.Capability{"NET_BIND_SERVICE"}, noEscalation: true},
	{name: "restricted", user: "MustRunAsRange", requiredDrop: []corev1.Capability{"KILL", "MKNOD", "SETUID", "SETGID"}},
	{name: "nonroot-v2", user: "MustRunAsNonRoot", seccomp: []string{"RuntimeDefault"}, requiredDrop: []corev1.Capability{"ALL"}, allowed: []corev1.Capability{"NET_BIND_SERVICE"}, noEscalation: true},
	{name: "nonroot", user: "MustRunAsNonRoot", requiredDrop: []corev1.Capability{"KILL", "MKNOD", "SETUID", "SETGID"}},
	{name: "hostmount-anyuid", user: "RunAsAny", requiredDrop: []corev1.Capability{"MKNOD"}},
	{name: "privileged", user: "RunAsAny", seccomp: []string{"*"}, anyCapability: true, anySELinux: true},
}

// The namespace's range, as its annotations openshift.io/sa.scc.uid-range and sa.scc.mcs give it.
const (
	firstUser, lastUser = 1000680000, 1000689999
	seLinuxLevel        = "s0:c26,c15"
)

// assign gives a pod what the SCC has it have; an error says what it does not allow.
func (s scc) assign(pod *corev1.Pod) (*corev1.Pod, error) {
	pod = pod.DeepCopy()
	if pod.Spec.SecurityContext == nil {
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	sc := pod.Spec.SecurityContext
	if sc.SELinuxOptions == nil && !s.anySELinux {
		sc.SELinuxOptions = &corev1.SELinuxOptions{Level: seLinuxLevel}
	}
	if sc.SeccompProfile == nil && len(s.seccomp) > 0 && s.seccomp[0] != "*" {
		sc.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileType(s.seccomp[0])}
	}
	problems := []error{s.profile(sc.SeccompProfile)}
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			if err := s.container(sc, &containers[i]); err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", containers[i].Name, err))
			}
		}
	}
	return pod, errors.Join(problems...)
}

func (s scc) profile(p *corev1.SeccompProfile) error {
	switch {
	case slices.Contains(s.seccomp, "*"), p == nil && len(s.seccomp) == 0:
		return nil
	case p != nil && slices.Contains(s.seccomp, string(p.Type)):
		return nil
	case len(s.seccomp) == 0:
		return errors.New("seccomp may not be set")
	}
	return errors.New("not an allowed seccomp profile")
}

func (s scc) container(pods *corev1.PodSecurityContext, c *corev1.Container) error {
	if c.SecurityContext == nil {
		c.SecurityContext = &corev1.SecurityContext{}
	}
	sc, problems := c.SecurityContext, []error(nil)
	user := func() *int64 {
		if sc.RunAsUser != nil {
			return sc.RunAsUser
		}
		return pods.RunAsUser
	}
	if user() == nil && s.user == "MustRunAsRange" {
		sc.RunAsUser = new(int64(firstUser))
	}
	if sc.RunAsNonRoot == nil && pods.RunAsNonRoot == nil && (user() == nil && s.user == "MustRunAsNonRoot" || user() != nil && *user() > 0) {
		sc.RunAsNonRoot = new(true)
	}
	s.capabilities(sc)
	if s.noEscalation && sc.AllowPrivilegeEscalation == nil {
		sc.AllowPrivilegeEscalation = new(false)
	}
	switch nonRoot := sc.RunAsNonRoot; {
	case s.user == "MustRunAsRange" && (*user() < firstUser || *user() > lastUser):
		problems = append(problems, fmt.Errorf("user %d is not of the namespace's range", *user()))
	case s.user == "MustRunAsNonRoot" && (user() != nil && *user() == 0 || user() == nil && (nonRoot == nil || !*nonRoot)):
		problems = append(problems, errors.New("it may run as root"))
	}
	profile := sc.SeccompProfile
	if profile == nil {
		profile = pods.SeccompProfile
	}
	problems = append(problems, s.profile(profile), s.mayHave(sc))
	if s.noEscalation && *sc.AllowPrivilegeEscalation {
		problems = append(problems, errors.New("privilege escalation is not allowed"))
	}
	if own := sc.SELinuxOptions; own != nil && own.Level != seLinuxLevel && !s.anySELinux {
		problems = append(problems, errors.New("SELinux level"))
	}
	return errors.Join(problems...)
}

func (s scc) capabilities(sc *corev1.SecurityContext) {
	var add, drop []corev1.Capability
	if sc.Capabilities != nil {
		add, drop = sc.Capabilities.Add, sc.Capabilities.Drop
	}
	both := func(a, b []corev1.Capability) []corev1.Capability {
		all := slices.Concat(a, b)
		slices.Sort(all)
		return slices.Compact(all)
	}
	defaults := slices.DeleteFunc(slices.Clone(s.defaultAdd), func(c corev1.Capability) bool { return slices.Contains(drop, c) })
	allAdd, allDrop := both(add, defaults), both(drop, s.requiredDrop)
	if len(allAdd) != len(both(add, nil)) || len(allDrop) != len(both(drop, nil)) {
		sc.Capabilities = &corev1.Capabilities{Add: allAdd, Drop: allDrop}
	}
}

func (s scc) mayHave(sc *corev1.SecurityContext) error {
	if s.anyCapability || sc.Capabilities == nil {
		return nil
	}
	for _, c := range sc.Capabilities.Add {
		if !slices.Contains(s.allowed, c) && !slices.Contains(s.defaultAdd, c) {
			return fmt.Errorf("capability %s may not be added", c)
		}
	}
	for _, c := range s.requiredDrop {
		if !slices.Contains(sc.Capabilities.Drop, c) {
			return fmt.Errorf("%s is required to be dropped", c)
		}
	}
	return nil
}

// admit is the SCC plugin with these SCCs: the first that allows the pod, and the pod as that has it. Its last check, after all
// webhooks, may change nothing.
func admit(t *testing.T, granted []scc, raw []byte, mayChange bool) (by string, admitted []byte, err error) {
	t.Helper()
	pod := &corev1.Pod{}
	if err := json.Unmarshal(raw, pod); err != nil {
		t.Fatal(err)
	}
	var problems []error
	for _, s := range granted {
		assigned, err := s.assign(pod)
		if err == nil && !mayChange && !equality.Semantic.DeepEqual(pod.Spec, assigned.Spec) {
			err = errors.New("it would change the pod")
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", s.name, err))
			continue
		}
		if assigned.Annotations == nil {
			assigned.Annotations = map[string]string{}
		}
		assigned.Annotations["openshift.io/scc"] = s.name
		admitted, err := json.Marshal(assigned)
		if err != nil {
			t.Fatal(err)
		}
		return s.name, admitted, nil
	}
	return "", nil, errors.Join(problems...)
}

// admission is what an OpenShift apiserver does with a pod, with podinit or without.
func admission(t *testing.T, granted []scc, raw []byte, setting inject.Setting, podinit bool) (by string, pod *corev1.Pod, err error) {
	t.Helper()
	by, raw, err = admit(t, granted, raw, true)
	if err != nil {
		return "", nil, err
	}
	if podinit {
		// The plugin, then podinit, and both once more, since each has changed something.
		for range 2 {
			once, err := mutate(raw, setting)
			if err != nil {
				t.Fatal(err)
			}
			if once.patch == nil {
				break
			}
			if _, raw, err = admit(t, granted, once.pod, true); err != nil {
				return "", nil, fmt.Errorf("the second call: %w", err)
			}
		}
		if by, raw, err = admit(t, granted, raw, false); err != nil {
			return "", nil, fmt.Errorf("the last check: %w", err)
		}
	}
	pod = &corev1.Pod{}
	return by, pod, json.Unmarshal(raw, pod)
}

// Whichever SCC admits a pod, it admits the wrapped one, and gives its containers what it gave them without podinit.
func TestSecurityContextConstraints(t *testing.T) {
	const unset = `{"metadata":{"name":"app"},"spec":{"containers":[{"name":"app","image":"r/app:1","command":["app"]}]}}`
	for name, pod := range map[string]string{
		"root image": unset,
		"fixed user": `{"metadata":{"name":"app"},"spec":{"securityContext":{"runAsUser":1001,"fsGroup":1001},"containers":[{"name":"app","image":"r/app:1","command":["app"]}]}}`,
		"root":       `{"metadata":{"name":"app"},"spec":{"securityContext":{"runAsUser":0},"containers":[{"name":"app","image":"r/app:1","command":["app"]}]}}`,
		"restricted": `{"metadata":{"name":"app"},"spec":{"securityContext":{"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}},"containers":[{"name":"app","image":"r/app:1","command":["app"],"securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}]}}`,
		"own profile": `{"metadata":{"name":"app"},"spec":{"containers":[{"name":"app","image":"r/app:1","command":["app"],
			"securityContext":{"seccompProfile":{"type":"RuntimeDefault"}}}]}}`,
	} {
		admitted := 0
		for i := range sccs {
			for _, granted := range [][]scc{sccs[i : i+1], sccs[i:]} {
				before, plain, err := admission(t, granted, []byte(pod), selected, false)
				if err != nil {
					continue
				}
				admitted++
				after, wrapped, err := admission(t, granted, []byte(pod), selected, true)
				if err != nil || after != before {
					t.Errorf("%s: SCC %s admitted the pod, and with podinit it is %q: %v", name, before, after, err)
					continue
				}
				if len(wrapped.Spec.InitContainers) != 1 {
					t.Fatalf("%s: it is not wrapped", name)
				}
				if want, got := plain.Spec.Containers[0].SecurityContext, wrapped.Spec.Containers[0].SecurityContext; !equality.Semantic.DeepEqual(want, got) {
					t.Errorf("%s: under SCC %s the container's securityContext is %v, and with podinit %v", name, before, want, got)
				}
				if !equality.Semantic.DeepEqual(plain.Spec.SecurityContext, wrapped.Spec.SecurityContext) {
					t.Errorf("%s: under SCC %s podinit changes the pod's securityContext", name, before)
				}
			}
		}
		if admitted == 0 {
			t.Errorf("%s: no SCC admits it, so nothing was tested", name)
		}
	}
}

// The same for generated pods.
func TestSecurityContextConstraintsOfGeneratedPods(t *testing.T) {
	admitted := map[string]int{}
	for seed := range uint64(*podCount / 3) {
		r := rand.New(rand.NewPCG(seed, 2))
		setting, granted := generateSetting(t, r), sccs[r.IntN(len(sccs)):]
		raw, err := json.Marshal(pods.Generate(r))
		if err != nil {
			t.Fatal(err)
		}
		before, _, err := admission(t, granted, raw, setting, false)
		if err != nil {
			continue
		}
		admitted[before]++
		if after, _, err := admission(t, granted, raw, setting, true); err != nil || after != before {
			t.Fatalf("pod %d: SCC %s admitted it, and with podinit it is %q: %v\n%s", seed, before, after, err, raw)
		}
	}
	for _, s := range sccs {
		if s.name != "hostmount-anyuid" && admitted[s.name] == 0 { // only where anyuid is not granted
			t.Errorf("SCC %s admitted no generated pod: the generator has lost its use", s.name)
		}
	}
}
