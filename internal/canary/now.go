package canary

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// OfServing are the canaries of the image that Pods get, among all Pods of podinit's namespace: that of the webhook's
// replicas that are ready. Those of a rollout that has not come so far do not count, since no Pod gets their image.
func OfServing(pods []corev1.Pod) (canaries []Canary) {
	images := map[string]bool{}
	for i := range pods {
		if !ready(&pods[i]) {
			continue
		}
		for _, c := range pods[i].Spec.InitContainers {
			if _, ok := Of(&pods[i], c.Image); ok {
				images[c.Image] = true
			}
		}
	}
	for i := range pods {
		for image := range images {
			if c, ok := Of(&pods[i], image); ok {
				canaries = append(canaries, c)
			}
		}
	}
	return canaries
}

func ready(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// OpenFor says where a Breaker that has seen these canaries for long enough is open.
func OpenFor(canaries []Canary, architecture func(node string) (name string, known bool)) []Opening {
	var b Breaker
	now := time.Now()
	b.Look(now.Add(-WaitTime), canaries, architecture)
	open, _ := b.Look(now, canaries, architecture)
	return open
}
