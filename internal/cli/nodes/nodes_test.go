package nodes

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"github.com/podinit/podinit/internal/node/report"
)

var labels = map[string]string{"app.kubernetes.io/name": "podinit", "app.kubernetes.io/component": "node"}

func daemonSet(namespace string) *appsv1.DaemonSet {
	d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "podinit-node", Labels: labels}}
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	d.Spec.Template.Spec.NodeSelector = map[string]string{"kubernetes.io/os": "linux"}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "node", Ports: []corev1.ContainerPort{{Name: "metrics", ContainerPort: 9090}}}}
	return d
}

func plugin(name, node string, ready bool) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name, Labels: labels}, Spec: corev1.PodSpec{NodeName: node}}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return p
}

func TestFind(t *testing.T) {
	client := fake.NewClientset(daemonSet(Namespace))
	if d, err := FindAnywhere(t.Context(), client); err != nil || d.Name != "podinit-node" {
		t.Errorf("found %v, %v", d, err)
	}
	if _, err := FindAnywhere(t.Context(), fake.NewClientset()); !errors.Is(err, ErrMissing) {
		t.Errorf("without one: %v", err)
	}
	if _, err := Find(t.Context(), client, "elsewhere"); !errors.Is(err, ErrMissing) {
		t.Errorf("in a namespace without one: %v", err)
	}
	client.PrependReactor("list", "daemonsets", func(action clienttesting.Action) (bool, runtime.Object, error) {
		all := action.GetNamespace() == metav1.NamespaceAll
		return all, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "daemonsets"}, "", nil)
	})
	if d, err := FindAnywhere(t.Context(), client); err != nil || d.Name != "podinit-node" {
		t.Errorf("a user who may list those of its namespace alone: %v, %v", d, err)
	}
}

func TestWanted(t *testing.T) {
	linux := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"kubernetes.io/os": "linux"}}}
	windows := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"kubernetes.io/os": "windows"}}}
	if d := daemonSet(Namespace); !Wanted(d, linux) || Wanted(d, windows) {
		t.Error("podinit-node is to run where its DaemonSet selects nodes")
	}
}

