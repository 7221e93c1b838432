// Init is a container's PID 1: it starts the main process, forwards signals, reaps orphans, waits for processes that are
// still finishing when the main process has ended, and exits with the main process's code.
//
// It is ordinary Go that runs without the Go runtime, on one thread and without allocating: docs/freestanding.md explains
// why, how, and what that forbids. The files follow a container's life: entry, main, spawn, signals, reap, drain.
package main

import (
	"runtime" // for its constants alone
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/initbin/proc"
)

// container is what the init knows about the container it runs.
type container struct {
	options      options.Options
	pid          int    // the init's own process ID
	terminal     bool   // standard input is the init's terminal, with the init in its foreground
	childIgnored bool   // SIGCHLD was ignored when the init was started
	message      int    // the descriptor of the termination message, or noMessage; 0 before it has been opened
	oomKills     uint64 // how many processes the memory limit had killed before

	programs programs
	outcome  outcome
	children children
	reaped   uint32       // how many processes have been reaped
	sent     proc.Set     // the signals that the init has sent to processes
	refused  kernel.Errno // why the kernel refused to send a signal that asks to end
	forwards forwards
	drainState
	history

	processes processes
	watches   kernel.List[watched]
	deferred  deferrals
}

// start is the life of the container, and of the commands that only run once. It does not return.
func start(block *kernel.Block) {
	name := baseName(block.Arg(0))
	runCommand(block, name)
	o, program := readCommandLine(block, name)

	holdStreams()
	c := container{options: o, pid: kernel.Getpid()}
	c.openTerminationMessage()
	hasMain := program < block.Count()
	if hasMain {
		c.programs.mainName = block.Arg(program)
	}
	c.readProcfile()
	c.adopt()
	c.spawnProcfile(block)
	if hasMain && !c.outcome.decided {
		c.spawn(block, program)
	}
	c.settle()
	c.drain() // if not all of them could be started

	for !c.over() {
		info, errno := kernel.NextSignal(c.patience())
		c.reap() // first, so that nothing is sent to a process that has ended
		switch errno {
		case 0:
			c.receive(info)
		case syscall.EAGAIN, syscall.EINTR: // a deadline, or the init has been stopped and continued
		default:
			logCannot("wait for signals (rt_sigtimedwait)", errno)
			kernel.Exit(exitCannotRun)
		}
		c.look()
		c.drain()
	}

	if c.phase != killing {
		c.reportEnd(0)
	}
	c.returnTerminal()
	kernel.Exit(c.exitCode())
}

// readCommandLine reads the flags and returns the position of the program among the arguments. It prints the help and the
// like itself, and exits if there is nothing that could be run.
func readCommandLine(block *kernel.Block, name string) (o options.Options, program int) {
	words, memory, errno := block.Args(1)
	if errno != 0 {
		logNoMemory(errno)
		kernel.Exit(exitCannotRun)
	}
	o, n, problem := options.Parse(options.Named(name), words)
	var chosen options.Choice
	if !problem.Any() {
		chosen, problem = options.Choose(words, n, machine())
	}
	memory.Unmap()
	if problem.Any() {
		refuse(o, problem)
	}
	switch o.Show {
	case options.ShowHelp:
		showHelp()
		kernel.Exit(0)
	case options.ShowVersion:
		showVersion()
		kernel.Exit(0)
	case options.ShowLicense:
		write(1, license)
		kernel.Exit(0)
	}
	for i := 0; ; i++ {
		entry, ok := block.Env(i)
		if !ok {
			break
		}
		o = o.Environ(name, entry)
	}
	if chosen.Lost {
		c := container{options: o}
		c.reportNoPlatform()
		kernel.Exit(exitNotFound)
	}
	if chosen.StopSignal != 0 {
		o.StopSignal = chosen.StopSignal
	}
	// The platform's words move right before the common ones, over the "--" and the words of other platforms.
	program = 1 + chosen.Rest - chosen.Words
	block.MoveArgs(1+chosen.First, program, chosen.Words)
	if program >= block.Count() && o.Procfile == "" {
		refuse(o, options.Problem{Flag: name, Want: "no program to run; usage: init [flags] -- program [argument...]"})
	}
	return o, program
}

// machine is what the init runs on.
func machine() options.Machine {
	return options.Machine{Architecture: runtime.GOARCH, ARM: kernel.ARM()}
}

func refuse(o options.Options, problem options.Problem) {
	c := container{options: o}
	c.reportUsage(problem)
	kernel.Exit(exitUsage)
}
