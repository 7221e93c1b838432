package check

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/nodes"
	"github.com/podinit/podinit/internal/cli/output"
	"github.com/podinit/podinit/internal/node/report"
)

// plugin finds node mode.
func (g *Gatherer) plugin(ctx context.Context, f *Facts) {
	f.Plugin = readOf(nodes.FindAnywhere(ctx, g.Client))
	if errors.Is(f.Plugin.Err, nodes.ErrMissing) {
		f.Plugin.Err = apierrors.NewNotFound(schema.GroupResource{Group: "apps", Resource: "daemonsets"}, nodes.Selector)
	}
}

// onNodes asks each node's podinit-node what it does.
func (g *Gatherer) onNodes(ctx context.Context, f *Facts) {
	if f.Plugin.Err != nil {
		f.OnNodes.Err, f.PluginSuspend.Err = f.Plugin.Err, f.Plugin.Err
		return
	}
	d := f.Plugin.Value
	f.PluginSuspend = readOf(g.Client.CoreV1().ConfigMaps(d.Namespace).Get(ctx, v1alpha1.SuspendConfigMap, metav1.GetOptions{}))
	f.OnNodes = readOf(nodes.List(ctx, g.Client, d))
	nodes.Ask(ctx, g.Client, d, f.OnNodes.Value, metav1.NamespaceAll)
	f.addMissing()
}

// addMissing adds the nodes on which podinit-node is to run and has no pod.
func (f *Facts) addMissing() {
	var wanted []string
	for _, n := range f.Nodes.Value {
		if n.NodeMode {
			wanted = append(wanted, n.Name)
		}
	}
	f.OnNodes.Value = nodes.AddMissing(f.OnNodes.Value, wanted)
}

// pluginUsable says whether node mode is installed and can be looked at. Where it is not installed, a check passes.
func pluginUsable(f *Facts, r *Result) bool {
	if f.Plugin.missing() {
		r.say("node mode is not installed")
		return false
	}
	return f.Plugin.usable(r, "DaemonSets") && f.OnNodes.usable(r, "pods in namespace "+f.Plugin.Value.Namespace)
}

// ofPlugin is a command in podinit-node's namespace.
func ofPlugin(d *appsv1.DaemonSet, words ...string) string {
	return "kubectl -n " + d.Namespace + " " + strings.Join(words, " ")
}

// reinstallPlugin is how node mode is made right again.
func reinstallPlugin(f *Facts) string {
	if d := f.Plugin.Value; d.Labels["app.kubernetes.io/managed-by"] == "Helm" {
		return "Install it again: helm -n " + d.Namespace + " upgrade " + d.Labels["app.kubernetes.io/instance"] +
			", with the same values as before."
	}
	return "Install it again: kubectl apply --server-side --force-conflicts -k config/node with your images."
}

// checkPlugin fails for each node that does not wrap. Where node mode is not installed, it fails for InitProfiles that leave
// pods to the nodes.
func checkPlugin(f *Facts, r *Result) {
	if f.Plugin.missing() {
		for _, p := range f.Profiles.Value {
			if p.Spec.Delivery == v1alpha1.DeliverByNode {
				r.fail("Install node mode: docs/node-mode.md. Or: kubectl patch initprofile "+p.Name+` --type=merge -p '{"spec":{"delivery":"Auto"}}'`,
					"InitProfile %s has delivery Node, but node mode is not installed: its pods start without the init", p.Name)
			}
		}
	}
	if !pluginUsable(f, r) {
		return
	}
	d, ready := f.Plugin.Value, 0
	var away []nodes.Node
	for _, n := range f.OnNodes.Value {
		if n.Ready {
			ready++
		} else {
			away = append(away, n)
		}
	}
	r.say("%d of %s", ready, output.Count(len(f.OnNodes.Value), "node"))
	for i, n := range away {
		if i == maxNames {
			r.fail(ofPlugin(d, "get pods -o wide"), "%s more: containers start there without the init", output.Count(len(away)-i, "node"))
			return
		}
		hint := ofPlugin(d, "describe pod", n.Pod)
		if n.Pod == "" {
			hint = ofPlugin(d, "describe daemonset", d.Name)
		}
		r.fail(hint, "node %s: %s: containers start there without the init", n.Name, lastLine(n.Problem))
	}
}

