package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	got, err := versioned([]byte("apiVersion: v2\nname: podinit\nversion: 0.0.0\nkubeVersion: \">=1.30.0-0\"\nannotations: {a: b}\n"), "v1.2.3-rc.1",
		map[string]string{"init": "r.example/init:v1.2.3-rc.1@sha256:1", "webhook": "r.example/webhook:v1.2.3-rc.1@sha256:2"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nversion: 1.2.3-rc.1\n", "appVersion: v1.2.3-rc.1\n", "kubeVersion: '>=1.30.0-0'\n",
		"annotations:\n  a: b\n  podinit.dev/digest.init: sha256:1\n  podinit.dev/digest.webhook: sha256:2\n"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("got %s, want %q in it", got, want)
		}
	}
}

// The kustomizations of a release name all images by digest wherever they name them, and their repository.
func TestConfiguration(t *testing.T) {
	names := map[string]string{
		"init": "r.example/p/init:v1.2.3@sha256:1", "webhook": "r.example/p/webhook:v1.2.3@sha256:2", "node": "r.example/p/node:v1.2.3@sha256:3",
	}
	o := options{version: "v1.2.3", repository: "r.example/p", output: t.TempDir(), created: time.Unix(0, 0)}
	if err := o.configuration("../config", names); err != nil {
		t.Fatal(err)
	}
	files := unpack(t, filepath.Join(o.output, "podinit-config-v1.2.3.tar.gz"))
	for file, want := range map[string]string{
		"config/manager/deployment.yaml":                 "value: " + names["init"],
		"config/certificates/deployment.yaml":            "image: " + names["webhook"],
		"config/prepull/daemonset.yaml":                  "image: " + names["init"],
		"config/node/daemonset.yaml":                     "image: " + names["node"],
		"config/policy/validating_admission_policy.yaml": "'r.example/p/init'",
		"config/samples/own-registry/kustomization.yaml": "- name: r.example/p/webhook\n",
		"config/default/kustomization.yaml":              "../manager",
		"config/suspend/kustomization.yaml":              "-suspend",
		"config/crd/podinit.dev_initprofiles.yaml":       "kind: CustomResourceDefinition",
		"config/prometheus/dashboard.json":               "podinit_build_info",
		"config/clientcertificates/kustomization.yaml":   "kind: Component",
	} {
		if !strings.Contains(files[file], want) {
			t.Errorf("%s does not have %q:\n%s", file, want, files[file])
		}
	}
	for file, text := range files {
		if strings.Contains(text, ":latest") || strings.Contains(text, "ghcr.io/podinit") || strings.Contains(text, "@INIT_IMAGE@") || strings.HasSuffix(file, ".go") {
			t.Errorf("%s is not for users, or names other images:\n%s", file, text)
		}
	}
	if err := o.configuration("../charts/podinit/files", names); err == nil {
		t.Error("kustomizations that name no image are packed")
	}
}

func unpack(t *testing.T, file string) map[string]string {
	t.Helper()
	opened, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	unzipped, err := gzip.NewReader(opened)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for in := tar.NewReader(unzipped); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = string(content)
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
