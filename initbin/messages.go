package main

import (
	"runtime" // for its constants alone
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/line"
	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/initbin/proc"
)

// The exit codes that are our own; all others are the main process's. They are what shells and tini use.
const (
	exitUsage     = 1
	exitCannotRun = 126
	exitNotFound  = 127
)

// say writes a line to standard error, if that takes it: a pipe that is full or broken must neither stop the init nor
// raise SIGPIPE.
func say(l *line.Line) {
	writable, errno := kernel.Writable(2)
	if errno == 0 && !writable {
		return
	}
	if errno == 0 && !kernel.IsTerminal(2) {
		kernel.Write(2, l.End().Bytes())
		return
	}
	// A terminal that nobody reads may have room for a part of the line, and blocks for the rest; and where poll is
	// refused, nobody knows. O_NONBLOCK belongs to the open file, which is also the program's, so this takes one of its own.
	var memory [32]byte
	fd, errno := kernel.Open(kernel.Path(memory[:], "/proc/self/fd/2"), syscall.O_WRONLY|syscall.O_APPEND|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if errno == 0 {
		kernel.Write(fd, l.End().Bytes())
		kernel.Close(fd)
	}
}

// openTerminationMessage opens the file of --termination-message before any program runs: a program that has given up
// root may own the directory, and decides later what the path leads to. What is not a regular file is not written.
func (c *container) openTerminationMessage() {
	c.message = noMessage
	var memory [4096]byte
	path := kernel.Path(memory[:], c.options.TerminationMessage)
	if path == nil || c.options.TerminationMessage == "" {
		return
	}
	fd, errno := kernel.Open(path, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_NOFOLLOW|syscall.O_APPEND|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0o644)
	switch {
	case errno != 0:
	case kernel.IsRegular(fd):
		c.message = fd
	default:
		kernel.Close(fd)
	}
}

// noMessage is container.message where there is no file for it.
const noMessage = -1

// writeTerminationMessage writes a line where Kubernetes shows it, unless the program has written its own message there.
// It is false if there is no such place, or no room there.
func (c *container) writeTerminationMessage(l *line.Line) bool {
	if c.message == 0 { // there is no program yet
		c.openTerminationMessage()
	}
	size, errno := kernel.SeekEnd(c.message)
	written := 1
	if errno == 0 && size == 0 {
		written, errno = kernel.Write(c.message, l.End().Bytes())
	}
	return errno == 0 && written > 0
}

// These functions hold a line each, and are kept out of their callers, whose stack stays with the init for ever.

//go:noinline
func (c *container) reportUsage(p options.Problem) {
	var l line.Line
	l.Text("podinit: ").Text(p.Flag).Text(": ")
	if p.Word != "" {
		l.Quoted(p.Word).Text(" is not ")
	}
	c.reportAndSay(l.Text(p.Want))
}

//go:noinline
func (c *container) reportNoPlatform() {
	var l line.Line
	c.reportAndSay(l.Text("podinit: --platform: none is for linux/").Text(runtime.GOARCH).
		Text(", which this is; create the pod again, as the cluster has a new architecture, or give it a command"))
}

//go:noinline
func sayNoMemory(errno kernel.Errno) {
	var l line.Line
	say(l.Text("podinit: cannot map memory for the command line: ").Text(reason(errno)))
}

// sayCannot reports that the kernel refuses a system call that the init cannot do without.
//
//go:noinline
func sayCannot(do string, errno kernel.Errno) {
	var l line.Line
	say(l.Text("podinit: cannot ").Text(do).Text(": ").Text(reason(errno)).Text(seccompHint))
}

const seccompHint = "; a seccomp profile that was recorded for the program alone may forbid it: allow it, or run without podinit"

//go:noinline
func sayNoProc() {
	var l line.Line
	say(l.Text("podinit: /proc is missing or not of this PID namespace: signals go to the main process alone; mount it"))
}

// sayRefused reports once that the stop signal could not be sent: a container that does not stop must say why.
//
//go:noinline
func sayRefused(pid int, p *proc.Process, signal uint8, errno kernel.Errno) {
	var l line.Line
	l.Text("podinit: cannot send ")
	signalName(&l, signal)
	l.Text(" to ")
	if p != nil {
		l.Quoted(p.Name()).Text(" (pid ").Number(int64(pid)).Text(")")
	} else {
		l.Text("pid ").Number(int64(pid))
	}
	l.Text(": ").Text(reason(errno))
	if errno == syscall.EPERM {
		l.Text("; it runs as another user: add the capability KILL to the container, or start the program as the container's user")
	} else {
		l.Text(seccompHint)
	}
	say(&l)
}

//go:noinline
func saySent(pid int, signal uint8, errno kernel.Errno) {
	var l line.Line
	l.Text("podinit: sending ")
	signalName(&l, signal)
	l.Text(" to pid ").Number(int64(pid))
	if errno != 0 {
		l.Text(": ").Text(reason(errno))
	}
	say(&l)
}

//go:noinline
func (c *container) sayProcfile(lineNumber int, problem, name string) {
	var l line.Line
	l.Text("podinit: --procfile: ").Text(c.options.Procfile)
	if lineNumber > 0 {
		l.Text(", line ").Number(int64(lineNumber))
	}
	l.Text(": ").Text(problem)
	if name != "" {
		l.Text(" ").Quoted(name)
	}
	c.reportAndSay(&l)
}

//go:noinline
func (c *container) sayBesideEnded(name string, status syscall.WaitStatus, stopping bool) {
	var l line.Line
	l.Text("podinit: ").Quoted(name).Text(" ")
	if status.Signaled() {
		l.Text("was killed by ")
		signalName(&l, uint8(status.Signal()))
	} else {
		l.Text("has ended with ").Number(int64(status.ExitStatus()))
	}
	if stopping {
		l.Text(": stopping the others")
	}
	say(&l)
}

//go:noinline
func (c *container) sayStarted() {
	var l line.Line
	say(l.Text("podinit: started ").Quoted(c.mainName).Text(" as pid ").Number(int64(c.main)))
}

//go:noinline
func (c *container) sayEnded(status int) {
	var l line.Line
	say(l.Text("podinit: ").Quoted(c.mainName).Text(" has ended with ").Number(int64(status)))
}

//go:noinline
func sayReaped(pid int, status syscall.WaitStatus) {
	var l line.Line
	l.Text("podinit: reaped orphan pid ").Number(int64(pid))
	if status.Signaled() {
		l.Text(", killed by ")
		signalName(&l, uint8(status.Signal()))
	}
	say(&l)
}

//go:noinline
func (c *container) reportCannotFork(name string, errno kernel.Errno) {
	var l line.Line
	l.Text("podinit: cannot start ").Quoted(name).Text(": fork: ").Text(reason(errno))
	if errno == syscall.EAGAIN {
		l.Text("; the container's limit of processes (pids.max, RLIMIT_NPROC) must leave room for two")
	}
	c.reportAndSay(&l)
}

//go:noinline
func (c *container) reportCannotRun(name string, errno kernel.Errno) {
	var l line.Line
	l.Text("podinit: cannot run ").Quoted(name).Text(": ")
	switch errno {
	case syscall.ENOENT:
		if contains(name, '/') {
			l.Text("no such file, or the interpreter that it names does not exist")
		} else {
			l.Text("not found in PATH")
		}
		l.Text("; check the container's command and image")
	case errnoNoInterpreter:
		l.Text("it is in PATH, but the interpreter that it names does not exist; check its #! line, or the image's C library")
	case syscall.EACCES:
		l.Text("permission denied; it must be a file, executable for the container's user, on a volume without noexec")
	case syscall.ENOEXEC:
		l.Text("neither a program for this machine nor a script with a #! line")
	case syscall.ETXTBSY:
		l.Text("it is open for writing; close it before it is run")
	case syscall.E2BIG:
		l.Text("arguments and environment are too long together")
	default:
		l.Text(reason(errno))
	}
	c.reportAndSay(&l)
}

// namesAtMost is how many killed processes a message names.
const namesAtMost = 10

// reportEnd says what ought not to have happened: the main process died by a signal, or of several programs one failed,
// or others had to be killed, which is about to be done. It is silent if all is well.
//
//go:noinline
func (c *container) reportEnd(now int64) {
	var l line.Line
	known := now == 0 // whether it is nothing that standard error needs to say
	outOfMemory := c.exitCode() != 0 && oomKills() > c.oomKills
	switch {
	case c.exitCode() == 0: // --remap-exit-code says that this is how it ends well
	case c.diedOf != 0:
		known = known && (c.culprit != 0 || c.sent.Has(c.diedOf)) // it has been said, or has been asked for
		l.Text("podinit: ").Quoted(c.programName(c.culprit)).Text(" was killed by ")
		signalName(&l, c.diedOf)
		if c.dumped {
			l.Text(", core dumped")
		}
		if c.diedOf == uint8(syscall.SIGKILL) && !c.sent.Has(c.diedOf) {
			if outOfMemory {
				l.Text(", as the container ran out of memory")
			}
		} else if outOfMemory {
			l.Text("; ").Text(oomVictim)
		}
	case len(c.beside.All()) > 0 && c.status != exitCannotRun:
		// Which of them it was the exit code alone does not tell.
		l.Text("podinit: ").Quoted(c.programName(c.culprit)).Text(" has ended with ").Number(int64(c.status))
		if outOfMemory {
			l.Text("; ").Text(oomVictim)
		}
	case outOfMemory && now == 0 && c.status != exitCannotRun:
		known = false
		l.Text("podinit: ").Quoted(c.mainName).Text(" has ended with ").Number(int64(c.status)).Text("; ").Text(oomVictim)
	}
	if now != 0 && c.anyLeft() {
		if c.killed {
			c.nameRest(&l, now, "killed, ")
		} else {
			c.nameRest(&l, now, "")
		}
		if c.refused != 0 {
			l.Text("; ")
			signalName(&l, c.stopSignal)
			l.Text(" could not be sent: ").Text(reason(c.refused))
			if c.refused == syscall.EPERM {
				l.Text(" (add the capability KILL)")
			}
		}
	}
	switch {
	case l.Empty() || c.writeTerminationMessage(&l) || known:
	default:
		say(&l)
	}
}

// oomVictim is what to say when not the main process, but another was killed for memory.
const oomVictim = "another process was killed because the container ran out of memory"

// oomKills is how many processes the memory limit has killed: Kubernetes shows OOMKilled only when that hits PID 1. The
// file is the container's own cgroup's, of version 2 or 1 of cgroups(7); by hand it may be one with a history.
func oomKills() uint64 {
	var memory [64]byte
	fd, errno := kernel.Open(kernel.Path(memory[:], "/sys/fs/cgroup/memory.events"), syscall.O_RDONLY, 0)
	if errno != 0 {
		fd, errno = kernel.Open(kernel.Path(memory[:], "/sys/fs/cgroup/memory/memory.oom_control"), syscall.O_RDONLY, 0)
	}
	if errno != 0 {
		return 0
	}
	var text [512]byte
	n, _ := kernel.Read(fd, text[:])
	kernel.Close(fd)
	return proc.OOMKills(text[:n])
}

// nameRest names the processes that are left.
func (c *container) nameRest(l *line.Line, now int64, verb string) {
	if l.Empty() {
		l.Text("podinit: ")
	} else {
		l.Text("; ")
	}
	l.Text(verb).Text("still running ").Seconds(now - c.since).Text(" after ")
	if c.stopping {
		l.Text("the stop signal")
	} else {
		l.Quoted(c.programName(c.endedFirst)).Text(" had ended")
	}
	named := 0
	all := c.processes.all()
	for i := range all {
		p := &all[i]
		if !c.isLeft(p) {
			continue
		}
		switch {
		case named == 0:
			l.Text(": ")
		case named == namesAtMost:
			l.Text(", ...")
			return
		default:
			l.Text(", ")
		}
		l.Text(p.Name()).Text(" (pid ").Number(int64(p.PID)).Text(")")
		named++
	}
}

// anyLeft says whether any process is left, with a new snapshot. Without /proc there may be.
func (c *container) anyLeft() bool {
	if !c.scan() {
		c.processes.list.Clear()
		return true
	}
	all := c.processes.all()
	for i := range all {
		if c.isLeft(&all[i]) {
			return true
		}
	}
	return false
}

// isLeft says whether a process of the snapshot is ours to wait for and still runs.
//
//go:noinline
func (c *container) isLeft(p *proc.Process) bool {
	return p.Ours && !p.Gone() && int(p.PID) != c.relay
}

func signalName(l *line.Line, signal uint8) {
	if name := options.Signal(signal).Name(); name != "" {
		l.Text(name)
	} else {
		l.Text("signal ").Number(int64(signal))
	}
}

// reportAndSay is for a container that never came to life: then there is no program whose log could be disturbed.
func (c *container) reportAndSay(l *line.Line) {
	c.writeTerminationMessage(l)
	say(l)
}

// reason is an error in words, the few that can come up; the others have numbers.
//
//go:noinline
func reason(errno kernel.Errno) string {
	switch errno {
	case syscall.EPERM:
		return "operation not permitted"
	case syscall.ESRCH:
		return "no such process"
	case syscall.EAGAIN:
		return "resource temporarily unavailable"
	case syscall.ENOMEM:
		return "out of memory"
	case syscall.ENOSYS:
		return "the kernel has no such system call"
	case syscall.EIO:
		return "input/output error"
	case syscall.ELOOP:
		return "too many symbolic links"
	case syscall.ENAMETOOLONG:
		return "the name is too long"
	case syscall.ENOTDIR:
		return "a part of the path is not a directory"
	case syscall.EINVAL:
		return "invalid argument"
	}
	return "error"
}
