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

// Under the names of tini and dumb-init the init does as they do.
func TestNames(t *testing.T) {
	const family = `trap 'echo main USR1' USR1; trap 'echo main TERM; exit 4' TERM;
		bash -c "exec 2>&-; trap 'echo child USR1' USR1; trap 'echo child TERM; exit' TERM; echo up child; while :; do sleep 0.03; done" &
		echo session $(($(cut -d' ' -f6 /proc/self/stat) == $$)); echo up main; while :; do sleep 0.03; done`
	for name, tt := range map[string]struct {
		name  string
		flags []string
		env   []string
		want  string // what comes of SIGUSR1, sorted
	}{
		"tini: main alone":                   {"tini", []string{"--"}, nil, "main USR1\nsession 0\n"},
		"docker-init: main alone":            {"docker-init", []string{"--"}, nil, "main USR1\nsession 0\n"},
		"tini -g: the group":                 {"tini", []string{"-g"}, nil, "child USR1\nmain USR1\nsession 0\n"},
		"TINI_KILL_PROCESS_GROUP":            {"tini", nil, []string{"TINI_KILL_PROCESS_GROUP="}, "child USR1\nmain USR1\nsession 0\n"},
		"dumb-init: the session":             {"dumb-init", nil, nil, "child USR1\nmain USR1\nsession 1\n"},
		"dumb-init -c: main alone":           {"dumb-init", []string{"-c"}, nil, "main USR1\nsession 0\n"},
		"DUMB_INIT_SETSID=0":                 {"dumb-init", nil, []string{"DUMB_INIT_SETSID=0"}, "main USR1\nsession 0\n"},
		"their variables mean nothing to us": {"init", []string{"--"}, []string{"TINI_KILL_PROCESS_GROUP=1", "DUMB_INIT_SETSID=1"}, "main USR1\nsession 0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t, append(tt.flags, "bash", "-c", family)...)
			c.Args[1] = callAs(t, tt.name)
			c.Env = append(c.Env, tt.env...)
			c.start().waitFor("up main").waitFor("up child")
			c.signal(syscall.SIGUSR1)
			for line := range strings.Lines(tt.want) {
				c.waitFor(line)
			}
			time.Sleep(200 * time.Millisecond) // time for what should not come
			if diff := cmp.Diff(tt.want, sortedLines(c.output.String(), "up main", "up child", "User defined signal 1")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if code := c.signal(syscall.SIGTERM).wait(); code != 4 {
				t.Errorf("exit code %d, want 4", code)
			}
		})
	}

	t.Run("a script without #!", func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "script")
		if err := os.WriteFile(name, []byte(`echo "$0 $1"; exit 5`), 0o755); err != nil {
			t.Fatal(err)
		}
		c := script(t, callAs(t, "tini")+" -- "+name+" word; echo $?")
		c.run()
		if got, want := c.output.String(), name+" word\n5\n"; got != want {
			t.Errorf("output %q, want %q", got, want)
		}
	})
	t.Run("no process is waited for", func(t *testing.T) {
		c := newContainer(t, "sh", "-c", deaf+await1+"exit 6")
		c.Args[1] = callAs(t, "tini")
		if code := c.run(); code != 6 || c.output.String() != "" {
			t.Errorf("code %d, want 6, and silence: %s", code, c.output)
		}
	})
	// The trap runs when the child has ended by itself: only the shell notifies the child.
	for _, name := range []string{"tini", "dumb-init -c"} {
		t.Run("a shell's child is not notified under "+name, func(t *testing.T) {
			t.Parallel()
			name, flags, _ := strings.Cut(name, " ")
			c := newContainer(t, append(strings.Fields(flags), "bash", "-c", `trap 'echo trap; exit 5' TERM
				bash -c "trap 'echo child notified; exit' TERM; echo up; until [ -e $D/go ]; do sleep 0.03; done; echo child done"; true`)...)
			c.Args[1] = callAs(t, name)
			c.start().waitFor("up\n").signal(syscall.SIGTERM)
			c.waitUntilTaken(syscall.SIGTERM)
			c.touch("go")
			if code := c.wait(); code != 5 {
				t.Errorf("exit code %d, want 5", code)
			}
			if diff := cmp.Diff("up\nchild done\ntrap\n", c.output.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	// When PID 1 ends, all processes end. Elsewhere tini does not notify the remaining processes, and dumb-init notifies the group.
	for flags, want := range map[string]string{
		"tini -s": "left inside\nleft outside\n", "tini --linger=30s": "notified inside\nnotified outside\n", "dumb-init": "left outside\nnotified inside\n",
	} {
		t.Run("remaining processes under "+flags, func(t *testing.T) {
			t.Parallel()
			end := "exit 3"
			if !strings.Contains(flags, "linger") {
				end = "trap 'exit 3' TERM; kill -TERM $PPID; " + forever // and so it is when they are stopped
			}
			name, flags, _ := strings.Cut(flags, " ")
			straggler := func(where string) string {
				return ` bash -c 'exec 2>&-; trap t=notified TERM; trap u=left USR1; touch $D/` + where + `
					until [ "$t$u" ]; do sleep 0.02; done; echo ${t:-$u} ` + where + `; : >$D/end-` + where + `' & ` // no program, which SIGUSR1 would kill
			}
			c := newContainer(t)
			c.Args = []string{c.Args[0], "/bin/bash", "-c", callAs(t, name) + " " + flags + ` -- sh -c "$0"
				kill -USR1 -1 2>&-; sh $D/await end-inside end-outside`,
				straggler("inside") + "setsid " + straggler("outside") + "sh $D/await inside outside; " + end}
			c.run()
			if diff := cmp.Diff(want, sortedLines(c.output.String(), "Terminated")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("no commands", func(t *testing.T) {
		c := newContainer(t, "version")
		c.Args[1] = callAs(t, "tini")
		if code := c.run(); code != 127 {
			t.Errorf("exit code %d, want 127: %s", code, c.output)
		}
	})
	t.Run("-p", func(t *testing.T) {
		c := script(t, `sh -c '`+callAs(t, "tini")+` -s -p SIGUSR1 -- bash -c "trap \"echo parent died; touch $D/notified; exit\" USR1; echo up; touch $D/up; while :; do sleep 0.03; done" & sh $D/await up'; sh $D/await notified`)
		c.run()
		if diff := cmp.Diff("up\nparent died\n", c.output.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestTalk(t *testing.T) {
	for name, tt := range map[string]struct {
		flags []string
		want  string
	}{
		"nothing by default": {nil, ""},
		"-v":                 {[]string{"-v"}, "podinit: \"/bin/sh\" exited with code 3\npodinit: started \"/bin/sh\" as pid N\n"},
		"-w":                 {[]string{"-w"}, "podinit: reaped orphan pid N\n"},
		"-vv":                {[]string{"-vv"}, "podinit: \"/bin/sh\" exited with code 3\npodinit: reaped orphan pid N\npodinit: started \"/bin/sh\" as pid N\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c := script(t, "(true &); exit 3", tt.flags...)
			c.run()
			// The orphan may still have been there to be notified.
			got := sortedLines(withoutNumbers(c.output.String()), "podinit: sending SIGTERM to pid N")
			if diff := cmp.Diff(tt.want, strings.ReplaceAll(got, ", killed by SIGTERM", "")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
