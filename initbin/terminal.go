package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
)

// findTerminal finds out whether standard input is our terminal and we are in its foreground, so that the main process
// ought to be. In the background of a shell the terminal is none of our business, nor is another session's.
func (c *container) findTerminal() {
	pgid, errno := kernel.Foreground(0)
	c.terminal = errno == 0 && pgid == kernel.Getpgrp()
	if c.terminal && c.options.OwnSession {
		c.leaveTerminal()
	}
}

// leaveTerminal lets the main process's new session take the terminal. If we lead the old session the kernel sends its
// foreground group, us included, SIGHUP and SIGCONT (tty_ioctl(4), TIOCNOTTY): they are nobody's wish and are not kept.
func (c *container) leaveTerminal() {
	if kernel.LeaveTerminal(0) == 0 {
		kernel.Discard(uint8(syscall.SIGHUP))
		kernel.Discard(uint8(syscall.SIGCONT))
	}
}

// stopToo stops us as the terminal has stopped the main process (Ctrl-Z), for the shell that waits for us and not for
// it. The shell takes the terminal back, and in the end continues us, with the terminal (fg) or without (bg). PID 1
// cannot be stopped and nobody waits for it.
func (c *container) stopToo() {
	kernel.Kill(c.pid, uint8(syscall.SIGSTOP))
	if pgid, errno := kernel.Foreground(0); errno == 0 && pgid == kernel.Getpgrp() {
		kernel.SetForeground(0, c.group)
	}
	kernel.Kill(-c.group, uint8(syscall.SIGCONT))
}

// returnTerminal gives the terminal back to those who had it: a script that goes on after us may read from it.
func (c *container) returnTerminal() {
	if !c.terminal || c.pid == 1 {
		return
	}
	if pgid, errno := kernel.Foreground(0); errno == 0 && pgid == c.group {
		kernel.SetForeground(0, kernel.Getpgrp())
	}
}
