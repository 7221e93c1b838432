package suspend_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/internal/suspend"
)

const configMap = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"here","name":"podinit-suspend","resourceVersion":"%d"}}`

// apiserver lists the ConfigMap if it exists, and sends what comes from events: ADDED or DELETED.
type apiserver struct {
	exists, forbidden atomic.Bool
	asked             atomic.Value
	events            chan string
}

func (s *apiserver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	s.asked.Store(r.URL.Path + " " + r.URL.Query().Get("fieldSelector"))
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
				fmt.Fprintf(w, `{"type":%q,"object":`+configMap+"}\n", event, version)
				w.(http.Flusher).Flush()
			}
		}
	default:
		items := ""
		if s.exists.Load() {
			items = fmt.Sprintf(configMap, 1)
		}
		fmt.Fprintf(w, `{"apiVersion":"v1","kind":"ConfigMapList","metadata":{"resourceVersion":"1"},"items":[%s]}`, items)
	}
}

func start(t *testing.T, server *apiserver, always bool) *suspend.Watcher {
	t.Helper()
	server.events = make(chan string)
	listener := httptest.NewServer(server)
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{corev1.SchemeGroupVersion})
	mapper.Add(corev1.SchemeGroupVersion.WithKind("ConfigMap"), meta.RESTScopeNamespace)
	c, err := cache.New(&rest.Config{Host: listener.URL}, cache.Options{
		Scheme: scheme, Mapper: mapper, ByObject: map[client.Object]cache.ByObject{&corev1.ConfigMap{}: suspend.ByObject("here")},
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &suspend.Watcher{Cache: c, Namespace: "here", Always: always, Log: testr.New(t)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{}, 2)
	for _, run := range []func(context.Context) error{c.Start, w.Start} {
		go func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
			done <- struct{}{}
		}()
	}
	t.Cleanup(func() {
		cancel()
		<-done
		<-done
		listener.CloseClientConnections()
		listener.Close()
	})
	return w
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for began := time.Now(); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 5*time.Second {
			t.Fatal("this does not come true: " + what)
		}
	}
}

func TestConfigMap(t *testing.T) {
	server := &apiserver{}
	w := start(t, server, false)
	eventually(t, "ready", func() bool { return w.Ready(nil) == nil })
	if w.Suspended() || w.Gauge() != 0 {
		t.Error("suspended without a ConfigMap")
	}
	if want, asked := "/api/v1/namespaces/here/configmaps metadata.name=podinit-suspend", server.asked.Load(); asked != want {
		t.Errorf("asked for %q, want %q: no other ConfigMap may be read", asked, want)
	}
	server.events <- "ADDED"
	eventually(t, "suspended", func() bool { return w.Suspended() && w.Gauge() == 1 })
	server.events <- "DELETED"
	eventually(t, "resumed", func() bool { return !w.Suspended() })
}

// A replica that starts while podinit is suspended is not ready before it knows.
func TestReadyMeansKnown(t *testing.T) {
	server := &apiserver{}
	server.exists.Store(true)
	w := start(t, server, false)
	for began := time.Now(); w.Ready(nil) != nil; time.Sleep(time.Millisecond) {
		if time.Since(began) > 5*time.Second {
			t.Fatal("never ready")
		}
	}
	if !w.Suspended() {
		t.Error("ready, and does not know that there is a ConfigMap")
	}
}

func TestForbidden(t *testing.T) {
	server := &apiserver{}
	server.forbidden.Store(true)
	w := start(t, server, false)
	time.Sleep(50 * time.Millisecond)
	if w.Ready(nil) == nil {
		t.Error("ready, and it is not known whether there is a ConfigMap")
	}
	if w.Suspended() {
		t.Error("suspended, because the ConfigMap cannot be read")
	}
}

func TestFlag(t *testing.T) {
	server := &apiserver{}
	server.forbidden.Store(true)
	w := start(t, server, true)
	if err := w.Ready(nil); err != nil || !w.Suspended() {
		t.Errorf("with the flag: suspended %t, %v", w.Suspended(), err)
	}
}
