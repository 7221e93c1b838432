package main

import (
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
	const forever = "while :; do sleep 0.03; done"
	for name, tt := range map[string]struct {
		procfile string
		main     []string
		stop     bool
		code     int
		want     string // sorted
	}{
		"all end well": {"a: echo one; sleep 0.3\n# comment\n\nb: echo two >&2; sleep 0.3\n", []string{"sh", "-c", "echo main; sleep 0.3"}, false, 0,
			"a | one\nb | two\nmain\n"},
		"the first to end stops all": {"a: sleep 0.2\nb: trap 'echo told; exit' TERM; " + forever, nil, false, 0,
			"b | told\npodinit: \"a\" has ended with 0: stopping the others\n"},
		"the first failure is the code": {"a: sleep 0.2; exit 3\nb: trap 'exit 4' TERM; " + forever, []string{"sh", "-c", "trap 'exit 5' TERM; " + forever}, false, 3,
			"podinit: \"a\" has ended with 3: stopping the others\npodinit: \"b\" has ended with 4\n"},
		"the failure of another, later": {"a: sleep 0.2\nb: trap 'exit 4' TERM; " + forever, nil, false, 4,
			"podinit: \"a\" has ended with 0: stopping the others\npodinit: \"b\" has ended with 4\n"},
		"main ends": {"b: trap 'echo told; exit' TERM; " + forever, []string{"sh", "-c", "sleep 0.3; exit 6"}, false, 6,
			"b | told\n"},
		"the platform stops all": {"a: trap 'echo told; exit' TERM; " + forever + "\nb: trap 'echo told; exit' TERM; " + forever,
			[]string{"sh", "-c", "trap 'echo told; exit' TERM; " + forever}, true, 0,
			"a | told\nb | told\ntold\n"},
		"one is killed": {"a: kill -KILL $$\nb: " + forever, nil, false, 137,
			"podinit: \"a\" was killed by SIGKILL: stopping the others\n"},
		"groups, input and environment": {"a: read x; echo \"$? $(ps -o pgid= $$ | tr -d ' ')\" | sed \"s/ $$\\$/ own/\"; echo port $PORT; sleep 0.2\n", []string{"sleep", "1"}, false, 0,
			"a | 1 own\na | port 8080\npodinit: \"a\" has ended with 0: stopping the others\n"},
		"lines are not mixed": {"a: for i in 1 2 3; do printf 'begin '; sleep 0.05; echo end; done; sleep 0.3\nb: for i in 1 2 3; do printf 'begin '; sleep 0.05; echo end; done; printf rest; sleep 0.3\n", nil, false, 0,
			"a | begin end\na | begin end\na | begin end\nb | begin end\nb | begin end\nb | begin end\nb | rest\n"},
		"one does not end": {"a: trap '' TERM; " + forever + "\n", []string{"sleep", "0.2"}, false, 0,
			"podinit: killed, still running 1s after \"sleep\" had ended: sh (pid N), sleep (pid N)\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arguments := append([]string{writeProcfile(t, tt.procfile), "--linger=1s", "--"}, tt.main...)
			c := newContainer(t, arguments...)
			c.Env = append(c.Env, "PORT=8080")
			c.start()
			if tt.stop {
				time.Sleep(300 * time.Millisecond)
				c.signal(syscall.SIGTERM)
			}
			if code := c.wait(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			got := sortedLines(pids.ReplaceAllString(c.output.String(), "pid N"), "b | Terminated", "a | Terminated", "Terminated")
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

func TestProcfileProblems(t *testing.T) {
	for text, want := range map[string]string{
		"a: touch started\nnonsense\n": "FILE, line 2: it is not of the form \"name: command\", with a name of letters, digits, - and _\n",
		"a: x\n\na: y\n":               "FILE, line 3: there is already a program named \"a\"\n",
		"# nothing\n":                  "FILE: there is no program in it; it needs lines of the form \"name: command\"\n",
		strings.Repeat("x", 1<<20+1):   "FILE: it is longer than 1 MiB\n",
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
	if code := c.run(); code != 1 || c.output.String() != "podinit: --procfile: /no/such: there is no such file\n" {
		t.Errorf("code %d, %q", code, c.output)
	}
}

// Nobody reads our output: the programs wait, but signals are passed on and the container ends.
func TestStuckOutput(t *testing.T) {
	c := newContainer(t, writeProcfile(t, "a: trap 'exit 5' TERM; yes & wait\n"), "--grace=3s")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c.Stdout, c.Stderr = w, c.output
	c.start()
	w.Close()
	time.Sleep(500 * time.Millisecond)
	begin := time.Now()
	if code := c.signal(syscall.SIGTERM).wait(); code != 5 {
		t.Errorf("exit code %d, want 5\n%s", code, c.output)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}
