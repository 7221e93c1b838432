package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

var (
	testInit = flag.String("init", os.Getenv("PODINIT_INIT"), "the `init` to test; $PODINIT_INIT, or bin/linux/ARCH/init of this repository")
	testLong bool
	testSize Size
)

func TestMain(m *testing.M) {
	enter()
	sizeFlags(flag.CommandLine, &testSize, &testLong)
	flag.Parse()
	if testLong {
		testSize = long
	}
	// The checks wait most of their time.
	parallel := 4
	flag.Visit(func(f *flag.Flag) {
		if f.Name == "test.parallel" {
			fmt.Sscan(f.Value.String(), &parallel)
		}
	})
	flag.Set("test.parallel", fmt.Sprint(parallel))
	code := m.Run()
	removeLibrary()
	os.Exit(code)
}

// TestConformance asserts that every behaviour holds for our init.
func TestConformance(t *testing.T) {
	path := *testInit
	if path == "" {
		path = filepath.Join("..", "..", "bin", "linux", runtime.GOARCH, "init")
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v; build it with make build, or name it: go test ./test/conformance -args -init=PATH", err)
	}
	if err := requirements(); err != nil {
		t.Fatal(err)
	}
	in, err := ParseInit("podinit=" + path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			r := Try(c, in, testSize)
			if r.Figures != "" {
				t.Log(r.Figures)
			}
			if r.Verdict != Holds {
				t.Errorf("%s: %s\n%s", r.Verdict, c.Doc, r.Why)
			}
		})
	}
}

// TestDocs keeps the table readable: names are unique and group/behaviour, sentences end.
func TestDocs(t *testing.T) {
	seen := map[string]bool{}
	name := regexp.MustCompile(`^[a-z]+/[a-z0-9'-]+$`)
	for _, c := range checks() {
		if seen[c.Name] || !name.MatchString(c.Name) || !strings.HasSuffix(c.Doc, ".") {
			t.Errorf("%q: %q", c.Name, c.Doc)
		}
		seen[c.Name] = true
	}
}
