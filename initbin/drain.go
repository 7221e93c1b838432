package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/initbin/policy"
)

// killPatience is how long killed processes may take to go. One that hangs in the kernel does not keep the container.
const killPatience = 500e6

// drain moves on with the end of the container. While programs live they are left alone, and at most the children of
// shells are told what those were told; once they have ended the rest is told, awaited, and at the deadline killed.
func (c *container) drain() {
	if !c.oneEnded && !c.stopping {
		return
	}
	if c.alive > 0 && !c.stopping && !c.ending {
		c.endAll()
	}
	now := kernel.Now()
	if c.alive == 0 && !c.childless && (c.stopping || c.ending || !c.options.WaitAll) {
		if !c.restTold && !c.stopping && !c.ending {
			c.begin(now, c.options.Linger)
			c.stopSignal = uint8(syscall.SIGTERM)
		}
		if !c.restTold || c.reaped && now >= c.nextTell {
			if !c.restTold && c.overdue && c.deadline != c.since {
				// The program has outlived the deadline. The rest hears of it only now, and may at least begin to end.
				c.deadline = now + killPatience
			}
			c.restTold, c.reaped = true, false
			switch waits := c.deadline != c.since; {
			case waits || c.options.AtEnd == options.TellRest:
				c.tellRest()
			case c.options.AtEnd == options.TellGroup:
				c.tellGroup()
			}
			// A look at thousands of processes takes its time, and thousands of them may end one by one.
			c.nextTell = now + 10*(kernel.Now()-now)
		}
		if c.deadline == c.since {
			// As tini and dumb-init: nobody is waited for, but the relay, which may still hold what the programs said.
			c.leaving, c.deadline = true, now+killPatience
		}
		if c.leaving && c.relay == 0 {
			c.abandoned = true
			return
		}
	}
	if c.halfway != 0 && now >= c.halfway {
		c.halfway = 0
		c.escalate()
		if c.restTold {
			c.tellRest()
		}
	}
	if c.deadline == 0 || now < c.deadline || c.alive == 0 && c.childless {
		return
	}
	switch {
	case c.alive > 0 && !c.ending:
		// Only the platform knows when time is really up, and it may have been told to wait longer.
		if !c.overdue {
			c.overdue = true
			if c.deadline != c.since { // under tini's name there is no deadline to miss
				c.reportEnd(now)
			}
		}
	case c.leaving:
		c.abandoned = true
	case !c.killed:
		c.overdue, c.killed = true, true
		c.reportEnd(now)
		c.killRest()
		c.deadline = now + killPatience
	default:
		c.abandoned = true
	}
}

// begin sets the times of a drain that may last so long.
func (c *container) begin(now int64, limit options.Duration) {
	c.since = now
	c.deadline = now + int64(limit)
	c.halfway = 0
	if limit > 0 { // else there is no half of it: nobody is waited for
		c.halfway = now + int64(limit)/2
	}
}

// endAll stops all programs because one of them has ended by itself: with what they get when the platform stops them.
func (c *container) endAll() {
	c.ending = true
	c.begin(kernel.Now(), c.options.Linger)
	stop := options.Signal(syscall.SIGTERM)
	if c.options.StopSignal != 0 {
		stop = c.options.StopSignal
	}
	c.stopSignal = uint8(c.options.Outgoing(stop))
	if c.stopSignal == 0 {
		c.stopSignal = uint8(syscall.SIGTERM) // dropped from outside, but they have to end
	}
	c.tell(c.stopSignal)
}

