package admission_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/admission"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/imageconfig/imageconfigtest"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/jsonpatch"
	"github.com/podinit/podinit/internal/registry"
	"github.com/podinit/podinit/internal/registry/registrytest"
)

// installation plans for Pods, and looks nothing up.
var installation = admission.Planner{Config: inject.Config{
	Image: "registry.example/podinit/init:v1.2.3", Version: "v1.2.3", ExcludedNamespaces: []string{"podinit-system"},
}}

// Nothing is looked up for a namespace that the cluster does not have; the Pod is admitted.
func TestNoLookupForMissingNamespace(t *testing.T) {
	for _, missing := range []bool{false, true} {
		lookups := 0
		p := installation
		p.LookupTimeout = time.Second
		p.Images = imageconfigtest.Source{OnLookup: func(context.Context, imageconfig.Query) (imageconfig.Found, error) {
			lookups++
			return imageconfigtest.Runs("", "/app"), nil
		}}
		p.Setting = func(_ context.Context, namespace string, _ *inject.Pod) inject.Setting {
			return inject.Setting{Namespace: namespace, Selected: true, NamespaceMissing: missing}
		}
		if _, _, status := mutated(t, p, withoutCommand); (lookups == 0) != missing || (status.Containers["app"].Action == v1alpha1.ActionSkipped) != missing {
			t.Errorf("missing %v: %d lookups, status %+v", missing, lookups, status)
		}
	}
}

// mutated is what becomes of a Pod, and what its status says.
func mutated(t *testing.T, planner admission.Planner, object string) (corev1.Pod, admission.Answer, v1alpha1.Status) {
	t.Helper()
	answer, err := planner.Mutate(t.Context(), admission.Request{Namespace: "team-a", Object: []byte(object)})
	if err != nil {
		t.Fatal(err)
	}
	patched, err := jsonpatch.Apply([]byte(object), answer.Patch)
	if err != nil {
		t.Fatal(err)
	}
	var pod corev1.Pod
	var status v1alpha1.Status
	if err := json.Unmarshal(patched, &pod); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(pod.Annotations[v1alpha1.StatusAnnotation]), &status); err != nil {
		t.Fatal(err)
	}
	return pod, answer, status
}

const withoutCommand = `{"metadata":{},"spec":{"containers":[{"name":"app","image":"registry.example/app:1"},{"name":"own","image":"registry.example/own:1","command":["own"]}]}}`

func TestLookup(t *testing.T) {
	p := installation
	p.LookupTimeout = time.Minute
	p.Images = imageconfigtest.Source{
		OnLookup: func(_ context.Context, q imageconfig.Query) (imageconfig.Found, error) {
			if q.Namespace != "team-a" || q.Reference.Repository != "app" {
				t.Errorf("asked for %v", q)
			}
			return imageconfigtest.Runs("SIGQUIT", "/entry"), nil
		},
		OnKnown: func(imageconfig.Query) (imageconfig.Found, bool) {
			return imageconfigtest.Runs("SIGUSR1", "/not-this"), true
		},
	}
	pod, answer, status := mutated(t, p, withoutCommand)
	want := [][]string{
		{"/podinit/init", "--grace=30s", "--stop-signal=SIGQUIT", "--termination-message=/dev/termination-log", "--lookup-digest=" + imageconfigtest.Digest, "--", "/entry"},
		{"/podinit/init", "--grace=30s", "--stop-signal=SIGUSR1", "--termination-message=/dev/termination-log", "--", "own"},
	}
	if diff := cmp.Diff(want, [][]string{pod.Spec.Containers[0].Command, pod.Spec.Containers[1].Command}); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	if s := status.Containers["app"]; s.Source != v1alpha1.SourceRegistry || s.Digest != imageconfigtest.Digest {
		t.Errorf("status %+v", s)
	}
	if len(answer.Lookups) != 1 || answer.Lookups[0].Outcome != "cache" {
		t.Errorf("lookups for the metrics: %+v", answer.Lookups)
	}
}

// What one container's lookup finds is known for another container of the same image, in whatever order they come.
func TestKnownAfterLookups(t *testing.T) {
	p := installation
	p.LookupTimeout = time.Minute
	var found atomic.Bool
	p.Images = imageconfigtest.Source{
		OnLookup: func(context.Context, imageconfig.Query) (imageconfig.Found, error) {
			found.Store(true)
			return imageconfigtest.Runs("SIGQUIT", "/entry"), nil
		},
		OnKnown: func(imageconfig.Query) (imageconfig.Found, bool) {
			return imageconfigtest.Runs("SIGQUIT", "/entry"), found.Load()
		},
	}
	pod, _, _ := mutated(t, p, `{"metadata":{},"spec":{"containers":[
		{"name":"own","image":"registry.example/app:1","command":["own"]},{"name":"app","image":"registry.example/app:1"}]}}`)
	for _, c := range pod.Spec.Containers {
		if !slices.Contains(c.Command, "--stop-signal=SIGQUIT") {
			t.Errorf("%s: %q does not know the image's stop signal", c.Name, c.Command)
		}
	}
}

