package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/podinit/podinit/test/compatibility"
)

const (
	// readyTimeout bounds how long a service may take until it is ready.
	readyTimeout = 2 * time.Minute
	// settleTime is how long a service without a port is given to start. One with a port gets a moment more when that is open: MariaDB
	// loses a SIGTERM that comes with it, as PID 1 and under tini, too.
	settleTime, momentAfterPort = 3 * time.Second, time.Second
	interval                    = 50 * time.Millisecond
)

// capabilities are those that containerd gives to containers
// (https://github.com/containerd/containerd/blob/main/pkg/oci/spec.go, defaultUnixCaps).
var capabilities = strings.Fields(`CAP_CHOWN CAP_DAC_OVERRIDE CAP_FSETID CAP_FOWNER CAP_MKNOD CAP_NET_RAW CAP_SETGID CAP_SETUID CAP_SETFCAP
	CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_KILL CAP_AUDIT_WRITE`)

// stop starts a service in a container, waits until it is ready, and stops it.
func stop(ctx context.Context, s Service, init initProgram, root, directory string) (result outcome, err error) {
	bundle, err := os.MkdirTemp(directory, "bundle-")
	if err != nil {
		return result, err
	}
	merged, err := overlay(root, bundle)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, unix.Unmount(merged, unix.MNT_DETACH)) }()
	spec := compatibility.Spec(merged, append(init.argv, "sh", "-c", s.Command), capabilities)
	spec.Hostname = "localhost"
	if init.mount != "" {
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/podinit", Type: "bind", Source: init.mount, Options: []string{"bind", "ro"}})
	}
	config := filepath.Join(bundle, "container")
	if err := compatibility.WriteBundle(config, spec); err != nil {
		return result, err
	}
	events, err := watch()
	if err != nil {
		return result, err
	}
	defer events.close()
	log, err := os.Create(filepath.Join(bundle, "log"))
	if err != nil {
		return result, err
	}
	defer log.Close()
	name, pidFile := filepath.Base(bundle), filepath.Join(bundle, "pid")
	state := filepath.Join(directory, "state")
	defer exec.Command("runc", "--root", state, "delete", "--force", name).Run()
	run := exec.CommandContext(ctx, "runc", "--root", state, "run", "--detach", "--bundle", config, "--pid-file", pidFile, name)
	run.Stdout, run.Stderr = log, log
	runErr := run.Run()
	logged := func(err error) error {
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("%w:\n%s", err, text[max(0, len(text)-2000):])
	}
	text, err := os.ReadFile(pidFile)
	if err = errors.Join(runErr, err); err != nil {
		return result, logged(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		return result, err
	}
	if err := ready(ctx, events, pid, s.Port); err != nil {
		return result, logged(err)
	}
	before, began := events.killed(pid), time.Now()
	if err := unix.Kill(pid, s.Signal); err != nil {
		return result, err
	}
	status, err := events.ended(ctx, pid, grace)
	if errors.Is(err, errRuns) {
		result.late = true
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			return result, err
		}
		status, err = events.ended(ctx, pid, grace)
	}
	if err != nil {
		return result, err
	}
	result.took = time.Since(began)
	result.code = status.ExitStatus()
	if status.Signaled() {
		result.code = 128 + int(status.Signal())
	}
	result.killed = events.killed(pid) - before
	return result, nil
}

// overlay mounts a copy of the root file system that a container may write to, and returns where.
func overlay(root, directory string) (string, error) {
	at := map[string]string{}
	for _, part := range []string{"merged", "upper", "work"} {
		at[part] = filepath.Join(directory, part)
		if err := os.Mkdir(at[part], 0o755); err != nil {
			return "", err
		}
	}
	return at["merged"], unix.Mount("overlay", at["merged"], "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", root, at["upper"], at["work"]))
}

// ready waits until something in the container listens on a port, or for a while if that is 0.
func ready(ctx context.Context, events *events, pid, port int) error {
	begin := time.Now()
	for {
		if _, err := events.ended(ctx, pid, interval); !errors.Is(err, errRuns) {
			return errors.Join(errors.New("the service ended before it was stopped"), err)
		}
		switch since := time.Since(begin); {
		case port == 0 && since > settleTime:
			return nil
		case port != 0 && listens(pid, port):
			time.Sleep(momentAfterPort)
			return nil
		case since > readyTimeout:
			return fmt.Errorf("nothing listens on port %d after %s", port, since)
		}
	}
}

// listens looks for a socket of the process's network in the state LISTEN, 0A (proc_net_tcp.rst of the kernel's documentation).
func listens(pid, port int) bool {
	for _, file := range []string{"tcp", "tcp6"} {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, file)) // no IPv6, or it has ended
		for line := range bytes.Lines(text) {
			fields := strings.Fields(string(line))
			if len(fields) > 3 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) && fields[3] == "0A" {
				return true
			}
		}
	}
	return false
}
