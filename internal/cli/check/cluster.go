package check

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/delivery"
	"github.com/podinit/podinit/internal/initprogram"
	"github.com/podinit/podinit/internal/reason"
)

// minKubernetes has matchConditions for good (KEP-3716).
var minKubernetes = version.MustParseGeneric("1.30")

// groupVersions are those that podinit uses.
var groupVersions = []string{"admissionregistration.k8s.io/v1", "apiextensions.k8s.io/v1", "apps/v1", "authorization.k8s.io/v1",
	"discovery.k8s.io/v1", "policy/v1", "rbac.authorization.k8s.io/v1", "v1"}

func checkVersion(f *Facts, r *Result) {
	if !f.Kubernetes.usable(r, "the apiserver's version") {
		return
	}
	r.say("%s", f.Kubernetes.Value)
	v, err := version.ParseGeneric(f.Kubernetes.Value)
	switch {
	case err != nil:
		r.skip("", "the apiserver reports version %q", f.Kubernetes.Value)
	case !v.AtLeast(minKubernetes):
		r.fail("Upgrade the cluster; before 1.30 the webhook configuration's matchConditions may not work.",
			"Kubernetes is %s", f.Kubernetes.Value)
	}
}

func checkAPIs(f *Facts, r *Result) {
	if !f.APIs.usable(r, "the API groups") {
		return
	}
	for _, want := range groupVersions {
		if !slices.Contains(f.APIs.Value, want) {
			r.fail("See what the apiserver serves: kubectl api-versions", "%s is not served", want)
		}
	}
}

func checkNodes(f *Facts, r *Result) {
	if !f.Nodes.usable(r, "nodes") {
		return
	}
	if len(f.Nodes.Value) == 0 {
		r.fail("List the nodes: kubectl get nodes -o wide", "there is no Linux node")
		return
	}
	for _, arch := range archs(f.Nodes.Value) {
		if !slices.Contains(initprogram.Architectures, arch) {
			r.warn("Keep pods that opt in from these nodes.", "there is no init for %s (nodes: %s)", arch, names(nodesOf(f.Nodes.Value, arch)))
		}
	}
	r.say("%d: %s", len(f.Nodes.Value), strings.Join(archs(f.Nodes.Value), ", "))
}

// archs are the nodes' architectures, sorted, each once.
func archs(nodes []Node) []string {
	var all []string
	for _, n := range nodes {
		if n.Info.Architecture != "" {
			all = append(all, n.Info.Architecture)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func nodesOf(nodes []Node, arch string) []string {
	var all []string
	for _, n := range nodes {
		if n.Info.Architecture == arch {
			all = append(all, n.Name)
		}
	}
	return all
}

func checkImageVolumes(f *Facts, r *Result) {
	if f.Profiles.missing() {
		return // none asks for anything
	}
	if !f.Profiles.usable(r, "InitProfiles") || !f.Nodes.usable(r, "nodes") || !f.Kubernetes.usable(r, "the apiserver's version") {
		return
	}
	var nodes delivery.Nodes
	var cannot []string
	for _, n := range f.Nodes.Value {
		nodes.Set(n.Name, &n.Info)
		if against, _ := delivery.Node(&n.Info); against != "" {
			cannot = append(cannot, n.Name)
		}
	}
	can := nodes.ImageVolumes(f.Kubernetes.Value)
	if can.Verdict == v1alpha1.ReasonEveryNodeCan {
		return
	}
	for _, p := range f.Profiles.Value {
		if p.Spec.Delivery == v1alpha1.DeliverByImageVolume {
			r.fail(fmt.Sprintf("kubectl patch initprofile %s --type=merge -p '{\"spec\":{\"delivery\":\"Auto\"}}'", p.Name),
				"InitProfile %s has delivery ImageVolume, but %s%s", p.Name, reason.Of(can.Verdict).Because, on(cannot))
		}
	}
}

// on is where, if that is known.
func on(nodes []string) string {
	if len(nodes) == 0 {
		return ""
	}
	return " (nodes: " + names(nodes) + ")"
}

func checkNotInstalled(f *Facts, r *Result) {
	if f.Configuration.Err == nil {
		r.warn("To check it: podinit check", "there is a MutatingWebhookConfiguration %s", f.Configuration.Value.Name)
	} else if !f.Configuration.missing() {
		f.Configuration.usable(r, "webhook configurations")
	}
	if f.Definition.Err == nil {
		r.warn("Existing InitProfiles will apply. To list them: kubectl get initprofiles",
			"there is a CustomResourceDefinition %s", f.Definition.Value.Name)
	} else if !f.Definition.missing() {
		f.Definition.usable(r, "CustomResourceDefinitions")
	}
}

func checkMine(f *Facts, r *Result) {
	for _, right := range f.Mine {
		switch {
		case right.Allowed.Err != nil:
			r.skip("", "asking whether you may %s: %v", right, right.Allowed.Err)
			return
		case !right.Allowed.Value && right.Granted:
			r.fail("Have an administrator of the cluster install it.", "you may not %s, and so cannot grant it (%s)", right, right.Role)
		case !right.Allowed.Value:
			r.fail("Have an administrator of the cluster install it.", "you may not %s", right)
		}
	}
}
