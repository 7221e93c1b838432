package installation

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/podinit/podinit/api/v1alpha1"
)

func TestVersion(t *testing.T) {
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, test := range []struct {
		name, label, image, version, source string
	}{
		{"label", "v1.2.3", "registry.example/podinit/webhook:other", "v1.2.3", "label app.kubernetes.io/version"},
		{"tag", "", "registry.example:5000/podinit/webhook:v1.2.3", "v1.2.3", "the image's tag"},
		{"no tag", "", "registry.example:5000/podinit/webhook", "", ""},
		{"latest", "", "registry.example/podinit/webhook:latest", "", ""},
		{"a tag that is no version", "", "registry.example/podinit/webhook:prod", "", ""},
		{"tag and digest", "", "registry.example:5000/podinit/webhook:v1.2.3@" + digest, "v1.2.3", "the image's tag"},
		{"digest", "", "registry.example/podinit/webhook@" + digest, "", ""},
		{"no name", "", "UPPER", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "podinit-system", Name: "podinit-webhook"}}
			if test.label != "" {
				d.Labels = map[string]string{versionLabel: test.label}
			}
			d.Spec.Template.Spec.Containers = []corev1.Container{
				{Name: "other", Image: "other:v9"},
				{Name: "webhook", Image: test.image, Env: []corev1.EnvVar{{Name: "PODINIT_INIT_IMAGE", Value: "registry.example/podinit/init:v1"}}},
			}
			version, source := Version(t.Context(), fake.NewClientset(), d)
			if version != test.version || source != test.source {
				t.Errorf("version %q by %q, want %q by %q", version, source, test.version, test.source)
			}
			if image := Image(d); image != test.image {
				t.Errorf("image %q, want %q", image, test.image)
			}
		})
	}
}

// The youngest pod may be on any page.
func TestVersionOfLastWrapped(t *testing.T) {
	pod := func(name, version string, made time.Time) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1alpha1.VersionLabel: version}, CreationTimestamp: metav1.NewTime(made)}}
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	pages := map[string]*corev1.PodList{
		"":     {ListMeta: metav1.ListMeta{Continue: "more"}, Items: []corev1.Pod{pod("a", "v1", now), pod("b", "v0", now.Add(-time.Hour))}},
		"more": {Items: []corev1.Pod{pod("c", "v2", now.Add(time.Hour))}},
	}
	client := fake.NewClientset()
	client.PrependReactor("list", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		return true, pages[action.(clienttesting.ListActionImpl).GetListOptions().Continue], nil
	})
	version, source := Version(t.Context(), client, &appsv1.Deployment{})
	if version != "v2" || source != "label podinit.dev/version of the pod wrapped last" {
		t.Errorf("version %q by %q, want v2 by the last pod", version, source)
	}
}
