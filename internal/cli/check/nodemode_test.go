package check

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/nodes"
	"github.com/podinit/podinit/internal/node/report"
)

// nodeMode adds node mode in order to facts.
func nodeMode(f *Facts) {
	d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "podinit-node", Name: "podinit-node"}}
	d.Status.DesiredNumberScheduled, d.Status.UpdatedNumberScheduled = 2, 2
	f.Plugin, f.OnNodes = Read[*appsv1.DaemonSet]{Value: d}, Read[[]nodes.Node]{Value: []nodes.Node{
		{Name: "a", Pod: "p1", Ready: true, Report: &report.Report{Version: "v1", Registered: true, Counts: report.Counts{Wrapped: 3}}},
		{Name: "b", Pod: "p2", Ready: true, Report: &report.Report{Version: "v1", Registered: true, Counts: report.Counts{Wrapped: 4}}},
	}}
}

func TestNodeMode(t *testing.T) {
	for _, test := range []struct {
		name  string
		wreck func(*Facts)
		want  map[string]string
	}{
		{"in order", func(*Facts) {}, nil},
		{"not installed", func(f *Facts) { f.Plugin.Err, f.OnNodes.Err, f.PluginSuspend.Err = missing(), missing(), missing() }, nil},
		{"not installed, and asked for", func(f *Facts) {
			f.Plugin.Err, f.OnNodes.Err, f.PluginSuspend.Err = missing(), missing(), missing()
			f.Profiles.Value[0].Spec.Delivery = v1alpha1.DeliverByNode
		}, map[string]string{"node-plugin": "failed: InitProfile default has delivery Node, but node mode is not installed"}},
		{"not registered", func(f *Facts) {
			f.OnNodes.Value[1].Ready, f.OnNodes.Value[1].Problem = false, "the container runtime is too old"
		}, map[string]string{"node-plugin": "failed: node b: the container runtime is too old: containers start there without the init"}},
		{"no pod", func(f *Facts) {
			f.OnNodes.Value = append(f.OnNodes.Value, nodes.Node{Name: "c", Problem: "no pod of podinit-node"})
		}, map[string]string{"node-plugin": "failed: node c: no pod of podinit-node: containers"}},
		{"versions", func(f *Facts) { f.OnNodes.Value[1].Report.Version = "v0" }, map[string]string{"node-versions": "warning: nodes have different versions: v0 on b; v1 on a"}},
		{"rollout", func(f *Facts) { f.Plugin.Value.Status.UpdatedNumberScheduled = 1 }, map[string]string{"node-versions": "warning: the last change of DaemonSet podinit-node is not rolled out: 1 of 2 pods updated"}},
		{"suspended by ConfigMap", func(f *Facts) { f.PluginSuspend = Read[*corev1.ConfigMap]{Value: &corev1.ConfigMap{}} }, map[string]string{"node-suspended": "warning: new containers are created unchanged, since ConfigMap podinit-suspend"}},
		{"suspended by flag", func(f *Facts) { f.OnNodes.Value[0].Report.Suspended = true }, map[string]string{"node-suspended": "warning: new containers are created unchanged on these nodes: a"}},
		{"missed", func(f *Facts) {
			f.OnNodes.Value[0].Report.Containers = []report.Container{
				{Namespace: "shop", Pod: "web", Name: "app", State: report.Missed}, {Namespace: "shop", Pod: "web", Name: "other", State: report.Wrapped},
			}
		}, map[string]string{"node-containers": "warning: container app of pod shop/web on node a opts in and runs without the init"}},
		{"may not ask", func(f *Facts) { f.OnNodes.Value[0].Report, f.OnNodes.Value[0].Err = nil, forbidden() }, map[string]string{
			"node-versions": "not-checked: forbidden: you may not read what podinit-node reports", "node-containers": "not-checked: forbidden: you may not read what podinit-node reports",
		}},
		{"does not report", func(f *Facts) { f.OnNodes.Value[0].Report, f.OnNodes.Value[0].Err = nil, errors.New("no route") }, map[string]string{
			"node-versions": "not-checked: podinit-node on these nodes does not report: a: no route", "node-containers": "not-checked: podinit-node on these nodes does not report: a",
		}},
		{"left to the nodes", func(f *Facts) {
			f.Profiles.Value[0].Spec.Delivery = v1alpha1.DeliverByNode
			f.DryRun.Answers = slices.Repeat([]DryRunAnswer{{}}, dryRuns)
		}, nil},
	} {
		f := healthy(t)
		nodeMode(f)
		f.PluginSuspend.Err = missing()
		test.wreck(f)
		got := map[string]string{}
		for _, r := range run(installationChecks, f) {
			if r.Status != Passed {
				got[r.Name] = string(r.Status) + ": " + r.Problems[0].Found
			}
		}
		for name, found := range got {
			if want, ok := test.want[name]; !ok || !strings.HasPrefix(found, want) {
				t.Errorf("%s: %s is %q, want %q", test.name, name, found, want)
			}
		}
		if len(got) != len(test.want) {
			t.Errorf("%s: not green: %v, want %v", test.name, got, test.want)
		}
	}
}

// Where nodes alone wrap, no webhook is looked for.
func TestNodeOnly(t *testing.T) {
	f := healthy(t)
	nodeMode(f)
	f.Configuration, f.Deployment, f.Service, f.Keeper = Read[*admissionregistrationv1.MutatingWebhookConfiguration]{Err: missing()}, Read[*appsv1.Deployment]{Err: missing()}, Read[*corev1.Service]{Err: missing()}, Read[*appsv1.Deployment]{Err: missing()}
	f.Certificate.Err, f.PluginSuspend.Err, f.InitImage = missing(), missing(), ""
	var names []string
	for _, r := range run(checksOf(f), f) {
		names = append(names, r.Name)
		if r.Status != Passed {
			t.Errorf("%s is %s: %v", r.Name, r.Status, r.Problems)
		}
	}
	want := []string{
		"kubernetes-version", "kubernetes-apis", "image-volumes", "crd", "crd-schema", "node-plugin", "node-versions", "node-suspended", "node-containers",
		"namespaces-labelled", "namespace-labels", "namespace-profiles",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
	f.Definition.Err = missing()
	if r := run(checksOf(f), f); !strings.Contains(r[3].Problems[0].Hint, "config/node") {
		t.Errorf("the hint of %s is %q", r[3].Name, r[3].Problems[0].Hint)
	}
	if got := checksOf(healthy(t)); len(got) != len(installationChecks) {
		t.Error("with the webhook, a check is left out")
	}
}

// A node without a pod of podinit-node is found among very many, too: a look at all nodes for each took 20 s.
func TestWithout(t *testing.T) {
	f := &Facts{}
	for i := range 40_000 {
		name := fmt.Sprintf("ip-10-0-%d-%d.example", i/256, i%256)
		f.Nodes.Value = append(f.Nodes.Value, Node{Name: name, NodeMode: true})
		f.OnNodes.Value = append(f.OnNodes.Value, nodes.Node{Name: name, Pod: "p", Ready: true})
	}
	f.Nodes.Value = append(f.Nodes.Value, Node{Name: "without", NodeMode: true}, Node{Name: "not selected"})
	began := time.Now()
	f.addMissing()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	if last := f.OnNodes.Value[len(f.OnNodes.Value)-1]; len(f.OnNodes.Value) != 40_001 || last.Name != "without" || last.Pod != "" || last.Problem == "" {
		t.Errorf("%d nodes, the last of which is %+v", len(f.OnNodes.Value), last)
	}
}
