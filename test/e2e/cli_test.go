package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli"
	"github.com/podinit/podinit/internal/cli/explain"
	"github.com/podinit/podinit/test/cluster"
)

// podinit runs the command line against the cluster.
func podinit(t *testing.T, in string, args ...string) (out, errOut string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = cli.Run(append([]string{"podinit", "--kubeconfig", kubeconfig}, args...), strings.NewReader(in), &o, &e)
	return o.String(), e.String(), code
}

// TestInjectIsAdmission creates pods in an opted-in namespace, and what "podinit inject" makes of their manifests in one
// that has not: they are the same, and no flag is needed for that but to send a password without TLS. What it makes is not changed by admission either.
func TestInjectIsAdmission(t *testing.T) {
	lookups(t)
	plain, opted := namespace(t, nil), namespace(t, optedIn())
	// The cluster's images are named by digest alone, so a pod that is wrapped says the webhook's version.
	create(t, opted, shellPod("seen", "sleep", "60"))

	quits := push(t, cluster.Registry+"/e2e/inject-quits:1", shell(t, v1.Config{Entrypoint: []string{"sh", "-c", "echo $X"}, Cmd: []string{"$$"}, StopSignal: "SIGQUIT"}, ""))
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, architecture := range []string{"amd64", "arm64"} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        shell(t, v1.Config{Entrypoint: []string{"sleep", "$X" + architecture}}, architecture),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}},
		})
	}
	differs := push(t, cluster.Registry+"/e2e/inject-index:1", index)
	secret := push(t, private+"/team/inject:1", shell(t, v1.Config{Entrypoint: []string{"sleep", "60"}}, ""))
	login, err := json.Marshal(map[string]any{"auths": map[string]any{private: map[string]string{"username": user, "password": password}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	if err := os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), login, 0o600); err != nil {
		t.Fatal(err)
	}
	makeSecret(t, opted, "login", string(login))

	clear := filepath.Join(t.TempDir(), "registries.yaml")
	if err := os.WriteFile(clear, fmt.Appendf(nil, "registries:\n- {host: %q, plainHTTP: true}\n", private), 0o644); err != nil {
		t.Fatal(err)
	}

	always, no, grace := corev1.ContainerRestartPolicyAlways, false, int64(47)
	for name, change := range map[string]func(*corev1.Pod){
		"command": func(*corev1.Pod) {},
		"image":   func(pod *corev1.Pod) { pod.Spec.Containers[0].Image, pod.Spec.Containers[0].Command = quits, nil },
		"image-and-args": func(pod *corev1.Pod) {
			pod.Spec.Containers[0] = imagePod("", quits).Spec.Containers[0]
			pod.Spec.Containers[0].Args = []string{"$(X)"}
		},
		"platforms": func(pod *corev1.Pod) {
			pod.Spec.Containers[0] = imagePod("", differs).Spec.Containers[0]
			pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
					{Key: corev1.LabelArchStable, Operator: corev1.NodeSelectorOpIn, Values: []string{"amd64", "arm64"}},
				}}},
			}}}
		},
		"private-image": func(pod *corev1.Pod) {
			pod.Spec.Containers[0] = imagePod("", secret).Spec.Containers[0]
			pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "login"}}
		},
		"several": func(pod *corev1.Pod) {
			second, proxy, sidecar := pod.Spec.Containers[0], pod.Spec.Containers[0], pod.Spec.Containers[0]
			second.Name, second.Resources = "second", classes[1].resources
			second.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
			proxy.Name, proxy.Command = "istio-proxy", []string{"pilot-agent"}
			sidecar.Name, sidecar.RestartPolicy = "logs", &always
			pod.Spec.Containers = append(pod.Spec.Containers, second, proxy)
			pod.Spec.InitContainers = []corev1.Container{sidecar}
			pod.Spec.TerminationGracePeriodSeconds = &grace
			pod.Spec.Volumes = []corev1.Volume{{Name: "own"}}
			pod.Annotations = map[string]string{"podinit.dev/flags.app": "--linger=3s", "podinit.dev/containers": "app, second, logs"}
		},
		"guaranteed": func(pod *corev1.Pod) { pod.Spec.Containers[0].Resources = classes[0].resources },
		"opted-out":  func(pod *corev1.Pod) { pod.Labels = map[string]string{"podinit.dev/inject": "disabled"} },
		"left-alone": func(pod *corev1.Pod) { pod.Spec.HostPID = true },
	} {
		t.Run(name, func(t *testing.T) {
			pod := shellPod(name, "sh", "-c", "echo $HOME; exec sleep 60")
			pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
			pod.Spec.AutomountServiceAccountToken = &no // its volume has another name each time
			change(pod)
			manifest, err := yaml.Marshal(pod)
			if err != nil {
				t.Fatal(err)
			}
			args, goesBy := []string{"inject", "-f", "-"}, ", registry configuration\n"
			if len(pod.Spec.ImagePullSecrets) > 0 {
				// Only the user says that a password may go without TLS.
				args, goesBy = append(args, "--registry-config", clear), "init image "
			}
			out, errOut, code := podinit(t, string(manifest), args...)
			if code != 0 {
				t.Fatalf("exit code %d: %s", code, errOut)
			}
			if !strings.Contains(errOut, "as deployment/podinit-webhook in namespace podinit-system: init image ") || !strings.Contains(errOut, goesBy) {
				t.Errorf("nothing says what it goes by: %s", errOut)
			}
			var printed corev1.Pod
			if err := yaml.UnmarshalStrict([]byte(out), &printed); err != nil {
				t.Fatal(err)
			}
			created := func(ns string, pod *corev1.Pod) *corev1.Pod {
				created, err := client.CoreV1().Pods(ns).Create(t.Context(), pod, dryRun)
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: created.Labels, Annotations: created.Annotations}, Spec: created.Spec}
			}
			admitted := created(opted, pod)
			if diff := cmp.Diff(admitted, created(plain, &printed)); diff != "" {
				t.Errorf("(-admitted +printed by inject):\n%s", diff)
			}
			if diff := cmp.Diff(admitted, created(opted, &printed)); diff != "" {
				t.Errorf("(-admitted +printed by inject, then admitted):\n%s", diff)
			}
		})
	}
}

