package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/decimal"
	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/initbin/policy"
	"github.com/podinit/podinit/initbin/proc"
)

// does is what a process of the snapshot does about a signal. /proc/PID/stat has been read already, and has the signals
// up to 31.
//
//go:noinline
func (c *container) does(p *proc.Process, signal uint8) proc.Disposition {
	if c.processes.hasSignals && signal <= proc.InStat {
		return p.Does(signal)
	}
	status := readStatus(int(p.PID))
	return status.Does(signal)
}

// handles reports whether a process has a handler for a signal, or takes it in another visible way. A process counts as
// handling it where that cannot be known, and if its program had a handler when the container was asked to end: process.once of
// Node.js removes the handler at its first call.
func (c *container) handles(p *proc.Process, d *delivery) bool {
	does := c.does(p, d.signal)
	switch {
	case does.Caught || c.handlers.hasProgram(p):
		return true
	case !does.Known:
		return !c.readsPipe(p, d)
	case does.Blocked:
		return c.blocksForLong(p, d) && !c.reaps(p, d)
	}
	return false
}

// markHandlers marks every process below the init that handles a signal which asks to end, and all above it, and
// remembers those that handle it. It returns how many these are. What it has to read for that, of many processes, does not
// count for what is read afterwards of the few in the queue.
func (c *container) markHandlers(d *delivery) (n int) {
	all := c.processes.all()
	for i := range all {
		p := &all[i]
		if !c.isLeft(p) || !c.handles(p, d) && !c.waitsNow(p, d) {
			continue
		}
		n++
		c.handlers.add(p)
		for at := int32(i) + 1; at != 0 && !all[at-1].Handles; at = all[at-1].Up {
			all[at-1].Handles = true
		}
	}
	d.looks = 0
	return n
}

// facts are what policy.Before needs to know about a process.
func (c *container) facts(p *proc.Process, d *delivery) policy.Facts {
	f := policy.Facts{Disposition: c.does(p, d.signal)}
	f.Blocked = f.Blocked && (f.Caught || c.blocksForLong(p, d))
	switch {
	case f.Caught:
	case !f.Known:
		f.Sandbox = d.ends && c.hasSandbox(p, d)
	case f.Blocked:
		f.Reaps = c.reaps(p, d)
	case !d.ends:
		// A signal that asks to end is sent, and what happens is observed.
		waits := c.waits(p, d)
		f.Waits = waits == yes || waits == unknown && policy.IsInit(p.Name())
	case !f.Ignored:
		f.Sandbox = c.hasSandbox(p, d)
	}
	return f
}

// blocksForLong reports whether a process that blocks a signal does so for more than the moment in which it starts another:
// a shell blocks every signal until it runs again after vfork(2). It does not sleep then; how soon it runs depends on the
// machine. A program with several threads is not such a shell, and may have a thread that takes signals. The time is for
// all such processes of a delivery together: while the first is waited for, the moment of the others passes as well.
func (c *container) blocksForLong(p *proc.Process, d *delivery) bool {
	const first, longest = 500e3, 512e6
	state := p.State
	for wait := int64(first); p.Threads <= 1 && (state == 'R' || state == 'D') && d.mayLook(); wait *= 2 {
		status := readStatus(int(p.PID))
		if !status.Blocked.Has(d.signal) {
			return false
		}
		if state = status.State; state == 'R' || state == 'D' {
			if d.waited+wait > longest {
				break
			}
			kernel.Sleep(wait)
			d.waited += wait
		}
	}
	return true
}

// reaps reports whether a process that blocks a signal has one thread and waits for a child. A shell blocks everything for
// the moment in which it starts a program, and waits for it afterwards: both must hold at once.
func (c *container) reaps(p *proc.Process, d *delivery) bool {
	if p.Threads > 1 || !c.call(p, d).WaitsForChild() {
		return false
	}
	status := readStatus(int(p.PID))
	return status.Blocked.Has(d.signal) && c.call(p, d).WaitsForChild()
}

// maxLooks bounds the files that are read for one delivery to find out what only few processes do, such as waiting for
// a signal.
const maxLooks = 256

// mayLook reports whether one more file may be read for this delivery.
func (d *delivery) mayLook() bool {
	d.looks++
	return d.looks <= maxLooks
}

// call is the system call that a process is in.
func (c *container) call(p *proc.Process, d *delivery) kernel.Call {
	call, _, _ := c.readCall(p, d)
	return call
}

