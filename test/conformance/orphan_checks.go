package main

// adopts is a check that orphans become the init's children and are reaped.
func adopts(s Spec) func(*Trial) {
	return func(t *Trial) {
		s.Main = t.Victim(`
orphan(program, "orphan", "USR2", session=True, USR2=(0, 0))
catch("USR1")
serve("main")`)
		c := t.Start(s)
		c.Await("main ready", "orphan ready")
		var orphan int
		t.Until("the orphan is the init's child", func() bool {
			for _, pid := range c.children(c.PID) {
				if status(pid, "State") != "" && pid != c.main() {
					orphan = pid
				}
			}
			return orphan != 0
		})
		kill(orphan, "USR2")
		c.Await("orphan done")
		t.Until("the orphan is reaped", func() bool { return status(orphan, "State") == "" })
	}
}

var orphanChecks = []Check{
	{"orphans/reaped", "An orphan becomes PID 1's child and is reaped when it ends.", adopts(Spec{})},
	{"orphans/subreaper", "The same below another PID 1, where the init is asked to be a subreaper.",
		adopts(Spec{Options: Options{Subreaper: true}, Stage: Stage{ProcessOne: true}})},
	{"orphans/subreaper-unasked", "The same without being asked.", adopts(Spec{Stage: Stage{ProcessOne: true}})},
	{"orphans/exec", `What a killed "kubectl exec" or probe leaves behind is reaped.`, func(t *Trial) {
		c := t.Start(Spec{Main: t.Victim(`catch("USR1"); serve("main")`)})
		c.Await("main ready")
		probe := c.Exec(dash, "-c", "sleep 300 & sleep 300; true")
		t.Must(probe.Start())
		t.Cleanup(func() { probe.Process.Kill() })
		t.Until("the probe runs", func() bool { return len(c.processes()) == 5 })
		c.killNamed("dash", "KILL")
		probe.Wait()
		c.killNamed("sleep", "KILL")
		t.Until("what it left is reaped", func() bool { return len(c.processes()) == 2 && c.zombies() == 0 })
	}},
	{"orphans/many-at-once", "SIGCHLDs that coalesce lose nothing: fifty orphans and the main process end while the init is stopped.", func(t *Trial) {
		c := t.Start(Spec{Main: t.Victim(`
for _ in range(50):
	orphan(lambda: serve("orphan"), session=True)
catch("USR1")
serve("main")`)})
		c.Await("main ready")
		c.AwaitTimes("orphan ready", 50)
		main := c.main()
		c.freeze()
		for _, pid := range c.processes() {
			if pid != c.PID && pid != main {
				kill(pid, "KILL")
			}
		}
		t.Until("the orphans are dead", func() bool { return c.zombies() == 50 })
		kill(main, "KILL")
		t.Until("the main process is dead", func() bool { return c.zombies() == 51 })
		c.thaw()
		c.Ends(137)
	}},
	{"orphans/stopped", "A child that is stopped and goes on is not taken for one that ended, be it an orphan or the main process.", func(t *Trial) {
		c := t.Start(Spec{Main: t.Victim(`
orphan(program, "orphan", "USR2", session=True)
catch("USR1", "RT64")
serve("main", USR1=(0, 9))`)})
		c.Await("main ready", "orphan ready")
		for _, pid := range c.children(c.PID) {
			kill(pid, "STOP")
			t.Until("it is stopped", func() bool { return status(pid, "State") == "T (stopped)" })
			kill(pid, "CONT")
			t.Until("it goes on", func() bool { return status(pid, "State") != "T (stopped)" })
		}
		c.Probe("main")
		c.Signal("USR1")
		c.Ends(9)
	}},
	{"orphans/chld-ignored", "An init that is executed with SIGCHLD ignored does not lose the main process's code.", func(t *Trial) {
		c := t.Start(Spec{Stage: Stage{Ignore: []int{17}}, Main: []string{dash, "-c", "exit 9"}})
		c.Ends(9)
	}},
}
