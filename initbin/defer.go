package main

import (
	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/proc"
)

// settle is how long processes without a handler may take to end by themselves when those with one have ended: tee(1)
// still has to write the last lines of the program before it in a pipeline.
const settle = 200e6

// deferred is a process without a handler for the signal, while others below the same parent still handle it: "app | tee".
// It gets the signal when they have ended.
type deferred struct {
	process identity
	d       delivery
}

// deferrals are the signals that are kept for processes.
type deferrals struct {
	kernel.List[deferred]
	reaped    uint32 // container.reaped at the last look whether processes that handle the signal have ended
	lookAfter int64  // when to look again, once another has been reaped
	settleAt  int64  // when the signals are sent; 0 if it is not known yet
}

// deferDelivery keeps a signal for a process until those that handle it have ended. The process counts as notified, as if
// it had got the signal already.
func (c *container) deferDelivery(p *proc.Process, d *delivery) {
	if slot := c.deferred.Add(); slot != nil {
		*slot = deferred{identify(p), *d}
		c.noteNotified(p, d)
		c.deferred.settleAt = 0
	}
}

// replaceDeferred makes d of the signals that were kept: another one was for processes below a program that has ended. A
// process to which that signal does nothing is not kept any more: it is yet to be notified.
func (c *container) replaceDeferred(d *delivery) {
	for i := 0; i < len(c.deferred.All()); {
		kept := &c.deferred.All()[i]
		if kept.d.signal != d.signal {
			if p := kept.process.find(&c.processes); p == nil || !c.notified.has(p) {
				c.deferred.Remove(i)
				continue
			}
			kept.d = *d
		}
		i++
	}
}

// anotherNotified reports whether a process that handles signals has been notified and lives, apart from the parents of p.
func (c *container) anotherNotified(p *proc.Process) bool {
	all := c.processes.all()
	for i := range all {
		q := &all[i]
		if !c.isLeft(q) || !c.handlers.hasProgram(q) || !c.notified.has(q) {
			continue
		}
		at := p.Up
		for at != 0 && int(at-1) != i {
			at = all[at-1].Up
		}
		if at == 0 {
			return true
		}
	}
	return false
}

// anyHandlerFor reports whether a process handles the signal, apart from the programs that get it: then those that do not
// get it later.
func (c *container) anyHandlerFor(d *delivery) bool {
	handlers := c.markHandlers(d)
	for _, at := range c.processes.queue.All() {
		if p := &c.processes.all()[at]; c.isProgram(p.PID) && c.handlers.hasProgram(p) {
			handlers--
		}
	}
	return handlers > 0
}

// deliverDeferred sends the signals that were kept, a moment after the last process that handles them has ended.
func (c *container) deliverDeferred(now int64) {
	if len(c.deferred.All()) == 0 {
		return
	}
	if c.deferred.settleAt == 0 {
		if c.deferred.reaped == c.reaped || now < c.deferred.lookAfter {
			return
		}
		c.deferred.reaped = c.reaped
		waits := c.scan() && c.anyHandlerLeft()
		c.deferred.lookAfter = now + 10*(kernel.Now()-now)
		if waits {
			return
		}
		c.deferred.settleAt = now + settle
	}
	if now < c.deferred.settleAt || !c.snapshotStands() && !c.scan() {
		return
	}
	c.deferred.settleAt = 0
	c.processes.queue.Clear()
	d := c.deferred.All()[0].d
	c.queueDeferred()
	c.work(&d)
}

// snapshotStands reports whether the last snapshot still holds for the deferred processes: none has been reaped since, so
// their numbers have not been used again, and they have no children to consider. For thousands, a new one costs most.
func (c *container) snapshotStands() bool {
	if c.processes.reaped != c.reaped {
		return false
	}
	for i := range c.deferred.All() {
		p := c.deferred.All()[i].process.find(&c.processes)
		if p == nil || int(p.Parent) != c.pid || p.Child != 0 {
			return false
		}
	}
	return true
}

// queueDeferred queues the processes whose signals were kept.
func (c *container) queueDeferred() {
	for i := range c.deferred.All() {
		if p := c.deferred.All()[i].process.find(&c.processes); p != nil && c.isLeft(p) {
			c.enqueue(p)
		}
	}
	c.deferred.Clear()
	c.deferred.settleAt = 0
}

// anyHandlerLeft reports whether a process that handles the signal of a deferred one is left. The parents of that process
// do not count: they may wait for it.
func (c *container) anyHandlerLeft() bool {
	list := c.deferred.All()
	d := list[0].d
	all := c.processes.all()
	handlers := 0
	for i := range all {
		if p := &all[i]; c.isLeft(p) && (c.programs.alive == 0 || c.notified.has(p)) && c.handles(p, &d) {
			p.Handles = true
			handlers++
		}
	}
	for i := range list {
		p := list[i].process.find(&c.processes)
		if p == nil || !c.isLeft(p) {
			continue
		}
		above := 0
		for at := p.Up; at != 0; at = all[at-1].Up {
			if all[at-1].Handles {
				above++
			}
		}
		if above < handlers {
			return true
		}
	}
	return false
}
