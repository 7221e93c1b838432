package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/initbin/policy"
	"github.com/podinit/podinit/initbin/proc"
)

// delivery is a signal on its way to the processes that get it.
type delivery struct {
	signal uint8
	ends   bool // it asks to end: SIGTERM, SIGINT, the stop signal
	again  bool // also to those that have been notified before, since it is the platform's, and not ours
	last   bool // the time is nearly over: those that ignore the signal protect their children no longer
	now    bool // the time is over: nothing is deferred
}

// receive does with a signal what the container owes it.
func (c *container) receive(info kernel.Info) {
	if !forwardable(info, c.pid) {
		return
	}
	to := c.options.Outgoing(options.Signal(info.Signal))
	if to == 0 {
		return
	}
	signal := uint8(to)
	stop := info.Signal == uint8(syscall.SIGTERM) || info.Signal == uint8(c.options.StopSignal)
	if stop && !c.stopping {
		c.stopping, c.stopSignal = true, signal
		if !c.killed && !c.leaving { // else all is decided
			c.begin(kernel.Now(), c.options.Deadline(), c.options.Grace)
		}
	}
	ends := stop || info.Signal == uint8(syscall.SIGINT) || asksToEnd(signal)
	// What has been left behind has been notified by us: a signal from outside is for those that have not.
	c.send(delivery{signal: signal, ends: ends, again: !c.restNotified || c.options.WaitAll})
}

func asksToEnd(signal uint8) bool {
	return signal == uint8(syscall.SIGTERM) || signal == uint8(syscall.SIGINT)
}

// forwardable says whether a signal was meant for the container.
func forwardable(info kernel.Info, self int) bool {
	byProcess := info.Code <= 0
	switch syscall.Signal(info.Signal) {
	case 32, 33:
		return false // libc's, between the threads of one process (nptl(7))
	case syscall.SIGCHLD:
		return false // our own news
	case syscall.SIGPIPE, syscall.SIGXFSZ:
		return byProcess && info.PID != self // else from our own write, to a broken pipe or beyond RLIMIT_FSIZE
	case syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGTRAP, syscall.SIGSYS,
		syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGTSTP:
		return byProcess // from the kernel they are about us, not about the container
	}
	return true
}

// send gives a signal to the processes that the signal target names.
func (c *container) send(d delivery) {
	c.sent = c.sent.With(d.signal)
	c.looks = 0
	target := c.options.SignalTarget
	if c.alive == 0 && target != options.All {
		target = options.Auto // the program is gone, and --wait=all lives on for what it has left
	}
	switch target {
	case options.Main:
		c.sendToPrograms(d)
	case options.Group:
		c.sendToGroups(d)
	case options.All:
		c.sendToAll(d)
	default:
		c.sendByHandler(d)
	}
}

// deliver sends a signal to one process of the snapshot. That the kernel refuses is nothing to end a container for: the
// process may have changed its user (EPERM, without CAP_KILL) or be gone (ESRCH).
//
//go:noinline
func (c *container) deliver(p *proc.Process, d delivery) {
	if d.ends {
		c.notified.add(p)
	}
	errno := kernel.Kill(int(p.PID), d.signal)
	if d.ends && p.Stopped() {
		kernel.Kill(int(p.PID), uint8(syscall.SIGCONT)) // else it would hear of it only when somebody continues it
	}
	c.noteDelivery(int(p.PID), p, d, errno)
}

// deliverUnseen sends a signal to a program, or a negative group of them, that need not be in a snapshot.
func (c *container) deliverUnseen(pid int, d delivery) kernel.Errno {
	if d.ends && pid > 0 {
		if p, ok := readStat(pid); ok {
			c.deliver(&p, d)
			return 0
		}
	}
	errno := kernel.Kill(pid, d.signal)
	c.noteDelivery(pid, nil, d, errno)
	return errno
}

