package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A Terminal is a pseudoterminal; what is typed goes into the master, the container has the slave.
type Terminal struct {
	master, slave *os.File
	fd            int // the master's
}

// Terminal opens a pseudoterminal.
func (t *Trial) Terminal() *Terminal {
	// Not blocking, so that closing it ends the read below.
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	t.Must(err)
	t.Must(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	t.Must(err)
	master := os.NewFile(uintptr(fd), "/dev/ptmx")
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	t.Must(err)
	term := &Terminal{master: master, slave: slave, fd: fd}
	t.Cleanup(func() { master.Close(); slave.Close() })
	go io.Copy(io.Discard, master) // what appears on the screen; unread, it would stop the programs
	return term
}

// Type writes what a user types.
func (term *Terminal) Type(keys string) { term.master.WriteString(keys) }

// resize is what a user's window does.
func (term *Terminal) resize(rows, columns uint16) error {
	return unix.IoctlSetWinsize(term.fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
}

// on puts a container's standard descriptors on the terminal, which becomes its controlling one.
func (term *Terminal) on(s Spec) Spec {
	s.Stdin, s.Stdout, s.Stderr, s.Terminal = term.slave, term.slave, term.slave, true
	return s
}

const (
	controlC = "\x03"
	controlZ = "\x1a"
)
