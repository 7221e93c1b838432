package main

import "strings"

// family is a main process with a child in its group and a child in a session of its own, all of which catch everything.
const family = `
catch(*CATCHABLE)
fork(program, "child", *CATCHABLE)
fork(program, "daemon", *CATCHABLE, session=True)
serve("main")`

// reaches is a check that with this target USR1 is seen by these of the family, once each, and by no other.
func reaches(target string, who ...string) func(*Trial) {
	return func(t *Trial) {
		c := t.Start(Spec{Options: Options{Target: target}, Main: t.Victim(family)})
		c.Await("main ready", "child ready", "daemon ready")
		c.Probe("main", "USR1")
		c.Settle("main", "child", "daemon")
		for _, w := range []string{"main", "child", "daemon"} {
			c.Said(strings.Count(strings.Join(who, " "), w), w+" got USR1")
		}
	}
}

var targetChecks = []Check{
	{"target/main", "Target main: the main process alone gets the signal.", reaches("main", "main")},
	{"target/group", "Target group: the main process's group gets the signal, and nobody outside of it.", reaches("group", "main", "child")},
	{"target/all", "Target all: every process gets the signal.", reaches("all", "main", "child", "daemon")},
	{"target/all-below", "Target all, when the init is not PID 1: every process below it gets the signal, and nobody else.", func(t *Trial) {
		c := t.Start(Spec{Options: Options{Target: "all"}, Stage: Stage{ProcessOne: true}, Main: t.Victim(family)})
		c.Await("main ready", "child ready", "daemon ready")
		stranger := c.Exec(t.Victim(`catch(*CATCHABLE); serve("stranger")`)...)
		t.Must(stranger.Start())
		t.Cleanup(func() { stranger.Process.Kill(); stranger.Wait() })
		c.Await("stranger ready")
		c.Probe("main", "USR1")
		c.Settle("main", "child", "daemon", "stranger")
		c.Said(1, "main got USR1", "child got USR1", "daemon got USR1")
		c.Said(0, "stranger got USR1")
	}},
}
