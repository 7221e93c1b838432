package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseSizes(t *testing.T) {
	got, err := parseSizes("100/1000,5000/50000")
	if diff := cmp.Diff([]size{{100, 1000}, {5000, 50000}}, got, cmp.AllowUnexported(size{})); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"", "100", "100/x", "0/1", "100/1000,50/2000", "100/1000,200/500"} {
		if _, err := parseSizes(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// The page has the results of the last run, every figure of every size, and what was written by hand around them.
func TestPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scale.md")
	if err := os.WriteFile(path, []byte("# Title\n\n"+begin+"of before\n"+end+"after\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	of := func(nodes int) result {
		w := window{took: 10 * time.Second, first: time.Duration(nodes) * time.Millisecond, memory: int64(nodes) << 20, calls: 200, callTime: 0.4, within5: 199, within25: 200, pods: 200}
		l := load{window: w, waits: []time.Duration{time.Millisecond, 2 * time.Millisecond, 77 * time.Millisecond}}
		return result{size: size{nodes, 10 * nodes}, idle: [2]window{w, w}, load: [2]load{l, l}, commands: []command{{name: "status -A", wall: 1500 * time.Millisecond, requests: 12}}}
	}
	text := report(options{rate: 100, load: time.Second}, []result{of(100), of(5000)}, 90*time.Second)
	if err := writePage(path, text); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# Title\n\n" + begin, end + "after\n", "Measured in 2 minutes", "Pods at 6000 a minute", "| 5000 nodes, 50000 pods | 200 | 2.0 | 99.5 % | 100.0 % |",
		"| `podinit status -A` | 100 nodes, 1000 pods | 1.5 |", "      100 nodes, 1000 pods  █ 100\n", "    5000 nodes, 50000 pods  " + strings.Repeat("█", 40) + " 5000\n",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("there is no %q in\n%s", want, page)
		}
	}
	if strings.Contains(string(page), "of before") {
		t.Error("the results of before are still there")
	}
	if err := writePage(path+".none", text); err == nil {
		t.Error("a page is written that is not there")
	}
}

func TestPercentile(t *testing.T) {
	l := load{}
	for i := range 200 {
		l.waits = append(l.waits, time.Duration(i+1))
	}
	if p50, p99 := l.percentile(50), l.percentile(99); p50 != 100 || p99 != 198 {
		t.Errorf("p50 %d, p99 %d", p50, p99)
	}
}

// What a process has used is read although its name has spaces and brackets.
func TestProcessorTime(t *testing.T) {
	for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); {
		_ = strings.Repeat("x", 1000)
	}
	if used, err := processorTime(os.Getpid()); err != nil || used <= 0 || used > time.Hour {
		t.Errorf("%s, %v", used, err)
	}
	if _, err := processorTime(1 << 30); err == nil {
		t.Error("a process is read that is not there")
	}
}
