package clusterstate

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/inject"
)

// nodeJSON is node n with a runtime, and whether it is ready.
func nodeJSON(runtime, ready string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Node","metadata":{"name":"n","resourceVersion":"%d"},"status":{"nodeInfo":`+
		`{"operatingSystem":"linux","architecture":"arm64","kubeletVersion":"v1.36.1","containerRuntimeVersion":%q},`+
		`"conditions":[{"type":"DiskPressure","status":"Unknown"},{"type":"Ready","status":%q}],`+
		`"images":[{"names":["r.example/app@sha256:2","r.example/app:1"]}]}}`, resourceVersion.Add(1), runtime, ready)
}

func nodeEvent(event, runtime, ready string) string {
	return fmt.Sprintf(`{"type":%q,"object":%s}`, event, nodeJSON(runtime, ready))
}

// oneNode is an apiserver of a cluster with node n, which is not ready.
func oneNode() *apiserver {
	return &apiserver{
		items: map[string]string{nodesPath: nodeJSON("containerd://2.3.0", "False")}, events: map[string]chan string{nodesPath: make(chan string)},
		version: "v1.36.3",
	}
}

func becomes(t *testing.T, w *Watcher, want inject.ImageVolumes) {
	t.Helper()
	eventually(t, fmt.Sprintf("the verdict is %+v", want), func() bool { return w.nodes.imageVolumes() == want })
}

// The verdict follows the nodes.
func TestVerdict(t *testing.T) {
	server := oneNode()
	events := server.events[nodesPath]
	w := start(t, server)
	both := func(r v1alpha1.Reason) inject.ImageVolumes {
		return inject.ImageVolumes{Verdict: r, VerdictInUserNamespaces: r}
	}
	becomes(t, w, both(v1alpha1.ReasonEveryNodeCan))
	events <- nodeEvent("MODIFIED", "containerd://1.7.1", "True")
	becomes(t, w, both(v1alpha1.ReasonRuntimeTooOld))
	events <- nodeEvent("MODIFIED", "containerd://2.2.0", "True")
	becomes(t, w, inject.ImageVolumes{Verdict: v1alpha1.ReasonEveryNodeCan, VerdictInUserNamespaces: v1alpha1.ReasonUserNamespaceTooOld})
	events <- nodeEvent("DELETED", "containerd://2.3.0", "True")
	becomes(t, w, both(v1alpha1.ReasonClusterUnknown))
}

// What cannot be read is not known.
func TestVerdictUnknown(t *testing.T) {
	unread, silent := oneNode(), oneNode()
	unread.forbidden, silent.version = forbidden(nodesPath), ""
	w := start(t, unread)
	eventually(t, "the others are listed", w.limits.watched.synced)
	if got := w.nodes.imageVolumes(); got != (inject.ImageVolumes{}) || w.nodes.architectures() != nil {
		t.Errorf("nodes are forbidden: %+v, architectures %q", got, w.nodes.architectures())
	}
	becomes(t, start(t, silent), inject.ImageVolumes{Verdict: v1alpha1.ReasonClusterUnknown, VerdictInUserNamespaces: v1alpha1.ReasonClusterUnknown})
}

// The architecture of a node is known as long as its kubelet is heard of, whether it is ready or not.
func TestArchitecture(t *testing.T) {
	server := oneNode()
	events := server.events[nodesPath]
	w := start(t, server)
	becomes := func(want string) {
		t.Helper()
		eventually(t, fmt.Sprintf("the architecture is %q", want), func() bool {
			name, known := w.nodes.architecture("n")
			return known && name == want || !known && want == ""
		})
	}
	becomes("arm64")
	events <- nodeEvent("MODIFIED", "containerd://2.3.0", "Unknown")
	becomes("")
	events <- nodeEvent("MODIFIED", "containerd://2.3.0", "True")
	becomes("arm64")
	events <- nodeEvent("DELETED", "containerd://2.3.0", "True")
	becomes("")
	// And its images, as long as new pods may come to it.
	images := func(want bool) {
		t.Helper()
		ref := imageconfig.Reference{Registry: "r.example", Repository: "app", Tag: "1"}
		eventually(t, fmt.Sprintf("the node's images differ: %t", want), func() bool { return w.NodesDiffer(ref, "sha256:1") == want })
		if w.NodesDiffer(ref, "sha256:2") {
			t.Error("the image that the node holds differs")
		}
	}
	images(false)
	events <- nodeEvent("MODIFIED", "containerd://2.3.0", "True")
	images(true)
	events <- nodeEvent("MODIFIED", "containerd://2.3.0", "Unknown")
	images(false)
	events <- nodeEvent("MODIFIED", "containerd://2.3.0", "True")
	images(true)
	events <- nodeEvent("DELETED", "containerd://2.3.0", "True")
	images(false)
	if _, known := w.nodes.architecture("other"); known {
		t.Error("a node that there is not is known")
	}
}

func TestTrimNode(t *testing.T) {
	info := corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: "arm64", KubeletVersion: "v1.36.0", ContainerRuntimeVersion: "x"}
	in := &corev1.Node{Spec: corev1.NodeSpec{PodCIDR: "10.0.0.0/24"}, Status: corev1.NodeStatus{NodeInfo: info, Images: make([]corev1.ContainerImage, 50)}}
	in.Name, in.Labels = "n", map[string]string{"a": "b"}
	in.Status.NodeInfo.MachineID, in.Status.NodeInfo.KernelVersion = "m", "6.12"
	want := &corev1.Node{Status: corev1.NodeStatus{NodeInfo: info}}
	want.Name = "n"
	got, err := trimNode(in)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	in.Status.Images = []corev1.ContainerImage{{Names: []string{"r.example/app@sha256:2", "r.example/app:1"}, SizeBytes: 1}}
	if got, _ = trimNode(in); len(got.(*corev1.Node).Status.Images) != 1 || got.(*corev1.Node).Status.Images[0].SizeBytes != 0 {
		t.Errorf("images: %v, want what package nodeimages keeps of them", got.(*corev1.Node).Status.Images)
	}
}
