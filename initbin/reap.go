package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
)

// children is what the init knows about its children after it has reaped those that exited.
type children uint8

const (
	someChildren children = iota // all that are left live
	moreChildren                 // more may have ended
	noChildren
)

// reap collects every child that has ended. SIGCHLD is one bit, however many children it stands for (signal(7)), so it
// sweeps until there are no more, and only then does the init act on the end of a program.
func (c *container) reap() {
	// A bound, so that signals are handled between the children of a fork bomb. It is the usual pid_max (proc(5)): for a
	// signal, reading /proc costs more than reaping these processes before.
	const most = 1 << 15
	c.children = someChildren
	options := 0
	if c.terminal {
		options = syscall.WUNTRACED // see mainHasStopped
	}
	for range most {
		pid, status, errno := kernel.Wait(options)
		switch {
		case errno == syscall.ECHILD:
			c.children = noChildren
			return
		case errno != 0:
			logCannot("wait for processes (wait4)", errno)
			kernel.Exit(exitCannotRun)
		case pid == 0:
			return
		case status.Stopped():
			if pid == c.programs.main().pid {
				c.mainHasStopped(status)
			}
			continue
		}
		c.reaped++
		at, isProgram := c.programs.started(pid)
		switch {
		case isProgram:
			c.programHasEnded(at, status)
		case pid == c.programs.relay:
			c.programs.relay = 0
		case c.options.WarnOnReap || c.options.Verbosity > 1:
			logReaped(pid, status)
		}
	}
	c.children = moreChildren
}

func (c *container) programHasEnded(at int, status syscall.WaitStatus) {
	failed := c.isFailure(status)
	byItself := c.phase == running
	c.programs.all()[at].pid = 0 // the number may be given to another process from here on
	c.programs.alive--
	c.programs.ended++
	if byItself && c.programs.ended == 1 {
		c.programs.endedFirst = at
	}
	if failed || !c.programs.several() {
		c.decide(at, status)
	}
	switch {
	case at == 0:
		if c.programs.mainStatus != 0 {
			kernel.Close(c.programs.mainStatus)
		}
		if c.forwards.guessed && status.Signaled() && c.sent.Has(uint8(status.Signal())) {
			c.forwards.expected = forwardsNothing // it had no handler
		}
		if c.options.Verbosity > 0 {
			c.logEnded(exitStatus(status))
		}
	case byItself || failed:
		logProcfileEnded(c.programs.name(at), status, byItself && c.programs.alive > 0)
	}
}

// outcome is how the container ends.
type outcome struct {
	decided bool  // by a program that has failed, or by the main process where there is no other
	program int   // its position
	status  int   // how it has ended, as a shell reports it
	signal  uint8 // the signal that killed it, 0 if it exited
	dumped  bool  // it left a core dump
}

// decide makes the end of a program the outcome of the container, unless another has decided it before.
func (c *container) decide(at int, status syscall.WaitStatus) {
	if c.outcome.decided {
		return
	}
	c.outcome = outcome{decided: true, program: at, status: exitStatus(status)}
	if status.Signaled() {
		c.outcome.signal, c.outcome.dumped = uint8(status.Signal()), status.CoreDump()
	}
}

// exitStatus is the end of a process as a shell reports it.
func exitStatus(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// isFailure reports whether a program has failed: not with 0, nor by a signal that the init has sent.
func (c *container) isFailure(status syscall.WaitStatus) bool {
	if status.Signaled() {
		return !c.sent.Has(uint8(status.Signal()))
	}
	return status.ExitStatus() != 0
}

// exitCode is the exit code of the init: that of the program that decided the outcome, after remapping.
func (c *container) exitCode() int {
	if c.options.RemapExitCodes.Has(uint8(c.outcome.status)) {
		return 0
	}
	return c.outcome.status
}
