package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/podinit/podinit/initbin/kernel"
)

// trapper is the command of a script that says its name and the signal whenever it gets one of a list, and lives on: the
// signals in capitals, a name. The script is a file, since words in the text of a shell around it would be taken for
// that shell's own. It is sh's, and so is every script here that traps SIGINT and runs programs: bash forgets a SIGINT that
// comes while it takes the status of a program that has just ended (jobs.c, wait_sigint_handler).
func trapper(name string, signals ...string) string {
	text := "exec 2>/dev/null; "
	for _, s := range signals {
		text += "trap 'echo " + name + " " + s + "' " + s + "; "
	}
	file := filepath.Join(scripts, name+strings.Join(signals, ""))
	if err := os.WriteFile(file, []byte(text+"echo up "+name+"; while :; do sleep 0.03; done\n"), 0o644); err != nil {
		panic(err)
	}
	return "sh " + file
}

func TestSignalsByHandler(t *testing.T) {
	for name, tt := range map[string]struct {
		flags  []string
		main   []string
		ups    []string // what to wait for
		signal []syscall.Signal
		want   []string // the lines after the ups, sorted
		code   int      // after TERM and KILL to all, 0 for any
	}{
		"main catches it, its child is not notified": {nil, []string{"bash", "-c", "trap 'echo main TERM' TERM; " + trapper("child", "TERM") + " & echo up main; while :; do sleep 0.03; done"},
			[]string{"up main", "up child"}, []syscall.Signal{syscall.SIGTERM}, []string{"main TERM"}, 137},
		"a shell dies of it, its child is notified": {nil, []string{"sh", "-c", trapper("child", "TERM") + "; true"},
			[]string{"up child"}, []syscall.Signal{syscall.SIGTERM}, []string{"child TERM"}, 143},
		"through two shells": {nil, []string{"sh", "-c", `sh -c "$0; true"; true`, trapper("child", "TERM")},
			[]string{"up child"}, []syscall.Signal{syscall.SIGTERM}, []string{"child TERM"}, 143},
		"bash -ci ignores it": {nil, []string{"bash", "-ci", trapper("child", "TERM") + "; true"},
			[]string{"up child"}, []syscall.Signal{syscall.SIGTERM}, []string{"child TERM"}, 0},
		"QUIT dumps the shell, then its child is notified": {[]string{"--stop-signal=QUIT"}, []string{"sh", "-c", trapper("child", "QUIT") + "; true"},
			[]string{"up child"}, []syscall.Signal{syscall.SIGQUIT}, []string{"child QUIT"}, 131},
		"a waiting shell catches INT": {nil, []string{"bash", "-c", trapper("child", "INT") + "; true"},
			[]string{"up child"}, []syscall.Signal{syscall.SIGINT}, []string{"child INT"}, 0},
		"WINCH is ignored by the shell": {nil, []string{"sh", "-c", trapper("child", "WINCH") + "; true"},
			[]string{"up child"}, []syscall.Signal{syscall.SIGWINCH}, []string{"child WINCH"}, 0},
		"QUIT, not being the stop signal, leaves the shell alive": {nil, []string{"sh", "-c", trapper("child", "QUIT") + "; true"},
			[]string{"up child"}, []syscall.Signal{syscall.SIGQUIT, syscall.SIGQUIT}, []string{"child QUIT", "child QUIT"}, 0},
		"a shell that traps HUP has it alone": {nil, []string{"bash", "-c", "trap 'echo main HUP' HUP; " + trapper("child", "HUP") + " & while :; do wait; done"},
			[]string{"up child"}, []syscall.Signal{syscall.SIGHUP}, []string{"main HUP"}, 0},
		"a shell that traps INT has it alone": {nil, []string{"bash", "-c", "trap 'echo main INT' INT; " + trapper("child", "INT") + " & while :; do wait; done"},
			[]string{"up child"}, []syscall.Signal{syscall.SIGINT}, []string{"main INT"}, 0},
		"bash always ignores QUIT": {[]string{"--stop-signal=QUIT"}, []string{"bash", "-c", trapper("child", "QUIT") + "; true"},
			[]string{"up child"}, []syscall.Signal{syscall.SIGQUIT}, []string{"child QUIT"}, 0},
		"a nested init that waits for it has USR1": {nil, []string{"tini", "-s", "--", "bash", "-c", "trap 'echo main USR1' USR1; " + trapper("child", "USR1") + " & while :; do wait; done"},
			[]string{"up child"}, []syscall.Signal{syscall.SIGUSR1}, []string{"main USR1"}, 0},
		"TTIN does not stop the shell": {nil, []string{"sh", "-c", trapper("child", "TTIN", "TTOU") + "; true"},
			[]string{"up child"}, []syscall.Signal{syscall.SIGTTIN, syscall.SIGTTOU}, []string{"child TTIN", "child TTOU"}, 0},
		"a nested init has it alone": {nil, []string{"INIT", "--", "sh", "-c", trapper("child", "TERM") + "; true"},
			[]string{"up child"}, []syscall.Signal{syscall.SIGTERM}, []string{"child TERM"}, 0},
		"one that blocks it for a moment, as in vfork, does not handle it": {nil, []string{"perl", "-MPOSIX", "-e",
			`if (!fork) { exec "` + trapper("child", "USR1") + `" } $| = 1; $SIG{HUP} = sub { sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGUSR1)); kill USR1 => getppid;
			my $n = 0; $n++ while $n < 20000; sigprocmask(SIG_UNBLOCK, POSIX::SigSet->new(SIGUSR1)) }; print "up main\n"; 1 while waitpid(-1, 0) < 0`},
			[]string{"up child", "up main"}, []syscall.Signal{syscall.SIGHUP}, []string{"child USR1"}, 0},
		"a real-time signal": {[]string{"--stop-signal=SIGRTMIN+3"}, []string{"sh", "-c", trapper("child", "RTMIN+3") + "; true"},
			[]string{"up child"}, []syscall.Signal{37}, []string{"child RTMIN+3"}, 0},
		"every further one is sent too": {nil, []string{"bash", "-c", "trap 'echo main TERM' TERM; echo up main; while :; do sleep 0.03; done"},
			[]string{"up main"}, []syscall.Signal{syscall.SIGTERM, syscall.SIGTERM}, []string{"main TERM", "main TERM"}, 137},
		"target main": {[]string{"--signal-target=main"}, []string{"bash", "-c", "trap 'echo main USR1' USR1; " + trapper("child", "USR1") + " & echo up main; while :; do sleep 0.03; done"},
			[]string{"up main", "up child"}, []syscall.Signal{syscall.SIGUSR1}, []string{"main USR1"}, 0},
		"target group": {[]string{"--signal-target=group"}, []string{"bash", "-c", "trap 'echo main HUP' HUP; " + trapper("child", "HUP") + " & setsid " + trapper("apart", "HUP") + " & echo up main; while :; do sleep 0.03; done"},
			[]string{"up main", "up child", "up apart"}, []syscall.Signal{syscall.SIGHUP}, []string{"child HUP", "main HUP"}, 0},
		"target all": {[]string{"--signal-target=all"}, []string{"bash", "-c", "trap 'echo main HUP' HUP; " + trapper("child", "HUP") + " & setsid " + trapper("apart", "HUP") + " & echo up main; while :; do sleep 0.03; done"},
			[]string{"up main", "up child", "up apart"}, []syscall.Signal{syscall.SIGHUP}, []string{"apart HUP", "child HUP", "main HUP"}, 0},
		"rewritten": {[]string{"--rewrite=USR1:USR2"}, []string{"bash", "-c", "trap 'echo main USR2' USR2; trap 'echo main USR1' USR1; echo up main; while :; do sleep 0.03; done"},
			[]string{"up main"}, []syscall.Signal{syscall.SIGUSR1}, []string{"main USR2"}, 0},
		"dropped": {[]string{"-r", "HUP:0"}, []string{"bash", "-c", "trap 'echo main HUP' HUP; trap 'echo main USR1' USR1; echo up main; while :; do sleep 0.03; done"},
			[]string{"up main"}, []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1}, []string{"main USR1"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i, word := range tt.main {
				if word == "INIT" {
					tt.main[i] = initPath
				}
			}
			c := newContainer(t, append(append(tt.flags, "--"), tt.main...)...).start()
			for _, up := range tt.ups {
				c.waitFor(up + "\n")
			}
			c.settle()
			lines := func() (lines []string) {
				for line := range strings.Lines(c.output.String()) {
					if line = strings.TrimSpace(line); !slices.Contains(tt.ups, line) && !strings.HasPrefix(line, "bash: ") && line != "Hangup" {
						lines = append(lines, line)
					}
				}
				slices.Sort(lines)
				return lines
			}
			for i, s := range tt.signal {
				c.signal(s)
				// A second signal of the kind is lost on a process that has not taken the first.
				want := len(tt.want) * (i + 1) / len(tt.signal)
				c.eventually("lines: "+strconv.Itoa(want), func() bool { return len(lines()) >= want })
			}
			time.Sleep(200 * time.Millisecond) // time for what should not come
			if diff := cmp.Diff(tt.want, lines()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			c.signal(syscall.SIGKILL)
			c.wait()
		})
	}
}

