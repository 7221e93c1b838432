package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

const victimVariable = "CONFORMANCE_VICTIM"

// enterVictim is the one program that is not written in Python: a Go server, whose runtime catches nearly every signal
// untold. It starts its arguments as a child that it tells nothing, and exits with 7 on TERM.
func enterVictim() {
	if os.Getenv(victimVariable) == "" {
		return
	}
	os.Unsetenv(victimVariable)
	journal, err := os.OpenFile(os.Getenv("JOURNAL"), os.O_WRONLY, 0)
	if err != nil {
		panic(err)
	}
	term := make(chan os.Signal, 8)
	signal.Notify(term, syscall.SIGTERM)
	if err := exec.Command(os.Args[1], os.Args[2:]...).Start(); err != nil {
		panic(err)
	}
	fmt.Fprintln(journal, "main ready")
	<-term
	fmt.Fprintln(journal, "main got TERM")
	os.Exit(7)
}
