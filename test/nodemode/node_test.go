package nodemode

import (
	"context"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/jsonpatch"
	"github.com/podinit/podinit/test/observe"
	"github.com/podinit/podinit/test/suite"
)

const initPath = "/podinit/init"

// manifest is a bare pod of the strictest Pod Security level.
func manifest(name, image, more string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata:
  name: %s
  labels: {app: web}
  annotations: {example.com/note: as written}
spec:
  terminationGracePeriodSeconds: 25
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: app
    image: %s
    imagePullPolicy: IfNotPresent
    resources: {requests: {cpu: 10m, memory: 32Mi}, limits: {cpu: 100m, memory: 32Mi}}
    securityContext:
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL]}
      readOnlyRootFilesystem: true
%s`, name, image, more)
}

// restricted are the labels of a namespace of the strictest Pod Security level.
func restricted(labels map[string]string) map[string]string {
	all := map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}
	for key, value := range labels {
		all[key] = value
	}
	return all
}

// asWritten is a pod as kubectl get -o yaml shows it, without what differs between two pods of one manifest.
func asWritten(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	pod = pod.DeepCopy()
	pod.Namespace, pod.UID, pod.ResourceVersion, pod.CreationTimestamp, pod.ManagedFields = "", "", "", metav1.Time{}, nil
	delete(pod.Annotations, "kubectl.kubernetes.io/last-applied-configuration") // it has the namespace
	pod.Status = corev1.PodStatus{QOSClass: pod.Status.QOSClass, Phase: pod.Status.Phase}
	text, err := yaml.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A pod that is wrapped is the pod that its author wrote; the container's PID 1 is the init all the same.
func TestUnchanged(t *testing.T) {
	image := push(t, "node/unchanged", "one")
	bare, wrapped := namespace(t, restricted(nil)), namespace(t, restricted(optedIn()))
	text := manifest("web", image, "")
	for _, ns := range []string{bare, wrapped} {
		kubectl(t, text, "-n", ns, "apply", "-f", "-")
	}
	before, after := awaitRunning(t, bare, "web"), awaitRunning(t, wrapped, "web")
	if diff := cmp.Diff(asWritten(t, before), asWritten(t, after)); diff != "" {
		t.Errorf("node mode changes the pod (-without +with):\n%s", diff)
	}
	if p := pid(t, awaitLog(t, bare, "web", "app")); p != 1 {
		t.Errorf("in a namespace that has not opted in, the program is PID %d", p)
	}
	if p := pid(t, awaitLog(t, wrapped, "web", "app")); p == 1 {
		t.Error("the program is PID 1")
	}
	want := append([]string{initPath, "--grace=25s", "--termination-message=/dev/termination-log", "--"}, append(slices.Clone(program.Entrypoint), program.Cmd...)...)
	if diff := cmp.Diff(want, argv(t, wrapped, "web", "app")); diff != "" {
		t.Errorf("argv (-want +got):\n%s", diff)
	}
	if out := kubectl(t, text, "-n", wrapped, "apply", "-f", "-"); !strings.Contains(out, "unchanged") {
		t.Errorf("a second kubectl apply: %s", out)
	}
	if out := kubectl(t, "", "-n", wrapped, "exec", "web", "--", "sh", "-c", "echo x > /podinit/init; echo x > /podinit/new; true"); !strings.Contains(out, "Read-only file system") {
		t.Errorf("the init can be written to from the container: %s", out)
	}
}

// The image decides what a container runs, also when it is replaced in a pod that exists.
func TestSetImage(t *testing.T) {
	one, two := push(t, "node/set-image-one", "one"), push(t, "node/set-image-two", "two")
	ns := namespace(t, optedIn())
	kubectl(t, manifest("web", one, ""), "-n", ns, "apply", "-f", "-")
	awaitRunning(t, ns, "web")
	if line := awaitLog(t, ns, "web", "app"); !strings.HasPrefix(line, "one is PID ") || pid(t, line) == 1 {
		t.Errorf("before: %q", line)
	}
	kubectl(t, "", "-n", ns, "set", "image", "pod/web", "app="+two)
	suite.Eventually(t, "the container with the new image", func(ctx context.Context) (bool, error) {
		pod, err := client.CoreV1().Pods(ns).Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		s := pod.Status.ContainerStatuses[0]
		return s.RestartCount == 1 && s.State.Running != nil, nil
	})
	if line := awaitLog(t, ns, "web", "app"); !strings.HasPrefix(line, "two is PID ") || pid(t, line) == 1 {
		t.Errorf("after kubectl set image: %q", line)
	}
}

// A tag that has moved means what the node has, and an image that no registry has any more still runs.
func TestNodesImage(t *testing.T) {
	ns := namespace(t, optedIn())
	image := push(t, "node/moved", "old")
	kubectl(t, manifest("first", image, ""), "-n", ns, "apply", "-f", "-")
	if line := awaitLog(t, ns, "first", "app"); !strings.HasPrefix(line, "old ") {
		t.Fatalf("first: %q", line)
	}
	push(t, "node/moved", "new")
	kubectl(t, manifest("second", image, ""), "-n", ns, "apply", "-f", "-")
	if line := awaitLog(t, ns, "second", "app"); !strings.HasPrefix(line, "old ") || pid(t, line) == 1 {
		t.Errorf("a tag that has moved, IfNotPresent: %q", line)
	}
	reference, err := name.NewTag(image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	described, err := remote.Head(reference)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Delete(reference.Context().Digest(described.Digest.String())); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Head(reference); err == nil {
		t.Fatal("the registry still has the image")
	}
	kubectl(t, strings.Replace(manifest("third", image, ""), "IfNotPresent", "Never", 1), "-n", ns, "apply", "-f", "-")
	if line := awaitLog(t, ns, "third", "app"); !strings.HasPrefix(line, "old ") || pid(t, line) == 1 {
		t.Errorf("an image that only the node has: %q", line)
	}
}

// A private image is wrapped with no other credential than the pod's, which the kubelet alone uses.
func TestPrivate(t *testing.T) {
	image := pushPrivate(t, "tenant/app:v1", shell(t, "private", program))
	ns := namespace(t, optedIn())
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "pull"}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, private.Address, auth)},
	}
	if _, err := client.CoreV1().Secrets(ns).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	kubectl(t, manifest("web", image, "  imagePullSecrets: [{name: pull}]\n"), "-n", ns, "apply", "-f", "-")
	if line := awaitLog(t, ns, "web", "app"); !strings.HasPrefix(line, "private ") || pid(t, line) == 1 {
		t.Errorf("%q", line)
	}
	for _, what := range []string{"secrets", "pods", "nodes", "serviceaccounts"} {
		for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete"} {
			out, _ := running.Kubectl(t.Context(), "auth", "can-i", verb, what, "--all-namespaces", "--as=system:serviceaccount:podinit-node:podinit-node").Output()
			if strings.TrimSpace(string(out)) != "no" {
				t.Errorf("podinit-node may %s %s: %s", verb, what, out)
			}
		}
	}
}

// A program behind a shell ends at SIGTERM, which as PID 1 it does not.
func TestSIGTERM(t *testing.T) {
	image := push(t, "node/sigterm", "shell")
	took := map[bool]time.Duration{}
	for _, in := range []bool{false, true} {
		labels := map[string]string{}
		if in {
			labels = optedIn()
		}
		ns := namespace(t, labels)
		text := strings.Replace(manifest("web", image, ""), "terminationGracePeriodSeconds: 25", "terminationGracePeriodSeconds: 12", 1)
		kubectl(t, text, "-n", ns, "apply", "-f", "-")
		awaitLog(t, ns, "web", "app")
		began := time.Now()
		kubectl(t, "", "-n", ns, "delete", "pod", "web", "--wait=false")
		suite.Eventually(t, "the pod's end", func(ctx context.Context) (bool, error) {
			_, err := client.CoreV1().Pods(ns).Get(ctx, "web", metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return true, nil
			}
			return false, err
		})
		took[in] = time.Since(began)
	}
	t.Logf("from delete to gone, grace period 12 s: %s without the init, %s with it", took[false].Round(100*time.Millisecond), took[true].Round(100*time.Millisecond))
	if took[true] > 10*time.Second || took[false] < 12*time.Second {
		t.Errorf("SIGTERM is no different: %v", took)
	}
}

// Profiles and annotations choose, as they do with the webhook.
func TestChoices(t *testing.T) {
	image := push(t, "node/choices", "choices")
	ns := namespace(t, optedIn())
	kubectl(t, `apiVersion: podinit.dev/v1alpha1
