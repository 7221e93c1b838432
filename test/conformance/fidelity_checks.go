package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// same is a check that a main process sees the same with the init and without.
func same(s Spec, keep func(output string) string, main ...string) func(*Trial) {
	return func(t *Trial) {
		s := s
		s.Main = main
		c := t.Start(s)
		c.Ends(0)
		with := keep(c.stdout.String())
		s.Init = &Init{Name: "none", dialect: bare}
		c = t.Start(s)
		c.Ends(0)
		without := keep(c.stdout.String())
		if without == "" {
			t.Brokenf("nothing to compare: %q", c.stdout.String())
		}
		if with != without {
			t.Failf("with the init:\n%s\nwithout:\n%s", with, without)
		}
	}
}

// fields keeps the lines of /proc/self/status with these names.
func fields(names ...string) func(string) string {
	return func(output string) string {
		var b strings.Builder
		for line := range strings.Lines(output) {
			if name, _, _ := strings.Cut(line, ":"); slices.Contains(names, name) {
				b.WriteString(line)
			}
		}
		return b.String()
	}
}

func whole(output string) string { return output }

func ptr(n int) *int { return &n }

// everySignal is every signal that may be ignored or blocked; 32 and 33 are libc's.
func everySignal() (all []int) {
	for sig := 1; sig <= 64; sig++ {
		if sig != 9 && sig != 19 && sig != 32 && sig != 33 {
			all = append(all, sig)
		}
	}
	return all
}

