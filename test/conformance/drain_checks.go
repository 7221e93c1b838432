package main

import (
	"regexp"
	"strings"
	"time"
)

// straggler is a check that a process which is left behind finishes, is told once, and that the main process's code stays.
func straggler(left string) func(*Trial) {
	return func(t *Trial) {
		c := t.Start(Spec{Main: t.Victim(left + "\ncatch('TERM'); serve('main', TERM=(0, 3))")})
		c.Await("main ready", "left ready")
		c.Signal("TERM")
		c.Await("left done")
		c.Ends(3)
		c.Said(1, "main got TERM", "left got TERM")
	}
}

// atLeast fails when the container ended earlier than d after start: only the early side can be told on a busy machine.
func (c *Container) atLeast(d time.Duration, since time.Time) {
	if took := c.endedAt.Sub(since); took < d {
		c.Failf("ended after %v, want at least %v", took.Round(time.Millisecond), d)
	}
}

// quiet waits while nothing has to happen, and fails when the container ends meanwhile.
func (c *Container) quiet(d time.Duration) {
	select {
	case <-c.ended:
		c.Failf("the container has ended")
	case <-time.After(d):
	}
}

const second = time.Second

var drainChecks = []Check{
	{"drain/child", "A child that needs a second after the main process's exit finishes.",
		straggler(`fork(program, "left", "TERM", TERM=(1, 0))`)},
	{"drain/own-session", "So does one in a session of its own.",
		straggler(`fork(program, "left", "TERM", session=True, TERM=(1, 0))`)},
	{"drain/orphan", "So does one that has lost its parent.",
		straggler(`orphan(program, "left", "TERM", session=True, TERM=(1, 0))`)},
	{"drain/grandchild", "So does a grandchild whose parent dies of TERM.",
		straggler(`fork(lambda: (default("TERM"), fork(program, "left", "TERM", TERM=(1, 0)), time.sleep(300)))`)},
	{"drain/many", "So do fifty at once.", func(t *Trial) {
		c := t.Start(Spec{Options: Options{Grace: 60 * second}, Main: t.Victim(`
for n in range(50):
	fork(program, "left", "TERM", session=n % 2, TERM=(1, 0))
catch("TERM")
serve("main", TERM=(0, 3))`)})
		c.Await("main ready")
		c.AwaitTimes("left ready", 50)
		c.Signal("TERM")
		c.AwaitTimes("left done", 50)
		c.Ends(3)
		c.Said(50, "left got TERM", "left done")
	}},
	{"drain/group-told-once", "With target group a child that was told with its group is not told again when the main process has ended.", func(t *Trial) {
		c := t.Start(Spec{Options: Options{Target: "group"}, Main: t.Victim(`
fork(program, "left", "TERM", TERM=(1, 0))
catch("TERM")
serve("main", TERM=(0.2, 3))`)})
		c.Await("main ready", "left ready")
		c.Signal("TERM")
		c.Await("left done")
		c.Ends(3)
		c.Said(1, "main got TERM", "left got TERM")
	}},
	{"drain/stop-by-rewrite", "A stop signal that is rewritten still starts the drain: the main process gets the other signal, the rest TERM.", func(t *Trial) {
		c := t.Start(Spec{Options: Options{Rewrite: []string{"TERM:QUIT"}}, Main: t.Victim(`
fork(program, "left", "TERM", "QUIT", TERM=(1, 0))
catch("TERM", "QUIT")
serve("main", QUIT=(0, 3))`)})
		c.Await("main ready", "left ready")
		c.Signal("TERM")
		c.Await("left done")
		c.Ends(3)
		c.Said(1, "main got QUIT", "left got TERM")
		c.Said(0, "main got TERM", "left got QUIT")
	}},
	{"drain/below", "Where the init is not PID 1 it drains what is below it, kills it at the deadline, and leaves everybody else alone.", func(t *Trial) {
		if t.Init.Name == "none" {
			t.Failf("without an init nothing is drained")
		}
		args, missing := t.Init.dialect(Options{Grace: 4 * second, Subreaper: true})
		if missing != "" {
			panic(failure{NoSuch, "no such option: " + missing})
		}
		argv := append(append([]string{t.Publish(t.Init.Path)}, args...), t.Victim(`
orphan(program, "left", "TERM", session=True, TERM=(1, 0))
orphan(program, "stubborn", "TERM", session=True)
catch("TERM")
serve("main", TERM=(0, 3))`)...)
		none := Init{Name: "none", dialect: bare}
		c := t.Start(Spec{Init: &none, Stage: Stage{Env: []string{wrongVariable + "=1", "ARGV=" + strings.Join(argv, "\x01")}}, Main: t.Victim(`
stranger = fork(program, "stranger", "TERM", "USR2", session=True, USR2=(0, 0))
init = fork(run, os.environ["ARGV"].split("\x01"))
catch("RT50")
say("one ready")
signal.sigwaitinfo(watched)
os.kill(init, NUMBER["TERM"])
say("init ended with", os.waitstatus_to_exitcode(os.waitpid(init, 0)[1]))
os.kill(stranger, NUMBER["USR2"])
os.waitpid(stranger, 0)`)})
		c.Await("one ready", "main ready", "left ready", "stubborn ready", "stranger ready")
		c.Signal("RT50")
		c.Await("init ended with 3", "stranger done")
		c.Said(1, "left got TERM", "left done", "stubborn got TERM")
		c.Said(0, "stranger got TERM")
	}},
	{"drain/deadline-kills", "What does not stop within the grace period is killed then, not before, and named; the code is the main process's.", func(t *Trial) {
		message := t.Write("message", "", 0o666)
		c := t.Start(Spec{
			Options: Options{Grace: 3 * second, Message: message},
			Stage:   Stage{Env: []string{"STUBBORN=" + t.VictimScript("stubborn", `ignore("TERM"); serve("left")`)}},
			Main:    t.Victim(`fork(run, [os.environ["STUBBORN"]]); catch("TERM"); serve("main", TERM=(0, 3))`),
		})
		c.Await("main ready", "left ready")
		sent := time.Now()
		c.Signal("TERM")
		c.Ends(3)
		c.atLeast(2*second, sent)
		if text := t.Read("message"); !regexp.MustCompile(`\b[2-9](\.\d+)? ?s.*\bstubborn\b`).MatchString(text) {
			c.Failf("the termination message does not say what was killed, and after how long: %q", text)
		}
	}},
	{"drain/main-outlives-deadline", "While the main process lives nothing is killed at the deadline, and the termination message says who is still running.", func(t *Trial) {
		message := t.Write("message", "", 0o666)
		c := t.Start(Spec{
			Options: Options{Grace: 2 * second, Message: message},
			Main:    []string{t.VictimScript("stubborn", `fork(program, "child", "TERM"); ignore("TERM"); catch("USR1"); serve("main", USR1=(0, 8))`)},
		})
		c.Await("main ready", "child ready")
		c.Signal("TERM")
		t.Until("the termination message names stubborn", func() bool { return strings.Contains(t.Read("message"), "stubborn") })
		c.quiet(2 * second)
		if n := len(c.processes()); n != 3 {
			c.Failf("%d processes are left of the init, main and child", n)
		}
		c.Signal("USR1")
		c.Ends(8)
		c.Said(1, "child got TERM")
	}},
	{"drain/second-term", "A second TERM is forwarded, and moves no deadline.", func(t *Trial) {
		c := t.Start(Spec{Options: Options{Grace: 8 * second}, Main: t.Victim(`
fork(lambda: (ignore("TERM"), serve("left")))
catch("TERM")
count = 0
def term():
	global count
	count += 1
	if count == 2:
		os._exit(3)
serve("main", TERM=term)`)})
		c.Await("main ready", "left ready")
		first := time.Now()
		c.Signal("TERM")
		c.Await("main got TERM")
		c.quiet(5 * second)
		c.Signal("TERM")
		c.Ends(3)
		c.Said(2, "main got TERM")
		c.atLeast(6*second, first)
		if took := c.endedAt.Sub(first); took > 11500*time.Millisecond {
			c.Failf("ended %v after the first TERM: the second one moved the deadline", took.Round(time.Millisecond))
		}
	}},
	{"drain/quit-starts-none", "QUIT starts no drain: a JVM's thread dump is not its end. Nobody else is told and no deadline runs.", func(t *Trial) {
		c := t.Start(Spec{Options: Options{Grace: second, Linger: 10 * second}, Main: t.Victim(`
fork(program, "child", "TERM", "QUIT", TERM=(0.5, 0))
catch("TERM", "QUIT", "USR1")
serve("main", USR1=(0, 8))`)})
		c.Await("main ready", "child ready")
		c.Signal("QUIT")
		c.Await("main got QUIT")
		c.quiet(3 * second)
		c.Said(0, "child got TERM", "child got QUIT")
		c.Signal("USR1")
		c.Await("child done")
		c.Ends(8)
		c.Said(1, "child got TERM", "main got QUIT")
	}},
	{"drain/stop-signal", "The signal given as the stop signal starts a drain.", func(t *Trial) {
		c := t.Start(Spec{Options: Options{Stop: "QUIT", Grace: 20 * second, Linger: 500 * time.Millisecond}, Main: t.Victim(`
fork(program, "left", "TERM", TERM=(2, 0))
catch("TERM", "QUIT")
serve("main", QUIT=(0, 3))`)})
		c.Await("main ready", "left ready")
		c.Signal("QUIT")
		c.Await("left done") // with the grace period, not with the time to linger
		c.Ends(3)
		c.Said(1, "main got QUIT", "left got TERM")
	}},
	{"drain/linger-finishes", "When the main process ends by itself, what is left is told once and may finish.", func(t *Trial) {
		c := t.Start(Spec{Options: Options{Linger: 20 * second}, Main: t.Victim(`
fork(program, "left", "TERM", TERM=(1, 0))
catch("USR1")
serve("main", USR1=(0, 5))`)})
		c.Await("main ready", "left ready")
		c.Signal("USR1")
		c.Await("left done")
		c.Ends(5)
		c.Said(1, "left got TERM")
	}},
	{"drain/linger-ends", "When the main process ends by itself, what does not finish is killed and named, so Jobs end.", func(t *Trial) {
		message := t.Write("message", "", 0o666)
		c := t.Start(Spec{
			Options: Options{Linger: 2 * second, Grace: 300 * second, Message: message},
			Stage:   Stage{Env: []string{"STUBBORN=" + t.VictimScript("stubborn", `ignore("TERM"); serve("left")`)}},
			Main:    t.Victim(`fork(run, [os.environ["STUBBORN"]]); catch("USR1"); serve("main", USR1=(0, 5))`),
		})
		c.Await("main ready", "left ready")
		sent := time.Now()
		c.Signal("USR1")
		c.Ends(5)
		c.atLeast(2*second, sent)
		if text := t.Read("message"); !strings.Contains(text, "stubborn") {
			c.Failf("the termination message does not name stubborn: %q", text)
		}
	}},
	{"drain/cgi", "A CGI-like script that exits while its child still writes does not cost the child its end.", func(t *Trial) {
		child := t.VictimScript("child", `
catch("TERM")
open(os.environ["READY"], "w")
time.sleep(1)
say("child written")`)
		c := t.Start(Spec{
			Options: Options{Linger: 20 * second},
			Stage:   Stage{Env: []string{"READY=" + t.Path("ready")}},
			Main:    []string{dash, "-c", child + " & while [ ! -e $READY ]; do sleep 0.1; done; exit 5"},
		})
		c.Ends(5)
		c.Said(1, "child written")
	}},
	{"drain/wait-all", "With wait=all a program that daemonizes keeps the container alive; TERM reaches it, once, and it finishes.", func(t *Trial) {
		c := t.Start(Spec{Options: Options{WaitAll: true, Linger: second}, Main: t.Victim(`orphan(program, "daemon", "TERM", session=True, TERM=(1, 0))`)})
		c.Await("daemon ready")
		c.quiet(3 * second)
		c.Said(0, "daemon got TERM")
		c.Signal("TERM")
		c.Await("daemon done")
		c.Ends(0)
		c.Said(1, "daemon got TERM")
	}},
	{"drain/wait-all-signals", "With wait=all every signal goes to what is left when the main process has ended.", func(t *Trial) {
		c := t.Start(Spec{Options: Options{WaitAll: true}, Main: t.Victim(`orphan(program, "daemon", "HUP", "USR1", "TERM", session=True, TERM=(0, 0))`)})
		c.Await("daemon ready")
		t.Until("the main process has ended and is reaped", func() bool { return c.entries() == 2 })
		c.Signal("HUP")
		c.Await("daemon got HUP")
		c.Signal("USR1")
		c.Await("daemon got USR1")
		c.Signal("TERM")
		c.Ends(0)
		c.Said(1, "daemon got HUP", "daemon got USR1", "daemon got TERM")
	}},
	{"drain/wait-all-ends", "With wait=all the container ends when the last process has, with the main process's code.", func(t *Trial) {
		c := t.Start(Spec{Options: Options{WaitAll: true}, Main: t.Victim(`
orphan(lambda: (time.sleep(2), say("daemon done")), session=True)
os._exit(5)`)})
		c.Await("daemon done")
		c.Ends(5)
	}},
	{"drain/escalate-shells", "Near the end only a shell's children are notified: the child of another program that is still stopping is left alone.", func(t *Trial) {
		c := t.Start(Spec{Options: Options{Grace: 12 * second}, Main: t.Victim(`
fork(program, "child", "TERM", TERM=(0.5, 0))
catch("TERM")
serve("main", TERM=(7, 3))`)})
		c.Await("main ready", "child ready")
		c.Signal("TERM")
		c.Await("child done")
		c.Ends(3)
		c.Said(1, "child got TERM")
		if c.At("child got TERM").Before(c.At("main done")) {
			c.Failf("the child was told while the main process was still stopping")
		}
	}},
	{"drain/escalate-all", "With escalate=all everyone is notified near the end, once.", func(t *Trial) {
		c := t.Start(Spec{Options: Options{Grace: 6 * second, Escalate: true}, Main: t.Victim(`
child = fork(program, "child", "TERM", session=True, TERM=(0.5, 0))
catch("TERM")
serve("main", TERM=lambda: (os.waitpid(child, 0), os._exit(3)))`)})
		c.Await("main ready", "child ready")
		sent := time.Now()
		c.Signal("TERM")
		c.Await("child done")
		c.Ends(3)
		c.Said(1, "main got TERM", "child got TERM")
		if after := c.At("child got TERM").Sub(sent); after < 2*second {
			c.Failf("the child was told after %v, though the time was not nearly over", after)
		}
	}},
	{"drain/exec-session", `A live "kubectl exec" session does not hold the container up.`, func(t *Trial) {
		c := t.Start(Spec{Options: Options{Grace: 300 * second}, Main: t.Victim(`
fork(program, "left", "TERM", TERM=(1, 0))
catch("TERM")
serve("main", TERM=(0, 3))`)})
		c.Await("main ready", "left ready")
		session := c.Exec(t.Victim(`ignore("TERM"); serve("session")`)...)
		t.Must(session.Start())
		t.Cleanup(func() { session.Process.Kill(); session.Wait() })
		c.Await("session ready")
		c.Signal("TERM")
		c.Await("left done")
		c.Ends(3)
	}},
	{"drain/exec-orphan", `What a "kubectl exec" or a probe left behind is told once, and finishes.`, func(t *Trial) {
		c := t.Start(Spec{Main: t.Victim(`catch("TERM"); serve("main", TERM=(0, 3))`)})
		c.Await("main ready")
		t.Must(c.Exec(t.Victim(`orphan(program, "left", "TERM", session=True, TERM=(1, 0))`)...).Run())
		c.Await("left ready")
		c.Signal("TERM")
		c.Await("left done")
		c.Ends(3)
		c.Said(1, "left got TERM")
	}},
}
