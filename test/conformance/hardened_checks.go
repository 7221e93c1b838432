package main

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// survives is a check that an init does its work under a restriction: it reaps, forwards, and ends with the main
// process's code.
func survives(restrict func(t *Trial, s *Spec)) func(*Trial) {
	return func(t *Trial) {
		s := Spec{Main: t.Victim(`
orphan(say, "orphan ends", session=True)
catch("TERM", "USR1", "RT64")
serve("main", TERM=(0, 3))`)}
		restrict(t, &s)
		c := t.Start(s)
		c.Await("main ready", "orphan ends")
		t.Until("the orphan is reaped", func() bool { return len(c.processes()) == 2 && c.zombies() == 0 })
		c.Probe("main", "USR1")
		c.Signal("TERM")
		c.Ends(3)
		c.Said(1, "main got TERM")
	}
}

// brokenPipe is standard error whose reader is gone.
func brokenPipe(t *Trial) *os.File {
	r, w, err := os.Pipe()
	t.Must(err)
	r.Close()
	t.Cleanup(func() { w.Close() })
	return w
}

// fullPipe takes nothing more, and nobody reads it.
func fullPipe(t *Trial) *os.File {
	var fds [2]int
	t.Must(unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	for size := 4096; size > 0; {
		if _, err := unix.Write(fds[1], make([]byte, size)); err != nil {
			size /= 2
		}
	}
	t.Must(unix.SetNonblock(fds[1], false))
	w := os.NewFile(uintptr(fds[1]), "full pipe")
	t.Cleanup(func() { unix.Close(fds[0]); w.Close() })
	return w
}

var hardenedChecks = []Check{
	{"hardened/other-user", "It works as a user without privileges.", survives(func(_ *Trial, s *Spec) { s.UID = 1000 })},
	{"hardened/no-capabilities", "It works with every capability dropped, no_new_privs and the default seccomp profile.", survives(func(_ *Trial, s *Spec) {
		s.Drop, s.NoNewPrivs, s.Seccomp = everyCapability(), true, true
	})},
	{"hardened/read-only", "It works on a read-only root.", survives(func(_ *Trial, s *Spec) { s.ReadOnly = true })},
	{"hardened/memory", "It works within 16 MiB of memory, its main process included.", survives(func(t *Trial, s *Spec) {
		s.Cgroups = []string{t.Cgroup("memory", "memory.limit_in_bytes", "memory.max", "16777216")}
	})},
	{"hardened/pids", "It works where two processes are allowed: itself and its main process.", func(t *Trial) {
		c := t.Start(Spec{
			Stage: Stage{Cgroups: []string{t.Cgroup("pids", "pids.max", "pids.max", "2")}},
			Main:  t.Victim(`catch("TERM", "USR1", "RT64"); serve("main", TERM=(0, 3))`),
		})
		c.Await("main ready")
		c.Probe("main", "USR1")
		c.Signal("TERM")
		c.Ends(3)
		c.Said(1, "main got TERM")
	}},
	{"hardened/pids-too-few", "Where no second process is allowed it ends with 126 and says that it cannot fork.", func(t *Trial) {
		if t.Init.Name == "none" {
			t.Failf("without an init there is no second process")
		}
		c := t.Start(Spec{Stage: Stage{Cgroups: []string{t.Cgroup("pids", "pids.max", "pids.max", "1")}}, Main: []string{"/bin/true"}})
		c.Ends(126)
		if !strings.Contains(c.stderr.String(), "fork") {
			c.Failf("standard error does not say so")
		}
	}},
	{"hardened/together", "All of it together: a shell dies of TERM, its program and a daemon are told once and finish.", func(t *Trial) {
		c := t.Start(Spec{
			Stage: Stage{
				UID: 1000, Drop: everyCapability(), NoNewPrivs: true, Seccomp: true, ReadOnly: true, ClosedStderr: true,
				Cgroups: []string{t.Cgroup("memory", "memory.limit_in_bytes", "memory.max", "33554432"), t.Cgroup("pids", "pids.max", "pids.max", "6")},
				Env: []string{
					"PROG=" + t.VictimScript("prog", finishing),
					"DAEMON=" + t.VictimScript("daemon", `orphan(program, "daemon", "TERM", session=True, TERM=(1, 0))`),
				},
			},
			Main: []string{dash, "-c", "$DAEMON; $PROG; true"},
		})
		c.Await("prog ready", "daemon ready")
		c.Signal("TERM")
		c.Await("prog done", "daemon done")
		c.Ends(143)
		c.Said(1, "prog got TERM", "daemon got TERM")
	}},
	{"hardened/kill-forbidden", "An init that may not signal its main process (root without CAP_KILL, the program as another user) lives on and keeps its code.", func(t *Trial) {
		c := t.Start(Spec{
			Stage: Stage{Drop: []uintptr{unix.CAP_KILL}, Env: []string{"END=" + t.Path("end")}},
			Main: append([]string{"/usr/bin/setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"}, t.Victim(`
catch("TERM")
say("main ready")
while not os.path.exists(os.environ["END"]):
	time.sleep(0.05)
os._exit(7)`)...),
		})
		c.Await("main ready")
		c.Signal("TERM", "HUP", "TERM")
		c.quiet(second)
		t.Write("end", "", 0o644)
		c.Ends(7)
	}},
	{"hardened/setuid", "The same for a setuid program that has become root under an init that is not.", func(t *Trial) {
		real, err := os.Readlink(python)
		t.Must(err)
		b, err := os.ReadFile("/usr/bin/" + real)
		t.Must(err)
		setuid := t.Write("setuid-python", string(b), 0o755|os.ModeSetuid)
		c := t.Start(Spec{
			Stage: Stage{UID: 1000, Env: []string{"END=" + t.Path("end")}},
			Main: append([]string{setuid}, t.Victim(`
os.setresuid(0, 0, 0)
say("main ready")
while not os.path.exists(os.environ["END"]):
	time.sleep(0.05)
os._exit(7)`)[1:]...),
		})
		c.Await("main ready")
		c.Signal("TERM", "HUP", "TERM")
		c.quiet(second)
		t.Write("end", "", 0o644)
		c.Ends(7)
	}},
	{"hardened/stderr-closed", "It works without a standard error, verbose, and writes to no file that the main process opens in its place.", func(t *Trial) {
		file := t.Path("opened")
		c := t.Start(Spec{Options: Options{Verbose: true}, Stage: Stage{ClosedStderr: true}, Main: []string{dash, "-c", "exec 2>" + file + "; kill -SEGV $$"}})
		c.Ends(139)
		if text := t.Read("opened"); text != "" {
			c.Failf("in the main process's file: %q", text)
		}
	}},
	{"hardened/stderr-broken", "With a standard error that nobody reads any more, verbose, it works, and its own SIGPIPE is not forwarded.", func(t *Trial) {
		c := t.Start(Spec{Options: Options{Verbose: true}, Stderr: brokenPipe(t), Main: t.Victim(`
for n in range(20):
	orphan(time.sleep, 0.01 * n, session=True)
catch("TERM", "PIPE", "USR1", "RT64")
serve("main", TERM=(0, 3))`)})
		c.Await("main ready")
		t.Until("the orphans are reaped", func() bool { return len(c.processes()) == 2 && c.zombies() == 0 })
		c.Probe("main", "USR1", "USR1")
		c.Signal("TERM")
		c.Ends(3)
		c.Said(0, "main got PIPE")
		c.Said(1, "main got TERM")
	}},
	{"hardened/stderr-broken-message", "A main process that a signal killed has its code there, too.", func(t *Trial) {
		t.Start(Spec{Options: Options{Verbose: true}, Stderr: brokenPipe(t), Main: dies(9)}).Ends(137)
	}},
	{"hardened/stderr-full", "With a standard error that takes nothing more, verbose, signals are still forwarded and the container still ends.", func(t *Trial) {
		full := fullPipe(t)
		c := t.Start(Spec{Options: Options{Verbose: true}, Stdout: full, Stderr: full, Main: t.Victim(`
orphan(say, "orphan ends", session=True)
catch("TERM", "USR1", "RT64")
serve("main", TERM=(0, 3))`)})
		c.Await("main ready", "orphan ends")
		t.Until("the orphan is reaped", func() bool { return len(c.processes()) == 2 && c.zombies() == 0 })
		c.Probe("main", "USR1")
		c.Signal("TERM")
		c.Ends(3)
		t.Start(Spec{Options: Options{Verbose: true}, Stdout: full, Stderr: full, Main: dies(9)}).Ends(137)
	}},
	{"hardened/hidepid", "Where /proc hides the main process from the init (hidepid, the program as another user) it still gets its signals, each once, and keeps its code.", func(t *Trial) {
		c := t.Start(Spec{
			Stage: Stage{Drop: []uintptr{unix.CAP_SYS_PTRACE}, HidePID: true},
			Main:  append([]string{"/usr/bin/setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"}, t.Victim(`catch("TERM", "USR1", "RT64"); serve("main", TERM=(0, 3))`)...),
		})
		c.Await("main ready")
		c.Probe("main", "USR1")
		c.Signal("TERM")
		c.Ends(3)
		c.Said(1, "main got USR1", "main got TERM")
	}},
	{"hardened/no-proc", "Without /proc a signal that ends nobody goes to the main process's group, another to it alone, with one warning; what is left is notified once, and finishes.", func(t *Trial) {
		c := t.Start(Spec{
			Stage: Stage{NoProc: true, Env: []string{"PROG=" + t.VictimScript("prog", finishing)}},
			Main:  []string{dash, "-c", "$PROG; true"},
		})
		c.Await("prog ready")
		c.Signal("WINCH")
		c.Await("prog got WINCH")
		c.Signal("TERM")
		c.Await("prog done")
		c.Ends(143)
		c.Said(1, "prog got WINCH", "prog got TERM")
		if n := strings.Count(c.stderr.String(), "/proc"); n != 1 {
			c.Failf("%d warnings", n)
		}
	}},
}
