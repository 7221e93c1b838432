package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/internal/version"
)

// runCommand runs what the first argument asks for, if that is one of the commands. A program of the same name goes
// after "--"; under tini's and dumb-init's names there are none.
func runCommand(block *kernel.Block, name string) {
	if block.Count() < 2 || isPeer(name) {
		return
	}
	switch block.Arg(1) {
	case "copy":
		if block.Count() != 3 {
			write(2, "podinit: copy: it needs one argument, the file to write: init copy /podinit/init\n")
			kernel.Exit(exitUsage)
		}
		kernel.Exit(install(block.Arg(2)))
	}
	if block.Count() != 2 {
		return // a program of that name, with arguments
	}
	switch block.Arg(1) {
	case trialRun:
		kernel.Exit(0)
	case "version":
		showVersion()
		kernel.Exit(0)
	case "help":
		write(1, help)
		kernel.Exit(0)
	case "pause":
		pause()
	}
}

// pause waits for a signal that asks it to end: the image holds no other program that could keep it on a node.
func pause() {
	for {
		info, errno := kernel.NextSignal(-1)
		switch {
		case errno == 0 && (info.Signal == uint8(syscall.SIGTERM) || info.Signal == uint8(syscall.SIGINT)):
			kernel.Exit(0)
		case errno != 0 && errno != syscall.EINTR:
			sayCannot("wait for signals (rt_sigtimedwait)", errno)
			kernel.Exit(exitCannotRun)
		}
	}
}

// trialRun is what copy runs its copy with, to see that it can be run. No program has that name.
const trialRun = "--trial-run"

func showVersion() {
	write(1, "podinit ")
	write(1, version.Version)
	write(1, "\n")
}

func write(fd int, text string) {
	for len(text) > 0 {
		n, errno := kernel.Write(fd, kernel.Bytes(text))
		if errno != 0 {
			return
		}
		text = text[n:]
	}
}

// isPeer says whether a name is another init's, whose place we then take.
func isPeer(name string) bool {
	switch name {
	case "tini", "tini-static", "docker-init", "dumb-init":
		return true
	}
	return false
}

//
//go:noinline
func baseName(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[i+1:]
		}
	}
	return path
}

// main is where a plain "go build" begins, without the entry that makes it an init.
func main() {
	write(2, "podinit: this init was built without its entry point and cannot run: build it with make, "+
		"or with go build -ldflags=-E=main.entry (docs/freestanding.md)\n")
	kernel.Exit(exitCannotRun)
}

const license = "podinit is licensed under the Apache License, Version 2.0: https://www.apache.org/licenses/LICENSE-2.0\n"

const help = `podinit is a container's PID 1: it passes signals on, reaps orphans, waits for what is still finishing,
and exits as the program does.

usage: init [flags] [--] program [argument...]
       init copy FILE            install this very binary as FILE, whole or not at all
       init pause                wait for SIGTERM: keeps the image on a node
       init version | help

Ending
  --grace=45s                    the time between the platform's stop signal and its SIGKILL; 10s unless given
  --stop-signal=SIGQUIT          a stop signal besides SIGTERM
  --linger=5s                    the time for the rest when the program ends by itself
  --wait=all                     live as long as any process does, for programs that daemonize
  --escalate=all                 near the end of the grace period, notify every process
  --termination-message=FILE     where a line goes that says why the program died
  -e CODE                        exit with 0 when the program exits with CODE; may be repeated
Signals
  --signal-target=auto           who gets them: auto, main, group (also -g) or all
  -c, --single-child             the same as --signal-target=main
  -r, --rewrite=TERM:QUIT        turn one signal into another, or drop it (TERM:0); may be repeated
  -p SIGNAL                      a signal for the init itself when its parent dies
Programs
  --platform=linux/arm64:2 a b   on that platform, the program begins with these 2 words; may be repeated, ends with --
  --procfile=FILE                start the programs of a Procfile beside the main process
Talking
  -v                             say what happens, each signal too; -vv: also each orphan
  -w                             say which orphans are reaped
  -h, --help                     this text
  -V, --version  -l, --license   the version, the licence
  -s                             be a subreaper; the init is one by itself where it is not PID 1
`