// With --wait=all signals reach what the main process has left behind, whatever the target.
func TestSignalsAfterMain(t *testing.T) {
	for _, target := range []string{"auto", "main", "group", "all"} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			c := script(t, `setsid bash -c "trap 'echo HUP' HUP; trap 'echo TERM; exit' TERM; sh $D/await ended; echo up; `+forever+`" & exit 3`,
				"-v", "--wait=all", "--signal-target="+target)
			c.start().waitFor("exited with code 3\n").touch("ended")
			c.waitFor("up\n").signal(syscall.SIGHUP).waitFor("HUP\n")
			if code := c.signal(syscall.SIGTERM).wait(); code != 3 || !strings.Contains(c.output.String(), "TERM\n") {
				t.Errorf("exit code %d, want 3, and TERM:\n%s", code, c.output)
			}
		})
	}
}

// The number of a program that has been reaped is not signalled: by then it may be a outsider's.
func TestGroupNumberIsUsedAgain(t *testing.T) {
	c := newContainer(t, writeProcfile(t, "a: trap 'echo USR1' USR1; trap '' TERM; touch $D/a; "+forever+"\n"), "--linger=60s", "-v", "-g",
		"--", "sh", "-c", "echo $$ >$D/main; exec sh $D/await a")
	c.start().waitFor("\"sh\" exited with code 0\n")
	main, _ := os.ReadFile(c.directory + "/main")
	number := strings.TrimSpace(string(main))
	session := exec.Command("nsenter", "-t", strconv.Itoa(c.Process.Pid), "-p", "-m", "--", "bash", "-c",
		`until [ -e $D/victim ]; do echo $((`+number+` - 1)) >/proc/sys/kernel/ns_last_pid
		setsid bash -c '[ $$ = `+number+` ] || exit; trap "echo outsider notified" USR1; touch $D/victim; `+forever+`' & sleep 0.1; done; wait`)
	session.Env, session.Stdout, session.Stderr = c.Env, c.output, c.output
	if err := session.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Process.Kill(); session.Wait() })
	c.eventually("the number is used again", func() bool { _, err := os.Stat(c.directory + "/victim"); return err == nil })
	c.signal(syscall.SIGUSR1).waitFor("a | USR1\n").signal(syscall.SIGUSR1)
	c.eventually("a second signal", func() bool { return strings.Count(c.output.String(), "a | USR1\n") == 2 })
	if strings.Contains(c.output.String(), "outsider notified") {
		t.Errorf("the number's new owner has been notified:\n%s", c.output)
	}
	c.signal(syscall.SIGKILL).wait()
}

