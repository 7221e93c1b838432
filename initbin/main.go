// Init is a container's PID 1: it starts the main process, passes signals on, reaps what ends, waits for what is still
// finishing when the main process has ended, and exits with the main process's code.
//
// It is ordinary Go that runs without the Go runtime, on one thread and without allocating: docs/freestanding.md says
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
	pid          int  // our own process ID
	terminal     bool // standard input is our terminal, and we are in its foreground
	childIgnored bool // SIGCHLD was ignored when we came
	message      int  // the file of the termination message, or noMessage; 0 before it has been opened

	main       int    // the main process, 0 once it has been reaped
	group      int    // its process group
	mainName   string // its name on the command line
	oomKills   uint64 // how many processes the memory limit had killed before
	alive      int    // how many programs live: the main process and those beside it
	failed     bool   // one of them has failed
	status     int    // how the main process ended, or of several programs the first to fail, as a shell reports it
	culprit    int    // which program that status is of: 0 is the main process, 1+i is one beside it
	diedOf     uint8  // the signal that ended it, 0 if it exited
	dumped     bool   // it left a core dump
	childless  bool   // there is nothing left to reap
	moreToReap bool   // there may be more that have ended

	sent       proc.Set // the signals that have been sent on
	statusFile int      // the main process's /proc/PID/status, 0 before the first signal

	stopping   bool   // a stop signal has come
	oneEnded   bool   // a program has ended
	ending     bool   // and, as there are several, they are all stopped for that
	stopSignal uint8  // what was sent on for it
	since      int64  // when the drain began: at the stop signal, or when the main process ended by itself
	sinceTicks uint32 // the same as BootTicks has it
	late       int64  // when the time is nearly over, on the clock of kernel.Now; 0 is never
	last       int64  // when it is nearly over even for those that another has notified, most likely
	deadline   int64  // when it ends; 0 is never
	overdue    bool   // the deadline has passed

	restNotified bool  // the programs have ended, and what they left behind is notified
	nextNotify   int64 // when to look again for those that have not been, once something has ended
	reaped       bool  // something has
	holdUntil    int64 // until when those that handle SIGTERM are not sent it
	killed       bool  // the deadline has passed and what was left has been killed
	abandoned    bool  // and has not even gone then
	leaving      bool  // nobody is waited for, but the relay for a moment

	forwards        int          // whether those that have got a signal notify their children themselves
	forwarded       int64        // when they got it
	forwardsGuessed bool         // what they do about the signal was not known
	refused         kernel.Errno // why the kernel did not let us send a signal that asks to end

	beside     kernel.List[beside] // the programs of the Procfile
	procfile   kernel.Mapping      // its text
	relay      int                 // the process that prefixes their output, 0 if there is none
	endedFirst int                 // which program, of several, has ended by itself, as in culprit

	notified       notified
	handlers       notified // the processes that have handled a signal which asks to end
	held           notified // those that are not notified at once, as another may have done it
	waiters        notified // those that have been seen to wait for signals
	unseenNotified bool     // those that cannot be seen, without /proc, have been notified once
	processes      processes
	reapedSince    bool               // a child has been reaped since then
	statHasSignals bool               // /proc/PID/stat says what a process does about signals
	queue          kernel.List[int32] // the processes to be asked about the signal at hand, by position
	looks          int                // how many files have been read for it, of those that few processes are worth
	watches        kernel.List[watched]
	deferred       kernel.List[deferred]
	lookDeferred   bool   // something has ended that they may have waited for
	nextDeferred   int64  // when to look whether it was the last
	settleAt       int64  // when they get their signal; 0 if it is not known yet
	proc           answer // whether /proc can be used: see hasProc
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
		c.mainName = block.Arg(program)
	}
	c.readProcfile()
	c.adopt()
	c.spawnBeside(block)
	if hasMain && !c.failed {
		c.spawn(block, program)
	}
	c.settle()
	c.drain() // if not all of them could be started

	for !c.over() {
		info, errno := kernel.NextSignal(c.patience())
		c.reap() // first, so that nothing is sent to a process that has gone
		switch errno {
		case 0:
			c.receive(info)
		case syscall.EAGAIN, syscall.EINTR: // a deadline, or we have been stopped and continued
		default:
			sayCannot("wait for signals (rt_sigtimedwait)", errno)
			kernel.Exit(exitCannotRun)
		}
		c.look()
		c.drain()
	}

	if !c.killed {
		c.reportEnd(0)
	}
	c.returnTerminal()
	kernel.Exit(c.exitCode())
}

// readCommandLine reads the flags, and says which argument is the program. It answers questions itself, and ends the
// process if there is nothing that could be run.
func readCommandLine(block *kernel.Block, name string) (o options.Options, program int) {
	words, memory, errno := block.Args(1)
	if errno != 0 {
		sayNoMemory(errno)
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
		write(1, help)
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
	// The platform's own words come right before the others, in place of the "--" and of what other platforms have.
	program = 1 + chosen.Rest - chosen.Words
	block.MoveArgs(1+chosen.First, program, chosen.Words)
	if program >= block.Count() && o.Procfile == "" {
		refuse(o, options.Problem{Flag: name, Want: "no program to run; usage: init [flags] -- program [argument...]"})
	}
	return o, program
}

// machine is what we run on.
func machine() options.Machine {
	return options.Machine{Architecture: runtime.GOARCH, ARM: kernel.ARM()}
}

func refuse(o options.Options, problem options.Problem) {
	c := container{options: o}
	c.reportUsage(problem)
	kernel.Exit(exitUsage)
}
