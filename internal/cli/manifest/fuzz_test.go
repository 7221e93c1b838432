package manifest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever is read, nothing panics, all documents together are the text, and a document that is changed means what it
// should, in YAML or JSON, in place or not.
func FuzzWith(f *testing.F) {
	for _, pattern := range []string{"../injectcmd/testdata/*.yaml", "../injectcmd/testdata/*.json", "../injectcmd/testdata/*.injected"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("no seeds for %s: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		documents, err := Read(text)
		if err != nil {
			return
		}
		var all strings.Builder
		for _, d := range documents {
			all.WriteString(d.Text)
			same, lossy, err := d.With(nil)
			if err != nil || lossy || same != d.Text {
				t.Errorf("a document that is not changed: %q, %v", same, err)
			}
			if len(d.Templates) == 0 {
				continue
			}
			pods := map[int][]byte{}
			want := d.root
			for i, template := range d.Templates {
				pod, err := parse(template.Pod)
				if err != nil {
					t.Fatal(err)
				}
				pod = changed(pod)
				pods[i] = pod.json()
				if want, err = template.put(want, pod); err != nil {
					t.Fatal(err)
				}
			}
			out, _, err := d.With(pods)
			if err != nil {
				t.Fatalf("%q: %v", d.Text, err)
			}
			if got, err := meaning(out); err != nil || !got.equal(want) {
				t.Errorf("%q\nbecame\n%q\n%v", d.Text, out, err)
			}
			back(t, d, out)
		}
		if all.String() != text {
			t.Errorf("the documents together are %q", all.String())
		}
	})
}

// back takes out of a changed document what changed has added.
func back(t *testing.T, d *Document, text string) {
	changed, err := Read(text)
	if err != nil || len(changed) != 1 || len(changed[0].Templates) != len(d.Templates) {
		t.Errorf("%q\nbecame\n%q, %d documents, %v", d.Text, text, len(changed), err)
		return
	}
	pods := map[int][]byte{}
	want := changed[0].root
	for i, template := range changed[0].Templates {
		pods[i] = d.Templates[i].Pod
		pod, err := parse(pods[i])
		if err != nil {
			t.Fatal(err)
		}
		if want, err = template.put(want, pod); err != nil {
			t.Fatal(err)
		}
	}
	out, _, err := changed[0].With(pods)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if got, err := meaning(out); err != nil || !got.equal(want) {
		t.Errorf("%q\nbecame\n%q\n%v", text, out, err)
	}
}

// changed is a Pod with something added wherever admission adds something, whatever is there.
func changed(pod value) value {
	text := func(s string) value { return value{scalar: s} }
	list := func(elements ...value) value { return value{kind: '[', elements: elements} }
	object := func(key string, v value) value { return value{kind: '{', keys: []string{key}, elements: []value{v}} }
	appended := func(v value, first, last value) value {
		if v.kind != '[' {
			return list(first)
		}
		return value{kind: '[', elements: append(append([]value{first}, v.elements...), last)}
	}
	meta, spec := pod.at("metadata"), pod.at("spec")
	annotations := meta.at("annotations")
	if annotations.kind != '{' {
		annotations = value{kind: '{'}
	}
	meta = meta.with("annotations", annotations.with("podinit.dev/status", text(`{"v":1} # \ '`)))
	spec = spec.with("initContainers", appended(spec.at("initContainers"), object("name", text("podinit-copy")), list(text("a: b"))))
	spec = spec.with("volumes", appended(spec.at("volumes"), object("name", text("first")), object("name", text("last"))))
	if containers := spec.at("containers"); containers.kind == '[' {
		var changed []value
		for _, c := range containers.elements {
			if c.kind == '{' {
				c = c.with("command", appended(c.at("command"), text("/podinit/init\u2028\u007f"), text("- last\n\t")))
			}
			changed = append(changed, c)
		}
		spec = spec.with("containers", value{kind: '[', elements: changed})
	}
	return pod.with("metadata", meta).with("spec", spec)
}