// A stale answer, and one that nodes disagree with, are seen in the warnings and the status.
func TestDrift(t *testing.T) {
	for _, tt := range []struct {
		from   imageconfig.From
		differ bool
		want   []v1alpha1.Reason
	}{
		{imageconfig.FromRegistry, false, nil},
		{imageconfig.FromCache, false, nil},
		{imageconfig.FromStale, false, []v1alpha1.Reason{v1alpha1.ReasonStaleLookup}},
		{imageconfig.FromRegistry, true, []v1alpha1.Reason{v1alpha1.ReasonNodeImageDiffers}},
		{imageconfig.FromStale, true, []v1alpha1.Reason{v1alpha1.ReasonStaleLookup, v1alpha1.ReasonNodeImageDiffers}},
	} {
		p := installation
		p.LookupTimeout = time.Minute
		p.Images = imageconfigtest.Source{OnLookup: func(context.Context, imageconfig.Query) (imageconfig.Found, error) {
			found := imageconfigtest.Runs("", "/entry")
			found.From = tt.from
			return found, nil
		}}
		p.NodesDiffer = func(ref imageconfig.Reference, digest string) bool {
			if want := imageconfigtest.Digest; ref.String() != "registry.example/app:1" || digest != want {
				t.Errorf("nodes are asked for %s with %s, want registry.example/app:1 with %s", ref, digest, want)
			}
			return tt.differ
		}
		_, answer, status := mutated(t, p, withoutCommand)
		if diff := cmp.Diff(tt.want, status.Containers["app"].Drift); diff != "" || status.Containers["own"].Drift != nil {
			t.Errorf("%s, nodes differ %v: status (-want +got):\n%s", tt.from, tt.differ, diff)
		}
		if len(answer.Warnings) != len(tt.want) {
			t.Errorf("%s, nodes differ %v: warnings %q", tt.from, tt.differ, answer.Warnings)
		}
	}
}

// Whatever a lookup does, the Pod is admitted and its other containers are wrapped.
func TestLookupFails(t *testing.T) {
	for name, c := range map[string]struct {
		lookup func(context.Context, imageconfig.Query) (imageconfig.Found, error)
		reason v1alpha1.Reason
	}{
		"refused": {func(context.Context, imageconfig.Query) (imageconfig.Found, error) {
			return imageconfig.Found{}, &imageconfig.Failure{Reason: v1alpha1.ReasonLookupUnauthorized, Registry: "registry.example", Err: errors.New("401")}
		}, v1alpha1.ReasonLookupUnauthorized},
		"hangs": {func(ctx context.Context, _ imageconfig.Query) (imageconfig.Found, error) {
			<-ctx.Done()
			return imageconfig.Found{}, ctx.Err()
		}, v1alpha1.ReasonLookupTimeout},
		"panics": {func(context.Context, imageconfig.Query) (imageconfig.Found, error) { panic("out of cheese") }, v1alpha1.ReasonLookupFailed},
		"surprises": {func(context.Context, imageconfig.Query) (imageconfig.Found, error) {
			return imageconfig.Found{}, io.EOF
		}, v1alpha1.ReasonLookupFailed},
		"nothing": {func(context.Context, imageconfig.Query) (imageconfig.Found, error) { return imageconfig.Found{}, nil }, v1alpha1.ReasonImageNotLinux},
	} {
		t.Run(name, func(t *testing.T) {
			p := installation
			p.LookupTimeout = time.Millisecond
			p.Images = imageconfigtest.Source{OnLookup: c.lookup}
			pod, answer, status := mutated(t, p, withoutCommand)
			if got := status.Containers["app"].Reason; got != c.reason || pod.Spec.Containers[0].Command != nil {
				t.Errorf("reason %s, want %s; command %q", got, c.reason, pod.Spec.Containers[0].Command)
			}
			if status.Containers["own"].Action != v1alpha1.ActionWrapped {
				t.Errorf("the other container: %+v", status.Containers["own"])
			}
			if len(answer.Warnings) != 1 || !strings.Contains(answer.Warnings[0], "podinit.dev/entrypoint.") {
				t.Errorf("warnings %q do not say the way out", answer.Warnings)
			}
		})
	}
}

// A Pod waits less than admission has, even if it might wait longer for its images.
func TestLookupLeavesTimeForTheAnswer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	var ends time.Time
	p := installation
	p.LookupTimeout = 2 * time.Hour
	p.Images = imageconfigtest.Source{OnLookup: func(ctx context.Context, _ imageconfig.Query) (imageconfig.Found, error) {
		ends, _ = ctx.Deadline()
		return imageconfig.Found{}, io.EOF
	}}
	if _, err := p.Mutate(ctx, admission.Request{Object: []byte(withoutCommand)}); err != nil {
		t.Fatal(err)
	}
	if admission, _ := ctx.Deadline(); ends.IsZero() || admission.Sub(ends) < 250*time.Millisecond {
		t.Errorf("a lookup may take until %v, and admission has until %v", ends, admission)
	}
}