// readCall reads /proc/PID/syscall. ok is false if the kernel refuses: that needs the rights of a debugger.
func (c *container) readCall(p *proc.Process, d *delivery) (call kernel.Call, argument uint64, ok bool) {
	if !d.mayLook() {
		return -1, 0, false
	}
	var memory [40]byte
	var text [256]byte
	n, errno := kernel.ReadFile(processFile(&memory, int(p.PID), "/syscall"), text[:])
	number, argument := proc.ParseCall(text[:n])
	return kernel.Call(number), argument, errno == 0
}

// answer is yes, no, or unknown.
type answer uint8

const (
	unknown answer = iota
	no
	yes
)

// waits reports whether a process waits for a signal with sigwait(3), as tini, dumb-init and this init do: then the kernel
// unblocks the signal, and no other file shows it. Between two waits the signal is blocked; but a process that another
// signal has just woken seems to run with its signals unblocked. It gets a moment to go on, and a process that has
// waited once is remembered.
func (c *container) waits(p *proc.Process, d *delivery) answer {
	const moment, attempts = 500e3, 40
	for range attempts {
		call, set, ok := c.readCall(p, d)
		switch {
		case !ok:
			return unknown
		case call.WaitsForSignal():
			if mask, errno := kernel.SignalSet(int(p.PID), set); errno == 0 && !proc.Set(mask).Has(d.signal) {
				return no
			}
			c.waiters.add(p)
			return yes
		}
		if status := readStatus(int(p.PID)); status.Blocked.Has(d.signal) || c.waiters.has(p) {
			return yes
		}
		if call >= 0 {
			return no // it is in another call
		}
		kernel.Sleep(moment)
	}
	return no
}

// waitsNow reports whether a process waits for a signal with sigwait(3), as far as one look can tell.
func (c *container) waitsNow(p *proc.Process, d *delivery) bool {
	if c.does(p, d.signal).Ignored {
		return false
	}
	call, set, ok := c.readCall(p, d)
	if !ok || !call.WaitsForSignal() {
		return false
	}
	mask, errno := kernel.SignalSet(int(p.PID), set)
	return errno != 0 || proc.Set(mask).Has(d.signal)
}

// hasSandbox reports whether the only child of a process is PID 1 of a PID namespace of its own.
func (c *container) hasSandbox(p *proc.Process, d *delivery) bool {
	if p.Child == 0 {
		return false
	}
	child := &c.processes.all()[p.Child-1]
	return child.Sibling == 0 && c.isNestedInit(child, d)
}

// isNestedInit reports whether a process is PID 1 of a PID namespace of its own.
func (c *container) isNestedInit(p *proc.Process, d *delivery) bool {
	if !d.mayLook() {
		return false
	}
	if c.processes.hasSignals {
		status := readStatus(int(p.PID))
		return status.NestedInit
	}
	// gVisor has no NSpid, but the links differ.
	var own, parents [64]byte
	n := c.readLink(int(p.PID), "/ns/pid", own[:])
	m := c.readLink(int(p.Parent), "/ns/pid", parents[:])
	return n > 0 && m > 0 && kernel.AsString(own[:n]) != kernel.AsString(parents[:m])
}

// readLink reads a link in the directory of a process in /proc, and returns its length, 0 if it cannot be read.
func (c *container) readLink(pid int, file string, into []byte) (n int) {
	var memory [40]byte
	n, errno := kernel.Readlink(processFile(&memory, pid, file), into)
	if errno != 0 {
		return 0
	}
	return n
}

// readsPipe reports whether a process reads from a pipe that is not the container's own: as it does in a pipeline.
func (c *container) readsPipe(p *proc.Process, d *delivery) bool {
	const pipe = "pipe:"
	if !d.mayLook() {
		return false
	}
	var own, containers [64]byte
	n := c.readLink(int(p.PID), "/fd/0", own[:])
	m := c.readLink(c.pid, "/fd/0", containers[:])
	return n > len(pipe) && string(own[:len(pipe)]) == pipe && kernel.AsString(own[:n]) != kernel.AsString(containers[:m])
}

// maxScript is how much of a shell's script is read, in bytes.
const maxScript = 256 << 10

