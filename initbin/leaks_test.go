package main

import (
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a program sees of itself is the same with the init as without.
func TestNothingLeaks(t *testing.T) {
	// ps-like numbers that may differ between two runs of anything.
	volatile := regexp.MustCompile(`(?m)^SigQ:.*\n|pipe:\[\d+\]|/proc/\d+|\d\d:\d\d`)
	for name, command := range map[string][]string{
		"signals, privileges and umask": {"grep", "-E", "^(Sig|Shd|Umask|NoNewPrivs|Seccomp|Cap|Uid|Gid|Groups)", "/proc/self/status"},
		"limits":                        {"cat", "/proc/self/limits"},
		"OOM score":                     {"cat", "/proc/self/oom_score_adj"},
		"environment":                   {"cat", "/proc/self/environ"},
		"descriptors":                   {"ls", "-l", "--time-style=+", "/proc/self/fd"},
		"descriptors to inherit":        {"cat", "/proc/self/fd/7"},
		"working directory":             {"pwd", "-P"},
		"arguments":                     {"cat", "/proc/self/cmdline", "--", "-x"},
		"timer slack and scheduling":    {"grep", "-E", "^(policy|prio)", "/proc/self/sched"},
	} {
		t.Run(name, func(t *testing.T) {
			var outputs [2]string
			for i, init := range [][]string{{}, {initPath, "--"}} {
				c := newContainer(t)
				before := []string{"/usr/bin/env", "--ignore-signal=USR1,PIPE,CHLD,TTOU,SEGV", "--block-signal=TERM,USR2,TTIN,ILL",
					"/bin/sh", "-c", "umask 027; ulimit -n 512; ulimit -c 0; cd /tmp; exec 7</etc/hostname; exec \"$@\"", "sh"}
				c.Args = append(append(append([]string{c.Args[0]}, before...), init...), command...)
				c.Env = append(c.Env, "D=", "TINI_SUBREAPER=1", "DUMB_INIT_DEBUG=1")
				c.run()
				outputs[i] = volatile.ReplaceAllString(c.output.String(), "")
			}
			if outputs[0] == "" {
				t.Fatal("no output at all")
			}
			if diff := cmp.Diff(outputs[0], outputs[1]); diff != "" {
				t.Errorf("without and with the init (-without +with):\n%s", diff)
			}
		})
	}
}

// systemd's socket activation names the process that the descriptors are for.
func TestListenPID(t *testing.T) {
	c := script(t, `[ "$LISTEN_PID" = $$ ] && echo ours`)
	c.Env = append(c.Env, "LISTEN_PID=1", "LISTEN_FDS=1")
	if c.run(); c.output.String() != "ours\n" {
		t.Errorf("output %q", c.output)
	}
	c = script(t, `echo $LISTEN_PID`)
	c.Env = append(c.Env, "LISTEN_PID=4711")
	if c.run(); c.output.String() != "4711\n" {
		t.Errorf("output %q", c.output)
	}
}

// The init keeps nothing of the container's but its standard streams, which images write to as /proc/1/fd/1.
func TestHoldsNothing(t *testing.T) {
	c := script(t, `cd /; until [ "$(readlink /proc/1/cwd)" = / ]; do sleep 0.01; done; ls /proc/1/fd; readlink /proc/1/cwd; echo through > /proc/1/fd/1;
		tr '\0' '\n' < /proc/1/environ | grep ^MARK; grep -E '^(Threads|NoNewPrivs)' /proc/1/status`)
	c.Dir = "/tmp"
	c.Env = append(c.Env, "MARK=here")
	file, err := os.Open("/etc/hostname")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	c.ExtraFiles = []*os.File{file}
	c.run()
	if diff := cmp.Diff("0\n1\n2\n/\nthrough\nMARK=here\nThreads:\t1\nNoNewPrivs:\t0\n", c.output.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Another user than root has its own init's descriptors: the process is dumpable, the binary readable.
func TestUnprivileged(t *testing.T) {
	c := script(t, `echo through > /proc/1/fd/1; tr '\0' '\n' < /proc/1/environ | grep ^MARK`)
	c.Args = append([]string{c.Args[0], "/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"}, c.Args[1:]...)
	c.Env = append(c.Env, "MARK=here")
	pipe(t, c)
	c.run()
	if diff := cmp.Diff("through\nMARK=here\n", c.output.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// pipe gives the container an output that any user may open again, as container runtimes do.
func pipe(t *testing.T, c *testContainer) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Chmod(0o666); err != nil {
		t.Fatal(err)
	}
	c.Stdout, c.Stderr = w, w
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 4096)
		for {
			n, err := r.Read(buffer)
			c.output.Write(buffer[:n])
			if err != nil {
				return
			}
		}
	}()
	c.finished = func() { w.Close(); <-done; r.Close() }
}

// A signal that was blocked and pending when the init came still reaches the program.
func TestPendingSignal(t *testing.T) {
	c := newContainer(t)
	c.Args = []string{c.Args[0], "/usr/bin/env", "--block-signal=TERM", "/bin/sh", "-c", "kill -TERM $$; exec \"$@\"", "sh", initPath, "--",
		"perl", "-MPOSIX", "-e", "sleep 1; sigprocmask(SIG_SETMASK, POSIX::SigSet->new); sleep 20"}
	if code := c.run(); code != 143 {
		t.Errorf("exit code %d, want 143\n%s", code, c.output)
	}
}

// An error stream that nobody reads, or that is closed, hurts nobody.
func TestBrokenStderr(t *testing.T) {
	for name, redirect := range map[string]string{
		"closed": "2>&-",
		"broken": "2> >(exec 0<&-; sleep 3)",
		"full":   "2> >(sleep 3)",
		"open":   "",
	} {
		t.Run(name, func(t *testing.T) {
			c := newContainer(t)
			c.Args = []string{c.Args[0], "/bin/bash", "-c", "exec \"$@\" " + redirect, "bash", initPath, "-vvw", "--", "bash", "-c",
				"trap 'echo SIGPIPE' PIPE; trap 'n=$((n+1))' USR1; for i in {1..2000}; do kill -USR1 1; done; for i in {1..50}; do (true & ); done; exit 6"}
			if code := c.start().wait(); code != 6 || strings.Contains(c.output.String(), "SIGPIPE") {
				t.Errorf("exit code %d, want 6: %q", code, c.output)
			}
		})
	}
}

// Descriptors that are closed stay closed for the program, and the init's own files do not get their numbers.
func TestClosedStreams(t *testing.T) {
	procfile := writeProcfile(t, "a: echo words; exec sleep 300\n")
	for _, flags := range [][]string{{}, {procfile}} {
		c := newContainer(t)
		c.Args = append(append([]string{c.Args[0], "/bin/bash", "-c", `exec 7>&1; exec "$@" 0<&- 1>&- 2>&-`, "bash", initPath}, flags...),
			"--", "bash", "-c", "trap 'echo WINCH >&7' WINCH; ls /proc/$$/fd >&7; kill -WINCH 1; until [ -e $D/end ]; do sleep 0.02; done; ls /proc/1/fd >&7")
		c.start().waitFor("WINCH")
		if err := os.WriteFile(c.directory+"/end", nil, 0o644); err != nil {
			t.Fatal(err)
		}
		c.wait()
		for _, fd := range []string{"0\n", "1\n", "2\n"} {
			if strings.HasPrefix(c.output.String(), fd) {
				t.Errorf("the program has a descriptor that was closed:\n%s", c.output)
			}
		}
	}
}

// A process that has changed its user can only be signalled with CAP_KILL: then there is nothing to be done.
func TestNotPermitted(t *testing.T) {
	c := newContainer(t)
	c.Args = []string{c.Args[0], "/usr/bin/setpriv", "--bounding-set=-kill", "--inh-caps=-kill", initPath, "-v", "--",
		"setpriv", "--reuid=65534", "--clear-groups", "sh", "-c", "echo up; sleep 1; exit 5"}
	if code := c.start().waitFor("up").signal(syscall.SIGTERM).wait(); code != 5 {
		t.Errorf("exit code %d, want 5\n%s", code, c.output)
	}
	if !strings.Contains(c.output.String(), ": operation not permitted\n") {
		t.Errorf("not a word of it:\n%s", c.output)
	}
}

// /proc may hide other users' processes, even the main process.
func TestHiddenProcesses(t *testing.T) {
	c := newContainer(t)
	c.Args = []string{c.Args[0], "/bin/sh", "-c", `mount -o remount,hidepid=2,gid=4242 /proc && exec setpriv --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace "$@"`, "sh",
		initPath, "--", "setpriv", "--reuid=65534", "--clear-groups", "bash", "-c", "trap 'echo told; exit 5' TERM; echo up; " + forever}
	if code := c.start().waitFor("up").signal(syscall.SIGTERM).wait(); code != 5 || c.output.String() != "up\ntold\n" {
		t.Errorf("exit code %d, want 5\n%s", code, c.output)
	}
}

// Without /proc, or with that of another PID namespace, signals go to the group, and nothing else dies of it.
func TestWithoutProc(t *testing.T) {
	c := script(t, `exec 2>&-; sh -c 'trap "echo child; exit" TERM; echo up; while :; do sleep 0.03; done' & wait`)
	c.Env = append(c.Env, mountProc+"=no")
	c.start().waitFor("up").signal(syscall.SIGTERM)
	if code := c.wait(); code != 143 {
		t.Errorf("exit code %d, want 143", code)
	}
	// Without /proc nobody can know who was told already, so the child may be told again when main has ended.
	output := strings.ReplaceAll(c.output.String(), "child\nchild\n", "child\n")
	want := "up\npodinit: /proc is missing or not of this PID namespace: signals go to the main process's group; mount it\nchild\n"
	if diff := cmp.Diff(want, output); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
