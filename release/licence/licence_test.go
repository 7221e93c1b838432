package licence

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The modules of a real program, from the module cache.
func TestModules(t *testing.T) {
	modules, err := Modules([]Target{
		{"github.com/podinit/podinit/internal/registry", "linux", "amd64"},
		{"github.com/podinit/podinit/internal/registry", "windows", "arm64"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(modules); err != nil {
		t.Error(err)
	}
	licences := map[string][]string{}
	for _, m := range modules {
		licences[m.Path] = m.Licences
		if m.Version == "" || len(m.Files) == 0 {
			t.Errorf("%s: version %q, %d files", m.Path, m.Version, len(m.Files))
		}
	}
	for path, want := range map[string][]string{
		"std":                                    {"BSD-3-Clause"},
		"github.com/google/go-containerregistry": {"Apache-2.0"},
		"golang.org/x/sync":                      {"BSD-3-Clause"},
	} {
		if diff := cmp.Diff(want, licences[path]); diff != "" {
			t.Errorf("licences of %s (-want +got):\n%s", path, diff)
		}
	}
	if _, ok := licences["github.com/podinit/podinit"]; ok {
		t.Error("the main module is among the others")
	}
	var text bytes.Buffer
	if err := Write(&text, modules); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "Copyright 2009 The Go Authors") {
		t.Error("the text has no line of Go's authors")
	}
}

func TestModulesOfNoPackage(t *testing.T) {
	if _, err := Modules([]Target{{"./nowhere", "linux", "amd64"}}); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("got %v, want an error that names the package", err)
	}
}

func TestClassify(t *testing.T) {
	mit, err := os.ReadFile("testdata/MIT")
	if err != nil {
		t.Fatal(err)
	}
	gpl := []byte("This program is free software: you can redistribute it and/or modify it under the terms of the GNU General Public License as published by the Free Software Foundation, either version 3 of the License, or (at your option) any later version.")
	for name, test := range map[string]struct {
		files   map[string]string // by path, in the module
		want    []string
		allowed bool
		err     string
	}{
		"one licence":                     {map[string]string{"LICENSE": string(mit)}, []string{"MIT"}, true, ""},
		"one further down":                {map[string]string{"LICENSE": string(mit), "pkg/COPYING": string(gpl)}, []string{"GPL-3.0-or-later", "MIT"}, false, ""},
		"one above the package":           {map[string]string{"LICENSE": string(mit), "pkg/doc.txt": "words"}, []string{"MIT"}, true, ""},
		"one beside the package's branch": {map[string]string{"LICENSE": string(mit), "other/LICENSE": string(gpl)}, []string{"MIT"}, true, ""},
		"a notice":                        {map[string]string{"LICENSE": string(mit), "NOTICE": "made by somebody"}, []string{"MIT"}, true, ""},
		"none":                            {map[string]string{"README": "free for all"}, nil, false, "has no licence"},
		"only a notice":                   {map[string]string{"NOTICE": "made by somebody"}, nil, false, "has no licence"},
		"a text that is no known licence": {map[string]string{"LICENSE": "You may use this on Tuesdays if you are nice."}, nil, false, "is 0 % the text of known licences"},
		"a licence with something added":  {map[string]string{"LICENSE": string(mit) + strings.Repeat(" Not on Tuesdays, and not if you are not nice.", 20)}, nil, false, "read it"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for path, text := range test.files {
				file := filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			directory := filepath.Join(root, "pkg")
			if err := os.MkdirAll(directory, 0o755); err != nil {
				t.Fatal(err)
			}
			m := Module{Path: "example.org/m", Version: "v1.0.0"}
			if err := m.collect(root, directory); err != nil {
				t.Fatal(err)
			}
			err := m.classify()
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || !strings.Contains(err.Error(), "example.org/m v1.0.0") {
					t.Errorf("got licences %v and error %v, want %q of the module", m.Licences, err, test.err)
				}
				return
			}
			if err != nil || !slices.Equal(m.Licences, test.want) {
				t.Errorf("got licences %v, error %v; want %v", m.Licences, err, test.want)
			}
			if err := Check([]Module{m}); (err == nil) != test.allowed {
				t.Errorf("allowed: %v; want %v", err, test.allowed)
			}
		})
	}
}
