package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/initbin/policy"
	"github.com/podinit/podinit/initbin/proc"
)

// The signals that are named here, as the kernel and package policy take them.
const (
	sigCHLD = uint8(syscall.SIGCHLD)
	sigCONT = uint8(syscall.SIGCONT)
	sigHUP  = uint8(syscall.SIGHUP)
	sigINT  = uint8(syscall.SIGINT)
	sigKILL = uint8(syscall.SIGKILL)
	sigQUIT = uint8(syscall.SIGQUIT)
	sigSTOP = uint8(syscall.SIGSTOP)
	sigTERM = uint8(syscall.SIGTERM)
	sigTSTP = uint8(syscall.SIGTSTP)
)

// delivery is a signal for the container's processes, and how it is to be delivered.
type delivery struct {
	signal uint8
	ends   bool  // it asks to end: SIGTERM, SIGINT, the stop signal
	again  bool  // also to processes that have been notified before, since it comes from the platform
	last   bool  // the time is nearly over: processes that ignore the signal protect their children no longer
	now    bool  // the time is over: nothing is deferred
	looks  int   // how many files have been read for it: see mayLook
	waited int64 // for how long processes have been waited for: see blocksForLong
}

// receive handles a signal that the init has got.
func (c *container) receive(info kernel.Info) {
	if !forwardable(info, c.pid) {
		return
	}
	to := c.options.Outgoing(options.Signal(info.Signal))
	if to == 0 {
		return
	}
	signal := uint8(to)
	stop := info.Signal == sigTERM || info.Signal == uint8(c.options.StopSignal)
	if stop && !c.asked {
		c.stopRequested(signal)
	}
	ends := stop || info.Signal == sigINT || asksToEnd(signal)
	// The init has notified the remaining processes: a signal from outside is for those that it has not.
	c.send(&delivery{signal: signal, ends: ends, again: c.phase < lingering || c.options.WaitAll})
}

func asksToEnd(signal uint8) bool {
	return signal == sigTERM || signal == sigINT
}

// The signals that libc sends between the threads of one process (nptl(7)).
const (
	sigCancel = syscall.Signal(32)
	sigSetXID = syscall.Signal(33)
)

// forwardable reports whether a signal is meant for the container, and not about the init itself.
func forwardable(info kernel.Info, self int) bool {
	byProcess := info.Code <= 0
	switch syscall.Signal(info.Signal) {
	case sigCancel, sigSetXID:
		return false
	case syscall.SIGCHLD:
		return false // a child of the init has ended
	case syscall.SIGPIPE, syscall.SIGXFSZ:
		return byProcess && info.PID != self // else it is from a write of the init, to a broken pipe or beyond RLIMIT_FSIZE
	case syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGTRAP, syscall.SIGSYS,
		syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGTSTP:
		return byProcess // from the kernel they are about the init
	}
	return true
}

