package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/internal/version"
)

// runsOnce says whether the command line names a command and not a program: then the Go runtime runs after all.
// A program of the same name goes after "--". Under tini's and dumb-init's names there are no commands.
func runsOnce(block *kernel.Block) bool {
	if block.Count() < 2 {
		return false
	}
	switch baseName(block.Arg(0)) {
	case "tini", "tini-static", "docker-init", "dumb-init":
		return false
	}
	switch block.Arg(1) {
	case "copy", "help", "version":
		return true
	}
	return false
}

// main runs a command as an ordinary Go program. It is not how a container begins: that is entry.
func main() {
	if block == nil {
		write(2, "podinit: this init was built without its entry point and cannot run as PID 1: build it with make, "+
			"or with -ldflags=-E=main.entry (docs/freestanding.md)\n")
		syscall.Exit(exitCannotRun)
	}
	syscall.Exit(runOnce(block))
}

func runOnce(block *kernel.Block) int {
	words := make([]string, block.Count())
	for i := range words {
		words[i] = block.Arg(i)
	}
	switch command := words[1:]; {
	case command[0] == "copy" && runsOnce(block):
		if len(command) != 2 {
			write(2, "podinit: copy needs one argument, the file to write: init copy /podinit/init\n")
			return exitUsage
		}
		if err := install(command[1]); err != nil {
			write(2, "podinit: "+err.Error()+"\n")
			return exitUsage
		}
	case command[0] == "version" && runsOnce(block):
		write(1, "podinit "+version.Version+"\n")
	case command[0] == "help" && runsOnce(block):
		write(1, help)
	default:
		switch o, _, _ := options.Parse(options.Default(), command); o.Show {
		case options.ShowVersion:
			write(1, "podinit "+version.Version+"\n")
		case options.ShowLicense:
			write(1, license)
		default:
			write(1, help)
		}
	}
	return 0
}

func write(fd int, text string) {
	for len(text) > 0 {
		n, err := syscall.Write(fd, []byte(text))
		if err != nil {
			return
		}
		text = text[n:]
	}
}

func baseName(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[i+1:]
		}
	}
	return path
}

const license = "podinit is licensed under the Apache License, Version 2.0: https://www.apache.org/licenses/LICENSE-2.0\n"

const help = `podinit ` + `is a container's PID 1: it passes signals on, reaps orphans, waits for what is still
finishing, and exits as the program does.

  init [flags] [--] program [argument...]
  init copy FILE      install this binary as FILE, whole or not at all
  init version, help

`
