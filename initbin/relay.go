package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
)

// pipeEnd is one stream of one program, as the relay reads it.
type pipeEnd struct {
	program int32
	to      int32 // standard output or error
	length  int32 // what has been read and not yet passed on
}

// lineAtMost is the longest line that stays whole; room is for that and the newline of a line that lacks one.
const (
	lineAtMost = 1 << 16
	room       = lineAtMost + 1
)

// relayOutput is a process of its own, forked from the init: it reads what the programs beside main write, and writes
// it out line by line behind their names. It may block for as long as nobody reads our output, and the init does not.
// It ends when the last who could write has ended; every signal is blocked here, so nothing ends it before.
func (c *container) relayOutput() {
	var ends kernel.List[pipeEnd]
	var polls kernel.List[kernel.PollFd]
	programs := c.beside.All()
	for i := range programs {
		p := &programs[i]
		for stream := range p.output {
			kernel.Close(int(p.input[stream]))
			end, poll := ends.Add(), polls.Add()
			if end == nil || poll == nil {
				kernel.Exit(exitCannotRun)
			}
			*end = pipeEnd{program: int32(i), to: int32(1 + stream)}
			*poll = kernel.PollFd{FD: p.output[stream], Events: kernel.PollIn}
		}
	}
	closeOthers(polls.All())
	memory, errno := kernel.Map(len(ends.All()) * room)
	if errno != 0 {
		kernel.Exit(exitCannotRun)
	}
	for open := len(ends.All()); open > 0; {
		kernel.Poll(polls.All())
		for i := range ends.All() {
			end, poll := &ends.All()[i], &polls.All()[i]
			if poll.FD < 0 || poll.Revents == 0 {
				continue
			}
			buffer := kernel.View[byte](memory)[i*room : (i+1)*room]
			n, errno := kernel.Read(int(poll.FD), buffer[end.length:lineAtMost])
			if errno == syscall.EINTR {
				continue
			}
			end.length += int32(n)
			finished := errno != 0 || n == 0
			c.passLines(end, buffer, finished)
			if finished {
				kernel.Close(int(poll.FD))
				poll.FD = -1
				open--
			}
		}
	}
	kernel.Exit(0)
}

// closeOthers closes what the container has given us besides, so that nobody waits for us to do so.
func closeOthers(polls []kernel.PollFd) {
	root := [...]byte{'/', 0}
	kernel.Chdir(root[:])
	kernel.Close(0)
	next := 3
	for _, p := range polls { // in order, as pipes get the lowest numbers that are free
		for ; next < int(p.FD); next++ {
			kernel.Close(next)
		}
		next = max(next, int(p.FD)+1)
	}
	closeFrom(next)
}

// passLines writes the lines out that are complete; at the end of the stream, or when there is no room for more, also
// what is not, with a newline in the same write, so that nobody else's line comes between.
func (c *container) passLines(end *pipeEnd, buffer []byte, finished bool) {
	text := buffer[:end.length]
	begin := 0
	for i := range text {
		if text[i] == '\n' {
			c.passLine(end, text[begin:i+1])
			begin = i + 1
		}
	}
	rest := text[begin:]
	if len(rest) == lineAtMost || finished && len(rest) > 0 {
		buffer[end.length] = '\n'
		c.passLine(end, buffer[begin:end.length+1])
		rest = rest[:0]
	}
	end.length = int32(copy(buffer, rest))
}

func (c *container) passLine(end *pipeEnd, text []byte) {
	var prefix [128]byte
	name := c.besideName(&c.beside.All()[end.program])
	n := copy(prefix[:len(prefix)-3], name)
	n += copy(prefix[n:], " | ")
	for {
		written, errno := kernel.WriteBoth(int(end.to), prefix[:n], text)
		switch {
		case errno == syscall.EAGAIN:
			waitForRoom(int(end.to))
			continue
		case errno == syscall.EINTR:
			continue
		case errno != 0:
			return // nobody will ever read it; the programs go on
		case written < n:
			writeAll(int(end.to), prefix[written:n])
			written = n
		}
		writeAll(int(end.to), text[written-n:])
		return
	}
}

func writeAll(fd int, text []byte) {
	for len(text) > 0 {
		n, errno := kernel.Write(fd, text)
		switch {
		case errno == syscall.EAGAIN:
			waitForRoom(fd)
		case errno != 0 && errno != syscall.EINTR:
			return
		}
		text = text[n:]
	}
}

func waitForRoom(fd int) {
	room := [1]kernel.PollFd{{FD: int32(fd), Events: kernel.PollOut}}
	kernel.Poll(room[:])
}
