package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/procfile"
)

// beside is a program of the Procfile.
type beside struct {
	procfile.Program
	pid    int32 // 0 once it has been reaped
	group  int32
	output [2]int32 // what it writes to standard output and error, to be read
	input  [2]int32 // where it writes that
}

// procfileAtMost is how long a Procfile may be.
const procfileAtMost = 1 << 20

// readProcfile reads the Procfile, if there is one, and refuses it whole before anything has been started.
func (c *container) readProcfile() {
	if c.options.Procfile == "" {
		return
	}
	text, problem := c.loadProcfile()
	if problem != "" {
		c.sayProcfile(0, problem, "")
		kernel.Exit(exitUsage)
	}
	var reader procfile.Reader
	for {
		program, ok, problem := reader.Next(text)
		if problem != "" {
			c.sayProcfile(reader.Line, problem, "")
			kernel.Exit(exitUsage)
		}
		if !ok {
			break
		}
		for i := range c.beside.All() {
			if procfile.Same(text, &c.beside.All()[i].Program, &program) {
				c.sayProcfile(reader.Line, "there is already a program named", kernel.AsString(program.Name(text)))
				kernel.Exit(exitUsage)
			}
		}
		if slot := c.beside.Add(); slot != nil {
			slot.Program = program
		}
	}
	if len(c.beside.All()) == 0 {
		c.sayProcfile(0, "there is no program in it; it needs lines of the form \"name: command\"", "")
		kernel.Exit(exitUsage)
	}
}

func (c *container) loadProcfile() (text []byte, problem string) {
	var memory [4096]byte
	path := kernel.Path(memory[:], c.options.Procfile)
	if path == nil {
		return nil, "the name is too long"
	}
	fd, errno := kernel.Open(path, syscall.O_RDONLY, 0)
	if errno != 0 {
		return nil, fileProblem(errno)
	}
	if c.procfile, errno = kernel.Map(procfileAtMost + 1); errno != 0 {
		return nil, "there is no memory for it"
	}
	buffer := kernel.View[byte](c.procfile)
	size := 0
	for size <= procfileAtMost {
		n, errno := kernel.Read(fd, buffer[size:])
		if errno != 0 {
			return nil, fileProblem(errno)
		}
		if n == 0 {
			kernel.Close(fd)
			return buffer[:size], ""
		}
		size += n
	}
	return nil, "it is longer than 1 MiB"
}

func fileProblem(errno kernel.Errno) string {
	switch errno {
	case syscall.ENOENT:
		return "there is no such file"
	case syscall.EACCES:
		return "it may not be read by this user"
	case syscall.EISDIR:
		return "it is a directory"
	}
	return reason(errno)
}

// procfileText is the text that the positions of a program are in.
func (c *container) procfileText() []byte { return kernel.View[byte](c.procfile) }

// spawnBeside starts the programs of the Procfile, and first the process that passes their output on.
func (c *container) spawnBeside(block *kernel.Block) {
	if c.options.Procfile == "" {
		return
	}
	programs := c.beside.All()
	for i := range programs {
		p := &programs[i]
		for stream := range p.output {
			read, write, errno := kernel.Pipe()
			if errno != 0 {
				c.sayProcfile(int(p.Line), "no pipe for its output: the limit of open files (ulimit -n) must leave four for every program, as for", c.besideName(p))
				kernel.Exit(exitCannotRun)
			}
			p.output[stream], p.input[stream] = int32(read), int32(write)
		}
	}
	pid, errno := kernel.Fork()
	if errno == 0 && pid == 0 {
		c.relayOutput()
	}
	c.relay = pid
	for i := range programs {
		p := &programs[i]
		if errno == 0 {
			pid, errno = kernel.Fork()
		}
		if errno != 0 {
			c.cannotFork(c.besideName(p), errno)
			break
		}
		if pid == 0 {
			c.becomeBeside(block, p)
		}
		kernel.Setpgid(pid, pid)
		p.pid, p.group = int32(pid), int32(pid)
		c.alive++
	}
	for i := range programs {
		p := &programs[i]
		for stream := range p.output {
			kernel.Close(int(p.output[stream]))
			kernel.Close(int(p.input[stream]))
		}
	}
}

// cannotFork ends what has been started already, as if it had come to life and one had failed. Where we are not PID 1
// it would live on without us.
func (c *container) cannotFork(name string, errno kernel.Errno) {
	c.reportCannotFork(name, errno)
	if c.alive == 0 {
		kernel.Exit(exitCannotRun)
	}
	c.failed, c.status, c.oneEnded = true, exitCannotRun, true
}

// becomeBeside is the child that turns into a program of the Procfile: a shell with its command.
func (c *container) becomeBeside(block *kernel.Block, p *beside) {
	kernel.Setpgid(0, 0)
	null := [...]byte{'/', 'd', 'e', 'v', '/', 'n', 'u', 'l', 'l', 0}
	if fd, errno := kernel.Open(null[:], syscall.O_RDONLY, 0); errno == 0 {
		kernel.Dup(fd, 0) // standard input is the main process's
	} else {
		kernel.Close(0)
	}
	kernel.Dup(int(p.input[0]), 1)
	kernel.Dup(int(p.input[1]), 2)
	c.restore()

	shell, flag := [...]byte{'/', 'b', 'i', 'n', '/', 's', 'h', 0}, [...]byte{'-', 'c', 0}
	command := p.Command(c.procfileText())
	kernel.Terminate(command) // it ends in a newline, or before memory that is ours too
	arguments := [...]*byte{&shell[5], &flag[0], &command[0], nil}
	errno := kernel.Exec(shell[:], &arguments[0], block.Envp())
	c.reportCannotRun("/bin/sh", errno)
	if errno == syscall.ENOENT {
		kernel.Exit(exitNotFound)
	}
	kernel.Exit(exitCannotRun)
}

func (c *container) besideName(p *beside) string { return kernel.AsString(p.Name(c.procfileText())) }

// besideHasEnded takes note if it was a program of the Procfile that has ended, or the process with their output.
func (c *container) besideHasEnded(pid int, status syscall.WaitStatus) bool {
	if pid == c.relay {
		c.relay = 0
		return true
	}
	programs := c.beside.All()
	for i := range programs {
		p := &programs[i]
		if int(p.pid) != pid {
			continue
		}
		p.pid = 0
		c.alive--
		c.oneEnded = true
		if c.isFailure(status) {
			c.decide(1+i, status)
		}
		byItself := !c.stopping && !c.ending
		if byItself {
			c.endedFirst = 1 + i
		}
		if byItself || c.isFailure(status) {
			c.sayBesideEnded(c.besideName(p), status, byItself && c.alive > 0)
		}
		return true
	}
	return false
}

// programName is the name of a program: 0 is the main process, 1+i is one beside it.
func (c *container) programName(program int) string {
	if program == 0 {
		return c.mainName
	}
	return c.besideName(&c.beside.All()[program-1])
}