// escalate tells those whom a shell keeps waiting: bash runs its trap only when its foreground child has ended (bash(1),
// "SIGNALS"), so neither would ever end. Who has chosen the main process or its group has chosen who is told.
func (c *container) escalate() {
	chosen := c.options.SignalTarget == options.Main || c.options.SignalTarget == options.Group
	if chosen && !c.options.EscalateAll || !c.scan() {
		return
	}
	c.telling, c.untoldOnly = true, true
	c.queue.Clear()
	all := c.processes.all()
	for i := range all {
		p := &all[i]
		switch {
		case !c.isLeft(p):
		case c.options.EscalateAll:
			if !c.told.has(p) {
				c.hand(p.PID, c.stopSignal)
			}
		case policy.IsShell(p.Name()):
			if when, told := c.told.when(p); told {
				c.queueChildrenBefore(p.PID, when)
			}
		}
	}
	c.work(c.stopSignal)
	c.telling, c.untoldOnly = false, false
}

// queueChildrenBefore asks about the children that a shell had when it was told. Those that have started since are its
// trap at work.
func (c *container) queueChildrenBefore(parent int32, when moment) {
	all := c.processes.all()
	for i := range all {
		p := &all[i]
		if p.Parent == parent && !when.before(p) && !p.Gone() && !c.told.has(p) && int(p.PID) != c.relay {
			c.enqueue(p.PID)
		}
	}
}

// patience is how long to wait for the next signal, in nanoseconds; negative is for ever.
func (c *container) patience() int64 {
	if c.moreToReap {
		return 0
	}
	const never = 1<<63 - 1
	next := int64(never)
	if c.deadline != 0 && (c.alive == 0 || !c.overdue || c.killed) {
		next = c.deadline
	}
	if c.halfway != 0 {
		next = min(next, c.halfway)
	}
	if c.restTold && c.reaped {
		next = min(next, c.nextTell)
	}
	for i := range c.watches.All() {
		next = min(next, c.watches.All()[i].next)
	}
	if next == never {
		return -1
	}
	return max(0, next-kernel.Now())
}

// over says whether the container has ended.
func (c *container) over() bool { return c.abandoned || c.alive == 0 && c.childless }

// tellRest sends SIGTERM to the topmost processes that are left and have not been told yet. Who has been told, and
// lives, is left to end what is below (PostgreSQL its backends, nginx its workers); what the dead leave behind comes to
// us, and is told then.
func (c *container) tellRest() {
	if !c.scan() {
		if !c.unseenTold {
			c.unseenTold = true
			c.signalUnseen(uint8(syscall.SIGTERM))
		}
		return
	}
	if c.pid == 1 && !c.unseenTold && !c.seesChild() {
		// There is one, or wait4 would have said so: /proc hides other users' processes (proc(5), hidepid).
		c.unseenTold = true
		c.signalUnseen(uint8(syscall.SIGTERM))
		return
	}
	c.telling, c.untoldOnly = true, true
	c.queue.Clear()
	c.queueChildren(int32(c.pid), false)
	c.work(uint8(syscall.SIGTERM))
	c.telling, c.untoldOnly = false, false
}

// tellGroup sends SIGTERM to what is left of the main process's group.
func (c *container) tellGroup() {
	c.telling = true
	c.passToGroup(0, c.group, uint8(syscall.SIGTERM))
	c.telling = false
}

// seesChild says whether any child of ours is in the snapshot, ended or not.
func (c *container) seesChild() bool {
	all := c.processes.all()
	for i := range all {
		if int(all[i].Parent) == c.pid {
			return true
		}
	}
	return false
}

// killRest ends every process that is left.
func (c *container) killRest() {
	const rounds = 8 // for processes that were being forked while we looked
	c.passed = c.passed.With(uint8(syscall.SIGKILL))
	if c.pid == 1 && c.relay == 0 {
		kernel.Kill(-1, uint8(syscall.SIGKILL)) // at once, so that nothing can fork away
		return
	}
	for range rounds {
		if !c.scan() {
			c.signalUnseen(uint8(syscall.SIGKILL))
			return
		}
		alive := false
		all := c.processes.all()
		for i := range all {
			p := &all[i]
			if c.isLeft(p) {
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
func (c *container) signalUnseen(signal uint8) {
	if c.pid == 1 {
		kernel.Kill(-1, signal)
		return
	}
	c.passToGroups(signal)
}
