package nodemode

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/kubectl/pkg/util/podutils"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/node/report"
	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/suite"
)

// The size of the storm: containers, in pods of stormPod, and how often the plugin is restarted while they are created. The node
// takes no more than 110 pods.
var (
	stormSize     = flag.Int("storm", 60, "how many containers the test of restarts creates")
	stormRestarts = flag.Int("restarts", 4, "how often it restarts the plugin")
)

// runtimeRestarts is how often the storm restarts the runtime.
const runtimeRestarts = 2

// stormPods are the pods of the storm, with as many containers each as keep their number below the node's limit.
func stormPods(image string) (pods []*corev1.Pod) {
	perPod := 1
	if *stormSize > 80 {
		perPod = (*stormSize + 79) / 80
	}
	for made := 0; made < *stormSize; {
		grace := int64(2) // those without the init take all of it
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("pod-%03d", len(pods))}, Spec: corev1.PodSpec{TerminationGracePeriodSeconds: &grace}}
		for i := 0; i < perPod && made < *stormSize; i, made = i+1, made+1 {
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: fmt.Sprintf("app-%d", i), Image: image, ImagePullPolicy: corev1.PullIfNotPresent})
		}
		pods = append(pods, pod)
	}
	return pods
}

// neverBegan says whether a container was killed with its runtime before it had started. One that the runtime could not start has another
// reason, StartError.
func neverBegan(ended *corev1.ContainerStateTerminated) bool {
	return ended.Reason == "ContainerStatusUnknown" || ended.Reason == "Unknown" && ended.StartedAt.Unix() <= 0
}

