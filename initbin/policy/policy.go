// Package policy decides who gets a signal, from what /proc says about a process. It is pure: text in, answer out.
//
// The aim is that the topmost processes that can handle a signal get it, each once. A process that handles it is left
// to tell its own children, since it may have reasons not to (PostgreSQL), or may do so itself (a supervisor).
package policy

import (
	"syscall"

	"github.com/podinit/podinit/initbin/proc"
)

// Answer says what to do with one process.
type Answer uint8

const (
	// Alone: signal it, and nobody below it.
	Alone Answer = iota
	// Both: signal it, and ask about each of its children.
	Both
	// Look: signal it, then look again and ask After.
	Look
	// Below: do not signal it, but ask about its children. If nobody there has a handler either, the topmost gets it.
	Below
	// Later: it is too early to tell; ask After again.
	Later
)

// Before decides about a process that has not been signalled yet.
func Before(s *proc.Status, name string, signal uint8) Answer {
	caught, ignored := s.Caught.Has(signal), s.Ignored.Has(signal)
	switch {
	case signal == uint8(syscall.SIGKILL) || signal == uint8(syscall.SIGSTOP):
		return Alone // only a rewrite gives these, and they mean the main process
	case (caught || ignored) && FromTerminal(signal) && IsShell(name):
		// A shell that waits for a child expects that the child gets it too, as it would from a terminal.
		return Both
	case caught:
		return Alone
	case ignored, ignoredByDefault(signal):
		return Both
	case stops(signal):
		// A shell that is stopped does not even die of SIGTERM any more, so nobody is stopped that need not be.
		return Below
	}
	return Look
}

// After decides about a process that has been signalled, though it did not catch the signal: p and s are read
// afterwards.
func After(p *proc.Process, s *proc.Status, signal uint8) Answer {
	switch {
	case p.Gone() || s.Pending.Has(uint8(syscall.SIGKILL)):
		// To end a process, the kernel queues SIGKILL for all its threads while it still queues the signal.
		return Both
	case dumps(signal):
		return Later // to write a core dump, it does not: the process has to run first, and ends by itself
	}
	// The default action would have ended it, and did not: it takes the signal with sigwait or signalfd.
	return Alone
}

// IsShell says whether a command name is that of a shell.
func IsShell(name string) bool {
	switch name {
	case "sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "busybox":
		return true
	}
	return false
}

// FromTerminal says whether a terminal sends this signal to its whole foreground group.
func FromTerminal(signal uint8) bool {
	switch syscall.Signal(signal) {
	case syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT:
		return true
	}
	return false
}

// ignoredByDefault, stops and dumps are the table "Standard signals" in signal(7).
func ignoredByDefault(signal uint8) bool {
	switch syscall.Signal(signal) {
	case syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGURG, syscall.SIGWINCH:
		return true
	}
	return false
}

func stops(signal uint8) bool {
	switch syscall.Signal(signal) {
	case syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU:
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
