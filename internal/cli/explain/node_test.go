package explain

import (
	"bytes"
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/podinit/podinit/internal/cli/files"
	"github.com/podinit/podinit/internal/cli/nodes"
	"github.com/podinit/podinit/internal/cli/planner"
	"github.com/podinit/podinit/internal/node/report"
)

// The node's report is shown for each container of this pod, and not for those of an earlier pod with its name.
func TestOnNode(t *testing.T) {
	plan := planner.Options{Offline: true}
	t.Setenv("KUBECONFIG", t.TempDir()+"/none")
	injector, err := plan.New(t.Context(), genericclioptions.NewConfigFlags(true), genericiooptions.IOStreams{ErrOut: &bytes.Buffer{}})
	if err != nil {
		t.Fatal(err)
	}
	defer injector.Close()
	e := explainer{injector: injector, node: func(_ context.Context, pod *corev1.Pod) *nodes.Node {
		if pod.Spec.NodeName != "worker" {
			t.Errorf("node %q is asked", pod.Spec.NodeName)
		}
		return &nodes.Node{Name: "worker", Problem: "the directory is read-only", Report: &report.Report{Containers: []report.Container{
			{Namespace: "shop", Pod: "web", UID: "u", Name: "app", State: report.Wrapped, Init: "v1-0123456789ab"},
			{Namespace: "shop", Pod: "web", UID: "u", Name: "bare", State: report.Missed},
			{Namespace: "shop", Pod: "web", UID: "u", Name: "own", State: report.LeftAlone, Reason: "already-init"},
			{Namespace: "shop", Pod: "web", UID: "another", Name: "new", State: report.Wrapped, Init: "v1-0123456789ab"},
		}}}
	}}
	all, err := e.file(t.Context(), files.File{Name: "pod", Text: `{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"shop","name":"web","uid":"u"},"spec":{"nodeName":"worker",
"containers":[{"name":"app","image":"r/a","command":["app"]},{"name":"bare","image":"r/a","command":["app"]},{"name":"own","image":"r/a","command":["tini","--","app"]},{"name":"new","image":"r/a","command":["app"]}]}}`})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := table(&out, all); err != nil {
		t.Fatal(err)
	}
	for want, times := range map[string]int{
		"On its node, worker, new containers start without the init: the directory is read-only.": 1,

		"its node has put the init in, version v1\n": 1, "it runs without the init: it was created": 1, "node:          left alone because": 1, "has it already": 1,
	} {
		if got := strings.Count(out.String(), want); got != times {
			t.Errorf("%q is there %d times, want %d, in\n%s", want, got, times, &out)
		}
	}
	if c := all[0].Containers; !c[0].HasInit || c[1].HasInit || c[3].OnNode != nil || all[0].Node.Registered {
		t.Errorf("explained as %+v", all[0])
	}
}
