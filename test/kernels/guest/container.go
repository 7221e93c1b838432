package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// ended is how a container ended.
type ended struct {
	// code is the exit code, or -1 if a signal ended PID 1.
	code   int
	signal syscall.Signal
	output string
}

// container runs a program as PID 1 in namespaces and, unless it is empty, a cgroup of its own, which it sees as the root of cgroup
// v2, as a container does.
func container(cgroup string, argv ...string) (ended, error) {
	script := `busybox mount -t proc proc /proc && exec "$@"`
	if cgroup != "" {
		script = `echo 0 >"$CGROUP/cgroup.procs" && exec unshare --cgroup dash -c '
			busybox umount /sys/fs/cgroup && busybox mount -t cgroup2 none /sys/fs/cgroup && ` + script + `' - "$@"`
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var output bytes.Buffer
	command := exec.CommandContext(ctx, "/usr/bin/dash", append([]string{"-c", script, "-"}, argv...)...)
	command.Env = append(os.Environ(), "CGROUP="+cgroup)
	command.Stdout, command.Stderr = &output, &output
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS, Setsid: true}
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return ended{}, err
	}
	if ctx.Err() != nil {
		return ended{}, fmt.Errorf("%q has not ended: %w: %s", argv, ctx.Err(), output.String())
	}
	status := command.ProcessState.Sys().(syscall.WaitStatus)
	e := ended{code: status.ExitStatus(), output: output.String()}
	if status.Signaled() {
		e.signal = status.Signal()
	}
	return e, nil
}
