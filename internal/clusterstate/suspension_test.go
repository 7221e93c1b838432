package clusterstate

import (
	"context"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
)

const configMapJSON = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"podinit-system","name":"podinit-suspend","resourceVersion":"2"}}`

func TestConfigMap(t *testing.T) {
	server := &apiserver{events: map[string]chan string{configMapsPath: make(chan string)}}
	w := start(t, server)
	eventually(t, "ready", func() bool { return w.SuspensionReady(nil) == nil })
	if s, _ := setting(t, w, "team", ""); w.Suspended() || s.Suspended {
		t.Error("suspended without a ConfigMap")
	}
	if want, asked := "metadata.name=podinit-suspend", server.configMaps.Load(); asked != want {
		t.Errorf("asked for %q, want %q: no other ConfigMap may be read", asked, want)
	}
	server.events[configMapsPath] <- fmt.Sprintf(`{"type":"ADDED","object":%s}`, configMapJSON)
	eventually(t, "suspended", w.Suspended)
	if s, _ := setting(t, w, "team", ""); !s.Suspended || !s.Selected || s.Namespace != "team" {
		t.Errorf("suspended, and a pod's setting is %+v", s)
	}
	server.events[configMapsPath] <- fmt.Sprintf(`{"type":"DELETED","object":%s}`, configMapJSON)
	eventually(t, "resumed", func() bool { return !w.Suspended() })
}

// A replica that starts while podinit is suspended is not ready before it knows.
func TestReadyMeansKnown(t *testing.T) {
	w := start(t, &apiserver{items: map[string]string{configMapsPath: configMapJSON}})
	eventually(t, "ready", func() bool { return w.SuspensionReady(nil) == nil })
	if !w.Suspended() {
		t.Error("ready, and does not know that there is a ConfigMap")
	}
}

func TestSuspensionForbidden(t *testing.T) {
	w := start(t, &apiserver{forbidden: forbidden(configMapsPath)})
	eventually(t, "the others are listed", w.limits.watched.synced)
	if w.SuspensionReady(nil) == nil && !w.profiles.overdue() {
		t.Error("ready, and it is not known whether there is a ConfigMap")
	}
	if w.Suspended() {
		t.Error("suspended, because the ConfigMap cannot be read")
	}
}

// What may not read the ConfigMap waits for it, but not for ever.
func TestSettled(t *testing.T) {
	s := start(t, &apiserver{forbidden: forbidden(configMapsPath)}).suspension
	if s.Settled() {
		t.Error("settled, and it is not known whether there is a ConfigMap")
	}
	long := time.Now().Add(-2 * listTimeout)
	s.started.Store(&long)
	if !s.Settled() || s.Now() {
		t.Error("it waits for ever, or counts as suspended")
	}
}

// A Suspension alone watches as a Watcher does: node mode has no other.
func TestSuspensionAlone(t *testing.T) {
	server := &apiserver{items: map[string]string{configMapsPath: configMapJSON}}
	listener := httptest.NewServer(server)
	t.Cleanup(func() { listener.CloseClientConnections(); listener.Close() })
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{corev1.SchemeGroupVersion})
	mapper.Add(corev1.SchemeGroupVersion.WithKind("ConfigMap"), meta.RESTScopeNamespace)
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := cache.New(&rest.Config{Host: listener.URL}, cache.Options{
		Scheme: scheme, Mapper: mapper, ReaderFailOnMissingInformer: true, ByObject: SuspensionByObject(own),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := NewSuspension(c, own, false, "containers are created unchanged", testr.New(t))
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 2)
	go func() { stopped <- c.Start(ctx) }()
	go func() { stopped <- s.Start(ctx) }()
	eventually(t, "settled", s.Settled)
	if !s.Now() {
		t.Error("settled, and does not know that there is a ConfigMap")
	}
	cancel()
	for range cap(stopped) {
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}
}

func TestFlag(t *testing.T) {
	w := start(t, &apiserver{forbidden: forbidden(configMapsPath)}, func(o *Options) { o.Suspended = true })
	if err := w.SuspensionReady(nil); err != nil || !w.Suspended() {
		t.Errorf("with the flag: suspended %t, %v", w.Suspended(), err)
	}
}
