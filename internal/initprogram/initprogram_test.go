package initprogram

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	for script, want := range map[string]struct{ version, err string }{
		"echo podinit v1.2.3":                          {version: "v1.2.3"},
		"[ $1 = version ] && echo podinit v1.2.3":      {version: "v1.2.3"},
		"echo tini version 0.19.0":                     {err: "tini version"},
		"true":                                         {err: `says that it is ""`},
		"echo podinit v1.2.3; exit 3":                  {err: "exit status 3"},
		"while :; do echo too much; done | head -1000": {err: "too much"},
	} {
		program := filepath.Join(t.TempDir(), "init")
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		version, err := Version(t.Context(), program)
		if version != want.version || (err != nil) != (want.err != "") || err != nil && !strings.Contains(err.Error(), want.err) {
			t.Errorf("%s: %q, %v; want %+v", script, version, err, want)
		}
	}
	if _, err := Version(t.Context(), "/bin/echo"); !errors.Is(err, ErrOther) {
		t.Errorf("another program: %v", err)
	}
	if _, err := Version(t.Context(), "/no/such/program"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no program: %v", err)
	}
}
