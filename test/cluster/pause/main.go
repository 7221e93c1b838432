// Command pause holds a pod's namespaces, as the sandbox container of the test cluster: it waits
// for SIGTERM or SIGINT, and reaps what is orphaned to it where a pod shares its PID namespace.
package main

import (
	"os/signal"
	"syscall"

	"os"
)

func main() {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 && err != syscall.EINTR {
				break
			}
		}
	}
}