// checkPluginVersions warns while a rollout is under way, or hangs.
func checkPluginVersions(f *Facts, r *Result) {
	if !pluginUsable(f, r) {
		return
	}
	d, on := f.Plugin.Value, map[string][]string{}
	for _, n := range f.OnNodes.Value {
		if n.Report != nil {
			on[n.Report.Version] = append(on[n.Report.Version], n.Name)
		}
	}
	versions := slices.Sorted(maps.Keys(on))
	rollout := ofPlugin(d, "rollout status daemonset", d.Name)
	switch {
	case len(versions) > 1:
		var all []string
		for _, v := range versions {
			all = append(all, fmt.Sprintf("%s on %s", v, names(on[v])))
		}
		r.warn(rollout, "nodes have different versions: %s", strings.Join(all, "; "))
	case d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedNumberScheduled < d.Status.DesiredNumberScheduled:
		r.warn(rollout, "the last change of DaemonSet %s is not rolled out: %d of %s updated", d.Name, d.Status.UpdatedNumberScheduled,
			output.Count(int(d.Status.DesiredNumberScheduled), "pod"))
	case len(versions) == 1:
		r.say("%s", versions[0])
	}
	notAsked(f, r)
}

// notAsked says which nodes have not answered.
func notAsked(f *Facts, r *Result) {
	var silent []string
	var err error
	for _, n := range f.OnNodes.Value {
		switch {
		case apierrors.IsForbidden(n.Err):
			r.skip("Use an account that may get pods/proxy there: docs/node-mode.md.",
				"forbidden: you may not read what podinit-node reports in namespace %s", f.Plugin.Value.Namespace)
			return
		case n.Err != nil && n.Ready:
			silent, err = append(silent, n.Name), n.Err
		}
	}
	if len(silent) > 0 {
		r.skip("podinit-node reports at its metrics port, unless it has -report=false.",
			"podinit-node on these nodes does not report: %s: %v", names(silent), err)
	}
}

// checkPluginSuspended warns, since an administrator has suspended it.
func checkPluginSuspended(f *Facts, r *Result) {
	if !pluginUsable(f, r) {
		return
	}
	if !f.PluginSuspend.missing() && f.PluginSuspend.usable(r,
		"ConfigMap "+v1alpha1.SuspendConfigMap+" in namespace "+f.Plugin.Value.Namespace) && f.PluginSuspend.Value != nil {
		r.warn("To resume: "+ofPlugin(f.Plugin.Value, "delete configmap", v1alpha1.SuspendConfigMap),
			"new containers are created unchanged, since ConfigMap %s was created at %s",
			v1alpha1.SuspendConfigMap, f.PluginSuspend.Value.CreationTimestamp.UTC().Format(time.RFC3339))
		return
	}
	var suspended []string
	for _, n := range f.OnNodes.Value {
		if n.Report != nil && n.Report.Suspended {
			suspended = append(suspended, n.Name)
		}
	}
	if len(suspended) > 0 {
		r.warn("To resume: take the flag -"+v1alpha1.SuspendFlag+" from the DaemonSet, or set suspend: false of the chart.",
			"new containers are created unchanged on these nodes: %s", names(suspended))
	}
}

// checkMissed warns of containers that a restart would give the init.
func checkMissed(f *Facts, r *Result) {
	if !pluginUsable(f, r) {
		return
	}
	wrapped, missed := 0, 0
	for _, n := range f.OnNodes.Value {
		if n.Report == nil {
			continue
		}
		wrapped += n.Report.Counts.Wrapped
		for _, c := range n.Report.Containers {
			if c.State != report.Missed {
				break // they come first
			}
			if missed++; missed <= maxNames {
				r.warn("Create the pod again, for example: kubectl -n "+c.Namespace+" rollout restart, or kubectl -n "+c.Namespace+" delete pod "+c.Pod,
					"container %s of pod %s/%s on node %s opts in and runs without the init: it was created while podinit-node could not wrap it, or "+
						"before it opted in", c.Name, c.Namespace, c.Pod, n.Name)
			}
		}
	}
	if missed > maxNames {
		r.warn("podinit status -A --wide names them.", "%s more", output.Count(missed-maxNames, "container"))
	}
	r.say("%s wrapped by nodes", output.Count(wrapped, "container"))
	notAsked(f, r)
}

// byNode says whether pods of a namespace are left to the nodes, as far as the profile of the namespace decides.
func byNode(f *Facts, namespace string) bool {
	name := v1alpha1.DefaultProfile
	for _, n := range f.Namespaces.Value {
		if chosen := n.Annotations[v1alpha1.ProfileAnnotation]; n.Name == namespace && chosen != "" {
			name = chosen
		}
	}
	i := slices.IndexFunc(f.Profiles.Value, func(p v1alpha1.InitProfile) bool { return p.Name == name })
	return i >= 0 && f.Profiles.Value[i].Spec.Delivery == v1alpha1.DeliverByNode
}
