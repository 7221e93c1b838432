package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A Check is one behaviour that a user of an init can see.
type Check struct {
	// Name is group/behaviour, the row of the table.
	Name string
	// Doc says in one sentence what has to be seen.
	Doc string
	// Run starts containers in t and calls t.Failf when the behaviour is not there.
	Run func(t *Trial)
}

// checks returns every check, in the order of the table.
func checks() []Check {
	return slices.Concat(
		signalChecks, targetChecks, autoChecks, drainChecks, orphanChecks, exitChecks, messageChecks, fidelityChecks,
		hardenedChecks, terminalChecks, nameChecks, procfileChecks, programChecks, stormChecks, idleChecks,
	)
}

// A Verdict is what a check found out about an init.
type Verdict string

const (
	Holds  Verdict = "yes"
	Lacks  Verdict = "no"
	NoSuch Verdict = "-"      // the init has no such option
	Broken Verdict = "broken" // the suite itself failed, which says nothing about the init
)

// A Result is a verdict with its reason.
type Result struct {
	Verdict Verdict
	// Why is empty where the behaviour holds.
	Why string
	// Figures are what the check measured, for the reader; nothing is decided by them.
	Figures string
	Took    time.Duration
}

// A Trial is one run of one check against one init.
type Trial struct {
	Init Init
	// Size holds how big the storms are and how patient the waits.
	Size Size
	// Dir is the trial's own directory, readable by every user, gone afterwards.
	Dir string

	figures []string
	cleanup []func()
}

// Size holds what makes the suite longer or shorter.
type Size struct {
	// Patience is how long a condition may take on a machine that is busy with other things.
	Patience time.Duration
	// Orphans, Signals and Mains are the sizes of the storms.
	Orphans, Signals, Mains int
	// Idle is how long an init is watched for wake-ups.
	Idle time.Duration
}

type failure struct {
	verdict Verdict
	why     string
}

// Failf ends the trial: the init lacks the behaviour.
func (t *Trial) Failf(format string, args ...any) {
	panic(failure{Lacks, fmt.Sprintf(format, args...)})
}

// Brokenf ends the trial: the suite could not do its part.
func (t *Trial) Brokenf(format string, args ...any) {
	panic(failure{Broken, fmt.Sprintf(format, args...)})
}

// Must ends the trial when the suite could not do its part.
func (t *Trial) Must(err error) {
	if err != nil {
		t.Brokenf("%v", err)
	}
}

// Figure keeps something measured for the table's foot.
func (t *Trial) Figure(format string, args ...any) {
	t.figures = append(t.figures, fmt.Sprintf(format, args...))
}

// Cleanup runs f when the trial is over, last one first.
func (t *Trial) Cleanup(f func()) { t.cleanup = append(t.cleanup, f) }

// Path names a file in the trial's directory.
func (t *Trial) Path(name string) string { return filepath.Join(t.Dir, name) }

// Write puts a file with these contents into the trial's directory and returns its path.
func (t *Trial) Write(name, contents string, mode os.FileMode) string {
	path := t.Path(name)
	t.Must(writeFile(path, []byte(contents), mode))
	return path
}

// writeFile writes a file that may be executed at once: no child of another trial has it open for writing by then, having
// been forked meanwhile.
func writeFile(path string, contents []byte, mode os.FileMode) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, contents, 0o600); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// Read returns a file of the trial's directory; one that does not exist is empty.
func (t *Trial) Read(name string) string {
	b, err := os.ReadFile(t.Path(name))
	if err != nil && !os.IsNotExist(err) {
		t.Brokenf("%v", err)
	}
	return string(b)
}

// Until waits for cond to hold and fails with what was awaited when it does not.
func (t *Trial) Until(what string, cond func() bool) {
	for deadline := time.Now().Add(t.Size.Patience); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Failf("not within %v: %s", t.Size.Patience, what)
		}
	}
}

// Try runs one check against one init.
func Try(c Check, init Init, size Size) (r Result) {
	start := time.Now()
	t := &Trial{Init: init, Size: size}
	defer func() {
		e := recover()
		for _, f := range slices.Backward(t.cleanup) {
			f()
		}
		r = Result{Verdict: Holds, Figures: strings.Join(t.figures, "; "), Took: time.Since(start)}
		switch e := e.(type) {
		case nil:
		case failure:
			r.Verdict, r.Why = e.verdict, e.why
		default:
			r.Verdict, r.Why = Broken, fmt.Sprintf("%v\n%s", e, debug.Stack())
		}
	}()
	dir, err := os.MkdirTemp("", "conformance-")
	t.Must(err)
	t.Dir = dir
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Must(os.Chmod(dir, 0o755))
	c.Run(t)
	return
}
