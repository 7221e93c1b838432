package main

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// measureReaping leaves orphans to the init: all at once while it is stopped, and one after the other.
func (b *bench) measureReaping() ([]row, error) {
	orphans := 20_000
	if b.short {
		orphans = 5_000
	}
	count := strconv.Itoa(orphans)
	rounds, _ := b.rounds(9, 1) // they differ more than those of other measures
	backlog, err := b.interleave(rounds, 1, b.contenders(), median, func(c contender) (float64, error) {
		return b.reapBacklog(c, count)
	})
	if err != nil {
		return nil, err
	}
	spent := figures{}
	rounds, _ = b.rounds(5, 1)
	sustained, err := b.interleave(rounds, 1, b.contenders(), median, func(c contender) (float64, error) {
		took, busy, err := b.reapSustained(c, count)
		spent[c.name] = append(spent[c.name], busy/1e3/float64(orphans))
		return float64(orphans) / (took / 1e9), err
	})
	if err != nil {
		return nil, err
	}
	return []row{
		{name: count + " orphans, from backlog", unit: "ms", figures: backlog, budget: belowPeer(1.1, "tini", "at most 1.1 x tini"), drawing: bars},
		{name: count + " orphans, sustained", unit: "per second", figures: sustained, moreIsBetter: true},
		{name: "the init's own processor time for each of them", unit: "µs", figures: spent},
	}, nil
}

// reapBacklog is how long the init takes once it goes on, in milliseconds.
func (b *bench) reapBacklog(contender contender, orphans string) (float64, error) {
	c, err := b.start(contender.command(b.program, "backlog", orphans)...)
	if err != nil {
		return 0, err
	}
	defer c.kill()
	if err := c.stop(); err != nil {
		return 0, err
	}
	if err := c.open(); err != nil {
		return 0, err
	}
	if _, err := c.next(lifetime); err != nil { // the orphans are the init's
		return 0, err
	}
	preferred(c.pid, true)
	began := now()
	if err := unix.Kill(c.pid, unix.SIGCONT); err != nil {
		return 0, err
	}
	ended, err := c.next(lifetime)
	return float64(int64(ended)-began) / 1e6, err
}

// stop stops PID 1 and returns when it is.
func (c *container) stop() error {
	if err := unix.Kill(c.pid, unix.SIGSTOP); err != nil {
		return err
	}
	var status unix.WaitStatus
	_, err := unix.Wait4(c.pid, &status, unix.WUNTRACED, nil)
	return err
}

// reapSustained is the time from the first orphan to the end of the last, and how long the init ran in it, both in
// nanoseconds.
func (b *bench) reapSustained(contender contender, orphans string) (took, busy float64, err error) {
	c, err := b.prepare(contender.command(b.program, "sustained", orphans)...)
	if err != nil {
		return 0, 0, err
	}
	defer c.kill()
	if err := c.open(); err != nil {
		return 0, 0, err
	}
	var times [3]uint64 // the init's exec, the first orphan, all gone
	for i := range times {
		if times[i], err = c.next(lifetime); err != nil {
			return 0, 0, err
		}
	}
	return float64(times[2] - times[1]), spentBy(c.pid), nil
}

// spentBy is how long a process has run so far, in nanoseconds (/proc/PID/schedstat).
func spentBy(pid int) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	first, _, _ := strings.Cut(string(text), " ")
	v, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return math.NaN() // a kernel without CONFIG_SCHED_INFO
	}
	return v
}
