package canary_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/internal/canary"
)

// apiserver has one Pod in podinit's namespace, which changes with what is sent to pods.
type apiserver struct {
	first     *corev1.Pod
	pods      chan *corev1.Pod
	forbidden atomic.Bool
}

func (s *apiserver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	fail := func(code int, reason string) {
		w.WriteHeader(code)
		json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReason(reason), Code: int32(code)})
	}
	switch query := r.URL.Query(); {
	case !strings.HasPrefix(r.URL.Path, "/api/v1/namespaces/podinit-system/pods"):
		fail(http.StatusNotFound, "NotFound")
	case s.forbidden.Load():
		fail(http.StatusForbidden, "Forbidden")
	case query.Get("sendInitialEvents") != "":
		fail(http.StatusBadRequest, "BadRequest")
	case query.Get("watch") != "":
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		for {
			select {
			case <-r.Context().Done():
				return
			case pod := <-s.pods:
				pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
				json.NewEncoder(w).Encode(map[string]any{"type": "MODIFIED", "object": pod})
				w.(http.Flusher).Flush()
			}
		}
	default:
		json.NewEncoder(w).Encode(corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, ListMeta: metav1.ListMeta{ResourceVersion: "1"}, Items: []corev1.Pod{*s.first}})
	}
}

// watch starts a Watcher. What it tells of goes to changes.
func watch(t *testing.T, server *apiserver, changes chan<- string) *canary.Watcher {
	t.Helper()
	listener := httptest.NewServer(server)
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{corev1.SchemeGroupVersion})
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Pod"), meta.RESTScopeNamespace)
	c, err := cache.New(&rest.Config{Host: listener.URL}, cache.Options{Scheme: scheme, Mapper: mapper, ByObject: map[client.Object]cache.ByObject{
		&corev1.Pod{}: {Namespaces: map[string]cache.Config{"podinit-system": {}}, Transform: canary.Trim},
	}})
	if err != nil {
		t.Fatal(err)
	}
	w := &canary.Watcher{Cache: c, Image: image, Architecture: architecture, Log: testr.New(t), Changed: func(_ context.Context, o canary.Opening, open bool) {
		if open {
			changes <- o.Architecture + " open: " + o.Pod + " " + o.Reason
		} else {
			changes <- o.Architecture + " closed"
		}
	}}
	ctx, cancel := context.WithCancel(t.Context())
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

// A Pod that waits has the Watcher leave its architecture out within the time that is promised, and one that runs ends that.
func TestWatcher(t *testing.T) {
	t.Parallel()
	server := &apiserver{first: prepull(waiting("ErrImagePull"), nil), pods: make(chan *corev1.Pod)}
	changes := make(chan string, 10)
	began := time.Now()
	w := watch(t, server, changes)
	select {
	case got := <-changes:
		if want := "amd64 open: podinit-prepull-x ErrImagePull"; got != want || strings.Join(w.Unavailable(), " ") != "amd64" {
			t.Errorf("told of %q, want %q; unavailable %q", got, want, w.Unavailable())
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it does not open")
	}
	if took := time.Since(began); took < canary.WaitTime || took > canary.WaitTime+5*time.Second {
		t.Errorf("it opens after %s", took)
	}
	server.pods <- prepull(running(1), func(pod *corev1.Pod) { pod.ResourceVersion = "2" })
	select {
	case got := <-changes:
		if got != "amd64 closed" || len(w.Unavailable()) > 0 {
			t.Errorf("told of %q; unavailable %q", got, w.Unavailable())
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it does not close")
	}
}

// A Watcher that may not read Pods leaves nothing out, and waits for nobody.
func TestWatcherForbidden(t *testing.T) {
	t.Parallel()
	server := &apiserver{first: prepull(waiting("ErrImagePull"), nil)}
	server.forbidden.Store(true)
	w := watch(t, server, nil)
	time.Sleep(canary.WaitTime + 2*time.Second)
	if got := w.Unavailable(); got != nil {
		t.Errorf("unavailable %q", got)
	}
}
