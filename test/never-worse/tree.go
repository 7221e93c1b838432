package main

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// A Tree is what runs in a container, and what happens to it.
type Tree struct {
	ID       string
	Layers   []Layer   // the wrappers, outermost first
	Programs []Program // what the innermost wrapper starts
	Signal   string    // without SIG
	Stop     bool      // it is the stop signal, and SIGKILL follows at the end of the grace period
	Times    int
	// Finish is when, as a part of the grace period, the work at hand is finished; 0: never.
	Finish float64
	// Leave has the main process end by itself shortly before the signal.
	Leave bool
}

// A Layer is a wrapper as this tree has it.
type Layer struct {
	*Wrapper
	Shell string // bash, dash, busybox
	Form  string // -c, file, shebang, env
	Trap  string // the signal that its trap is for
}

// Reaction is what a wrapper does with the signal that it has a trap for.
type Reaction int

// Every reaction but Default is the wrapper's author's own decision.
const (
	// Default: the wrapper does not handle it.
	Default Reaction = iota
	// Forwards: the wrapper notifies what it started, and waits.
	Forwards
	// ForwardsExits: it notifies what it started, and exits.
	ForwardsExits
	// Exits: it exits and leaves what it started.
	Exits
	// Defers: it goes on waiting for the child in the foreground.
	Defers
	// Ignores: it ignores the signal.
	Ignores
	// Handles: it does something else, and goes on waiting.
	Handles
)

// A Wrapper is a form of entrypoint.
type Wrapper struct {
	Name string
	// Script is a shell script: {P} and {Q} are the commands that it starts, {S} is the signal of the trap, {L} is the
	// name of this layer, which its own events in $J begin with.
	Script string
	// Prefix is a program that starts a command, instead of a script.
	Prefix []string
	// On is what its trap does.
	On Reaction
	// Sends is the signal that a trap forwards if it is not {S}.
	Sends string
	// Background: the shell starts the command with "&", so that it ignores SIGINT and SIGQUIT.
	Background bool
	// Bash: only bash can run it.
	Bash bool
	// Again: it starts its command again when that has ended.
	Again bool
	// Leaves: it ends by itself when the file $D/leave exists.
	Leaves bool
	// Forwarder: it is a program that forwards what it gets.
	Forwarder bool
	// Group: it signals whole process groups.
	Group bool
	// Pipe: something reads the program's output.
	Pipe bool
}

func (w *Wrapper) hasTrap() bool { return strings.Contains(w.Script, "{S}") }

// programs is how many commands it starts.
func (w *Wrapper) programs() int {
	if strings.Contains(w.Script, "{Q}") {
		return 2
	}
	return 1
}

// A Program is one run of program/program.c.
type Program struct {
	Name    string
	Kind    string // default, handler, once, ignore, sigwait, signalfd, tell, leave, daemon
	Catch   []string
	Reload  []string
	Ignore  []string
	Shut    float64 // how long its ending takes, as a part of the grace period
	Natural bool    // it ends by itself at Tree.Finish
	Code    int
}

// Arguments are those of program/program.c.
func (p *Program) Arguments(graceMillis int) []string {
	ms := fmt.Sprint(int(p.Shut * float64(graceMillis)))
	out := []string{p.Name}
	list := func(name string, signals []string) {
		if len(signals) > 0 {
			out = append(out, name+"="+strings.Join(signals, ","))
		}
	}
	list("catch", p.Catch)
	list("reload", p.Reload)
	list("ignore", p.Ignore)
	switch p.Kind {
	case "sigwait", "signalfd":
		out = append(out, "how="+p.Kind)
	case "once":
		out = append(out, "once")
	case "daemon":
		out = append(out, "once", "daemon")
	case "tell":
		out = append(out, "workers=tell", "worker="+ms)
	case "leave":
		out = append(out, "workers=leave", "worker="+ms)
	}
	if p.Shut > 0 && p.Kind != "tell" && p.Kind != "leave" {
		out = append(out, "shut="+ms)
	}
	if p.Natural {
		out = append(out, "natural")
	}
	if p.Code != 0 {
		out = append(out, fmt.Sprintf("code=%d", p.Code))
	}
	return out
}

