// Never-worse runs generated trees of processes under an init and without one, and compares what becomes of them.
//
// The law. For every tree of processes and every signal, the outcome with podinit is never worse than the better of two:
// the program as PID 1 without an init ("none"), and tini (which signals the main process only). Nobody is killed that
// would have lived, nobody is notified twice, no work is lost that would have been finished within the grace period, no
// exit code changes. The only difference is what podinit is for: SIGTERM, SIGINT and the stop signal end a program that
// does not handle them; what is left when the main process has ended is notified and awaited; zombies are reaped. Every
// other signal reaches only processes that catch it (by handler, sigwait or signalfd) and ends nobody.
//
// One bound is known. A shell may keep its children waiting: it runs a trap only when its foreground child has ended, or
// it ignores the signal (trap ” TERM). When the grace period is nearly over SIGKILL is all that is left, so podinit then
// notifies those children: in the last fifth of the grace period, at most 3 s before its end. A program of this kind that
// would have needed more than four fifths of the grace period may therefore be notified; the trees have such programs
// need up to 70 %. A program that the shell's trap has notified itself may need 85 %.
//
//	go run ./test/never-worse -init bin/linux/amd64/init -trees 300 -seed 1
//	go run ./test/never-worse -init bin/linux/amd64/init -only 1/17
//
// A tree runs in a PID namespace of its own with its own /proc. What a tree is comes from its seed and number alone. A
// violation counts when it repeats: which of two processes the machine runs first makes outcomes differ.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Options are what a run is made of.
type Options struct {
	Init     string
	Trees    int
	Seed     uint64
	Only     string
	Parallel int
	Grace    time.Duration
	Program  string
	Verbose  bool
	Runsc    string
	Allowed  int
	Before   []string // flags of this program that come before ours, inside gVisor
}

func (o *Options) flags(fs *flag.FlagSet) {
	fs.StringVar(&o.Init, "init", os.Getenv("PODINIT_INIT"), "the `init` to test, with flags if need be (\"/usr/bin/tini -g\"); $PODINIT_INIT, or bin/linux/ARCH/init of this repository")
	fs.IntVar(&o.Trees, "trees", 300, "how many `trees` to generate, besides the hand-written ones")
	fs.Uint64Var(&o.Seed, "seed", 1, "the `seed` that the trees are generated from")
	fs.StringVar(&o.Only, "only", "", "run only the trees with these `IDs`, separated by commas, and print their outcomes")
	fs.IntVar(&o.Parallel, "parallel", 48, "`containers` that run at a time; they sleep most of their time")
	fs.DurationVar(&o.Grace, "grace", 5*time.Second, "the grace period")
	fs.StringVar(&o.Program, "program", "", "program/program.c, compiled; without it gcc does that")
	fs.IntVar(&o.Allowed, "allowed", 0, "how many of a hundred trees may violate the law: for gVisor, whose /proc does not say who handles what")
	fs.StringVar(&o.Runsc, "runsc", "", "gVisor's `runsc`: run everything inside one of its sandboxes")
	fs.BoolVar(&o.Verbose, "all", false, "print the outcomes of every tree")
}

func main() {
	var o Options
	o.flags(flag.CommandLine)
	flag.Parse()
	violations, err := o.Run(os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "never-worse:", err)
		os.Exit(2)
	}
	if violations > 0 {
		os.Exit(1)
	}
}

// Run runs the trees, prints those that violate the law, and returns how many do, or 0 if so many are allowed.
func (o *Options) Run(w io.Writer) (int, error) {
	if o.Init == "" {
		root := "."
		if _, err := os.Stat("go.mod"); err != nil {
			root = filepath.Join("..", "..")
		}
		o.Init = filepath.Join(root, "bin", "linux", runtime.GOARCH, "init")
	}
	underTest := strings.Fields(o.Init)
	path, err := filepath.Abs(underTest[0])
	if err != nil {
		return 0, err
	}
	underTest[0] = path
	if _, err := os.Stat(path); err != nil {
		return 0, fmt.Errorf("%w; build it with make build, or name it with -init", err)
	}
	trees, err := o.trees()
	if err != nil {
		return 0, err
	}
	stage, err := NewStage(o.Grace, o.Program)
	if err != nil {
		return 0, err
	}
	defer stage.Close()
	if o.Runsc != "" {
		return o.insideGVisor(w, stage, underTest)
	}
	began := time.Now()
	inits := Inits(underTest)
	results := runAll(stage, trees, inits, o.Parallel, o.Parallel)
	var broken error
	count := map[string]int{}
	failed, group := 0, 0
	var once []string
	for _, r := range results {
		if r.Err != nil {
			broken = errors.Join(broken, fmt.Errorf("tree %s could not be run: %w\n%s", r.Tree.ID, r.Err, r.Tree))
			continue
		}
		if len(Judge(r.Tree, r.Outcomes["none"], r.Outcomes["tini"], r.Outcomes["tini -g"], o.Grace)) > 0 {
			group++
		}
		if len(r.Violations) == 0 {
			if r.Once != "" {
				once = append(once, r.Tree.ID+" ("+r.Once+")")
			}
		} else {
			failed++
			for _, kind := range kinds(r.Violations) {
				count[kind]++
			}
		}
		if len(r.Violations) > 0 || o.Verbose || o.Only != "" {
			r.print(w, inits)
		}
	}
	fmt.Fprintf(w, "%d trees, %d violate the law%s; %.0f s", len(results), failed, byKind(count), time.Since(began).Seconds())
	fmt.Fprintf(w, " (under tini -g it would be %d)\n", group)
	if len(once) > 0 {
		fmt.Fprintf(w, "not repeated, and not counted: %s\n", strings.Join(once, ", "))
	}
	if 100*failed <= o.Allowed*len(results) {
		failed = 0
	}
	return failed, broken
}

