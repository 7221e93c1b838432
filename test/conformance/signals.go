package main

import (
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// signalName gives a signal the name that victims report it by: TERM, or RT37.
func signalName(sig int) string {
	if sig >= 32 {
		return "RT" + strconv.Itoa(sig)
	}
	if sig == 6 {
		return "ABRT" // not IOT, its other name
	}
	return strings.TrimPrefix(unix.SignalName(syscall.Signal(sig)), "SIG")
}

// signalNumber is the inverse of signalName.
func signalNumber(name string) (int, bool) {
	if n, ok := strings.CutPrefix(name, "RT"); ok {
		sig, err := strconv.Atoi(n)
		return sig, err == nil
	}
	sig := unix.SignalNum("SIG" + name)
	return int(sig), sig != 0
}
