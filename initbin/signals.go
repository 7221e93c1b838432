package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/options"
)

// receive does with a signal what the container owes it.
func (c *container) receive(info kernel.Info) {
	if !forwardable(info, c.pid) {
		return
	}
	signal := c.options.Rewrites.Of(options.Signal(info.Signal))
	if signal == 0 {
		return
	}
	if c.isStop(info.Signal) && !c.stopping {
		c.stopping = true
		c.since = kernel.Now()
		c.deadline = c.since + int64(c.options.Deadline())
	}
	if c.main != 0 {
		// EPERM (the main process changed its user and we lack CAP_KILL) and ESRCH are nothing to end a container for.
		kernel.Kill(c.main, uint8(signal))
		c.passed = c.passed.With(uint8(signal))
	}
}

// isStop says whether a signal asks the container to end.
func (c *container) isStop(signal uint8) bool {
	return signal == uint8(syscall.SIGTERM) || signal == uint8(c.options.StopSignal)
}

// forwardable says whether somebody meant this signal for the container.
func forwardable(info kernel.Info, self int) bool {
	byProcess := info.Code <= 0
	switch syscall.Signal(info.Signal) {
	case syscall.SIGCHLD:
		return false // our own news
	case syscall.SIGPIPE:
		return !(byProcess && info.PID == self || !byProcess) // our own write to a broken pipe
	case syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGTRAP, syscall.SIGSYS,
		syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGTSTP:
		return byProcess // from the kernel they are about us, not about the container
	}
	return true
}
