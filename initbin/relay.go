package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
)

// pipeEnd is one stream of one program, as the relay reads it.
type pipeEnd struct {
	program int32
	to      int32 // standard output or error
	length  int32 // how much has been read and not yet written
}

// maxLine is the longest line that stays whole, in bytes; room is for that and the newline of a line that lacks one.
const (
	maxLine = 1 << 16
	room    = maxLine + 1
)

// relayOutput is a process of its own, forked from the init: it reads the output of Procfile processes, and writes it
// line by line behind their names. It may block while the container's output is not read, which the init may not. It
// exits when every process that could write has ended; all signals are blocked here, so none ends it before.
func (c *container) relayOutput() {
	var ends kernel.List[pipeEnd]
	var polls kernel.List[kernel.PollFd]
	all := c.programs.all()
	for i := 1; i < len(all); i++ {
		p := &all[i]
		for stream := range p.output {
			kernel.Close(p.input[stream])
			end, poll := ends.Add(), polls.Add()
			if end == nil || poll == nil {
				kernel.Exit(exitCannotRun)
			}
			*end = pipeEnd{program: int32(i), to: int32(1 + stream)}
			*poll = kernel.PollFd{FD: int32(p.output[stream]), Events: kernel.PollIn}
		}
	}
	closeOthers(polls.All())
	memory, errno := kernel.Map(len(ends.All()) * room)
	if errno != 0 {
		kernel.Exit(exitCannotRun)
	}
	for open := len(ends.All()); open > 0; {
		c.programs.setRelayBusy(false)
		kernel.Poll(polls.All())
		c.programs.setRelayBusy(true)
		for i := range ends.All() {
			end, poll := &ends.All()[i], &polls.All()[i]
			if poll.FD < 0 || poll.Revents == 0 {
				continue
			}
			buffer := kernel.View[byte](memory)[i*room : (i+1)*room]
			n, errno := kernel.Read(int(poll.FD), buffer[end.length:maxLine])
			if errno == syscall.EINTR {
				continue
			}
			end.length += int32(n)
			finished := errno != 0 || n == 0
			c.writeLines(end, buffer, finished)
			if finished {
				kernel.Close(int(poll.FD))
				poll.FD = -1
				open--
			}
		}
	}
	kernel.Exit(0)
}

//go:noinline
func (p *programs) setRelayBusy(busy bool) {
	if flag := kernel.View[bool](p.relayBusy); len(flag) > 0 {
		flag[0] = busy
	}
}

// relayIsBusy reports whether the relay writes what programs have said, or waits until there is room for it.
//
//go:noinline
func (p *programs) relayIsBusy() bool {
	flag := kernel.View[bool](p.relayBusy)
	return p.relay != 0 && len(flag) > 0 && flag[0]
}

// closeOthers closes the descriptors that the relay does not need, since a pipe or file in use stays open until then.
func closeOthers(polls []kernel.PollFd) {
	kernel.Chdir(kernel.Bytes(root))
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

// writeLines writes the complete lines; at the end of the stream, or when there is no room for more, also an incomplete
// one, with a newline in the same write, so that no other line comes between.
func (c *container) writeLines(end *pipeEnd, buffer []byte, finished bool) {
	text := buffer[:end.length]
	begin := 0
	for i := range text {
		if text[i] == '\n' {
			c.writeLine(end, text[begin:i+1])
			begin = i + 1
		}
	}
	rest := text[begin:]
	if len(rest) == maxLine || finished && len(rest) > 0 {
		buffer[end.length] = '\n'
		c.writeLine(end, buffer[begin:end.length+1])
		rest = rest[:0]
	}
	end.length = int32(copy(buffer, rest))
}

func (c *container) writeLine(end *pipeEnd, text []byte) {
	var prefix [128]byte
	n := copy(prefix[:len(prefix)-3], c.programs.name(int(end.program)))
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
			return // the output is lost; the programs go on
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
