package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
)

// findTerminal finds out whether standard input is the init's terminal and the init is in its foreground: then the main
// process gets the foreground. A terminal is left as it is if the init runs in the background of a shell, or if it is
// another session's.
func (c *container) findTerminal() {
	pgid, errno := kernel.Foreground(0)
	c.terminal = errno == 0 && pgid == kernel.Getpgrp()
	if c.terminal && c.options.OwnSession {
		c.leaveTerminal()
	}
}

// leaveTerminal lets the main process's new session take the terminal. If the init leads the old session, the kernel
// sends SIGHUP and SIGCONT to its foreground group, the init included (tty_ioctl(4), TIOCNOTTY). No user has sent them,
// so they are discarded.
func (c *container) leaveTerminal() {
	if kernel.LeaveTerminal(0) == 0 {
		kernel.Discard(sigHUP)
		kernel.Discard(sigCONT)
	}
}

// mainHasStopped stops the init too when the terminal has stopped the main process (Ctrl-Z), for the shell that waits for
// the init. The shell takes the terminal back and later continues the init, with the terminal (fg) or without (bg).
//
// There is no such shell if the init is PID 1, or if it leads the session (shareProcessNamespace). Without an init, the
// kernel would drop SIGTSTP for the main process, because that would be PID 1 (signal(7)) or in an orphaned process group
// (POSIX.1-2017, XSH 2.4.3). Below the init, the main process is neither, so the init continues it.
func (c *container) mainHasStopped(status syscall.WaitStatus) {
	group := c.programs.main().group
	if c.pid == 1 || c.pid == kernel.Getsid() {
		if status.StopSignal() == syscall.SIGTSTP {
			kernel.Kill(-group, sigCONT)
		}
		return
	}
	kernel.Kill(c.pid, sigSTOP)
	if pgid, errno := kernel.Foreground(0); errno == 0 && pgid == kernel.Getpgrp() {
		kernel.SetForeground(0, group)
	}
	kernel.Kill(-group, sigCONT)
}

// returnTerminal gives the foreground of the terminal back: a script that continues after the init may read from it.
func (c *container) returnTerminal() {
	if !c.terminal || c.pid == 1 {
		return
	}
	if pgid, errno := kernel.Foreground(0); errno == 0 && pgid == c.programs.main().group {
		kernel.SetForeground(0, kernel.Getpgrp())
	}
}
