package hostile

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// usualPods are what the other tenant creates, by number: a command of its own; an image that everybody runs; one that was
// just pushed; a private one.
func (w *world) usualPod(n int) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "web-", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: w.registries.good + "/shop/web:1", Env: []corev1.EnvVar{{Name: "A", Value: "b"}}}}},
	}
	container := &pod.Spec.Containers[0]
	switch n % 4 {
	case 0:
		container.Command = []string{"/bin/web", "--port=80"}
	case 2:
		container.Image = fmt.Sprintf("%s/shop/web:build-%d-%d", w.registries.good, time.Now().UnixNano(), n)
	case 3:
		container.Image = w.registries.good + "/private/web:1"
		pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "pull"}}
	}
	return pod
}

// created is what became of usual pods.
type created struct {
	mu       sync.Mutex
	took     []time.Duration
	problems map[string]int
}

func (c *created) percentile(p int) time.Duration {
	if len(c.took) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(c.took))
	return sorted[(len(sorted)*p+99)/100-1]
}

func (c *created) String() string {
	round := func(p int) time.Duration { return c.percentile(p).Round(time.Millisecond) }
	return fmt.Sprintf("%d usual pods, half within %v, 99 %% within %v, all within %v", len(c.took), round(50), round(99), round(100))
}

// create creates one usual pod.
func (w *world) create(ctx context.Context, n int, c *created) {
	began := time.Now()
	pod, err := w.shop.CoreV1().Pods(usual).Create(ctx, w.usualPod(n), metav1.CreateOptions{})
	took := time.Since(began)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.took = append(c.took, took)
	switch {
	case err != nil:
		text := err.Error()
		c.problems["refused: "+text[:min(len(text), 300)]]++
	case len(pod.Spec.Containers[0].Command) == 0 || pod.Spec.Containers[0].Command[0] != "/podinit/init":
		status := pod.Annotations["podinit.dev/status"]
		if _, reason, ok := strings.Cut(status, `"reason":"`); ok {
			status, _, _ = strings.Cut(reason, `"`)
		}
		c.problems[fmt.Sprintf("unwrapped (%s) of kind %d", status, n%4)]++
	}
}

// createPods creates so many usual pods in a second for a while, whether those before are done or not.
func (w *world) createPods(t *testing.T, during time.Duration, rate int) *created {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), during+30*time.Second)
	defer cancel()
	c := &created{problems: map[string]int{}}
	var all sync.WaitGroup
	ticker := time.NewTicker(time.Second / time.Duration(rate))
	defer ticker.Stop()
	began := time.Now()
	for n := 0; time.Since(began) < during; n++ {
		<-ticker.C
		all.Go(func() { w.create(ctx, n, c) })
	}
	all.Wait()
	return c
}

// warmUp creates a usual pod of each kind: the tenant was there before the attacker.
func (w *world) warmUp(t *testing.T) {
	t.Helper()
	c := &created{problems: map[string]int{}}
	for n := range 4 {
		w.create(t.Context(), n, c)
	}
	if len(c.problems) > 0 {
		t.Fatalf("before the attack: %v", c.problems)
	}
}