// shell is what is known about a process as a shell, for a signal.
func (c *container) shell(p *proc.Process, d *delivery) (shell policy.Shell) {
	shell.Asked = true
	kind := c.shellKind(p, d)
	if kind == 0 {
		return shell
	}
	shell.Is, shell.Bash = true, kind == policy.Bash
	name := options.Signal(d.signal).Name()
	readScript(&shell.Script, int(p.PID), "/cmdline", name)
	// bash keeps its script open as descriptor 255, dash and busybox as 10, until they have read it to its end.
	readScript(&shell.Script, int(p.PID), "/fd/255", name)
	readScript(&shell.Script, int(p.PID), "/fd/10", name)
	readNamedScript(&shell.Script, int(p.PID), name)
	if c.does(p, sigTERM).Caught || c.does(p, sigHUP).Caught || c.does(p, sigQUIT).Caught {
		shell.Traps = true // they may be in a file that the script has read
	}
	// An interactive shell with job control ignores what a terminal stops jobs with, too.
	shell.Interactive = !shell.Traps && c.does(p, sigTSTP).Ignored
	return shell
}

func readScript(script *policy.Script, pid int, file, signal string) {
	var memory [40]byte
	var link [64]byte
	path := processFile(&memory, pid, file)
	if n, errno := kernel.Readlink(path, link[:]); errno == 0 && (n < len(devices) || link[0] != '/' || string(link[:len(devices)]) == devices) {
		return // a pipe or a device, which opening may change
	}
	readScriptFile(script, path, signal)
}

// readScriptFile reads a file, if it is one with a beginning and an end.
func readScriptFile(script *policy.Script, path []byte, signal string) bool {
	fd, errno := kernel.Open(path, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if errno != 0 {
		return false
	}
	var text [1024]byte
	for read := 0; read < maxScript && (read > 0 || kernel.Rewind(fd) == 0); { // a named pipe has no beginning
		n, errno := kernel.Read(fd, text[:])
		if errno != 0 || n == 0 {
			break
		}
		script.Read(text[:n], signal)
		read += n
	}
	kernel.Close(fd)
	text[0] = 0
	script.Read(text[:1], signal) // ends the last word
	return true
}

// readNamedScript reads the file that a shell's first arguments name, if one of them does.
func readNamedScript(script *policy.Script, pid int, signal string) {
	var memory [40]byte
	var text [512]byte
	n, _ := kernel.ReadFile(processFile(&memory, pid, "/cmdline"), text[:])
	_, rest := cutAtNUL(text[:n])
	const words = 3 // an option, or the name of an applet, before it
	for i := 0; i < words && len(rest) > 0; i++ {
		var word string
		word, rest = cutAtNUL(rest)
		if rest == nil || len(word) == 0 || word[0] == '-' || len(word) >= len(devices) && word[:len(devices)] == devices {
			continue
		}
		var path [600]byte
		var name []byte
		if word[0] == '/' {
			name = kernel.Path(path[:], word)
		} else {
			var digits [decimal.Size]byte
			d := decimal.Put(digits[:], uint64(pid))
			name = kernel.Path(path[:], "/proc/", kernel.AsString(digits[:d]), "/cwd/", word)
		}
		if name != nil && readScriptFile(script, name, signal) {
			return
		}
	}
}

const devices = "/dev/"

// shellKind is the kind of shell that a process is: by the name of its executable, since a script with a #! line has its
// own command name; and by its arguments too, if the executable has many programs in it or cannot be known.
func (c *container) shellKind(p *proc.Process, d *delivery) policy.ShellKind {
	if kind := policy.ShellOf(p.Name()); kind != 0 || !d.mayLook() {
		return kind
	}
	var memory [40]byte
	var link [256]byte
	n, errno := kernel.Readlink(processFile(&memory, int(p.PID), "/exe"), link[:])
	if errno == 0 && n < len(link) {
		program := cutDeleted(kernel.AsString(link[:n]))
		if name := baseName(program); !policy.Applets(name) {
			return policy.ShellOf(name)
		}
	}
	var text [256]byte
	n, _ = kernel.ReadFile(processFile(&memory, int(p.PID), "/cmdline"), text[:])
	first, rest := cutAtNUL(text[:n])
	second, _ := cutAtNUL(rest)
	name := baseName(first)
	if len(name) > 1 && name[0] == '-' {
		name = name[1:] // a login shell
	}
	if policy.Applets(name) {
		name = second
	}
	return policy.ShellOf(name)
}

// cutDeleted removes what the kernel appends to the path of a file that has been deleted (proc_pid_exe(5)).
func cutDeleted(path string) string {
	const deleted = " (deleted)"
	if n := len(path) - len(deleted); n > 0 && path[n:] == deleted {
		return path[:n]
	}
	return path
}

//go:noinline
func cutAtNUL(text []byte) (first string, rest []byte) {
	for i := range text {
		if text[i] == 0 {
			return kernel.AsString(text[:i]), text[i+1:]
		}
	}
	return kernel.AsString(text), nil
}
