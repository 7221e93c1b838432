package timeline

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestDraw(t *testing.T) {
	picture := Draw(Recording{Grace: 10, Runs: []Run{
		{Lines: []Line{{-1, "worker: works as pid 4"}, {-1, "app: works as pid 5"}}, Ended: 10, ExitCode: 137},
		{Init: true, Lines: []Line{
			{-2, `podinit: started "sh" as pid 4`}, {-1, "worker: works as pid 5"}, {-1, "app: works as pid 6"},
			{0, "podinit: sending SIGTERM to pid 4"}, {0.1, "podinit: sending SIGTERM to pid 6"},
			{0.1, "app: SIGTERM, finishes"}, {2.1, "app: finished"},
		}, Ended: 2.5, ExitCode: 143},
	}})
	for decoder := xml.NewDecoder(strings.NewReader(picture)); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v\n%s", err, picture)
		}
	}
	for _, want := range []string{
		"Without podinit: the container ends 10.0 s after SIGTERM with exit code 137; With podinit: the container ends 2.5 s after SIGTERM",
		`class="bad" text-anchor="end">ended after 10.0 s, exit code 137`,
		`class="good" text-anchor="end">ended after 2.5 s, exit code 143`,
		">SIGTERM to sh, app<",
		"handler, 2.0 s",
	} {
		if !strings.Contains(picture, want) {
			t.Errorf("the picture does not say %q\n%s", want, picture)
		}
	}
	if got := strings.Count(picture, "no SIGTERM"); got != 3 { // both programs without the init, and the worker
		t.Errorf("%d programs are drawn without SIGTERM, want 3", got)
	}
}
