package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// errRuns is returned for a process that has not ended yet.
var errRuns = errors.New("the process still runs")

// events are the starts and ends of all processes of the machine since they are watched
// (https://docs.kernel.org/driver-api/connector.html, linux/cn_proc.h).
type events struct {
	done chan struct{}

	mu sync.Mutex
	// parents are processes' parents when they were started.
	parents  map[uint32]uint32
	statuses map[uint32]unix.WaitStatus
	// err is why watching has ended.
	err error
}

// watch begins to watch.
func watch() (*events, error) {
	e := &events{done: make(chan struct{}), parents: map[uint32]uint32{}, statuses: map[uint32]unix.WaitStatus{}}
	all, failed := make(chan netlink.ProcEvent), make(chan error, 1)
	if err := netlink.ProcEventMonitor(all, e.done, failed); err != nil {
		return nil, fmt.Errorf("watch processes (the kernel needs CONFIG_PROC_EVENTS): %w", err)
	}
	go func() {
		for event := range all {
			e.add(event)
		}
		err := <-failed
		e.mu.Lock()
		defer e.mu.Unlock()
		e.err = err
	}()
	return e, nil
}

func (e *events) close() { close(e.done) }

func (e *events) add(event netlink.ProcEvent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch m := event.Msg.(type) {
	case *netlink.ForkProcEvent:
		if m.ChildPid == m.ChildTgid { // not a thread
			e.parents[m.ChildPid] = m.ParentTgid
		}
	case *netlink.ExitProcEvent:
		if m.ProcessPid == m.ProcessTgid {
			e.statuses[m.ProcessPid] = unix.WaitStatus(m.ExitCode)
		}
	}
}

// ended waits for the end of a process, for at most a while.
func (e *events) ended(ctx context.Context, pid int, atMost time.Duration) (unix.WaitStatus, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, atMost, errRuns)
	defer cancel()
	for {
		e.mu.Lock()
		status, ok := e.statuses[uint32(pid)]
		err := e.err
		e.mu.Unlock()
		if ok || err != nil {
			return status, err
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(interval / 5):
		}
	}
}

// killed counts the processes below another that SIGKILL has ended.
func (e *events) killed(below int) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for pid, status := range e.statuses {
		if !status.Signaled() || status.Signal() != unix.SIGKILL {
			continue
		}
		for parent, ok := e.parents[pid]; ok; parent, ok = e.parents[parent] {
			if parent == uint32(below) {
				n++
				break
			}
		}
	}
	return n
}