// noteDelivery says what is worth a line about a signal that has been sent.
func (c *container) noteDelivery(pid int, p *proc.Process, d delivery, errno kernel.Errno) {
	if errno != 0 && errno != syscall.ESRCH && d.ends && !d.last && c.refused == 0 {
		c.refused = errno
		sayRefused(pid, p, d.signal, errno)
	} else if c.options.Verbosity > 0 {
		saySent(pid, d.signal, errno)
	}
}

// sendToPrograms sends a signal to the main process and those of the Procfile. What they do about it is not known then.
func (c *container) sendToPrograms(d delivery) {
	if d.ends && c.alive > 0 {
		c.noteForwards(forwardsMaybe)
		c.forwardsGuessed = true
	}
	if c.main != 0 {
		c.deliverUnseen(c.main, d)
	}
	programs := c.beside.All()
	for i := range programs {
		if p := &programs[i]; p.pid != 0 {
			c.deliverUnseen(int(p.pid), d)
		}
	}
}

func (c *container) sendToGroups(d delivery) {
	c.sendToGroup(c.main, c.group, d)
	programs := c.beside.All()
	for i := range programs {
		p := &programs[i]
		c.sendToGroup(int(p.pid), int(p.group), d)
	}
}

func (c *container) sendToGroup(program, group int, d delivery) {
	if group == 0 || program == 0 && !c.ownsGroup(group) {
		return
	}
	if d.ends && c.scan() {
		all := c.processes.all()
		for i := range all {
			if p := &all[i]; int(p.Group) == group {
				c.notified.add(p)
			}
		}
	}
	if c.deliverUnseen(-group, d) == syscall.ESRCH && program != 0 {
		c.deliverUnseen(program, d) // it has left its group
	}
}

// ownsGroup says whether the group of a program that has been reaped is still ours: once it is empty, the kernel gives
// its number to anybody. Without /proc nobody can tell, and only PID 1 knows that it hits no stranger.
func (c *container) ownsGroup(group int) bool {
	if !c.scan() {
		return c.pid == 1
	}
	all := c.processes.all()
	for i := range all {
		if p := &all[i]; int(p.Group) == group && c.isLeft(p) {
			return true
		}
	}
	return false
}

func (c *container) sendToAll(d delivery) {
	seen := c.scan()
	all := c.processes.all()
	for i := range all {
		if p := &all[i]; c.isLeft(p) {
			if d.ends {
				c.notified.add(p)
			}
			if c.pid != 1 {
				kernel.Kill(int(p.PID), d.signal)
			}
		}
	}
	if c.pid == 1 || !seen {
		c.signalUnseen(d)
	}
}

// sendByHandler gives a signal to the topmost processes that handle it, each once: see package policy. Where /proc
// cannot be read, the programs alone get it, as with tini: nobody knows who would get it twice.
func (c *container) sendByHandler(d delivery) {
	if !c.hasProc() {
		c.sendUnseen(d)
		return
	}
	if c.main != 0 && c.alive == 1 {
		// The usual case, without a look at all the others: the main process catches it. Nor is there more to look at
		// where /proc hides other users' processes (proc(5), hidepid).
		status, ok := c.mainStatus()
		if !ok {
			c.sendToPrograms(d)
			return
		}
		if status.Caught.Has(d.signal) && d.signal != uint8(syscall.SIGINT) {
			c.findForwards(d)
			c.deliverUnseen(c.main, d)
			return
		}
	}
	if !c.scan() {
		c.sendUnseen(d)
		return
	}
	c.queue.Clear()
	if c.alive == 0 {
		c.queueChildren(c.processes.root(c.pid), d, false)
	}
	c.enqueue(c.processes.find(int32(c.main)))
	programs := c.beside.All()
	for i := range programs {
		c.enqueue(c.processes.find(programs[i].pid))
	}
	c.work(d)
}

func (c *container) sendUnseen(d delivery) {
	switch {
	case !d.ends && (c.alive == 0 || policy.IgnoredByDefault(d.signal)):
		c.sendToGroups(d) // it ends nobody
	case c.alive > 0:
		c.sendToPrograms(d)
	case !c.unseenNotified || d.again:
		c.unseenNotified = true
		c.signalUnseen(d)
	}
}

