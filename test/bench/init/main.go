// Init measures the init side by side with Debian's tini, dumb-init and catatonit, and prints a Markdown table.
//
//	go run ./test/bench/init -init bin/linux/amd64/init
//
// Each contender runs as PID 1 of a PID namespace of its own. In every measure they take turns, so that whatever else
// the machine does falls on all of them alike. What counts is the ratio to the best of the others in the same run; the
// range behind it is that of the rounds, and tells how far to trust it.
//
// It needs root, two processors, and the packages tini, dumb-init and catatonit.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// bench is one run.
type bench struct {
	ctx        context.Context
	program    string // what the containers run besides the init: package program
	podinit    contender
	peers      []contender
	processors [2]int // the first is for this program, the second for containers that have one
	short      bool
}

func main() {
	path := flag.String("init", "", "the `file` with our init")
	plot := flag.String("svg", "", "also draw the figures into this `file`")
	short := flag.Bool("short", false, "fewer rounds: the order of magnitude, in a minute")
	flag.Parse()
	if *path == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*path, *plot, *short); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(path, plot string, short bool) error {
	// Containers die with the thread that started them, and that thread must stay on one processor.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	b, remove, err := newBench(ctx, path, short)
	if err != nil {
		return err
	}
	defer remove()

	rows, err := b.measureAll()
	if err != nil {
		return err
	}
	fmt.Println(b.conditions())
	fmt.Println()
	fmt.Print(table(b.contenders(), rows))
	if plot != "" {
		return os.WriteFile(plot, []byte(draw(b.conditions(), b.contenders(), rows)), 0o644)
	}
	return nil
}

// newBench finds the contenders and builds the program for the containers.
func newBench(ctx context.Context, path string, short bool) (b *bench, remove func(), err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, nil, fmt.Errorf("our init: %w; build it with make build", err)
	}
	b = &bench{ctx: ctx, podinit: contender{name: "podinit", path: path}, short: short}
	for _, name := range []string{"tini", "tini-static", "dumb-init", "catatonit"} {
		peer, err := exec.LookPath(name)
		if err != nil {
			return nil, nil, fmt.Errorf("%w; on Debian and Ubuntu: apt-get install tini dumb-init catatonit", err)
		}
		b.peers = append(b.peers, contender{name: name, path: peer})
	}

	var available unix.CPUSet
	if err := unix.SchedGetaffinity(0, &available); err != nil {
		return nil, nil, err
	}
	if available.Count() < 2 {
		return nil, nil, errors.New("two processors are needed: one sends signals while the other runs the container")
	}
	for i, p := 0, 0; i < 2; p++ {
		if available.IsSet(p) {
			b.processors[i] = p
			i++
		}
	}

	directory, err := os.MkdirTemp("", "podinit-bench")
	if err != nil {
		return nil, nil, err
	}
	remove = func() { os.RemoveAll(directory) }
	b.program = filepath.Join(directory, "program")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w -E main.entry", "-o", b.program,
		"github.com/podinit/podinit/test/bench/init/program")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		remove()
		return nil, nil, fmt.Errorf("building the containers' program: %w\n%s", err, out)
	}
	return b, remove, nil
}

// contenders are all that have an init, ours first.
func (b *bench) contenders() []contender { return append([]contender{b.podinit}, b.peers...) }

// withoutInit is the main process alone, to which some measures are compared.
var withoutInit = contender{name: "no init"}

// measureAll takes the measures one after the other.
func (b *bench) measureAll() ([]row, error) {
	var rows []row
	for _, m := range []struct {
		what    string
		measure func() ([]row, error)
	}{
		{"memory and wake-ups while idle", b.measureIdle},
		{"start", b.measureStart},
		{"signals", b.measureSignals},
		{"signals in the first moments", b.measureEarlySignals},
		{"reaping", b.measureReaping},
		{"behaviour", b.checkBehaviour},
		{"size", b.measureSize},
	} {
		fmt.Fprintf(os.Stderr, "measuring %s ...\n", m.what)
		more, err := m.measure()
		if err != nil {
			return nil, fmt.Errorf("measuring %s: %w", m.what, err)
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// rounds is how often a measure is taken, and how often in each round.
func (b *bench) rounds(rounds, repeats int) (int, int) {
	if b.short {
		return min(rounds, 3), max(1, repeats/5)
	}
	return rounds, repeats
}

// interleave lets the contenders take turns: in every round, so many times, one after the other. What a contender's
// round comes to is decided by sum, of the values that one returned.
func (b *bench) interleave(rounds, repeats int, contenders []contender, sum func([]float64) float64,
	one func(contender) (float64, error)) (figures, error) {
	result := figures{}
	for range rounds {
		values := map[string][]float64{}
		for range repeats {
			for _, c := range contenders {
				if err := b.ctx.Err(); err != nil {
					return nil, err
				}
				v, err := one(c)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", c.name, err)
				}
				values[c.name] = append(values[c.name], v)
			}
		}
		for name, v := range values {
			result[name] = append(result[name], sum(v))
		}
	}
	return result, nil
}

var versionNumber = regexp.MustCompile(`\d+(\.\d+)+`)

// conditions says what the figures depend on.
func (b *bench) conditions() string {
	var u unix.Utsname
	unix.Uname(&u)
	load, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(load), " ")
	var versions []string
	for _, c := range b.peers {
		out, _ := exec.Command(c.path, "--version").CombinedOutput()
		versions = append(versions, fmt.Sprintf("%s %s", c.name, versionNumber.Find(out)))
	}
	return fmt.Sprintf("%s, Linux %s, %d processors, load average %s; %s.", runtime.GOARCH,
		versionNumber.FindString(unix.ByteSliceToString(u.Release[:])), runtime.NumCPU(), first, strings.Join(versions, ", "))
}
