package e2e

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/test/suite"
)

// TestKubectlNoticesNothing reads a wrapped pod's log as its author does. Without the annotation that podinit adds, kubectl
// says that it has chosen among the container and the copier.
func TestKubectlNoticesNothing(t *testing.T) {
	pod := started(t, create(t, namespace(t, optedIn()), shellPod("app", "bash", "-c", "echo ready; exec sleep 600")))
	if len(pod.Spec.InitContainers) != 1 {
		t.Fatalf("init containers: %+v", pod.Spec.InitContainers)
	}
	for _, args := range [][]string{{"logs", "app"}, {"exec", "app", "--", "true"}} {
		command := kubectl(t.Context(), append([]string{"-n", pod.Namespace}, args...)...)
		var errors bytes.Buffer
		command.Stderr = &errors
		if _, err := command.Output(); err != nil || errors.Len() > 0 {
			t.Errorf("kubectl %v: %v, and on standard error: %s", args, err, &errors)
		}
	}
}

// TestDrain asks kubectl which of two wrapped pods it would evict without further flags. The copier's volume is on the
// node's disk, an image volume is not.
func TestDrain(t *testing.T) {
	drain := func(policy v1alpha1.DeliveryPolicy, copiers int) string {
		ns := withProfile(t, v1alpha1.InitProfileSpec{Delivery: policy})
		pod := shellPod("app", "sleep", "600")
		pod.Labels = map[string]string{"drain": strings.ToLower(string(policy))}
		admitted(t, ns, pod, "a pod with that delivery", func(p *corev1.Pod) bool { return isWrapped(p) && len(p.Spec.InitContainers) == copiers })
		pod = started(t, create(t, ns, pod))
		out, err := kubectl(context.WithoutCancel(t.Context()), "drain", pod.Spec.NodeName, "--dry-run=server", "--force", "--ignore-daemonsets",
			"--pod-selector=drain="+pod.Labels["drain"]).CombinedOutput()
		if errored := strings.Contains(string(out), "emptydir"); (err != nil) != errored {
			t.Fatalf("kubectl drain: %v: %s", err, out)
		}
		return string(out)
	}
	if out := drain(v1alpha1.DeliverByInitContainer, 1); !strings.Contains(out, "--delete-emptydir-data") {
		t.Errorf("with a copier, docs/known-issues.md says that kubectl wants --delete-emptydir-data: %s", out)
	}
	if !mountsImages(t) {
		return
	}
	if out := drain(v1alpha1.DeliverByImageVolume, 0); !strings.Contains(out, "evicted") && !strings.Contains(out, "evicting") {
		t.Errorf("with an image volume: %s", out)
	}
}

// TestLargePodIsCreated has a profile whose command makes forty containers too large for etcd. The pod is created all the
// same, with as many of them wrapped as it takes.
func TestLargePodIsCreated(t *testing.T) {
	const containers = 40
	pod := shellPod("c0")
	pod.Spec.Containers[0].Image, pod.Spec.NodeSelector = "long.example/image:1", map[string]string{"no": "node"}
	for i := 1; i < containers; i++ {
		c := *pod.Spec.Containers[0].DeepCopy()
		c.Name = fmt.Sprintf("c%d", i)
		pod.Spec.Containers = append(pod.Spec.Containers, c)
	}
	ns := withProfile(t, v1alpha1.InitProfileSpec{Entrypoints: []v1alpha1.ImageEntrypoint{
		{Image: "long.example/*", Entrypoint: []string{"app"}, Cmd: []string{strings.Repeat("a", 60<<10)}},
	}})
	admitted(t, ns, pod, "a pod with a wrapped container", isWrapped)
	created := create(t, ns, pod)
	tooLarge := 0
	for _, c := range suite.Status(t, created).Containers {
		if c.Reason == v1alpha1.ReasonPodTooLarge {
			tooLarge++
		}
	}
	if tooLarge == 0 || tooLarge > containers-10 {
		t.Errorf("%d of %d containers are left alone as the pod would be too large", tooLarge, containers)
	}
}