// Whether a program that has got a signal which asks to end notifies its children itself.
const (
	forwardsNothing = iota // it has been ended by the signal, or its script sends no signals
	forwardsMaybe          // it handles the signal
	forwardsSurely         // its script sends signals
)

// findForwards finds out whether the main process, which handles a signal, notifies its children itself, and which of
// them it may notify. It is about to be sent the signal, and may be gone afterwards. A signal that does not ask to end
// is worth a look only at a shell, whose trap may end by itself what it runs.
func (c *container) findForwards(d delivery) {
	p, ok := readStat(c.main)
	if !d.ends && !(ok && policy.ShellOf(p.Name()) != 0) {
		return
	}
	forwards := forwardsMaybe
	if ok {
		if shell := c.shell(&p, uint8(syscall.SIGTERM)); shell.Is {
			forwards = forwardsOf(&shell)
		}
	}
	if d.ends && forwards != forwardsNothing && c.forwards < forwards && c.scan() {
		c.markHandlers(d.signal)
	}
	c.noteForwards(forwards)
}

func (c *container) noteForwards(forwards int) {
	c.forwards = max(c.forwards, forwards)
	c.forwarded = kernel.Now()
}

func forwardsOf(shell *policy.Shell) int {
	if shell.Kills {
		return forwardsSurely
	}
	return forwardsNothing
}

// work goes through the queue, which grows by the children of those that do not handle the signal. The snapshot of
// processes must be from before the first of them was signalled: the children of the dead have a new parent.
func (c *container) work(d delivery) {
	defers := d.ends && !d.now && c.anyHandlerFor(d.signal)
	sent := false
	for i := 0; i < len(c.queue.All()); i++ {
		p := &c.processes.all()[c.queue.All()[i]]
		program := c.isProgram(p.PID)
		if defers && !program && !p.Handles {
			c.deferDelivery(p, d)
			continue
		}
		answer := c.before(p, d, program)
		if answer != policy.Below {
			c.deliver(p, d)
			sent = true
		}
		if answer == policy.Look && (p.Child != 0 || program || c.belowLiving(p)) {
			answer = c.after(p, d)
		}
		switch answer {
		case policy.Both, policy.Below:
			c.queueChildren(p, d, answer == policy.Both && d.signal == uint8(syscall.SIGINT))
		case policy.Within:
			if before := len(c.queue.All()); p.Child != 0 {
				c.queueChildren(p, d, false)
				sent = sent || before < len(c.queue.All())
			} else {
				// Nothing else ends it, and it has nothing to do before it ends: it has no handler.
				kernel.Kill(int(p.PID), uint8(syscall.SIGKILL))
			}
		case policy.Later:
			c.watch(p, d)
		}
	}
	if !sent && d.ends && len(c.queue.All()) > 0 {
		p := &c.processes.all()[c.queue.All()[0]]
		if c.notifiedBeside(p) {
			return // it has been deferred until that has gone
		}
		if now, ok := readStat(int(p.PID)); ok && now.Start == p.Start {
			c.deliver(p, d)
		}
	}
}

// before asks what to do with a process that has not got the signal yet.
func (c *container) before(p *proc.Process, d delivery, program bool) policy.Answer {
	f := c.facts(p, d)
	answer := policy.Before(&f, d.signal, d.ends)
	if answer == policy.Ask {
		f.Shell = c.shell(p, d.signal)
		answer = policy.Before(&f, d.signal, d.ends)
	}
	if answer == policy.Hold && d.last {
		answer = policy.Both
	}
	if d.ends && (answer == policy.Alone || program && !f.Known) {
		if !f.Shell.Asked {
			f.Shell = c.shell(p, d.signal)
		}
		forwards := forwardsMaybe
		if f.Shell.Is {
			forwards = forwardsOf(&f.Shell)
		}
		c.noteForwards(forwards)
		c.forwardsGuessed = c.forwardsGuessed || !f.Known
	}
	return answer
}

