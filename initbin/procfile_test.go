package main

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func writeProcfile(t *testing.T, text string) (flag string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "Procfile")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return "--procfile=" + path
}

func TestProcfile(t *testing.T) {
	const notified = "trap 'echo notified; exit' TERM; "
	for name, tt := range map[string]struct {
		procfile string
		main     []string
		stop     bool
		code     int
		want     string // sorted
	}{
		"all end well": {"a: echo one; touch $D/a; sh $D/await b main\n# comment\n\nb: echo two >&2; touch $D/b; sh $D/await a main\n",
			[]string{"sh", "-c", "echo main; touch $D/main; sh $D/await a b"}, false, 0,
			"a | one\nb | two\nmain\n"},
		"the first to end stops all": {"a: sh $D/await b\nb: " + notified + "touch $D/b; " + forever, nil, false, 0,
			"b | notified\npodinit: \"a\" exited with code 0: stopping the others\n"},
		"the first failure is the code": {"a: sh $D/await b main; exit 3\nb: trap 'exit 4' TERM; touch $D/b; " + forever,
			[]string{"sh", "-c", "trap 'exit 5' TERM; touch $D/main; " + forever}, false, 3,
			"podinit: \"a\" exited with code 3: stopping the others\npodinit: \"b\" exited with code 4\n"},
		"the failure of another, later": {"a: sh $D/await b\nb: trap 'exit 4' TERM; touch $D/b; " + forever, nil, false, 4,
			"podinit: \"a\" exited with code 0: stopping the others\npodinit: \"b\" exited with code 4\n"},
		"main ends": {"b: " + notified + "touch $D/b; " + forever, []string{"sh", "-c", "sh $D/await b; exit 6"}, false, 6,
			"b | notified\n"},
		"the platform stops all": {"a: " + notified + "touch $D/a; " + forever + "\nb: " + notified + "touch $D/b; " + forever,
			[]string{"sh", "-c", notified + "sh $D/await a b; echo up; " + forever}, true, 0,
			"a | notified\nb | notified\nnotified\nup\n"},
		"one is killed": {"a: kill -KILL $$\nb: " + forever, nil, false, 137,
			"podinit: \"a\" was killed by SIGKILL: stopping the others\n"},
		"groups, input and environment": {"a: read x; echo \"$? $(ps -o pgid= $$ | tr -d ' ')\" | sed \"s/ $$\\$/ own/\"; echo port $PORT\n", []string{"sleep", "300"}, false, 0,
			"a | 1 own\na | port 8080\npodinit: \"a\" exited with code 0: stopping the others\n"},
		"lines are not mixed": {"a: for i in 1 2 3; do printf 'begin '; sleep 0.05; echo end; done; touch $D/a; sh $D/await b\n" +
			"b: for i in 1 2 3; do printf 'begin '; sleep 0.05; echo end; done; printf rest; touch $D/b; sh $D/await a\n", nil, false, 0,
			"a | begin end\na | begin end\na | begin end\nb | begin end\nb | begin end\nb | begin end\nb | rest\n"},
		"one does not end": {"a: trap '' TERM; touch $D/a; exec sleep 300\n", []string{"sh", "-c", "sh $D/await a"}, false, 0,
			"podinit: killed processes still running Ns after \"sh\" exited: sleep (pid N)\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			linger := "--linger=30s"
			if name == "one does not end" {
				linger = "--linger=0.5s"
			}
			arguments := append([]string{writeProcfile(t, tt.procfile), linger, "--"}, tt.main...)
			c := newContainer(t, arguments...)
			c.Env = append(c.Env, "PORT=8080")
			c.start()
			if tt.stop {
				c.waitFor("up\n").signal(syscall.SIGTERM)
			}
			if code := c.wait(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			got := sortedLines(withoutNumbers(c.output.String()), "b | ", "a | ")
			if name == "lines are not mixed" || name == "all end well" {
				// Which of them ends first is chance.
				got = endings.ReplaceAllString(got, "")
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// When one program ends, the others are stopped with the signal that they understand.
func TestProcfileStopSignal(t *testing.T) {
	for flag, want := range map[string]string{
		"--rewrite=TERM:QUIT": "QUIT", "--stop-signal=QUIT": "QUIT", "--rewrite=TERM:0": "TERM", "--stop-signal=SIGRTMIN+3": "RTMIN+3",
	} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t, flag, "--linger=30s", writeProcfile(t, "a: sh $D/await up\n"), "--", "bash", "-c",
				`for s in TERM QUIT RTMIN+3; do trap "echo $s; exit" $s; done; touch $D/up; `+forever)
			c.run()
			if diff := cmp.Diff(want+"\npodinit: \"a\" exited with code 0: stopping the others\n", sortedLines(c.output.String(), "Quit")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// -v says of each program how it has ended itself.
func TestProcfileTalk(t *testing.T) {
	c := newContainer(t, "-v", "--linger=30s", writeProcfile(t, "a: sh $D/await up; exit 5\n"), "--", "sh", "-c", "trap 'exit 3' TERM; touch $D/up; "+forever)
	if code := c.run(); code != 5 || !strings.Contains(c.output.String(), "podinit: \"sh\" exited with code 3\n") {
		t.Errorf("code %d, want 5, and 3 of sh:\n%s", code, c.output)
	}
}

func TestProcfileProblems(t *testing.T) {
	for text, want := range map[string]string{
		"a: touch started\nnonsense\n": "FILE, line 2: the line must have the form \"name: command\", with a name of letters, digits, - and _\n",
		"a: x\n\na: y\n":               "FILE, line 3: there is already a process named \"a\"\n",
		"# nothing\n":                  "FILE: the file has no process; it needs lines of the form \"name: command\"\n",
		strings.Repeat("x", 1<<20+1):   "FILE: the file is longer than 1 MiB\n",
	} {
		flag := writeProcfile(t, text)
		c := newContainer(t, flag, "--", "touch", "started")
		c.Dir = t.TempDir()
		if code := c.run(); code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
		want = "podinit: --procfile: " + strings.Replace(want, "FILE", strings.TrimPrefix(flag, "--procfile="), 1)
		if diff := cmp.Diff(want, c.output.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if files, _ := os.ReadDir(c.Dir); len(files) != 0 {
			t.Errorf("something has been started: %v", files)
		}
	}
	c := newContainer(t, "--procfile=/no/such", "--", "true")
	if code := c.run(); code != 1 || c.output.String() != "podinit: --procfile: /no/such: no such file\n" {
		t.Errorf("code %d, %q", code, c.output)
	}
}

// Nobody is waited for, but what the programs have said is not lost.
func TestLingerZeroKeepsOutput(t *testing.T) {
	for range 5 {
		c := newContainer(t, writeProcfile(t, "a: seq 1 20000\n"), "--linger=0")
		if code := c.run(); code != 0 || strings.Count(c.output.String(), "a | ") != 20000 {
			t.Fatalf("code %d and %d lines, want 0 and 20000", code, strings.Count(c.output.String(), "a | "))
		}
	}
}

// On a busy node, what the programs have written is read late.
func TestOutputIsReadLate(t *testing.T) {
	read, write, err := os.Pipe() // it takes fewer lines, and with the one from the program all of them
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	for _, flag := range []string{"--linger=0", "--linger=1s"} {
		c := newContainer(t, writeProcfile(t, "a: seq 1 15000; sleep 100 & exit 0\n"), flag)
		c.Stdout = write
		c.start()
		ended := make(chan int, 1)
		go func() { ended <- c.wait() }()
		select {
		case code := <-ended:
			t.Fatalf("%s: ended with %d, and its output was not read yet", flag, code)
		case <-time.After(3 * time.Second):
		}
		lines := bufio.NewScanner(read)
		n := 0
		for ; n < 15000 && lines.Scan(); n++ {
		}
		if code := <-ended; code != 0 || n != 15000 {
			t.Errorf("%s: code %d and %d lines, want 0 and 15000", flag, code, n)
		}
	}
}

// Nor does output that is never read keep the container for ever.
func TestOutputIsNeverRead(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	c := newContainer(t, writeProcfile(t, "a: seq 1 15000\n"), "--linger=0")
	c.Stdout = write
	if code := c.run(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// When the limit of processes is reached in between, those that run already are ended, also where we are not PID 1.
func TestCannotStartAll(t *testing.T) {
	program := func(name string) string { return name + ": trap 'echo notified; exit' TERM; " + forever + "\n" }
	flag := writeProcfile(t, program("a")+program("b")+program("c")+program("d"))
	directory := filepath.Dir(strings.TrimPrefix(flag, "--procfile="))
	os.Chmod(directory, 0o755)
	os.Chmod(filepath.Dir(directory), 0o755)
	c := newContainer(t)
	// The user may have five processes: the init, the relay, and at most three of the four programs.
	c.Args = []string{c.Args[0], "/bin/sh", "-c", `setpriv --reuid 54321 --clear-groups bash -c "ulimit -u 5; exec ` + initPath + " " + flag + `"; echo code $?; pgrep -u 54321 && echo left`}
	c.run()
	got := c.output.String()
	if !strings.Contains(got, `: fork: resource temporarily unavailable`) || !strings.HasSuffix(got, "code 126\n") {
		t.Errorf("it must name what could not be started, leave no process, and exit with 126:\n%s", got)
	}
}

// The output is not read: the programs wait, but signals are forwarded and the container ends.
func TestStuckOutput(t *testing.T) {
	c := newContainer(t, writeProcfile(t, "a: trap 'exit 5' TERM; yes & echo up >$D/a; wait\n"), "--grace=3s")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c.Stdout, c.Stderr = w, c.output
	c.start()
	w.Close()
	for _, err := os.Stat(c.directory + "/a"); err != nil; _, err = os.Stat(c.directory + "/a") {
		time.Sleep(10 * time.Millisecond)
	}
	if code := c.signal(syscall.SIGTERM).wait(); code != 5 {
		t.Errorf("exit code %d, want 5\n%s", code, c.output)
	}
}
