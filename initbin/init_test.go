package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
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
	const lookupDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	const moved = "; the command was looked up from image " + lookupDigest +
		": if the container's Image ID is another, its tag has moved: create the pod again, and pin the image (pinDigest: OnLookup)\n"
	for name, tt := range map[string]struct {
		arguments []string
		code      int
		output    string
	}{
		"0":                     {[]string{"true"}, 0, ""},
		"the program's":         {[]string{"sh", "-c", "exit 42"}, 42, ""},
		"by a signal":           {[]string{"sh", "-c", "kill -KILL $$"}, 137, "podinit: \"sh\" was killed by SIGKILL\n"},
		"real-time signal":      {[]string{"sh", "-c", "kill -64 $$"}, 192, "podinit: \"sh\" was killed by signal 64\n"},
		"remapped":              {[]string{"-e", "42", "--", "sh", "-c", "exit 42"}, 0, ""},
		"another is remapped":   {[]string{"-e", "41", "--", "sh", "-c", "exit 42"}, 42, ""},
		"not in PATH":           {[]string{"no-such-program"}, 127, "podinit: cannot run \"no-such-program\": not found in PATH; check the container's command and image\n"},
		"of a moved tag":        {[]string{"--lookup-digest=" + lookupDigest, "--", "no-such-program"}, 127, "podinit: cannot run \"no-such-program\": not found in PATH; check the container's command and image" + moved},
		"not executable there":  {[]string{"--lookup-digest=" + lookupDigest, "--", file("plain", "#!/bin/sh\n", 0o644)}, 126, "podinit: cannot run \"" + directory + "/plain\": permission denied; it must be a file, executable for the container's user, on a volume without noexec" + moved},
		"the looked-up program": {[]string{"--lookup-digest=" + lookupDigest, "--", "sh", "-c", "exit 3"}, 3, ""},
		"lost platform":         {[]string{"--lookup-digest=" + lookupDigest, "--platform=linux/sparc64:1", "echo", "--", "a"}, 127, "podinit: --platform: none matches this machine, linux/" + runtime.GOARCH + "; create the pod again, since the cluster has a new architecture, or give the container a command" + moved},
		"no such file":          {[]string{"/no/such"}, 127, "podinit: cannot run \"/no/such\": no such file, or the interpreter that it names does not exist; check the container's command and image\n"},
		"no interpreter":        {[]string{file("lost", "#!/no/such\n", 0o755)}, 127, "podinit: cannot run \"" + directory + "/lost\": no such file, or the interpreter that it names does not exist; check the container's command and image\n"},
		"not executable":        {[]string{file("plain", "#!/bin/sh\n", 0o644)}, 126, "podinit: cannot run \"" + directory + "/plain\": permission denied; it must be a file, executable for the container's user, on a volume without noexec\n"},
		"a directory":           {[]string{"/"}, 126, "podinit: cannot run \"/\": permission denied; it must be a file, executable for the container's user, on a volume without noexec\n"},
		"neither ELF nor #!":    {[]string{file("text", "exit 5\n", 0o755)}, 126, "podinit: cannot run \"" + directory + "/text\": neither a program for this machine nor a script with a #! line\n"},
		"no program":            {[]string{"-v", "--"}, 1, "podinit: init: no program to run; usage: init [flags] -- program [argument...]\n"},
		"a wrong flag":          {[]string{"--grace=x", "true"}, 1, "podinit: --grace: \"x\" is not a duration such as 45s, 1m30s or a number of seconds\n"},
		"a program named check": {[]string{"check"}, 127, "podinit: cannot run \"check\": not found in PATH; check the container's command and image\n"},
		"a program named help":  {[]string{"help", "me"}, 127, "podinit: cannot run \"help\": not found in PATH; check the container's command and image\n"},
		"a relative message":    {[]string{"--termination-message=log", "true"}, 1, "podinit: --termination-message: \"log\" is not an absolute path\n"},
		"a platform":            {onPlatform(2, "printf", "%s-", "--", "a", "--"), 0, "a----"},
		"of no words":           {onPlatform(0, "--", "echo", "a"), 0, "a\n"},
		"not enough words":      {[]string{"--platform=linux/amd64:2", "echo"}, 1, "podinit: --platform=linux/amd64:2: fewer words follow than its count says\n"},
		"another's platform":    {[]string{"--platform=linux/sparc64:1", "echo", "--", "a"}, 127, "podinit: --platform: none matches this machine, linux/" + runtime.GOARCH + "; create the pod again, since the cluster has a new architecture, or give the container a command\n"},
		"another's stop signal": {[]string{"--platform=linux/sparc64:0:SIGQUIT", "--", "echo", "a"}, 0, "a\n"},
		"nothing but platforms": {onPlatform(0, "--"), 1, "podinit: init: no program to run; usage: init [flags] -- program [argument...]\n"},
		"a program named copy":  {[]string{"--", "copy"}, 127, "podinit: cannot run \"copy\": not found in PATH; check the container's command and image\n"},
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
	if err := os.WriteFile(directory+"/first/lost", []byte("#!/no/such\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("loop", directory+"/loop"); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		path, program, output string
		code                  int
	}{
		"goes on after EACCES":               {directory + "/first:" + directory + "/second", "tool", directory + "/second/tool\n", 0},
		"remembers EACCES":                   {directory + "/first:" + directory + "/none", "locked", "podinit: cannot run \"locked\": permission denied; it must be a file, executable for the container's user, on a volume without noexec\n", 126},
		"goes on after ELOOP":                {directory + "/loop:" + directory + "/second", "tool", directory + "/second/tool\n", 0},
		"remembers ELOOP":                    {directory + "/loop:" + directory + "/none", "tool", "podinit: cannot run \"tool\": too many symbolic links\n", 126},
		"EACCES counts for more":             {directory + "/first:" + directory + "/loop", "locked", "podinit: cannot run \"locked\": permission denied; it must be a file, executable for the container's user, on a volume without noexec\n", 126},
		"an interpreter is missing":          {directory + "/none:" + directory + "/first:" + directory + "/second", "lost", "podinit: cannot run \"lost\": it is in PATH, but the interpreter that it names does not exist; check its #! line, or the image's C library\n", 127},
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

// onPlatform is a command line with a word for another platform, and so many of these for this one.
func onPlatform(own int, words ...string) []string {
	return append([]string{"--platform=linux/sparc64:1", "false", "--platform=linux/" + runtime.GOARCH + ":" + strconv.Itoa(own)}, words...)
}

// The stop signal of a platform is that of its program.
func TestPlatformStopSignal(t *testing.T) {
	c := newContainer(t, "--stop-signal=SIGHUP", "--platform=linux/"+runtime.GOARCH+":1:SIGUSR1", "bash", "--", "-c",
		straggler+"trap 'exit 7' USR1; "+await1+"echo up; "+forever).start().waitFor("up\n")
	if code := c.signal(syscall.SIGUSR1).wait(); code != 7 || !strings.Contains(c.output.String(), "finished\n") {
		t.Errorf("code %d, want 7, after the remaining process has finished:\n%s", code, c.output)
	}
}

func TestForwardsSignals(t *testing.T) {
	// Every signal a shell can trap, but KILL, STOP, CHLD and libc's 32 and 33.
	trap := `for s in 1 2 3 6 10 12 13 14 15 16 18 20 21 22 23 24 25 26 27 28 29 30 31 34 37 63 64 4 5 7 8 11; do
		trap "echo got $s" $s; done; echo ready; while :; do sleep 0.02; done`
	c := newContainer(t, "--", "/bin/sh", "-c", trap).start().waitFor("ready\n")
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
			if time.Since(begin) > patience {
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

// TestPause is what keeps the image on a node: nothing but the signals that ask for its end end it.
func TestPause(t *testing.T) {
	for _, end := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		c := newContainer(t, "pause").start()
		c.eventually("the init waits", func() bool { return signalsAreKept(c.Process.Pid) })
		c.signal(syscall.SIGUSR1).waitUntilTaken(syscall.SIGUSR1)
		if code := c.signal(end).wait(); code != 0 || c.output.String() != "" {
			t.Errorf("%v: exit code %d, want 0 and not a word: %s", end, code, c.output)
		}
	}
}

func TestReapsOrphans(t *testing.T) {
	c := script(t, `for i in 1 2 3 4 5 6 7 8 9 10; do (true &); done; while grep -qs ' Z ' /proc/[0-9]*/stat; do sleep 0.02; done; exit 5`)
	if code := c.run(); code != 5 {
		t.Errorf("code %d, want 5\n%s", code, c.output)
	}
}

// Elsewhere than as PID 1 orphans come to the init all the same.
func TestReapsAsSubreaper(t *testing.T) {
	c := newContainer(t, "--", initPath, "--", "sh", "-c",
		`export P=$PPID; (sh -c 'until [ $(cut -d" " -f4 /proc/$$/stat) = $P ]; do sleep 0.01; done; echo adopted; touch $D/adopted' &)
		sh $D/await adopted; while grep -qs ' Z ' /proc/[0-9]*/stat; do sleep 0.02; done; exit 5`)
	if code := c.run(); code != 5 || c.output.String() != "adopted\n" {
		t.Errorf("code %d, want 5\n%s", code, c.output)
	}
}

var (
	pids    = regexp.MustCompile(`pid \d+`)
	seconds = regexp.MustCompile(`[0-9.]+s after`)
	endings = regexp.MustCompile(`podinit: "[ab]" exited with code 0(: stopping the others)?\n`)
)

// withoutNumbers is an output without what differs from run to run, and without what bash says of its children.
func withoutNumbers(output string) string {
	output = seconds.ReplaceAllString(pids.ReplaceAllString(output, "pid N"), "Ns after")
	return strings.ReplaceAll(output, "Terminated\n", "")
}

// straggler takes a moment to finish after SIGTERM; deaf does not finish.
const (
	straggler = `2>/dev/null sh -c 'trap "sleep 0.3; echo finished; exit" TERM; touch $D/up; while :; do sleep 0.02; done' & `
	deaf      = `sh -c 'trap "" TERM; touch $D/up; exec sleep 300' & `
	await1    = `sh $D/await up; `
	forever   = `while :; do sleep 0.02; done`
)

// waiter catches SIGTERM and goes on waiting for its child, which sleeps for that long.
func waiter(seconds string) string {
	return `exec perl -e '$| = 1; $SIG{TERM} = sub {}; unless ($p = fork) { exec "sleep", "` + seconds + `" } print "up\n"; 1 while waitpid($p, 0) != $p; exit 6'`
}

func TestDrain(t *testing.T) {
	for name, tt := range map[string]struct {
		flags  []string
		script string // says "up" when it may be stopped
		stop   bool
		code   int
		output string // but "up"
	}{
		"main exits by itself":       {nil, straggler + await1 + "exit 9", false, 9, "finished\n"},
		"main ends by a stop signal": {nil, "trap 'exit 8' TERM; " + straggler + await1 + "echo up; " + forever, true, 8, "finished\n"},
		"in a session of its own": {nil, "trap 'exit 8' TERM; " + strings.Replace(straggler, "sh -c", "setsid sh -c", 1) + await1 + "echo up; " + forever, true, 8,
			"finished\n"},
		"what remains is notified once": {nil, `2>/dev/null sh -c 'trap "echo notified" TERM; touch $D/up; for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.05; done' & ` + await1 + "exit 7", false, 7,
			"notified\n"},
		"linger is the limit": {[]string{"--linger=0.5s"}, deaf + await1 + "exit 7", false, 7,
			"podinit: killed processes still running Ns after \"/bin/sh\" exited: sleep (pid N)\n"},
		"grace is the limit": {[]string{"--grace=0.5s"}, "trap 'exit 8' TERM; " + deaf + await1 + "echo up; " + forever, true, 8,
			"podinit: killed processes still running Ns after the stop signal: sleep (pid N)\n"},
		"main outlives the deadline, what remains is notified before it is killed": {[]string{"--grace=0.5s"}, `perl -e '$SIG{TERM} = sub { print "finished\n"; exit }; open F, ">", "$ENV{D}/up"; sleep 1 while 1' & ` + await1 +
			`exec perl -e '$| = 1; $SIG{TERM} = sub { $end = time + 2 }; print "up\n"; select(undef, undef, undef, 0.05) until $end && time > $end; exit 6'`, true, 6,
			"podinit: still running Ns after the stop signal: perl (pid N), perl (pid N)\nfinished\n"},
		"bash waits for its child before its trap": {[]string{"--grace=10s"}, `exec bash -c 'trap "echo trap; exit 5" TERM; echo up; sleep 300; true'`, true, 5,
			"trap\n"},
		"a trap that is running is not cut": {[]string{"--grace=8s"}, `exec bash -c 'trap "sleep 6.2 && echo orderly; exit 5" TERM; echo up; ` + forever + `'`, true, 5,
			"orderly\n"},
		"the main process is never killed": {[]string{"--grace=0.5s"}, `exec perl -e '$| = 1; $SIG{TERM} = sub { print "TERM\n" }; print "up\n"; $end = time + 2; select(undef, undef, undef, 0.1) while time < $end; exit 6'`, true, 6,
			"TERM\npodinit: still running Ns after the stop signal: perl (pid N)\n"},
		"other programs than shells are left alone": {[]string{"--grace=0.6s"}, waiter("8"), true, 6,
			"podinit: still running Ns after the stop signal: perl (pid N), sleep (pid N)\n"},
		"escalate=all notifies every process": {[]string{"--grace=10s", "--escalate=all"}, waiter("300"), true, 6,
			""},
		"a daemon outlives main": {[]string{"--wait=all"}, `(setsid sh -c 'sh $D/await ended; sleep 0.3; echo done' &); touch $D/ended; exit 3`, false, 3,
			"done\n"},
		"a daemon is notified": {[]string{"--wait=all"}, `(setsid bash -c 'trap "echo notified; exit" TERM; echo up; ` + forever + `' &); exit 3`, true, 3,
			"notified\n"},
		"a notified parent ends its own children": {nil, `bash -c 'trap "kill -USR1 \$!; wait; exit" TERM
			bash -c "exec 2>&-; trap \"echo TERM behind its back\" TERM; trap \"echo USR1; exit\" USR1; touch $D/up; ` + forever + `" & ` + forever + `' & ` + await1 + "echo up; " + forever, true, 143,
			"USR1\n"},
		"what a notified parent leaves behind is notified": {nil, `sh -c 'trap "exit" TERM
			bash -c "exec 2>&-; trap \"echo notified; exit\" TERM; touch $D/up; ` + forever + `" & ` + forever + `' & ` + await1 + "echo up; " + forever, true, 143,
			"notified\n"},
		"a stopped process is continued": {nil, `bash -c 'trap "echo notified; exit" TERM; kill -STOP $$; ` + forever + `' & until grep -q "State:.T" /proc/$!/status; do sleep 0.02; done; exit 3`, false, 3,
			"notified\n"},
		"linger 0 waits for no process": {[]string{"--linger=0"}, deaf + await1 + "exit 9", false, 9, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := script(t, tt.script, tt.flags...)
			c.start()
			if tt.stop {
				c.waitFor("up\n").settle()
				c.signal(syscall.SIGTERM)
			}
			if code := c.wait(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if diff := cmp.Diff(tt.output, strings.ReplaceAll(withoutNumbers(c.output.String()), "up\n", "")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Where it is not PID 1, as with shareProcessNamespace, only its own descendants are notified, and killed.
func TestOnlyOwnDescendants(t *testing.T) {
	outsider := `bash -c 'trap "echo outsider notified" TERM; touch $D/outsider; ` + forever + `' & `
	for name, tt := range map[string]struct {
		flags, script, want string
	}{
		"notified":   {"", straggler + await1 + "exit 3", "code 3\nfinished\noutsider lives\n"},
		"killed":     {"--linger=0.2s", deaf + await1 + "exit 3", "code 3\noutsider lives\npodinit: killed processes still running Ns after \"sh\" exited: sleep (pid N)\n"},
		"target all": {"--signal-target=all", "trap 'exit 3' TERM; " + straggler + await1 + "kill -TERM $PPID; " + forever, "code 3\nfinished\noutsider lives\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newContainer(t)
			c.Args = []string{c.Args[0], "/bin/sh", "-c", outsider + `sh $D/await outsider; ` + initPath + " " + tt.flags +
				` -- sh -c "$0"; echo code $?; kill -0 $! && echo outsider lives; kill -KILL $!; [ -z "$(pgrep -fx 'sleep 300')" ] || echo not killed`, tt.script}
			c.run()
			if diff := cmp.Diff(tt.want, sortedLines(withoutNumbers(c.output.String()), "Killed")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Where /proc hides the processes of others, what they leave is notified all the same.
func TestHiddenRemaining(t *testing.T) {
	c := newContainer(t)
	c.Args = []string{c.Args[0], "/bin/sh", "-c", `mount -o remount,hidepid=2,gid=4242 /proc && chmod 777 $D &&
		exec setpriv --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace ` + initPath + ` --linger=30s -- sh -c '
		setpriv --reuid=65534 --clear-groups bash -c "exec 2>&-; trap \"echo notified; exit\" TERM; echo up >$D/up; ` + forever + `" & sh $D/await up; exit 3'`}
	os.Chmod(filepath.Dir(c.directory), 0o755)
	if code := c.run(); code != 3 || c.output.String() != "notified\n" {
		t.Errorf("code %d, want 3, and what is left is to be notified:\n%s", code, c.output)
	}
}

// A full volume does not swallow the message.
func TestTerminationMessageWithoutRoom(t *testing.T) {
	c := newContainer(t)
	c.Args = []string{c.Args[0], "/bin/sh", "-c", `mount -t tmpfs -o size=4k none /mnt; : >/mnt/log; head -c 4096 /dev/zero >/mnt/full; exec ` + initPath +
		` --termination-message=/mnt/log -- sh -c 'kill -KILL $$'`}
	if code := c.run(); code != 137 || c.output.String() != "podinit: \"sh\" was killed by SIGKILL\n" {
		t.Errorf("code %d, want 137\n%s", code, c.output)
	}
}

// The file of the termination message is what its path led to before a program ran: the init may be root, and the
// program another user, to whom the directory belongs. What is no regular file is not written.
func TestTerminationMessageElsewhere(t *testing.T) {
	const line = "podinit: \"sh\" was killed by SIGKILL\n"
	for name, tt := range map[string]struct {
		before, program string
		output, file    string // what goes to standard error, and to the file that the path led to first
	}{
		"the program replaces the file by a link": {"", "rm $D/d/log; ln -s $D/stolen $D/d/log", "", ""},
		"it replaces the directory by a link":     {"", "mv $D/d $D/old; ln -s $D/elsewhere $D/d; ln -s $D/stolen $D/elsewhere/log", "", line},
		"it takes the file away":                  {"", "mv $D/d $D/old", "", line},
		"a link from the beginning":               {"ln -s $D/stolen $D/d/log", "true", line, ""},
		"a link to nowhere":                       {"ln -s nowhere $D/d/log", "true", line, ""},
		"a named pipe that is read":               {"mkfifo $D/d/log; sleep 300 <>$D/d/log &", "true", line, ""},
		"a device":                                {"mknod $D/d/log c 1 3", "true", line, ""},
		"a directory":                             {"mkdir $D/d/log", "true", line, ""},
		"no directory":                            {"rmdir $D/d", "true", line, ""},
		"an inherited descriptor has its number":  {"exec 3<$D", "[ $(readlink /proc/self/fd/3) = $D ] || echo closed; ls -l /proc/$$/fd 2>/dev/null | grep $D/d/log", "", line},
	} {
		t.Run(name, func(t *testing.T) {
			c := newContainer(t)
			c.Args = []string{c.Args[0], "/bin/sh", "-c", "mkdir $D/d $D/elsewhere; " + tt.before + "\nexec " + initPath +
				" --linger=0 --termination-message=$D/d/log -- sh -c '" + strings.ReplaceAll(tt.program, "'", `'\''`) + "; kill -KILL $$'"}
			if code := c.run(); code != 137 || c.output.String() != tt.output {
				t.Errorf("code %d, want 137, and output %q, want %q", code, c.output, tt.output)
			}
			file := "/d/log"
			if _, err := os.Stat(c.directory + "/old"); err == nil {
				file = "/old/log"
			}
			if info, err := os.Lstat(c.directory + file); err == nil && info.Mode().IsRegular() || tt.file != "" {
				if got, _ := os.ReadFile(c.directory + file); string(got) != tt.file {
					t.Errorf("the file has %q, want %q", got, tt.file)
				}
			}
			if _, err := os.Lstat(c.directory + "/stolen"); !os.IsNotExist(err) {
				t.Errorf("another file was written: %v", err)
			}
		})
	}
}

// Only what the memory limit does while the container lives is notified of its end.
func TestOutOfMemory(t *testing.T) {
	const another = "; another process was killed because the container ran out of memory\n"
	for name, tt := range map[string]struct {
		later string // what the kernel counts at the end; it was 1
		ends  string
		code  int
		want  string
	}{
		"another signal's SIGKILL":          {"1", "kill -KILL $$", 137, "podinit: \"sh\" was killed by SIGKILL\n"},
		"main is killed":                    {"2", "kill -KILL $$", 137, "podinit: \"sh\" was killed by SIGKILL because the container ran out of memory\n"},
		"a child is killed, and main fails": {"2", "exit 7", 7, "podinit: \"sh\" exited with code 7" + another},
		"as a shell reports the child":      {"2", "exit 137", 137, "podinit: \"sh\" exited with code 137" + another},
		"main aborts for it":                {"2", "kill -ABRT $$", 134, "podinit: \"sh\" was killed by SIGABRT" + another},
		"main is well":                      {"2", "exit 0", 0, ""},
		"main fails for something else":     {"1", "exit 7", 7, ""},
	} {
		t.Run(name, func(t *testing.T) {
			events := `/sys/fs/cgroup/memory.events`
			c := newContainer(t)
			c.Args = []string{c.Args[0], "/bin/sh", "-c", `mount -t tmpfs none /sys/fs/cgroup; echo oom_kill 1 >` + events + `; ulimit -c 0; exec ` + initPath +
				` -- sh -c 'echo oom_kill ` + tt.later + ` >` + events + `; ` + tt.ends + `'`}
			if code := c.run(); code != tt.code || c.output.String() != tt.want {
				t.Errorf("code %d, want %d and %q:\n%s", code, tt.code, tt.want, c.output)
			}
		})
	}
}

// A session of "kubectl exec" is not ours: it is neither notified nor waited for. What it leaves behind is.
func TestExecSession(t *testing.T) {
	enter := func(c *testContainer, script string) {
		t.Helper()
		cmd := exec.Command("nsenter", "-t", strconv.Itoa(c.Process.Pid), "-p", "-m", "--", "bash", "-c", script)
		cmd.Env, cmd.Stdout, cmd.Stderr = c.Env, c.output, c.output
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	}
	c := script(t, "trap 'exit 4' TERM; echo up; "+forever).start().waitFor("up")
	enter(c, "trap 'echo session notified' TERM; echo session; "+forever)
	enter(c, "(setsid bash -c 'exec 2>&-; trap \"sleep 0.2; echo orphan finished; exit\" TERM; until [ $(cut -d\" \" -f4 /proc/$$/stat) = 1 ]; do sleep 0.02; done; echo orphan; "+forever+"' &)")
	c.waitFor("session\n").waitFor("orphan\n")
	if code := c.signal(syscall.SIGTERM).wait(); code != 4 {
		t.Errorf("exit code %d, want 4", code)
	}
	if diff := cmp.Diff("orphan\norphan finished\nsession\nup\n", sortedLines(c.output.String())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTerminationMessage(t *testing.T) {
	for name, tt := range map[string]struct {
		arguments []string
		before    string
		want      string
	}{
		"cannot start":               {[]string{"nope"}, "", "podinit: cannot run \"nope\": not found in PATH; check the container's command and image\n"},
		"no platform":                {[]string{"--platform=linux/sparc64:1", "x", "--"}, "", "podinit: --platform: none matches this machine, linux/" + runtime.GOARCH + "; create the pod again, since the cluster has a new architecture, or give the container a command\n"},
		"a wrong flag":               {[]string{"--nonsense"}, "", "podinit: --nonsense: no such flag; --help lists the flags; write a program with this name after --\n"},
		"killed":                     {[]string{"sh", "-c", "kill -KILL $$"}, "", "podinit: \"sh\" was killed by SIGKILL\n"},
		"nothing to say":             {[]string{"sh", "-c", "exit 3"}, "", ""},
		"remapped to 0":              {[]string{"-e", "137", "sh", "-c", "kill -KILL $$"}, "", ""},
		"another program fails":      {[]string{writeProcfile(t, "a: exit 5\n"), "sleep", "300"}, "", "podinit: \"a\" exited with code 5\n"},
		"another program is killed":  {[]string{writeProcfile(t, "a: kill -SEGV $$\nb: sleep 300\n")}, "", "podinit: \"a\" was killed by SIGSEGV\n"},
		"the program has its own":    {[]string{"sh", "-c", "kill -KILL $$"}, "mine", "mine"},
		"processes had to be killed": {[]string{"--linger=0.1s", "sh", "-c", deaf + await1}, "", "podinit: killed processes still running Ns after \"sh\" exited: sleep (pid N)\n"},
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
			if diff := cmp.Diff(tt.want, withoutNumbers(string(got))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
