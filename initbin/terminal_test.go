package main

import (
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openTerminal makes a new pseudo-terminal.
func openTerminal(t *testing.T) (keyboard, terminal *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keyboard.Close() })
	if err := unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return keyboard, terminal
}

// onTerminal starts a container with a new pseudo-terminal as its controlling terminal, as "kubectl run -it" does.
func (c *testContainer) onTerminal() (keyboard *os.File) {
	c.t.Helper()
	keyboard, terminal := openTerminal(c.t)
	defer terminal.Close()
	c.Stdin, c.Stdout, c.Stderr = terminal, terminal, terminal
	c.SysProcAttr.Setsid, c.SysProcAttr.Setctty, c.SysProcAttr.Ctty = true, true, 0
	c.start()
	go io.Copy(c.output, keyboard)
	return keyboard
}

func (c *testContainer) types(keyboard *os.File, text string) {
	c.t.Helper()
	if _, err := keyboard.WriteString(text); err != nil {
		c.t.Fatal(err)
	}
}

// waitForPrompt waits for the n-th prompt of an interactive shell.
func (c *testContainer) waitForPrompt(n int) {
	c.t.Helper()
	for begin := time.Now(); strings.Count(c.output.String(), "42> ") < n; time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > patience {
			c.t.Fatalf("no prompt %d:\n%s", n, c.output)
		}
	}
}

// A terminal that is not read does not block the init, which still forwards signals and exits.
func TestTerminalThatNobodyReads(t *testing.T) {
	keyboard, terminal := openTerminal(t)
	defer keyboard.Close()
	c := newContainer(t, "-v", "--", "bash", "-c", "trap 'touch $D/end; exit 5' TERM; trap : USR1; touch $D/up; "+forever)
	c.Stderr = terminal
	c.start()
	terminal.Close()
	c.eventually("main is up", func() bool { _, err := os.Stat(c.directory + "/up"); return err == nil })
	for range 2000 { // each is a line of some thirty bytes, and a terminal has room for a few thousand
		c.signal(syscall.SIGUSR1).waitUntilTaken(syscall.SIGUSR1)
	}
	if code := c.signal(syscall.SIGTERM).wait(); code != 5 {
		t.Errorf("exit code %d, want 5", code)
	}
}

const ctrlC, ctrlZ = "\x03", "\x1a"

