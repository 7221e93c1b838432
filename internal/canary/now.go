package canary

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Serving finds the canaries of the image that Pods get among the Pods of podinit's namespace that it is shown one after the
// other: that of the webhook's replicas that are ready. Those of a rollout that has not come so far do not count, since no Pod
// gets their image. It keeps no Pod.
type Serving struct {
	// given are the images of replicas that are ready.
	given map[string]bool
	// byImage are the canaries of every image.
	byImage map[string][]Canary
}

// Add takes a Pod in.
func (s *Serving) Add(pod *corev1.Pod) {
	containers, _ := containersOf(pod)
	for _, c := range containers {
		canary, ok := Of(pod, c.Image)
		if c.Name != InitContainer || !ok {
			continue
		}
		if s.byImage == nil {
			s.given, s.byImage = map[string]bool{}, map[string][]Canary{}
		}
		s.byImage[c.Image] = append(s.byImage[c.Image], canary)
		if metav1.GetControllerOfNoCopy(pod).Kind == "ReplicaSet" && ready(pod) {
			s.given[c.Image] = true
		}
	}
}

// Canaries are those of all Pods that were added.
func (s *Serving) Canaries() (canaries []Canary) {
	for _, image := range slices.Sorted(maps.Keys(s.given)) {
		canaries = append(canaries, s.byImage[image]...)
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
