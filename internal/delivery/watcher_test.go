package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/delivery"
	"github.com/podinit/podinit/internal/inject"
)

// apiserver has one node, whose runtime changes with what is sent to events.
type apiserver struct {
	events    chan string
	forbidden atomic.Bool
}

const nodeJSON = `{"apiVersion":"v1","kind":"Node","metadata":{"name":"n","resourceVersion":"%d"},"status":{"nodeInfo":
	{"operatingSystem":"linux","architecture":"arm64","kubeletVersion":"v1.36.1","containerRuntimeVersion":"%s"},
	"conditions":[{"type":"DiskPressure","status":"Unknown"},{"type":"Ready","status":"%s"}]}}`

// silent is the event with which the node's kubelet is not heard of any more.
const silent = "silent"

func (s *apiserver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch query := r.URL.Query(); {
	case s.forbidden.Load():
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`)
	case query.Get("sendInitialEvents") != "":
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"BadRequest","code":400}`)
	case query.Get("watch") != "":
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		for version := 2; ; version++ {
			select {
			case <-r.Context().Done():
				return
			case event := <-s.events:
				kind, runtime, ready := "MODIFIED", event, "True"
				switch event {
				case "":
					kind = "DELETED"
				case silent:
					ready = "Unknown"
				}
				fmt.Fprintf(w, `{"type":%q,"object":`+nodeJSON+"}\n", kind, version, runtime, ready)
				w.(http.Flusher).Flush()
			}
		}
	default:
		fmt.Fprintf(w, `{"apiVersion":"v1","kind":"NodeList","metadata":{"resourceVersion":"1"},"items":[`+nodeJSON+`]}`, 1, "containerd://2.3.0", "False")
	}
}

// versions is what the apiserver says of itself.
type versions struct{ said atomic.Value }

func (v *versions) ServerVersion() (*version.Info, error) {
	if said, ok := v.said.Load().(string); ok {
		return &version.Info{GitVersion: said}, nil
	}
	return nil, errors.New("no answer")
}

func start(t *testing.T, server *apiserver, said string) *delivery.Watcher {
	t.Helper()
	listener := httptest.NewServer(server)
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{corev1.SchemeGroupVersion})
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Node"), meta.RESTScopeRoot)
	c, err := cache.New(&rest.Config{Host: listener.URL}, cache.Options{
		Scheme: scheme, Mapper: mapper, ByObject: map[client.Object]cache.ByObject{&corev1.Node{}: {Transform: delivery.Trim}},
	})
	if err != nil {
		t.Fatal(err)
	}
	discovered := &versions{}
	if said != "" {
		discovered.said.Store(said)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w := &delivery.Watcher{Cache: c, Discovery: discovered, Log: testr.New(t)}
	stopped := make(chan error, 2)
	go func() { stopped <- c.Start(ctx) }()
	go func() { stopped <- w.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		listener.CloseClientConnections()
		for range cap(stopped) {
			if err := <-stopped; err != nil {
				t.Error(err)
			}
		}
		listener.Close()
	})
	return w
}

func becomes(t *testing.T, w *delivery.Watcher, want inject.ImageVolumes) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		diff := cmp.Diff(want, w.ImageVolumes())
		if diff == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	}
}

// The verdict follows the nodes.
func TestWatcher(t *testing.T) {
	server := &apiserver{events: make(chan string)}
	w := start(t, server, "v1.36.3")
	both := func(r v1alpha1.Reason) inject.ImageVolumes {
		return inject.ImageVolumes{Verdict: r, VerdictInUserNamespaces: r}
	}
	becomes(t, w, both(v1alpha1.ReasonEveryNodeCan))
	server.events <- "containerd://1.7.1"
	becomes(t, w, both(v1alpha1.ReasonRuntimeTooOld))
	server.events <- "containerd://2.2.0"
	becomes(t, w, inject.ImageVolumes{Verdict: v1alpha1.ReasonEveryNodeCan, VerdictInUserNamespaces: v1alpha1.ReasonUserNamespaceTooOld})
	server.events <- ""
	becomes(t, w, both(v1alpha1.ReasonClusterUnknown))
}

// What cannot be read is not known, and asking does not wait for it.
func TestUnknown(t *testing.T) {
	forbidden := &apiserver{}
	forbidden.forbidden.Store(true)
	for name, w := range map[string]*delivery.Watcher{
		"nodes":     start(t, forbidden, "v1.36.3"),
		"apiserver": start(t, &apiserver{}, ""),
	} {
		for range 20 {
			began := time.Now()
			got := w.ImageVolumes()
			if got.Verdict != "" && got.Verdict != v1alpha1.ReasonClusterUnknown || time.Since(began) > time.Second {
				t.Errorf("%s: %v after %s", name, got, time.Since(began))
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// The architecture of a node is known as long as its kubelet is heard of, whether it is ready or not.
func TestArchitecture(t *testing.T) {
	server := &apiserver{events: make(chan string)}
	w := start(t, server, "v1.36.3")
	becomes := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			name, known := w.Architecture("n")
			if known && name == want || !known && want == "" {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the architecture is %q, known: %v; want %q", name, known, want)
			}
		}
	}
	becomes("arm64")
	server.events <- silent
	becomes("")
	server.events <- "containerd://2.3.0"
	becomes("arm64")
	server.events <- ""
	becomes("")
	if _, known := w.Architecture("other"); known {
		t.Error("a node that there is not is known")
	}
}
