package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPrintTable(t *testing.T) {
	const head = `The same pods without and with podinit. Zombies are counted 3 s after the start; the grace period is 10 s.

POD                          INIT      PID 1           ZOMBIES   LOGGED AT SHUTDOWN                      GONE AFTER   EXIT CODE
`
	for withNode, rows := range map[bool]string{
		false: `shell script around Python   none      /bin/sh         0         nothing                                 11.2 s       137 (SIGKILL)
                             podinit   /podinit/init   0         SIGTERM handler ran, atexit hook ran    3.8 s        143 (SIGTERM)
leaves orphans behind        none      python3         20        SIGTERM handler ran                     3.8 s        0
                             podinit   /podinit/init   0         SIGTERM handler ran                     3.8 s        0
knows nothing of signals     none      python3         0         nothing                                 11.2 s       137 (SIGKILL)
                             podinit   /podinit/init   0         nothing                                 3.8 s        143 (SIGTERM)
bash around a 3 s shutdown   none      bash            0         nothing                                 11.2 s       137 (SIGKILL)
                             podinit   /podinit/init   0         SIGTERM: finishing, all work finished   3.8 s        143 (SIGTERM)
`,
		true: `shell script around Python   none      /bin/sh         0         nothing                                 11.2 s       137 (SIGKILL)
                             podinit   /podinit/init   0         SIGTERM handler ran, atexit hook ran    3.8 s        143 (SIGTERM)
                             node      /podinit/init   0         SIGTERM handler ran, atexit hook ran    3.8 s        143 (SIGTERM)
leaves orphans behind        none      python3         20        SIGTERM handler ran                     3.8 s        0
                             podinit   /podinit/init   0         SIGTERM handler ran                     3.8 s        0
                             node      /podinit/init   0         SIGTERM handler ran                     3.8 s        0
knows nothing of signals     none      python3         0         nothing                                 11.2 s       137 (SIGKILL)
                             podinit   /podinit/init   0         nothing                                 3.8 s        143 (SIGTERM)
                             node      /podinit/init   0         nothing                                 3.8 s        143 (SIGTERM)
bash around a 3 s shutdown   none      bash            0         nothing                                 11.2 s       137 (SIGKILL)
                             podinit   /podinit/init   0         SIGTERM: finishing, all work finished   3.8 s        143 (SIGTERM)
                             node      /podinit/init   0         SIGTERM: finishing, all work finished   3.8 s        143 (SIGTERM)
`,
	} {
		var table strings.Builder
		if err := printTable(&table, asWanted(withNode)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(head+rows, table.String()); diff != "" {
			t.Errorf("node mode %v (-want +got):\n%s", withNode, diff)
		}
	}
}

func TestExit(t *testing.T) {
	for code, want := range map[int32]string{0: "0", 1: "1", 127: "127", 128: "128", 137: "137 (SIGKILL)", 143: "143 (SIGTERM)", 255: "255"} {
		if got := exit(code); got != want {
			t.Errorf("exit code %d: got %q, want %q", code, got, want)
		}
	}
}

func TestSummary(t *testing.T) {
	const node = "Nothing of the 4 pods that the node wrapped was changed."
	got := summary(asWanted(false))
	for _, want := range []string{"3 of 4 pods had to be killed", "20 zombies", "gone after 3.8 s"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want it to say %q", got, want)
		}
	}
	if strings.Contains(got, node) {
		t.Errorf("without node mode: %q", got)
	}
	results := asWanted(true)
	results[1].node.gone = 4200 * time.Millisecond
	if got := summary(results); !strings.Contains(got, "gone after 4.2 s") || !strings.HasSuffix(got, node) {
		t.Errorf("with node mode: %q", got)
	}
}