// The plugin and the runtime are restarted while containers are created: none fails, and each that has been created without the
// init is counted and named, by the metrics, the log and the report.
func TestRestarts(t *testing.T) {
	installed(t)
	image := push(t, "node/storm", "storm")
	ns := namespace(t, optedIn())
	pods, rounds := stormPods(image), *stormRestarts+runtimeRestarts
	for round := range rounds {
		// Every other round begins with a plugin that is there, or only the first would have containers with the init.
		if round%2 == 0 {
			registered(t)
		}
		some := pods[round*len(pods)/rounds : (round+1)*len(pods)/rounds]
		for _, pod := range some {
			if _, err := client.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if len(some) > 0 { // some are under way
			awaitRunning(t, ns, some[0].Name)
		}
		if round == rounds/2 || round == rounds-1 {
			if err := running.Restart(t.Context(), running.Runtime()); err != nil {
				t.Fatal(err)
			}
			continue
		}
		for _, pod := range plugins(t.Context(), t) {
			now := int64(0) // killed in the middle of whatever it does
			if err := client.CoreV1().Pods(system).Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
				t.Fatal(err)
			}
		}
	}
	bare := map[string]bool{} // by pod and container
	for _, p := range pods {
		pod := awaitRunning(t, ns, p.Name)
		for _, status := range pod.Status.ContainerStatuses {
			// A container that the runtime was about to create or start when it was killed is created again, and nothing of it had begun.
			if ended := status.LastTerminationState.Terminated; ended != nil && !neverBegan(ended) {
				t.Errorf("%s, container %s has failed: %s", pod.Name, status.Name, toJSON(t, ended))
			}
			if pid(t, awaitLog(t, ns, pod.Name, status.Name)) == 1 {
				bare[pod.Name+" "+status.Name] = true
			}
		}
	}
	t.Logf("%d of %d containers have no init, after %d restarts of the plugin and %d of the runtime", len(bare), *stormSize, *stormRestarts, runtimeRestarts)
	events, err := client.CoreV1().Events(ns).List(t.Context(), metav1.ListOptions{FieldSelector: "type=Warning"})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events.Items {
		if strings.Contains(e.Message, "podinit/") {
			t.Errorf("%s: %s: %s", e.InvolvedObject.Name, e.Reason, e.Message)
		}
	}
	if len(bare) == *stormSize {
		t.Error("none has an init")
	}
	if err := rolledOut(t.Context()); err != nil {
		t.Fatal(err)
	}
	counted := func(which string) {
		t.Helper()
		if got := metric(t, "podinit_node_unwrapped_containers"); got != float64(len(bare)) {
			t.Errorf("the metric of %s counts %v containers without the init, and there are %d", which, got, len(bare))
		}
	}
	counted("the plugin that registered while pods were created")
	// A new plugin finds them all.
	for _, pod := range plugins(t.Context(), t) {
		if err := client.CoreV1().Pods(system).Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	registered(t)
	counted("a new plugin")
	t.Logf("the plugin has %.0f MiB", metric(t, "process_resident_memory_bytes")/(1<<20))
	text := kubectl(t, "", "-n", system, "logs", plugins(t.Context(), t)[0].Name, "-c", "node") // not that of the one that is ending
	for name := range bare {
		pod, container, _ := strings.Cut(name, " ")
		if !strings.Contains(text, fmt.Sprintf(`"namespace":%q,"pod":%q,"container":%q`, ns, pod, container)) {
			t.Errorf("the log does not name %s", name)
		}
	}
	if got := strings.Count(text, "container runs without the init"); got != len(bare) {
		t.Errorf("the log names %d containers, and there are %d", got, len(bare))
	}
	reported := map[string]bool{}
	for _, c := range reports(t, ns).Containers {
		if c.State == report.Missed {
			reported[c.Pod+" "+c.Name] = true
		}
	}
	if diff := cmp.Diff(bare, reported); diff != "" {
		t.Errorf("containers that the report names as missed (-there are +report):\n%s", diff)
	}
	gone(t, ns)
}

// gone deletes the pods of a namespace and waits until the node has ended all of them, or those of the next test would have to wait
// for a busy node. It ends all at once, so for a thousand containers the first is gone after minutes, as the last.
func gone(t *testing.T, namespace string) {
	t.Helper()
	if err := client.CoreV1().Pods(namespace).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	err := wait.PollUntilContextTimeout(t.Context(), time.Second, 10*time.Minute, true, func(ctx context.Context) (bool, error) {
		pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		return err == nil && len(pods.Items) == 0, err
	})
	if err != nil {
		t.Fatalf("waiting for the end of the pods: %v", err)
	}
}

// reports is what the node's one plugin reports of a namespace, through the apiserver's proxy.
func reports(t *testing.T, namespace string) (r report.Report) {
	t.Helper()
	suite.Eventually(t, "the plugin's report", func(ctx context.Context) (bool, error) {
		pods := plugins(ctx, t)
		if len(pods) != 1 {
			return false, nil
		}
		text, err := client.CoreV1().Pods(system).ProxyGet("http", pods[0].Name, "8080", report.Path, map[string]string{report.NamespaceParameter: namespace}).DoRaw(ctx)
		if err != nil {
			return false, nil //nolint:nilerr // it may not have begun
		}
		r = report.Report{}
		return true, json.Unmarshal(text, &r)
	})
	return r
}

// What the node has done is in its report, and podinit-node's suspension by ConfigMap holds for new containers.
func TestReportAndSuspension(t *testing.T) {
	installed(t)
	image := push(t, "node/report", "report")
	ns := namespace(t, optedIn())
	kubectl(t, manifest("before", image, ""), "-n", ns, "apply", "-f", "-")
	awaitLog(t, ns, "before", "app")
	if r := reports(t, ns); !r.Registered || r.Suspended || len(r.Containers) != 1 || r.Containers[0].State != report.Wrapped || r.Containers[0].Init == "" {
		t.Errorf("the report is %s", toJSON(t, r))
	}
	kubectl(t, "", "-n", system, "create", "configmap", v1alpha1.SuspendConfigMap)
	t.Cleanup(func() {
		if err := running.Kubectl(context.Background(), "-n", system, "delete", "--ignore-not-found", "configmap", v1alpha1.SuspendConfigMap).Run(); err != nil {
			t.Error(err)
		}
	})
	suite.Eventually(t, "the suspension", func(context.Context) (bool, error) { return reports(t, ns).Suspended, nil })
	kubectl(t, manifest("while", image, ""), "-n", ns, "apply", "-f", "-")
	if p := pid(t, awaitLog(t, ns, "while", "app")); p != 1 {
		t.Errorf("while podinit-node is suspended, the program is PID %d", p)
	}
	if r := reports(t, ns); r.Counts != (report.Counts{Wrapped: 1, LeftAlone: 1}) {
		t.Errorf("the report is %s", toJSON(t, r))
	}
	kubectl(t, "", "-n", system, "delete", "configmap", v1alpha1.SuspendConfigMap)
	suite.Eventually(t, "the end of the suspension", func(context.Context) (bool, error) { return !reports(t, ns).Suspended, nil })
	kubectl(t, manifest("after", image, ""), "-n", ns, "apply", "-f", "-")
	if p := pid(t, awaitLog(t, ns, "after", "app")); p == 1 {
		t.Error("after the suspension, the program is PID 1")
	}
}

// registered waits until the node's plugin is registered.
func registered(t *testing.T) {
	t.Helper()
	suite.Eventually(t, "the registration", func(context.Context) (bool, error) { return metric(t, "podinit_node_registered") == 1, nil })
}

// A rollout leaves no gap: the next plugin registers before the last one ends.
func TestRollout(t *testing.T) {
	installed(t)
	image := push(t, "node/rollout", "rollout")
	ns := namespace(t, optedIn())
	if err := apply(t.Context(), `{op: add, path: /spec/template/metadata/annotations/test, value: rollout}`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- rolledOut(context.Background()) }()
	n := 0
	for over := false; !over; n++ {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			over = true
		default:
		}
		name := fmt.Sprintf("pod-%d", n)
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "app", Image: image, ImagePullPolicy: corev1.PullIfNotPresent}},
		}}
		if _, err := client.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if pid(t, awaitLog(t, ns, name, "app")) == 1 {
			t.Errorf("%s was created without the init", name)
		}
	}
	t.Logf("%d pods, one after the other, during a rollout", n)
}