func TestForwardable(t *testing.T) {
	const self, fromKernel, fromUser, fromQueue = 7, 0x80, 0, -1
	for name, tt := range map[string]struct {
		signal syscall.Signal
		code   int32
		pid    int
		want   bool
	}{
		"TERM from outside":                 {syscall.SIGTERM, fromUser, 0, true},
		"TERM from ourselves":               {syscall.SIGTERM, fromUser, self, true},
		"INT of a terminal":                 {syscall.SIGINT, fromKernel, 0, true},
		"a queued real-time signal":         {40, fromQueue, 12, true},
		"CHLD of a child":                   {syscall.SIGCHLD, 1, 9, false},
		"CHLD by kill":                      {syscall.SIGCHLD, fromUser, 9, false},
		"PIPE by kill":                      {syscall.SIGPIPE, fromUser, 9, true},
		"PIPE of our own write":             {syscall.SIGPIPE, fromUser, self, false},
		"XFSZ by kill":                      {syscall.SIGXFSZ, fromUser, 9, true},
		"XFSZ of our own write":             {syscall.SIGXFSZ, fromUser, self, false},
		"SEGV by kill":                      {syscall.SIGSEGV, fromUser, 9, true},
		"SEGV of our own":                   {syscall.SIGSEGV, 1, 0, false},
		"ABRT by kill":                      {syscall.SIGABRT, fromUser, 9, true},
		"TTIN by kill, as gunicorn is used": {syscall.SIGTTIN, fromUser, 9, true},
		"TTIN as we have read a terminal":   {syscall.SIGTTIN, fromKernel, 0, false},
		"libc's own":                        {32, fromUser, 9, false},
		"the first that is not":             {34, fromUser, 9, true},
	} {
		got := forwardable(kernel.Info{Signal: uint8(tt.signal), Code: tt.code, PID: tt.pid}, self)
		if got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
