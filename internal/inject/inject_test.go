package inject_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/net"
	podresources "k8s.io/component-helpers/resource"
	"k8s.io/kubectl/pkg/util/qos"
	psapi "k8s.io/pod-security-admission/api"
	pspolicy "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/jsonpatch"
	"github.com/podinit/podinit/internal/profile"
	"github.com/podinit/podinit/internal/reason"
)

var update = flag.Bool("update", false, "write the golden files")

var config = inject.Config{
	Image:              "registry.example/podinit/init:v1.2.3",
	Version:            "v1.2.3+build.7",
	ExcludedNamespaces: []string{"kube-system"},
}

// result is a Pod after the webhook.
type result struct {
	pod      []byte
	patch    []byte
	warnings []string
	refused  bool
}

// selected is a Pod that the apiserver has sent, where nothing else is set.
var selected = inject.Setting{Namespace: "default", Selected: true}

// mutate does to a Pod what an apiserver with our webhook does, with the library that the apiserver uses.
func mutate(raw []byte, setting inject.Setting) (result, error) {
	return mutateWith(config, raw, setting)
}

// mutateWith is mutate of an installation.
func mutateWith(config inject.Config, raw []byte, setting inject.Setting) (result, error) {
	pod, err := inject.Decode(raw)
	if err != nil {
		return result{}, err
	}
	plan := inject.NewPlan(config, setting, pod)
	patch, err := plan.Patch()
	if err != nil {
		return result{}, err
	}
	warnings := plan.Warnings()
	if refusals := plan.Refusals(); len(refusals) > 0 {
		return result{pod: raw, warnings: refusals, refused: true}, nil
	}
	patched, err := jsonpatch.Apply(raw, patch)
	if err != nil {
		return result{}, fmt.Errorf("applying our patch: %w", err)
	}
	return result{pod: patched, patch: patch, warnings: warnings}, nil
}

