package unpullable

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubectl/pkg/util/podutils"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/canary"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/suite"
)

// breakerTime is how long it takes at most from the first pull that fails until new pods are left alone: what
// docs/operating.md promises.
const breakerTime = 30 * time.Second

// A rollout with an image that cannot be had stands still and says why, what was running stays and wraps, and no pod hangs. The
// corrected value alone puts it right.
func TestRollout(t *testing.T) {
	installed(t, ours.image("v1"))
	n := namespace(t)
	change := func(image string) func(*testing.T) {
		return func(t *testing.T) {
			if err := apply(t, image); err != nil {
				t.Fatal(err)
			}
		}
	}
	setEnv := func(image string) func(*testing.T) {
		return func(t *testing.T) {
			// As the field manager of the installation, so that it can take it back.
			patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"webhook","env":[{"name":"PODINIT_INIT_IMAGE","value":%q}]}]}}}}`, image)
			_, err := client.AppsV1().Deployments(system).Patch(t.Context(), canary.Deployment, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		change func(*testing.T)
		// says is what a replica of the new rollout shows.
		says string
	}{
		"typo in the tag":                            {change(ours.image("v9.9.9")), "ErrImagePull"},
		"unparsable":                                 {change(ours.Address + "//podinit/init:v1"), "InvalidImageName"},
		"another architecture only":                  {change(ours.image("arm64")), "ErrImagePull"},
		"typo in the environment alone":              {setEnv(ours.image("v9.9.9")), "must be the same"},
		"trailing line break in the environment":     {setEnv(ours.image("v1") + "\n"), "remove the space or line break"},
		"another program than the init, and of ours": {change(webhookImage), "StartError"},
	} {
		t.Run(name, func(t *testing.T) {
			was := names(replicas(t.Context(), t))
			c.change(t)
			stalled(t, c.says)
			if name == "typo in the tag" {
				countsAsFailed(t)
			}
			for range 3 {
				n.wrapped(t)
			}
			if now := names(ready(replicas(t.Context(), t))); !slices.Equal(was, now) {
				t.Errorf("replicas %q are ready, before it were %q", now, was)
			}
			installed(t, ours.image("v1"))
			n.wrapped(t)
		})
	}
	// Deployments take it, pods do not: the apiserver makes none.
	t.Run("trailing line break everywhere", func(t *testing.T) {
		was := names(replicas(t.Context(), t))
		change(ours.image("v1") + `\n`)(t)
		suite.Eventually(t, "podinit check to say why there is no replica", func(context.Context) (bool, error) {
			out, _, _ := suite.Podinit("check", "--create-namespace")
			return strings.Contains(out, "cannot create pods") && strings.Contains(out, "must not have leading or trailing whitespace"), nil
		})
		n.wrapped(t)
		if now := names(ready(replicas(t.Context(), t))); !slices.Equal(was, now) {
			t.Errorf("replicas %q are ready, before it were %q", now, was)
		}
		installed(t, ours.image("v1"))
	})

	t.Run("the registry is down", func(t *testing.T) {
		was := names(replicas(t.Context(), t))
		ours.away.Store(true)
		defer ours.away.Store(false)
		change(ours.image("v2"))(t)
		stalled(t, "ErrImagePull")
		countsAsFailed(t) // and goes on none the less, when it can
		n.wrapped(t)
		if now := names(ready(replicas(t.Context(), t))); !slices.Equal(was, now) {
			t.Errorf("replicas %q are ready, before it were %q", now, was)
		}
		ours.away.Store(false)
		rolledOut(t) // by itself
		// A replica that ends answers what comes by the connections that the apiserver has to it.
		suite.Eventually(t, "pods have the new image", func(context.Context) (bool, error) {
			return copierImage(n.wrapped(t)) == ours.image("v2"), nil
		})
	})
	for _, pod := range n.pods(t) {
		if hangs(&pod) {
			t.Errorf("pod %s hangs: %+v", pod.Name, pod.Status.InitContainerStatuses)
		}
	}
}

// The registry loses the image, and so has the node. Pods of the first seconds wait; then pods are left alone, until the image is
// there again.
func TestLost(t *testing.T) {
	installed(t, ours.image("v1"))
	n := namespace(t)
	n.wrapped(t)
	ours.lose(t, "v1")
	t.Cleanup(func() {
		if err := ours.push("v1"); err != nil {
			t.Error(err)
		}
	})
	// A node that is new has neither the image nor a pod that holds it.
	removeFromNode(t, ours.image("v1"))
	deletePrepull(t)

	var failed, open time.Time
	deadline := time.Now().Add(suite.Patience)
	for failed.IsZero() || time.Since(failed) < breakerTime+5*time.Second {
		if time.Now().After(deadline) {
			t.Fatal("podinit-prepull does not wait for the image")
		}
		if failed.IsZero() && prepullWaits(t) {
			failed = time.Now()
		}
		pod := n.create(t)
		if alone(pod) && open.IsZero() {
			open = time.Now()
		}
		// Each replica finds it out by itself.
		if !open.IsZero() && time.Since(open) > 3*time.Second && !alone(pod) {
			t.Errorf("pod %s is wrapped, after pods were left alone", pod.Name)
		}
		time.Sleep(time.Second)
	}
	if open.IsZero() || open.Sub(failed) > breakerTime {
		t.Fatalf("pods are still wrapped %s after the first pull has failed (%s)", time.Since(failed), open)
	}
	t.Logf("pods are left alone %s after the first pull has failed", open.Sub(failed))

	stuck := 0
	suite.Eventually(t, "pods that are left alone to run", func(context.Context) (bool, error) {
		stuck = 0
		for _, pod := range n.pods(t) {
			switch {
			case hangs(&pod):
				stuck++
				if since := pod.CreationTimestamp.Sub(failed); since > breakerTime {
					t.Fatalf("pod %s, created %s after the first pull has failed, hangs", pod.Name, since)
				}
			case pod.Status.Phase != corev1.PodRunning:
				return false, nil
			}
		}
		return true, nil
	})
	told(t, n, stuck)

	// What hangs is deleted with the command that podinit status names.
	if stuck == 0 {
		t.Fatal("no pod hangs, so that nothing is shown about those that do")
	}
	if out, _, _ := suite.Podinit("status", "-n", n.name, "--offline", "-o", "json"); !strings.Contains(out, fmt.Sprintf(`"waiting": %d`, stuck)) {
		t.Errorf("podinit status, with %d pods that wait:\n%s", stuck, out)
	}

	if err := ours.push("v1"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	suite.Eventually(t, "pods to be wrapped again", func(context.Context) (bool, error) {
		pod := n.create(t)
		n.remove(t, pod.Name)
		return !alone(pod), nil
	})
	t.Logf("pods are wrapped again %s after the image is there", time.Since(began))
	n.wrapped(t)
	suite.Eventually(t, "the Event that says so", func(ctx context.Context) (bool, error) { return len(events(ctx, t, "InitImageAvailable")) > 0, nil })
}

// told looks at where the breaker shows while it is open.
func told(t *testing.T, n *testNamespace, stuck int) {
	t.Helper()
	ctx := t.Context()
	suite.Eventually(t, "an Event on the Deployment", func(ctx context.Context) (bool, error) { return len(events(ctx, t, "InitImageUnavailable")) > 0, nil })
	if out, err := running.Kubectl(ctx, "-n", system, "describe", "deployment", canary.Deployment).CombinedOutput(); err != nil || !strings.Contains(string(out), "InitImageUnavailable") {
		t.Errorf("kubectl describe deployment: %v:\n%s", err, out)
	}
	pod := replicas(ctx, t)[0]
	metrics, err := client.CoreV1().RESTClient().Get().Namespace(system).Resource("pods").Name(pod.Name + ":8080").SubResource("proxy").Suffix("metrics").DoRaw(ctx)
	if err != nil {
		t.Error(err)
	}
	if want := `podinit_init_image_unavailable{architecture="` + architecture(t) + `"} 1`; !bytes.Contains(metrics, []byte(want)) {
		t.Errorf("the metrics have no %s", want)
	}
	if out, _, code := suite.Podinit("check", "-n", n.name); code == 0 || !strings.Contains(out, "init-image-breaker") {
		t.Errorf("podinit check: exit code %d:\n%s", code, out)
	}
	if out, _, _ := suite.Podinit("status", "-n", n.name, "--offline"); !strings.Contains(out, "init-image-unavailable") || stuck > 0 && !strings.Contains(out, "kubectl -n "+n.name+" delete pod ") {
		t.Errorf("podinit status:\n%s", out)
	}
}

// stalled waits until a new replica says why it does not start, and sees podinit check say that, too.
func stalled(t *testing.T, says string) {
	t.Helper()
	var last string
	defer func() {
		if t.Failed() {
			t.Logf("the new replicas show %s", last)
		}
	}()
	suite.Eventually(t, "the rollout to stand still because of "+says, func(ctx context.Context) (bool, error) {
		last = ""
		for _, pod := range replicas(ctx, t) {
			for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
				last += fmt.Sprintf("%+v %+v\n", s.State, s.LastTerminationState)
				for _, state := range []corev1.ContainerState{s.State, s.LastTerminationState} {
					if w := state.Waiting; w != nil {
						last += w.Reason + " " + w.Message + "\n"
					}
					if e := state.Terminated; e != nil {
						last += e.Reason + " " + e.Message + "\n"
					}
				}
			}
		}
		last = strings.ReplaceAll(last, "ImagePullBackOff", "ErrImagePull")
		return strings.Contains(last, says), nil
	})
	found, _, code := suite.Podinit("check", "--create-namespace")
	if code == 0 || !strings.Contains(found, "pod podinit-webhook-") {
		t.Errorf("podinit check: exit code %d:\n%s", code, found)
	}
}

// countsAsFailed waits until Kubernetes says so of the rollout.
func countsAsFailed(t *testing.T) {
	t.Helper()
	out, err := running.Kubectl(t.Context(), "-n", system, "rollout", "status", "deployment/"+canary.Deployment, "--timeout=60s").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "exceeded its progress deadline") {
		t.Errorf("kubectl rollout status: %v: %s", err, out)
	}
}

// testNamespace has opted in.
type testNamespace struct{ name string }

func namespace(t *testing.T) *testNamespace {
	t.Helper()
	return &testNamespace{suite.Namespace(t, client, metav1.ObjectMeta{
		GenerateName: "init-image-", Labels: map[string]string{v1alpha1.Inject: v1alpha1.InjectEnabled},
	})}
}

// create makes a pod whose own image the node has.
func (n *testNamespace) create(t *testing.T) *corev1.Pod {
	t.Helper()
	pod, err := client.CoreV1().Pods(n.name).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "app-"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "app", Image: cluster.PauseImage, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"/pause"},
		}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

func (n *testNamespace) remove(t *testing.T, name string) {
	t.Helper()
	now := int64(0)
	if err := client.CoreV1().Pods(n.name).Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Error(err)
	}
}

// wrapped makes a pod, sees it run with the init, and deletes it.
func (n *testNamespace) wrapped(t *testing.T) *corev1.Pod {
	t.Helper()
	pod := n.create(t)
	if copierImage(pod) == "" {
		t.Errorf("pod %s is not wrapped: %s", pod.Name, pod.Annotations[v1alpha1.StatusAnnotation])
	}
	name := pod.Name
	suite.Eventually(t, "pod "+name+" to run", func(ctx context.Context) (bool, error) {
		var err error
		pod, err = client.CoreV1().Pods(n.name).Get(ctx, name, metav1.GetOptions{})
		return err == nil && pod.Status.Phase == corev1.PodRunning, err
	})
	n.remove(t, name)
	return pod
}

func (n *testNamespace) pods(t *testing.T) []corev1.Pod {
	t.Helper()
	list, err := client.CoreV1().Pods(n.name).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// copierImage is the init image that a pod was given, "" if none.
func copierImage(pod *corev1.Pod) string {
	for _, c := range pod.Spec.InitContainers {
		if c.Name == inject.CopierName {
			return c.Image
		}
	}
	return ""
}

// alone says whether a pod was left alone for want of the image.
func alone(pod *corev1.Pod) bool {
	return copierImage(pod) == "" && strings.Contains(pod.Annotations[v1alpha1.StatusAnnotation], string(v1alpha1.ReasonInitImageUnavailable))
}

// hangs says whether a pod waits for the init image.
func hangs(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.InitContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.Name == inject.CopierName && canary.CannotPull(s.State)
	})
}

func names(pods []corev1.Pod) (all []string) {
	for _, pod := range pods {
		all = append(all, pod.Name)
	}
	slices.Sort(all)
	return all
}

func ready(pods []corev1.Pod) []corev1.Pod {
	return slices.DeleteFunc(slices.Clone(pods), func(pod corev1.Pod) bool { return !podutils.IsPodReady(&pod) })
}

func prepull(t *testing.T) []corev1.Pod {
	t.Helper()
	list, err := client.CoreV1().Pods(system).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=prepull"})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func deletePrepull(t *testing.T) {
	t.Helper()
	now := int64(0)
	for _, pod := range prepull(t) {
		if err := client.CoreV1().Pods(system).Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
			t.Fatal(err)
		}
	}
}

func prepullWaits(t *testing.T) bool {
	t.Helper()
	return slices.ContainsFunc(prepull(t), func(pod corev1.Pod) bool {
		c, ok := canary.Of(&pod, ours.image("v1"))
		return ok && c.State == canary.Waiting
	})
}

func events(ctx context.Context, t *testing.T, reason string) []corev1.Event {
	t.Helper()
	list, err := client.CoreV1().Events(system).List(ctx, metav1.ListOptions{FieldSelector: "reason=" + reason + ",involvedObject.kind=Deployment,involvedObject.name=" + canary.Deployment})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func architecture(t *testing.T) string {
	t.Helper()
	node, err := client.CoreV1().Nodes().Get(t.Context(), cluster.NodeName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return node.Status.NodeInfo.Architecture
}
