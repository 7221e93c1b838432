package main

import (
	"runtime" // for its constants alone
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/line"
	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/initbin/proc"
)

// The exit codes of the init itself, which are those of shells and tini; all others come from the main process.
const (
	exitUsage     = 1
	exitCannotRun = 126
	exitNotFound  = 127
)

// log writes a line to standard error, if that can be written now: a pipe that is full or broken must neither block the
// init nor raise SIGPIPE.
func log(l *line.Line) {
	writable, errno := kernel.Writable(2)
	if errno == 0 && !writable {
		return
	}
	if errno == 0 && !kernel.IsTerminal(2) {
		kernel.Write(2, l.End().Bytes())
		return
	}
	// A terminal may have room for a part of the line only, and then blocks; and where poll is refused, that is unknown.
	// O_NONBLOCK is a flag of the open file, which the program uses too, so the init opens it once more.
	fd, errno := kernel.Open(kernel.Bytes("/proc/self/fd/2\x00"), syscall.O_WRONLY|syscall.O_APPEND|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if errno == 0 {
		kernel.Write(fd, l.End().Bytes())
		kernel.Close(fd)
	}
}

// openTerminationMessage opens the file of --termination-message before any program runs: a program that runs as another
// user may own the directory, and could later make the path lead elsewhere. Only a regular file is written.
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

// noMessage is the value of container.message if there is no file for it.
const noMessage = -1

// writeTerminationMessage writes a line to the file that Kubernetes shows, unless the program has written its own message
// there. It returns false if there is no such file, or no room in it.
func (c *container) writeTerminationMessage(l *line.Line) bool {
	if c.message == 0 { // no program has been started
		c.openTerminationMessage()
	}
	size, errno := kernel.SeekEnd(c.message)
	written := 1
	if errno == 0 && size == 0 {
		written, errno = kernel.Write(c.message, l.End().Bytes())
	}
	return errno == 0 && written > 0
}

// Each of these functions has a line on its stack, so they are not inlined: the stack of the callers stays in memory.

//go:noinline
func (c *container) reportUsage(p options.Problem) {
	var l line.Line
	l.Text("podinit: ").Text(p.Flag).Text(": ")
	if p.Word != "" {
		l.Quoted(p.Word).Text(" is not ")
	}
	c.reportAndLog(l.Text(p.Want))
}

//go:noinline
func (c *container) reportNoPlatform() {
	var l line.Line
	l.Text("podinit: --platform: none matches this machine, linux/").Text(runtime.GOARCH).
		Text("; create the pod again, since the cluster has a new architecture, or give the container a command")
	nameLookup(&l, c.options.LookupDigest)
	c.reportAndLog(&l)
}

//go:noinline
func logNoMemory(errno kernel.Errno) {
	var l line.Line
	log(l.Text("podinit: cannot map memory for the command line: ").Text(reason(errno)))
}

// logCannot reports that the kernel refuses a system call that the init needs.
//
//go:noinline
func logCannot(do string, errno kernel.Errno) {
	var l line.Line
	log(l.Text("podinit: cannot ").Text(do).Text(": ").Text(reason(errno)).Text(seccompHint))
}

const seccompHint = "; a seccomp profile that was recorded for the program alone may forbid it: allow it, or run without podinit"

//go:noinline
func logNoProc() {
	var l line.Line
	log(l.Text("podinit: /proc is missing or belongs to another PID namespace: only the main process gets signals; mount it"))
}

// logRefused reports once that the stop signal could not be sent: that is why the container does not stop.
//
//go:noinline
func logRefused(pid int, p *proc.Process, signal uint8, errno kernel.Errno) {
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
	log(&l)
}

//go:noinline
func logSent(pid int, signal uint8, errno kernel.Errno) {
	var l line.Line
	l.Text("podinit: sending ")
	signalName(&l, signal)
	l.Text(" to pid ").Number(int64(pid))
	if errno != 0 {
		l.Text(": ").Text(reason(errno))
	}
	log(&l)
}

//go:noinline
func (c *container) logProcfile(lineNumber int, problem, name string) {
	var l line.Line
	l.Text("podinit: --procfile: ").Text(c.options.Procfile)
	if lineNumber > 0 {
		l.Text(", line ").Number(int64(lineNumber))
	}
	l.Text(": ").Text(problem)
	if name != "" {
		l.Text(" ").Quoted(name)
	}
	c.reportAndLog(&l)
}

//go:noinline
func logProcfileEnded(name string, status syscall.WaitStatus, stopping bool) {
	var l line.Line
	l.Text("podinit: ").Quoted(name).Text(" ")
	if status.Signaled() {
		l.Text("was killed by ")
		signalName(&l, uint8(status.Signal()))
	} else {
		l.Text("exited with code ").Number(int64(status.ExitStatus()))
	}
	if stopping {
		l.Text(": stopping the others")
	}
	log(&l)
}

//go:noinline
func (c *container) logStarted() {
	var l line.Line
	log(l.Text("podinit: started ").Quoted(c.programs.mainName).Text(" as pid ").Number(int64(c.programs.main().pid)))
}

//go:noinline
func (c *container) logEnded(status int) {
	var l line.Line
	log(l.Text("podinit: ").Quoted(c.programs.mainName).Text(" exited with code ").Number(int64(status)))
}

//go:noinline
func logReaped(pid int, status syscall.WaitStatus) {
	var l line.Line
	l.Text("podinit: reaped orphan pid ").Number(int64(pid))
	if status.Signaled() {
		l.Text(", killed by ")
		signalName(&l, uint8(status.Signal()))
	}
	log(&l)
}

//go:noinline
func (c *container) reportCannotFork(name string, errno kernel.Errno) {
	var l line.Line
	l.Text("podinit: cannot start ").Quoted(name).Text(": fork: ").Text(reason(errno))
	if errno == syscall.EAGAIN {
		l.Text("; the container's limit of processes (pids.max, RLIMIT_NPROC) must allow at least two")
	}
	c.reportAndLog(&l)
}

// reportCannotRun reports why a program cannot be started. digest is that of the image that the program was looked up from;
// empty if it was not looked up.
//
//go:noinline
func (c *container) reportCannotRun(name string, errno kernel.Errno, digest string) {
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
		l.Text("arguments and environment together are too long")
	default:
		l.Text(reason(errno))
	}
	nameLookup(&l, digest)
	c.reportAndLog(&l)
}

