package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/procfile"
)

// program is one that the init starts: the main process, or a Procfile process.
type program struct {
	procfile.Program        // its name and command, of a Procfile process
	pid              int    // 0 before it has been started, and once it has been reaped
	group            int    // its process group, 0 before it has been started
	output           [2]int // of a Procfile process: the pipes of its standard output and error, to read from
	input            [2]int // and to write to
}

// programs are those that the init starts: the main process at [0], which is never started if the command line names a
// Procfile alone, and then the Procfile processes.
type programs struct {
	mainName   string               // the main process on the command line
	mainStatus int                  // the descriptor of its /proc/PID/status, 0 before the first signal
	alone      [1]program           // the list without a Procfile, which so takes no memory of its own
	list       kernel.List[program] // the list with one
	procfile   kernel.Mapping       // the text of the Procfile
	relay      int                  // the process that prefixes the output of Procfile processes, 0 if there is none
	relayBusy  kernel.Mapping       // shared with it: whether it has read output that it has not written yet
	alive      int                  // how many live
	ended      int                  // how many have ended, or could not be started
	endedFirst int                  // the position of the one that ended first by itself
}

func (p *programs) all() []program {
	if list := p.list.All(); len(list) > 0 {
		return list
	}
	return p.alone[:]
}

func (p *programs) main() *program { return &p.all()[0] }

// several reports whether there is a Procfile.
func (p *programs) several() bool { return len(p.list.All()) > 0 }

// started is the position of the program that runs as pid.
//
//go:noinline
func (p *programs) started(pid int) (at int, ok bool) {
	all := p.all()
	for i := range all {
		if all[i].pid == pid {
			return i, true
		}
	}
	return 0, false
}

// name of the program at a position.
func (p *programs) name(at int) string {
	if at == 0 {
		return p.mainName
	}
	return kernel.AsString(p.all()[at].Name(p.text()))
}

// text of the Procfile, which the positions in a program are for.
func (p *programs) text() []byte { return kernel.View[byte](p.procfile) }

// maxProcfile is how long a Procfile may be, in bytes.
const maxProcfile = 1 << 20

// readProcfile reads the Procfile, if there is one. If it has a mistake, the init exits before it has started anything.
func (c *container) readProcfile() {
	if c.options.Procfile == "" {
		return
	}
	text, problem := c.loadProcfile()
	if problem != "" {
		c.logProcfile(0, problem, "")
		kernel.Exit(exitUsage)
	}
	list := &c.programs.list
	list.Add() // the main process
	var reader procfile.Reader
	for {
		program, ok, problem := reader.Next(text)
		if problem != "" {
			c.logProcfile(reader.Line, problem, "")
			kernel.Exit(exitUsage)
		}
		if !ok {
			break
		}
		for i := 1; i < len(list.All()); i++ {
			if procfile.Same(text, &list.All()[i].Program, &program) {
				c.logProcfile(reader.Line, "there is already a process named", kernel.AsString(program.Name(text)))
				kernel.Exit(exitUsage)
			}
		}
		if slot := list.Add(); slot != nil {
			slot.Program = program
		}
	}
	if len(list.All()) <= 1 {
		c.logProcfile(0, "the file has no process; it needs lines of the form \"name: command\"", "")
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
	if c.programs.procfile, errno = kernel.Map(maxProcfile + 1); errno != 0 {
		return nil, "out of memory"
	}
	buffer := c.programs.text()
	size := 0
	for size <= maxProcfile {
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
	return nil, "the file is longer than 1 MiB"
}

func fileProblem(errno kernel.Errno) string {
	switch errno {
	case syscall.ENOENT:
		return "no such file"
	case syscall.EACCES:
		return "permission denied"
	case syscall.EISDIR:
		return "it is a directory"
	}
	return reason(errno)
}

// spawnProcfile starts the Procfile processes, and before them the relay of their output.
func (c *container) spawnProcfile(block *kernel.Block) {
	if !c.programs.several() {
		return
	}
	if _, errno := kernel.Writable(1); errno != 0 { // rather now than when the relay has output to wait for
		logCannot("wait for output of Procfile processes (ppoll)", errno)
		kernel.Exit(exitCannotRun)
	}
	all := c.programs.all()
	for i := 1; i < len(all); i++ {
		p := &all[i]
		for stream := range p.output {
			read, write, errno := kernel.Pipe()
			if errno != 0 {
				c.logProcfile(int(p.Line), "the limit of open files (ulimit -n) is too low: each process needs four descriptors for its output, which are missing for", c.programs.name(i))
				kernel.Exit(exitCannotRun)
			}
			p.output[stream], p.input[stream] = read, write
		}
	}
	c.programs.relayBusy, _ = kernel.MapShared(1) // without memory for it, it counts as idle
	pid, errno := kernel.Fork()
	if errno == 0 && pid == 0 {
		c.relayOutput()
	}
	c.programs.relay = pid
	for i := 1; i < len(all); i++ {
		p := &all[i]
		if errno == 0 {
			pid, errno = kernel.Fork()
		}
		if errno != 0 {
			c.cannotFork(c.programs.name(i), errno)
			break
		}
		if pid == 0 {
			c.becomeProcfileProcess(block, p)
		}
		kernel.Setpgid(pid, pid)
		p.pid, p.group = pid, pid
		c.programs.alive++
	}
	for i := 1; i < len(all); i++ {
		p := &all[i]
		for stream := range p.output {
			kernel.Close(p.output[stream])
			kernel.Close(p.input[stream])
		}
	}
}

// cannotFork lets the programs that have been started end, as if the other had been started and failed: where the init is
// not PID 1, they would outlive it.
func (c *container) cannotFork(name string, errno kernel.Errno) {
	c.reportCannotFork(name, errno)
	if c.programs.alive == 0 {
		kernel.Exit(exitCannotRun)
	}
	c.outcome = outcome{decided: true, status: exitCannotRun}
	c.programs.ended++
}

// becomeProcfileProcess is the child that turns into a Procfile process: a shell with its command.
func (c *container) becomeProcfileProcess(block *kernel.Block, p *program) {
	kernel.Setpgid(0, 0)
	if fd, errno := kernel.Open(kernel.Bytes(devNull), syscall.O_RDONLY, 0); errno == 0 {
		kernel.Dup(fd, 0) // standard input belongs to the main process
	} else {
		kernel.Close(0)
	}
	kernel.Dup(p.input[0], 1)
	kernel.Dup(p.input[1], 2)
	c.restore()

	command := p.Command(c.programs.text())
	kernel.Terminate(command) // a newline follows, or more memory of the same mapping
	arguments := [...]*byte{kernel.Pointer("sh\x00"), kernel.Pointer("-c\x00"), &command[0], nil}
	errno := kernel.Exec(kernel.Bytes(binSh), &arguments[0], block.Envp())
	c.reportCannotRun(binSh[:len(binSh)-1], errno, "")
	if errno == syscall.ENOENT {
		kernel.Exit(exitNotFound)
	}
	kernel.Exit(exitCannotRun)
}
