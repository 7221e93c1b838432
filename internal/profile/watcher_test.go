package profile

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/inject"
)

// apiserver answers reads of Namespaces and InitProfiles.
type apiserver struct {
	// forbidden are the resources that may not be listed.
	forbidden map[string]bool
	// slow is set where a read of one namespace never ends.
	slow bool
}

const (
	initProfiles = "/apis/podinit.dev/v1alpha1/initprofiles"
	namespaces   = "/api/v1/namespaces"
)

var objects = map[string]string{
	initProfiles: `{"apiVersion":"podinit.dev/v1alpha1","kind":"InitProfileList","metadata":{"resourceVersion":"1"},"items":[
		{"metadata":{"name":"jvm"},"spec":{}}]}`,
	namespaces: `{"apiVersion":"v1","kind":"NamespaceList","metadata":{"resourceVersion":"1"},"items":[
		{"metadata":{"name":"old","labels":{"podinit.dev/inject":"enabled","other":"x"},"annotations":{"podinit.dev/profile":"jvm"}}},
		{"metadata":{"name":"opened","labels":{"podinit.dev/inject":"disabled"}}},
		{"metadata":{"name":"closed","labels":{"podinit.dev/inject":"disabled"}}}]}`,
	namespaces + "/opened": `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"opened","labels":{"podinit.dev/inject":"enabled"}}}`,
	namespaces + "/new":    `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"new","annotations":{"podinit.dev/profile":"jvm"}}}`,
}