// workersCatch is what the workers in program.c catch.
var workersCatch = []string{"TERM", "INT", "QUIT"}

// names are those of all processes of a program.
func (p *Program) names() []string {
	if p.Kind == "tell" || p.Kind == "leave" {
		return []string{p.Name, p.Name + ".1", p.Name + ".2"}
	}
	return []string{p.Name}
}

func (p *Program) catches(signal string) bool {
	return slices.Contains(p.Catch, signal) || slices.Contains(p.Reload, signal)
}

// A Path is how a signal to the container comes to its programs, if all is well.
type Path struct {
	// Signal is what reaches them.
	Signal string
	// Shielded: a wrapper handles the signal and keeps it to itself.
	Shielded bool
	// Keeps is what that wrapper does.
	Keeps Reaction
	// Left: a wrapper exits at once, without having waited.
	Left bool
	// Unsure: whether and when it reaches them is up to the shell, so nothing in particular is expected.
	Unsure bool
}

// Path follows the signal from the outermost wrapper to the programs.
func (t *Tree) Path() Path {
	p := Path{Signal: t.Signal}
	for i := range t.Layers {
		l := &t.Layers[i]
		switch l.Reaction(p.Signal) {
		case Default:
			trap := strings.Contains(l.Script, "trap")
			switch {
			case p.Signal == "INT" && (trap || l.Again): // shells catch it while they wait, trap or not
				p.Unsure = true
			case p.Signal != "TERM" && l.exitTrap(): // some signals it survives
				p.Unsure = true
			case l.Again && i > 0:
				p.Unsure = true
			}
		case Forwards, ForwardsExits:
			if l.Sends != "" {
				p.Signal = l.Sends
			}
			p.Left = p.Left || l.On == ForwardsExits
		case Exits:
			p.Left = true
			p.Signal = "TERM"
		default:
			p.Shielded, p.Keeps = true, l.On
			return p
		}
	}
	return p
}

// Reaction is what this layer does with a signal.
func (l *Layer) Reaction(signal string) Reaction {
	if l.Prefix != nil {
		return Default
	}
	if l.hasTrap() && l.Trap == signal {
		return l.On
	}
	return Default
}

// handled says whether the layer of this name handles the signal on purpose, so that what its trap does counts.
func (t *Tree) handled(layer string) bool {
	signal := t.Signal
	for i := range t.Layers {
		l := &t.Layers[i]
		r := l.Reaction(signal)
		if layerName(i) == layer {
			return r != Default
		}
		if r == Forwards || r == ForwardsExits {
			if l.Sends != "" {
				signal = l.Sends
			}
		}
	}
	return false
}

// groups says whether some wrapper notifies whole process groups, so that a program may be notified by two.
func (t *Tree) groups() bool {
	return slices.ContainsFunc(t.Layers, func(l Layer) bool { return l.Group })
}

// has says whether some layer is this program.
func (t *Tree) has(program string) bool {
	return slices.ContainsFunc(t.Layers, func(l Layer) bool { return l.Prefix != nil && path.Base(l.Prefix[0]) == program })
}

// exitTrap: for the sake of an EXIT trap, bash catches most signals.
func (l *Layer) exitTrap() bool { return l.Shell == "bash" && strings.Contains(l.Script, "EXIT") }

// innerDecides says whether a wrapper below another handles an ordinary signal, which the outer one does not. It gets
// the signal then; that it ends its program for it is its own decision.
func (t *Tree) innerDecides() bool {
	for i := range t.Layers {
		l := &t.Layers[i]
		switch r := l.Reaction(t.Signal); {
		case r == Forwards, r == ForwardsExits, r == Exits, l.Forwarder, l.exitTrap():
			return i > 0
		case r != Default:
			return false
		}
	}
	return false
}