// after asks again about a process that has got the signal and has no handler for it.
func (c *container) after(p *proc.Process, d delivery) policy.Answer {
	now, ok := readStat(int(p.PID))
	if !ok || now.Start != p.Start {
		return policy.Both // it is gone
	}
	does := proc.Disposition{Known: c.statHasSignals}
	answer := policy.After(&now, does, false, d.signal)
	if answer != policy.Both && c.isNestedInit(&now) && c.waits(&now, d.signal) == no {
		answer = policy.After(&now, does, true, d.signal)
	}
	return answer
}

// belowLiving says whether a process has got the signal though its parent lives on: then it may be PID 1 of a PID
// namespace.
func (c *container) belowLiving(p *proc.Process) bool {
	if p.Up == 0 {
		return false
	}
	parent := &c.processes.all()[p.Up-1]
	return int(parent.PID) != c.pid && !c.notified.has(parent)
}

// isProgram says whether a process is one that we have started.
//
//go:noinline
func (c *container) isProgram(pid int32) bool {
	if int(pid) == c.main {
		return true
	}
	programs := c.beside.All()
	for i := range programs {
		if programs[i].pid == pid {
			return true
		}
	}
	return false
}

func (c *container) enqueue(p *proc.Process) {
	if p == nil {
		return
	}
	if slot := c.queue.Add(); slot != nil {
		*slot = int32(c.processes.position(p.PID))
	}
}

// queueChildren asks about the children of a process next. To those in the foreground of a terminal that a shell runs
// on, the terminal itself sends its signals.
func (c *container) queueChildren(parent *proc.Process, d delivery, ofShell bool) {
	if parent == nil {
		return
	}
	foreground := -1
	if ofShell && c.terminal {
		foreground, _ = kernel.Foreground(0)
	}
	all := c.processes.all()
	for at := parent.Child; at != 0; at = all[at-1].Sibling {
		p := &all[at-1]
		if !p.Gone() && int(p.Group) != foreground && (d.again || !c.notified.has(p)) && int(p.PID) != c.relay {
			if slot := c.queue.Add(); slot != nil {
				*slot = at - 1
			}
		}
	}
}

// watched is a process that may be about to end, and one of its children.
type watched struct {
	process, child identity
	d              delivery
	next, step     int64 // when to look again, and how long to wait after that
}

// watchAtMost is how long a process may take to begin with its end.
const watchAtMost = 1e9

// watch makes sure that the children of a process get the signal when it has died of it.
func (c *container) watch(p *proc.Process, d delivery) {
	const first = 1e6
	all := c.processes.all()
	for at := p.Child; at != 0; at = all[at-1].Sibling {
		if child := &all[at-1]; !child.Gone() {
			if w := c.watches.Add(); w != nil {
				*w = watched{process: identify(p), child: identify(child), d: d, next: kernel.Now() + first, step: first}
			}
		}
	}
}

// look looks at the watched processes: at a time of their own, and whenever anything has ended.
func (c *container) look() {
	if len(c.watches.All()) == 0 {
		return
	}
	now := kernel.Now()
	for i := 0; i < len(c.watches.All()); {
		w := &c.watches.All()[i]
		p, ok := readStat(int(w.process.pid))
		died := !ok || p.Start != w.process.start || p.Gone()
		if !died && (now < w.next || 2*w.step < watchAtMost) {
			if now >= w.next {
				w.step *= 2
				w.next = now + w.step
			}
			i++
			continue
		}
		child, d := w.child, w.d
		c.watches.Remove(i)
		if !died {
			continue // it takes the signal with sigwait: its children are its own affair
		}
		if c.scan() {
			if p := child.find(&c.processes); p != nil && (d.again || !c.notified.has(p)) {
				c.queue.Clear()
				c.enqueue(p)
				c.work(d)
			}
		}
	}
}
