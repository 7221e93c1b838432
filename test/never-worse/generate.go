package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

var (
	shells       = []string{"bash", "dash", "busybox"}
	forms        = []string{"-c", "-c", "file", "shebang", "shebang", "env"}
	programKinds = []string{"default", "handler", "handler", "once", "once", "ignore", "sigwait", "signalfd", "tell", "leave", "daemon"}
	signals      = []string{"TERM", "TERM", "INT", "QUIT", "HUP", "USR1", "WINCH"}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// Generate makes tree number n of a seed, always the same. Consecutive trees go through all wrappers.
func Generate(seed uint64, n int) *Tree {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	t := &Tree{ID: fmt.Sprintf("%d/%d", seed, n), Signal: pick(r, signals), Times: 1}
	t.Stop = t.Signal == "TERM" || r.IntN(2) == 0
	if r.IntN(5) == 0 {
		t.Times = 2
	}
	inner := wrappers[(n+int(seed%uint64(len(wrappers))))%len(wrappers)]
	for depth := r.IntN(8); depth >= 6; depth-- { // one in four is nested, one in eight twice
		if w := pick(r, wrappers); w.programs() == 1 && !w.Leaves {
			t.Layers = append(t.Layers, t.layer(r, w))
		}
	}
	t.Layers = append(t.Layers, t.layer(r, inner))
	for i := range inner.programs() {
		t.Programs = append(t.Programs, t.program(r, string(rune('P'+i))))
	}
	t.Leave = inner.Leaves
	t.settle(r)
	return t
}

func (t *Tree) layer(r *rand.Rand, w *Wrapper) Layer {
	l := Layer{Wrapper: w, Shell: pick(r, shells), Form: pick(r, forms), Trap: t.Signal}
	if w.Bash {
		l.Shell = "bash"
	}
	if l.Shell == "busybox" && l.Form == "env" {
		l.Form = "file" // env(1) starts no "busybox sh"
	}
	if r.IntN(5) == 0 {
		l.Trap = pick(r, signals)
	}
	if w.On == Handles && r.IntN(2) == 0 {
		l.Trap = "HUP"
	}
	if l.Trap == "WINCH" && l.Shell == "busybox" {
		l.Trap = "TERM"
	}
	return l
}

func (t *Tree) program(r *rand.Rand, name string) Program {
	p := Program{Name: name, Kind: pick(r, programKinds), Code: pick(r, []int{0, 0, 0, 5})}
	switch p.Kind {
	case "default":
		return p
	case "ignore":
		p.Ignore = []string{"TERM", "INT", "QUIT", "HUP"}
		if t.Stop && r.IntN(4) != 0 && !slices.Contains(p.Ignore, t.Signal) {
			p.Ignore = append(p.Ignore, t.Signal)
		}
		return p
	}
	switch r.IntN(5) {
	case 0:
		p.Catch = []string{"TERM"}
	case 1:
		p.Catch = []string{"TERM", "INT"}
	case 2:
		p.Catch, p.Reload = []string{"TERM", "INT"}, []string{"HUP", "USR1", "WINCH"}
	case 3:
		p.Catch = []string{"TERM", "INT", "QUIT", "HUP"}
	case 4:
		p.Catch, p.Reload = []string{"TERM", "INT", "HUP"}, []string{"QUIT"} // a JVM
	}
	if t.Stop && r.IntN(4) != 0 && !slices.Contains(p.Catch, t.Signal) {
		p.Catch = append(p.Catch, t.Signal) // who sets a stop signal has a program that handles it
		p.Reload = slices.DeleteFunc(p.Reload, func(s string) bool { return s == t.Signal })
	}
	p.Shut = pick(r, []float64{0.02, 0.02, 0.3, 0.5, 0.65, 0.8})
	return p
}

// settle makes durations fit what the wrappers do, so that the law says something about them.
func (t *Tree) settle(r *rand.Rand) {
	path := t.Path()
	finish := pick(r, []float64{0.3, 0.5, 0.7})
	for i := range t.Programs {
		p := &t.Programs[i]
		natural := p.Kind == "default" || p.Kind == "handler" || p.Kind == "once" || p.Kind == "sigwait"
		if t.groups() && (p.Kind == "once" || p.Kind == "tell" || p.Kind == "leave" || p.Kind == "daemon") {
			p.Kind = "handler" // else chance decides whether the wrapper's two notifications are seen as two
		}
		switch {
		case !t.ends():
			p.Shut = min(p.Shut, 0.05) // within the time that an ordinary signal's outcome is observed
		case p.Kind == "ignore":
			p.Natural = t.Stop && (path.Shielded || !t.loops() && slices.Contains(p.Ignore, path.Signal)) && r.IntN(3) != 0
		case path.Shielded && t.Stop && natural:
			p.Natural = r.IntN(3) != 0
			if p.Kind == "default" && t.loops() {
				p.Natural = true
			}
		case !t.Stop:
			p.Shut = min(p.Shut, 0.05)
		case path.Left && r.IntN(2) == 0:
			p.Shut = min(p.Shut, 0.3)
		}
		if p.Natural {
			t.Finish = finish
		}
	}
	// Of a wrapper that has its own trap notify the program, more is demanded.
	if inner := &t.Layers[len(t.Layers)-1]; t.Stop && inner.Reaction(t.Signal) == Forwards && r.IntN(3) == 0 {
		for i := range t.Programs {
			if t.Programs[i].Shut > 0.3 {
				t.Programs[i].Shut = 0.85
			}
		}
	}
}

func (t *Tree) loops() bool {
	return slices.ContainsFunc(t.Layers, func(l Layer) bool { return l.Again })
}
