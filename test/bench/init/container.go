package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// contender is an init under measurement. Without a path it is no init at all: the main process is PID 1 itself.
type contender struct {
	name  string
	path  string
	flags []string
}

// command is what starts the init with a main process.
func (c contender) command(main ...string) []string {
	if c.path == "" {
		return main
	}
	return append(append([]string{c.path}, c.flags...), append([]string{"--"}, main...)...)
}

// container is a PID namespace with its own /proc and an init in it.
type container struct {
	process *os.Process
	pid     int // of its PID 1, seen from here
	gate    *os.File
	reports int // the reading end of what the programs in it report
	exec    int // reads as ended once PID 1 has executed its command
	watch   *time.Timer
}

// lifetime bounds how long a container lives, whatever goes wrong in it.
const lifetime = 2 * time.Minute

// prepare makes a container in which command is ready to be executed as PID 1: open lets it. The container dies with
// this process.
func (b *bench) prepare(command ...string) (*container, error) {
	var gate, reports, exec [2]int
	for _, pipe := range [][]int{gate[:], reports[:], exec[:]} {
		if err := unix.Pipe2(pipe, unix.O_CLOEXEC); err != nil {
			return nil, fmt.Errorf("making a pipe: %w", err)
		}
	}
	theirs := []*os.File{os.NewFile(uintptr(gate[0]), "gate"), os.Stderr, os.Stderr,
		os.NewFile(uintptr(reports[1]), "reports"), os.NewFile(uintptr(exec[1]), "exec")}
	defer func() {
		for _, i := range []int{0, 3, 4} {
			theirs[i].Close()
		}
	}()
	c := &container{gate: os.NewFile(uintptr(gate[1]), "gate"), reports: reports[0], exec: exec[0]}

	var err error
	c.process, err = os.StartProcess(b.program, append([]string{b.program, "launch"}, command...), &os.ProcAttr{
		Env:   []string{"PATH=/usr/bin:/bin"},
		Files: theirs,
		Sys: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS,
			Pdeathsig:  unix.SIGKILL, // this goroutine is locked to the main thread
		},
	})
	if err != nil {
		c.close()
		return nil, fmt.Errorf("starting a PID namespace (this needs root): %w", err)
	}
	c.pid = c.process.Pid
	c.watch = time.AfterFunc(lifetime, func() { c.process.Kill() })
	return c, nil
}

// open lets PID 1 execute its command, or a program in the container that waits go on.
func (c *container) open() error {
	_, err := c.gate.Write([]byte{0})
	return err
}

// start prepares a container, opens it, and waits until the main process runs.
func (b *bench) start(command ...string) (*container, error) {
	c, err := b.prepare(command...)
	if err != nil {
		return nil, err
	}
	err = c.open()
	for range 2 { // at the exec of the init, and of the main process
		if err == nil {
			_, err = c.next(lifetime)
		}
	}
	if err != nil {
		c.kill()
		return nil, fmt.Errorf("%s: %w", filepath.Base(command[0]), err)
	}
	return c, nil
}

// errEnded means that every process that could report has ended.
var errEnded = errors.New("no report: the programs in the container have ended")

// next is the next report.
func (c *container) next(patience time.Duration) (uint64, error) {
	poll := []unix.PollFd{{Fd: int32(c.reports), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(poll, int(patience.Milliseconds()))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, fmt.Errorf("no report within %v", patience)
		}
		var word [8]byte
		if n, err := unix.Read(c.reports, word[:]); err != nil {
			return 0, err
		} else if n != len(word) {
			return 0, errEnded
		}
		return binary.NativeEndian.Uint64(word[:]), nil
	}
}

// awaitExec spins until PID 1 has executed its command.
func (c *container) awaitExec() error {
	poll := []unix.PollFd{{Fd: int32(c.exec)}}
	for poll[0].Revents&unix.POLLHUP == 0 {
		if _, err := unix.Poll(poll, 0); err != nil && err != unix.EINTR {
			return err
		}
	}
	return nil
}

// wait waits until PID 1 has ended and returns its exit code, -1 if a signal ended it.
func (c *container) wait() (code int, err error) {
	defer c.close()
	state, err := c.process.Wait()
	if err != nil {
		return 0, err
	}
	return state.ExitCode(), nil
}

// kill ends the container: when its PID 1 dies, the kernel kills the rest.
func (c *container) kill() {
	c.process.Kill()
	c.process.Wait()
	c.close()
}

func (c *container) close() {
	if c.watch != nil {
		c.watch.Stop()
	}
	c.gate.Close()
	unix.Close(c.reports)
	unix.Close(c.exec)
}

// now is the clock of the programs' reports.
func now() int64 {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return t.Nano()
}

// runOn limits a process (0: this thread) to some processors.
func runOn(pid int, processors ...int) error {
	var set unix.CPUSet
	for _, p := range processors {
		set.Set(p)
	}
	return unix.SchedSetaffinity(pid, &set)
}

// preferred lets a process (0: this thread), and what it starts from then on, run before all ordinary ones (SCHED_FIFO).
// Where that is not allowed, all stays as it is, and the figures are noisier.
func preferred(pid int, yes bool) {
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}
	if yes {
		attr.Policy, attr.Priority = unix.SCHED_FIFO, 1
	}
	unix.SchedSetAttr(pid, &attr, 0)
}

// memoryGroup is a memory cgroup of the first version, which alone counts kernel memory by itself.
type memoryGroup string

// newMemoryGroup fails where there is no such hierarchy.
func newMemoryGroup(name string) (memoryGroup, error) {
	g := memoryGroup(filepath.Join("/sys/fs/cgroup/memory", name))
	return g, os.Mkdir(string(g), 0o755)
}

func (g memoryGroup) add(pid int) error {
	return os.WriteFile(filepath.Join(string(g), "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
}

// kernelBytes is the kernel memory charged to the group.
func (g memoryGroup) kernelBytes() (float64, error) {
	text, err := os.ReadFile(filepath.Join(string(g), "memory.kmem.usage_in_bytes"))
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(string(text[:max(0, len(text)-1)]), 64)
}

// remove succeeds once the group's processes have been reaped.
func (g memoryGroup) remove() error { return os.Remove(string(g)) }
