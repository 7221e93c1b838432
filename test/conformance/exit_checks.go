package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// cannotRun is a check that a main process which cannot be started ends the container with this code, and that the
// program is named on standard error.
func cannotRun(code int, prepare func(t *Trial) (program string)) func(*Trial) {
	return func(t *Trial) {
		program := prepare(t)
		if t.Init.Name == "none" {
			t.Failf("without an init there is no container to end")
		}
		c := t.Start(Spec{Main: []string{program}})
		c.Ends(code)
		if !strings.Contains(c.stderr.String(), program) {
			c.Failf("standard error does not name %s", program)
		}
	}
}

// dies is a command line that ends itself by a signal.
func dies(sig int) []string { return []string{dash, "-c", fmt.Sprintf("kill -%d $$", sig)} }

var exitChecks = []Check{
	{"exit/codes", "The container's code is the main process's, from 0 to 255.", func(t *Trial) {
		for code := range 256 {
			t.Start(Spec{Main: []string{dash, "-c", fmt.Sprintf("exit %d", code)}}).Ends(code)
		}
	}},
	{"exit/signals", "It is 128 and the signal's number for a main process that a signal killed, from 1 to 64.", func(t *Trial) {
		for _, sig := range []int{1, 2, 3, 6, 9, 11, 13, 14, 15, 34, 64} {
			if t.Init.Name == "none" {
				t.Failf("the default action of a signal does not end PID 1")
			}
			t.Start(Spec{Main: t.Victim(fmt.Sprintf("signal.pthread_sigmask(signal.SIG_UNBLOCK, [%d]); default(NAME[%d]) if %d != 9 else 0; os.kill(os.getpid(), %d); time.sleep(300)", sig, sig, sig, sig))}).Ends(128 + sig)
		}
	}},
	{"exit/not-found", "127 when the program is not there, and it is named.", cannotRun(127, func(t *Trial) string { return t.Path("absent") })},
	{"exit/not-in-path", "127 when the program is nowhere in PATH, and it is named.", cannotRun(127, func(t *Trial) string { return "absent-program" })},
	{"exit/no-interpreter", "127 when a script's interpreter is not there.", cannotRun(127, func(t *Trial) string {
		return t.Write("script", "#!/absent\n", 0o755)
	})},
	{"exit/not-executable", "126 when the program may not be executed.", cannotRun(126, func(t *Trial) string { return t.Write("plain", "#!/bin/sh\n", 0o644) })},
	{"exit/directory", "126 when it is a directory.", cannotRun(126, func(t *Trial) string { return t.Dir })},
	{"exit/no-magic", "126 for a script without #!, which no container runtime executes.", cannotRun(126, func(t *Trial) string { return t.Write("script", "exit 3\n", 0o755) })},
	{"exit/busy", "126 when it is open for writing.", cannotRun(126, func(t *Trial) string {
		b, err := os.ReadFile("/bin/true")
		t.Must(err)
		path := t.Write("busy", string(b), 0o755)
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		t.Must(err)
		t.Cleanup(func() { f.Close() })
		return path
	})},
	{"exit/path", "The program is looked for in the container's PATH; an entry that may not be executed does not end the search.", func(t *Trial) {
		for _, dir := range []string{"a", "b", "c"} {
			t.Must(os.Mkdir(t.Path(dir), 0o755))
		}
		t.Write("a/prog", "#!/bin/sh\nexit 1\n", 0o644)
		t.Write("b/prog", "#!/bin/sh\nexit 42\n", 0o755)
		t.Write("c/prog", "#!/bin/sh\nexit 3\n", 0o755)
		if t.Init.Name == "none" {
			t.Failf("without an init it is the runtime that looks")
		}
		c := t.Start(Spec{Main: []string{"prog"}, Stage: Stage{Env: []string{"PATH=" + t.Path("absent") + ":" + t.Path("a") + ":" + t.Path("b") + ":" + t.Path("c")}}})
		c.Ends(42)
	}},
	{"exit/remap", "Codes that are to be remapped become 0, all others stay.", func(t *Trial) {
		o := Options{Remap: []int{143, 7}}
		t.Start(Spec{Options: o, Main: []string{dash, "-c", "exit 7"}}).Ends(0)
		t.Start(Spec{Options: o, Main: dies(15)}).Ends(0)
		t.Start(Spec{Options: o, Main: []string{dash, "-c", "exit 8"}}).Ends(8)
	}},
}

// maximumMessage is what Kubernetes keeps of a termination message.
const maximumMessage = 4096

