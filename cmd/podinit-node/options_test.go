package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podinit/podinit/internal/version"
)

func TestParse(t *testing.T) {
	for args, want := range map[string]string{
		"":                          "",
		"-nri-index=05":             "",
		"-nri-index=5":              "two digits",
		"-nri-index=100":            "two digits",
		"-directory=var/lib":        "absolute path",
		"-directory=/":              "absolute path",
		"-directory=/var/lib/x/":    "absolute path",
		"-directory=/var/../etc":    "absolute path",
		"-namespace=":               "-namespace or $POD_NAMESPACE is required",
		"-v=8":                      "-v must be 0 to 6",
		"-v=-1":                     "-v must be 0 to 6",
		"extra":                     `"extra" is not a flag`,
		"-no-such":                  "no-such",
		"-namespace= -version=true": "",
	} {
		_, err := parse(strings.Fields(args), func(string) string { return "podinit-node" })
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
	o, err := parse([]string{"-exclude-namespaces=a, b,"}, func(string) string { return "own" })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"own", "a", "b"}, o.ExcludedNamespaces); diff != "" {
		t.Errorf("excluded (-want +got):\n%s", diff)
	}
}

func TestCheckInit(t *testing.T) {
	for says, want := range map[string]string{
		"podinit " + version.Version: "",
		"podinit v9.9.9":             "has version v9.9.9, podinit-node " + version.Version,
		"tini version 0.19.0":        "not podinit's init",
	} {
		file := filepath.Join(t.TempDir(), "init")
		if err := os.WriteFile(file, []byte("#!/bin/sh\necho "+says+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		err := checkInit(t.Context(), options{InitProgram: file})
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", says, err, want)
		}
	}
}
