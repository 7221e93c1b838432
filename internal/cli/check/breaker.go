package check

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/internal/canary"
	"github.com/podinit/podinit/internal/cli/pages"
)

// canaries reads the pods of podinit's own that need the init image of the replicas that serve.
func (g *Gatherer) canaries(ctx context.Context, f *Facts) {
	var serving canary.Serving
	f.Canaries.Err = pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		list, err := g.Client.CoreV1().Pods(f.Namespace).List(ctx, options)
		if err == nil {
			for i := range list.Items {
				serving.Add(&list.Items[i])
			}
		}
		return list, err
	})
	f.Canaries.Value = serving.Canaries()
}

// checkBreaker decides as the replicas do, but does not wait to see whether a pull that fails is tried with more success.
func checkBreaker(f *Facts, r *Result) {
	if !f.Canaries.usable(r, "pods in namespace "+f.Namespace) || !f.Nodes.usable(r, "nodes") {
		return
	}
	if len(f.Canaries.Value) == 0 {
		r.skip(reinstall(f), "none of podinit's own pods pulls the init image")
		return
	}
	architecture := map[string]string{}
	for _, n := range f.Nodes.Value {
		architecture[n.Name] = n.Info.Architecture
	}
	known := func(node string) (string, bool) { return architecture[node], architecture[node] != "" }
	open := canary.OpenFor(f.Canaries.Value, known)
	for _, o := range open {
		r.fail(kubectl(f, "describe pod", o.Pod)+". Once nodes can pull the image, podinit wraps new pods again.",
			"new pods for linux/%s are left alone: pod %s on node %s: %s: %s", o.Architecture, o.Pod, o.Node, o.Reason, lastLine(o.Message))
	}
	if len(open) == 0 {
		r.say("%d pods have pulled it, or try to", len(f.Canaries.Value))
	}
}