// TestExplainAgrees asks about an image at a registry without TLS, which the webhook wraps by its registry configuration.
// A user that may not read that gets a note.
func TestExplainAgrees(t *testing.T) {
	lookups(t)
	opted := namespace(t, optedIn())
	pod := imagePod("agrees", push(t, cluster.Registry+"/e2e/explain:1", shell(t, v1.Config{Entrypoint: []string{"sleep", "60"}}, "")))
	pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	admitted := admit(t, opted, pod)
	if s := statusOf(t, admitted); s.Source != v1alpha1.SourceRegistry {
		t.Fatalf("the webhook says %+v", s)
	}
	manifest, err := yaml.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args   []string
		wraps  bool
		errOut string
	}{
		{nil, true, ", registry configuration\n"},
		{[]string{"--as=somebody"}, false, "you may not read podinit's Deployment"},
		{[]string{"--offline"}, false, "--offline asks neither registries nor a cluster; assumed: init image "},
		{[]string{"--kubeconfig", filepath.Join(t.TempDir(), "none"), "--server", "https://127.0.0.1:1"}, false, "assumed: init image "},
	} {
		began := time.Now()
		out, errOut, code := podinit(t, string(manifest), append([]string{"explain", "-f", "-", "-o", "json"}, tt.args...)...)
		var all []explain.Explanation
		if err := json.Unmarshal([]byte(out), &all); code != 0 && tt.wraps || err != nil && code == 0 || tt.wraps && len(all) != 1 {
			t.Fatalf("%v: exit code %d, %v: %s", tt.args, code, err, errOut)
		}
		if len(all) == 1 && (all[0].Containers[0].WithInit != nil) != tt.wraps {
			t.Errorf("%v: explained as %s", tt.args, out)
		}
		if !strings.Contains(errOut, tt.errOut) {
			t.Errorf("%v: standard error %q, want %q in it", tt.args, errOut, tt.errOut)
		}
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("%v: it took %s", tt.args, took)
		}
	}
}