// endsOn says whether a process of this name ends by its own handler for a signal.
func (t *Tree) endsOn(name, signal string) bool {
	for i := range t.Programs {
		p := &t.Programs[i]
		if p.Name == name {
			return slices.Contains(p.Catch, signal)
		}
		if slices.Contains(p.names(), name) {
			return slices.Contains(workersCatch, signal)
		}
	}
	return false
}

func layerName(i int) string { return fmt.Sprintf("L%d", i+1) }

// ends says whether a signal asks a container to end, rather than to do something.
func (t *Tree) ends() bool { return t.Stop || t.Signal == "TERM" || t.Signal == "INT" }

// Command is the main process. write is called with a script's name and text and returns its path.
func (t *Tree) Command(program string, graceMillis int, write func(name, text string) string) []string {
	commands := make([]string, len(t.Programs))
	var argv []string
	for i := range t.Programs {
		words := append([]string{program}, t.Programs[i].Arguments(graceMillis)...)
		commands[i] = quoteAll(words)
		argv = words
	}
	for i := len(t.Layers) - 1; i >= 0; i-- {
		l := &t.Layers[i]
		if l.Prefix != nil {
			argv = append(slices.Clone(l.Prefix), argv...)
		} else {
			text := strings.NewReplacer("{P}", commands[0], "{S}", l.Trap, "{L}", layerName(i)).Replace(l.Script)
			if len(commands) > 1 {
				text = strings.ReplaceAll(text, "{Q}", commands[1])
			}
			argv = l.run(text, func(text string) string { return write(layerName(i), text) })
		}
		commands = []string{quoteAll(argv)}
	}
	return argv
}

// run is the command that runs a script in the form of this layer.
func (l *Layer) run(text string, write func(text string) string) []string {
	shell := map[string][]string{"bash": {"/bin/bash"}, "dash": {"/bin/dash"}, "busybox": {"/bin/busybox", "sh"}}[l.Shell]
	switch l.Form {
	case "file":
		return append(shell, write(text+"\n"))
	case "shebang":
		return []string{write("#!" + strings.Join(shell, " ") + "\n" + text + "\n")}
	case "env":
		return []string{write("#!/usr/bin/env " + l.Shell + "\n" + text + "\n")}
	}
	return append(shell, "-c", text)
}

func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}

// quote writes a word for a shell.
func quote(word string) string {
	plain := func(r rune) bool {
		return strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=,", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// String describes the tree for a reader.
func (t *Tree) String() string {
	var b strings.Builder
	role := "ordinary signal"
	if t.Stop {
		role = "stop signal"
	}
	times := ""
	if t.Times > 1 {
		times = fmt.Sprintf(", %d times", t.Times)
	}
	fmt.Fprintf(&b, "  %s SIG%s%s", role, t.Signal, times)
	if t.Leave {
		b.WriteString(", after the main process has ended by itself")
	}
	b.WriteString("\n")
	for i := range t.Layers {
		l := &t.Layers[i]
		if l.Prefix != nil {
			fmt.Fprintf(&b, "  %s: %s\n", l.Name, strings.Join(l.Prefix, " "))
			continue
		}
		text := strings.NewReplacer("{S}", l.Trap, "{L}", layerName(i)).Replace(l.Script)
		fmt.Fprintf(&b, "  %s, %s, %s: %s\n", l.Name, l.Shell, l.Form, strings.ReplaceAll(text, "\n", "; "))
	}
	for i := range t.Programs {
		p := &t.Programs[i]
		fmt.Fprintf(&b, "  program %s: %s; %s\n", p.Name, p.Kind, strings.Join(p.Arguments(100), " "))
	}
	if t.Finish > 0 {
		fmt.Fprintf(&b, "  the work at hand takes %.0f %% of the grace period\n", t.Finish*100)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
