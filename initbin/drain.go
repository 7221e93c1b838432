package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/initbin/proc"
)

// phase is how far the container is on its way to the end.
//
//	running    at the stop signal stopping; when one of several programs has ended ending, when all have lingering
//	stopping   at the deadline overdue; when all programs have ended lingering
//	overdue    when all programs have ended lingering
//	ending     at the deadline killing; when all programs have ended lingering
//	lingering  at the deadline killing; leaving if there is no time to wait
type phase uint8

const (
	// running: no stop signal has come and no program has ended. With --wait=all the main process may have.
	running phase = iota
	// stopping: the stop signal has come, and a program is still running.
	stopping
	// overdue: the same after the deadline. Nothing is killed, as only the platform knows when time is really up.
	overdue
	// ending: of several programs one has ended by itself, and the init stops the others.
	ending
	// lingering: every program has ended. The remaining processes have been notified, and the init waits for them.
	lingering
	// killing: the deadline has passed. The remaining processes have been killed, and have killPatience to end.
	killing
	// leaving: every program has ended, and the init waits only for the relay, for killPatience.
	// In this phase and the one before, a relay that is busy has relayPatience.
	leaving
)

// drainState is the phase, and its times on the clock of kernel.Now, where 0 is never.
type drainState struct {
	phase      phase
	asked      bool   // the stop signal has come
	stopSignal uint8  // what the programs were sent for it, or when one of them exited
	since      int64  // when the drain began: at the stop signal, or when a program ended by itself
	sinceTicks uint32 // the same as BootTicks has it
	late       int64  // when the time is nearly over
	last       int64  // when it is nearly over for processes that another process has most likely notified
	deadline   int64  // when it is over
	extensions uint8  // by how many relaySteps the deadline has been put off

	notifyReaped uint32 // container.reaped when remaining processes were last notified
	notifyAfter  int64  // when that may be repeated, as processes have been reaped since
	holdUntil    int64  // until when remaining processes that handle SIGTERM are not sent it
}

// killPatience is how long killed processes may take to end: one that hangs in the kernel does not keep the container.
const killPatience = 500e6

// relayPatience is how long a relay may take that still writes what programs have said, where killPatience is over: on a busy node
// the container's output is read late. The init looks after each relayStep.
const (
	relayPatience = 10e9
	relayStep     = 50e6
)

// unseen is a process ID that stands for all processes where none can be seen.
const unseen = -1

// maxHold is how long remaining processes are not notified that their program may have notified before it ended.
const maxHold = 3e9

// drain moves the container towards its end. While programs live, at most the processes that a shell waits for are
// notified, when the time is nearly over. When the programs have ended, the remaining processes are notified, waited
// for, and killed at the deadline.
func (c *container) drain() {
	now := kernel.Now()
	c.deliverDeferred(now)
	if c.over() {
		return
	}
	c.advance(now)
	if c.phase == running {
		return
	}
	if c.mayNotify(now) {
		c.notifyReaped = c.reaped
		c.holdUntil = c.notifyRemaining(now)
		// A look at thousands of processes takes its time, and thousands of them may end one by one.
		c.notifyAfter = now + 10*(kernel.Now()-now)
	}
	if c.late != 0 && now >= c.late {
		c.late = 0
		c.escalate(false)
		if c.phase == lingering {
			c.holdUntil = c.notifyRemaining(now)
		}
	}
	if now >= c.deadline {
		c.deadlinePassed(now)
	}
}

// advance goes to the next phase when a program has ended, or all have.
func (c *container) advance(now int64) {
	switch {
	case c.phase >= lingering:
	case c.programs.alive > 0:
		if c.phase == running && c.programs.ended > 0 {
			c.stopOthers()
		}
	case c.phase == running && c.options.WaitAll:
	default:
		if c.phase == running {
			c.begin(now, c.options.Linger, c.options.Linger)
			c.stopSignal = sigTERM
		}
		if c.phase == overdue && c.deadline != c.since {
			// The remaining processes are notified only now, and have a moment to begin their end.
			c.deadline, c.late, c.last = now+killPatience, 0, 0
		}
		c.phase = lingering
	}
	if c.phase == lingering && c.deadline == c.since { // as under tini's and dumb-init's names
		c.phase, c.deadline = leaving, now+killPatience
	}
}

// deadlinePassed goes to the phase that follows the deadline.
func (c *container) deadlinePassed(now int64) {
	switch c.phase {
	case stopping:
		c.phase = overdue
		if c.deadline != c.since { // under tini's name there is no deadline to miss
			c.reportEnd(now)
			c.escalate(true)
		}
	case ending, lingering:
		c.phase = killing
		c.reportEnd(now)
		c.killRemaining()
		c.deadline = now + killPatience
	case killing, leaving:
		c.deadline = now + relayStep
		c.extensions++
	}
}

