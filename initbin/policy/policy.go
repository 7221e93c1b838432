// Package policy decides which processes get a signal, from facts that /proc shows about them. It does no I/O.
//
// The law is docs/init.md's: the outcome is never worse than the better of two, the program as PID 1 without an init,
// and tini. So a process that handles a signal gets it alone, since it may have reasons not to notify its children
// (PostgreSQL), or notifies them itself (a supervisor). A signal that does not ask to end goes only to processes that
// handle it, as the kernel drops signals that PID 1 does not handle (signal(7)).
package policy

import (
	"syscall"

	"github.com/podinit/podinit/initbin/proc"
)

// Facts are what is known about a process that a signal may be for.
type Facts struct {
	// Disposition is what the process does about the signal.
	proc.Disposition
	// Waits: the process waits for the signal with sigwait(3), which unblocks it meanwhile.
	Waits bool
	// Reaps: the process has one thread and waits for a child, so it takes no signal that it blocks.
	Reaps bool
	// Sandbox: the only child of the process is PID 1 of a PID namespace of its own (bwrap, unshare --fork).
	Sandbox bool
	// Shell is filled in when Before answers Ask.
	Shell Shell
}

// Shell is what is known about a process as a shell.
type Shell struct {
	Asked bool // the other fields are filled in
	Is    bool // the process is a shell
	Bash  bool // and bash
	// Interactive: the shell ignores SIGTERM because a user types its commands (bash -i), and not because of a trap.
	Interactive bool
	Script
}

// Answer is what to do with one process.
type Answer uint8

const (
	// Alone: send the signal to the process, and to none of its children.
	Alone Answer = iota
	// Both: send it, and decide about each of the children.
	Both
	// Look: send it, then read /proc again and call After.
	Look
	// Below: do not send it, but decide about each of the children.
	Below
	// Hold: send it, which changes nothing as the process ignores it, and not to its children as long as possible.
	Hold
	// Later: that cannot be known yet; call After again.
	Later
	// Within: the process is PID 1 of a PID namespace of its own and drops the signal; only its children can be reached.
	Within
	// Ask: fill in Facts.Shell and call Before again.
	Ask
)

// Before decides about a process that has not got the signal yet. ends: the signal asks to end.
func Before(f *Facts, signal uint8, ends bool) Answer {
	interrupt := ends && signal == uint8(syscall.SIGINT)
	switch {
	case signal == uint8(syscall.SIGKILL) || signal == uint8(syscall.SIGSTOP):
		return Alone // only a rewrite results in these, and it is meant for the main process
	case f.Caught && !interrupt:
		return Alone
	case f.Blocked && f.Reaps && !f.Caught:
		return Below
	case (f.Blocked || f.Waits) && !f.Caught:
		return Alone
	case f.Known && !f.Caught && (!ends || !f.Ignored):
		switch {
		case signal == uint8(syscall.SIGCONT), ends && IgnoredByDefault(signal):
			return Both // it continues what is stopped, or does nothing
		case !ends, f.Sandbox:
			return Below
		}
		return Look
	case !f.Shell.Asked:
		return Ask
	case f.Caught:
		// A shell catches SIGINT while it waits, and expects that its child gets it too, as it would from a terminal. With
		// a trap of its own it decides itself.
		if f.Shell.Is && !f.Shell.Traps {
			return Both
		}
		return Alone
	case f.Ignored:
		return ignored(&f.Shell, signal)
	}
	return unknown(f, signal, ends)
}

// ignored decides about a process that ignores a signal which asks to end. A process that does so on purpose protects
// what it runs.
func ignored(shell *Shell, signal uint8) Answer {
	switch {
	case !shell.Is:
		return Hold
	case shell.Interactive || shell.Watchdog:
		return Both
	case (signal == uint8(syscall.SIGQUIT) || signal == uint8(syscall.SIGINT)) && !shell.Traps:
		// bash and busybox always ignore SIGQUIT (bash(1), "SIGNALS"), and a subshell in the background ignores both
		// (POSIX.1-2017, XCU 2.11).
		return Both
	}
	return Hold
}

// unknown decides where the kernel does not show what a process does about signals.
func unknown(f *Facts, signal uint8, ends bool) Answer {
	shell := &f.Shell
	switch {
	case ends && f.Sandbox:
		return Below
	case shell.Traps && (shell.Names || ends):
		return Alone
	case ends && shell.Is && signal == uint8(syscall.SIGINT) && !shell.Traps:
		return Both
	case ends:
		return Look
	case shell.Is && !(shell.Bash && signal == uint8(syscall.SIGQUIT)):
		return Below
	}
	return Alone
}

// After decides about a process that has got the signal, though it does not catch it: p and does are read afterwards.
// nested: it is PID 1 of a PID namespace of its own, and does not wait for the signal.
func After(p *proc.Process, does proc.Disposition, nested bool, signal uint8) Answer {
	switch {
	case p.Ending():
		return Both
	case nested:
		return Within
	case dumps(signal), !does.Known:
		return Later // before a core dump it does not: the process has to run first, and ends by itself
	}
	// The default action would have ended it, and did not: it takes the signal with sigwait or signalfd.
	return Alone
}

// ShellKind is the kind of shell that a program is.
type ShellKind uint8

// The kinds of ShellKind. The zero value stands for other programs.
const (
	OtherShell ShellKind = iota + 1
	Bash                 // it always ignores SIGQUIT (bash(1), "SIGNALS")
)

// ShellOf is the kind of shell with that name.
func ShellOf(name string) ShellKind {
	switch name {
	case "bash":
		return Bash
	case "sh", "dash", "ash", "ksh", "ksh93", "mksh", "zsh":
		return OtherShell
	}
	return 0
}

// Applets reports whether a program of that name has many programs in it, a shell among them: its first argument, or the
// name that it is called by, selects one.
func Applets(name string) bool { return name == "busybox" || name == "toybox" }

// IsInit reports whether a program's name is that of an init that takes every signal with sigwait or signalfd.
func IsInit(name string) bool {
	switch name {
	case "tini", "tini-static", "docker-init", "dumb-init", "catatonit":
		return true
	}
	return false
}

// IgnoredByDefault reports whether a signal does nothing to a process without a handler. This and dumps are the table
// "Standard signals" in signal(7).
func IgnoredByDefault(signal uint8) bool {
	switch syscall.Signal(signal) {
	case syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGURG, syscall.SIGWINCH:
		return true
	}
	return false
}

func dumps(signal uint8) bool {
	switch syscall.Signal(signal) {
	case syscall.SIGQUIT, syscall.SIGILL, syscall.SIGTRAP, syscall.SIGABRT, syscall.SIGBUS, syscall.SIGFPE,
		syscall.SIGSEGV, syscall.SIGXCPU, syscall.SIGXFSZ, syscall.SIGSYS:
		return true
	}
	return false
}
