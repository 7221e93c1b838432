package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
)

// reap collects every child that has ended. SIGCHLD is one bit, however many children it stands for (signal(7)), so it
// sweeps until there are no more, and only then is the end of a program acted upon.
func (c *container) reap() {
	// So many in a row, that a signal comes through between the children of a fork bomb. It is the usual pid_max
	// (proc(5)): a look at /proc for that signal costs more than reaping what would clutter it.
	const atMost = 1 << 15
	c.childless, c.moreToReap = false, false
	options := 0
	if c.terminal && c.pid != 1 {
		options = syscall.WUNTRACED // a shell above us waits for us to stop
	}
	for range atMost {
		pid, status, errno := kernel.Wait(options)
		switch {
		case errno == syscall.ECHILD:
			c.childless = true
			return
		case errno != 0:
			sayCannot("wait for processes (wait4)", errno)
			kernel.Exit(exitCannotRun)
		case pid == 0:
			return
		case status.Stopped():
			if pid == c.main {
				c.stopToo()
			}
			continue
		}
		c.reaped, c.reapedSince, c.lookDeferred = true, true, true
		switch {
		case pid == c.main:
			c.main = 0 // the number may be given to another process from here on
			c.mainHasEnded(status)
		case c.besideHasEnded(pid, status):
		case c.options.WarnOnReap || c.options.Verbosity > 1:
			sayReaped(pid, status)
		}
	}
	c.moreToReap = true
}

func (c *container) mainHasEnded(status syscall.WaitStatus) {
	if c.statusFile != 0 {
		kernel.Close(c.statusFile)
	}
	c.alive--
	c.oneEnded = true
	if c.forwardsGuessed && status.Signaled() && c.sent.Has(uint8(status.Signal())) {
		c.forwards = forwardsNothing // it had no handler
	}
	if alone := len(c.beside.All()) == 0; alone || c.isFailure(status) {
		c.decide(0, status)
	}
	if c.options.Verbosity > 0 {
		c.sayEnded(exitStatus(status))
	}
}

// decide makes the end of a program that of the container, unless another's has been before.
func (c *container) decide(program int, status syscall.WaitStatus) {
	if c.failed {
		return
	}
	c.failed, c.culprit, c.status = true, program, exitStatus(status)
	if status.Signaled() {
		c.diedOf, c.dumped = uint8(status.Signal()), status.CoreDump()
	}
}

// exitStatus is how a shell reports the end of a process.
func exitStatus(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// isFailure says whether a program has failed, and not only ended by a signal that it was sent.
func (c *container) isFailure(status syscall.WaitStatus) bool {
	if status.Signaled() {
		return !c.sent.Has(uint8(status.Signal()))
	}
	return status.ExitStatus() != 0
}

// exitCode is what the container ends with: the main process's code, as a shell reports it, after remapping.
func (c *container) exitCode() int {
	if c.options.RemapExitCodes.Has(uint8(c.status)) {
		return 0
	}
	return c.status
}
