// Package timeline records how a container ends, with and without the init, and draws it.
//
// What is recorded is real: the init's own messages and the program's, with the times at which they came, in a PID
// namespace as a container has one. SIGTERM and, after the grace period, SIGKILL are sent as the kubelet has them sent.
package timeline

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

//go:embed app.py
var app []byte

// programs are those of the container: a shell that waits for the last of them and receives SIGTERM in their stead.
var programs = []string{"worker", "app"}

const command = "python3 app.py worker 3 & python3 app.py app 2; echo done"

// settle is the time from the programs' first lines until SIGTERM.
const settle = 500 * time.Millisecond

// Recording is what was seen.
type Recording struct {
	// Command of the container's shell.
	Command string `json:"command"`
	// Grace is the grace period in seconds.
	Grace float64 `json:"grace"`
	Runs  []Run   `json:"runs"`
}

// Run is one end of the container.
type Run struct {
	// Init says that the container had the init.
	Init bool `json:"init"`
	// Lines of its log, the earlier ones before SIGTERM.
	Lines []Line `json:"lines"`
	// Ended is when the container had ended, in seconds after SIGTERM, and ExitCode its code.
	Ended    float64 `json:"ended"`
	ExitCode int     `json:"exitCode"`
}

// Line of a log.
type Line struct {
	// At is in seconds after SIGTERM.
	At   float64 `json:"at"`
	Text string  `json:"text"`
}

// Record runs the container without and with the init. It needs root, for the namespaces.
func Record(ctx context.Context, initProgram string, grace time.Duration) (Recording, error) {
	r := Recording{Command: command, Grace: grace.Seconds()}
	directory, err := os.MkdirTemp("", "podinit-timeline-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(directory)
	if err := os.WriteFile(filepath.Join(directory, "app.py"), app, 0o644); err != nil {
		return r, err
	}
	for _, before := range [][]string{nil, {initProgram, "-v", "--grace=" + strconv.Itoa(int(grace.Seconds())) + "s", "--"}} {
		run, err := record(ctx, directory, append(before, "sh", "-c", command), grace)
		if err != nil {
			return r, err
		}
		run.Init = before != nil
		r.Runs = append(r.Runs, run)
	}
	return r, nil
}

func record(ctx context.Context, directory string, container []string, grace time.Duration) (run Run, err error) {
	ctx, cancel := context.WithTimeout(ctx, grace+time.Minute)
	defer cancel()
	own := `mount --make-rprivate / && mount -t proc proc /proc && exec "$@"`
	c := exec.CommandContext(ctx, "sh", append([]string{"-c", own, "sh"}, container...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	c.Dir = directory
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	out, write, err := os.Pipe()
	if err != nil {
		return run, err
	}
	defer out.Close()
	c.Stdout, c.Stderr = write, write
	err = c.Start()
	write.Close()
	if err != nil {
		return run, err
	}
	logged := make(chan stamped)
	go follow(out, logged)
	// The pipe is at its end when all processes of the namespace are.
	defer func() {
		cancel()
		for range logged {
		}
	}()

	var lines []stamped
	for ready := 0; ready < len(programs); {
		line, ok := <-logged
		if !ok {
			return run, fmt.Errorf("the container has ended too early: %w; it logged %v", c.Wait(), lines)
		}
		if lines = append(lines, line); strings.Contains(line.text, ": works as pid ") {
			ready++
		}
	}
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return run, ctx.Err()
	}
	stopped := time.Now()
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		return run, err
	}
	deadline := time.AfterFunc(grace, func() { _ = c.Process.Signal(syscall.SIGKILL) }) // it may have ended
	defer deadline.Stop()
	for line := range logged {
		lines = append(lines, line)
	}
	run.Ended = since(stopped, time.Now())
	var exit *exec.ExitError
	switch err := c.Wait(); {
	case errors.As(err, &exit):
		run.ExitCode = exit.ExitCode()
		if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
			run.ExitCode = 128 + int(status.Signal())
		}
	case err != nil:
		return run, err
	}
	for _, line := range lines {
		run.Lines = append(run.Lines, Line{since(stopped, line.at), line.text})
	}
	return run, nil
}

// since is in seconds, to a hundredth.
func since(begin, at time.Time) float64 {
	return float64(at.Sub(begin).Round(10*time.Millisecond).Milliseconds()) / 1000
}

type stamped struct {
	at   time.Time
	text string
}

func follow(out io.Reader, to chan<- stamped) {
	defer close(to)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		to <- stamped{time.Now(), lines.Text()}
	}
}