// Of a Pod whose registries hang no lookup is begun when its time is over, and all of them know of one Pod.
func TestNoLookupAfterTheDeadline(t *testing.T) {
	var containers []string
	for n := range 1000 {
		containers = append(containers, fmt.Sprintf(`{"name":"c%d","image":"registry.example/app-%d:1"}`, n, n))
	}
	var begun atomic.Int64
	var pods sync.Map
	p := installation
	p.LookupTimeout = 50 * time.Millisecond
	p.Images = imageconfigtest.Source{OnLookup: func(ctx context.Context, q imageconfig.Query) (imageconfig.Found, error) {
		begun.Add(1)
		pods.Store(q.Pod, true)
		<-ctx.Done()
		return imageconfig.Found{}, ctx.Err()
	}}
	answer, err := p.Mutate(t.Context(), admission.Request{Object: []byte(`{"metadata":{},"spec":{"imagePullSecrets":[{"name":"s"}],"containers":[` + strings.Join(containers, ",") + `]}}`)})
	if err != nil {
		t.Fatal(err)
	}
	if n := begun.Load(); n > 8 {
		t.Errorf("%d lookups were begun, and 8 have filled the time", n)
	}
	if pod, ok := pods.Load((*imageconfig.Pod)(nil)); ok {
		t.Errorf("a lookup of no Pod: %v", pod)
	}
	for _, l := range answer.Lookups {
		if l.Outcome != string(v1alpha1.ReasonLookupTimeout) {
			t.Errorf("%s: %s", l.Container, l.Outcome)
		}
	}
	if len(answer.Lookups) != 1000 {
		t.Errorf("%d lookups are reported, want all", len(answer.Lookups))
	}
}

// A burst of Pods costs a registry one HEAD per image and one GET of each of its parts, however slow it is.
func TestBurst(t *testing.T) {
	const distinct, pods = 10, 1000
	inner := registrytest.New()
	var mu sync.Mutex
	var asked []string
	var slow atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.Method+" "+r.URL.Path)
		mu.Unlock()
		if slow.Load() {
			time.Sleep(300 * time.Millisecond) // the registry's own time; the test waits for answers only
		}
		inner.ServeHTTP(w, r)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	var want []string
	for n := range distinct {
		image := registrytest.Push(t, fmt.Sprintf("%s/app-%d:1", host, n), []string{fmt.Sprintf("/app-%d", n)})
		manifest, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigName()
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprintf("GET /v2/app-%d/blobs/%s", n, config), fmt.Sprintf("GET /v2/app-%d/manifests/%s", n, manifest),
			fmt.Sprintf("HEAD /v2/app-%d/manifests/1", n))
	}
	slices.Sort(want)
	asked = nil
	slow.Store(true)

	registries, err := registry.New(registry.Config{
		Registries: []registry.Host{{Host: host, PlainHTTP: true}}, PrivateNetworks: []string{"127.0.0.0/8"},
	}, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	p := installation
	p.Images, p.LookupTimeout = imageconfig.NewCache(registries, imageconfig.DefaultLimits(), time.Now), time.Minute
	var all sync.WaitGroup
	slots := make(chan struct{}, 100)
	for n := range pods {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			pod, _, _ := mutated(t, p, fmt.Sprintf(`{"metadata":{},"spec":{"containers":[{"name":"app","image":"%s/app-%d:1"}]}}`, host, n%distinct))
			if command := pod.Spec.Containers[0].Command; len(command) == 0 || command[len(command)-1] != fmt.Sprintf("/app-%d", n%distinct) {
				t.Errorf("pod %d runs %q", n, command)
			}
		})
	}
	all.Wait()
	asked = slices.DeleteFunc(asked, func(request string) bool { return request == "GET /v2/" }) // how it wants to be asked
	slices.Sort(asked)
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// BenchmarkMutate compares a Pod with a command with one whose image is known, both decided about as at admission.
func BenchmarkMutate(b *testing.B) {
	server := httptest.NewServer(registrytest.New())
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	registrytest.Push(b, host+"/app:1", []string{"app"})
	registries, err := registry.New(registry.Config{
		Registries: []registry.Host{{Host: host, PlainHTTP: true}}, PrivateNetworks: []string{"127.0.0.0/8"},
	}, nil, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	p := installation
	p.Images, p.LookupTimeout = imageconfig.NewCache(registries, imageconfig.DefaultLimits(), time.Now), time.Minute
	for name, command := range map[string]string{"command": `,"command":["app"]`, "image": ""} {
		object := fmt.Appendf(nil, `{"metadata":{},"spec":{"containers":[{"name":"app","image":"%s/app:1"%s}]}}`, host, command)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if answer, err := p.Mutate(b.Context(), admission.Request{Namespace: "team-a", Object: object}); err != nil || len(answer.Warnings) > 0 {
					b.Fatal(err, answer.Warnings)
				}
			}
		})
	}
}
