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

// finisher is the command of a program that takes a while to end after its first SIGTERM or SIGINT, and drops its work
// after a second one. once takes its handler away, as process.once of Node.js does: then a second one kills it.
func finisher(seconds string, once bool) string {
	again := `print "again, work lost\n"; exit 3`
	end := ``
	if once {
		end = `$SIG{TERM} = $SIG{INT} = "DEFAULT";`
	}
	text := `$| = 1; $until = 0; $SIG{TERM} = $SIG{INT} = sub { if ($until) { ` + again + ` } $until = time + ` + seconds + `; print "finishing\n"; ` + end + ` };
print "up\n"; select(undef, undef, undef, 0.05) until $until && time >= $until; print "finished\n"; exit 0`
	name := "finisher" + seconds
	if once {
		name += "once"
	}
	file := filepath.Join(scripts, name)
	if err := os.WriteFile(file, []byte("use Time::HiRes 'time';\n"+text+"\n"), 0o644); err != nil {
		panic(err)
	}
	return "perl " + file
}

// beside is a script that runs a server, which ends at a signal, and another program beside it.
func beside(signal, other string) string {
	return `perl -e '$SIG{` + signal + `} = sub { exit }; open F, ">", "$ENV{D}/server"; sleep 300' & server=$!
		sh $D/await server; ` + other + ` & wait $server; exit 4`
}

