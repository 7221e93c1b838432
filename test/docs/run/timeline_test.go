package run

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podinit/podinit/test/docs/timeline"
)

// TestTimeline runs again what docs/images/timeline.json has recorded: the same happens, whatever the times.
func TestTimeline(t *testing.T) {
	init, err := filepath.Abs(filepath.Join(root, "bin/linux", runtime.GOARCH, "init"))
	if err != nil {
		t.Fatal(err)
	}
	var recorded timeline.Recording
	text, err := os.ReadFile(filepath.Join(root, "docs/images/timeline.json"))
	if err == nil {
		err = json.Unmarshal(text, &recorded)
	}
	if err != nil {
		t.Fatal(err)
	}
	now, err := timeline.Record(t.Context(), init, time.Duration(recorded.Grace)*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(events(recorded), events(now)); diff != "" {
		t.Errorf("'go run ./test/docs/pictures record timeline INIT' records it anew (-recorded +now):\n%s", diff)
	}
}

// events are what happened in each run, without times and process IDs. The programs run at the same time, so that the order
// of their lines is not always the same.
func events(r timeline.Recording) (runs [][]string) {
	for _, run := range r.Runs {
		lines := []string{fmt.Sprintf("exit code %d", run.ExitCode)}
		for _, line := range run.Lines {
			lines = append(lines, regexp.MustCompile(`pid \d+`).ReplaceAllString(line.Text, "pid"))
		}
		slices.Sort(lines)
		runs = append(runs, lines)
	}
	return runs
}