kind: InitProfile
metadata: {name: node-test}
spec: {init: {linger: 2s}, containers: {exclude: [excluded]}}
`, "apply", "-f", "-")
	t.Cleanup(func() {
		if err := running.Kubectl(context.Background(), "delete", "initprofile", "node-test").Run(); err != nil {
			t.Error(err)
		}
	})
	text := fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata:
  name: web
  annotations:
    podinit.dev/profile: node-test
    podinit.dev/skip-containers: skipped
    podinit.dev/flags.flagged: --grace=3s
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: usual, image: %[1]s}
  - {name: skipped, image: %[1]s}
  - {name: excluded, image: %[1]s}
  - {name: flagged, image: %[1]s}
  - {name: init-already, image: %[1]s, command: [%[2]s, --, sh, -c, "echo x is PID $$; sleep 1000"], volumeMounts: [{name: own, mountPath: /podinit}]}
  - {name: conflict, image: %[1]s, volumeMounts: [{name: own, mountPath: /podinit}]}
  initContainers:
  - {name: before, image: %[1]s, args: ['tr "\0" " " </proc/1/cmdline; echo']}
  - {name: copy, image: %[3]s, command: [/init, copy, %[2]s], volumeMounts: [{name: own, mountPath: /podinit}]}
  volumes: [{name: own, emptyDir: {}}]
`, image, initPath, initImage)
	kubectl(t, text, "-n", ns, "apply", "-f", "-")
	awaitRunning(t, ns, "web")
	// The runtime does not say that this is an initContainer.
	if line := awaitLog(t, ns, "web", "before"); !strings.HasPrefix(line, initPath+" ") {
		t.Errorf("the initContainer's PID 1 is %q", line)
	}
	for container, want := range map[string][]string{
		"usual":        {initPath, "--linger=2s"},
		"flagged":      {initPath, "--linger=2s", "--grace=3s"},
		"skipped":      {"/bin/sh"},
		"excluded":     {"/bin/sh"},
		"conflict":     {"/bin/sh"},
		"init-already": {initPath, "--", "sh"}, // what a webhook or an author has wrapped
	} {
		got := argv(t, ns, "web", container)
		if got[0] != want[0] || slices.ContainsFunc(want, func(word string) bool { return !slices.Contains(got, word) }) || container == "init-already" && slices.Index(got, "--") != 1 {
			t.Errorf("%s: argv %q, want %q in it", container, got, want)
		}
	}
}