// The outcome is never worse than the better of two: the program as PID 1 without an init, and tini. test/never-worse
// has the law at large.
func TestNeverWorse(t *testing.T) {
	shebang := func(text string) string {
		file := filepath.Join(t.TempDir(), "entrypoint.sh")
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return file
	}
	const finishes = "up\nfinishing\nfinished\n"
	for name, tt := range map[string]struct {
		flags []string
		main  []string
		first syscall.Signal // 0 for SIGTERM
		code  int
		want  string
		// What must not happen before, after the signal.
		notBefore time.Duration
	}{
		"a trap that forwards, most of the grace period": {[]string{"--grace=10s"},
			[]string{"bash", "-c", finisher("8.3", false) + " & pid=$!; trap 'kill -TERM $pid' TERM; wait $pid; wait $pid"}, 0, 0, finishes, 0},
		"the same with a handler that goes away": {[]string{"--grace=10s"},
			[]string{"bash", "-c", finisher("8.3", true) + " & pid=$!; trap 'kill -TERM $pid' TERM; wait $pid; wait $pid"}, 0, 0, finishes, 0},
		"a job that is finished before the loop stops": {[]string{"--grace=10s"},
			[]string{"bash", "-c", "trap 'stop=1' TERM; while [ -z \"$stop\" ]; do echo up; sh -c 'sleep 6; echo finished'; done; echo stopped; exit 2"}, 0, 2,
			"up\nfinished\nstopped\n", 0},
		"a trap that is deferred": {[]string{"--grace=10s"},
			[]string{"bash", "-c", "trap 'echo trap; exit 5' TERM; " + finisher("0.2", false) + "; true"}, 0, 5, finishes + "trap\n", 7 * time.Second},
		"the same in a script with a #! line": {[]string{"--grace=10s"},
			[]string{shebang("#!/bin/bash\ntrap 'echo trap; exit 5' TERM\n" + finisher("0.2", false) + "\ntrue\n")}, 0, 5, finishes + "trap\n", 7 * time.Second},
		"and with env": {[]string{"--grace=10s"},
			[]string{shebang("#!/usr/bin/env bash\ntrap 'echo trap; exit 5' TERM\n" + finisher("0.2", false) + "\ntrue\n")}, 0, 5, finishes + "trap\n", 7 * time.Second},
		"and with busybox": {[]string{"--grace=10s"},
			[]string{"busybox", "sh", shebang("trap 'echo trap; exit 5' TERM\n" + finisher("0.2", false) + "\ntrue\n")}, 0, 5, finishes + "trap\n", 7 * time.Second},
		"a trap that waits for a program in the foreground though it could stop the other": {[]string{"--grace=10s"},
			[]string{"bash", "-c", finisher("0.2", false) + " & pid=$!; trap 'kill -TERM $pid; wait; exit 5' TERM; sleep 300"}, 0, 5, finishes, 7 * time.Second},
		"trap '' TERM protects": {[]string{"--grace=10s"},
			[]string{"bash", "-c", "trap '' TERM; echo up; bash -c 'trap \"echo interrupted\" TERM; sleep 6; echo done'; exit 4"}, 0, 4, "up\ndone\n", 0},
		"trap '' TERM, near the end": {[]string{"--grace=10s"},
			[]string{"bash", "-c", "trap '' TERM; " + finisher("0.2", false) + "; exit 4"}, 0, 4, finishes, 7 * time.Second},
		"bash -ci ignores TERM by itself": {nil,
			[]string{"bash", "-ci", finisher("0.2", false) + "; (exit 4)"}, 0, 4, finishes, 0},
		"mariadbd-safe ignores TERM so that it does not end": {[]string{"--grace=30s"},
			[]string{"sh", "-c", "trap '' 1 2 3 15; : mariadbd-safe; " + finisher("0.2", false) + "; exit 4"}, 0, 4, finishes, 0},
		"a pipeline": {nil,
			[]string{"sh", "-c", finisher("0.5", false) + " | cat"}, 0, 143, finishes, 0},
		"a pipeline with a loop of the shell's": {nil,
			[]string{"bash", "-c", finisher("0.5", false) + " | while read -r line; do echo \"$line\"; done; true"}, 0, 143, finishes, 0},
		"a log that is written behind main": {nil,
			[]string{"bash", "-c", "exec > >(sleep 0.05; cat); exec " + finisher("0.2", false)}, 0, 0, finishes, 0},
		"a trap that notifies and exits": {nil,
			[]string{"bash", "-c", "trap 'kill -TERM $pid; exit 6' TERM; " + finisher("2", false) + " & pid=$!; wait"}, 0, 6, finishes, 0},
		"the same with a handler that goes away, and 2": {nil,
			[]string{"bash", "-c", "trap 'kill -TERM $pid; exit 6' TERM; " + finisher("2", true) + " & pid=$!; wait"}, 0, 6, finishes, 0},
		"a trap for EXIT that notifies": {nil,
			[]string{"bash", "-c", "trap 'kill $(jobs -p)' EXIT; " + finisher("2", false) + " & wait"}, 0, 143, finishes, 0},
		"INT is forwarded by a trap": {[]string{"--stop-signal=INT"},
			[]string{"bash", "-c", "trap 'kill -INT $pid' INT; " + finisher("1", false) + " & pid=$!; wait $pid; wait $pid"}, syscall.SIGINT, 0, finishes, 0},
		"INT to a shell without a trap": {[]string{"--stop-signal=INT"},
			[]string{"bash", "-c", finisher("0.2", false) + "; exit 4"}, syscall.SIGINT, 4, finishes, 0},
		"WINCH does nothing to what runs beside the server": {[]string{"--stop-signal=WINCH"},
			[]string{"sh", "-c", beside("WINCH", finisher("0.2", false))}, syscall.SIGWINCH, 4, finishes, 0},
		"nor to what has no handler at all": {[]string{"--stop-signal=WINCH"},
			[]string{"sh", "-c", beside("WINCH", "sh -c 'echo up; exec sleep 300'")}, syscall.SIGWINCH, 4, "up\n", 0},
		"a job in the background ignores QUIT": {[]string{"--stop-signal=QUIT"},
			[]string{"bash", "-c", beside("QUIT", finisher("0.2", false))}, syscall.SIGQUIT, 4, finishes, 0},
		"it ignores INT": {[]string{"--stop-signal=INT"},
			[]string{"sh", "-c", beside("INT", `perl -e '$| = 1; $SIG{TERM} = sub { print "finished\n"; exit }; print "up\n"; sleep 300'`)}, syscall.SIGINT, 130, "up\nfinished\n", 0},
		"QUIT would end what handles TERM": {[]string{"--stop-signal=QUIT"},
			[]string{"bash", "-c", beside("QUIT", `perl -e '$| = 1; $SIG{QUIT} = "DEFAULT"; $SIG{TERM} = sub { print "finished\n"; exit }; print "up\n"; sleep 300'`)}, syscall.SIGQUIT, 4, "up\nfinished\n", 0},
		"a sandbox": {nil, []string{"unshare", "--pid", "--fork", "--", "bash", "-c", "exec " + finisher("0.2", false)}, 0, 0, finishes, 0},
		"a sandbox below a shell": {nil,
			[]string{"sh", "-c", "unshare --pid --fork -- " + finisher("0.2", false) + "; true"}, 0, 143, finishes, 0},
		"a sandbox with more processes than are looked at": {[]string{"--grace=10s"},
			[]string{"unshare", "--pid", "--fork", "--", "perl", "-e", `for (1..300) { fork or exec "sleep", "300" } $| = 1; $SIG{TERM} = sub { print "finished\n"; exit 5 }; print "up\n"; sleep 1 while 1`}, 0, 5,
			"up\nfinished\n", 0},
		"a shell without a handler in a sandbox": {nil,
			[]string{"sh", "-c", "unshare --pid --fork -- sh -c '" + finisher("0.2", false) + "; exit 0'; true"}, 0, 143, finishes, 0},
		"a program without a handler in a sandbox": {nil,
			[]string{"sh", "-c", "unshare --pid --fork -- sh -c 'echo up; exec sleep 300'; true"}, 0, 143, "up\n", 0},
		"the same, and a trap leaves the sandbox behind": {nil,
			[]string{"sh", "-c", "trap 'exit 6' TERM; unshare --pid --fork -- sh -c 'echo up; exec sleep 300' & wait"}, 0, 6, "up\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t, append(append(tt.flags, "--"), tt.main...)...).start().waitFor("up\n").settle()
			signal := tt.first
			if signal == 0 {
				signal = syscall.SIGTERM
			}
			sent := time.Now()
			c.signal(signal)
			if tt.notBefore > 0 {
				c.waitFor("finishing\n")
				if after := time.Since(sent); after < tt.notBefore {
					t.Errorf("notified after %v, want at least %v", after, tt.notBefore)
				}
			}
			if code := c.wait(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			var lines []string
			for line := range strings.Lines(c.output.String()) {
				if !strings.HasPrefix(line, "bash: ") && !strings.HasPrefix(line, "unshare: ") && line != "Terminated\n" {
					lines = append(lines, line)
				}
			}
			if diff := cmp.Diff(tt.want, strings.Join(lines, "")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What PID 1 does not handle the kernel drops, and so do we: only the stop signals end a program without a handler.
func TestEndsNoProcess(t *testing.T) {
	for name, main := range map[string][]string{
		"a program": {"sh", "-c", "echo up; exec sleep 300"},
		"a shell":   {"bash", "-c", "echo up; sleep 300; true"},
		"ignoring":  {"sh", "-c", "trap '' HUP QUIT USR1; echo up; sleep 300; true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newContainer(t, append([]string{"--"}, main...)...).start().waitFor("up\n")
			for s := syscall.Signal(1); s <= 64; s++ {
				switch s {
				case syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGTERM, syscall.SIGINT:
				default:
					c.signal(s)
					if s != syscall.SIGCHLD {
						c.waitUntilTaken(s)
					}
				}
			}
			if err := c.Process.Signal(syscall.SIGTERM); err != nil {
				t.Errorf("the container has ended: %v", err)
			}
			if code := c.wait(); code != 143 {
				t.Errorf("exit code %d, want 143: %s", code, c.output)
			}
		})
	}
}

// A shell's child has the shell's handlers until it runs its program. Found at that moment, it does not count as a program that handles the
// signal, and the trap that waits for its end gets its turn.
func TestFoundBeforeItsProgram(t *testing.T) {
	c := newContainer(t, "--grace=10s", "--", "bash", "-c", finisher("0.2", false)+` & pid=$!; trap 'kill -TERM $pid; wait; exit 5' TERM
		(trap : TERM; echo forked; sh $D/await go; exec sleep 300); true`).start().waitFor("up\n").waitFor("forked\n").settle()
	c.signal(syscall.SIGTERM).waitUntilTaken(syscall.SIGTERM)
	c.touch("go")
	if code := c.waitFor("finishing\n").wait(); code != 5 {
		t.Errorf("exit code %d, want 5: %s", code, c.output)
	}
}

// A sandbox without a handler that main leaves behind ends at once.
func TestSandboxLeftBehind(t *testing.T) {
	c := script(t, "unshare --pid --fork -- sh -c 'echo up; exec sleep 300' & sh $D/await go; exit 0").start().waitFor("up\n").settle()
	c.touch("go")
	if code := c.wait(); code != 0 || strings.Contains(c.output.String(), "podinit: killed") {
		t.Errorf("exit code %d\n%s", code, c.output)
	}
}

// A stop signal from outside, when what main has left behind has been notified already, is not for it once more.
func TestNotTwice(t *testing.T) {
	c := script(t, finisher("1.5", false)+" & sh $D/await go; exit 0").start().waitFor("up\n")
	c.touch("go")
	c.waitFor("finishing\n").signal(syscall.SIGTERM)
	if code := c.wait(); code != 0 || c.output.String() != "up\nfinishing\nfinished\n" {
		t.Errorf("exit code %d\n%s", code, c.output)
	}
}

// Processes that compute and block the signal look like shells that start a program. Together they delay what happens for
// half a second, and not each for as long.
func TestBusyProcesses(t *testing.T) {
	const atMost = 7 * time.Second
	const workers = `use POSIX; $| = 1; my $term = POSIX::SigSet->new(SIGTERM); sigprocmask(SIG_BLOCK, $term);
		for (1..24) { if (!fork) { POSIX::nice(19); 1 while 1 } } `
	t.Run("main handles it", func(t *testing.T) {
		c := newContainer(t, "--", "perl", "-e", workers+`$SIG{TERM} = sub { print "TERM\n"; kill "KILL", -$$ }; sigprocmask(SIG_UNBLOCK, $term); print "up\n"; sleep 1 while 1`)
		c.start().waitFor("up\n")
		sent := time.Now()
		c.signal(syscall.SIGTERM).waitFor("TERM\n")
		if after := time.Since(sent); after > atMost {
			t.Errorf("main has got it after %v", after)
		}
		c.wait()
	})
	t.Run("main has ended", func(t *testing.T) {
		c := newContainer(t, "--linger=1s", "--", "perl", "-e", workers+`print "ended\n"; exit 3`)
		c.start().waitFor("ended\n")
		ended := time.Now()
		if code := c.wait(); code != 3 || time.Since(ended) > atMost {
			t.Errorf("exit code %d, want 3, %v after main", code, time.Since(ended))
		}
	})
}

// A shell blocks every signal while it starts a program, and waits for it a moment later. Read one after the other, the
// two look like unshare, which blocks what it waits through.
func TestShellThatStartsPrograms(t *testing.T) {
	for range 150 {
		c := newContainer(t, "--", "dash", "-c", "echo up; while :; do /bin/true; done").start().waitFor("up\n")
		time.Sleep(5 * time.Millisecond)
		c.signal(syscall.SIGTERM)
		if code := c.wait(); code != 143 {
			t.Fatalf("exit code %d, want 143: %s", code, c.output)
		}
	}
}
