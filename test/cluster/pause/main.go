// Command pause holds a pod's namespaces, as the sandbox container of the test cluster: it waits
// for SIGTERM or SIGINT, and reaps what is orphaned to it where a pod shares its PID namespace.
//
// For tests of the network, "pause answer ADDRESS" answers each connection with the name of its pod, and "pause ask ADDRESS..."
// prints the answers of others.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 2 {
		if err := network(os.Args[1], os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "pause:", err)
			os.Exit(1)
		}
		return
	}
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

func network(what string, addresses []string) error {
	if what == "answer" {
		name, err := os.Hostname()
		if err != nil {
			return err
		}
		listener, err := net.Listen("tcp", addresses[0])
		if err != nil {
			return err
		}
		for {
			connection, err := listener.Accept()
			if err != nil {
				return err
			}
			fmt.Fprintln(connection, name)
			connection.Close()
		}
	}
	for _, address := range addresses {
		connection, err := net.DialTimeout("tcp", address, 5*time.Second)
		if err != nil {
			return err
		}
		if _, err := io.Copy(os.Stdout, connection); err != nil {
			return err
		}
	}
	return nil
}
