package clusterstate

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/inject"
)

// namespaced is an apiserver with Namespaces and an InitProfile. Some Namespaces have changed since they were listed.
func namespaced() *apiserver {
	return &apiserver{
		items: map[string]string{
			initProfilesPath: `{"metadata":{"name":"jvm"},"spec":{}}`,
			namespacesPath: `{"metadata":{"name":"old","labels":{"podinit.dev/inject":"enabled","other":"x"},"annotations":{"podinit.dev/profile":"jvm"}}},
				{"metadata":{"name":"opened","labels":{"podinit.dev/inject":"disabled"}}},
				{"metadata":{"name":"closed","labels":{"podinit.dev/inject":"disabled"}}}`,
		},
		objects: map[string]string{
			namespacesPath + "/opened": `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"opened","labels":{"podinit.dev/inject":"enabled"}}}`,
			namespacesPath + "/new":    `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"new","annotations":{"podinit.dev/profile":"jvm"}}}`,
		},
	}
}

// setting is what an admission is given, and how long it had to wait.
func setting(t *testing.T, w *Watcher, namespace, byPod string) (inject.Setting, time.Duration) {
	t.Helper()
	annotations, err := json.Marshal(map[string]string{v1alpha1.ProfileAnnotation: byPod})
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

// ready waits until a Watcher is ready because all is known.
func ready(t *testing.T, w *Watcher) {
	t.Helper()
	eventually(t, "ready", func() bool { return w.Ready(nil) == nil })
	if !w.profiles.Synced() {
		t.Fatal("ready because it took too long")
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
	w := start(t, namespaced())
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

// undefined is namespaced without the CustomResourceDefinition.
func undefined() *apiserver {
	server := namespaced()
	server.noInitProfiles = true
	return server
}

// Without the CustomResourceDefinition the webhook is ready, and nothing waits.
func TestNotDefined(t *testing.T) {
	w := start(t, undefined())
	ready(t, w)
	s, _ := setting(t, w, "old", "")
	expect(t, s, "", v1alpha1.ReasonProfileUnread)
}

// Lists that are forbidden never come. Admission does not wait for them, and readiness not for ever.
func TestProfilesForbidden(t *testing.T) {
	server := namespaced()
	server.forbidden = forbidden(initProfilesPath, namespacesPath)
	w := start(t, server)
	if w.Ready(nil) == nil {
		t.Fatal("ready before anything is known")
	}
	// Until the informers are there, and when they are.
	for range 20 {
		s, took := setting(t, w, "new", "")
		expect(t, s, "", v1alpha1.ReasonProfileUnread)
		if s.NamespaceMissing {
			t.Error("a namespace is taken to be missing though they cannot be listed")
		}
		if took > 20*liveTimeout {
			t.Fatalf("an admission waited %s", took)
		}
		time.Sleep(20 * time.Millisecond)
	}
	eventually(t, "started", func() bool { return w.profiles.started.Load() != nil })
	long := time.Now().Add(-listTimeout - time.Second)
	w.profiles.started.Store(&long)
	if err := w.Ready(nil); err != nil {
		t.Errorf("after %s: %v", listTimeout, err)
	}
}

// An apiserver that does not answer holds an admission up for a moment only.
func TestSlow(t *testing.T) {
	server := namespaced()
	server.hangs = true
	w := start(t, server)
	ready(t, w)
	s, took := setting(t, w, "new", "")
	expect(t, s, "", v1alpha1.ReasonNamespaceUnread)
	if took > 20*liveTimeout { // else it would wait for as long as the test does
		t.Errorf("it took %s", took)
	}
}

func TestTrimNamespace(t *testing.T) {
	in := &corev1.Namespace{Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{"kubernetes"}}}
	in.Name = "n"
	in.Labels = map[string]string{v1alpha1.Inject: "enabled", "a": "b"}
	in.Annotations = map[string]string{"a": "b"}
	want := &corev1.Namespace{}
	want.Name, want.Labels = "n", map[string]string{v1alpha1.Inject: "enabled"}
	got, err := trimNamespace(in)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What a node's plugin goes by comes from memory, and no apiserver has checked that the Pod has opted in.
func TestKnown(t *testing.T) {
	pod := func(annotations map[string]string) *inject.Pod {
		return inject.NewRuntimePod(inject.RuntimeContainer{PodAnnotations: annotations})
	}
	server := namespaced()
	server.hangs = true
	w := start(t, server).profiles
	eventually(t, "synced, since both kinds can be listed", w.Synced)
	for namespace, want := range map[string]struct {
		label, profile string
		ignored        []v1alpha1.Reason
	}{
		"old":    {v1alpha1.InjectEnabled, "jvm", nil},
		"closed": {v1alpha1.InjectDisabled, "", nil},
		"new":    {"", "", []v1alpha1.Reason{v1alpha1.ReasonNamespaceUnread}}, // the apiserver has it, and does not answer
	} {
		s := w.Known(namespace, pod(nil))
		var ignored []v1alpha1.Reason
		for _, i := range s.Ignored {
			ignored = append(ignored, i.Reason)
		}
		if s.Selected || s.NamespaceInject != want.label || s.Profile.Name() != want.profile || !cmp.Equal(want.ignored, ignored) {
			t.Errorf("%s: selected %t, label %q, profile %q, ignored %q; want %+v", namespace, s.Selected, s.NamespaceInject, s.Profile.Name(), ignored, want)
		}
	}
	if s := w.Known("closed", pod(map[string]string{v1alpha1.ProfileAnnotation: "jvm"})); s.Profile.Name() != "jvm" {
		t.Errorf("the pod's profile is %q", s.Profile.Name())
	}
}

// Without InitProfiles all is known; without Namespaces it is not, however long that takes.
func TestSynced(t *testing.T) {
	w := start(t, undefined()).profiles
	eventually(t, "synced, since there are no InitProfiles", w.Synced)
	server := namespaced()
	server.forbidden = forbidden(namespacesPath)
	w = start(t, server).profiles
	eventually(t, "InitProfiles are listed", w.profiles.synced)
	if w.Synced() {
		t.Error("synced though Namespaces cannot be listed")
	}
	if s := w.Known("old", inject.NewRuntimePod(inject.RuntimeContainer{})); s.NamespaceInject != "" || len(s.Ignored) == 0 {
		t.Errorf("a namespace is known that cannot be listed: %+v", s)
	}
}
