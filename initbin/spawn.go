package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/decimal"
	"github.com/podinit/podinit/initbin/kernel"
)

// defaultPath is where programs are looked for when the container has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Paths as the kernel wants them, with a NUL at the end.
const (
	devNull       = "/dev/null\x00"
	binSh         = "/bin/sh\x00"
	root          = "/\x00"
	ownExecutable = "/proc/self/exe\x00"
)

// holdStreams opens those of the descriptors 0, 1 and 2 that are closed, so that no other file of the init gets their
// numbers. The main process finds them closed, as the init did.
func holdStreams() {
	for fd := range 3 {
		if !kernel.IsOpen(fd) {
			kernel.Open(kernel.Bytes(devNull), syscall.O_RDWR, 0) // the lowest that is free: this one
		}
	}
}

// adopt makes orphans children of the init. PID 1 gets them anyway.
func (c *container) adopt() {
	if c.pid != 1 {
		kernel.BecomeSubreaper()
	}
	if c.options.ParentDeathSignal != 0 {
		kernel.SetParentDeathSignal(uint8(c.options.ParentDeathSignal))
	}
	// While SIGCHLD is ignored the kernel reaps by itself, and the exit code is lost (wait(2), "NOTES").
	c.childIgnored = kernel.Ignored(sigCHLD)
	if c.childIgnored {
		kernel.SetIgnored(sigCHLD, false)
	}
	if errno := kernel.SetMask(everySignal); errno != 0 { // entry could not report it
		logCannot("block signals (rt_sigprocmask)", errno)
		kernel.Exit(exitCannotRun)
	}
	if _, _, errno := kernel.Wait(0); errno != 0 && errno != syscall.ECHILD { // rather now than when the program runs
		logCannot("wait for processes (wait4)", errno)
		kernel.Exit(exitCannotRun)
	}
	if _, errno := kernel.Clock(); errno != 0 { // every deadline would be for ever ahead
		logCannot("read the clock (clock_gettime)", errno)
		kernel.Exit(exitCannotRun)
	}
	c.findTerminal()
	c.oomKills = oomKills()
}

// spawn starts the main process.
func (c *container) spawn(block *kernel.Block, program int) {
	pid, errno := kernel.Fork()
	if errno != 0 {
		c.cannotFork(c.programs.mainName, errno)
		return
	}
	if pid == 0 {
		c.become(block, program)
	}
	main := c.programs.main()
	main.pid, main.group = pid, pid
	c.programs.alive++
	if c.options.Verbosity > 0 {
		c.logStarted()
	}
	if !c.options.OwnSession {
		kernel.Setpgid(pid, pid) // here too: a signal for the group may have to be sent before the child has run
	}
}

// become is the child: it turns into the main process, with everything as the container's runtime set it up.
func (c *container) become(block *kernel.Block, program int) {
	if c.options.OwnSession {
		kernel.Setsid()
		if c.terminal {
			kernel.TakeTerminal(0)
		}
	} else {
		kernel.Setpgid(0, 0)
		if c.terminal {
			// SIGTTOU is blocked, so this works from the background group that this child now is (tcsetpgrp(3)).
			kernel.SetForeground(0, kernel.Getpid())
		}
	}
	var pidEntry [len("LISTEN_PID=") + decimal.Size + 1]byte
	setListenPID(block, &pidEntry, c.pid)
	c.restore()

	errno := c.exec(block, program)
	code := exitCannotRun
	if errno == syscall.ENOENT || errno == errnoNoInterpreter {
		code = exitNotFound
	}
	c.reportCannotRun(c.programs.mainName, errno, c.options.LookupDigest)
	kernel.Exit(code)
}

// restore gives a child the signal settings that the init was started with.
func (c *container) restore() {
	if c.childIgnored {
		kernel.SetIgnored(sigCHLD, true)
	}
	kernel.SetMask(inheritedMask)
}

// setListenPID makes systemd's socket activation work for the main process: descriptors are meant for the process whose
// number LISTEN_PID is (sd_listen_fds(3)), and that was the init.
func setListenPID(block *kernel.Block, entry *[len("LISTEN_PID=") + decimal.Size + 1]byte, initPID int) {
	for i := 0; ; i++ {
		e, ok := block.Env(i)
		if !ok {
			return
		}
		if len(e) <= len("LISTEN_PID=") || e[:len("LISTEN_PID=")] != "LISTEN_PID=" {
			continue
		}
		if pid, ok := decimal.Parse(e[len("LISTEN_PID="):]); !ok || pid != initPID {
			return
		}
		n := copy(entry[:], "LISTEN_PID=")
		decimal.Put(entry[n:], uint64(kernel.Getpid()))
		block.SetEnv(i, entry[:])
		return
	}
}