// Each node is there once, during a rollout too, and says why its podinit-node is not ready.
func TestList(t *testing.T) {
	stuck := plugin("stuck", "c", false)
	stuck.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "node", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "not found"}}}}
	pending := plugin("pending", "", false)
	ended := plugin("evicted", "d", false)
	ended.Status.Phase = corev1.PodFailed
	client := fake.NewClientset(plugin("new", "a", false), plugin("old", "a", true), plugin("one", "b", false), stuck, pending, ended)
	got, err := List(t.Context(), client, daemonSet(Namespace))
	if err != nil {
		t.Fatal(err)
	}
	want := []Node{
		{Name: "a", Pod: "old", Ready: true}, {Name: "b", Pod: "one", Problem: "podinit-node is not ready"},
		{Name: "c", Pod: "stuck", Problem: "container node of podinit-node waits: ErrImagePull: not found"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// To know one node, the pods of no other are read.
func TestOn(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("list", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		of := action.(clienttesting.ListAction).GetListRestrictions().Fields
		list := &corev1.PodList{}
		for _, pod := range []*corev1.Pod{plugin("p1", "a", false), plugin("p2", "b", true)} {
			if of.Matches(fields.Set{"spec.nodeName": pod.Spec.NodeName}) {
				list.Items = append(list.Items, *pod)
			}
		}
		if len(list.Items) > 1 {
			t.Errorf("pods with %q are read", of)
		}
		return true, list, nil
	})
	if n, ok, err := On(t.Context(), client, daemonSet(Namespace), "b"); !ok || err != nil || n.Pod != "p2" || !n.Ready {
		t.Errorf("%+v, %t, %v", n, ok, err)
	}
	if n, ok, err := On(t.Context(), client, daemonSet(Namespace), "c"); ok || err != nil || n.Name != "c" {
		t.Errorf("without a pod: %+v, %t, %v", n, ok, err)
	}
}

func TestAsk(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pod, found := strings.CutPrefix(r.URL.Path, "/api/v1/namespaces/podinit-node/pods/http:")
		pod, path, _ := strings.Cut(pod, "/proxy")
		if !found || path != report.Path || r.URL.RawQuery != "namespace=shop" {
			t.Errorf("asked for %s", r.URL)
		}
		answer := report.Report{Version: "v1", Registered: true, Containers: []report.Container{
			{Namespace: "shop", Pod: "web", Name: "app", State: report.Missed}, {Namespace: "shop", Pod: "web", Name: "app", State: report.Wrapped},
			{Namespace: "shop", Pod: "web", Name: "other", State: report.Wrapped, Init: "v1.0.0-rc.1-0123456789ab"},
		}}
		switch pod {
		case "good:9090":
		case "away:9090":
			answer = report.Report{Version: "v1", Problem: "not registered: no such file"}
		default:
			http.Error(w, "forbidden", http.StatusForbidden)
			return
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	all := []Node{{Name: "a", Pod: "good", Ready: true}, {Name: "b", Pod: "away", Ready: true}, {Name: "c", Pod: "closed", Ready: true}, {Name: "d"}}
	Ask(t.Context(), client, daemonSet(Namespace), all, "shop")
	if all[0].Err != nil || !all[0].Ready || all[0].Report.Version != "v1" {
		t.Errorf("the one that answers: %+v", all[0])
	}
	if all[1].Ready || all[1].Problem != "not registered: no such file" {
		t.Errorf("the one that is not registered: %+v", all[1])
	}
	if !apierrors.IsForbidden(all[2].Err) || all[2].Report != nil || all[3].Report != nil {
		t.Errorf("those that say nothing: %+v", all[2:])
	}
	containers := Containers(all)
	if len(containers) != 2 || containers[Key{"shop", "web", "app"}].State != report.Missed {
		t.Errorf("%+v", containers)
	}
	if got := InitVersion(containers[Key{"shop", "web", "other"}]); got != "v1.0.0-rc.1" {
		t.Errorf("the init's version is %q", got)
	}
}

// The version is the label's or the tag's, and else what the nodes report: both versions while a rollout is under way.
func TestVersion(t *testing.T) {
	const reported = "reports of the nodes"
	var versions map[string]string // by pod; those that have none do not answer
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/pods") {
			list := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}}
			for name := range versions {
				list.Items = append(list.Items, *plugin(name, name, true))
			}
			_ = json.NewEncoder(w).Encode(list)
			return
		}
		name := strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/podinit-node/pods/http:")
		name, _, _ = strings.Cut(name, ":")
		if versions[name] == "" {
			http.Error(w, "forbidden", http.StatusForbidden)
			return
		}
		_ = json.NewEncoder(w).Encode(report.Report{Version: versions[name]})
	}))
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, label, image string
		versions           map[string]string
		version, source    string
	}{
		{"label", "v1.2.3", "registry.example/node:v9.9.9", nil, "v1.2.3", "label app.kubernetes.io/version"},
		{"tag", "", "registry.example/node:v1.2.3", nil, "v1.2.3", "the image's tag"},
		{"nodes", "", "registry.example/node:prod", map[string]string{"a": "v1.0.0", "b": "v1.0.0"}, "v1.0.0", reported},
		{"nodes of two versions", "", "registry.example/node:prod", map[string]string{"a": "v1.1.0", "b": "v1.0.0"}, "v1.0.0, v1.1.0", reported},
		{"a node that does not answer", "", "registry.example/node:prod", map[string]string{"a": "", "b": "v1.0.0"}, "v1.0.0", reported},
		{"no node answers", "", "registry.example/node:prod", map[string]string{"a": ""}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			versions = tt.versions
			d := daemonSet(Namespace)
			d.Labels = map[string]string{"app.kubernetes.io/version": tt.label}
			d.Spec.Template.Spec.Containers[0].Image = tt.image
			if version, source := Version(t.Context(), client, d); version != tt.version || source != tt.source {
				t.Errorf("version %q by %q, want %q by %q", version, source, tt.version, tt.source)
			}
		})
	}
}
