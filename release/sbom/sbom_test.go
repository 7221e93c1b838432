package sbom

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
)

// The bill of two real programs, one of which imports a module.
func TestWrite(t *testing.T) {
	directory := t.TempDir()
	if output, err := exec.Command("go", "build", "-o", directory, "github.com/podinit/podinit/test/cluster/pause",
		"github.com/podinit/podinit/test/bench/init").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, output)
	}
	program, tool := filepath.Join(directory, "pause"), filepath.Join(directory, "init")
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("elsewhere", 3600))
	write := func() []byte {
		var written bytes.Buffer
		if err := Write(&written, "v1.2.3", created, []Program{{"init", []string{program}}, {"tool", []string{tool, program}}}, func(module string) []string {
			if module == "std" {
				return []string{"BSD-3-Clause"}
			}
			return []string{"Apache-2.0", "MIT"}
		}); err != nil {
			t.Fatal(err)
		}
		return written.Bytes()
	}
	first := write()
	if !bytes.Equal(first, write()) {
		t.Error("two bills of the same programs differ")
	}

	var bom cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(bytes.NewReader(first), cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if bom.Metadata.Timestamp != "2026-01-02T02:04:05Z" || bom.Metadata.Component.Version != "v1.2.3" || bom.SerialNumber != "" {
		t.Errorf("metadata %+v, serial number %q", bom.Metadata, bom.SerialNumber)
	}
	components := map[string]cyclonedx.Component{}
	for _, c := range *bom.Components {
		if _, ok := components[c.BOMRef]; ok {
			t.Errorf("%s is listed twice", c.BOMRef)
		}
		components[c.BOMRef] = c
	}
	uses := map[string]string{}
	for _, d := range *bom.Dependencies {
		uses[d.Ref] = strings.Join(*d.Dependencies, " ")
		for _, on := range *d.Dependencies {
			if _, ok := components[on]; !ok {
				t.Errorf("%s depends on %s, which is no component", d.Ref, on)
			}
		}
	}
	if !strings.HasPrefix(uses["program/init"], "pkg:golang/std@go1.") || strings.Contains(uses["program/init"], " ") {
		t.Errorf("init depends on %q, want Go's library only", uses["program/init"])
	}
	var found *cyclonedx.Component
	for ref, c := range components {
		if strings.Contains(ref, "golang.org/x/sys@v") {
			found = &c
		}
	}
	if found == nil || !strings.Contains(uses["program/tool"], found.BOMRef) {
		t.Fatalf("the tool depends on %q, want golang.org/x/sys among it", uses["program/tool"])
	}
	if found.Hashes == nil || len((*found.Hashes)[0].Value) != 64 || len(*found.Licenses) != 2 {
		t.Errorf("golang.org/x/sys: hashes %v, licences %v", found.Hashes, found.Licenses)
	}
	if uses["podinit@v1.2.3"] != "program/init program/tool" {
		t.Errorf("the release consists of %q", uses["podinit@v1.2.3"])
	}
}

func TestWriteRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := Write(&bytes.Buffer{}, "v1.2.3", time.Time{}, []Program{{"script", []string{file}}}, func(string) []string { return nil })
	if err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v, want an error that names the file", err)
	}
}
