package main

import "time"

const (
	bash = "/usr/bin/bash"
	dash = "/usr/bin/dash"
)

// finishing is a program that takes half a second to stop, and is cut short by whoever ends the container too early.
const finishing = `catch("TERM", "INT", "QUIT", "USR1", "WINCH"); serve("prog", TERM=(0.5, 4), INT=(0.5, 0), QUIT=(0.5, 4), USR1=(0.5, 0))`

// wrapped is a check that a stop signal goes through a shell to the program that it runs, once, and that the program
// finishes. PROG in the script stands for the program.
func wrapped(code int, shell ...string) func(*Trial) {
	return func(t *Trial) {
		c := t.Start(Spec{Main: shell, Stage: Stage{Env: []string{"PROG=" + t.VictimScript("prog", finishing)}}})
		c.Await("prog ready")
		c.Signal("TERM")
		c.Await("prog got TERM", "prog done")
		c.Ends(code)
		c.Said(1, "prog got TERM")
	}
}

// nested is a check that a program under a second init is told once and finishes.
func nested(inner func(t *Trial) []string) func(*Trial) {
	return func(t *Trial) {
		c := t.Start(Spec{Main: append(inner(t), t.Victim(finishing)...)})
		c.Await("prog ready")
		c.Signal("TERM")
		c.Ends(4)
		c.Said(1, "prog got TERM", "prog done")
	}
}

// topmost is a check that the main process alone sees USR1 and its child does not.
func topmost(code string) func(*Trial) {
	return func(t *Trial) {
		c := t.Start(Spec{Main: t.Victim("fork(program, 'child', 'USR1', 'RT64')\n" + code)})
		c.Await("main ready", "child ready")
		c.Probe("main", "USR1", "USR1")
		c.Settle("main", "child")
		c.Said(2, "main got USR1")
		c.Said(0, "child got USR1")
	}
}

