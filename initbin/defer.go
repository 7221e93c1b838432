package main

import (
	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/proc"
)

// settle is how long processes without a handler may take to end by themselves when those with one have ended: tee(1)
// behind the program whose last words it still has to write.
const settle = 200e6

// deferred is a process that the signal would only end, while others below the same parent still handle it: "app | tee".
// It gets the signal when they have gone.
type deferred struct {
	process identity
	d       delivery
}

// deferDelivery keeps a signal for a process until those that handle it have gone. It counts as notified.
func (c *container) deferDelivery(p *proc.Process, d delivery) {
	if slot := c.deferred.Add(); slot != nil {
		*slot = deferred{identify(p), d}
		c.notified.add(p)
		c.settleAt = 0
	}
}

// notifiedBeside says whether any process that handles signals has been notified and lives, other than those above p.
func (c *container) notifiedBeside(p *proc.Process) bool {
	all := c.processes.all()
	for i := range all {
		q := &all[i]
		if !c.isLeft(q) || !c.handlers.has(q) || !c.notified.has(q) {
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

// anyHandlerFor says whether any process handles the signal, besides the programs that it goes to: then those that do
// not are to get it later.
func (c *container) anyHandlerFor(signal uint8) bool {
	handlers := c.markHandlers(signal)
	for _, at := range c.queue.All() {
		if p := &c.processes.all()[at]; c.isProgram(p.PID) && c.handlers.has(p) {
			handlers--
		}
	}
	return handlers > 0
}

// deliverDeferred sends the signals that were kept, once nobody is left who handles them, and a moment later.
func (c *container) deliverDeferred(now int64) {
	if len(c.deferred.All()) == 0 {
		return
	}
	if c.settleAt == 0 {
		if !c.lookDeferred || now < c.nextDeferred {
			return
		}
		c.lookDeferred = false
		waits := c.scan() && c.anyHandlerBeside()
		c.nextDeferred = now + 10*(kernel.Now()-now)
		if waits {
			return
		}
		c.settleAt = now + settle
	}
	if now < c.settleAt || !c.deferredStand() && !c.scan() {
		return
	}
	c.settleAt = 0
	c.queue.Clear()
	d := c.deferred.All()[0].d
	c.queueDeferred()
	c.work(d)
}

// deferredStand says whether the last snapshot is still good for the deferred: nothing has been reaped since, so that
// all their numbers are still theirs, and they have no children to ask about. Of thousands, another look costs most.
func (c *container) deferredStand() bool {
	if c.reapedSince {
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

// queueDeferred asks next about those whose signals were kept.
func (c *container) queueDeferred() {
	for i := range c.deferred.All() {
		if p := c.deferred.All()[i].process.find(&c.processes); p != nil && c.isLeft(p) {
			c.enqueue(p)
		}
	}
	c.deferred.Clear()
	c.settleAt = 0
}

// anyHandlerBeside says whether a process that handles the signal of a deferred one is left. Its own parents do not
// count: they may wait for it.
func (c *container) anyHandlerBeside() bool {
	list := c.deferred.All()
	signal := list[0].d.signal
	all := c.processes.all()
	handlers := 0
	for i := range all {
		if p := &all[i]; c.isLeft(p) && (c.alive == 0 || c.notified.has(p)) && c.handles(p, signal) {
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
