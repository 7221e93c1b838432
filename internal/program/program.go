// Package program knows programs by their names: inits, shells, and programs such as env and gosu that only start another
// one. From a command line it tells which program a container's first process becomes. It does no I/O: a name may mislead,
// and a script that is in the image is not read.
//
// The init has a list of its own, in initbin/policy: the names of shells, of inits and of programs with applets, which it
// compares with running processes. It must stay small and needs no command lines, so it does not import this package; and
// as initbin/policy builds on Linux alone, this package, which the command line podinit needs everywhere, does not import
// that one. A test holds the two lists together.
package program

import (
	"path"
	"slices"
	"strings"

	"github.com/podinit/podinit/initbin/options"
)

// Kind is what a program is for.
type Kind uint8

// The kinds of Kind.
const (
	// Other is every program that this package does not know.
	Other Kind = iota
	// Init starts one program and does what PID 1 has to do for it, as tini.
	Init
	// System is an init system that works only as PID 1, as systemd.
	System
	// Shell runs a script.
	Shell
	// Wrapper replaces itself with the program behind its own flags (execve(2)), as env.
	Wrapper
	// Monitor starts the program behind its own flags and waits for it, as timeout.
	Monitor
)

// maxDepth bounds how many wrappers and scripts are looked through.
const maxDepth = 32

// maxWords bounds how much of an argv counts behind what "env -S" has split.
const maxWords = 1024

// KindOf is the kind of the program that these words start, by its name.
func KindOf(words []string) Kind { return knownBy(words).kind }

// Name is the name of the program that these words start, without its directory; "" if there are none.
func Name(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return path.Base(words[0])
}

func knownBy(words []string) known { return table[Name(words)] }

// Behind is a command line without the wrappers at its beginning; nil if they start no program, or if that cannot be read.
func Behind(words []string) []string {
	for range maxDepth {
		wrapper := knownBy(words)
		if wrapper.kind != Wrapper {
			return words
		}
		words = wrapper.program(words[1:])
	}
	return nil
}

// Becomes is the command line of the program that a process becomes which starts with these words: behind wrappers, and by
// the exec at the end of a shell's script. It is sure unless that depends on which timeout or shell the image has.
func Becomes(words []string) (becomes []string, sure bool) {
	sure = true
	for range maxDepth {
		words = Behind(words)
		next, surely := replacement(words)
		if len(next) == 0 {
			return words, sure
		}
		words, sure = next, sure && surely
	}
	return nil, false
}

// replacement is the program that certainly or possibly takes the place of a monitor or shell; nil if none does.
func replacement(words []string) (program []string, sure bool) {
	if program := Monitored(words); program != nil {
		return program, false // busybox's timeout replaces itself, coreutils' does not
	}
	script, ok := ScriptOf(words)
	if !ok {
		return nil, false
	}
	switch script.Ending() {
	case Execs, Replaces:
		return script.Last(), true
	case MayReplace:
		return script.Last(), false
	}
	return nil, false
}

// NamesSystem reports whether a command line starts an init system by its path, or has one where an entrypoint takes the
// program that it starts: as its first argument, or behind "--". As another argument it may mean anything.
func NamesSystem(words []string) bool {
	for i, word := range words {
		if i > 1 && words[i-1] != "--" {
			continue
		}
		switch word {
		// /init is s6-overlay's, which refuses to run as anything but PID 1 (just-containers/s6-overlay#630).
		case "/sbin/init", "/usr/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd", "systemd", "/init":
			return true
		}
	}
	return false
}

// Started is what an Init starts: the words behind its flags, and whether it sends signals to the whole process group.
func Started(words []string) (program []string, group bool) {
	init := knownBy(words)
	if init.kind != Init {
		return nil, false
	}
	program = words[1:]
	if Name(words) == podinit {
		_, n, problem := options.Parse(options.Default(), program)
		if problem.Any() {
			return nil, false
		}
		return program[n:], false
	}
	group = len(init.alone) > 0
	for more := true; more; {
		program, more = init.flags.next(program, func(flag, _ string) {
			group = (group || flag == init.group) && !slices.Contains(init.alone, flag)
		})
	}
	return program, group
}

// Monitored is what a Monitor starts.
func Monitored(words []string) []string {
	monitor := knownBy(words)
	if monitor.kind != Monitor {
		return nil
	}
	return monitor.program(words[1:])
}

// program is the command line behind a wrapper's or monitor's own words.
func (k known) program(words []string) []string {
	splits := 0
	for more := true; more; {
		var text string
		var split bool
		words, more = k.flags.next(words, func(flag, value string) {
			if k.env && (flag == "S" || flag == "split-string") {
				text, split = value, true
			}
		})
		if !split {
			continue
		}
		parts, ok := splitString(text)
		if splits++; !ok || splits > maxDepth {
			return nil
		}
		// They may begin with flags. Of a long argv the first words decide: copying all of it each time would take seconds.
		words = slices.Concat(parts[:min(len(parts), maxWords)], words[:min(len(words), maxWords)])
	}
	if k.env {
		if len(words) > 0 && words[0] == "-" {
			words = words[1:]
		}
		for len(words) > 0 && strings.Contains(words[0], "=") {
			words = words[1:]
		}
	}
	return words[min(k.operands, len(words)):]
}
