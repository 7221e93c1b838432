package e2e

import (
	"context"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/test/suite"
)

// TestEvents: the author of a Deployment, which a pipeline has applied, finds what to correct among the namespace's Events, once
// and about the ReplicaSet, however many pods there are. What is tried with a dry run is not there.
func TestEvents(t *testing.T) {
	ns := namespace(t, optedIn())
	pod := shellPod("", "sleep", "3600")
	pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
	pod.Spec.Volumes = []corev1.Volume{{Name: "own", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "own", MountPath: "/podinit/own"}}
	replicas, labels := int32(3), map[string]string{"app": "web"}
	_, err := client.AppsV1().Deployments(ns).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod.Spec},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	suite.Eventually(t, "the Deployment's pods", func(ctx context.Context) (bool, error) {
		list, err := client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		return err == nil && len(list.Items) == int(replicas), err
	})
	tried := shellPod("tried", "sleep", "3600")
	tried.Annotations = map[string]string{"podinit.dev/skip-containers": "none-of-this-name"}
	admit(t, ns, tried)
	bare := tried.DeepCopy()
	bare.Name = "bare"
	create(t, ns, bare)

	sets, err := client.AppsV1().ReplicaSets(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil || len(sets.Items) != 1 {
		t.Fatalf("%d ReplicaSets, %v", len(sets.Items), err)
	}
	var events []corev1.Event
	suite.Eventually(t, "the Events", func(ctx context.Context) (bool, error) {
		list, err := client.CoreV1().Events(ns).List(ctx, metav1.ListOptions{FieldSelector: "source=podinit-webhook"})
		events = list.Items
		return len(events) >= 2, err
	})
	found := map[string]corev1.Event{}
	for _, e := range events {
		found[e.InvolvedObject.Kind+"/"+e.InvolvedObject.Name] = e
	}
	set := sets.Items[0]
	if e := found["ReplicaSet/"+set.Name]; e.Reason != "mount-conflict" || e.InvolvedObject.UID != set.UID || e.Type != corev1.EventTypeWarning ||
		!strings.Contains(e.Message, `container "app" left alone because`) {
		t.Errorf("the Event about the ReplicaSet: %+v", e)
	}
	if e := found["Pod/bare"]; e.Reason != "unknown-container" || !strings.Contains(e.Message, "none-of-this-name") {
		t.Errorf("the Event about the pod: %+v", e)
	}
	if len(events) != 2 {
		t.Errorf("%d Events, want 2: %+v", len(events), events)
	}
}
