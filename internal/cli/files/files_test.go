package files_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podinit/podinit/internal/cli/files"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"b.yaml": "b", "a.json": "a", "c.txt": "c", "d/e.yml": "e"} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		options files.Options
		want    string // all texts
		says    string // in the error
	}{
		{files.Options{Names: []string{dir}}, "ab", ""},
		{files.Options{Names: []string{dir}, Recursive: true}, "abe", ""},
		{files.Options{Names: []string{link}}, "ab", ""},
		{files.Options{Names: []string{filepath.Join(dir, "c.txt"), "-", dir}}, "cinab", ""},
		{files.Options{Names: []string{"-", "-"}}, "", "once"},
		{files.Options{Names: []string{filepath.Join(dir, "d", "x")}}, "", "no such file"},
		{files.Options{Names: []string{t.TempDir()}}, "", "-R"},
		{files.Options{Names: []string{"https://registry.example/x.yaml"}}, "", "curl"},
	} {
		got, err := test.options.Read(strings.NewReader("in"))
		var all strings.Builder
		for _, file := range got {
			all.WriteString(file.Text)
		}
		if diff := cmp.Diff(test.want, all.String()); diff != "" || (err != nil) != (test.says != "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%+v: %v (-want +got):\n%s", test.options, err, diff)
		}
	}
}

// endless is an input without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestBound(t *testing.T) {
	if _, err := (files.Options{Names: []string{"-"}}).Read(endless{}); err == nil || !strings.Contains(err.Error(), "64 MiB") {
		t.Errorf("an input without an end: %v", err)
	}
}
