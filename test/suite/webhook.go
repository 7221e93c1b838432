package suite

import (
	"context"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubectl/pkg/util/podutils"
)

const system = "podinit-system"

// WebhookSelector finds the webhook's pods.
const WebhookSelector = "app.kubernetes.io/name=podinit,app.kubernetes.io/component=webhook"

// Settled waits until there are so many replicas of the webhook, all ready and endpoints, and none that is about to end.
func Settled(t *testing.T, client kubernetes.Interface, want int) (pods []corev1.Pod) {
	t.Helper()
	Retry(t, fmt.Sprintf("%d ready replicas and no other", want), func(ctx context.Context) (bool, error) {
		list, err := client.CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: WebhookSelector})
		if err != nil {
			return false, err
		}
		pods = list.Items
		endpoints, err := Endpoints(ctx, client)
		return len(pods) == want && len(endpoints) == want && !slices.ContainsFunc(pods, func(pod corev1.Pod) bool {
			return pod.DeletionTimestamp != nil || !podutils.IsPodReady(&pod) || !slices.Contains(endpoints, pod.Name)
		}), err
	})
	return pods
}

// Endpoints are the names of the webhook's pods that the apiserver may call.
func Endpoints(ctx context.Context, client kubernetes.Interface) (names []string, err error) {
	slices, err := client.DiscoveryV1().EndpointSlices(system).List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=podinit-webhook"})
	if err != nil {
		return nil, err
	}
	for _, slice := range slices.Items {
		for _, endpoint := range slice.Endpoints {
			if (endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready) && endpoint.TargetRef != nil {
				names = append(names, endpoint.TargetRef.Name)
			}
		}
	}
	return names, nil
}
