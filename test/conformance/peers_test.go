//go:build peers

// The peers take some minutes, most of which is waiting for what does not come:
//
//	go test -tags peers -run TestPeers ./test/conformance [-args -update]

package main

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/peers.txt anew")

// TestPeers keeps the suite honest: the packaged inits have and lack what testdata/peers.txt says, and every check
// fails for at least one of them, for no init at all, or for the wrong one.
func TestPeers(t *testing.T) {
	if err := requirements(); err != nil {
		t.Fatal(err)
	}
	var inits []Init
	table := Table{Checks: checks()}
	for _, s := range []string{"/usr/bin/tini", "/usr/bin/dumb-init", "/usr/bin/catatonit", "none", "wrong"} {
		in, err := ParseInit(s)
		if err != nil {
			t.Fatal(err)
		}
		inits = append(inits, in)
		table.Inits = append(table.Inits, in.Name)
	}
	size := testSize
	size.Patience = min(size.Patience, 8*time.Second)
	table.Run(inits, size, 12)

	for i, c := range table.Checks {
		fails := false
		for k, r := range table.Results[i] {
			fails = fails || r.Verdict == Lacks
			if r.Verdict == Broken {
				t.Errorf("%s, %s: %s", c.Name, table.Inits[k], r.Why)
			}
		}
		if !fails {
			t.Errorf("%s: no init is known for which it fails", c.Name)
		}
	}

	// The wrong init is wrong in many ways at a time: which of them wins is no matter.
	peers := Table{Checks: table.Checks, Inits: table.Inits[:4]}
	for _, r := range table.Results {
		peers.Results = append(peers.Results, r[:4])
	}
	var got bytes.Buffer
	if err := peers.Print(&got, false); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/peers.txt"
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); diff != "" {
		t.Errorf("the peers differ from %s (-want +got):\n%s", golden, diff)
	}
}
