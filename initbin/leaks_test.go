package main

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
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

// An error stream that is not read, or that is closed, does no harm.
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

// A process that has changed its user can only be signalled with CAP_KILL: then a container that does not stop says why.
func TestNotPermitted(t *testing.T) {
	c := newContainer(t)
	c.Args = []string{c.Args[0], "/usr/bin/setpriv", "--bounding-set=-kill", "--inh-caps=-kill", initPath, "--grace=0.5s", "--",
		"setpriv", "--reuid=65534", "--clear-groups", "sh", "-c", "echo up; sleep 1; exit 5"}
	if code := c.start().waitFor("up").signal(syscall.SIGTERM).wait(); code != 5 {
		t.Errorf("exit code %d, want 5\n%s", code, c.output)
	}
	want := "up\n" +
		"podinit: cannot send SIGTERM to \"sh\" (pid N): operation not permitted; it runs as another user: add the capability KILL to the container, or start the program as the container's user\n" +
		"podinit: still running Ns after the stop signal: sh (pid N), sleep (pid N); SIGTERM could not be sent: operation not permitted (add the capability KILL)\n"
	if diff := cmp.Diff(want, withoutNumbers(c.output.String())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A system call that a seccomp profile refuses never leaves a container hanging without a word.
func TestRefusedCalls(t *testing.T) {
	const hint = "operation not permitted; a seccomp profile that was recorded for the program alone may forbid it: allow it, or run without podinit\n"
	for name, tt := range map[string]struct {
		call int
		code int
		want string
	}{
		"wait4":           {unix.SYS_WAIT4, 126, "podinit: cannot wait for processes (wait4): " + hint},
		"rt_sigprocmask":  {unix.SYS_RT_SIGPROCMASK, 126, "podinit: cannot block signals (rt_sigprocmask): " + hint},
		"rt_sigtimedwait": {unix.SYS_RT_SIGTIMEDWAIT, 126, "podinit: cannot wait for signals (rt_sigtimedwait): " + hint},
		"clock_gettime":   {unix.SYS_CLOCK_GETTIME, 126, "podinit: cannot read the clock (clock_gettime): " + hint},
		"ppoll":           {unix.SYS_PPOLL, 127, "podinit: cannot run \"nope\": not found in PATH; check the container's command and image\n"},
		"close_range":     {unix.SYS_CLOSE_RANGE, 127, "podinit: cannot run \"nope\": not found in PATH; check the container's command and image\n"},
	} {
		t.Run(name, func(t *testing.T) {
			program := "nope"
			if tt.code == 126 {
				program = "true" // it must not be said that it cannot be run
			}
			c := newContainer(t, program)
			c.Env = append(c.Env, refuseCall+"="+strconv.Itoa(tt.call))
			if code := c.run(); code != tt.code || c.output.String() != tt.want {
				t.Errorf("exit code %d, want %d\n%s", code, tt.code, c.output)
			}
		})
	}
	t.Run("ppoll, with a Procfile", func(t *testing.T) {
		c := newContainer(t, writeProcfile(t, "a: touch $D/started\n"))
		c.Env = append(c.Env, refuseCall+"="+strconv.Itoa(unix.SYS_PPOLL))
		want := "podinit: cannot wait for output of Procfile processes (ppoll): " + hint
		if code := c.run(); code != 126 || c.output.String() != want {
			t.Errorf("exit code %d, want 126\n%s", code, c.output)
		}
		if _, err := os.Stat(c.directory + "/started"); err == nil {
			t.Error("a process has been started")
		}
	})
	t.Run("lseek", func(t *testing.T) {
		c := script(t, "echo up; exec sleep 300")
		c.Env = append(c.Env, refuseCall+"="+strconv.Itoa(unix.SYS_LSEEK))
		c.start().waitFor("up\n")
		for range 3 { // each is for no process, as main does not handle it
			c.signal(syscall.SIGHUP).waitUntilTaken(syscall.SIGHUP)
		}
		if code := c.signal(syscall.SIGTERM).wait(); code != 143 {
			t.Errorf("exit code %d, want 143\n%s", code, c.output)
		}
	})
	t.Run("kill", func(t *testing.T) {
		c := script(t, "echo up; sleep 1; exit 5", "--grace=0.5s")
		c.Env = append(c.Env, refuseCall+"="+strconv.Itoa(unix.SYS_KILL))
		if code := c.start().waitFor("up").signal(syscall.SIGTERM).wait(); code != 5 {
			t.Errorf("exit code %d, want 5\n%s", code, c.output)
		}
		for _, want := range []string{"podinit: cannot send SIGTERM to \"sh\" (pid N): operation not permitted", "; SIGTERM could not be sent: operation not permitted"} {
			if got := withoutNumbers(c.output.String()); !strings.Contains(got, want) {
				t.Errorf("no %q in:\n%s", want, got)
			}
		}
	})
	t.Run("close_range, inherited descriptors", func(t *testing.T) {
		// The init closes them when the program has been started.
		c := script(t, `for i in $(seq 500); do fds=$(ls /proc/1/fd); [ "$fds" = "$(printf '0\n1\n2')" ] && break; sleep 0.02; done; echo "$fds"`)
		c.Env = append(c.Env, refuseCall+"="+strconv.Itoa(unix.SYS_CLOSE_RANGE))
		file, err := os.Open("/etc/hostname")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		c.ExtraFiles = []*os.File{file, file}
		if c.run(); c.output.String() != "0\n1\n2\n" {
			t.Errorf("descriptors of the init: %q", c.output)
		}
	})
}

// /proc may hide other users' processes, even the main process.
func TestHiddenProcesses(t *testing.T) {
	c := newContainer(t)
	c.Args = []string{c.Args[0], "/bin/sh", "-c", `mount -o remount,hidepid=2,gid=4242 /proc && exec setpriv --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace "$@"`, "sh",
		initPath, "--", "setpriv", "--reuid=65534", "--clear-groups", "bash", "-c", "trap 'echo notified; exit 5' TERM; echo up; " + forever}
	if code := c.start().waitFor("up").signal(syscall.SIGTERM).wait(); code != 5 || c.output.String() != "up\nnotified\n" {
		t.Errorf("exit code %d, want 5\n%s", code, c.output)
	}
}

// Without /proc, or with too few descriptors to read it, it is not known which processes handle a signal: the main process
// alone gets it, as with tini, and what it leaves behind gets it once.
func TestUnseen(t *testing.T) {
	const child = `sh -c 'trap "echo child; sleep 0.3; echo finished; exit" TERM; echo up; while :; do sleep 0.03; done' & `
	for name, tt := range map[string]struct {
		main string
		code int
	}{
		"main is ended":               {child + "wait", 143},
		"main notifies its child":     {"trap 'kill -TERM $!; wait; exit 4' TERM; " + child + "wait", 4},
		"main notifies and is gone":   {"trap 'kill -TERM $!; exit 4' TERM; " + child + "wait", 4},
		"main is gone a moment later": {"trap 'kill -TERM $!; sleep 0.15; exit 4' TERM; " + child + "wait", 4},
	} {
		t.Run(name, func(t *testing.T) {
			for _, how := range []string{"no /proc", "few descriptors"} {
				want := "up\nchild\nfinished\n"
				c := script(t, "exec 2>&-; "+tt.main)
				if how == "no /proc" {
					c.Env = append(c.Env, mountProc+"=no")
					want = "up\npodinit: /proc is missing or belongs to another PID namespace: only the main process gets signals; mount it\nchild\nfinished\n"
				} else {
					c.Args = append([]string{c.Args[0], "/bin/sh", "-c", `ulimit -n 4; exec "$@"`, "sh"}, c.Args[1:]...)
					c.Args = append(c.Args[:len(c.Args)-1], tt.main) // without a descriptor for the redirection
				}
				c.start().waitFor("up").signal(syscall.SIGTERM)
				if code := c.wait(); code != tt.code {
					t.Errorf("%s: exit code %d, want %d", how, code, tt.code)
				}
				got := strings.ReplaceAll(c.output.String(), "Terminated\n", "")
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", how, diff)
				}
			}
		})
	}
}
