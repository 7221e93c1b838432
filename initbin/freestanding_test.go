package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// architectures are those that there is an entry for.
func architectures(t *testing.T) []string {
	t.Helper()
	entries, err := filepath.Glob("entry_*.s")
	if err != nil || len(entries) == 0 {
		t.Fatalf("no entries: %v", err)
	}
	for i, e := range entries {
		entries[i] = strings.TrimSuffix(strings.TrimPrefix(e, "entry_"), ".s")
	}
	return entries
}

// allowed are the only symbols of the Go runtime that the init may reach: leaf functions that need no runtime, and the
// ends that a bug leads to, which are never reached.
var allowed = map[string]bool{
	"runtime.memmove": true, "runtime.memequal": true, "runtime.memclrNoHeapPointers": true, "cmpbody": true, "memeqbody": true,
	"runtime.duffzero": true, "runtime.duffcopy": true, "runtime.cmpstring": true,
	"runtime.zeroVal": true,

	// Divisions and products that 32-bit ARM, and others, have no instruction for.
	"runtime.udiv": true, "runtime.int64div": true, "runtime.int64mod": true, "runtime.uint64div": true, "runtime.uint64mod": true,
	"internal/runtime/math.MulUintptr": true,

	// The stack check never fails: the guard is zero.
	"runtime.morestack_noctxt": true, "runtime.morestack": true,

	// An index out of bounds. It would crash: see docs/freestanding.md.
	"runtime.panicBounds": true, "runtime.panicdivide": true, "runtime.panicunsafeslicelen": true,
	"runtime.panicunsafestringlen": true, "runtime.panicunsafeslicenilptr": true, "runtime.panicunsafestringnilptr": true,
	"runtime.panicunsafestringlen1": true,
}

// TestReachesNoRuntime follows the linker's own graph from the entry on: where no runtime has been started, nothing may
// allocate, grow a slice, use a map, start a goroutine, or need a package to have been initialised.
func TestReachesNoRuntime(t *testing.T) {
	for _, arch := range architectures(t) {
		t.Run(arch, func(t *testing.T) {
			reached := map[string]string{"main.entry": ""}
			edges := dependencies(t, arch)
			if len(edges["main.entry"]) == 0 {
				t.Fatal("the linker does not know the entry")
			}
			for queue := []string{"main.entry"}; len(queue) > 0; queue = queue[1:] {
				for _, to := range edges[queue[0]] {
					if _, seen := reached[to]; seen {
						continue
					}
					reached[to] = queue[0]
					if isOurs(to) { // what lies behind the others does not matter
						queue = append(queue, to)
					}
				}
			}
			var forbidden []string
			for symbol, from := range reached {
				if !allowed[symbol] && !isOurs(symbol) {
					forbidden = append(forbidden, from+" -> "+symbol)
				}
			}
			for _, task := range edges["go:main.inittasks"] {
				if strings.HasPrefix(task, "main.") || strings.HasPrefix(task, "github.com/podinit/podinit/") {
					forbidden = append(forbidden, "a variable or init function that needs code to run: "+task)
				}
			}
			slices.Sort(forbidden)
			if len(forbidden) > 0 {
				t.Errorf("reached without a runtime:\n%s", strings.Join(forbidden, "\n"))
			}
		})
	}
}

// isOurs says whether a symbol is code or constant data that needs no runtime.
func isOurs(symbol string) bool {
	if strings.HasSuffix(symbol, "..inittask") {
		return false
	}
	for _, suffix := range []string{".arginfo1", ".argliveinfo", ".stkobj"} { // for tracebacks and the collector
		if strings.HasSuffix(symbol, suffix) {
			return true
		}
	}
	for _, prefix := range []string{"main.", "github.com/podinit/podinit/", "go:string.", "$", "syscall.RawSyscall",
		"internal/runtime/syscall/linux.Syscall6",
		"syscall..stmp_",                 // a constant that the linker has found twice
		"gclocals·", "runtime.gcbits."} { // the last two: the garbage collector's maps of frames that it never sees
		if strings.HasPrefix(symbol, prefix) {
			return true
		}
	}
	return false
}

// dependencies is the linker's graph of references between symbols.
func dependencies(t *testing.T, arch string) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-E main.entry -dumpdep", "-o", os.DevNull, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	var out bytes.Buffer
	cmd.Stderr = &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out.String())
	}
	edges := map[string][]string{}
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), " <") // <UsedInIface> and other marks
		from, to, ok := strings.Cut(line, " -> ")
		if ok {
			edges[from] = append(edges[from], strings.TrimSpace(to))
		}
	}
	return edges
}
