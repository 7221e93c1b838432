package installation_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/podinit/podinit/internal/cli/installation"
)

// deployment is a webhook with these arguments.
func deployment(args ...string) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "podinit-system", Name: "podinit-webhook", Labels: map[string]string{
		"app.kubernetes.io/name": "podinit", "app.kubernetes.io/component": "webhook"}}}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "other", Args: []string{"-a=other"}}, {Name: "webhook", Args: args}}
	return d
}

func TestFind(t *testing.T) {
	d := deployment()
	if found, err := installation.Find(t.Context(), fake.NewClientset(d), ""); err != nil || found.Name != d.Name {
		t.Errorf("found %v, %v", found, err)
	}
	if _, err := installation.Find(t.Context(), fake.NewClientset(d), "elsewhere"); !errors.Is(err, installation.ErrMissing) {
		t.Errorf("in another namespace: %v", err)
	}
}

// A user who may list Deployments of the usual namespace alone finds it there.
func TestFindAnywhere(t *testing.T) {
	client := fake.NewClientset(deployment())
	client.PrependReactor("list", "deployments", func(action clienttesting.Action) (bool, runtime.Object, error) {
		all := action.GetNamespace() == metav1.NamespaceAll
		return all, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "deployments"}, "", nil)
	})
	if d, err := installation.FindAnywhere(t.Context(), client); err != nil || d.Name != "podinit-webhook" {
		t.Errorf("found %v, %v", d, err)
	}
	if _, err := installation.Find(t.Context(), client, ""); !apierrors.IsForbidden(err) {
		t.Errorf("in all namespaces: %v", err)
	}
}

func TestFlag(t *testing.T) {
	d := deployment("-a=1", "--b=2", "-c", "3", "d=4", "-g=first", "-g=last", "-e")
	for name, want := range map[string]string{"a": "1", "b": "2", "c": "3", "d": "", "e": "", "f": "", "g": "last"} {
		if got := installation.Flag(d, name); got != want {
			t.Errorf("flag %q is %q, want %q", name, got, want)
		}
	}
}

func TestInitImage(t *testing.T) {
	d := deployment()
	if image := installation.InitImage(d); image != "" {
		t.Errorf("nothing says %s", image)
	}
	d.Spec.Template.Spec.Containers[1].Env = []corev1.EnvVar{{Name: "PODINIT_INIT_IMAGE", Value: "r.example/init:1"}}
	if image := installation.InitImage(d); image != "r.example/init:1" {
		t.Errorf("by the environment: %s", image)
	}
	d.Spec.Template.Spec.Containers[1].Args = []string{"-init-image=r.example/init:2"}
	if image := installation.InitImage(d); image != "r.example/init:2" {
		t.Errorf("by the flag: %s", image)
	}
}

func TestFiles(t *testing.T) {
	d := deployment()
	spec := &d.Spec.Template.Spec
	yes := true
	mount := func(name, at, subPath string, source corev1.VolumeSource) {
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
		spec.Containers[1].VolumeMounts = append(spec.Containers[1].VolumeMounts, corev1.VolumeMount{Name: name, MountPath: at, SubPath: subPath})
	}
	config := func(name string, items ...corev1.KeyToPath) *corev1.ConfigMapVolumeSource {
		return &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Items: items}
	}
	mount("registries", "/etc/podinit/registries/", "", corev1.VolumeSource{ConfigMap: config("registries")})
	mount("hosts", "/etc/podinit/certs.d", "", corev1.VolumeSource{ConfigMap: config("hosts", corev1.KeyToPath{Key: "hub", Path: "docker.io/hosts.toml"})})
	mount("tls", "/etc/podinit/tls", "", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "tls"}})
	mount("one", "/etc/podinit/one.yaml", "registries.yaml", corev1.VolumeSource{ConfigMap: config("registries")})
	mount("both", "/both", "", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "hosts"}, Items: []corev1.KeyToPath{{Key: "hub", Path: "a/b"}}}},
		{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "tls"}}},
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "gone"}, Optional: &yes}},
	}}})
	mount("node", "/node", "", corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/etc/containerd/certs.d"}})
	mount("empty", "/tmp", "", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})
	mount("gone", "/gone", "", corev1.VolumeSource{ConfigMap: config("gone")})
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "podinit-system", Name: name} }
	client := fake.NewClientset(
		&corev1.ConfigMap{ObjectMeta: meta("registries"), Data: map[string]string{"registries.yaml": "{}", "ca.crt": "PEM"}, BinaryData: map[string][]byte{"bin": {1}}},
		&corev1.ConfigMap{ObjectMeta: meta("hosts"), Data: map[string]string{"hub": "server", "other": "not mounted"}},
		&corev1.Secret{ObjectMeta: meta("tls"), Data: map[string][]byte{"tls.crt": []byte("PEM")}},
	)
	for at, want := range map[string]string{
		"/etc/podinit/registries/registries.yaml": ".",
		"/etc/podinit/registries":                 "bin ca.crt registries.yaml",
		"/etc/podinit/registries/../registries/":  "bin ca.crt registries.yaml",
		"/etc/podinit/certs.d":                    "docker.io/hosts.toml",
		"/etc/podinit/certs.d/docker.io":          "hosts.toml",
		"/etc/podinit/tls/tls.crt":                ".",
		"/etc/podinit/one.yaml":                   ".",
		"/both":                                   "a/b tls.crt",
		"/both/a":                                 "b",
		"/etc/podinit/registries/none.yaml":       "error: not in volume registries",
		"/etc/podinit/registriesx/a":              "error: is not in a volume",
		"/node":                                   "error: a directory of the node, /etc/containerd/certs.d",
		"/tmp/x":                                  "error: comes neither from a ConfigMap nor from a Secret",
		"/gone/x":                                 `error: configmaps "gone" not found`,
		"relative":                                "error: is not in a volume",
		"":                                        "error: is not in a volume",
	} {
		files, err := installation.Files(t.Context(), client, d, at)
		got := strings.Join(slices.Sorted(maps.Keys(files)), " ")
		if part, fails := strings.CutPrefix(want, "error: "); fails {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, want %q", at, err, part)
			}
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", at, err, diff)
		}
	}
	if files, _ := installation.Files(t.Context(), client, d, "/etc/podinit/one.yaml"); string(files["."]) != "{}" {
		t.Errorf("content %q", files["."])
	}
}
