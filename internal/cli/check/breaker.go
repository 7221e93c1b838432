package check

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/internal/canary"
	"github.com/podinit/podinit/internal/cli/pages"
)

// canaries reads the pods of podinit's own that need the init image of the replicas that serve. Those of a rollout that
// has not come that far do not count: no pod gets their image.
func (g *Gatherer) canaries(ctx context.Context, f *Facts) {
	images := map[string]bool{}
	for i := range f.Pods.Value {
		if !podReady(&f.Pods.Value[i]) {
			continue
		}
		for _, c := range f.Pods.Value[i].Spec.InitContainers {
			if c.Name == canary.InitContainer {
				images[c.Image] = true
			}
		}
	}
	f.Canaries.Err = pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		list, err := g.Client.CoreV1().Pods(f.Namespace).List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			for image := range images {
				if c, ok := canary.Of(&list.Items[i], image); ok {
					f.Canaries.Value = append(f.Canaries.Value, c)
				}
			}
		}
		return list, nil
	})
}

func podReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// checkBreaker decides as the replicas do, but does not wait to see whether a pull that fails is tried with more success.
func checkBreaker(f *Facts, r *Result) {
	if !f.Canaries.usable(r, "pods in namespace "+f.Namespace) || !f.Nodes.usable(r, "nodes") {
		return
	}
	if len(f.Canaries.Value) == 0 {
		r.skip(reinstall(f), "no pod of podinit's own tries the init image")
		return
	}
	architecture := map[string]string{}
	for _, n := range f.Nodes.Value {
		architecture[n.Name] = n.Info.Architecture
	}
	known := func(node string) (string, bool) { return architecture[node], architecture[node] != "" }
	var breaker canary.Breaker
	breaker.Look(f.Now.Add(-canary.WaitTime), f.Canaries.Value, known)
	open, _ := breaker.Look(f.Now, f.Canaries.Value, known)
	for _, o := range open {
		r.fail(kubectl(f, "describe pod", o.Pod)+". Once the image can be pulled, pods are wrapped again by themselves.",
			"new pods for linux/%s are left alone: pod %s on node %s: %s: %s", o.Architecture, o.Pod, o.Node, o.Reason, lastLine(o.Message))
	}
	if len(open) == 0 {
		r.say("%d try it", len(f.Canaries.Value))
	}
}