// nameLookup adds the image that the program was looked up from. If its tag has moved since then, the program of one image
// is started in another, and nothing else shows that.
func nameLookup(l *line.Line, digest string) {
	if digest != "" {
		l.Text("; the command was looked up from image ").Text(digest).
			Text(": if the container's Image ID is another, its tag has moved: create the pod again, and pin the image (pinDigest: OnLookup)")
	}
}

// maxNames is how many killed processes a message names.
const maxNames = 10

// reportEnd reports what went wrong: the main process died by a signal, or of several programs one failed, or remaining
// processes are about to be killed. It writes nothing if all is well. now is 0 at the end of the container.
//
//go:noinline
func (c *container) reportEnd(now int64) {
	var l line.Line
	known := now == 0 // whether standard error need not have it
	outOfMemory := c.exitCode() != 0 && oomKills() > c.oomKills
	switch {
	case c.exitCode() == 0: // with --remap-exit-code, this is a good end
	case c.outcome.signal != 0:
		known = known && (c.outcome.program != 0 || c.sent.Has(c.outcome.signal)) // it has been logged, or the signal was sent to it
		l.Text("podinit: ").Quoted(c.programs.name(c.outcome.program)).Text(" was killed by ")
		signalName(&l, c.outcome.signal)
		if c.outcome.dumped {
			l.Text(", core dumped")
		}
		if c.outcome.signal == sigKILL && !c.sent.Has(c.outcome.signal) {
			if outOfMemory {
				l.Text(" because the container ran out of memory")
			}
		} else if outOfMemory {
			l.Text("; ").Text(oomVictim)
		}
	case c.programs.several() && c.outcome.status != exitCannotRun:
		// The exit code alone does not show which of them it was.
		l.Text("podinit: ").Quoted(c.programs.name(c.outcome.program)).Text(" exited with code ").Number(int64(c.outcome.status))
		if outOfMemory {
			l.Text("; ").Text(oomVictim)
		}
	case outOfMemory && now == 0 && c.outcome.status != exitCannotRun:
		known = false
		l.Text("podinit: ").Quoted(c.programs.mainName).Text(" exited with code ").Number(int64(c.outcome.status)).Text("; ").Text(oomVictim)
	}
	if now != 0 && c.anyLeft() {
		if c.phase == killing {
			c.nameRemaining(&l, now, "killed processes ")
		} else {
			c.nameRemaining(&l, now, "")
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
		log(&l)
	}
}

// oomVictim is for when another process than the main one was killed for memory.
const oomVictim = "another process was killed because the container ran out of memory"

// oomKills is how many processes the memory limit has killed: Kubernetes shows OOMKilled only if one is PID 1. The file
// belongs to the container's cgroup, of version 2 or 1 (cgroups(7)); outside Kubernetes, processes may have been killed
// there before.
func oomKills() uint64 {
	var text [512]byte
	n, errno := kernel.ReadFile(kernel.Bytes("/sys/fs/cgroup/memory.events\x00"), text[:])
	if errno != 0 {
		n, _ = kernel.ReadFile(kernel.Bytes("/sys/fs/cgroup/memory/memory.oom_control\x00"), text[:])
	}
	return proc.OOMKills(text[:n])
}

// nameRemaining names the remaining processes.
func (c *container) nameRemaining(l *line.Line, now int64, verb string) {
	if l.Empty() {
		l.Text("podinit: ")
	} else {
		l.Text("; ")
	}
	l.Text(verb).Text("still running ").Seconds(now - c.since).Text(" after ")
	if c.asked {
		l.Text("the stop signal")
	} else {
		l.Quoted(c.programs.name(c.programs.endedFirst)).Text(" exited")
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
		case named == maxNames:
			l.Text(", ...")
			return
		default:
			l.Text(", ")
		}
		l.Text(p.Name()).Text(" (pid ").Number(int64(p.PID)).Text(")")
		named++
	}
}

// anyLeft takes a new snapshot and reports whether any process is left. Without /proc there may be.
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

// isLeft reports whether a process of the snapshot is below the init and still runs, and is not the relay.
//
//go:noinline
func (c *container) isLeft(p *proc.Process) bool {
	return p.Ours && !p.Gone() && int(p.PID) != c.programs.relay
}

func signalName(l *line.Line, signal uint8) {
	if name := options.Signal(signal).Name(); name != "" {
		l.Text(name)
	} else {
		l.Text("signal ").Number(int64(signal))
	}
}

// reportAndLog is for a container in which no program runs, whose log a line could disturb.
func (c *container) reportAndLog(l *line.Line) {
	c.writeTerminationMessage(l)
	log(l)
}

// reason is an error in words: those that are to be expected.
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
