package main

import (
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

const wrongVariable = "CONFORMANCE_WRONG_INIT"

// enterWrongInit is an init as it gets written in an afternoon. It is here to be caught: what tini, dumb-init and
// catatonit all do right, this does wrong, so that no check is one that cannot fail.
func enterWrongInit() {
	if os.Getenv(wrongVariable) == "" {
		return
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals)
	os.Chdir("/tmp")
	syscall.Umask(0)
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if cmd.Start() != nil {
		os.Exit(1)
	}
	go func() {
		for s := range signals {
			if s != syscall.SIGURG {
				cmd.Process.Signal(s)
				cmd.Process.Signal(s)
			}
		}
	}()
	if cmd.Wait() != nil {
		os.Exit(1)
	}
	os.Exit(0)
}
