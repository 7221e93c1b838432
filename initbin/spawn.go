package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
)

// defaultPath is where programs are looked for when the container has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// holdStreams keeps the numbers 0, 1 and 2 from being given to other files of ours where they are closed. The main
// process finds them closed as we did.
func holdStreams() {
	null := [...]byte{'/', 'd', 'e', 'v', '/', 'n', 'u', 'l', 'l', 0}
	for fd := range 3 {
		if !kernel.IsOpen(fd) {
			kernel.Open(null[:], syscall.O_RDWR, 0) // the lowest that is free: this one
		}
	}
}

// adopt makes orphans come to us. PID 1 gets them anyway.
func (c *container) adopt() {
	if c.pid != 1 {
		kernel.BecomeSubreaper()
	}
	if c.options.ParentDeathSignal != 0 {
		kernel.SetParentDeathSignal(uint8(c.options.ParentDeathSignal))
	}
	// With SIGCHLD ignored the kernel reaps by itself and the exit code is lost (wait(2), "NOTES").
	c.childIgnored = kernel.Ignored(uint8(syscall.SIGCHLD))
	if c.childIgnored {
		kernel.SetIgnored(uint8(syscall.SIGCHLD), false)
	}
	if errno := kernel.SetMask(everySignal); errno != 0 { // the entry could not say so
		sayCannot("block signals (rt_sigprocmask)", errno)
		kernel.Exit(exitCannotRun)
	}
	if _, _, errno := kernel.Wait(0); errno != 0 && errno != syscall.ECHILD { // better now than when the program has begun
		sayCannot("wait for processes (wait4)", errno)
		kernel.Exit(exitCannotRun)
	}
	c.findTerminal()
	c.oomKills = oomKills()
}

// spawn starts the main process.
func (c *container) spawn(block *kernel.Block, program int) {
	pid, errno := kernel.Fork()
	if errno != 0 {
		c.cannotFork(c.mainName, errno)
		return
	}
	if pid == 0 {
		c.become(block, program)
	}
	c.main, c.group = pid, pid
	c.alive++
	if c.options.Verbosity > 0 {
		c.sayStarted()
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
			// SIGTTOU is blocked, so this works from the background group that we now are (tcsetpgrp(3)).
			kernel.SetForeground(0, kernel.Getpid())
		}
	}
	var pidEntry [len("LISTEN_PID=") + 20]byte
	passListenPID(block, &pidEntry, c.pid)
	c.restore()

	errno := c.exec(block, program)
	code := exitCannotRun
	if errno == syscall.ENOENT || errno == errnoNoInterpreter {
		code = exitNotFound
	}
	c.reportCannotRun(c.mainName, errno)
	kernel.Exit(code)
}

// restore gives a child what we were given and have changed for ourselves.
func (c *container) restore() {
	if c.childIgnored {
		kernel.SetIgnored(uint8(syscall.SIGCHLD), true)
	}
	kernel.SetMask(inheritedMask)
}

// passListenPID moves systemd's socket activation on: descriptors are meant for the process whose number LISTEN_PID is
// (sd_listen_fds(3)), and that was us.
func passListenPID(block *kernel.Block, entry *[len("LISTEN_PID=") + 20]byte, ours int) {
	for i := 0; ; i++ {
		e, ok := block.Env(i)
		if !ok {
			return
		}
		if len(e) <= len("LISTEN_PID=") || e[:len("LISTEN_PID=")] != "LISTEN_PID=" {
			continue
		}
		if pid, ok := number(e[len("LISTEN_PID="):]); !ok || pid != ours {
			return
		}
		n := copy(entry[:], "LISTEN_PID=")
		putNumber(entry[n:], kernel.Getpid())
		block.SetEnv(i, entry[:])
		return
	}
}

// errnoNoInterpreter stands for a script that is there, of which the kernel says ENOENT as its interpreter is not.
const errnoNoInterpreter = ^kernel.Errno(0)

// exec finds the program as execvp(3) does and becomes it. Back here, it has failed.
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
			if _, errno := kernel.Statfs(path[:]); errno == 0 && result == syscall.ENOENT {
				result = errnoNoInterpreter
			}
		case syscall.ENOTDIR, syscall.ENAMETOOLONG:
		case syscall.EACCES:
			result = errno // there may still be one further on that may be run
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
		// execvp(3): a file that is no program is taken for a shell script. Our own name stands before the program's
		// in the block, so there is room for the shell's.
		shell := [...]byte{'/', 'b', 'i', 'n', '/', 's', 'h', 0}
		block.SetArg(program-1, shell[:])
		block.SetArg(program, path)
		errno = kernel.Exec(shell[:], block.Argv(program-1), block.Envp())
	}
	return errno
}

// settle gives up what only the main process needs: other descriptors, so that a closed pipe looks closed, and the
// working directory, so that it can be unmounted. 0, 1 and 2 stay, since images write to /proc/1/fd/1, and as 3 the file
// of the termination message.
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
	root := [...]byte{'/', 0}
	kernel.Chdir(root[:])
}

// closeFrom closes every descriptor from first on: at once, or one by one those that /proc lists, or as many as are usual.
func closeFrom(first int) {
	if kernel.CloseRange(first) == 0 {
		return
	}
	var memory [16]byte
	directory, errno := kernel.Open(kernel.Path(memory[:], "/proc/self/fd"), syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
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
			if fd, ok := number(name); ok && fd >= first && fd != directory {
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