func TestGolden(t *testing.T) {
	cases, err := filepath.Glob("testdata/*/pod.yaml")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no golden cases found: %v", err)
	}
	for _, file := range cases {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			raw := readYAML(t, file)
			setting := readSetting(t, dir)
			config := readConfig(t, dir)
			once, err := mutateWith(config, raw, setting)
			if err != nil {
				t.Fatal(err)
			}
			got := golden(t, once)
			if *update {
				if err := os.WriteFile(filepath.Join(dir, "want.yaml"), got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(filepath.Join(dir, "want.yaml"))
			if err != nil {
				t.Fatalf("%v: write it with -update", err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			checkPromises(t, config, raw, setting, once)
		})
	}
}

// A Pod that one replica has wrapped may be sent to another one again, which knows nothing of its images.
func TestAnotherReplica(t *testing.T) {
	for _, name := range []string{"image", "image-stop-signals", "image-pinned", "image-drift", "image-drift-pinned", "image-platform-chosen", "image-platforms-differ"} {
		dir := filepath.Join("testdata", name)
		setting := readSetting(t, dir)
		once, err := mutate(readYAML(t, filepath.Join(dir, "pod.yaml")), setting)
		if err != nil {
			t.Fatal(err)
		}
		setting.Images = nil
		twice, err := mutate(once.pod, setting)
		if err != nil {
			t.Fatal(err)
		}
		if twice.patch != nil {
			t.Errorf("%s: another replica would change it: %s", name, twice.patch)
		}
	}
}

// A Pod that is left to its node stays as it is, nothing is looked up for it, and the plan says what the node will do.
func TestLeftToNode(t *testing.T) {
	chosen, err := profile.New("nodes", v1alpha1.InitProfileSpec{Delivery: v1alpha1.DeliverByNode})
	if err != nil {
		t.Fatal(err)
	}
	setting := selected
	setting.Profile, setting.Unavailable = chosen, []string{"amd64"}
	for text, want := range map[string]map[string]v1alpha1.Reason{
		`{"metadata":{},"spec":{"containers":[{"name":"app","image":"r/app"},{"name":"init","image":"r/app","command":["tini","--","app"]},{"name":"istio-proxy","image":"r/app"},` +
			`{"name":"directory","image":"r/app","command":["./x"],"workingDir":"/podinit"}],` +
			`"initContainers":[{"name":"setup","image":"r/app"},{"name":"side","image":"r/app","command":["x"],"restartPolicy":"Always"}]}}`: {
			"": v1alpha1.ReasonLeftToNode, "app": v1alpha1.ReasonLeftToNode, "init": v1alpha1.ReasonAlreadyInit, "istio-proxy": v1alpha1.ReasonExcludedByProfile,
			"directory": v1alpha1.ReasonLeftToNode, "setup": v1alpha1.ReasonLeftToNode, "side": v1alpha1.ReasonLeftToNode,
		},
		`{"metadata":{},"spec":{"hostPID":true,"containers":[{"name":"app","image":"r/app"}]}}`: {"": v1alpha1.ReasonHostPID, "app": v1alpha1.ReasonHostPID},
		`{"metadata":{"labels":{"podinit.dev/inject":"disabled"}},"spec":{"containers":[{"name":"app","image":"r/app"}]}}`: {
			"": v1alpha1.ReasonOptedOut, "app": v1alpha1.ReasonOptedOut,
		},
	} {
		pod, err := inject.Decode([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		plan := inject.NewPlan(config, setting, pod)
		got := map[string]v1alpha1.Reason{"": plan.Skip.Reason}
		for _, d := range plan.Containers {
			got[d.Name] = d.Reason
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("reasons (-want +got):\n%s", diff)
		}
		if patch, err := plan.Patch(); patch != nil || err != nil || len(plan.Lookups) > 0 {
			t.Errorf("patch %s, lookups %v, %v", patch, plan.Lookups, err)
		}
		if warnings := plan.Warnings(); len(warnings) > 0 && plan.Skip.Reason == v1alpha1.ReasonLeftToNode {
			t.Errorf("warnings %q", warnings)
		}
	}
}

// What a plan wants to know, and what it only likes to know.
func TestLookups(t *testing.T) {
	raw := []byte(`{"metadata":{"annotations":{"podinit.dev/entrypoint.told":"[\"/told\"]"}},"spec":{"nodeSelector":{"kubernetes.io/arch":"arm64"},
		"imagePullSecrets":[{"name":"a"},{"name":"b"}],"initContainers":[{"name":"init","image":"r/init"}],"containers":[
		{"name":"app","image":"registry.example/app:1","imagePullPolicy":"Always"},
		{"name":"own","image":"registry.example/own:1","command":["own"]},
		{"name":"told","image":"registry.example/told:1"},
		{"name":"never","image":"registry.example/never:1","imagePullPolicy":"Never"},
		{"name":"broken","image":"registry.example/BROKEN:1"},
		{"name":"small","image":"registry.example/small:1","resources":{"limits":{"memory":"1Mi"}}},
		{"name":"user","image":"registry.example/user:1","command":["user"],"securityContext":{"capabilities":{"drop":["KILL"]}}}]}}`)
	pod, err := inject.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	setting := selected
	setting.Architectures = []string{"amd64", "arm64"}
	query := func(repository string, fresh bool) imageconfig.Query {
		return imageconfig.Query{
			Reference: imageconfig.Reference{Registry: "registry.example", Repository: repository, Tag: "1"}, Namespace: "default",
			PullSecrets: []string{"a", "b"}, Fresh: fresh, Architectures: []string{"arm64"},
		}
	}
	want := []inject.Lookup{
		{Container: "app", Query: query("app", true), Required: true},
		{Container: "own", Query: query("own", false)},
		{Container: "told", Query: query("told", false)},
		{Container: "user", Query: query("user", false), Required: true},
	}
	if diff := cmp.Diff(want, inject.NewPlan(config, setting, pod).Lookups); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The architectures of a lookup are part of the name that its answer is kept by, for all namespaces.
func TestLookupsForArchitectures(t *testing.T) {
	all := []string{"amd64", "arm64"}
	terms := func(lists ...string) string {
		var each []string
		for _, values := range lists {
			each = append(each, `{"matchExpressions":[{"key":"kubernetes.io/arch","operator":"In","values":[`+values+`]}]}`)
		}
		return `"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[` + strings.Join(each, ",") + `]}}}`
	}
	for name, tt := range map[string]struct {
		spec string
		want []string
	}{
		"one":                     {`"nodeSelector":{"kubernetes.io/arch":"s390x"}`, []string{"s390x"}},
		"two in one":              {`"nodeSelector":{"kubernetes.io/arch":"amd64,arm64"}`, all},
		"none":                    {`"nodeSelector":{"kubernetes.io/arch":""}`, all},
		"terms":                   {terms(`"s390x","arm64"`, `"arm64"`), []string{"arm64", "s390x"}},
		"terms with two in one":   {terms(`"amd64,arm64","arm64"`), []string{"arm64"}},
		"terms with a NUL":        {terms(`"amd64\u0000arm64"`), all},
		"terms with none":         {terms(`""`), all},
		"a long term":             {terms(strings.Repeat(`"x",`, 100_000) + `"arm64"`), all},
		"many terms":              {terms(slices.Repeat([]string{`"x"`}, 1000)...), all},
		"a long name, none other": {terms(`"` + strings.Repeat("x", 64) + `"`), all},
	} {
		t.Run(name, func(t *testing.T) {
			pod, err := inject.Decode([]byte(`{"metadata":{},"spec":{` + tt.spec + `,"containers":[{"name":"app","image":"r.example/app:1"}]}}`))
			if err != nil {
				t.Fatal(err)
			}
			setting := selected
			setting.Architectures = all
			lookups := inject.NewPlan(config, setting, pod).Lookups
			if len(lookups) != 1 || !slices.Equal(lookups[0].Query.Architectures, tt.want) {
				t.Errorf("lookups %+v, want one for %q", lookups, tt.want)
			}
		})
	}
}

// What is to run is asked again where the node asks again, and where it is then pinned. A pinned image cannot change.
func TestFreshLookups(t *testing.T) {
	pins, err := profile.New("pins", v1alpha1.InitProfileSpec{PinDigest: v1alpha1.PinOnLookup})
	if err != nil {
		t.Fatal(err)
	}
	digest := "@sha256:" + strings.Repeat("0a", 32)
	for _, tt := range []struct {
		image, policy string
		profile       *profile.Profile
		want          bool
	}{
		{"r.example/app:1", "IfNotPresent", nil, false},
		{"r.example/app:1", "", nil, false},
		{"r.example/app:1", "Always", nil, true},
		{"r.example/app", "", nil, true},
		{"r.example/app", "IfNotPresent", nil, false},
		{"r.example/app:1", "IfNotPresent", pins, true},
		{"r.example/app:1" + digest, "IfNotPresent", pins, false},
		{"r.example/app:1" + digest, "Always", pins, false},
	} {
		pod, err := inject.Decode(fmt.Appendf(nil, `{"metadata":{},"spec":{"containers":[{"name":"app","image":%q,"imagePullPolicy":%q}]}}`, tt.image, tt.policy))
		if err != nil {
			t.Fatal(err)
		}
		setting := selected
		setting.Profile = tt.profile
		if lookups := inject.NewPlan(config, setting, pod).Lookups; len(lookups) != 1 || lookups[0].Query.Fresh != tt.want {
			t.Errorf("%s, %q, profile %q: %+v, want fresh: %v", tt.image, tt.policy, tt.profile.Name(), lookups, tt.want)
		}
	}
}

// A stop signal that a pod came with does not count where pods may not choose, so the registry is asked for it.
func TestLookupsOfStopSignals(t *testing.T) {
	fixed, err := profile.New("fixed", v1alpha1.InitProfileSpec{PodsMayChoose: new(bool)})
	if err != nil {
		t.Fatal(err)
	}
	for command, required := range map[string]bool{
		`"/podinit/init","--stop-signal=SIGQUIT","--","app"`:                                               true,
		`"/podinit/init","--platform=linux/amd64:0:SIGQUIT","--platform=linux/arm64:0:SIGUSR1","--","app"`: true,
		`"/podinit/init","--","app"`:    false,
		`"app","--stop-signal=SIGQUIT"`: false,
	} {
		pod, err := inject.Decode([]byte(`{"metadata":{},"spec":{"containers":[{"name":"app","image":"r.example/app:1","command":[` + command + `]}]}}`))
		if err != nil {
			t.Fatal(err)
		}
		for p, want := range map[*profile.Profile]bool{fixed: required, nil: false} {
			setting := selected
			setting.Profile = p
			if lookups := inject.NewPlan(config, setting, pod).Lookups; len(lookups) != 1 || lookups[0].Required != want {
				t.Errorf("%s, profile %q: lookups %+v; want one, required: %v", command, p.Name(), lookups, want)
			}
		}
	}
}

// checkPromises holds what a wrapped Pod must never notice, with Kubernetes' own code as the judge where it has any.
func checkPromises(t *testing.T, config inject.Config, raw []byte, setting inject.Setting, once result) {
	t.Helper()
	again, err := mutateWith(config, raw, setting)
	if err != nil {
		t.Fatal(err)
	}
	if diff := difference(string(once.patch), string(again.patch)); diff != "" {
		t.Errorf("the same pod gave another patch (-first +second):\n%s", diff)
	}
	twice, err := mutateWith(config, once.pod, setting)
	if err != nil {
		t.Fatal(err)
	}
	if twice.patch != nil {
		t.Errorf("mutating what was mutated changes it again: %s", twice.patch)
	}

	before, after := typed(t, raw), typed(t, once.pod)
	withoutOurs(before)
	if want, got := qos.ComputePodQOS(before), qos.ComputePodQOS(after); want != got {
		t.Errorf("QoS class: %s became %s", want, got)
	}
	o := podresources.PodResourcesOptions{}
	if diff := difference(quantities(podresources.PodRequests(before, o)), quantities(podresources.PodRequests(after, o))); diff != "" {
		t.Errorf("effective requests (-before +after):\n%s", diff)
	}
	if diff := difference(quantities(podresources.PodLimits(before, o)), quantities(podresources.PodLimits(after, o))); diff != "" {
		t.Errorf("effective limits (-before +after):\n%s", diff)
	}
	checkCopier(t, setting, after)
	checkSignals(t, setting, before, after)
	for _, level := range []psapi.Level{psapi.LevelBaseline, psapi.LevelRestricted} {
		if want, got := podSecurity(t, level, before), podSecurity(t, level, after); want == "" && got != "" {
			t.Errorf("Pod Security %s allowed the pod before and refuses it now: %s", level, got)
		}
	}
}

// checkCopier holds that the copier asks for no more than each container of the pod, for nothing that one of them does without,
// and for no CPUs of its own.
func checkCopier(t *testing.T, setting inject.Setting, pod *corev1.Pod) {
	t.Helper()
	if len(pod.Spec.InitContainers) == 0 || pod.Spec.InitContainers[0].Name != "podinit-copy" {
		return
	}
	copier, others := pod.Spec.InitContainers[0].Resources, slices.Concat(pod.Spec.InitContainers[1:], pod.Spec.Containers)
	for name, q := range copier.Requests {
		least := q
		for _, c := range others {
			own, ok := c.Resources.Requests[name]
			if !ok {
				t.Errorf("the copier requests %s, and container %s does not", name, c.Name)
			}
			if small := c.Resources.Limits.Memory(); name == corev1.ResourceMemory && !small.IsZero() && small.Cmp(resource.MustParse("16Mi")) < 0 {
				continue // not enough for the copier
			}
			if own.Cmp(least) < 0 {
				least = own
			}
		}
		if least.Cmp(q) < 0 {
			t.Errorf("the copier requests %s of %s, and a container only %s", q.String(), name, least.String())
		}
		if demanded, ok := setting.LeastResources[string(name)]; ok && q.Cmp(demanded) < 0 && q.Cmp(least) < 0 {
			t.Errorf("the copier requests %s of %s, and a LimitRange demands %s", q.String(), name, demanded.String())
		}
	}
	if cpu := copier.Requests.Cpu(); qos.ComputePodQOS(pod) == corev1.PodQOSGuaranteed && !cpu.IsZero() && cpu.MilliValue()%1000 == 0 {
		t.Errorf("the copier requests %s CPUs in a Guaranteed pod, and static CPU managers give it CPUs of its own", cpu.String())
	}
}

// checkSignals holds that the init may signal what the container's program can become: it has KILL, or the program is not root
// and so stays the user that it is, or cannot become another.
func checkSignals(t *testing.T, setting inject.Setting, before, after *corev1.Pod) {
	t.Helper()
	wraps := func(c corev1.Container) bool { return len(c.Command) > 0 && c.Command[0] == "/podinit/init" }
	was := map[string]bool{}
	for _, c := range before.Spec.Containers {
		was[c.Name] = wraps(c)
	}
	for _, c := range after.Spec.Containers {
		sc := c.SecurityContext
		if !wraps(c) || was[c.Name] || sc == nil || sc.Capabilities == nil || sc.Privileged != nil && *sc.Privileged {
			continue
		}
		have := map[corev1.Capability]bool{"SETUID": true, "KILL": true}
		if slices.ContainsFunc(sc.Capabilities.Drop, func(c corev1.Capability) bool { return strings.EqualFold(string(c), "ALL") }) {
			have = map[corev1.Capability]bool{}
		}
		for _, added := range sc.Capabilities.Add {
			have[corev1.Capability(strings.TrimPrefix(string(added), "CAP_"))] = true
		}
		for _, dropped := range sc.Capabilities.Drop {
			delete(have, dropped)
		}
		user, nonRoot := sc.RunAsUser, sc.RunAsNonRoot
		if pods := after.Spec.SecurityContext; pods != nil {
			user, nonRoot = first(user, pods.RunAsUser), first(nonRoot, pods.RunAsNonRoot)
		}
		image := setting.Images[c.Name].Image.Configs
		stays := user != nil && *user != 0 || user == nil && nonRoot != nil && *nonRoot || user == nil && len(image) > 0 && image[0].User != ""
		if have["SETUID"] && !have["KILL"] && !stays {
			t.Errorf("the init may not signal what container %s becomes", c.Name)
		}
	}
}

func first[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

// withoutOurs removes a copier that was there before, so that the Pod is compared with what its author meant.
func withoutOurs(pod *corev1.Pod) {
	var others []corev1.Container
	for _, c := range pod.Spec.InitContainers {
		if c.Name != "podinit-copy" {
			others = append(others, c)
		}
	}
	pod.Spec.InitContainers = others
}

// golden is the Pod and the warnings as the golden files hold them.
func golden(t *testing.T, r result) []byte {
	t.Helper()
	out, err := yaml.JSONToYAML(r.pod)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if r.refused {
		b.WriteString("# refused\n")
	}
	for _, w := range r.warnings {
		fmt.Fprintf(&b, "# warning: %s\n", w)
	}
	return append([]byte(b.String()), out...)
}

// readConfig reads what config.yaml next to a pod says of the installation in addition to config.
func readConfig(t *testing.T, dir string) inject.Config {
	t.Helper()
	config := config
	in, err := os.ReadFile(filepath.Join(dir, "config.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return config
	}
	if err == nil {
		err = yaml.UnmarshalStrict(in, &config)
	}
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// readSetting reads what the files next to a pod say: namespace.yaml, without which the apiserver has selected the pod;
// profile.yaml; cluster.yaml, which is what is known of its nodes; limitranges.yaml, which
// is what they demand at least; and images.yaml, which is what lookups have found.
func readSetting(t *testing.T, dir string) inject.Setting {
	t.Helper()
	setting := selected
	read := func(name string, into any) bool {
		in, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return false
		}
		if err == nil {
			err = yaml.UnmarshalStrict(in, into)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return true
	}
	var namespace corev1.Namespace
	if read("namespace.yaml", &namespace) {
		setting = inject.Setting{Namespace: namespace.Name, NamespaceInject: namespace.Labels[v1alpha1.Inject]}
	}
	var named v1alpha1.InitProfile
	if read("profile.yaml", &named) {
		var err error
		if setting.Profile, err = profile.New(named.Name, named.Spec); err != nil {
			t.Fatal(err)
		}
	}
	read("cluster.yaml", &setting.ImageVolumes)
	read("suspended.yaml", &setting.Suspended)
	read("unavailable.yaml", &setting.Unavailable)
	read("limitranges.yaml", &setting.LeastResources)
	var images map[string]struct {
		imageconfig.Image
		Reason             v1alpha1.Reason
		Error              string
		Stale, NodesDiffer bool
	}
	if read("images.yaml", &images) {
		setting.Images = map[string]inject.LookedUp{}
		for container, i := range images {
			answer := inject.LookedUp{Image: i.Image, Stale: i.Stale, NodesDiffer: i.NodesDiffer}
			if i.Reason != "" {
				answer.Failure = &imageconfig.Failure{Reason: i.Reason, Registry: "registry.example", Err: errors.New(i.Error)}
			}
			setting.Images[container] = answer
		}
	}
	return setting
}

func readYAML(t *testing.T, file string) []byte {
	t.Helper()
	in, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := yaml.YAMLToJSON(in)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return raw
}

func typed(t *testing.T, raw []byte) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{}
	if err := json.Unmarshal(raw, pod); err != nil {
		t.Fatalf("reading %s: %v", raw, err)
	}
	// The apiserver's default (pkg/apis/core/v1/defaults.go), which it applies before and after a webhook.
	limitsToRequests := func(r *corev1.ResourceRequirements) {
		for name, limit := range r.Limits {
			if _, ok := r.Requests[name]; !ok {
				if r.Requests == nil {
					r.Requests = corev1.ResourceList{}
				}
				r.Requests[name] = limit
			}
		}
	}
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			limitsToRequests(&containers[i].Resources)
		}
	}
	if pod.Spec.Resources != nil {
		limitsToRequests(pod.Spec.Resources)
	}
	return pod
}

func quantities(list corev1.ResourceList) map[string]string {
	m := map[string]string{}
	for name, q := range list {
		if !q.IsZero() {
			m[string(name)] = q.String()
		}
	}
	return m
}

var podSecurityEvaluator = sync.OnceValues(func() (pspolicy.Evaluator, error) {
	return pspolicy.NewEvaluator(pspolicy.DefaultChecks(), nil)
})

// podSecurity says why a level refuses the Pod, "" if it does not.
func podSecurity(t *testing.T, level psapi.Level, pod *corev1.Pod) string {
	t.Helper()
	evaluator, err := podSecurityEvaluator()
	if err != nil {
		t.Fatal(err)
	}
	r := pspolicy.AggregateCheckResults(evaluator.EvaluatePod(
		psapi.LevelVersion{Level: level, Version: psapi.LatestVersion()}, &pod.ObjectMeta, &pod.Spec))
	if r.Allowed {
		return ""
	}
	return r.ForbiddenDetail()
}

func TestExcludedNamespace(t *testing.T) {
	pod, err := inject.Decode([]byte(`{"metadata":{},"spec":{"containers":[{"name":"app","command":["app"]}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	plan := inject.NewPlan(config, inject.Setting{Namespace: "kube-system", Selected: true}, pod)
	if diff := cmp.Diff(v1alpha1.ReasonExcludedNamespace, plan.Skip.Reason); diff != "" {
		t.Errorf("reason (-want +got):\n%s", diff)
	}
	if patch, err := plan.Patch(); patch != nil || err != nil {
		t.Errorf("patch %s, error %v; want neither", patch, err)
	}
}

func TestNoPatch(t *testing.T) {
	long := strings.Repeat("x", 256<<10-1)
	for name, c := range map[string]struct{ pod, version, want string }{
		"not json":             {`{"metadata":{}`, "v1", "reading the object as a v1 Pod"},
		"null":                 {`null`, "v1", "no metadata or no spec"},
		"no spec":              {`{"metadata":{}}`, "v1", "no metadata or no spec"},
		"wrong type":           {`{"metadata":{},"spec":{"containers":"none"}}`, "v1", "reading the object as a v1 Pod"},
		"a field twice":        {`{"metadata":{},"spec":{"containers":[]},"spec":{}}`, "v1", "duplicate field"},
		"no room for a status": {`{"metadata":{"annotations":{"a":"` + long + `"}},"spec":{"containers":[{"name":"app","command":["app"]}]}}`, "v1", "shorten them"},
		"version not a label":  {`{"metadata":{},"spec":{"containers":[{"name":"app","command":["app"]}]}}`, "v1/2", "cannot be the value of label"},
	} {
		t.Run(name, func(t *testing.T) {
			var patch []byte
			pod, err := inject.Decode([]byte(c.pod))
			if err == nil {
				patch, err = inject.NewPlan(inject.Config{Image: "i", Version: c.version}, selected, pod).Patch()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("patch %s, error %v; want an error that says %q", patch, err, c.want)
			}
		})
	}
}

// Annotations that just have room for podinit's are not too large, whichever of those are there already, as in a second call.
func TestLargeAnnotations(t *testing.T) {
	const kubernetes = 256 << 10
	for name, tt := range map[string]struct {
		spec v1alpha1.InitProfileSpec
		more string
	}{
		"status":             {spec: v1alpha1.InitProfileSpec{OnProblem: v1alpha1.ProblemReject}},
		"one to be removed":  {spec: v1alpha1.InitProfileSpec{Delivery: v1alpha1.DeliverByImageVolume}, more: `,"cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes":"podinit"`},
		"required of a node": {spec: v1alpha1.InitProfileSpec{Delivery: v1alpha1.DeliverByNode, RequireNode: true}, more: `,"required-plugins.noderesource.dev":"` + "[" + strings.Repeat("p, ", 500) + `p]"`},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := profile.New("p", tt.spec)
			if err != nil {
				t.Fatal(err)
			}
			setting := selected
			setting.Profile = p
			large := func(size int) []byte {
				return []byte(`{"metadata":{"name":"p","annotations":{"a":"` + strings.Repeat("x", size) + `"` + tt.more + `}},"spec":{"containers":[{"name":"a","image":"x","command":["app"]}]}}`)
			}
			once, err := mutate(large(1), setting)
			if err != nil {
				t.Fatal(err)
			}
			size := 1 + kubernetes - annotationBytes(t, once.pod)
			once, err = mutate(large(size), setting)
			if err != nil || once.patch == nil || annotationBytes(t, once.pod) != kubernetes {
				t.Fatalf("annotations that fill what Kubernetes allows: %v, %q", err, once.warnings)
			}
			if again, err := mutate(once.pod, setting); err != nil || again.refused || again.patch != nil {
				t.Errorf("asked again: %v, %q, %.300s", err, again.warnings, again.patch)
			}
			if more, err := mutate(large(size+1), setting); !more.refused && !errors.Is(err, inject.ErrAnnotationsTooLarge) {
				t.Errorf("one byte more: %v, %.300s", err, more.patch)
			}
		})
	}
}

// annotationBytes is how many bytes a Pod's annotations have, as Kubernetes counts them.
func annotationBytes(t *testing.T, raw []byte) (size int) {
	t.Helper()
	var pod corev1.Pod
	if err := json.Unmarshal(raw, &pod); err != nil {
		t.Fatal(err)
	}
	for key, value := range pod.Annotations {
		size += len(key) + len(value)
	}
	return size
}

// An annotation full of mistakes makes an answer of a few lines.
func TestManyMistakes(t *testing.T) {
	pod, err := inject.Decode([]byte(`{"metadata":{"annotations":{"podinit.dev/containers":"` + strings.Repeat("typo,", 20000) + `",
		"podinit.dev/flags.typo":"` + strings.Repeat("é", 20000) + `","podinit.dev/flags.app":"--` + strings.Repeat("x", 20000) + `"}},
		"spec":{"containers":[{"name":"app","command":["app"]}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	plan := inject.NewPlan(config, selected, pod)
	size := 0
	for _, w := range plan.Warnings() {
		size += len(w)
	}
	if size == 0 || size > 8000 {
		t.Errorf("%d warnings of %d bytes", len(plan.Warnings()), size)
	}
	if diff := cmp.Diff([]v1alpha1.Reason{v1alpha1.ReasonUnknownContainer}, plan.Status().Ignored); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

// Webhooks see Pods before the apiserver validates them, so what no valid Pod has must not cost anything.
func TestBounds(t *testing.T) {
	containers := func(n int, name func(int) string) string {
		var list []string
		for i := range n {
			list = append(list, `{"name":"`+name(i)+`","command":["app"]}`)
		}
		return strings.Join(list, ",")
	}
	numbered := func(i int) string { return fmt.Sprint("app", i) }
	platforms := func(n int) string {
		return `{"name":"app","command":["/podinit/init",` + strings.Repeat(`"--platform=a:1","b",`, n) + `"--"]}`
	}
	flags := `"podinit.dev/flags.app":"` + strings.Repeat("-g ", 80000) + `"`
	for name, c := range map[string]struct {
		annotations, initContainers, containers string
		pod, container                          v1alpha1.Reason
		patched                                 bool
	}{
		"annotations as large as allowed": {annotations: `"a":"` + strings.Repeat("x", 255<<10) + `"`, containers: containers(1, numbered), patched: true},
		"annotations too large": {
			annotations: flags + `,"a":"` + strings.Repeat("x", 30<<10) + `"`, containers: containers(1, numbered),
			pod: v1alpha1.ReasonAnnotationsTooLarge, container: v1alpha1.ReasonAnnotationsTooLarge,
		},
		"1000 containers": {containers: containers(1000, numbered), patched: true},
		"1001 containers": {
			initContainers: containers(1, func(int) string { return "setup" }), containers: containers(1000, numbered),
			pod: v1alpha1.ReasonTooManyContainers, container: v1alpha1.ReasonTooManyContainers, patched: true,
		},
		"one name": {
			annotations: flags, containers: containers(1000, func(int) string { return "app" }),
			pod: v1alpha1.ReasonDuplicateContainerName, container: v1alpha1.ReasonDuplicateContainerName, patched: true,
		},
		"one name in both lists": {
			initContainers: containers(1, numbered), containers: containers(1, numbered),
			pod: v1alpha1.ReasonDuplicateContainerName, container: v1alpha1.ReasonDuplicateContainerName, patched: true,
		},
		"32 platforms": {containers: platforms(32), patched: true},
		"33 platforms": {containers: platforms(33), container: v1alpha1.ReasonBrokenWrap, patched: true},
		"many flags":   {annotations: flags, containers: `{"name":"app","command":["app"]}`, container: v1alpha1.ReasonInvalidFlags, patched: true},
		"a long entrypoint": {
			annotations: `"podinit.dev/entrypoint.app":"[` + strings.Repeat(`\"a\",`, 2000) + `\"a\"]"`, containers: `{"name":"app","image":"r/app:1"}`,
			container: v1alpha1.ReasonInvalidEntrypoint, patched: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod, err := inject.Decode([]byte(`{"metadata":{"annotations":{` + c.annotations + `}},"spec":{"initContainers":[` + c.initContainers + `],"containers":[` + c.containers + `]}}`))
			if err != nil {
				t.Fatal(err)
			}
			plan := inject.NewPlan(config, selected, pod)
			if plan.Skip.Reason != c.pod || plan.Containers[0].Reason != c.container {
				t.Errorf("the pod's reason is %q, the first container's %q; want %q and %q", plan.Skip.Reason, plan.Containers[0].Reason, c.pod, c.container)
			}
			if patch, err := plan.Patch(); err != nil || (patch != nil) != c.patched {
				t.Errorf("patch %.100s, error %v; want a patch: %t", patch, err, c.patched)
			}
		})
	}
}

// A profile refuses for what the pod's author can correct, and for nothing else.
func TestRefusals(t *testing.T) {
	strict, err := profile.New("strict", v1alpha1.InitProfileSpec{OnProblem: v1alpha1.ProblemReject})
	if err != nil {
		t.Fatal(err)
	}
	const good = `{"metadata":{},"spec":{"containers":[{"name":"app","command":["app"]}]}}`
	annotated := func(annotation string) string {
		return strings.Replace(good, `"metadata":{}`, `"metadata":{"annotations":{`+annotation+`}}`, 1)
	}
	const imageOnly = `{"metadata":{},"spec":{"containers":[{"name":"app","image":"r/app"}]}}`
	found := func(f *imageconfig.Failure) inject.Setting {
		return inject.Setting{Images: map[string]inject.LookedUp{"app": {Failure: f}}}
	}
	for name, c := range map[string]struct {
		pod, version string
		setting      inject.Setting
		want         []string
	}{
		"nothing is wrong":      {pod: good},
		"the namespace's label": {pod: good, setting: inject.Setting{NamespaceInject: "yes"}},
		"the namespace is not read": {pod: good, setting: inject.Setting{Ignored: []reason.Ignored{
			{Setting: "w", Skip: reason.Skip{Reason: v1alpha1.ReasonNamespaceUnread}},
			{Setting: "w", Skip: reason.Skip{Reason: v1alpha1.ReasonProfileUnread}},
			{Setting: "w", Skip: reason.Skip{Reason: v1alpha1.ReasonProfileInvalid}},
		}}},
		"the init's version": {pod: good, version: "v1/2"},
		"the pod's label":    {pod: strings.Replace(good, `"metadata":{}`, `"metadata":{"labels":{"podinit.dev/inject":"yes"}}`, 1), want: []string{"it is neither enabled nor disabled"}},
		"a name":             {pod: annotated(`"podinit.dev/containers":"nobody"`), want: []string{"no container of that name"}},
		"a setting of the pod": {pod: good, want: []string{"no InitProfile of that name"}, setting: inject.Setting{Ignored: []reason.Ignored{
			{Setting: "w", Skip: reason.Skip{Reason: v1alpha1.ReasonProfileMissing, Correctable: true}},
		}}},
		"a container":                  {pod: annotated(`"podinit.dev/flags.app":"--nonsense"`), want: []string{"cannot be read as flags"}},
		"the pod":                      {pod: strings.Replace(good, `"spec":{`, `"spec":{"hostPID":true,`, 1), want: []string{"hostPID is true"}},
		"a registry that is down":      {pod: imageOnly, setting: found(&imageconfig.Failure{Reason: v1alpha1.ReasonLookupTimeout, Err: errors.New("no answer")})},
		"a secret that cannot be read": {pod: imageOnly, setting: found(&imageconfig.Failure{Reason: v1alpha1.ReasonLookupUnauthorized, Transient: true, Err: errors.New("401")})},
		"a wrong secret":               {pod: imageOnly, setting: found(&imageconfig.Failure{Reason: v1alpha1.ReasonLookupUnauthorized, Err: errors.New("401")}), want: []string{"denies the pod access"}},
		"an image that is not there":   {pod: imageOnly, setting: found(&imageconfig.Failure{Reason: v1alpha1.ReasonLookupNotFound, Err: errors.New("404")}), want: []string{"does not have the image"}},
		"a long name":                  {pod: strings.Replace(imageOnly, "r/app", strings.Repeat("a", 2<<20), 1), want: []string{"longer than 1 KiB"}},
		"annotations":                  {pod: annotated(`"a":"` + strings.Repeat("x", 256<<10) + `"`), want: []string{"larger than the 256 KiB"}},
		"annotations with status":      {pod: annotated(`"a":"` + strings.Repeat("x", 256<<10-1) + `"`), want: []string{"shorten them"}},
	} {
		t.Run(name, func(t *testing.T) {
			pod, err := inject.Decode([]byte(c.pod))
			if err != nil {
				t.Fatal(err)
			}
			c.setting.Selected, c.setting.Profile = true, strict
			version := "v1"
			if c.version != "" {
				version = c.version
			}
			plan := inject.NewPlan(inject.Config{Image: "i", Version: version}, c.setting, pod)
			got := plan.Refusals()
			problems := plan.Problems()
			if name == "annotations with status" { // no patch, and so a warning that has no reason
				problems = make([]inject.Problem, 1)
			}
			if len(problems) != len(got) {
				t.Errorf("problems %+v, refusals %q", problems, got)
			}
			if warnings := plan.Warnings(); c.setting.Images != nil && len(warnings) != 1 {
				t.Errorf("warnings %q", warnings)
			}
			if len(got) != len(c.want) {
				t.Fatalf("refusals %q, want %q", got, c.want)
			}
			for i := range got {
				if !strings.Contains(got[i], c.want[i]) {
					t.Errorf("refusal %q does not say %q", got[i], c.want[i])
				}
			}
		})
	}
}

// No reason that is the registry's, the network's or podinit's own refuses a Pod, and each other reason of a container
// does.
func TestTransientReasonsRefuseNothing(t *testing.T) {
	strict, err := profile.New("strict", v1alpha1.InitProfileSpec{OnProblem: v1alpha1.ProblemReject})
	if err != nil {
		t.Fatal(err)
	}
	pod, err := inject.Decode([]byte(`{"metadata":{},"spec":{"containers":[{"name":"app","image":"r/app"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reason.All() {
		if !strings.HasPrefix(string(r), "lookup-") {
			continue
		}
		plan := inject.NewPlan(config, inject.Setting{Selected: true, Profile: strict, Images: map[string]inject.LookedUp{
			"app": {Failure: &imageconfig.Failure{Reason: r, Err: errors.New("no")}},
		}}, pod)
		var correctable bool
		switch r {
		case v1alpha1.ReasonLookupOff, v1alpha1.ReasonLookupUnauthorized, v1alpha1.ReasonLookupNotFound, v1alpha1.ReasonLookupForbidden, v1alpha1.ReasonLookupUnsupported:
			correctable = true
		}
		if refused := len(plan.Refusals()) > 0; refused != correctable {
			t.Errorf("%s refuses: %v", r, refused)
		}
	}
}

// However many containers are left alone, the answer is of a few lines.
func TestManyLeftAlone(t *testing.T) {
	var containers []string
	for i := range 1000 {
		containers = append(containers, fmt.Sprintf(`{"name":"%d%s","image":"r/app:1"}`, i, strings.Repeat("x", 1000)))
	}
	pod, err := inject.Decode([]byte(`{"metadata":{},"spec":{"containers":[` + strings.Join(containers, ",") + `]}}`))
	if err != nil {
		t.Fatal(err)
	}
	strict, err := profile.New("strict", v1alpha1.InitProfileSpec{OnProblem: v1alpha1.ProblemReject})
	if err != nil {
		t.Fatal(err)
	}
	plan := inject.NewPlan(config, inject.Setting{Selected: true, Profile: strict}, pod)
	if problems := plan.Problems(); len(problems) != 1 || problems[0].Reason != v1alpha1.ReasonNoCommand || !strings.Contains(problems[0].Sentence, "in 15 more places") || strings.HasPrefix(problems[0].Sentence, "podinit") {
		t.Errorf("problems %+v", problems)
	}
	for name, sentences := range map[string][]string{"warnings": plan.Warnings(), "refusals": plan.Refusals()} {
		if size := len(strings.Join(sentences, "")); size > 16<<10 || len(sentences) != 17 {
			t.Errorf("%d %s of %d bytes", len(sentences), name, size)
		} else if last := sentences[16]; !strings.Contains(last, "more containers left alone: 984.") {
			t.Errorf("the last of the %s is %q", name, last)
		}
	}
}

// The apiserver drops a warning that is not the value of a header.
func TestWarningsArePrintable(t *testing.T) {
	pod, err := inject.Decode([]byte(`{"metadata":{"annotations":{"podinit.dev/flags.a":"--foo\u0007bar\u0085\u001b[31m","podinit.dev/entrypoint.b":"[\u0000]"}},
		"spec":{"containers":[{"name":"a","command":["a"]},{"name":"b","image":"r/b"},{"name":"c","image":"r/c"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	setting := selected
	setting.Ignored = []reason.Ignored{{Setting: "a\nb\x7f\xff", Skip: reason.Skip{Reason: v1alpha1.ReasonProfileMissing, Detail: "\r"}}}
	setting.Images = map[string]inject.LookedUp{"c": {Failure: &imageconfig.Failure{Reason: v1alpha1.ReasonLookupFailed, Err: errors.New("an answer\twith\x00all")}}}
	warnings := inject.NewPlan(config, setting, pod).Warnings()
	if len(warnings) != 4 {
		t.Errorf("warnings %q, want 4", warnings)
	}
	for _, w := range warnings {
		if _, err := net.NewWarningHeader(299, "-", w); err != nil {
			t.Errorf("%q: %v", w, err)
		}
	}
}
