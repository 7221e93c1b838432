package main

import (
	"testing"

	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/options"
)

// When programs end, the container goes from phase to phase. None of these programs has a process, and the test is not
// PID 1, so no process is sent a signal.
func TestPhases(t *testing.T) {
	const second = int64(options.Second)
	now := kernel.Now()
	for name, tt := range map[string]struct {
		phase        phase
		alive, ended int
		options      options.Options
		timeLeft     int64 // until the deadline, of a drain that began a minute ago; 0: there has never been any
		want         phase
		wantLeft     int64 // at least, but not a second more; negative: as it was
	}{
		"nothing has ended":                      {running, 1, 0, options.Default(), 0, running, -1},
		"one of two programs":                    {running, 1, 1, options.Default(), 0, ending, 5 * second},
		"all programs":                           {running, 0, 1, options.Default(), 0, lingering, 5 * second},
		"all, with --linger=0":                   {running, 0, 1, options.Options{}, 0, leaving, killPatience},
		"all, with --wait=all":                   {running, 0, 1, options.Options{WaitAll: true}, 0, running, -1},
		"a program lives on after the signal":    {stopping, 1, 1, options.Default(), 9 * second, stopping, -1},
		"all, after the stop signal":             {stopping, 0, 2, options.Default(), 9 * second, lingering, -1},
		"the same with --wait=all":               {stopping, 0, 2, options.Options{WaitAll: true}, 9 * second, lingering, -1},
		"all, in time after one of them":         {ending, 0, 2, options.Default(), 2 * second, lingering, -1},
		"all, after the deadline":                {overdue, 0, 1, options.Default(), -second, lingering, killPatience},
		"all, after the signal, under dumb-init": {stopping, 0, 1, options.Named("dumb-init"), 0, leaving, killPatience},
		"the same later":                         {overdue, 0, 1, options.Named("dumb-init"), 0, leaving, killPatience},
		"killed programs":                        {killing, 0, 2, options.Default(), second, killing, -1},
	} {
		c := container{options: tt.options, pid: 2}
		c.processes.usable = no
		c.phase, c.programs.alive, c.programs.ended = tt.phase, tt.alive, tt.ended
		if tt.phase != running {
			c.since = now - int64(options.Minute)
			c.deadline = c.since
			if tt.timeLeft != 0 {
				c.deadline = now + tt.timeLeft
			}
		}
		before := c.deadline
		c.advance(now)
		if c.phase != tt.want {
			t.Errorf("%s: phase %d, want %d", name, c.phase, tt.want)
		}
		left := c.deadline - now
		if tt.wantLeft < 0 && c.deadline != before || tt.wantLeft >= 0 && (left < tt.wantLeft || left >= tt.wantLeft+second) {
			t.Errorf("%s: %d ns are left, want %d", name, left, tt.wantLeft)
		}
	}
}

// The stop signal begins a drain once, unless all is decided.
func TestStopRequested(t *testing.T) {
	for before, want := range map[phase]phase{running: stopping, ending: ending, lingering: lingering, killing: killing, leaving: leaving} {
		c := container{options: options.Default(), pid: 2}
		c.phase, c.deadline = before, 1
		c.stopRequested(sigTERM)
		if c.phase != want || !c.asked || c.stopSignal != sigTERM {
			t.Errorf("from phase %d: phase %d, want %d", before, c.phase, want)
		}
		if begun := c.deadline != 1; begun != (before != killing && before != leaving) {
			t.Errorf("from phase %d: has the time begun: %v", before, begun)
		}
	}
}
