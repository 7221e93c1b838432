package hostile

import (
	"context"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/internal/canary"
	"github.com/podinit/podinit/test/controlplane"
)

// TestInitImage: a tenant whose pods look like podinit's own, and wait for the init image, has no pod come unwrapped. A pod
// of podinit's own does, for its architecture, until it runs.
func TestInitImage(t *testing.T) {
	if *binFlag == "" || *webhookFlag == "" {
		t.Fatal("no -bin or -webhook given: run 'make test-hostile'")
	}
	w := newWorld(t)
	ctx := t.Context()
	create := func(object client.Object) {
		t.Helper()
		if err := w.Admin.Create(ctx, object); client.IgnoreAlreadyExists(err) != nil {
			t.Fatal(err)
		}
	}
	create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: controlplane.Namespace}})
	labels := map[string]string{"app.kubernetes.io/name": "podinit", "app.kubernetes.io/component": "webhook"}
	create(&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: controlplane.Namespace, Name: canary.Deployment},
		Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "webhook", Image: "w"}}},
		}},
	})
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: "amd64"}}}
	info := node.Status
	create(node)
	node.Status = info
	if err := w.Admin.Status().Update(ctx, node); err != nil {
		t.Fatal(err)
	}
	yes, no := true, false
	prepull := func(namespace string) *corev1.Pod {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace, Name: "podinit-prepull-x", Labels: map[string]string{"app.kubernetes.io/name": "podinit", "app.kubernetes.io/component": "prepull", "podinit.dev/inject": "disabled"},
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: canary.DaemonSet, UID: "u", Controller: &yes}},
			},
			Spec: corev1.PodSpec{
				NodeName:        "n",
				SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
				Containers: []corev1.Container{{Name: "init", Image: controlplane.InitImage, SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				}}},
			},
		}
		create(pod)
		setState(t, w, pod, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "not found"}})
		return pod
	}
	hook := w.startWebhook(t)
	defer func() {
		if t.Failed() {
			t.Logf("the webhook's log ends with:\n%s", hook.Tail())
		}
	}()
	if log := hook.Tail(); strings.Contains(log, `"level":"ERROR"`) {
		t.Errorf("the webhook has a right too few, or writes no valid Event:\n%s", log)
	}

	prepull(attacked)
	began := time.Now()
	for time.Since(began) < canary.WaitTime+5*time.Second {
		if status := w.statusOf(ctx, t, ""); strings.Contains(status, "init-image-unavailable") {
			t.Fatalf("a tenant's pod has another's come unwrapped: %s", status)
		}
		time.Sleep(time.Second)
	}

	own := prepull(controlplane.Namespace)
	began = time.Now()
	until(t, "pods to be left alone", func() error {
		if status := w.statusOf(ctx, t, ""); !strings.Contains(status, "init-image-unavailable") {
			return errStatus(status)
		}
		return nil
	})
	if took := time.Since(began); took < canary.WaitTime-2*time.Second || took > 30*time.Second {
		t.Errorf("pods are left alone after %s", took)
	}
	if status := w.statusOf(ctx, t, "arm64"); !strings.Contains(status, "wrapped") {
		t.Errorf("a pod for another architecture: %s", status)
	}
	until(t, "an Event", func() error {
		var events corev1.EventList
		if err := w.Admin.List(ctx, &events, client.InNamespace(controlplane.Namespace)); err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Reason == "InitImageUnavailable" && e.InvolvedObject.Name == canary.Deployment && e.InvolvedObject.UID != "" && strings.Contains(e.Message, "not found") {
				return nil
			}
		}
		return errStatus("no such Event")
	})
	setState(t, w, own, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}})
	until(t, "pods to be wrapped again", func() error {
		if status := w.statusOf(ctx, t, ""); !strings.Contains(status, "wrapped") {
			return errStatus(status)
		}
		return nil
	})
}

type errStatus string

func (e errStatus) Error() string { return string(e) }

// setState writes what a kubelet would.
func setState(t *testing.T, w *world, pod *corev1.Pod, state corev1.ContainerState) {
	t.Helper()
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "init", Image: pod.Spec.Containers[0].Image, State: state}}
	if err := w.Admin.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
}

// statusOf is the status annotation that a usual tenant's pod gets.
func (w *world) statusOf(ctx context.Context, t *testing.T, architecture string) string {
	t.Helper()
	pod := w.usualPod(0)
	if architecture != "" {
		pod.Spec.NodeSelector = map[string]string{"kubernetes.io/arch": architecture}
	}
	made, err := w.shop.CoreV1().Pods(usual).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		t.Fatal(err)
	}
	return made.Annotations["podinit.dev/status"]
}
