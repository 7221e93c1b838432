package delivery_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/delivery"
	"github.com/podinit/podinit/internal/inject"
)

func node(kubelet, runtime string) corev1.NodeSystemInfo {
	return corev1.NodeSystemInfo{OperatingSystem: "linux", KubeletVersion: kubelet, ContainerRuntimeVersion: runtime}
}

func TestNode(t *testing.T) {
	for _, c := range []struct {
		kubelet, runtime       string
		want, inUserNamespaces v1alpha1.Reason
	}{
		{"v1.36.0", "containerd://2.3.0", "", ""},
		{"v1.36.0", "containerd://2.1.4", "", v1alpha1.ReasonUserNamespaceTooOld},
		{"v1.37.1+k3s1", "containerd://2.3.1-k3s2", "", ""},
		{"v1.36.2-gke.1004000", "cri-o://1.31.0", "", v1alpha1.ReasonUserNamespaceUnsupported},
		{"v1.37.2", "cri-o://1.37.0", "", v1alpha1.ReasonUserNamespaceUnsupported},
		{"v1.36.0", "containerd://2.0.9", v1alpha1.ReasonRuntimeTooOld, v1alpha1.ReasonRuntimeTooOld},
		{"v1.36.0", "containerd://1.7.27", v1alpha1.ReasonRuntimeTooOld, v1alpha1.ReasonRuntimeTooOld},
		{"v1.36.0", "cri-o://1.30.9", v1alpha1.ReasonRuntimeTooOld, v1alpha1.ReasonRuntimeTooOld},
		{"v1.35.9", "containerd://2.3.0", v1alpha1.ReasonKubeletTooOld, v1alpha1.ReasonKubeletTooOld},
		{"v1.36.0", "docker://29.0.0", v1alpha1.ReasonRuntimeUnknown, v1alpha1.ReasonRuntimeUnknown},
		{"v1.36.0", "containerd://Unknown", v1alpha1.ReasonRuntimeUnknown, v1alpha1.ReasonRuntimeUnknown},
		{"v1.36.0", "", v1alpha1.ReasonRuntimeUnknown, v1alpha1.ReasonRuntimeUnknown},
		{"", "", v1alpha1.ReasonClusterUnknown, v1alpha1.ReasonClusterUnknown},
	} {
		info := node(c.kubelet, c.runtime)
		got, inUserNamespaces := delivery.Node(&info)
		if got != c.want || inUserNamespaces != c.inUserNamespaces {
			t.Errorf("%s with %s: %q and %q in user namespaces, want %q and %q", c.kubelet, c.runtime, got, inUserNamespaces, c.want, c.inUserNamespaces)
		}
	}
}

// A cluster changes, and every step has its verdict.
func TestNodes(t *testing.T) {
	both := func(r v1alpha1.Reason) inject.ImageVolumes {
		return inject.ImageVolumes{Verdict: r, VerdictInUserNamespaces: r}
	}
	var nodes delivery.Nodes
	expect := func(step, apiserver string, want inject.ImageVolumes) {
		t.Helper()
		if diff := cmp.Diff(want, nodes.ImageVolumes(apiserver)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step, diff)
		}
	}
	set := func(name string, info corev1.NodeSystemInfo) { nodes.Set(name, &info) }

	expect("no nodes", "v1.36.0", both(v1alpha1.ReasonClusterUnknown))
	set("windows", corev1.NodeSystemInfo{OperatingSystem: "windows", KubeletVersion: "v1.30.0", ContainerRuntimeVersion: "containerd://1.7.0"})
	expect("no Linux node", "v1.36.0", both(v1alpha1.ReasonClusterUnknown))
	set("new", node("v1.36.1", "containerd://2.3.0"))
	expect("one node that can", "v1.36.0", both(v1alpha1.ReasonEveryNodeCan))
	expect("an old apiserver", "v1.35.7", both(v1alpha1.ReasonAPIServerTooOld))
	expect("an unknown apiserver", "", both(v1alpha1.ReasonClusterUnknown))
	set("middle", node("v1.36.1", "containerd://2.1.0"))
	expect("one that cannot with user namespaces", "v1.36.0",
		inject.ImageVolumes{Verdict: v1alpha1.ReasonEveryNodeCan, VerdictInUserNamespaces: v1alpha1.ReasonUserNamespaceTooOld})
	set("old", node("v1.34.1", "containerd://2.3.0"))
	expect("one that is old", "v1.36.0", both(v1alpha1.ReasonKubeletTooOld))
	set("registering", corev1.NodeSystemInfo{})
	expect("one that has said nothing yet", "v1.36.0", both(v1alpha1.ReasonClusterUnknown))
	nodes.Remove("registering")
	nodes.Remove("registering")
	expect("which has gone", "v1.36.0", both(v1alpha1.ReasonKubeletTooOld))
	set("old", node("v1.36.0", "containerd://2.3.0"))
	nodes.Remove("middle")
	expect("all upgraded", "v1.36.0", both(v1alpha1.ReasonEveryNodeCan))
	nodes.Remove("old")
	if got := nodes.Architectures(); got != nil {
		t.Errorf("architectures %q, though no node has said its own", got)
	}
	nodes.Remove("new")
	for name, architecture := range map[string]string{"a": "arm64", "b": "amd64", "c": "arm64"} {
		set(name, corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: architecture})
	}
	if diff := cmp.Diff([]string{"amd64", "arm64"}, nodes.Architectures()); diff != "" {
		t.Errorf("architectures (-want +got):\n%s", diff)
	}
	for _, name := range []string{"a", "b", "c"} {
		nodes.Remove(name)
	}
	expect("all gone", "v1.36.0", both(v1alpha1.ReasonClusterUnknown))
}

// Which architectures there are is asked for at every admission, so it takes no look at every node.
func TestArchitecturesOfMany(t *testing.T) {
	var nodes delivery.Nodes
	for i := range 50_000 {
		nodes.Set(fmt.Sprint(i), &corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: "amd64"})
	}
	began := time.Now()
	for range 10_000 {
		if got := nodes.Architectures(); len(got) != 1 {
			t.Fatalf("architectures %q", got)
		}
	}
	if took := time.Since(began); took > 10*time.Second { // it took 30 s and more
		t.Errorf("10,000 times took %s", took)
	}
}
