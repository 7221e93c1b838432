package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
)

// killPatience is how long killed processes may take to go. One that hangs in the kernel does not keep the container.
const killPatience = 500e6

// drain moves on with the end of the container: once the main process has ended the rest is told, awaited, and at the
// deadline killed.
func (c *container) drain() {
	if !c.mainEnded || c.childless {
		return
	}
	now := kernel.Now()
	if !c.restTold && (c.stopping || !c.options.WaitAll) {
		c.restTold = true
		limit := c.options.Grace
		if !c.stopping {
			limit = c.options.Linger
			c.since = now
			c.deadline = now + int64(limit)
		}
		c.tellRest()
		if limit == 0 {
			c.abandoned = true // as tini and dumb-init: they are told, and nobody is waited for
			return
		}
	}
	if c.deadline == 0 || now < c.deadline {
		return
	}
	if c.killed {
		c.abandoned = true
		return
	}
	c.killed = true
	c.reportEnd(now)
	c.killRest()
	c.deadline = now + killPatience
}

// patience is how long to wait for the next signal, in nanoseconds; negative is for ever.
func (c *container) patience() int64 {
	if !c.mainEnded || c.deadline == 0 {
		return -1
	}
	return max(0, c.deadline-kernel.Now())
}

// over says whether the container has ended.
func (c *container) over() bool { return c.mainEnded && (c.childless || c.abandoned) }

// rounds bounds how often we look for processes that were being forked while we looked.
const rounds = 8

// tellRest sends SIGTERM to every process that is left and has not been told yet.
func (c *container) tellRest() {
	for range rounds {
		if !c.processes.scan() {
			c.signalUnseen(syscall.SIGTERM)
			return
		}
		fresh := false
		for i := range c.processes.all() {
			p := &c.processes.all()[i]
			if p.Gone() || !c.processes.below(p, int32(c.pid)) || c.told.has(p) {
				continue
			}
			kernel.Kill(int(p.PID), uint8(syscall.SIGTERM))
			c.told.add(p)
			fresh = true
		}
		if !fresh {
			return
		}
	}
}

// killRest ends every process that is left.
func (c *container) killRest() {
	if c.pid == 1 {
		kernel.Kill(-1, uint8(syscall.SIGKILL)) // at once, so that nothing can fork away
		return
	}
	for range rounds {
		if !c.processes.scan() {
			c.signalUnseen(syscall.SIGKILL)
			return
		}
		alive := false
		for i := range c.processes.all() {
			p := &c.processes.all()[i]
			if !p.Gone() && c.processes.below(p, int32(c.pid)) {
				kernel.Kill(int(p.PID), uint8(syscall.SIGKILL))
				alive = true
			}
		}
		if !alive {
			return
		}
	}
}

// signalUnseen signals what can be reached without /proc. kill(-1) is for PID 1 alone: in a shared PID namespace it
// reaches other containers, and outside one the whole machine.
func (c *container) signalUnseen(signal syscall.Signal) {
	if c.pid == 1 {
		kernel.Kill(-1, uint8(signal))
		return
	}
	kernel.Kill(-c.group, uint8(signal))
}
