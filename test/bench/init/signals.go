package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// burst is how many signals are sent back to back.
const burst = 20

// measureSignals takes the time from kill(2) for the init to the main process having the signal. Sender and containers
// share a processor: on two, most of the time would be that of an idle processor waking up.
func (b *bench) measureSignals() ([]row, error) {
	preferred(0, true)
	defer preferred(0, false)
	// Ours in its default, auto, and as the others work, main.
	main := b.podinit
	main.name, main.flags = "podinit, target main", []string{"--signal-target=main"}
	contenders := append(b.contenders(), main, withoutInit)

	containers := map[string]*container{}
	defer func() {
		for _, c := range containers {
			c.kill()
		}
	}()
	for _, contender := range contenders {
		c, err := b.prepare(contender.command(b.program, "catch")...)
		if err != nil {
			return nil, err
		}
		containers[contender.name] = c
		if err := runOn(c.pid, b.processors[1]); err != nil {
			return nil, err
		}
		if err := c.open(); err != nil {
			return nil, err
		}
		for range 2 {
			if _, err := c.next(lifetime); err != nil {
				return nil, fmt.Errorf("%s: %w", contender.name, err)
			}
		}
	}
	if err := runOn(0, b.processors[1]); err != nil {
		return nil, err
	}
	defer runOn(0, b.processors[:]...)

	send := func(c *container) (float64, error) {
		sent := now()
		if err := unix.Kill(c.pid, unix.SIGUSR1); err != nil {
			return 0, err
		}
		came, err := c.next(10 * time.Second)
		return float64(int64(came)-sent) / 1e3, err
	}
	rounds, repeats := b.rounds(5, 100)
	idle, err := b.interleave(rounds, repeats, contenders, median, func(c contender) (float64, error) {
		time.Sleep(2 * time.Millisecond)
		return send(containers[c.name])
	})
	if err != nil {
		return nil, err
	}
	busy, err := b.interleave(rounds, repeats/5, contenders, median, func(c contender) (float64, error) {
		var values []float64
		for range burst {
			v, err := send(containers[c.name])
			if err != nil {
				return 0, err
			}
			values = append(values, v)
		}
		return median(values), nil
	})
	if err != nil {
		return nil, err
	}

	auto := func(f figures) figures { return figures{b.podinit.name: f[b.podinit.name]} }
	asMain := func(f figures) figures {
		result := figures{b.podinit.name: f[main.name], withoutInit.name: f[withoutInit.name]}
		for _, p := range b.peers {
			result[p.name] = f[p.name]
		}
		return result
	}
	return []row{
		{name: "signal to main, 2 ms apart, target main", unit: "µs", figures: asMain(idle), budget: belowPeer(1, "tini", "not above tini"), drawing: bars},
		{name: "the same, target auto", unit: "µs", figures: auto(idle), budget: atMost(100, "under 100 µs")},
		{name: "signal to main, back to back, target main", unit: "µs", figures: asMain(busy)},
		{name: "the same, target auto", unit: "µs", figures: auto(busy)},
	}, nil
}

// moments are when a signal is sent, in microseconds after the exec of the init.
var moments = []int{0, 100, 300, 600, 1000, 1500}

// measureEarlySignals counts how often a SIGTERM never comes to the main process if it is sent in the first moments. The
// sender has one processor and the container the other, before everybody else: what counts here is the init's own time.
func (b *bench) measureEarlySignals() ([]row, error) {
	if err := runOn(0, b.processors[0]); err != nil {
		return nil, err
	}
	defer runOn(0, b.processors[:]...)
	_, repeats := b.rounds(1, 100)
	preferred(0, true)
	defer preferred(0, false)
	var rows []row
	for _, moment := range moments {
		f, err := b.interleave(1, repeats, b.contenders(), mean, func(c contender) (float64, error) {
			lost, err := b.earlySignal(c, int64(moment)*1e3)
			if lost {
				return 100, err
			}
			return 0, err
		})
		if err != nil {
			return nil, err
		}
		r := row{name: fmt.Sprintf("SIGTERM lost, sent %d µs after exec", moment), unit: "%", figures: f, drawing: cells, moment: moment}
		if moment >= 100 {
			r.budget = atMost(0, "none")
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// afterwards is a signal that tells the main process that nothing more comes: of several signals that wait, the one
// with the lowest number is taken first, so behind it there is no SIGTERM.
const afterwards = unix.Signal(40)

// earlySignal sends SIGTERM so long after the exec of the init.
func (b *bench) earlySignal(contender contender, nanoseconds int64) (lost bool, err error) {
	c, err := b.prepare(contender.command(b.program, "early")...)
	if err != nil {
		return false, err
	}
	defer c.kill()
	if err := runOn(c.pid, b.processors[1]); err != nil {
		return false, err
	}
	if err := c.open(); err != nil {
		return false, err
	}
	if _, err := c.next(lifetime); err != nil { // the report that came before the exec
		return false, err
	}
	if err := c.awaitExec(); err != nil {
		return false, err
	}
	for began := now(); now() < began+nanoseconds; {
	}
	if err := unix.Kill(c.pid, unix.SIGTERM); err != nil {
		return false, err
	}
	if _, err = c.next(10 * time.Second); err == nil { // the main process runs
		if err := unix.Kill(c.pid, afterwards); err != nil && err != unix.ESRCH {
			return false, err
		}
		var first uint64
		if first, err = c.next(10 * time.Second); err == nil {
			return first != uint64(unix.SIGTERM), nil
		}
	}
	if errors.Is(err, errEnded) { // SIGTERM came before it was ready to take signals, and ended it
		return false, nil
	}
	return false, err
}
