package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/initbin/policy"
	"github.com/podinit/podinit/initbin/proc"
)

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
			c.begin(kernel.Now(), c.options.Deadline())
		}
	}
	if stop || signal == uint8(syscall.SIGTERM) {
		c.tell(signal)
	} else {
		c.pass(signal)
	}
}

// tell passes a signal on that asks to end.
func (c *container) tell(signal uint8) {
	c.telling = true
	c.pass(signal)
	c.telling = false
}

// forwardable says whether somebody meant this signal for the container.
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

// pass gives a signal to whom the signal target says.
func (c *container) pass(signal uint8) {
	c.passed = c.passed.With(signal)
	target := c.options.SignalTarget
	if c.alive == 0 && target != options.All {
		target = options.Auto // the program is gone, and --wait=all lives on for what it has left
	}
	switch target {
	case options.Main:
		c.passToPrograms(signal)
	case options.Group:
		c.passToGroups(signal)
	case options.All:
		c.passToAll(signal)
	default:
		c.passByHandler(signal)
	}
}

// hand sends a signal to one process. That the kernel refuses is nothing to end a container for: the process may have
// changed its user (EPERM, without CAP_KILL) or be gone (ESRCH).
func (c *container) hand(pid int32, signal uint8) {
	stopped := false
	if c.telling {
		if p, ok := readStat(int(pid)); ok {
			c.told.add(&p)
			stopped = p.Stopped()
		}
	}
	errno := kernel.Kill(int(pid), signal)
	if stopped {
		kernel.Kill(int(pid), uint8(syscall.SIGCONT)) // else it would hear of it only when somebody continues it
	}
	if c.options.Verbosity > 0 {
		sayHanded(int(pid), signal, errno)
	}
}

func (c *container) passToPrograms(signal uint8) {
	if c.main != 0 {
		c.hand(int32(c.main), signal)
	}
	programs := c.beside.All()
	for i := range programs {
		if p := &programs[i]; p.pid != 0 {
			c.hand(p.pid, signal)
		}
	}
}

func (c *container) passToGroups(signal uint8) {
	c.passToGroup(c.main, c.group, signal)
	programs := c.beside.All()
	for i := range programs {
		p := &programs[i]
		c.passToGroup(int(p.pid), int(p.group), signal)
	}
}