func (s apiserver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	answer := func(code int, body string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}
	switch one := strings.HasPrefix(path, namespaces+"/"); {
	case one && s.slow:
		<-r.Context().Done()
	case s.forbidden[path]:
		answer(http.StatusForbidden, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`)
	case r.URL.Query().Get("sendInitialEvents") != "":
		answer(http.StatusBadRequest, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"BadRequest","code":400}`)
	case r.URL.Query().Get("watch") != "":
		answer(http.StatusOK, "")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case objects[path] != "":
		answer(http.StatusOK, objects[path])
	default:
		answer(http.StatusNotFound, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
	}
}

// watch starts a Watcher before a server. If it is not defined, the server has no InitProfiles.
func watch(t *testing.T, server apiserver, defined bool) *Watcher {
	t.Helper()
	listener := httptest.NewServer(server)
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{corev1.SchemeGroupVersion, v1alpha1.GroupVersion})
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Namespace"), meta.RESTScopeRoot)
	if defined {
		mapper.Add(v1alpha1.GroupVersion.WithKind("InitProfile"), meta.RESTScopeRoot)
	}
	config := &rest.Config{Host: listener.URL}
	c, err := cache.New(config, cache.Options{
		Scheme: scheme, Mapper: mapper, ReaderFailOnMissingInformer: true,
		ByObject: map[client.Object]cache.ByObject{&corev1.Namespace{}: {Transform: Trim}},
	})
	if err != nil {
		t.Fatal(err)
	}
	live, err := client.New(config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w := NewWatcher(c, live, testr.New(t))
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

// setting is what an admission is told, and how long it had to wait.
func setting(t *testing.T, w *Watcher, namespace, podWish string) (inject.Setting, time.Duration) {
	t.Helper()
	annotations, err := json.Marshal(map[string]string{v1alpha1.ProfileAnnotation: podWish})
	if err != nil {
		t.Fatal(err)
	}
	pod, err := inject.Decode([]byte(`{"metadata":{"annotations":` + string(annotations) + `},"spec":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s := w.Setting(t.Context(), namespace, pod)
	return s, time.Since(began)
}

func ready(t *testing.T, w *Watcher) {
	t.Helper()
	for deadline := time.Now().Add(patience / 2); ; time.Sleep(10 * time.Millisecond) {
		err := w.Ready(nil)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func expect(t *testing.T, s inject.Setting, profile string, ignored ...v1alpha1.Reason) {
	t.Helper()
	if !s.Selected {
		t.Error("the apiserver's selection does not count")
	}
	if diff := cmp.Diff(profile, s.Profile.Name()); diff != "" {
		t.Errorf("profile (-want +got):\n%s", diff)
	}
	var reasons []v1alpha1.Reason
	for _, i := range s.Ignored {
		reasons = append(reasons, i.Reason)
	}
	if diff := cmp.Diff(ignored, reasons); diff != "" {
		t.Errorf("ignored (-want +got):\n%s", diff)
	}
}

func TestWatched(t *testing.T) {
	w := watch(t, apiserver{}, true)
	ready(t, w)
	s, _ := setting(t, w, "old", "")
	expect(t, s, "jvm")
	if diff := cmp.Diff(v1alpha1.InjectEnabled, s.NamespaceInject); diff != "" {
		t.Errorf("the namespace's label (-want +got):\n%s", diff)
	}
	// It is not in the list, so it is newer than that.
	s, _ = setting(t, w, "new", "")
	expect(t, s, "jvm")
	// The apiserver has sent a pod of it, so it is no longer closed; or whoever sends pods does not care.
	for namespace, label := range map[string]string{"opened": v1alpha1.InjectEnabled, "closed": v1alpha1.InjectDisabled} {
		if s, _ = setting(t, w, namespace, ""); s.NamespaceInject != label {
			t.Errorf("namespace %s has label %q, want %q", namespace, s.NamespaceInject, label)
		}
	}
	if s.NamespaceMissing {
		t.Error("a namespace that is there is taken to be missing")
	}
	s, _ = setting(t, w, "gone", "typo")
	if !s.NamespaceMissing {
		t.Error("a namespace that is nowhere is not taken to be missing")
	}
	expect(t, s, "", v1alpha1.ReasonNamespaceUnread, v1alpha1.ReasonProfileMissing)
}

// Without the CustomResourceDefinition the webhook is ready, and nothing waits.
func TestNotDefined(t *testing.T) {
	w := watch(t, apiserver{}, false)
	ready(t, w)
	s, _ := setting(t, w, "old", "")
	expect(t, s, "", v1alpha1.ReasonProfileUnread)
}

// Lists that are forbidden never come. Admission does not wait for them, and readiness not for ever.
func TestForbidden(t *testing.T) {
	w := watch(t, apiserver{forbidden: map[string]bool{initProfiles: true, namespaces: true}}, true)
	for deadline := time.Now().Add(patience / 2); w.Ready(nil) == nil || !strings.Contains(w.Ready(nil).Error(), "first list"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("ready before anything is known: %v", w.Ready(nil))
		}
	}
	// Until the informers are there, and when they are.
	for range 20 {
		s, took := setting(t, w, "new", "")
		expect(t, s, "", v1alpha1.ReasonProfileUnread)
		if s.NamespaceMissing {
			t.Error("a namespace is taken to be missing though no list of them is to be had")
		}
		if took > liveRead {
			t.Fatalf("an admission waited %s", took)
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.mu.Lock()
	w.started = w.started.Add(-patience)
	w.mu.Unlock()
	if err := w.Ready(nil); err != nil {
		t.Errorf("after %s: %v", patience, err)
	}
}

// An apiserver that does not answer holds an admission up for a moment only.
func TestSlow(t *testing.T) {
	w := watch(t, apiserver{slow: true}, true)
	ready(t, w)
	s, took := setting(t, w, "new", "")
	expect(t, s, "", v1alpha1.ReasonNamespaceUnread)
	if took > 2*liveRead {
		t.Errorf("it took %s", took)
	}
}

func TestTrim(t *testing.T) {
	in := &corev1.Namespace{Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{"kubernetes"}}}
	in.Name = "n"
	in.Labels = map[string]string{v1alpha1.Inject: "enabled", "a": "b"}
	in.Annotations = map[string]string{"a": "b"}
	want := &corev1.Namespace{}
	want.Name, want.Labels = "n", map[string]string{v1alpha1.Inject: "enabled"}
	got, err := Trim(in)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
