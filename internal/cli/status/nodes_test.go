package status

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podinit/podinit/internal/cli/nodes"
	"github.com/podinit/podinit/internal/node/report"
)

// What nodes report counts as what the pods themselves would show.
func TestOnNodes(t *testing.T) {
	on := func(pod, container string, state report.State, reason string) report.Container {
		c := report.Container{Namespace: "shop", Pod: pod, Name: container, State: state}
		if c.Reason = ""; reason != "" {
			c.Reason = "already-init"
		}
		if state == report.Wrapped {
			c.Init = "v1+x-0123456789ab"
		}
		return c
	}
	r := &report.Report{Version: "v1+x", Registered: true}
	r.Set([]report.Container{
		on("all", "app", report.Wrapped, ""), on("some", "app", report.Wrapped, ""), on("some", "b", report.Missed, ""), on("none", "app", report.Missed, ""),
		on("tini", "app", report.LeftAlone, "already-init"), on("both", "b", report.Wrapped, ""), on("another", "app", report.Wrapped, ""),
	})
	for i := range r.Containers {
		if r.Containers[i].Pod == "another" {
			r.Containers[i].UID = "of a pod that is gone"
		}
	}
	b := NewBuilder("")
	b.OnNodes([]nodes.Node{
		{Name: "a", Pod: "p1", Ready: true, Report: r}, {Name: "b", Pod: "p2", Problem: "the init is not installed", Report: &report.Report{Version: "v1+x", Suspended: true}},
		{Name: "c", Pod: "p3", Ready: true, Err: errors.New("no route")},
	})
	for _, p := range []struct{ name, status, containers string }{
		{"all", "", "app"}, {"some", "", "app b"}, {"none", "", "app"}, {"tini", "", "app"}, {"another", "", "app"},
		{"both", `{"v":1,"version":"v1+x","containers":{"app":{"action":"wrapped"},"b":{"action":"skipped","reason":"lookup-timeout"}}}`, "app=/podinit/init b"},
	} {
		made := pod(p.name, p.status, strings.Fields(p.containers)...)
		made.UID = "uid"
		if made.Labels != nil {
			made.Labels["podinit.dev/version"] = "v1_x"
		}
		b.Pod(made, yes)
	}
	got := b.Report(t.Context(), nil)
	want := Counts{Pods: 6, Wrapped: 2, Partly: 1, LeftAlone: 1, WithoutStatus: 2, ByNode: 3}
	if diff := cmp.Diff(want, got.Totals); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if got.Signals.WithPodinit != 4 {
		t.Errorf("%d containers get their signal from podinit, want 4", got.Signals.WithPodinit)
	}
	wantNodes := &Nodes{
		Versions: []string{"v1+x"}, Nodes: 3, Registered: 2, NotRegistered: []NodeProblem{{"b", "the init is not installed"}}, Suspended: []string{"b"},
		Containers: report.Counts{Wrapped: 4, LeftAlone: 1, Missed: 2},
		Missed:     []MissedContainer{{"a", "shop/none", "app"}, {"a", "shop/some", "b"}},
	}
	if diff := cmp.Diff(wantNodes, got.Nodes); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	var out bytes.Buffer
	if err := got.print(&out, false, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"podinit-node v1+x is registered on 2 of 3 nodes; 4 containers wrapped by nodes here, in 3 pods.", "podinit-node is suspended on b: new",
		"  b: the init is not installed\n", "missed-by-node (2 containers in 2 pods): it runs without the init", "shop/some, container b, on node a",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
	if len(got.Versions) != 1 || got.Versions[0].Outdated {
		t.Errorf("versions %+v", got.Versions)
	}
}
