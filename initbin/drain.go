package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/initbin/proc"
)

// killPatience is how long killed processes may take to go. One that hangs in the kernel does not keep the container.
const killPatience = 500e6

// holdAtMost is how long what a program has left behind is not notified, where the program may have done so itself
// before it ended.
const holdAtMost = 3e9

// drain moves on with the end of the container. While programs live they are left alone, and at most those that a shell
// waits for are notified, when the time is nearly over. When the programs have ended, what is left is notified, awaited,
// and at the deadline killed.
func (c *container) drain() {
	now := kernel.Now()
	c.deliverDeferred(now)
	if !c.oneEnded && !c.stopping {
		return
	}
	if c.alive > 0 && !c.stopping && !c.ending {
		c.endAll()
	}
	if c.alive == 0 && !c.childless && (c.stopping || c.ending || !c.options.WaitAll) {
		c.drainRest(now)
		if c.abandoned {
			return
		}
	}
	if c.late != 0 && now >= c.late {
		c.late = 0
		c.escalate(false)
		if c.restNotified {
			c.notifyRest(now)
		}
	}
	if c.deadline == 0 || now < c.deadline || c.alive == 0 && c.childless {
		return
	}
	switch {
	case c.alive > 0 && !c.ending:
		// Only the platform knows when time is really up, and it may wait longer.
		if !c.overdue {
			c.overdue = true
			if c.deadline != c.since { // under tini's name there is no deadline to miss
				c.reportEnd(now)
				c.escalate(true)
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

// drainRest notifies what the programs have left behind: when they have ended, and again when more has come to us.
func (c *container) drainRest(now int64) {
	if !c.restNotified {
		c.restNotified, c.reaped = true, true
		if !c.stopping && !c.ending {
			c.begin(now, c.options.Linger, c.options.Linger)
			c.stopSignal = uint8(syscall.SIGTERM)
		}
		if c.overdue && c.waitsForRest() {
			// The program has outlived the deadline. The rest hears of it only now, and may at least begin to end.
			c.deadline, c.late = now+killPatience, 0
		}
	}
	if c.reaped && now >= c.nextNotify || c.holdUntil != 0 && now >= c.holdUntil {
		c.reaped = false
		c.holdUntil = 0
		c.notifyRest(now)
		// A look at thousands of processes takes its time, and thousands of them may end one by one.
		c.nextNotify = now + 10*(kernel.Now()-now)
	}
	if !c.waitsForRest() && !c.leaving {
		// As tini and dumb-init: nobody is waited for, but the relay, which may still hold what the programs said.
		c.leaving, c.deadline = true, now+killPatience
	}
	if c.leaving && c.relay == 0 {
		c.abandoned = true
	}
}

// waitsForRest says whether what is left is waited for.
func (c *container) waitsForRest() bool { return c.deadline != c.since && !c.leaving }

// heldUntil is until when a process that is left and handles SIGTERM is not sent it, since the program that it comes
// from may have notified it before it ended: a second notification makes programs drop what they still do.
func (c *container) heldUntil(p *proc.Process, now int64) int64 {
	if !c.waitsForRest() || c.overdue || !c.stopping && c.forwarded < c.since-holdAtMost {
		return 0
	}
	switch c.forwards {
	case forwardsSurely:
		return c.last // in case that it was not for this one
	case forwardsMaybe:
		c.held.add(p)
		when, ok := c.held.when(p)
		if !ok {
			return 0
		}
		const tick = 1e7
		return min(c.late, now-int64(kernel.BootTicks()-when.ticks)*tick+min(holdAtMost, (c.deadline-c.since)/4))
	}
	return 0
}

// begin sets the times of a drain: when what is left is killed, and what time there is in all.
func (c *container) begin(now int64, limit, whole options.Duration) {
	c.since, c.sinceTicks = now, kernel.BootTicks()
	c.deadline = now + int64(limit)
	c.late, c.last = 0, 0
	if limit > 0 { // else nobody is waited for
		c.late = now + int64(whole.Late())
		c.last = (c.late + c.deadline) / 2
	}
}

// endAll stops all programs because one of them has ended by itself: with what they get when the platform stops them.
func (c *container) endAll() {
	c.ending = true
	c.begin(kernel.Now(), c.options.Linger, c.options.Linger)
	stop := options.Signal(syscall.SIGTERM)
	if c.options.StopSignal != 0 {
		stop = c.options.StopSignal
	}
	c.stopSignal = uint8(c.options.Outgoing(stop))
	if c.stopSignal == 0 {
		c.stopSignal = uint8(syscall.SIGTERM) // dropped from outside, but they have to end
	}
	c.send(delivery{signal: c.stopSignal, ends: true})
}

// escalate notifies those for whom only SIGKILL is left otherwise, when the time is nearly over: the children of a
// shell that waits for them before it runs its trap (bash(1), "SIGNALS"), as far as its trap cannot have notified them;
// and the children of those that ignore the signal. finally says that no time is left at all. With the main process or
// its group as signal target, only --escalate=all does this.
func (c *container) escalate(finally bool) {
	chosen := c.options.SignalTarget == options.Main || c.options.SignalTarget == options.Group
	if chosen && !c.options.EscalateAll || !c.scan() {
		return
	}
	c.looks = 0
	d := delivery{signal: c.stopSignal, ends: true, last: true, now: finally}
	c.queue.Clear()
	all := c.processes.all()
	for i := range all {
		p := &all[i]
		if !c.isLeft(p) {
			continue
		}
		if c.options.EscalateAll {
			if !c.notified.has(p) {
				c.deliver(p, d)
			}
			continue
		}
		if p.Child == 0 {
			continue
		}
		when, ok := c.notified.when(p)
		if !ok {
			when = moment{ticks: c.sinceTicks} // another may have notified it
		}
		switch does := c.does(p, d.signal); {
		case does.Ignored && !does.Caught:
			c.queueChildren(p, d, false)
		case does.Caught || !does.Known:
			if shell := c.shell(p, d.signal); shell.Is {
				c.queueAwaited(p, when, shell.Kills, d)
			}
		}
	}
	if finally {
		// What has no handler loses nothing now, and the shell that waits for it may still run its trap.
		c.queueDeferred()
	}
	c.work(d)
}

// queueAwaited asks about the children that a shell had when it was notified. Those that have started since are its trap
// at work. Those that handle the signal may have it from the shell already, if that sends signals; the others would not
// live any more.
func (c *container) queueAwaited(shell *proc.Process, when moment, kills bool, d delivery) {
	all := c.processes.all()
	for at := shell.Child; at != 0; at = all[at-1].Sibling {
		p := &all[at-1]
		if !when.before(p) && !p.Gone() && !c.notified.has(p) && int(p.PID) != c.relay && !(kills && c.handles(p, d.signal)) {
			c.enqueue(p)
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
	if c.late != 0 {
		next = min(next, c.late)
	}
	if c.restNotified && c.reaped {
		next = min(next, c.nextNotify)
	}
	if c.restNotified && c.holdUntil != 0 {
		next = min(next, c.holdUntil)
	}
	if len(c.deferred.All()) > 0 {
		switch {
		case c.settleAt != 0:
			next = min(next, c.settleAt)
		case c.lookDeferred:
			next = min(next, c.nextDeferred)
		}
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

// notifyRest sends SIGTERM to the topmost processes that are left and have not been notified yet. Those that have been,
// and live, are left to end what is below them (PostgreSQL its backends, nginx its workers); what the dead leave behind
// comes to us, and is notified then.
func (c *container) notifyRest(now int64) {
	if c.options.AtEnd == options.TellNobody && !c.waitsForRest() {
		return
	}
	d := delivery{signal: uint8(syscall.SIGTERM), ends: true, last: c.late == 0 && c.waitsForRest()}
	if c.options.AtEnd == options.TellGroup && !c.waitsForRest() {
		c.sendToGroup(0, c.group, d)
		return
	}
	// Without /proc, or where that hides other users' processes (proc(5), hidepid), all get it or none.
	if !c.scan() || c.pid == 1 && !c.unseenNotified && !c.seesChild() {
		if until := c.heldUntil(&proc.Process{}, now); now < until {
			c.holdUntil = until
		} else if !c.unseenNotified {
			c.unseenNotified = true
			c.signalUnseen(d)
		}
		return
	}
	c.looks = 0
	c.queue.Clear()
	if !c.waitsForRest() {
		d.now = true
		c.queueChildren(c.processes.root(c.pid), d, false)
	} else {
		c.queueRest(d, now)
	}
	c.work(d)
}

// queueRest asks about the topmost processes that are left. Those that handle SIGTERM wait for the end of the hold, and
// those that do not for the others, and a moment for their own end.
func (c *container) queueRest(d delivery, now int64) {
	root := c.processes.root(c.pid)
	if root == nil {
		return
	}
	handlers := c.markHandlers(d.signal)
	all := c.processes.all()
	for at := root.Child; at != 0; at = all[at-1].Sibling {
		switch p := &all[at-1]; {
		case !c.isLeft(p) || c.notified.has(p):
		case !p.Handles:
			c.deferDelivery(p, d)
		default:
			if until := c.heldUntil(p, now); now < until {
				if c.holdUntil == 0 || until < c.holdUntil {
					c.holdUntil = until
				}
			} else {
				c.enqueue(p)
			}
		}
	}
	if handlers == 0 && len(c.deferred.All()) > 0 {
		c.settleAt = now + settle
	}
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
	c.sent = c.sent.With(uint8(syscall.SIGKILL))
	if c.pid == 1 && c.relay == 0 {
		kernel.Kill(-1, uint8(syscall.SIGKILL)) // at once, so that nothing can fork away
		return
	}
	for range rounds {
		if !c.scan() {
			c.signalUnseen(delivery{signal: uint8(syscall.SIGKILL)})
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
func (c *container) signalUnseen(d delivery) {
	if c.pid == 1 {
		kernel.Kill(-1, d.signal)
		return
	}
	c.sendToGroups(d)
}
