package main

import (
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/modfile"

	"github.com/podinit/podinit/test/compatibility/report"
)

// The tests are of the same version as the cluster that they test.
func TestVersion(t *testing.T) {
	version := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file, err := modfile.Parse(path, text, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, required := range file.Require {
			if required.Mod.Path == "k8s.io/kubernetes" {
				return required.Mod.Version
			}
		}
		return "none"
	}
	if tests, programs := version("build/go.mod"), version("../cluster/build/kubernetes/go.mod"); tests != programs || tests == "none" {
		t.Errorf("the tests are of Kubernetes %s, the cluster is of %s", tests, programs)
	}
}

func TestSpecs(t *testing.T) {
	const name = "[sig-node] Pods should be updated [NodeConformance] [Conformance]"
	for focus, want := range map[string]bool{"": true, "be updated": true, "Conformance.$": true, "Secrets": false, "nothing|updated": true} {
		if got := regexp.MustCompile(suites[0].specs(focus)).MatchString(name); got != want {
			t.Errorf("focus %q matches %q: %t", focus, name, got)
		}
	}
	if regexp.MustCompile(suites[1].specs("")).MatchString(name) {
		t.Errorf("%s has %q", suites[1], name)
	}
	if got := short(name); got != "Pods should be updated" {
		t.Errorf("for people, %q is %q", name, got)
	}
}

func TestRead(t *testing.T) {
	const passed = `{"ContainerHierarchyTexts": ["[sig-node] Pods"], "LeafNodeType": "It", "LeafNodeText": "run [NodeConformance]", "State": "passed", "RunTime": 2000000000}`
	const failed = `{"ContainerHierarchyTexts": ["[sig-node] Pods"], "LeafNodeType": "It", "LeafNodeText": "end", "State": "timedout", "Failure": {"Message": "late"}}`
	const skipped = `{"ContainerHierarchyTexts": ["[sig-node] Pods"], "LeafNodeType": "It", "LeafNodeText": "hide", "State": "skipped", "Failure": {"Message": "not here"}}`
	const suite = `{"ContainerHierarchyTexts": null, "LeafNodeType": "SynchronizedBeforeSuite", "LeafNodeText": "", "State": "passed"}`
	got, err := read(strings.NewReader(`[{"SpecReports": [` + strings.Join([]string{suite, passed, skipped, failed}, ",") + `]}]`))
	if err != nil {
		t.Fatal(err)
	}
	want := []report.Result{
		{Name: "[sig-node] Pods end", Why: "late"},
		{Name: "[sig-node] Pods run [NodeConformance]", Holds: true, Seconds: 2},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := read(strings.NewReader(`[{"SpecReports": [` + strings.Replace(suite, "passed", "failed", 1) + `]}]`)); err == nil {
		t.Error("a suite that could not begin was read")
	}
	if _, err := read(strings.NewReader(`[{"SpecReports": [`)); err == nil {
		t.Error("half a report was read")
	}
}

func spec(name string, holds bool) report.Result {
	return report.Result{Name: "[sig] " + name, Holds: holds}
}

// What is otherwise than without podinit is wrong, unless its cause is known; so is what has a cause and is not otherwise.
func TestJudge(t *testing.T) {
	o := outcome{
		run: Run{Name: "wrapped", Install: node}, suite: suites[0],
		known:    map[string]string{"known": "one more", "mended": "one more"},
		expected: []report.Result{spec("same", true), spec("broken", false), spec("fails", true), spec("known", true), spec("mended", true), spec("gone", true), spec("odd", false)},
		results:  []report.Result{spec("same", true), spec("broken", false), spec("fails", false), spec("known", false), spec("mended", true), spec("new", true), spec("odd", true)},
	}
	if diff := cmp.Diff([]string{"fails", "new", "odd", "gone", "mended"}, o.judge(io.Discard)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	row := o.row("v1.2.3", counts{wrapped: 3, "host-pid": 1})
	want := "NodeConformance, wrapped; v1.2.3; 4 of 7; 3 of 4; `fails`, `new`, `odd`, `gone`; one more (`known`)"
	if got := strings.Join(row[:5], "; "); got != want {
		t.Errorf("row %q, want %q", got, want)
	}
	o.again([]report.Result{spec("fails", true), spec("gone", true), spec("new", false)})
	if diff := cmp.Diff([]string{"new", "odd", "mended"}, o.judge(io.Discard)); diff != "" {
		t.Errorf("after a second try (-want +got):\n%s", diff)
	}
}

// Without podinit, every spec should pass.
func TestJudgeWithoutPodinit(t *testing.T) {
	o := outcome{run: Run{Name: withoutPodinit}, suite: suites[0], results: []report.Result{spec("passes", true), spec("fails", false)}}
	if diff := cmp.Diff([]string{"fails"}, o.judge(io.Discard)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if row := o.row("", nil); row[3] != "none" || row[4] != "`fails`" {
		t.Errorf("row %q", row)
	}
	o.results = o.results[:1]
	if row := o.row("", nil); row[4] != "nothing" {
		t.Errorf("row %q", row)
	}
}

func TestCounts(t *testing.T) {
	after := counts{wrapped: 5, "host-pid": 2, "sidecar": 1}
	if diff := cmp.Diff(counts{wrapped: 3, "sidecar": 1}, after.minus(counts{wrapped: 2, "host-pid": 2})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