// errnoNoInterpreter is for a script that exists, for which the kernel returns ENOENT because its interpreter does not.
const errnoNoInterpreter = ^kernel.Errno(0)

// exec finds the program as execvp(3) does and executes it. It returns only if that fails.
func (c *container) exec(block *kernel.Block, program int) kernel.Errno {
	name := block.Arg(program)
	var path [4096]byte
	if contains(name, '/') || name == "" {
		return c.execPath(block, program, path[:], "", name)
	}

	search := defaultPath
	for i := 0; ; i++ {
		e, ok := block.Env(i)
		if !ok {
			break
		}
		if len(e) >= len("PATH=") && e[:len("PATH=")] == "PATH=" {
			search = e[len("PATH="):]
			break
		}
	}
	result := kernel.Errno(syscall.ENOENT)
	for more := true; more; {
		var directory string
		directory, search, more = cutAtColon(search)
		switch errno := c.execPath(block, program, path[:], directory, name); errno {
		case syscall.ENOENT:
			if _, errno := kernel.Statfs(path[:]); errno == 0 && result != syscall.EACCES {
				result = errnoNoInterpreter
			}
		case syscall.ENOTDIR, syscall.ENAMETOOLONG:
		case syscall.ELOOP, syscall.EIO, syscall.ESTALE, syscall.ENODEV, syscall.ETIMEDOUT:
			// The directory cannot be reached. Container runtimes go on after any error of it (exec.LookPath in Go).
			if result == syscall.ENOENT {
				result = errno
			}
		case syscall.EACCES:
			result = errno // a later directory may have one that can be executed
		default:
			return errno
		}
	}
	return result
}

func (c *container) execPath(block *kernel.Block, program int, memory []byte, directory, name string) kernel.Errno {
	slash := "/"
	if directory == "" {
		slash = ""
	}
	path := kernel.Path(memory, directory, slash, name)
	if path == nil {
		return syscall.ENAMETOOLONG
	}
	errno := kernel.Exec(path, block.Argv(program), block.Envp())
	if errno == syscall.ENOEXEC && c.options.ShellFallback {
		// execvp(3): a file that is not a program is run as a shell script. The init's own name stands before the
		// program's in the block, so there is room for the shell's.
		block.SetArg(program-1, kernel.Bytes(binSh))
		block.SetArg(program, path)
		errno = kernel.Exec(kernel.Bytes(binSh), block.Argv(program-1), block.Envp())
	}
	return errno
}

// settle gives up what only the main process needs: other descriptors, so that a pipe ends when its users close it, and
// the working directory, so that it can be unmounted. 0, 1 and 2 stay open, since images write to /proc/1/fd/1, and so
// does the file of the termination message, as 3.
func (c *container) settle() {
	const message = 3
	switch {
	case c.message == message || c.message > message && kernel.Dup(c.message, message) == 0:
		c.message = message
		closeFrom(message + 1)
	default:
		c.message = noMessage
		closeFrom(message)
	}
	kernel.Chdir(kernel.Bytes(root))
}

// closeFrom closes every descriptor from first on: by one call, or those that /proc lists, or as many as are usual.
func closeFrom(first int) {
	if kernel.CloseRange(first) == 0 {
		return
	}
	directory, errno := kernel.Open(kernel.Bytes("/proc/self/fd\x00"), syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	if errno != 0 {
		for fd := first; fd < 1024; fd++ {
			kernel.Close(fd)
		}
		return
	}
	var entries [2048]byte
	for {
		n, errno := kernel.Dirents(directory, entries[:])
		if errno != 0 || n == 0 {
			break
		}
		for name, rest := kernel.EntryName(entries[:n]); name != ""; name, rest = kernel.EntryName(rest) {
			if fd, ok := decimal.Parse(name); ok && fd >= first && fd != directory {
				kernel.Close(fd)
			}
		}
	}
	kernel.Close(directory)
}

func contains(s string, c byte) bool {
	for i := range len(s) {
		if s[i] == c {
			return true
		}
	}
	return false
}

//go:noinline
func cutAtColon(s string) (first, rest string, more bool) {
	for i := range len(s) {
		if s[i] == ':' {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}
