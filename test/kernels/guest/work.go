package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podinit/podinit/test/compatibility/report"
)

// initPath is the init under test.
const initPath = programs + "/init"

// work runs everything on the machine that boot has made.
func work() error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	controllers, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if err != nil {
		return err
	}
	// What the runtime of a container does for its cgroup.
	for _, controller := range []string{"memory", "pids"} {
		if err := os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+"+controller), 0); err != nil {
			return fmt.Errorf("cgroup controller %s: %w", controller, err)
		}
	}
	if out, err := exec.Command("/usr/bin/busybox", "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("loopback: %w: %s", err, out)
	}
	send(report.Line{Machine: &report.Machine{
		Release: unix.ByteSliceToString(name.Release[:]), Architecture: runtime.GOARCH, PageSize: os.Getpagesize(), Processors: runtime.NumCPU(),
		Controllers: strings.TrimSpace(string(controllers)),
	}})
	for _, c := range append(memoryChecks(), copyChecks()...) {
		send(report.Line{Result: c.run()})
	}
	if err := conformance(); err != nil {
		return err
	}
	send(report.Line{Done: true})
	return nil
}

// check is something that a kernel of its own shows.
type check struct {
	name string
	// try returns what was measured, and why it does not hold.
	try func() (figures string, err error)
}

func (c check) run() *report.Result {
	start := time.Now()
	figures, err := c.try()
	r := &report.Result{Name: c.name, Holds: err == nil, Figures: figures, Seconds: time.Since(start).Seconds()}
	if err != nil {
		r.Why = err.Error()
	}
	return r
}

// conformance runs the init's suite, and tries a second time, alone, what did not hold: emulated processors are slow.
func conformance() error {
	flags, err := os.ReadFile(programs + "/flags")
	if err != nil {
		return err
	}
	words := append([]string{"-json", "-init", "podinit=" + initPath}, strings.Fields(string(flags))...)
	var again []string
	err = suite(words, func(r report.Result) {
		if r.Holds {
			send(report.Line{Result: &r})
		} else {
			again = append(again, regexp.QuoteMeta(strings.TrimPrefix(r.Name, report.Conformance)))
		}
	})
	if err != nil || again == nil {
		return err
	}
	return suite(append(words, "-parallel", "1", "-run", "^("+strings.Join(again, "|")+")$"), func(r report.Result) {
		r.Again = r.Holds
		send(report.Line{Result: &r})
	})
}

// suite runs the conformance suite, and calls each with each result as it comes.
func suite(words []string, each func(report.Result)) error {
	var trouble bytes.Buffer
	command := exec.Command(programs+"/conformance", words...)
	command.Stderr = &trouble
	out, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	err = report.ReadConformance(out, each)
	if waitErr := command.Wait(); waitErr != nil {
		return fmt.Errorf("the conformance suite: %w: %s", waitErr, trouble.String())
	}
	return err
}