func (c *container) passToGroup(program, group int, signal uint8) {
	if group == 0 || program == 0 && !c.ownsGroup(group) {
		return
	}
	if c.telling && c.scan() {
		all := c.processes.all()
		for i := range all {
			if p := &all[i]; int(p.Group) == group {
				c.told.add(p)
			}
		}
	}
	errno := kernel.Kill(-group, signal)
	if errno == syscall.ESRCH && program != 0 {
		errno = kernel.Kill(program, signal) // it has left its group
	}
	if c.options.Verbosity > 0 {
		sayHanded(-group, signal, errno)
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

func (c *container) passToAll(signal uint8) {
	seen := c.scan()
	all := c.processes.all()
	for i := range all {
		if p := &all[i]; c.isLeft(p) {
			if c.telling {
				c.told.add(p)
			}
			if c.pid != 1 {
				kernel.Kill(int(p.PID), signal)
			}
		}
	}
	if c.pid == 1 || !seen {
		c.signalUnseen(signal)
	}
}

// passByHandler gives a signal to the topmost processes that can handle it, each once: see package policy.
func (c *container) passByHandler(signal uint8) {
	if !c.hasProc() {
		c.passToGroups(signal)
		return
	}
	if c.main != 0 && c.alive == 1 {
		// The usual case, without a look at all the others: the main process catches it. Nor is there more to look at
		// where /proc hides other users' processes (proc(5), hidepid).
		status, ok := c.mainStatus()
		if !ok || status.Caught.Has(signal) && !(policy.FromTerminal(signal) && c.mainIsShell()) {
			c.hand(int32(c.main), signal)
			return
		}
	}
	if !c.scan() {
		c.passToGroups(signal)
		return
	}
	c.queue.Clear()
	if c.alive == 0 {
		c.queueChildren(int32(c.pid), false)
	}
	if c.main != 0 {
		c.enqueue(int32(c.main))
	}
	programs := c.beside.All()
	for i := range programs {
		if p := &programs[i]; p.pid != 0 {
			c.enqueue(p.pid)
		}
	}
	c.work(signal)
}

func (c *container) mainIsShell() bool {
	p, ok := readStat(c.main)
	return ok && policy.IsShell(p.Name())
}

// work goes through the queue, which grows by the children of those who do not handle the signal. The snapshot of
// processes must be from before the first of them was signalled: the children of the dead have a new parent.
func (c *container) work(signal uint8) {
	handed := false
	for i := 0; i < len(c.queue.All()) && i < len(c.processes.all()); i++ {
		pid := c.queue.All()[i]
		p := c.processes.find(pid)
		if p == nil {
			continue // it has ended meanwhile
		}
		answer := policy.Alone // where status says nothing of signals, as gVisor's does
		if status, ok := readStatus(int(pid)); ok {
			answer = policy.Before(&status, p.Name(), signal)
		}
		if answer != policy.Below {
			c.hand(pid, signal)
			handed = true
		}
		after := answer == policy.Look
		if after {
			answer = c.lookAgain(p, signal)
		}
		switch answer {
		case policy.Both, policy.Below:
			c.queueChildren(pid, policy.FromTerminal(signal) && policy.IsShell(p.Name()) && !after)
		case policy.Later:
			c.watch(p, signal)
		}
	}
	if !handed && len(c.queue.All()) > 0 {
		if p := c.processes.find(c.queue.All()[0]); p != nil {
			if now, ok := readStat(int(p.PID)); ok && now.Start == p.Start {
				c.hand(p.PID, signal)
			}
		}
	}
}

func (c *container) lookAgain(p *proc.Process, signal uint8) policy.Answer {
	// In this order: a SIGKILL that is no longer pending has left its flag.
	status, exists := readStatus(int(p.PID))
	after, ok := readStat(int(p.PID))
	if !ok || !exists || after.Start != p.Start {
		return policy.Both // it is gone
	}
	return policy.After(&after, &status, signal)
}

func (c *container) enqueue(pid int32) {
	if slot := c.queue.Add(); slot != nil {
		*slot = pid
	}
}

// queueChildren asks about the children of a process next. To those in the foreground of a terminal that a shell runs
// on, the terminal itself sends its signals.
func (c *container) queueChildren(parent int32, ofShell bool) {
	foreground := -1
	if ofShell && c.terminal {
		foreground, _ = kernel.Foreground(0)
	}
	all := c.processes.all()
	for i := range all {
		p := &all[i]
		if p.Parent == parent && !p.Gone() && int(p.Group) != foreground && !(c.untoldOnly && c.told.has(p)) && int(p.PID) != c.relay {
			c.enqueue(p.PID)
		}
	}
}

// watched is a process that may be writing its core dump, and one of its children.
type watched struct {
	process, child identity
	signal         uint8
	telling        bool
	next, step     int64 // when to look again, and how long to wait after that
}

// watchAtMost is how long a process may take to begin with its core dump.
const watchAtMost = 1e9

// watch makes sure that the children of a process get the signal when it has died of it.
func (c *container) watch(p *proc.Process, signal uint8) {
	const first = 1e6
	all := c.processes.all()
	for i := range all {
		if child := &all[i]; child.Parent == p.PID && !child.Gone() {
			if w := c.watches.Add(); w != nil {
				*w = watched{process: identify(p), child: identify(child), signal: signal,
					telling: c.telling, next: kernel.Now() + first, step: first}
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
		child, signal, telling := w.child, w.signal, w.telling
		c.watches.Remove(i)
		if !died {
			continue // it takes the signal with sigwait: its children are its own affair
		}
		if c.scan() {
			if p := c.processes.find(child.pid); p != nil && p.Start == child.start {
				c.telling = telling
				c.queue.Clear()
				c.enqueue(child.pid)
				c.work(signal)
				c.telling = false
			}
		}
	}
}
