package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An Outcome is what became of a tree under one init.
type Outcome struct {
	Code int
	// Killed: the container still ran at the end of the grace period, or when an ordinary signal had been observed long
	// enough.
	Killed bool
	// Died: a signal ended PID 1. SIGKILL is the only one that can on Linux, where it does not handle it; gVisor spares it
	// none.
	Died bool
	// MainAlive: so did the main process.
	MainAlive bool
	// Early: it had ended before the signal was sent.
	Early bool
	// Took is from the signal to the end.
	Took time.Duration
	// Programs are the events of each program, and of each wrapper.
	Programs map[string]Fate
	// Alive counts each program's processes at the end of the observation of an ordinary signal.
	Alive map[string]int
	// Output are the lines that arrived where the output was meant to go.
	Output map[string]bool
	// Init is what the init wrote itself.
	Init string
}

// Fate is what a program wrote into the journal.
type Fate struct {
	Up       int
	Got      []string // the signals that the most often notified of its processes got
	Done     int
	Finished int
	Left     int
	Said     map[string]int // what a wrapper wrote
}

// fates reads a journal.
func fates(journal string) map[string]Fate {
	out := map[string]Fate{}
	got := map[[2]string][]string{}
	for line := range strings.Lines(journal) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		name := words[0]
		f := out[name]
		if _, err := strconv.Atoi(words[1]); err != nil {
			if f.Said == nil {
				f.Said = map[string]int{}
			}
			f.Said[strings.Join(words[1:], " ")]++
			out[name] = f
			continue
		}
		switch event := strings.Join(words[2:], " "); event {
		case "up":
			f.Up++
		case "done":
			f.Done++
		case "finished":
			f.Finished++
		case "left":
			f.Left++
		default:
			if signal, ok := strings.CutPrefix(event, "got "); ok {
				id := [2]string{name, words[1]}
				got[id] = append(got[id], signal)
				if len(got[id]) > len(f.Got) {
					f.Got = got[id]
				}
			}
		}
		out[name] = f
	}
	return out
}

// String is one line for a reader.
func (o Outcome) String() string {
	var b strings.Builder
	switch {
	case o.Early:
		fmt.Fprintf(&b, "code %d before the signal", o.Code)
	case o.Killed:
		fmt.Fprintf(&b, "still running after %.1f s", o.Took.Seconds())
		if !o.MainAlive {
			b.WriteString(" without its main process")
		}
	default:
		fmt.Fprintf(&b, "code %d after %.1f s", o.Code, o.Took.Seconds())
	}
	for _, name := range slices.Sorted(maps.Keys(o.Programs)) {
		f := o.Programs[name]
		fmt.Fprintf(&b, "; %s", name)
		if f.Up > 1 {
			fmt.Fprintf(&b, " started %d times", f.Up)
		}
		if len(f.Got) > 0 {
			fmt.Fprintf(&b, " got %s", strings.Join(f.Got, "+"))
		}
		for _, e := range []struct {
			n    int
			what string
		}{{f.Done, "done"}, {f.Finished, "finished"}, {f.Left, "left"}} {
			if e.n > 0 {
				b.WriteString(" " + e.what)
			}
		}
		if f.Up > 0 && len(f.Got)+f.Done+f.Finished+f.Left == 0 {
			b.WriteString(" no event")
		}
		for _, said := range slices.Sorted(maps.Keys(f.Said)) {
			fmt.Fprintf(&b, " %s x%d", said, f.Said[said])
		}
		if o.Alive[name] > 0 {
			b.WriteString(" alive")
		}
	}
	return b.String()
}