var autoChecks = []Check{
	{"auto/sh", `sh -c "prog; true", a shell without a trap, dies of TERM; its program gets it too, once, and finishes.`,
		wrapped(143, dash, "-c", "$PROG; true")},
	{"auto/sh-and", `sh -c "cd / && prog", which stays in front of its program, is the same.`,
		wrapped(143, dash, "-c", "cd / && $PROG")},
	{"auto/sh-in-sh", "A shell in a shell is the same.", wrapped(143, dash, "-c", `dash -c '$PROG; true'; true`)},
	{"auto/busybox", "busybox sh, as in Alpine, is the same.", wrapped(143, "/usr/bin/busybox", "sh", "-c", "$PROG; true")},
	{"auto/bash", `bash -c "prog; true" is the same.`, wrapped(143, bash, "-c", "$PROG; true")},
	{"auto/bash-and", `bash -c "cd / && prog" becomes the program, whose code is the container's.`, wrapped(4, bash, "-c", "cd / && $PROG")},
	{"auto/bash-interactive", `bash -ci ignores TERM; its program gets it, once, and bash goes on behind it.`,
		wrapped(6, bash, "-ci", "$PROG; exit 6")},
	{"auto/bash-trap-exit", "bash with a trap for EXIT catches TERM and dies at once; the program that it leaves is told, once, and finishes.",
		wrapped(143, bash, "-c", `trap "echo bye" EXIT; $PROG; true`)},
	{"auto/bash-trap", "A shell with a trap is told alone: what its program hears is the trap's business.", func(t *Trial) {
		c := t.Start(Spec{
			Main:  []string{bash, "-c", `trap 'echo trap >$JOURNAL; kill -USR1 $!; wait $!; exit 5' TERM; $PROG & wait $!`},
			Stage: Stage{Env: []string{"PROG=" + t.VictimScript("prog", finishing)}},
		})
		c.Await("prog ready")
		c.Signal("TERM")
		c.Ends(5)
		c.Said(1, "trap", "prog got USR1", "prog done")
		c.Said(0, "prog got TERM")
	}},
	{"auto/bash-trap-deferred", "bash defers a trap while a program runs in front; near the end of the grace period, and not earlier, the program is notified, once, and the trap runs.", func(t *Trial) {
		c := t.Start(Spec{
			Options: Options{Grace: 6 * time.Second},
			Main:    []string{bash, "-c", `trap 'echo trap >$JOURNAL; exit 5' TERM; $PROG; true`},
			Stage:   Stage{Env: []string{"PROG=" + t.VictimScript("prog", finishing)}},
		})
		c.Await("prog ready")
		sent := time.Now()
		c.Signal("TERM")
		c.Ends(5)
		c.Said(1, "trap", "prog got TERM", "prog done")
		if after := c.At("prog got TERM").Sub(sent); after < 4*time.Second {
			c.Failf("the program was told after %v, though the time was not nearly over", after)
		}
	}},
	{"auto/bash-int", "bash catches INT while it waits, without passing it on: its program gets it too, once.", func(t *Trial) {
		c := t.Start(Spec{Main: []string{bash, "-c", "$PROG; exit 6"}, Stage: Stage{Env: []string{"PROG=" + t.VictimScript("prog", finishing)}}})
		c.Await("prog ready")
		c.Signal("INT")
		c.Await("prog done")
		c.Ends(6)
		c.Said(1, "prog got INT")
	}},
	{"auto/quit-in-shell", "QUIT, when it is not the stop signal, does not end a shell that does not handle it; its program gets it, once, and the shell goes on behind it.", func(t *Trial) {
		c := t.Start(Spec{Main: []string{dash, "-c", "$PROG; exit 6"}, Stage: Stage{Env: []string{"PROG=" + t.VictimScript("prog", finishing)}}})
		c.Await("prog ready")
		c.Signal("QUIT")
		c.Await("prog done")
		c.Ends(6)
		c.Said(1, "prog got QUIT")
	}},
	{"auto/core-dump", "QUIT as the stop signal makes a shell dump core; what it leaves is notified when it has died, and finishes.", func(t *Trial) {
		c := t.Start(Spec{Options: Options{Stop: "QUIT"}, Main: []string{dash, "-c", "$PROG; true"}, Stage: Stage{Env: []string{"PROG=" + t.VictimScript("prog", finishing)}}})
		c.Await("prog ready")
		c.Signal("QUIT")
		c.Await("prog done")
		c.Ends(131)
		if quit, term := c.Count("prog got QUIT"), c.Count("prog got TERM"); quit > 1 || term > 1 {
			c.Failf("the program was told QUIT %d times and TERM %d times", quit, term)
		}
	}},
	{"auto/ignored-by-default", "WINCH, which a shell without a trap never notices, goes on to its program, once, and harms nobody.", func(t *Trial) {
		c := t.Start(Spec{Main: []string{dash, "-c", "$PROG; true"}, Stage: Stage{Env: []string{"PROG=" + t.VictimScript("prog", finishing)}}})
		c.Await("prog ready")
		c.Signal("WINCH")
		c.Await("prog got WINCH")
		c.Signal("TERM")
		c.Await("prog done")
		c.Said(1, "prog got WINCH", "prog got TERM")
	}},
	{"auto/catcher-alone", "A main process that catches a signal gets it alone, as PostgreSQL's does.", topmost(`catch("USR1", "RT64"); serve("main")`)},
	{"auto/sigwait-alone", "So does one that takes it by sigwait and has no handler.", topmost(`wait_for("USR1", "RT64"); serve("main")`)},
	{"auto/many-threads", "So does one with 200 threads.", topmost(`
import _thread
catch("USR1", "RT64")
for _ in range(200):
	_thread.start_new_thread(time.sleep, (300,))
serve("main")`)},
	{"auto/read-again", "What a main process does about a signal is read when the signal comes: it may ignore it first, and catch it later.", func(t *Trial) {
		c := t.Start(Spec{Main: t.Victim(`
fork(program, "child", "USR1", "RT50", "RT64")
ignore("USR1")
catch("RT50", "RT64")
serve("main", RT50=lambda: (catch("USR1"), say("main catches")))`)})
		c.Await("main ready", "child ready")
		c.Signal("USR1")
		c.Await("child got USR1")
		c.Signal("RT50")
		c.Await("main catches")
		c.Probe("main", "USR1")
		c.Settle("main", "child")
		c.Said(1, "main got USR1", "child got USR1")
		c.Said(0, "child got RT50")
	}},
	{"auto/ignorer-passed-over", "A main process that ignores a signal is passed over: its child gets it, once.", func(t *Trial) {
		c := t.Start(Spec{Main: t.Victim(`
ignore("TERM")
child = fork(program, "child", "TERM", TERM=(0, 0))
os.waitpid(child, 0)
os._exit(6)`)})
		c.Await("child ready")
		c.Signal("TERM")
		c.Ends(6)
		c.Said(1, "child got TERM", "child done")
	}},
	{"auto/child-of-a-thread", "A child that was started by another thread than the first is found.", func(t *Trial) {
		c := t.Start(Spec{Main: t.Victim(`
import _thread
ignore("TERM")
done = _thread.allocate_lock()
done.acquire()
def start():
	os.waitpid(fork(program, "child", "TERM", TERM=(0, 0)), 0)
	done.release()
_thread.start_new_thread(start, ())
done.acquire()
os._exit(6)`)})
		c.Await("child ready")
		c.Signal("TERM")
		c.Ends(6)
		c.Said(1, "child got TERM", "child done")
	}},
	{"auto/go", "A Go program catches nearly every signal untold and gets it alone; what it leaves is told when it is gone, once, and finishes.", func(t *Trial) {
		c := t.Start(Spec{Main: append([]string{t.Self()}, t.Victim(finishing)...), Stage: Stage{Env: []string{victimVariable + "=1"}}})
		c.Await("main ready", "prog ready")
		c.Signal("TERM")
		c.Await("prog done")
		c.Ends(7)
		c.Said(1, "main got TERM", "prog got TERM")
		if c.At("prog got TERM").Before(c.At("main got TERM")) {
			c.Failf("the child was told before the server")
		}
	}},
	{"auto/nested-tini", "A program under tini is told once and finishes; its code is the container's.", nested(func(*Trial) []string { return []string{"/usr/bin/tini", "--"} })},
	{"auto/nested-dumb-init", "So is one under dumb-init.", nested(func(*Trial) []string { return []string{"/usr/bin/dumb-init", "--"} })},
	{"auto/nested-catatonit", "So is one under catatonit.", nested(func(*Trial) []string { return []string{"/usr/bin/catatonit", "--"} })},
	{"auto/nested-itself", "So is one under the same init once more.", nested(func(t *Trial) []string {
		switch t.Init.Name {
		case "none":
			return nil
		case "wrong":
			return []string{t.Self()}
		}
		return []string{t.Publish(t.Init.Path), "--"}
	})},
}