// TestInjectedWorkload applies a Deployment that was wrapped beforehand to an opted-in namespace: its pod runs, as it
// was printed. "podinit explain" says so of both.
func TestInjectedWorkload(t *testing.T) {
	lookups(t)
	ns := namespace(t, optedIn())
	create(t, ns, shellPod("seen", "sleep", "60")) // says the webhook's version
	pod := shellPod("", "sh", "-c", "while :; do sleep 1; done")
	pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
	labels := map[string]string{"app": "web"}
	manifest, err := yaml.Marshal(appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: ns},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod.Spec},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	out, errOut, code := podinit(t, string(manifest), "inject", "-f", "-")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	apply := kubectl(t.Context(), "apply", "-f", "-")
	apply.Stdin = strings.NewReader(out)
	if text, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	var printed appsv1.Deployment
	if err := yaml.Unmarshal([]byte(out), &printed); err != nil {
		t.Fatal(err)
	}
	if text, err := kubectl(t.Context(), "-n", ns, "rollout", "status", "deployment/web", "--timeout=120s").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	pods, err := client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil || len(pods.Items) != 1 {
		t.Fatalf("%d pods, %v", len(pods.Items), err)
	}
	got, want := pods.Items[0], printed.Spec.Template
	if diff := cmp.Diff(want.Annotations, got.Annotations); diff != "" {
		t.Errorf("annotations (-printed +pod):\n%s", diff)
	}
	if diff := cmp.Diff(want.Spec.Containers[0].Command, got.Spec.Containers[0].Command); diff != "" || len(got.Spec.InitContainers) != 1 {
		t.Errorf("command (-printed +pod), and %d initContainers:\n%s", len(got.Spec.InitContainers), diff)
	}

	for _, object := range []string{"pod/" + got.Name, "deploy/web"} {
		out, errOut, code := podinit(t, "", "explain", "-n", ns, "-o", "json", object)
		var all []explain.Explanation
		if err := json.Unmarshal([]byte(out), &all); code != 0 || err != nil || len(all) != 1 {
			t.Fatalf("%s: exit code %d, %v, %s", object, code, err, errOut)
		}
		c := all[0].Containers[0]
		if all[0].Namespace != ns || all[0].Admitted == nil || !c.HasInit || c.Admitted.Action != v1alpha1.ActionWrapped ||
			c.WithoutInit.SignalReachesProgram != explain.No || c.WithInit.SignalReachesProgram != explain.Yes {
			t.Errorf("%s: %s", object, out)
		}
	}
	if _, errOut, code := podinit(t, "", "explain", "-n", ns, "pod/none"); code != 3 || !strings.Contains(errOut, "not found") {
		t.Errorf("a pod that is not there: exit code %d, %s", code, errOut)
	}
}

// TestCommandLineFindsTheWebhook finds the webhook, and InitProfiles by their names.
func TestCommandLineFindsTheWebhook(t *testing.T) {
	out, errOut, code := podinit(t, "", "version", "-o", "json")
	var versions struct {
		Server struct{ Namespace, Name, Image, InitImage string }
	}
	if err := json.Unmarshal([]byte(out), &versions); code != 0 || err != nil {
		t.Fatalf("exit code %d, %v: %s", code, err, errOut)
	}
	s := versions.Server
	if s.Namespace != system || s.Name != "podinit-webhook" || !strings.Contains(s.Image, "webhook") || !strings.Contains(s.InitImage, "init") {
		t.Errorf("%s", out)
	}
	if _, errOut, code := podinit(t, "kind: x", "inject", "-f", "-", "--profile", "none-of-this-name"); code != 2 || !strings.Contains(errOut, "neither a file nor an InitProfile") {
		t.Errorf("a profile that is not there: exit code %d, %s", code, errOut)
	}
}
