package inject_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/jsonpatch"
)

// undo is a Pod without what podinit has put into it, with the library that the apiserver uses.
func undo(t *testing.T, raw []byte) (*inject.Undo, []byte) {
	t.Helper()
	pod, err := inject.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	u := inject.NewUndo(pod)
	patch, err := u.Patch()
	if err != nil {
		t.Fatal(err)
	}
	undone, err := jsonpatch.Apply(raw, patch)
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, raw, patch)
	}
	return u, undone
}

// checkUndone holds that nothing of podinit is left in a Pod, and that the rest is what the Pod was before: one that came
// with something of podinit, what it was without that.
func checkUndone(t *testing.T, before, wrapped []byte) {
	t.Helper()
	u, undone := undo(t, wrapped)
	if u.Unreadable != "" {
		t.Errorf("container %q is unreadable", u.Unreadable)
	}
	for _, c := range u.Containers {
		if c.Unrecorded {
			t.Errorf("container %q has no record", c.Name)
		}
	}
	_, without := undo(t, before)
	if diff := difference(decode(t, without), decode(t, undone)); diff != "" {
		t.Errorf("what podinit has put there is not taken out (-before +after):\n%s", diff)
	}
	if _, again := undo(t, undone); !slices.Equal(again, undone) {
		t.Errorf("taking out again takes more out: %s", again)
	}
}

// Every golden case is undone. Those that are not came with a part of what podinit writes, so that it cannot be told from
// the rest of it.
func TestUndoGolden(t *testing.T) {
	const noVolume = "it came with the init or the copier, and without the volume"
	exceptions := map[string]string{
		"broken-wrap": noVolume, "copier-replaced": noVolume, "fixed-after-a-wrap": noVolume, "late-program": noVolume,
		"late-program-of-an-image": noVolume, "neighbours-read-only": noVolume, "root-copier": noVolume, "wrapped-from-image": noVolume,
		"late-program-platforms":      "it came with another program before what the image runs on each platform",
		"image-volume-unused":         "it came with the volume, and without a container that uses it",
		"copier-only-to-image-volume": "the list of init containers stays, without the copier with which it came",
	}
	cases, err := filepath.Glob("testdata/*/pod.yaml")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no golden cases found: %v", err)
	}
	for _, file := range cases {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			raw := readYAML(t, file)
			once, err := mutateWith(readConfig(t, dir), raw, readSetting(t, dir))
			if err != nil {
				t.Fatal(err)
			}
			if why := exceptions[filepath.Base(dir)]; why == "" {
				checkUndone(t, raw, once.pod)
				return
			}
			u, undone := undo(t, once.pod)
			if _, again := undo(t, undone); !slices.Equal(again, undone) {
				t.Errorf("taking out again takes more out: %s", again)
			}
			left := bytes.Contains(undone, []byte(`"podinit-copy"`)) || bytes.Contains(undone, []byte(`"podinit"`))
			if left != (u.Unreadable != "") {
				t.Errorf("container %q is unreadable, and something is left: %t", u.Unreadable, left)
			}
		})
	}
}

// Without a status, what was looked up stays: it is what runs.
func TestUndoWithoutStatus(t *testing.T) {
	dir := filepath.Join("testdata", "image")
	once, err := mutate(readYAML(t, filepath.Join(dir, "pod.yaml")), readSetting(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	pod := decode(t, once.pod)
	delete(pod["metadata"].(object)["annotations"].(object), v1alpha1.StatusAnnotation)
	u, undone := undo(t, marshal(t, pod))
	if len(u.Containers) == 0 {
		t.Fatal("no container is unwrapped")
	}
	for _, c := range u.Containers {
		if !c.Unrecorded || len(c.Removed) > 0 {
			t.Errorf("container %+v", c)
		}
	}
	if strings.Contains(string(undone), "podinit") {
		t.Errorf("something of podinit is left: %s", undone)
	}
	eachContainer(decode(t, undone), func(c object) {
		if command, _ := c["command"].([]any); len(command) == 0 {
			t.Errorf("container %s has lost its command", c["name"])
		}
	})
}

// What the author of a Pod has written is not podinit's, even if it looks alike.
func TestUndoLeaves(t *testing.T) {
	for name, pod := range map[string]string{
		"nothing": `{"metadata":{"labels":{},"annotations":{}},"spec":{"volumes":[],"initContainers":[],"containers":[{"name":"a","command":[],"volumeMounts":[]}]}}`,
		"what chooses": `{"metadata":{"labels":{"podinit.dev/inject":"enabled"},"annotations":{"podinit.dev/profile":"p","podinit.dev/flags.a":"-v",
			"backup.velero.io/backup-volumes-excludes":"podinit"}},"spec":{"containers":[{"name":"a"}]}}`,
		"an init of the image": `{"metadata":{},"spec":{"containers":[{"name":"a","command":["/podinit/init","--","a"]}]}}`,
		"a volume of another kind": `{"metadata":{},"spec":{"volumes":[{"name":"podinit","configMap":{"name":"x"}}],
			"containers":[{"name":"a","command":["/podinit/init","--","a"],"volumeMounts":[{"name":"podinit","mountPath":"/podinit"}]}]}}`,
		"a volume that no init is in": `{"metadata":{},"spec":{"volumes":[{"name":"podinit","emptyDir":{}}],
			"containers":[{"name":"a","command":["a"],"volumeMounts":[{"name":"podinit","mountPath":"/podinit"}]}]}}`,
		"a command that cannot be read": `{"metadata":{"annotations":{"podinit.dev/status":"{}"}},"spec":{"volumes":[{"name":"podinit","emptyDir":{}}],
			"containers":[{"name":"a","command":["/podinit/init","--of-the-future","a"],"volumeMounts":[{"name":"podinit","mountPath":"/podinit"}]}]}}`,
		"a command without a program": `{"metadata":{},"spec":{"volumes":[{"name":"podinit","emptyDir":{}}],
			"containers":[{"name":"a","command":["/podinit/init","--"],"volumeMounts":[{"name":"podinit","mountPath":"/podinit"}]}]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if u, undone := undo(t, []byte(pod)); string(undone) != pod {
				t.Errorf("%+v: %s", u, undone)
			} else if unreadable := strings.HasPrefix(name, "a command"); unreadable != (u.Unreadable == "a") {
				t.Errorf("unreadable: %q", u.Unreadable)
			}
		})
	}
}

// What the status says counts only where the rest of the Pod agrees.
func TestUndoWithAWrongStatus(t *testing.T) {
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	status, err := json.Marshal(`{"v":1,"containers":{"a":{"action":"wrapped","source":"registry","digest":"` + digest + `","added":["args","image","future"]}}}`)
	if err != nil {
		t.Fatal(err)
	}
	pod := `{"metadata":{"annotations":{"podinit.dev/status":` + string(status) + `}},"spec":{"volumes":[{"name":"podinit","emptyDir":{}}],"containers":[
		{"name":"a","image":"r/a:1","command":["/podinit/init","--","a"],"volumeMounts":[{"name":"podinit","mountPath":"/podinit"}]}]}}`
	want := []byte(`{"metadata":{},"spec":{"containers":[{"name":"a","image":"r/a:1","command":["a"]}]}}`)
	_, undone := undo(t, []byte(pod))
	if diff := difference(decode(t, want), decode(t, undone)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