// insideGVisor runs this program, which is static, in a sandbox that sees this machine's files.
func (o *Options) insideGVisor(w io.Writer, stage *Stage, underTest []string) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	words := []string{"--network=none", "--ignore-cgroups", "do", self}
	words = append(append(words, o.Before...), "-init", strings.Join(underTest, " "), "-program", stage.program, "-trees", fmt.Sprint(o.Trees), "-seed", fmt.Sprint(o.Seed),
		"-only", o.Only, "-parallel", fmt.Sprint(o.Parallel), "-grace", o.Grace.String(), "-allowed", fmt.Sprint(o.Allowed), fmt.Sprintf("-all=%t", o.Verbose))
	sandbox := exec.Command(o.Runsc, words...)
	sandbox.Stdout, sandbox.Stderr = w, w
	var exit *exec.ExitError
	switch err := sandbox.Run(); {
	case errors.As(err, &exit) && exit.ExitCode() == 1:
		return 1, nil // the sandbox has said which, and how many
	case err != nil:
		return 0, fmt.Errorf("%s: %w", o.Runsc, err)
	}
	return 0, nil
}

// trees are those that the flags ask for.
func (o *Options) trees() ([]*Tree, error) {
	written := Written()
	if o.Only == "" {
		trees := written
		for i := range o.Trees {
			trees = append(trees, Generate(o.Seed, i))
		}
		return trees, nil
	}
	var trees []*Tree
next:
	for id := range strings.SplitSeq(o.Only, ",") {
		for _, t := range written {
			if t.ID == id {
				trees = append(trees, t)
				continue next
			}
		}
		var seed uint64
		var number int
		if _, err := fmt.Sscanf(id, "%d/%d", &seed, &number); err != nil {
			return nil, fmt.Errorf("-only %s: want SEED/NUMBER, or the name of a hand-written tree", id)
		}
		trees = append(trees, Generate(seed, number))
	}
	return trees, nil
}

// Result is one tree under all inits.
type Result struct {
	Tree       *Tree
	Outcomes   map[string]Outcome
	Violations []Violation // those that repeated
	Once       string      // the kinds of those that did not
	Err        error
}

// reruns is how often a tree with a violation is run again; it counts when it repeats at least twice.
const reruns = 3

// runAll runs all trees, then again those that seem to violate the law, when the machine is less busy.
func runAll(stage *Stage, trees []*Tree, inits []Init, parallel, again int) []Result {
	results := make([]Result, len(trees))
	all := make([]int, len(trees))
	for i, t := range trees {
		results[i].Tree = t
		all[i] = i
	}
	first := runSome(stage, trees, all, inits, parallel)
	var suspects []int
	for i, t := range trees {
		results[i].Outcomes, results[i].Err = first[i].outcomes, first[i].err
		if first[i].err == nil {
			results[i].Violations = judge(t, first[i].outcomes, stage.Grace)
			if len(results[i].Violations) > 0 {
				suspects = append(suspects, i)
			}
		}
	}
	seen := map[int]map[Violation]int{}
	for round := 0; round < reruns && len(suspects) > 0; round++ {
		repeated := runSome(stage, trees, suspects, inits, max(1, again/2))
		var open []int
		for k, i := range suspects {
			r := &results[i]
			if repeated[k].err != nil {
				r.Err = repeated[k].err
				continue
			}
			if seen[i] == nil {
				seen[i] = map[Violation]int{}
			}
			now := judge(r.Tree, repeated[k].outcomes, stage.Grace)
			for _, v := range now {
				seen[i][v.what()]++
			}
			var confirmed []Violation
			for _, v := range append(now, r.Violations...) {
				if seen[i][v.what()] >= 2 {
					confirmed = append(confirmed, v)
				}
			}
			if len(confirmed) > 0 {
				r.Violations, r.Outcomes = unique(confirmed), repeated[k].outcomes
				continue
			}
			open = append(open, i)
		}
		suspects = open
	}
	for _, i := range suspects {
		results[i].Once = strings.Join(kinds(results[i].Violations), ", ")
		results[i].Violations = nil
	}
	return results
}

func judge(t *Tree, outcomes map[string]Outcome, grace time.Duration) []Violation {
	return Judge(t, outcomes["none"], outcomes["tini"], outcomes["podinit"], grace)
}

type outcomes struct {
	outcomes map[string]Outcome
	err      error
}

// runSome runs the trees with these numbers, each under all inits, and returns their outcomes in the same order.
func runSome(stage *Stage, trees []*Tree, numbers []int, inits []Init, parallel int) []outcomes {
	out := make([]outcomes, len(numbers))
	slots := make(chan struct{}, parallel)
	var group sync.WaitGroup
	var mutex sync.Mutex
	for k, i := range numbers {
		out[k].outcomes = map[string]Outcome{}
		for _, in := range inits {
			slots <- struct{}{}
			group.Go(func() {
				defer func() { <-slots }()
				o, err := stage.Run(trees[i], in)
				mutex.Lock()
				defer mutex.Unlock()
				out[k].outcomes[in.Name] = o
				if err != nil {
					out[k].err = fmt.Errorf("under %s: %w", in.Name, err)
				}
			})
		}
	}
	group.Wait()
	return out
}