// What a webhook has wrapped is left alone: the copier runs, and the container has one init, out of its own volume.
func TestWebhookToo(t *testing.T) {
	image := push(t, "node/both", "both")
	ns := namespace(t, optedIn())
	raw, err := yaml.YAMLToJSON([]byte(manifest("web", image, `    command: [sh, -c, "sleep 10000; true"]`+"\n")))
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := inject.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := inject.NewPlan(inject.Config{Image: initImage, Version: "v1"}, inject.Setting{Namespace: ns, Selected: true}, decoded).Patch()
	if err != nil {
		t.Fatal(err)
	}
	if raw, err = jsonpatch.Apply(raw, steps); err != nil {
		t.Fatal(err)
	}
	kubectl(t, string(raw), "-n", ns, "apply", "-f", "-")
	pod := awaitRunning(t, ns, "web")
	if len(pod.Spec.InitContainers) != 1 || pod.Spec.InitContainers[0].Name != inject.CopierName {
		t.Fatalf("the pod is not wrapped as by a webhook: %s", toJSON(t, pod.Spec))
	}
	if got := argv(t, ns, "web", "app"); got[0] != initPath || strings.Count(strings.Join(got, " "), initPath) != 1 {
		t.Errorf("argv %q, want one init", got)
	}
	mounts := kubectl(t, "", "-n", ns, "exec", "web", "-c", "app", "--", "grep", "-c", " /podinit ", "/proc/self/mountinfo")
	if strings.TrimSpace(mounts) != "1" {
		t.Errorf("%s mounts at /podinit, want the volume's alone", mounts)
	}
}

