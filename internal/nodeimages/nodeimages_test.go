package nodeimages_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/nodeimages"
)

// digest is a digest made of one digit.
func digest(digit string) string { return "sha256:" + strings.Repeat(digit, 64) }

func node(names ...string) *corev1.Node {
	return &corev1.Node{Status: corev1.NodeStatus{Images: []corev1.ContainerImage{{Names: names}}}}
}

func differ(t *testing.T, x *nodeimages.Index, image, digest string) bool {
	t.Helper()
	ref, err := imageconfig.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	return x.Differ(ref, digest)
}

// Only what is certain counts: one image that the node names by the tag and by digests of that repository.
func TestDiffer(t *testing.T) {
	const app = "registry.example:5000/team/app"
	for name, tt := range map[string]struct {
		names []string
		image string
		want  bool // with digest 1
	}{
		"the same":                     {[]string{app + "@" + digest("1"), app + ":1"}, app + ":1", false},
		"another":                      {[]string{app + "@" + digest("2"), app + ":1"}, app + ":1", true},
		"among several digests":        {[]string{app + "@" + digest("2"), app + "@" + digest("1"), app + ":1"}, app + ":1", false},
		"among others":                 {[]string{app + "@" + digest("2"), app + "@" + digest("3"), app + ":1"}, app + ":1", true},
		"five names":                   {[]string{app + "@" + digest("2"), app + "@" + digest("3"), app + "@" + digest("4"), app + "@" + digest("5"), app + ":1"}, app + ":1", true},
		"of another tag":               {[]string{app + "@" + digest("2"), app + ":2"}, app + ":1", false},
		"of another of its tags":       {[]string{app + "@" + digest("2"), app + ":1", app + ":2"}, app + ":2", true},
		"no tag":                       {[]string{app + "@" + digest("2")}, app + ":1", false},
		"no digest: imported":          {[]string{app + ":1"}, app + ":1", false},
		"digest of another name":       {[]string{"docker.io/library/import-2026-01-01@" + digest("2"), app + ":1"}, app + ":1", false},
		"a digest behind the tag":      {[]string{app + ":1", app + "@" + digest("2")}, app + ":1", false}, // no kubelet's order: it may be cut off
		"Docker Hub, containerd":       {[]string{"docker.io/library/nginx@" + digest("2"), "docker.io/library/nginx:1"}, "nginx:1", true},
		"Docker Hub, cri-dockerd":      {[]string{"nginx@" + digest("2"), "nginx:1"}, "docker.io/library/nginx:1", true},
		"a user's of Docker Hub":       {[]string{"acme/app@" + digest("2"), "acme/app:1"}, "acme/app:1", true},
		"latest, not said":             {[]string{"docker.io/acme/app@" + digest("2"), "docker.io/acme/app:latest"}, "acme/app", true},
		"pinned":                       {[]string{app + "@" + digest("2"), app + ":1"}, app + ":1@" + digest("1"), false},
		"a port and no tag":            {[]string{"registry.example:5000@" + digest("2"), "registry.example:5000"}, app + ":1", false},
		"nonsense":                     {[]string{"@", ":", "", "@@@", "a@:@", packedMark, "x"}, app + ":1", false},
		"another whose name is longer": {[]string{app + "2@" + digest("2"), app + "2:1"}, app + ":1", false},
	} {
		t.Run(name, func(t *testing.T) {
			var x nodeimages.Index
			x.Set("n", nodeimages.Pack(node(tt.names...)))
			if got := differ(t, &x, tt.image, digest("1")); got != tt.want {
				t.Errorf("differs: %v, want %v", got, tt.want)
			}
			x.Remove("n")
			if differ(t, &x, tt.image, digest("1")) {
				t.Error("it differs on a node that is gone")
			}
		})
	}
}

// packedMark is what a packed list begins with; no image has such a name.
const packedMark = "\x00podinit"

// Nodes that new pods do not come to do not count.
func TestNodesLeftOut(t *testing.T) {
	for name, edit := range map[string]func(*corev1.Node){
		"cordoned": func(n *corev1.Node) { n.Spec.Unschedulable = true },
		"silent": func(n *corev1.Node) {
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown}}
		},
		"for Windows": func(n *corev1.Node) { n.Status.NodeInfo.OperatingSystem = "windows" },
	} {
		n := node("r.example/app@"+digest("2"), "r.example/app:1")
		if nodeimages.Pack(n) == nil {
			t.Fatal("nothing is kept of a node that is ready")
		}
		edit(n)
		if kept := nodeimages.Pack(n); kept != nil {
			t.Errorf("%s: kept %v", name, kept)
		}
	}
}