// Where the init cannot be put, or could not be run, the plugin says so and does not register: pods come as they are.
func TestHostDirectory(t *testing.T) {
	image := push(t, "node/directory", "directory")
	noexec := cluster.InitDirectory + "-noexec"
	onNode(t, "mkdir", "-p", noexec)
	onNode(t, "mount", "-t", "tmpfs", "-o", "noexec", "tmpfs", noexec)
	t.Cleanup(func() { installed(t) }) // the mount goes with the node's mount namespace
	for name, tt := range map[string]struct {
		patches []string
		why     string
	}{
		"read-only": {[]string{`{op: add, path: /spec/template/spec/containers/0/volumeMounts/1/readOnly, value: true}`}, "mounted read-only: choose"},
		"noexec": {[]string{
			fmt.Sprintf(`{op: replace, path: /spec/template/spec/containers/0/volumeMounts/1/mountPath, value: %q}`, noexec),
			fmt.Sprintf(`{op: replace, path: /spec/template/spec/volumes/1/hostPath/path, value: %q}`, noexec),
			fmt.Sprintf(`{op: replace, path: /spec/template/spec/containers/0/args/1, value: %q}`, "-directory="+noexec),
		}, "mounted noexec: choose"},
		"missing": {[]string{
			fmt.Sprintf(`{op: replace, path: /spec/template/spec/containers/0/args/1, value: %q}`, "-directory="+filepath.Join(cluster.InitDirectory, "missing")),
		}, "no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			patches := append([]string{ // the old plugin would go on
				`{op: replace, path: /spec/updateStrategy/rollingUpdate, value: {maxUnavailable: 1, maxSurge: 0}}`,
			}, tt.patches...)
			if err := apply(t.Context(), patches...); err != nil {
				t.Fatal(err)
			}
			var last string
			suite.Eventually(t, "the plugin's own words", func(ctx context.Context) (bool, error) {
				pods := plugins(ctx, t)
				if len(pods) != 1 {
					return false, nil
				}
				text, err := client.CoreV1().Pods(system).GetLogs(pods[0].Name, &corev1.PodLogOptions{Container: "node"}).DoRaw(ctx)
				if err != nil {
					return false, nil //nolint:nilerr // it may not have begun
				}
				last = string(text)
				return strings.Contains(last, tt.why), nil
			})
			for _, pod := range plugins(t.Context(), t) {
				if podutils.IsPodReady(&pod) {
					t.Error("it says that it is ready")
				}
			}
			ns := namespace(t, optedIn())
			kubectl(t, manifest("web", image, ""), "-n", ns, "apply", "-f", "-")
			if p := pid(t, awaitLog(t, ns, "web", "app")); p != 1 {
				t.Errorf("the program is PID %d", p)
			}
		})
	}
}

// A pod that requires the plugin, as the webhook writes it for requireNode, waits while it is away, and is then wrapped.
func TestRequired(t *testing.T) {
	image := push(t, "node/required", "required")
	t.Cleanup(func() { installed(t) })
	installed(t)
	ns := namespace(t, optedIn())
	kubectl(t, "", "-n", system, "delete", "daemonset", "podinit-node", "--cascade=foreground")
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{v1alpha1.RequiredPluginsAnnotation: `["` + v1alpha1.NodePlugin + `"]`}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: image, ImagePullPolicy: corev1.PullIfNotPresent}}},
	}
	if _, err := client.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	suite.Eventually(t, "the runtime's refusal", func(ctx context.Context) (bool, error) {
		now, err := client.CoreV1().Pods(ns).Get(ctx, "web", metav1.GetOptions{})
		if err != nil || len(now.Status.ContainerStatuses) == 0 {
			return false, err
		}
		if now.Status.ContainerStatuses[0].State.Running != nil {
			return false, errors.New("it has started without the init")
		}
		waiting := now.Status.ContainerStatuses[0].State.Waiting
		return waiting != nil && strings.Contains(waiting.Message, `required plugin "podinit" not present`), nil
	})
	installed(t)
	if p := pid(t, awaitLog(t, ns, "web", "app")); p == 1 {
		t.Error("it runs without the init")
	}
}

// Without the plugin, pods start as they are.
func TestPluginAway(t *testing.T) {
	image := push(t, "node/away", "away")
	t.Cleanup(func() { installed(t) })
	kubectl(t, "", "-n", system, "delete", "daemonset", "podinit-node", "--cascade=foreground")
	ns := namespace(t, optedIn())
	kubectl(t, manifest("web", image, ""), "-n", ns, "apply", "-f", "-")
	if p := pid(t, awaitLog(t, ns, "web", "app")); p != 1 {
		t.Errorf("the program is PID %d", p)
	}
	installed(t)
	if got := metric(t, "podinit_node_unwrapped_containers"); got < 1 {
		t.Error("the container without the init is not counted")
	}
}