// send sends a signal to the processes that the signal target names.
func (c *container) send(d *delivery) {
	c.sent = c.sent.With(d.signal)
	target := c.options.SignalTarget
	if c.programs.alive == 0 && target != options.All {
		target = options.Auto // the program has ended, and with --wait=all the init waits for what it has left
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

// deliver sends a signal to one process of the snapshot. If the kernel refuses, the init goes on: the process may have
// changed its user (EPERM, without CAP_KILL) or have ended (ESRCH).
//
//go:noinline
func (c *container) deliver(p *proc.Process, d *delivery) {
	c.noteNotified(p, d)
	errno := kernel.Kill(int(p.PID), d.signal)
	if d.ends && p.Stopped() {
		kernel.Kill(int(p.PID), sigCONT) // a stopped process handles no signal
	}
	c.noteDelivery(int(p.PID), p, d, errno)
}

// noteNotified remembers that a process is asked to end, unless the signal does nothing to it, as SIGWINCH to most: then
// SIGTERM still has to come. SIGTERM always counts, as no other signal follows it.
func (c *container) noteNotified(p *proc.Process, d *delivery) {
	if !d.ends {
		return
	}
	if d.signal != sigTERM && !c.handlers.hasProgram(p) {
		does := c.does(p, d.signal)
		if does.Known && !does.Caught && (does.Ignored || policy.IgnoredByDefault(d.signal)) {
			return
		}
	}
	c.notified.add(p)
}

// deliverUnseen sends a signal to a program, or a negative group of them, that need not be in a snapshot.
func (c *container) deliverUnseen(pid int, d *delivery) kernel.Errno {
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

// noteDelivery logs a signal that has been sent, if it was refused or with -v.
func (c *container) noteDelivery(pid int, p *proc.Process, d *delivery, errno kernel.Errno) {
	if errno != 0 && errno != syscall.ESRCH && d.ends && !d.last && c.refused == 0 {
		c.refused = errno
		logRefused(pid, p, d.signal, errno)
	} else if c.options.Verbosity > 0 {
		logSent(pid, d.signal, errno)
	}
}

// sendToPrograms sends a signal to the main process and the Procfile processes. What they do about it is not known.
func (c *container) sendToPrograms(d *delivery) {
	if d.ends && c.programs.alive > 0 {
		c.noteForwards(forwardsMaybe)
		c.forwards.guessed = true
	}
	programs := c.programs.all()
	for i := range programs {
		if p := &programs[i]; p.pid != 0 {
			c.deliverUnseen(p.pid, d)
		}
	}
}

func (c *container) sendToGroups(d *delivery) {
	programs := c.programs.all()
	for i := range programs {
		c.sendToGroup(programs[i].pid, programs[i].group, d)
	}
}

func (c *container) sendToGroup(program, group int, d *delivery) {
	if group == 0 || program == 0 && !c.ownsGroup(group) {
		return
	}
	if d.ends && c.scan() {
		all := c.processes.all()
		for i := range all {
			if p := &all[i]; int(p.Group) == group {
				c.noteNotified(p, d)
			}
		}
	}
	if c.deliverUnseen(-group, d) == syscall.ESRCH && program != 0 {
		c.deliverUnseen(program, d) // it has left its group
	}
}

// ownsGroup reports whether the group of a program that has been reaped still has processes below the init: once it is
// empty, the kernel gives its number to any other. Without /proc only PID 1 knows that there are no others.
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

func (c *container) sendToAll(d *delivery) {
	seen := c.scan()
	all := c.processes.all()
	for i := range all {
		if p := &all[i]; c.isLeft(p) {
			c.noteNotified(p, d)
			if c.pid != 1 {
				kernel.Kill(int(p.PID), d.signal)
			}
		}
	}
	if c.pid == 1 || !seen {
		c.signalUnseen(d)
	}
}

// sendByHandler sends a signal to the topmost processes that handle it, each once: see package policy. Where /proc cannot
// be read, only the programs get it, as with tini: others might get it twice.
func (c *container) sendByHandler(d *delivery) {
	if !c.hasProc() {
		c.sendUnseen(d)
		return
	}
	if c.programs.main().pid != 0 && c.programs.alive == 1 {
		// The usual case, which needs no snapshot: the main process catches it. Where /proc hides other users' processes
		// (proc(5), hidepid), there is nothing more to see.
		status, ok := c.mainStatus()
		if !ok {
			c.sendToPrograms(d)
			return
		}
		if status.Caught.Has(d.signal) && d.signal != sigINT {
			c.findForwards(d)
			c.deliverUnseen(c.programs.main().pid, d)
			return
		}
	}
	if !c.scan() {
		c.sendUnseen(d)
		return
	}
	c.processes.queue.Clear()
	if c.programs.alive == 0 {
		c.queueChildren(c.processes.root(c.pid), d, false)
	}
	programs := c.programs.all()
	for i := range programs {
		c.enqueue(c.processes.find(int32(programs[i].pid)))
	}
	c.work(d)
}

func (c *container) sendUnseen(d *delivery) {
	switch {
	case !d.ends && (c.programs.alive == 0 || policy.IgnoredByDefault(d.signal)):
		c.sendToGroups(d) // it ends no process
	case c.programs.alive > 0:
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

// forwards is what is known about the programs that have got a signal which asks to end.
type forwards struct {
	expected int   // whether they notify their children themselves
	at       int64 // when they got the signal
	guessed  bool  // what they do about the signal was not known
}

// findForwards finds out whether the main process, which handles a signal, notifies its children itself, and which of
// them it may notify. The signal is sent afterwards, as the process may end then. If the signal does not ask to end, this
// matters only for a shell, whose trap may end its children.
func (c *container) findForwards(d *delivery) {
	p, ok := readStat(c.programs.main().pid)
	if !d.ends && !(ok && policy.ShellOf(p.Name()) != 0) {
		return
	}
	forwards := forwardsMaybe
	if ok {
		if shell := c.shell(&p, d); shell.Is {
			forwards = forwardsOf(&shell)
		}
	}
	if d.ends && forwards != forwardsNothing && c.forwards.expected < forwards && c.scan() {
		c.markHandlers(d)
	}
	c.noteForwards(forwards)
}

func (c *container) noteForwards(forwards int) {
	c.forwards.expected = max(c.forwards.expected, forwards)
	c.forwards.at = kernel.Now()
}

func forwardsOf(shell *policy.Shell) int {
	if shell.Kills {
		return forwardsSurely
	}
	return forwardsNothing
}

// work goes through the queue, which grows by the children of those that do not handle the signal. The snapshot must be
// from before the first delivery: the children of a process that ends get a new parent.
func (c *container) work(d *delivery) {
	defers := d.ends && !d.now && c.anyHandlerFor(d)
	sent := false
	for i := 0; i < len(c.processes.queue.All()); i++ {
		p := &c.processes.all()[c.processes.queue.All()[i]]
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
		if answer == policy.Look && (p.Child != 0 || program || c.belowLiving(p, d)) {
			answer = c.after(p, d)
		}
		switch answer {
		case policy.Both, policy.Below:
			c.queueChildren(p, d, answer == policy.Both && d.signal == sigINT)
		case policy.Within:
			if before := len(c.processes.queue.All()); p.Child != 0 {
				c.queueChildren(p, d, false)
				sent = sent || before < len(c.processes.queue.All())
			} else {
				// Only SIGKILL ends it, and without a handler it has nothing to do before.
				kernel.Kill(int(p.PID), sigKILL)
			}
		case policy.Later:
			c.watch(p, d)
		}
	}
	if !sent && d.ends && len(c.processes.queue.All()) > 0 {
		p := &c.processes.all()[c.processes.queue.All()[0]]
		if c.anotherNotified(p) {
			return // it is deferred until that has ended
		}
		if now, ok := readStat(int(p.PID)); ok && now.Start == p.Start {
			c.deliver(p, d)
		}
	}
}

// before decides about a process that has not got the signal yet.
func (c *container) before(p *proc.Process, d *delivery, program bool) policy.Answer {
	f := c.facts(p, d)
	answer := policy.Before(&f, d.signal, d.ends)
	if answer == policy.Ask {
		f.Shell = c.shell(p, d)
		answer = policy.Before(&f, d.signal, d.ends)
	}
	if answer == policy.Hold && d.last {
		answer = policy.Both
	}
	if d.ends && (answer == policy.Alone || program && !f.Known) {
		if !f.Shell.Asked {
			f.Shell = c.shell(p, d)
		}
		forwards := forwardsMaybe
		if f.Shell.Is {
			forwards = forwardsOf(&f.Shell)
		}
		c.noteForwards(forwards)
		c.forwards.guessed = c.forwards.guessed || !f.Known
	}
	return answer
}

// after decides about a process that has got the signal and has no handler for it.
func (c *container) after(p *proc.Process, d *delivery) policy.Answer {
	now, ok := readStat(int(p.PID))
	if !ok || now.Start != p.Start {
		return policy.Both // it has ended
	}
	does := proc.Disposition{Known: c.processes.hasSignals}
	answer := policy.After(&now, does, false, d.signal)
	if answer != policy.Both && c.isNestedInit(&now, d) && c.waits(&now, d) == no {
		answer = policy.After(&now, does, true, d.signal)
	}
	return answer
}

// belowLiving reports whether a process has got the signal though its parent lives on: then it may be PID 1 of a PID
// namespace.
func (c *container) belowLiving(p *proc.Process, d *delivery) bool {
	if p.Up == 0 {
		return false
	}
	parent := &c.processes.all()[p.Up-1]
	if int(parent.PID) == c.pid || parent.Ended || !d.mayLook() {
		return false
	}
	now, ok := readStat(int(parent.PID))
	parent.Ended = !ok || now.Start != parent.Start || now.Ending()
	return !parent.Ended
}

// isProgram reports whether a process is one of the programs.
//
//go:noinline
func (c *container) isProgram(pid int32) bool {
	_, is := c.programs.started(int(pid))
	return is
}

func (c *container) enqueue(p *proc.Process) {
	if p == nil {
		return
	}
	if slot := c.processes.queue.Add(); slot != nil {
		*slot = int32(c.processes.position(p.PID))
	}
}

// queueChildren queues the children of a process, apart from those in the foreground of a terminal that a shell runs on:
// the terminal itself sends them its signals.
func (c *container) queueChildren(parent *proc.Process, d *delivery, ofShell bool) {
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
		if !p.Gone() && int(p.Group) != foreground && (d.again || !c.notified.has(p)) && int(p.PID) != c.programs.relay {
			if slot := c.processes.queue.Add(); slot != nil {
				*slot = at - 1
			}
		}
	}
}

// watched is a process that may be about to end because of a signal, and one of its children.
type watched struct {
	process, child identity
	d              delivery
	next, step     int64 // when to look again, and after how long once more
}

// maxWatch is how long a process may take to begin to end.
const maxWatch = 1e9

// watch makes the children of a process get the signal once the process has died of it.
func (c *container) watch(p *proc.Process, d *delivery) {
	const first = 1e6
	all := c.processes.all()
	for at := p.Child; at != 0; at = all[at-1].Sibling {
		if child := &all[at-1]; !child.Gone() {
			if w := c.watches.Add(); w != nil {
				*w = watched{process: identify(p), child: identify(child), d: *d, next: kernel.Now() + first, step: first}
			}
		}
	}
}

// look looks at the watched processes: at their times, and whenever a process has ended.
func (c *container) look() {
	if len(c.watches.All()) == 0 {
		return
	}
	now := kernel.Now()
	for i := 0; i < len(c.watches.All()); {
		w := &c.watches.All()[i]
		p, ok := readStat(int(w.process.pid))
		died := !ok || p.Start != w.process.start || p.Gone()
		if !died && (now < w.next || 2*w.step < maxWatch) {
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
			continue // it takes the signal with sigwait, and notifies its children itself
		}
		if c.scan() {
			if p := child.find(&c.processes); p != nil && (d.again || !c.notified.has(p)) {
				c.processes.queue.Clear()
				c.enqueue(p)
				c.work(&d)
			}
		}
	}
}