func TestTerminal(t *testing.T) {
	for _, flags := range [][]string{{}, {"--signal-target=group"}} {
		t.Run("the program reads and is interrupted once "+strconv.Itoa(len(flags)), func(t *testing.T) {
			c := newContainer(t, append(flags, "--", "sh", "-c", `trap 'n=$((n+1)); echo interrupted $n' INT; echo up; read line; echo "line: $line"; for i in $(seq 40); do sleep 0.02; done; exit 4`)...)
			keyboard := c.onTerminal()
			c.waitFor("up")
			c.types(keyboard, "words\n")
			c.waitFor("line: words")
			c.types(keyboard, ctrlC)
			c.waitFor("interrupted 1")
			if code := c.wait(); code != 4 || strings.Contains(c.output.String(), "interrupted 2") {
				t.Errorf("exit code %d, want 4 and one interruption\n%s", code, c.output)
			}
		})
	}

	t.Run("a window that changes its size", func(t *testing.T) {
		c := newContainer(t, "--", "bash", "-c", `trap 'stty size; exit 4' WINCH; echo up; while :; do sleep 0.02; done`)
		keyboard := c.onTerminal()
		c.waitFor("up")
		if err := unix.IoctlSetWinsize(int(keyboard.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 99}); err != nil {
			t.Fatal(err)
		}
		c.waitFor("33 99")
		if code := c.wait(); code != 4 {
			t.Errorf("exit code %d, want 4\n%s", code, c.output)
		}
	})

	// dumb-init's own session has the terminal too.
	for _, name := range []string{"init", "dumb-init"} {
		t.Run("job control in a shell under "+name, func(t *testing.T) {
			c := newContainer(t, "--", "bash", "--norc", "-i")
			c.Args[1] = callAs(t, name)
			c.Env = append(c.Env, "PS1=$((6*7))> ")
			keyboard := c.onTerminal()
			c.waitForPrompt(1)
			c.types(keyboard, "sleep 100\n")
			c.waitForForeground(keyboard, "sleep")
			c.types(keyboard, ctrlZ)
			c.waitForPrompt(2)
			c.types(keyboard, "fg\n")
			c.waitForForeground(keyboard, "sleep")
			c.types(keyboard, ctrlC)
			c.waitForPrompt(3)
			c.types(keyboard, "echo then $((20+2)); exit 9\n")
			c.waitFor("then 22")
			if code := c.wait(); code != 9 {
				t.Errorf("exit code %d, want 9\n%s", code, c.output)
			}
		})
	}

	// Ctrl-Z does nothing where no shell with job control has started the container's first process, as without an init.
	const reader = `$| = 1; print "up\n"; $_ = <STDIN>; print "read: $_"; exit 7`
	for name, arguments := range map[string][]string{
		"as PID 1":                     {initPath, "--", "perl", "-e", reader},
		"where it leads its session":   {"/bin/sh", "-c", "setsid -c -w " + initPath + ` -- perl -e "$0"; exit $?`, reader},
		"as PID 1, named as dumb-init": {callAs(t, "dumb-init"), "perl", "-e", reader},
	} {
		t.Run("Ctrl-Z "+name, func(t *testing.T) {
			c := newContainer(t)
			c.Args = append(c.Args[:1], arguments...)
			keyboard := c.onTerminal()
			c.waitFor("up")
			c.waitForForeground(keyboard, "perl")
			c.types(keyboard, ctrlZ)
			c.types(keyboard, "words\n")
			c.waitFor("read: words")
			if code := c.wait(); code != 7 {
				t.Errorf("exit code %d, want 7\n%s", code, c.output)
			}
		})
	}

	// By hand, below a shell with job control: Ctrl-Z stops us with the program, fg brings both back.
	t.Run("as a job of a shell", func(t *testing.T) {
		c := newContainer(t)
		c.Args = []string{c.Args[0], "/bin/bash", "--norc", "-i"}
		c.Env = append(c.Env, "PS1=$((6*7))> ")
		keyboard := c.onTerminal()
		c.waitForPrompt(1)
		c.types(keyboard, initPath+" -- bash -c 'echo up $((1+1)); read line; echo line: $line; exit 7'\n")
		c.waitFor("up 2")
		c.waitForForeground(keyboard, "bash")
		c.types(keyboard, ctrlZ)
		c.waitForPrompt(2)
		c.types(keyboard, "echo shell $((10+1))\n")
		c.waitFor("shell 11")
		c.waitForPrompt(3)
		c.types(keyboard, "fg\n")
		c.waitFor("fg\r\n")
		c.types(keyboard, "words\n")
		c.waitForPrompt(4)
		c.types(keyboard, "echo code $((100+$?))\n")
		c.waitFor("code 107")
		c.waitForPrompt(5)
		c.types(keyboard, "exit 3\n")
		if code := c.wait(); code != 3 {
			t.Errorf("exit code %d, want 3\n%s", code, c.output)
		}
	})

	t.Run("a script reads after us", func(t *testing.T) {
		c := newContainer(t)
		c.Args = []string{c.Args[0], "/bin/sh", "-c", initPath + " -- true; echo up; read line; echo line: $line"}
		keyboard := c.onTerminal()
		c.waitFor("up")
		c.types(keyboard, "words\n")
		c.waitFor("line: words")
		if code := c.wait(); code != 0 {
			t.Errorf("exit code %d, want 0\n%s", code, c.output)
		}
	})
}

// callAs is the init under another name.
func callAs(t *testing.T, name string) string {
	t.Helper()
	path := t.TempDir() + "/" + name
	if err := os.Symlink(initPath, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// waitForForeground waits until a program of that name runs in the foreground of a terminal.
func (c *testContainer) waitForForeground(keyboard *os.File, name string) {
	c.t.Helper()
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		group, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPGRP)
		if err != nil {
			c.t.Fatal(err)
		}
		stat, _ := os.ReadFile("/proc/" + strconv.Itoa(group) + "/stat")
		if strings.Contains(string(stat), "("+name+") S ") {
			return
		}
		if time.Since(begin) > patience {
			c.t.Fatalf("no %s in the foreground, but %s:\n%s", name, stat, c.output)
		}
	}
}
