package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestExitCodes(t *testing.T) {
	directory := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, tt := range map[string]struct {
		arguments []string
		code      int
		output    string
	}{
		"0":                    {[]string{"true"}, 0, ""},
		"the program's":        {[]string{"sh", "-c", "exit 42"}, 42, ""},
		"by a signal":          {[]string{"sh", "-c", "kill -KILL $$"}, 137, "podinit: \"sh\" was killed by SIGKILL\n"},
		"real-time signal":     {[]string{"sh", "-c", "kill -64 $$"}, 192, "podinit: \"sh\" was killed by signal 64\n"},
		"remapped":             {[]string{"-e", "42", "--", "sh", "-c", "exit 42"}, 0, ""},
		"another is remapped":  {[]string{"-e", "41", "--", "sh", "-c", "exit 42"}, 42, ""},
		"not in PATH":          {[]string{"no-such-program"}, 127, "podinit: cannot run \"no-such-program\": not found in PATH; check the container's command and image\n"},
		"no such file":         {[]string{"/no/such"}, 127, "podinit: cannot run \"/no/such\": no such file, or the interpreter that it names does not exist; check the container's command and image\n"},
		"no interpreter":       {[]string{file("lost", "#!/no/such\n", 0o755)}, 127, "podinit: cannot run \"" + directory + "/lost\": no such file, or the interpreter that it names does not exist; check the container's command and image\n"},
		"not executable":       {[]string{file("plain", "#!/bin/sh\n", 0o644)}, 126, "podinit: cannot run \"" + directory + "/plain\": permission denied; it must be a file, executable for the container's user, on a volume without noexec\n"},
		"a directory":          {[]string{"/"}, 126, "podinit: cannot run \"/\": permission denied; it must be a file, executable for the container's user, on a volume without noexec\n"},
		"neither ELF nor #!":   {[]string{file("text", "exit 5\n", 0o755)}, 126, "podinit: cannot run \"" + directory + "/text\": neither a program for this machine nor a script with a #! line\n"},
		"no program":           {[]string{"-v", "--"}, 1, "podinit: init: no program to run; usage: init [flags] -- program [argument...]\n"},
		"a wrong flag":         {[]string{"--grace=x", "true"}, 1, "podinit: --grace: \"x\" is not a duration such as 45s, 1m30s or a number of seconds\n"},
		"a program named copy": {[]string{"--", "copy"}, 127, "podinit: cannot run \"copy\": not found in PATH; check the container's command and image\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newContainer(t, tt.arguments...)
			if code := c.run(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if diff := cmp.Diff(tt.output, c.output.String()); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

// The search is execvp's: in the container's own PATH, over what may not be run, from the container's directory.
func TestPATH(t *testing.T) {
	directory := t.TempDir()
	for path, mode := range map[string]os.FileMode{"first/tool": 0o644, "second/tool": 0o755, "first/locked": 0o644} {
		os.MkdirAll(filepath.Dir(filepath.Join(directory, path)), 0o755)
		if err := os.WriteFile(filepath.Join(directory, path), []byte("#!/bin/sh\necho $0\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		path, program, output string
		code                  int
	}{
		"goes on after EACCES":               {directory + "/first:" + directory + "/second", "tool", directory + "/second/tool\n", 0},
		"remembers EACCES":                   {directory + "/first:" + directory + "/none", "locked", "podinit: cannot run \"locked\": permission denied; it must be a file, executable for the container's user, on a volume without noexec\n", 126},
		"an empty entry is the directory":    {"/none:", "tool", "tool\n", 0},
		"a slash means no search":            {"", "./tool", "./tool\n", 0},
		"relative entries, from where it is": {"../second", "tool", "../second/tool\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := newContainer(t, "--", tt.program)
			c.Env = append(c.Env, "PATH="+tt.path)
			c.Dir = directory + "/second"
			if code := c.run(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if diff := cmp.Diff(tt.output, c.output.String()); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

func TestForwardsSignals(t *testing.T) {
	// Every signal a shell can trap, but KILL, STOP, CHLD and libc's 32 and 33.
	trap := `for s in 1 2 3 6 10 12 13 14 15 16 18 20 21 22 23 24 25 26 27 28 29 30 31 34 37 63 64 4 5 7 8 11; do
		trap "echo got $s" $s; done; echo ready; while :; do sleep 0.02; done`
	c := newContainer(t, "--", "/bin/bash", "-c", trap).start().waitFor("ready\n")
	for _, s := range []syscall.Signal{1, 2, 3, 6, 10, 12, 13, 14, 15, 16, 18, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 34, 37, 63, 64, 4, 5, 7, 8, 11} {
		c.signal(s)
		c.waitFor("got " + strconv.Itoa(int(s)) + "\n")
	}
	c.signal(syscall.SIGKILL).wait()
}

// What comes before the main process runs is kept for it.
func TestSignalBeforeMain(t *testing.T) {
	for range 20 {
		c := newContainer(t, "--", "sleep", "30").start()
		for begin := time.Now(); !signalsAreKept(c.Process.Pid); {
			if time.Since(begin) > 20*time.Second {
				t.Fatalf("the init has not begun:\n%s", c.output)
			}
		}
		if code := c.signal(syscall.SIGTERM).wait(); code != 143 {
			t.Fatalf("exit code %d, want 143", code)
		}
	}
}

// signalsAreKept says whether a process has become the init and run its first instructions: then it has blocked
// everything, which does not show while it sleeps in rt_sigtimedwait.
func signalsAreKept(pid int) bool {
	status, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	text := string(status)
	return strings.HasPrefix(text, "Name:\tinit\n") &&
		(strings.Contains(text, "State:\tS") || strings.Contains(text, "SigBlk:\tfffffffffffbfeff\n"))
}

func TestReapsOrphans(t *testing.T) {
	c := script(t, `for i in 1 2 3 4 5 6 7 8 9 10; do (true &); done; sleep 0.3; cat /proc/[0-9]*/stat | grep -c ' Z '; exit 5`)
	if code := c.run(); code != 5 || c.output.String() != "0\n" {
		t.Errorf("code %d, zombies %q, want 5 and none", code, c.output)
	}
}

// Elsewhere than as PID 1 orphans come to the init all the same.
func TestReapsAsSubreaper(t *testing.T) {
	c := newContainer(t, "--", initPath, "--", "sh", "-c",
		`export P=$PPID; (sh -c 'sleep 0.2; [ $PPID = $P ] && echo adopted' &); sleep 0.4; cat /proc/[0-9]*/stat | grep -c ' Z '`)
	c.run()
	if diff := cmp.Diff("adopted\n0\n", c.output.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// straggler ignores nothing: it takes 0.3 s to finish after SIGTERM.
const straggler = `2>/dev/null sh -c 'trap "sleep 0.3; echo finished; exit" TERM; echo up; while :; do sleep 0.05; done' & `

var (
	pids    = regexp.MustCompile(`pid \d+`)
	endings = regexp.MustCompile(`podinit: "[ab]" has ended with 0(: stopping the others)?\n`)
)

// waiter catches SIGTERM and goes on waiting for its child.
const waiter = `exec perl -e '$| = 1; $SIG{TERM} = sub {}; unless ($p = fork) { exec "sleep", "2" } print "up\n"; 1 while waitpid($p, 0) != $p; exit 6'`

func TestDrain(t *testing.T) {
	for name, tt := range map[string]struct {
		flags  []string
		script string
		stop   bool
		code   int
		output string // after "up"
		within time.Duration
	}{
		"main exits by itself":       {nil, straggler + "sleep 0.3; exit 9", false, 9, "finished\n", 4 * time.Second},
		"main ends by a stop signal": {nil, straggler + "trap 'exit 8' TERM; while :; do sleep 0.05; done", true, 8, "finished\n", 4 * time.Second},
		"in a session of its own":    {nil, strings.Replace(straggler, "sh -c", "setsid sh -c", 1) + "trap 'exit 8' TERM; while :; do sleep 0.05; done", true, 8, "finished\n", 4 * time.Second},
		"the rest is told once":      {nil, `2>/dev/null sh -c 'trap "echo told" TERM; echo up; for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.05; done' & sleep 0.2; exit 7`, false, 7, "told\n", 4 * time.Second},
		"linger is the limit": {[]string{"--linger=0.5s"}, `sh -c 'trap "" TERM; echo up; sleep 30' & sleep 0.2; exit 7`, false, 7,
			"podinit: killed, still running 0.5s after \"/bin/sh\" had ended: sh (pid N), sleep (pid N)\n", 4 * time.Second},
		"grace is the limit": {[]string{"--grace=0.55s"}, `sh -c 'trap "" TERM; echo up; sleep 30' & trap 'exit 8' TERM; while :; do sleep 0.05; done`, true, 8,
			"podinit: killed, still running 0.5s after the stop signal: sh (pid N), sleep (pid N)\n", 4 * time.Second},
		"bash waits for its child before its trap": {[]string{"--grace=2s"}, `exec bash -c 'trap "echo trap; exit 5" TERM; echo up; sleep 30; true'`, true, 5, "trap\n", 2 * time.Second},
		"the main process is never killed": {[]string{"--grace=0.55s"}, `exec bash -c 'trap "echo TERM" TERM; echo up; for i in 1 2 3 4 5 6 7 8; do sleep 0.2; done; exit 6'`, true, 6,
			"TERM\npodinit: still running 0.5s after the stop signal: bash (pid N), sleep (pid N)\n", 4 * time.Second},
		"other programs than shells are left alone": {[]string{"--grace=1.1s"}, waiter, true, 6, "podinit: still running 1s after the stop signal: perl (pid N), sleep (pid N)\n", 4 * time.Second},
		"escalate=all tells everyone":               {[]string{"--grace=1.1s", "--escalate=all"}, waiter, true, 6, "", time.Second},
		"a daemon outlives main":                    {[]string{"--wait=all"}, `(setsid sh -c 'echo up; sleep 0.5; echo done' &); sleep 0.2; exit 3`, false, 3, "done\n", 4 * time.Second},
		"a daemon is told":                          {[]string{"--wait=all"}, `(setsid bash -c 'trap "echo told; exit" TERM; sleep 0.2; echo up; while :; do sleep 0.03; done' &); exit 3`, true, 3, "told\n", 4 * time.Second},
		"linger 0 waits for nobody":                 {[]string{"--linger=0"}, straggler + "sleep 0.3; exit 9", false, 9, "", 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			c := script(t, tt.script, tt.flags...).start().waitFor("up\n")
			begin := time.Now()
			if tt.stop {
				c.signal(syscall.SIGTERM)
			}
			if code := c.wait(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if took := time.Since(begin); took > tt.within {
				t.Errorf("took %v, want at most %v", took, tt.within)
			}
			output := strings.TrimPrefix(pids.ReplaceAllString(c.output.String(), "pid N"), "up\n")
			output = strings.ReplaceAll(output, "Terminated\n", "") // bash says so of its children
			if !strings.HasPrefix(output, tt.output) || tt.output == "" && output != "" {
				t.Errorf("output %q, want %q", output, tt.output)
			}
		})
	}
}

func TestTerminationMessage(t *testing.T) {
	for name, tt := range map[string]struct {
		arguments []string
		before    string
		want      string
	}{
		"cannot start":               {[]string{"nope"}, "", "podinit: cannot run \"nope\": not found in PATH; check the container's command and image\n"},
		"killed":                     {[]string{"sh", "-c", "kill -KILL $$"}, "", "podinit: \"sh\" was killed by SIGKILL\n"},
		"nothing to say":             {[]string{"sh", "-c", "exit 3"}, "", ""},
		"the program has its own":    {[]string{"sh", "-c", "kill -KILL $$"}, "mine", "mine"},
		"processes had to be killed": {[]string{"--linger=0.1s", "sh", "-c", `trap "" TERM; sleep 30 & sleep 0.1`}, "", "podinit: killed, still running 0.1s after \"sh\" had ended: sleep (pid N)\n"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "termination-log")
			if err := os.WriteFile(file, []byte(tt.before), 0o666); err != nil {
				t.Fatal(err)
			}
			newContainer(t, append([]string{"--termination-message=" + file}, tt.arguments...)...).run()
			got, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, pids.ReplaceAllString(string(got), "pid N")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