// Pods that share a PID namespace have the sandbox's pause as PID 1: they are left alone unless they ask for the init, which then
// reaps all the same. So are pods in the node's PID namespace, and an ephemeral container in another's.
func TestPIDNamespaces(t *testing.T) {
	image := push(t, "node/pids", "pids")
	ns := namespace(t, optedIn())
	kubectl(t, manifest("shared", image, "  shareProcessNamespace: true\n"), "-n", ns, "apply", "-f", "-")
	asks := strings.Replace(manifest("asks", image, "  shareProcessNamespace: true\n"), "annotations: {", "annotations: {podinit.dev/containers: app, ", 1)
	kubectl(t, asks, "-n", ns, "apply", "-f", "-")
	kubectl(t, manifest("hosts", image, "  hostPID: true\n"), "-n", ns, "apply", "-f", "-")
	awaitLog(t, ns, "hosts", "app")
	for name, want := range map[string]int{"shared": 0, "asks": 1} {
		awaitLog(t, ns, name, "app")
		all := kubectl(t, "", "-n", ns, "exec", name, "--", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
		if got := strings.Count(all, initPath); got != want {
			t.Errorf("%s has %d inits in a shared namespace, want %d: %q", name, got, want, all)
		}
	}
	parent := kubectl(t, "", "-n", ns, "exec", "hosts", "--", "sh", "-c", "cat /says; ls /podinit 2>&1; true")
	if !strings.Contains(parent, "No such file") {
		t.Errorf("a pod in the node's PID namespace has the init: %s", parent)
	}
	kubectl(t, manifest("target", image, ""), "-n", ns, "apply", "-f", "-")
	awaitLog(t, ns, "target", "app")
	kubectl(t, "", "-n", ns, "debug", "target", "--image="+image, "--target=app", "--container=debugger", "--profile=restricted", "--", "sh", "-c", "ls /podinit 2>&1; echo seen; sleep 100")
	if line := awaitLog(t, ns, "target", "debugger"); !strings.Contains(line, "No such file") {
		t.Errorf("a debug container with a target has the init: %s", line)
	}
}

// What alerts and dashboard ask for, the plugin that runs on the node has.
func TestMetricsExist(t *testing.T) {
	installed(t)
	rules, err := observe.ReadRules(root)
	if err != nil {
		t.Fatal(err)
	}
	dashboard, err := observe.ReadDashboard(root)
	if err != nil {
		t.Fatal(err)
	}
	expressions := map[string]string{}
	for _, a := range rules.Alerts() {
		expressions["alert "+a.Alert] = a.Expr
	}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			expressions["panel "+p.Title+", "+target.RefID] = target.Expr
		}
	}
	there, used := metrics(t), map[string]bool{}
	for where, expression := range expressions {
		for _, name := range regexp.MustCompile(`\bpodinit_node_\w+`).FindAllString(expression, -1) {
			name = strings.TrimSuffix(name, "_bucket") // of a histogram
			used[name] = true
			if len(there[name].GetMetric()) == 0 {
				t.Errorf("%s: the plugin has no %s", where, name)
			}
		}
	}
	for name := range there {
		if strings.HasPrefix(name, "podinit_node_") && !used[name] {
			t.Errorf("the plugin has %s, which is in no panel and no alert", name)
		}
	}
}
