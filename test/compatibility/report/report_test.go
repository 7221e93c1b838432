package report

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRead(t *testing.T) {
	const console = "[    0.1] booting\r\n\r\n" + Prefix + `{"Machine":{"Release":"6.1","PageSize":65536}}` + "\r\n" +
		"[    0.2] noise " + Prefix + `{"Result":{"Name":"oom/main","Holds":true}}` + "\r\n" + Prefix + `{"Result":{"Name":"copy/vfat","Why":"no\nroom"}}` + "\n"
	var results []Result
	each := func(r Result) { results = append(results, r) }
	machine, err := Read(strings.NewReader(console+Prefix+`{"Done":true}`+"\n"), each)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Machine{Release: "6.1", PageSize: 65536}, machine); diff != "" {
		t.Errorf("machine (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Result{{Name: "oom/main", Holds: true}, {Name: "copy/vfat", Why: "no\nroom"}}, results); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	for name, tail := range map[string]string{
		"no end": "", "a broken machine": Prefix + `{"Broken":"no disk"}` + "\n", "a line that is cut off": Prefix + `{"Res` + "\n",
	} {
		if _, err := Read(strings.NewReader(console+tail), each); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestReadConformance(t *testing.T) {
	const output = `{"Init":"podinit","Check":"exit/code","Doc":"The code is kept.","Verdict":"yes","Why":"","Figures":"3 codes","Seconds":1.5}
{"Init":"podinit","Check":"exit/late","Doc":"It waits.","Verdict":"no","Why":"not within 2m","Figures":"","Seconds":2}
`
	var results []Result
	each := func(r Result) { results = append(results, r) }
	if err := ReadConformance(strings.NewReader(output), each); err != nil {
		t.Fatal(err)
	}
	want := []Result{
		{Name: "conformance/exit/code", Holds: true, Figures: "3 codes", Seconds: 1.5},
		{Name: "conformance/exit/late", Why: "no: It waits. not within 2m", Seconds: 2},
	}
	if diff := cmp.Diff(want, results); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := ReadConformance(strings.NewReader(output+"panic: no"), each); err == nil {
		t.Error("no error for what is not JSON")
	}
}