// over reports whether the container has ended.
func (c *container) over() bool {
	switch {
	case c.programs.alive == 0 && c.children == noChildren:
		return true
	case c.phase == leaving && c.programs.relay == 0:
		return true
	case c.phase == leaving, c.phase == killing:
		return kernel.Now() >= c.deadline && (c.extensions >= relayPatience/relayStep || !c.programs.relayIsBusy())
	}
	return false
}

// mayNotify reports whether it is time to notify remaining processes: after the programs have ended, when others may
// have come to the init, and when a hold is over.
func (c *container) mayNotify(now int64) bool {
	if c.phase != lingering && c.phase != leaving {
		return false
	}
	return c.notifyReaped != c.reaped && now >= c.notifyAfter || c.holdUntil != 0 && now >= c.holdUntil
}

// patience is how long to wait for the next signal, in nanoseconds; negative is for ever.
func (c *container) patience() int64 {
	if c.children == moreChildren {
		return 0
	}
	const never = 1<<63 - 1
	next := int64(never)
	if c.phase != running && c.phase != overdue {
		next = c.deadline
	}
	if c.late != 0 {
		next = min(next, c.late)
	}
	if c.phase == lingering || c.phase == leaving {
		if c.notifyReaped != c.reaped {
			next = min(next, c.notifyAfter)
		}
		if c.holdUntil != 0 {
			next = min(next, c.holdUntil)
		}
	}
	if len(c.deferred.All()) > 0 {
		switch {
		case c.deferred.settleAt != 0:
			next = min(next, c.deferred.settleAt)
		case c.deferred.reaped != c.reaped:
			next = min(next, c.deferred.lookAfter)
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

// stopRequested begins the drain for the platform's stop signal, of which the programs are sent signal.
func (c *container) stopRequested(signal uint8) {
	c.asked, c.stopSignal = true, signal
	switch c.phase {
	case running:
		c.phase = stopping
	case killing, leaving:
		return // all is decided
	}
	c.begin(kernel.Now(), c.options.Deadline(), c.options.Grace)
}

// begin sets the times of a drain: limit until the remaining processes are killed, of a period that is whole.
func (c *container) begin(now int64, limit, whole options.Duration) {
	c.since, c.sinceTicks = now, kernel.BootTicks()
	c.deadline = now + int64(limit)
	c.late, c.last = 0, 0
	if limit > 0 { // else nothing is waited for
		c.late = now + int64(whole.Late())
		c.last = (c.late + c.deadline) / 2
	}
}

// stopOthers stops all programs because one of them has ended by itself, with the signal that they get when the
// platform stops them.
func (c *container) stopOthers() {
	c.phase = ending
	c.begin(kernel.Now(), c.options.Linger, c.options.Linger)
	stop := options.Signal(syscall.SIGTERM)
	if c.options.StopSignal != 0 {
		stop = c.options.StopSignal
	}
	c.stopSignal = uint8(c.options.Outgoing(stop))
	if c.stopSignal == 0 {
		c.stopSignal = sigTERM // dropped from outside, but they have to end
	}
	c.send(&delivery{signal: c.stopSignal, ends: true})
}

// escalate notifies the processes that would otherwise only get SIGKILL, when the time is nearly over: the children of
// a shell that waits for them before it runs its trap (bash(1), "SIGNALS"), unless its trap may have notified them; and
// the children of processes that ignore the signal. finally: no time is left at all. With the main process or its group
// as signal target, only --escalate=all does this.
func (c *container) escalate(finally bool) {
	chosen := c.options.SignalTarget == options.Main || c.options.SignalTarget == options.Group
	if chosen && !c.options.EscalateAll || !c.scan() {
		return
	}
	d := &delivery{signal: c.stopSignal, ends: true, last: true, now: finally}
	c.processes.queue.Clear()
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
			if shell := c.shell(p, d); shell.Is {
				c.queueAwaited(p, when, shell.Kills, d)
			}
		}
	}
	if finally {
		// A process without a handler loses nothing now, and the shell that waits for it may still run its trap.
		c.queueDeferred()
	}
	c.work(d)
}

// queueAwaited queues the children that a shell had when it was notified. Those that have started since are its trap at
// work. If the shell's script sends signals, those that handle the signal may have it from the shell already; the others
// would not live any more.
func (c *container) queueAwaited(shell *proc.Process, when moment, kills bool, d *delivery) {
	all := c.processes.all()
	for at := shell.Child; at != 0; at = all[at-1].Sibling {
		p := &all[at-1]
		if !when.before(p) && !p.Gone() && !c.notified.has(p) && int(p.PID) != c.programs.relay && !(kills && c.handles(p, d)) {
			c.enqueue(p)
		}
	}
}

// notifyRemaining sends SIGTERM to the topmost remaining processes that have not been notified. Those that have been,
// and live, end their own children (PostgreSQL its backends, nginx its workers); orphans that they leave become children
// of the init, and are notified then. If processes are held back, it returns until when.
func (c *container) notifyRemaining(now int64) (holdUntil int64) {
	waits := c.phase == lingering
	d := &delivery{signal: sigTERM, ends: true, last: waits && c.late == 0, now: !waits}
	switch {
	case waits:
	case c.options.AtEnd == options.NotifyNone:
		return 0
	case c.options.AtEnd == options.NotifyGroup:
		c.sendToGroup(0, c.programs.main().group, d)
		return 0
	}
	// Without /proc, or where that hides other users' processes (proc(5), hidepid), all get it or none.
	if !c.scan() || c.pid == 1 && !c.unseenNotified && !c.seesChild() {
		until := c.heldUntil(&proc.Process{PID: unseen}, now)
		if now < until {
			return until
		}
		if !c.unseenNotified {
			c.unseenNotified = true
			c.signalUnseen(d)
		}
		return 0
	}
	c.processes.queue.Clear()
	if waits {
		holdUntil = c.queueRemaining(d, now)
	} else {
		c.queueChildren(c.processes.root(c.pid), d, false)
	}
	c.work(d)
	return holdUntil
}

// queueRemaining queues the topmost remaining processes. Those that handle SIGTERM wait for the end of the hold, and
// those that do not wait for the others, and a moment for their own end.
func (c *container) queueRemaining(d *delivery, now int64) (holdUntil int64) {
	root := c.processes.root(c.pid)
	if root == nil {
		return 0
	}
	c.replaceDeferred(d)
	handlers := c.markHandlers(d)
	all := c.processes.all()
	for at := root.Child; at != 0; at = all[at-1].Sibling {
		switch p := &all[at-1]; {
		case !c.isLeft(p) || c.notified.has(p):
		case !p.Handles:
			c.deferDelivery(p, d)
		default:
			if until := c.heldUntil(p, now); now >= until {
				c.enqueue(p)
			} else if holdUntil == 0 || until < holdUntil {
				holdUntil = until
			}
		}
	}
	if handlers == 0 && len(c.deferred.All()) > 0 {
		c.deferred.settleAt = now + settle
	}
	return holdUntil
}

// heldUntil is until when a remaining process that handles SIGTERM is not sent it, since the program that it comes from
// may have notified it before it ended: a second notification makes programs drop their unfinished work.
func (c *container) heldUntil(p *proc.Process, now int64) int64 {
	if c.phase == leaving || !c.asked && c.forwards.at < c.since-maxHold {
		return 0
	}
	switch c.forwards.expected {
	case forwardsSurely:
		return c.last // in case that it was not for this process
	case forwardsMaybe:
		c.held.add(p)
		when, ok := c.held.when(p)
		if !ok {
			return 0
		}
		const tick = 1e7
		return min(c.late, now-int64(kernel.BootTicks()-when.ticks)*tick+min(maxHold, (c.deadline-c.since)/4))
	}
	return 0
}

// seesChild reports whether any child of the init is in the snapshot, ended or not.
func (c *container) seesChild() bool {
	all := c.processes.all()
	for i := range all {
		if int(all[i].Parent) == c.pid {
			return true
		}
	}
	return false
}

// killRemaining kills every remaining process.
func (c *container) killRemaining() {
	const rounds = 8 // for processes that were being forked during the scan
	c.sent = c.sent.With(sigKILL)
	if c.pid == 1 && c.programs.relay == 0 {
		kernel.Kill(-1, sigKILL) // at once, so that nothing can fork away
		return
	}
	for range rounds {
		if !c.scan() {
			c.signalUnseen(&delivery{signal: sigKILL})
			return
		}
		alive := false
		all := c.processes.all()
		for i := range all {
			p := &all[i]
			if c.isLeft(p) {
				kernel.Kill(int(p.PID), sigKILL)
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
func (c *container) signalUnseen(d *delivery) {
	if c.pid == 1 {
		kernel.Kill(-1, d.signal)
		return
	}
	c.sendToGroups(d)
}
