package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
)

// reap collects every child that has ended. SIGCHLD is one bit, however many children it stands for (signal(7)), so it
// sweeps until there are no more, and only then is the main process's end acted upon.
func (c *container) reap() {
	c.childless = false
	options := 0
	if c.terminal && c.pid != 1 {
		options = syscall.WUNTRACED // a shell above us waits for us to stop
	}
	for {
		pid, status, errno := kernel.Wait(options)
		switch {
		case errno == syscall.ECHILD:
			c.childless = true
			return
		case errno != 0 || pid == 0:
			return
		case pid != c.main:
			if c.options.WarnOnReap || c.options.Verbosity > 1 {
				sayReaped(pid, status)
			}
			continue
		case status.Exited():
			c.status = status.ExitStatus()
		case status.Signaled():
			c.status = 128 + int(status.Signal())
			c.diedOf, c.dumped = uint8(status.Signal()), status.CoreDump()
		case status.Stopped():
			c.stopToo()
			continue
		default:
			continue
		}
		c.main, c.mainEnded = 0, true // the number may be given to another process from here on
		if c.options.Verbosity > 0 {
			c.sayEnded()
		}
	}
}

// exitCode is what the container ends with: the main process's code, as a shell reports it, after remapping.
func (c *container) exitCode() int {
	if c.options.RemapExitCodes.Has(uint8(c.status)) {
		return 0
	}
	return c.status
}
