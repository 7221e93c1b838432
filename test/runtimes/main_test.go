package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/podinit/podinit/test/compatibility"
	"github.com/podinit/podinit/test/compatibility/report"
)

var (
	sandbox = Runtime{Name: "sandbox", Differs: map[string]string{"exit/late": "no clock", "exit/known": "no clock"}}
	results = []report.Result{
		{Name: "conformance/exit/code", Holds: true}, {Name: "conformance/exit/late", Holds: true},
		{Name: "conformance/exit/known", Why: "no"}, {Name: "conformance/signals/order", Why: "no"}, {Name: "conformance/signals/once", Holds: true, Again: true},
	}
)

// A check is wrong if it does not hold without a known cause, and if it holds in spite of one.
func TestJudge(t *testing.T) {
	if diff := cmp.Diff([]string{"exit/late", "signals/order"}, judge(io.Discard, sandbox, results)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTableRow(t *testing.T) {
	row := tableRow(sandbox, compatibility.VersionOf("sandbox version 1.2\nspec: 1.0\n"), results)
	if row[0] != "sandbox" || row[1] != "1.2" || row[3] != "3 of 5" || row[4] != "`signals/order`; no clock (`exit/known`)" {
		t.Errorf("%q", row)
	}
	if row := tableRow(sandbox, "", results[:1]); row[4] != "nothing" {
		t.Errorf("%q", row)
	}
}

// The suite is the main process of the init, and a user namespace has users of its own.
func TestBundle(t *testing.T) {
	c := container{Runtime: Runtime{UserNamespace: true}, root: "/root", programs: "bin"}
	bundle := filepath.Join(t.TempDir(), "bundle")
	if err := c.writeBundle(bundle, "name", []string{"/programs/init", "--", "/programs/conformance"}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]specs.LinuxIDMapping{{HostID: firstUser, Size: 65536}}, spec.Linux.UIDMappings); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
	if got := strings.Join(spec.Process.Args, " "); got != "/programs/init -- /programs/conformance" || !spec.Root.Readonly {
		t.Errorf("%q, root %+v", got, spec.Root)
	}
}
