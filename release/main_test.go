package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/podinit/podinit/release/archive"
)

// What is no release must not become one.
func TestRunRefuses(t *testing.T) {
	const epoch = "1767323045"
	dist := func(version string) []string {
		return []string{"dist", "-version", version, "-repository", "registry.example/podinit", "-output", t.TempDir()}
	}
	for name, test := range map[string]struct {
		arguments   []string
		epoch, want string
	}{
		"no v":                        {dist("1.2.3"), epoch, `"1.2.3"`},
		"two numbers":                 {dist("v1.2"), epoch, `"v1.2"`},
		"a word":                      {dist("latest"), epoch, "VERSION=v1.2.3"},
		"what a tag cannot have":      {dist("v1.2.3+build"), epoch, "v1.2.3+build"},
		"a leading zero":              {dist("v1.02.3"), epoch, "v1.02.3"},
		"a work tree with changes":    {dist("v1.2.3-4-gabcdef-dirty"), epoch, "commit them"},
		"no time":                     {dist("v1.2.3"), "", "SOURCE_DATE_EPOCH"},
		"a date for a time":           {dist("v1.2.3"), "2026-01-02", "2026-01-02"},
		"no such thing":               {[]string{"everything"}, epoch, `"everything"`},
		"a platform that is none":     {[]string{"licences", "-platforms", "linux"}, epoch, "linux/amd64"},
		"a repository with a tag":     {[]string{"images", "-version", "v1.2.3", "-repository", "registry.example/podinit:v1"}, epoch, "registry.example/podinit:v1"},
		"no repository":               {[]string{"push", "-version", "v1.2.3"}, epoch, "registry.example/podinit"},
		"programs that were not made": {[]string{"images", "-version", "v1.2.3", "-repository", "r.example/p", "-architectures", "amd64", "-binaries", "nowhere"}, epoch, "nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), test.arguments, test.epoch, &bytes.Buffer{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %s", err, test.want)
			}
		})
	}
}

func TestCheckVersion(t *testing.T) {
	for _, version := range []string{"v0.1.0", "v1.2.3-rc.1", "v10.20.30-alpha-2.x"} {
		if err := checkVersion(version); err != nil {
			t.Errorf("%s: %v", version, err)
		}
	}
}

func TestVersioned(t *testing.T) {
	got, err := versioned([]byte("apiVersion: v2\nname: podinit\nversion: 0.0.0\nkubeVersion: \">=1.30.0-0\"\n"), "v1.2.3-rc.1")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nversion: 1.2.3-rc.1\n", "appVersion: v1.2.3-rc.1\n", "kubeVersion: '>=1.30.0-0'\n"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("got %s, want %q in it", got, want)
		}
	}
}

func TestWithRepository(t *testing.T) {
	values := "# Where.\nimages:\n  # Host and path.\n  registry: ghcr.io/podinit\n  pullPolicy: Always\n"
	got, err := withRepository([]byte(values), "registry.example/mine")
	if want := strings.Replace(values, "ghcr.io/podinit", "registry.example/mine", 1); err != nil || string(got) != want {
		t.Errorf("got %s, error %v; want %s", got, err, want)
	}
	if got, err := withRepository([]byte("images: {}\n"), "registry.example/mine"); err == nil {
		t.Errorf("got %s for values without a registry, want an error", got)
	}
}

// What an editor leaves in the chart is not shipped.
func TestKept(t *testing.T) {
	ignore := filepath.Join(t.TempDir(), ".helmignore")
	for patterns, want := range map[string]string{"*~\n.DS_Store\n": "Chart.yaml templates/a.yaml", "": "Chart.yaml Chart.yaml~ templates/a.yaml templates/.DS_Store", "templates/\n": ""} {
		if err := os.WriteFile(ignore, []byte(patterns), 0o644); err != nil {
			t.Fatal(err)
		}
		var got []string
		files, err := kept([]archive.File{{Name: "Chart.yaml"}, {Name: "Chart.yaml~"}, {Name: "templates/a.yaml"}, {Name: "templates/.DS_Store"}}, ignore)
		for _, file := range files {
			got = append(got, file.Name)
		}
		if strings.Join(got, " ") != want || (err != nil) != (want == "") {
			t.Errorf("%q leaves %q, error %v; want %q", patterns, got, err, want)
		}
	}
}