var fidelityChecks = []Check{
	{"fidelity/mask", "The signal mask reaches the main process as it was.",
		same(Spec{Stage: Stage{Block: []int{1, 4, 12, 15, 17, 20, 21, 34, 64}}}, fields("SigBlk"), "/usr/bin/cat", "/proc/self/status")},
	{"fidelity/mask-empty", "So does an empty one.", same(Spec{}, fields("SigBlk"), "/usr/bin/cat", "/proc/self/status")},
	{"fidelity/mask-full", "So does a full one.", same(Spec{Stage: Stage{Block: everySignal()}}, fields("SigBlk"), "/usr/bin/cat", "/proc/self/status")},
	{"fidelity/ignored", "Ignored signals stay ignored, and no others.",
		same(Spec{Stage: Stage{Ignore: []int{2, 10, 11, 13, 22, 40}}}, fields("SigIgn", "SigCgt"), "/usr/bin/cat", "/proc/self/status")},
	{"fidelity/ignored-chld", "SIGCHLD, too, though the init needs it itself.",
		same(Spec{Stage: Stage{Ignore: []int{17}}}, fields("SigIgn", "SigCgt"), "/usr/bin/cat", "/proc/self/status")},
	{"fidelity/ignored-none", "Where none is ignored, none is afterwards.", same(Spec{}, fields("SigIgn", "SigCgt"), "/usr/bin/cat", "/proc/self/status")},
	{"fidelity/ignored-all", "Where all are ignored, all are afterwards.", same(Spec{Stage: Stage{Ignore: everySignal()}}, fields("SigIgn", "SigCgt"), "/usr/bin/cat", "/proc/self/status")},
	{"fidelity/credentials", "Users, groups, capabilities, no_new_privs and seccomp are the same.",
		same(Spec{}, fields("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"), "/usr/bin/cat", "/proc/self/status")},
	{"fidelity/limits", "The resource limits are the same, the number of open files above all.",
		same(Spec{Stage: Stage{Limits: map[int][2]uint64{unix.RLIMIT_NOFILE: {512, 2048}, unix.RLIMIT_STACK: {4 << 20, 6 << 20}, unix.RLIMIT_CORE: {0, 4096}, unix.RLIMIT_NPROC: {5000, 6000}}}},
			whole, "/usr/bin/cat", "/proc/self/limits")},
	{"fidelity/descriptors", "Exactly the descriptors that the container has are open.", func(t *Trial) {
		null, err := os.Open("/dev/null")
		t.Must(err)
		defer null.Close()
		same(Spec{Files: []*os.File{null, null}}, whole, dash, "-c", "for fd in /proc/self/fd/*; do case $fd in */0|*/1|*/2) ;; *) echo $fd $(readlink $fd);; esac; done")(t)
	}},
	{"fidelity/environment", "The environment is the same, in the same order, with every variable that an init reads.",
		same(Spec{Stage: Stage{Env: []string{"TINI_SUBREAPER=", "TINI_VERBOSITY=0", "DUMB_INIT_SETSID=1", "EMPTY=", "NO_EQUALS", "A=1", "A=2", "LISTEN_FDS=2"}}},
			journalOut, "/usr/bin/cat", "/proc/self/environ")},
	{"fidelity/arguments", "The arguments are the same: dozens of them, empty ones, with line ends, and with what looks like a flag.",
		same(Spec{}, whole, append([]string{dash, "-c", "cat /proc/$$/cmdline", "", "--", "-g", "two\nlines", "é", "$PATH"}, slices.Repeat([]string{strings.Repeat("x", 1000)}, 60)...)...)},
	{"fidelity/directory", "The working directory is the same.", same(Spec{Stage: Stage{Dir: "/usr/share"}}, whole, "/usr/bin/readlink", "/proc/self/cwd")},
	{"fidelity/umask", "The umask is the same.", same(Spec{Stage: Stage{Umask: ptr(0o137)}}, fields("Umask"), "/usr/bin/cat", "/proc/self/status")},
	{"fidelity/oom-score", "The OOM score is the same.", same(Spec{Stage: Stage{OOMScoreAdj: ptr(321)}}, whole, "/usr/bin/cat", "/proc/self/oom_score_adj")},
	{"fidelity/priority", "Niceness and timer slack are the same.",
		same(Spec{}, whole, dash, "-c", "cut -d' ' -f 18,19,40,41 /proc/self/stat; cat /proc/self/timerslack_ns /proc/self/coredump_filter /proc/self/personality")},
	{"fidelity/session", "The main process stays in the container's session, where terminals and TIOCSTI look for it.", func(t *Trial) {
		c := t.Start(Spec{Main: t.Victim(`say("session", os.getsid(0)); time.sleep(0)`)})
		c.Ends(0)
		if got := c.Value("session "); got != "1" {
			c.Failf("session %s", got)
		}
	}},
	{"fidelity/descriptors-released", "The init keeps no descriptor above 2 open: who waits for the end of a pipe that the main process has closed is not kept waiting.", func(t *Trial) {
		r, w, err := os.Pipe()
		t.Must(err)
		defer r.Close()
		c := t.Start(Spec{Files: []*os.File{w}, Main: t.Victim(`os.close(4); catch("TERM"); serve("main")`)})
		w.Close()
		c.Await("main ready")
		r.SetReadDeadline(time.Now().Add(t.Size.Patience / 4))
		if _, err := r.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			c.Failf("the pipe is still open")
		}
	}},
	{"fidelity/directory-released", "The init does not pin a mounted volume by its working directory.", func(t *Trial) {
		c := t.Start(Spec{Stage: Stage{Dir: "/usr/share"}, Main: t.Victim(`os.chdir("/"); catch("TERM"); serve("main")`)})
		c.Await("main ready")
		if dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", c.PID)); err != nil || dir != "/" {
			c.Failf("the init's working directory is %s, %v", dir, err)
		}
	}},
	{"fidelity/proc-1-fd", "The main process's user may write to /proc/1/fd/1 and 2, as images do to log.", func(t *Trial) {
		c := t.Start(Spec{Stage: Stage{UID: 1000}, Main: []string{dash, "-c", "echo out >/proc/1/fd/1 && echo err >/proc/1/fd/2"}})
		c.Ends(0)
		if c.stdout.String() != "out\n" || c.stderr.String() != "err\n" {
			c.Failf("standard output %q and error %q", c.stdout.String(), c.stderr.String())
		}
	}},
	{"fidelity/proc-1-environ", "The main process's user may read the container's environment in /proc/1/environ.", func(t *Trial) {
		c := t.Start(Spec{Stage: Stage{UID: 1000, Env: []string{"FIRST=", "SECRET=of the container"}}, Main: []string{"/usr/bin/cat", "/proc/1/environ"}})
		c.Ends(0)
		if want := []byte("\x00SECRET=of the container\x00"); !bytes.Contains([]byte(c.stdout.String()), want) {
			c.Failf("the environment of PID 1: %q", c.stdout.String())
		}
	}},
}

// journalOut drops the journal's path, which differs between two containers.
func journalOut(environ string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(environ, "\x00"), func(v string) bool { return strings.HasPrefix(v, "JOURNAL=") || strings.HasPrefix(v, wrongVariable) }), "\n")
}
