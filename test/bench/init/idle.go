package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// measureIdle looks at inits that have nothing to do.
func (b *bench) measureIdle() ([]row, error) {
	rounds, _ := b.rounds(5, 1)
	const period = 10 * time.Second
	resident, anonymous, kernel, threads, switches := figures{}, figures{}, figures{}, figures{}, figures{}

	type idler struct {
		*container
		name   string
		group  memoryGroup
		before float64 // context switches until the period began
	}
	var idlers []*idler
	defer func() {
		for _, i := range idlers {
			i.kill()
			if i.group != "" {
				i.group.remove()
			}
		}
	}()
	for round := range rounds {
		for n, contender := range append(b.contenders(), withoutInit) {
			c, err := b.prepare(contender.command(b.program, "catch")...)
			if err != nil {
				return nil, err
			}
			i := &idler{container: c, name: contender.name}
			idlers = append(idlers, i)
			if g, err := newMemoryGroup(fmt.Sprintf("podinit-bench-%d-%d-%d", os.Getpid(), round, n)); err == nil {
				i.group = g
				if err := g.add(c.pid); err != nil {
					return nil, err
				}
			}
			if err := c.open(); err != nil {
				return nil, err
			}
		}
	}
	time.Sleep(2 * time.Second) // until all have settled
	for _, i := range idlers {
		status, err := fields(i.pid, "status")
		if err != nil {
			return nil, err
		}
		i.before = status["voluntary_ctxt_switches"] + status["nonvoluntary_ctxt_switches"]
	}
	select {
	case <-time.After(period):
	case <-b.ctx.Done():
		return nil, b.ctx.Err()
	}
	for _, i := range idlers {
		status, err := fields(i.pid, "status")
		if err != nil {
			return nil, err
		}
		memory, err := fields(i.pid, "smaps_rollup")
		if err != nil {
			return nil, err
		}
		add := func(f figures, v float64) { f[i.name] = append(f[i.name], v) }
		add(switches, status["voluntary_ctxt_switches"]+status["nonvoluntary_ctxt_switches"]-i.before)
		add(threads, status["Threads"])
		add(resident, memory["Rss"])
		add(anonymous, memory["Anonymous"])
		if i.group != "" {
			bytes, err := i.group.kernelBytes()
			if err != nil {
				return nil, err
			}
			add(kernel, bytes/1024)
		}
	}
	for _, f := range []figures{resident, anonymous, threads, switches} {
		delete(f, withoutInit.name) // what they show is the main process
	}
	rows := []row{
		{name: "memory while idle, resident", unit: "kB", figures: resident, budget: belowBest(1), drawing: bars},
		{name: "memory while idle, anonymous", unit: "kB", figures: anonymous, budget: belowBest(1), drawing: bars},
		{name: "threads", figures: threads, budget: atMost(1, "1")},
		{name: "wake-ups in 10 s", figures: switches, budget: atMost(0, "0"), drawing: bars},
	}
	if len(kernel) > 0 {
		rows = append(rows, row{name: "kernel memory, over no init", unit: "kB", figures: kernel.over(withoutInit.name)})
	}
	return rows, nil
}

// fields reads the lines "name: number ..." of a file in /proc/PID.
func fields(pid int, file string) (map[string]float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return nil, err
	}
	result := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		if words := strings.Fields(rest); len(words) > 0 {
			if v, err := strconv.ParseFloat(words[0], 64); err == nil {
				result[name] = v
			}
		}
	}
	return result, nil
}

// measureSize compares the files as they are shipped.
func (b *bench) measureSize() ([]row, error) {
	size := figures{}
	for _, c := range b.contenders() {
		info, err := os.Stat(c.path)
		if err != nil {
			return nil, err
		}
		size[c.name] = []float64{float64(info.Size()) / 1e6}
	}
	return []row{{name: "binary, stripped", unit: "MB", figures: size, budget: atMost(1.25, "at most 1.25 MB"), drawing: bars}}, nil
}
