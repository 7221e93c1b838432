package version

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDescribe(t *testing.T) {
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, test := range []struct {
		name, label, image, version, source string
	}{
		{"label", "v1.2.3", "registry.example/podinit/webhook:other", "v1.2.3", "label app.kubernetes.io/version"},
		{"tag", "", "registry.example:5000/podinit/webhook:v1.2.3", "v1.2.3", "the image's tag"},
		{"no tag", "", "registry.example:5000/podinit/webhook", "", ""},
		{"latest", "", "registry.example/podinit/webhook:latest", "", ""},
		{"a tag that is no version", "", "registry.example/podinit/webhook:prod", "", ""},
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
			want := &Server{
				Namespace: "podinit-system", Name: "podinit-webhook", Version: test.version, Source: test.source,
				Image: test.image, InitImage: "registry.example/podinit/init:v1",
			}
			if diff := cmp.Diff(want, describe(d)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
