package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/internal/version"
)

// runCommand runs the command that the first argument names, if it names one. A program of the same name goes after "--".
// Under tini's and dumb-init's names there are no commands.
func runCommand(block *kernel.Block, name string) {
	if block.Count() < 2 || isPeer(name) {
		return
	}
	switch block.Arg(1) {
	case "copy":
		if block.Count() != 3 {
			write(2, "podinit: copy needs one argument, the file to write: init copy /podinit/init\n")
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
		showHelp()
		kernel.Exit(0)
	case "pause":
		pause()
	}
}

// pause waits for a signal that asks to end: the image has no other program that could keep a container of it running.
func pause() {
	for {
		info, errno := kernel.NextSignal(-1)
		switch {
		case errno == 0 && (info.Signal == sigTERM || info.Signal == sigINT):
			kernel.Exit(0)
		case errno != 0 && errno != syscall.EINTR:
			logCannot("wait for signals (rt_sigtimedwait)", errno)
			kernel.Exit(exitCannotRun)
		}
	}
}

// trialRun is the argument with which copy runs its copy, to see that it can be run. No program has that name.
const trialRun = "--trial-run"

func showVersion() {
	write(1, "podinit ")
	write(1, version.Version)
	write(1, "\n")
}

func showHelp() { options.Help(func(part string) { write(1, part) }) }

func write(fd int, text string) {
	for len(text) > 0 {
		n, errno := kernel.Write(fd, kernel.Bytes(text))
		if errno != 0 {
			return
		}
		text = text[n:]
	}
}

// isPeer reports whether a name is that of another init, which this one then replaces.
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

// main is the entry of a "go build" without the flag that makes the program an init.
func main() {
	write(2, "podinit: this init was built without its entry point and cannot run: build it with make, "+
		"or with go build -ldflags=-E=main.entry (docs/freestanding.md)\n")
	kernel.Exit(exitCannotRun)
}

const license = "podinit is licensed under the Apache License, Version 2.0: https://www.apache.org/licenses/LICENSE-2.0\n"