// A node's images change, and several nodes hold the same.
func TestSet(t *testing.T) {
	var x nodeimages.Index
	old := nodeimages.Pack(node("r.example/app@"+digest("2"), "r.example/app:1"))
	current := nodeimages.Pack(node("r.example/app@"+digest("1"), "r.example/app:1"))
	for i, step := range []struct {
		node   string
		images []corev1.ContainerImage
		want   bool
	}{
		{"a", current, false}, {"b", old, true}, {"c", old, true}, {"b", current, true}, {"b", current, true},
		{"c", current, false}, {"c", old, true}, {"c", nil, false}, {"c", nil, false}, {"b", old, true}, {"b", current, false},
	} {
		x.Set(step.node, step.images)
		if got := differ(t, &x, "r.example/app:1", digest("1")); got != step.want {
			t.Errorf("step %d: differs: %v, want %v", i, got, step.want)
		}
	}
}

// The informer may transform an object twice.
func TestPackTwice(t *testing.T) {
	n := node("r.example/app@"+digest("2"), "r.example/app:1")
	n.Status.Images = nodeimages.Pack(n)
	again := nodeimages.Pack(n)
	if len(again) != 1 || again[0].Names[1] != n.Status.Images[0].Names[1] {
		t.Errorf("%v became %v", n.Status.Images, again)
	}
}

// 5,000 nodes of 50 images, of 3,000 in all: what the informer keeps of them and the index together.
func TestMemory(t *testing.T) {
	const nodes, images, different, atMost = 5000, 50, 3000, 12 << 20
	make50 := func(n int) *corev1.Node {
		made := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("node-", n)}}
		for i := range images {
			name := fmt.Sprintf("registry.example/team-%d/some-usual-name-of-an-image", (n*7+i*61)%different)
			made.Status.Images = append(made.Status.Images, corev1.ContainerImage{SizeBytes: 1 << 28, Names: []string{
				fmt.Sprintf("%s@sha256:%064d", name, (n+i)%3), fmt.Sprintf("%s:v%d", name, i%4)}})
		}
		return made
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var x nodeimages.Index
	kept := make([]corev1.Node, nodes)
	for n := range kept {
		kept[n].Status.Images = nodeimages.Pack(make50(n))
		x.Set(fmt.Sprint("node-", n), kept[n].Status.Images)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := after.HeapAlloc - before.HeapAlloc
	t.Logf("%d nodes of %d images take %.1f MiB", nodes, images, float64(used)/(1<<20))
	if used > atMost {
		t.Errorf("they take %d bytes, more than %d", used, atMost)
	}
	runtime.KeepAlive(kept)
	runtime.KeepAlive(&x)
}

// However many images a node reports, and names an image has, what is kept is bounded.
func TestBounds(t *testing.T) {
	n := &corev1.Node{}
	for i := range 10_000 {
		name := fmt.Sprint("r.example/app", i)
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{Names: []string{name + "@" + digest("1"), name + "@" + digest("2"), name + "@" + digest("3"),
			name + "@" + digest("4"), name + "@" + digest("5"), name + ":1"}})
	}
	kept := nodeimages.Pack(n)
	if size := len(kept[0].Names[1]); size > 100*(8+1+4*8) {
		t.Errorf("%d bytes are kept", size)
	}
	var x nodeimages.Index
	for i := range 1000 { // 100,000 images
		m := &corev1.Node{}
		for j := range 100 {
			name := fmt.Sprint("r.example/app", i*100+j)
			m.Status.Images = append(m.Status.Images, corev1.ContainerImage{Names: []string{name + "@" + digest("2"), name + ":1"}})
		}
		x.Set(fmt.Sprint(i), nodeimages.Pack(m))
	}
	if !differ(t, &x, "r.example/app0:1", digest("1")) || differ(t, &x, "r.example/app99999:1", digest("1")) {
		t.Error("what is above the bound counts, or what is below does not")
	}
	for i := range 1000 {
		x.Remove(fmt.Sprint(i))
	}
	if differ(t, &x, "r.example/app0:1", digest("1")) {
		t.Error("it differs on a node that is gone")
	}
}

func FuzzPack(f *testing.F) {
	f.Add("r.example/app@sha256:12", "r.example/app:1", "x")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		var x nodeimages.Index
		n := node(a, b, c)
		n.Status.Images = nodeimages.Pack(n)
		x.Set("n", n.Status.Images)
		x.Differ(imageconfig.Reference{Registry: "r.example", Repository: "app", Tag: "1"}, digest("1"))
		x.Remove("n")
	})
}

func BenchmarkDiffer(b *testing.B) {
	var x nodeimages.Index
	x.Set("n", nodeimages.Pack(node("r.example/app@"+digest("2"), "r.example/app:1")))
	ref, want := imageconfig.Reference{Registry: "r.example", Repository: "app", Tag: "1"}, digest("1")
	for b.Loop() {
		x.Differ(ref, want)
	}
}

func BenchmarkPack(b *testing.B) {
	n := &corev1.Node{}
	for i := range 50 {
		name := fmt.Sprint("registry.example/team/some-usual-name-of-an-image", i)
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{Names: []string{name + "@" + digest("1"), name + ":1"}})
	}
	for b.Loop() {
		nodeimages.Pack(n)
	}
}