// message runs a container to its end and returns its termination message, which has to be a single line.
func message(t *Trial, code int, before string, s Spec) string {
	s.Message = t.Write("message", before, 0o666)
	t.Start(s).Ends(code)
	text := t.Read("message")
	if strings.Contains(strings.TrimSuffix(text, "\n"), "\n") {
		t.Failf("not one line: %q", text)
	}
	if len(text) > maximumMessage {
		t.Failf("%d bytes", len(text))
	}
	return text
}

var messageChecks = []Check{
	{"message/signal", "The termination message of a main process that a signal killed has the program and the signal, and no core dump where there was none.", func(t *Trial) {
		text := message(t, 139, "", Spec{Main: dies(11)})
		if !strings.Contains(text, "dash") || !strings.Contains(text, "SEGV") || strings.Contains(text, "core") {
			t.Failf("%q", text)
		}
	}},
	{"message/core", "It says so when there is a core dump.", func(t *Trial) {
		s := Spec{Main: dies(11)}
		s.Dir = t.Dir
		s.Limits = map[int][2]uint64{unix.RLIMIT_CORE: {1 << 30, unix.RLIM_INFINITY}}
		text := message(t, 139, "", s)
		if !strings.Contains(text, "SEGV") || !strings.Contains(text, "core") {
			t.Failf("%q", text)
		}
	}},
	{"message/not-started", "A program that cannot be started is named, with the reason.", func(t *Trial) {
		text := message(t, 127, "", Spec{Main: []string{"/absent/program"}})
		if !strings.Contains(text, "/absent/program") || !strings.Contains(text, "no such file") {
			t.Failf("%q", text)
		}
	}},
	{"message/silent", "There is none when the main process ends by itself, be it with an error.", func(t *Trial) {
		for _, code := range []int{0, 1} {
			if text := message(t, code, "", Spec{Main: []string{dash, "-c", fmt.Sprintf("exit %d", code)}}); text != "" {
				t.Failf("%q", text)
			}
		}
	}},
	{"message/program's-own", "The program's own text stays as it is.", func(t *Trial) {
		if text := message(t, 139, "out of cheese", Spec{Main: dies(11)}); text != "out of cheese" {
			t.Failf("%q", text)
		}
	}},
	{"message/long", "A name of 4,000 bytes with line ends in it makes a message of one line, of at most 4,096 bytes.", func(t *Trial) {
		text := message(t, 127, "", Spec{Main: []string{"/" + strings.Repeat(strings.Repeat("x", 190)+"\n/", 20) + "absent"}})
		if len(text) < 20 {
			t.Failf("%q", text)
		}
	}},
	{"message/many-killed", "Twenty processes that had to be killed, with names as bad as names can be, make a message of one line, of at most 4,096 bytes.", func(t *Trial) {
		stubborn := t.VictimScript("a (stub) born", `ignore("TERM"); say("left ready"); time.sleep(300)`)
		s := Spec{Options: Options{Linger: second}, Stage: Stage{Env: []string{"STUBBORN=" + stubborn}}, Main: t.Victim(`
for n in range(20):
	fork(run, [os.environ["STUBBORN"]])
ready = os.open(os.environ["READY"], os.O_RDONLY)
os.read(ready, 1)
os._exit(5)`)}
		fifo := t.Path("ready")
		t.Must(unix.Mkfifo(fifo, 0o666))
		s.Env = append(s.Env, "READY="+fifo)
		s.Message = t.Write("message", "", 0o666)
		c := t.Start(s)
		c.AwaitTimes("left ready", 20)
		f, err := os.OpenFile(fifo, os.O_RDWR, 0)
		t.Must(err)
		defer f.Close()
		f.WriteString("x")
		c.Ends(5)
		text := t.Read("message")
		if !strings.Contains(text, "a (stub) born") || len(text) > maximumMessage || strings.Contains(strings.TrimSuffix(text, "\n"), "\n") {
			t.Failf("%q", text)
		}
	}},
	{"message/stderr", "Without a file for it the line stands at the end of standard error.", func(t *Trial) {
		if t.Init.Name == "none" {
			t.Failf("the default action of a signal does not end PID 1")
		}
		c := t.Start(Spec{Main: []string{dash, "-c", "echo last words >&2; kill -SEGV $$"}})
		c.Ends(139)
		last, line, _ := strings.Cut(c.stderr.String(), "\n")
		if last != "last words" || !strings.Contains(line, "SEGV") || strings.Count(line, "\n") != 1 {
			c.Failf("standard error: %q", c.stderr.String())
		}
	}},
}
