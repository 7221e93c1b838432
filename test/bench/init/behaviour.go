package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// A straggler takes 0.3 s to finish after SIGTERM, and the main process does not wait for it. It reports in words of
// eight letters, which is what a report has room for.
const (
	straggler = `sh -c 'trap "sleep 0.3; printf finished >&3; exit" TERM; printf straggle >&3; while :; do sleep 0.02; done' & `
	stopped   = `exec 2>/dev/null; trap "exit 42" TERM; ` + straggler + `while :; do sleep 0.02; done`
	byItself  = `exec 2>/dev/null; ` + straggler + `sleep 0.3; exit 42`
)

// checkBehaviour tells what holds and what does not.
func (b *bench) checkBehaviour() ([]row, error) {
	mask, ignored, finished, finishedByItself, code := figures{}, figures{}, figures{}, figures{}, figures{}
	wanted, err := b.dressed(withoutInit)
	if err != nil {
		return nil, err
	}
	set := func(f figures, c contender, holds bool) {
		f[c.name] = []float64{0}
		if holds {
			f[c.name][0] = 1
		}
	}
	for _, c := range b.contenders() {
		got, err := b.dressed(c)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		set(mask, c, got[0] == wanted[0])
		set(ignored, c, got[1] == wanted[1])

		finishes, stoppedCode, err := b.straggle(c, stopped, true)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		set(finished, c, finishes)
		finishes, byItselfCode, err := b.straggle(c, byItself, false)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		set(finishedByItself, c, finishes)
		set(code, c, stoppedCode == 42 && byItselfCode == 42)
	}
	return []row{
		{name: "signal mask reaches main", yesNo: true, figures: mask, budget: always()},
		{name: "ignored signals reach main", yesNo: true, figures: ignored, budget: always()},
		{name: "straggler finishes, main stopped", yesNo: true, figures: finished, budget: always()},
		{name: "straggler finishes, main ended by itself", yesNo: true, figures: finishedByItself, budget: always()},
		{name: "exit code kept in both", yesNo: true, figures: code, budget: always()},
	}, nil
}

// dressed is which signals the main process finds blocked and which ignored, if PID 1 is executed with some.
func (b *bench) dressed(contender contender) (sets [2]uint64, err error) {
	c, err := b.prepare(append([]string{b.program, "dress"}, contender.command(b.program, "dressed")...)...)
	if err != nil {
		return sets, err
	}
	defer c.kill()
	if err := c.open(); err != nil {
		return sets, err
	}
	if _, err := c.next(lifetime); err != nil { // the init's exec
		return sets, err
	}
	for i := range sets {
		if sets[i], err = c.next(lifetime); err != nil {
			return sets, err
		}
	}
	return sets, nil
}

// straggle runs a main process with a straggler, stops the container if asked to, and tells how both ended.
func (b *bench) straggle(contender contender, script string, stop bool) (finished bool, code int, err error) {
	c, err := b.start(contender.command("/bin/sh", "-c", script)...)
	if err != nil {
		return false, 0, err
	}
	if stop {
		if err := unix.Kill(c.pid, unix.SIGTERM); err != nil {
			c.kill()
			return false, 0, err
		}
	}
	_, err = c.next(10 * time.Second)
	if err != nil && !errors.Is(err, errEnded) {
		c.kill()
		return false, 0, err
	}
	code, waitErr := c.wait()
	return err == nil, code, waitErr
}
