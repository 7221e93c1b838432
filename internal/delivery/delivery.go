// Package delivery finds out whether a cluster can mount images as volumes (KEP-4639), for profiles that leave the
// delivery open, on which architectures it runs, and, for package nodeimages, which images its nodes hold.
//
// All Linux nodes count, also those that are cordoned: Pods of DaemonSets go there.
package delivery

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/inject"
)

// What it takes. From Kubernetes 1.36 on image volumes cannot be switched off; containerd maps the users of an image
// for hostUsers: false since 2.3. CRI-O, up to 1.37 at least, asks the OCI runtime for an overlay whose users are mapped, which runc and
// crun refuse (https://github.com/cri-o/cri-o/issues/9409), and such Pods never start.
var (
	minKubernetes               = version.MustParseGeneric("1.36")
	minContainerd               = version.MustParseGeneric("2.1")
	minContainerdUserNamespaces = version.MustParseGeneric("2.3")
	minCRIO                     = version.MustParseGeneric("1.31")
)

// Node is the verdict on one Linux node: "" if it can mount images, else why not.
func Node(info *corev1.NodeSystemInfo) (verdict, inUserNamespaces v1alpha1.Reason) {
	switch can, known := atLeast(info.KubeletVersion, minKubernetes); {
	case !known:
		return v1alpha1.ReasonClusterUnknown, v1alpha1.ReasonClusterUnknown
	case !can:
		return v1alpha1.ReasonKubeletTooOld, v1alpha1.ReasonKubeletTooOld
	}
	runtime, number, _ := strings.Cut(info.ContainerRuntimeVersion, "://")
	var want *version.Version
	switch runtime {
	case "containerd":
		want = minContainerd
		if can, _ := atLeast(number, minContainerdUserNamespaces); !can {
			inUserNamespaces = v1alpha1.ReasonUserNamespaceTooOld
		}
	case "cri-o":
		want, inUserNamespaces = minCRIO, v1alpha1.ReasonUserNamespaceUnsupported
	default:
		return v1alpha1.ReasonRuntimeUnknown, v1alpha1.ReasonRuntimeUnknown
	}
	switch can, known := atLeast(number, want); {
	case !known:
		return v1alpha1.ReasonRuntimeUnknown, v1alpha1.ReasonRuntimeUnknown
	case !can:
		return v1alpha1.ReasonRuntimeTooOld, v1alpha1.ReasonRuntimeTooOld
	}
	return "", inUserNamespaces
}

// atLeast compares what a program says of itself, such as v1.36.3+k3s1, with a version; not known if it says none.
func atLeast(said string, want *version.Version) (can, known bool) {
	v, err := version.ParseGeneric(said)
	return err == nil && v.AtLeast(want), err == nil
}

// verdicts on a node, or on all of them.
type verdicts struct{ plain, inUserNamespaces v1alpha1.Reason }

// worse joins two.
func (v verdicts) worse(other verdicts) verdicts {
	return verdicts{worse(v.plain, other.plain), worse(v.inUserNamespaces, other.inUserNamespaces)}
}

// order of the reasons against image volumes, from the one to look at first.
var order = [...]v1alpha1.Reason{
	v1alpha1.ReasonClusterUnknown, v1alpha1.ReasonAPIServerTooOld, v1alpha1.ReasonKubeletTooOld,
	v1alpha1.ReasonRuntimeUnknown, v1alpha1.ReasonRuntimeTooOld, v1alpha1.ReasonUserNamespaceTooOld,
	v1alpha1.ReasonUserNamespaceUnsupported,
}

func worse(a, b v1alpha1.Reason) v1alpha1.Reason {
	for _, r := range order {
		if a == r || b == r {
			return r
		}
	}
	return ""
}

// Nodes are the verdicts on the Linux nodes of a cluster. The zero value has no nodes.
type Nodes struct {
	byName map[string]verdicts
	// count of nodes by verdict, so that a change of one node does not take a look at all.
	count map[verdicts]int
	// architectures of the nodes, by name, and count of nodes by architecture.
	architectures  map[string]string
	ofArchitecture map[string]int
}

// Set takes a node in, or what has become of it.
func (n *Nodes) Set(name string, info *corev1.NodeSystemInfo) {
	n.Remove(name)
	if info.OperatingSystem != "" && info.OperatingSystem != "linux" {
		return // no Pod of ours goes there
	}
	if n.byName == nil {
		n.byName, n.count = map[string]verdicts{}, map[verdicts]int{}
		n.architectures, n.ofArchitecture = map[string]string{}, map[string]int{}
	}
	var v verdicts
	v.plain, v.inUserNamespaces = Node(info)
	n.byName[name] = v
	n.count[v]++
	n.architectures[name] = info.Architecture
	n.ofArchitecture[info.Architecture]++
}

// Remove forgets a node.
func (n *Nodes) Remove(name string) {
	if v, ok := n.byName[name]; ok {
		a := n.architectures[name]
		delete(n.byName, name)
		delete(n.architectures, name)
		if n.count[v]--; n.count[v] == 0 {
			delete(n.count, v)
		}
		if n.ofArchitecture[a]--; n.ofArchitecture[a] == 0 {
			delete(n.ofArchitecture, a)
		}
	}
}

// Architecture of a node; "" if the node or its architecture is not known.
func (n *Nodes) Architecture(name string) string { return n.architectures[name] }

// Architectures of the nodes, sorted, each once; nil if one has not said it yet, or there are none.
func (n *Nodes) Architectures() []string {
	if n.ofArchitecture[""] > 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(n.ofArchitecture))
}

// ImageVolumes is the verdict on a cluster whose apiserver says that version of itself, "" if it is not known.
func (n *Nodes) ImageVolumes(apiserver string) inject.ImageVolumes {
	var all verdicts
	switch can, known := atLeast(apiserver, minKubernetes); {
	case !known, len(n.byName) == 0:
		all = verdicts{v1alpha1.ReasonClusterUnknown, v1alpha1.ReasonClusterUnknown}
	case !can:
		all = verdicts{v1alpha1.ReasonAPIServerTooOld, v1alpha1.ReasonAPIServerTooOld}
	}
	for v := range n.count {
		all = all.worse(v)
	}
	can := func(against v1alpha1.Reason) v1alpha1.Reason {
		if against == "" {
			return v1alpha1.ReasonEveryNodeCan
		}
		return against
	}
	return inject.ImageVolumes{Verdict: can(all.plain), VerdictInUserNamespaces: can(all.inUserNamespaces)}
}
