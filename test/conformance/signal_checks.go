package main

// barrier is the signal that a probe ends with: the highest, so that it is the last of all that are pending.
const barrier = "RT64"

// Probe sends each signal and waits until the init has dealt with it. Whoever says "who got RT64" has by then got
// the signal, if it gets it at all; so nothing has to be waited for that does not come.
func (c *Container) Probe(who string, names ...string) {
	for i, name := range names {
		c.Signal(name)
		c.Signal(barrier)
		if !c.Journal.wait(who+" got "+barrier, i+1, c.trial.Size.Patience) {
			c.Failf("%s does not get %s any more after %s was sent", who, barrier, name)
		}
	}
}

// Settle waits until every process below the init has reported what it has got so far. They all have to catch the
// barrier, which each gets from outside.
func (c *Container) Settle(who ...string) {
	before := map[string]int{}
	for _, w := range who {
		before[w] = c.Count(w + " got " + barrier)
	}
	for _, pid := range c.processes() {
		if pid != c.PID || c.trial.Init.Name == "none" {
			kill(pid, barrier)
		}
	}
	for _, w := range who {
		c.AwaitTimes(w+" got "+barrier, before[w]+1)
	}
}

// forwards is a check that a main process which catches everything gets each of the signals once.
func forwards(names ...string) func(*Trial) {
	return func(t *Trial) {
		c := t.Start(Spec{Main: t.Victim(`catch(*CATCHABLE); serve("main")`)})
		c.Await("main ready")
		c.Probe("main", names...)
		for _, name := range names {
			c.Said(1, "main got "+name)
		}
	}
}

func realTime() (names []string) {
	for sig := 34; sig < 64; sig++ {
		names = append(names, signalName(sig))
	}
	return names
}

// freeze stops the init itself, which only the outside can, so that signals gather; thaw lets it see them all.
func (c *Container) freeze() {
	c.Signal("STOP")
	c.trial.Until("the init is stopped", func() bool { return status(c.PID, "State") == "T (stopped)" })
}

func (c *Container) thaw() { c.Signal("CONT") }

var signalChecks = []Check{
	{"signals/ordinary", "The signals that programs use among each other reach the main process, each once.",
		forwards("HUP", "INT", "QUIT", "USR1", "USR2", "PIPE", "ALRM", "TERM", "STKFLT", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "CONT")},
	{"signals/real-time", "The real-time signals 34 to 64 reach the main process, each once.", forwards(realTime()...)},
	{"signals/ttin-ttou", "TTIN and TTOU sent by a user reach the main process: gunicorn adds and removes workers by them.", forwards("TTIN", "TTOU")},
	{"signals/tstp", "TSTP sent by a user reaches the main process as TSTP.", forwards("TSTP")},
	{"signals/abort", "ABRT reaches the main process.", forwards("ABRT")},
	{"signals/fault-by-user", "Fault signals that a user sent reach the main process: ILL, TRAP, BUS, FPE, SEGV and SYS.",
		forwards("ILL", "TRAP", "BUS", "FPE", "SEGV", "SYS")},
	{"signals/real-time-queued", "Real-time signals that gather before the init runs are all delivered: they queue.", func(t *Trial) {
		c := t.Start(Spec{Main: t.Victim(`catch("RT40", "RT64"); serve("main")`)})
		c.Await("main ready")
		c.freeze()
		for range 20 {
			c.Signal("RT40")
		}
		c.thaw()
		c.Probe("main", "RT40")
		c.Said(21, "main got RT40")
	}},
	{"signals/chld-never", "SIGCHLD is the init's own: the main process sees none, neither for orphans nor when a user sends it.", func(t *Trial) {
		c := t.Start(Spec{Main: t.Victim(`
catch("CHLD", "RT64")
for _ in range(5):
	os.waitpid(fork(lambda: fork(lambda: time.sleep(0.1))), 0)
while sigs := signal.sigtimedwait({NUMBER["CHLD"]}, 0):
	pass  # of its own children
serve("main")`)})
		c.Await("main ready")
		c.Signal("CHLD")
		t.Until("the orphans are reaped", func() bool { return c.zombies() == 0 && len(c.children(c.PID)) == 1 })
		c.Probe("main", "CHLD")
		c.Said(0, "main got CHLD")
	}},
	{"signals/rewrite", "A signal that is to be rewritten arrives as the other one, once.", func(t *Trial) {
		c := t.Start(Spec{Options: Options{Rewrite: []string{"TERM:QUIT", "USR1:12"}}, Main: t.Victim(`catch(*CATCHABLE); serve("main")`)})
		c.Await("main ready")
		c.Probe("main", "TERM", "USR1", "HUP")
		c.Said(0, "main got TERM", "main got USR1")
		c.Said(1, "main got QUIT", "main got USR2", "main got HUP")
	}},
	{"signals/rewrite-drops", "A signal that is rewritten to 0 is dropped.", func(t *Trial) {
		c := t.Start(Spec{Options: Options{Rewrite: []string{"HUP:0"}}, Main: t.Victim(`catch(*CATCHABLE); serve("main")`)})
		c.Await("main ready")
		c.Probe("main", "HUP", "INT")
		c.Said(0, "main got HUP")
		c.Said(1, "main got INT")
	}},
	{"signals/pending-at-start", "A signal that was pending when the init was executed reaches the main process.", func(t *Trial) {
		c := t.Start(Spec{Stage: Stage{Block: []int{15}, Pend: []int{15}}, Main: t.Victim(`catch("TERM", "RT64"); serve("main")`)})
		if !c.toldTerm() {
			c.Failf("TERM is lost")
		}
	}},
	{"signals/early", "A signal that comes while the init is starting is kept for the main process, from its first system call on.", early},
}

// toldTerm says whether a main process has got the TERM that was sent before it ran. One that gets it before it has its
// handler dies of it, as it would without an init.
func (c *Container) toldTerm() bool {
	patience := c.trial.Size.Patience
	if c.Journal.wait("main ready", 1, patience) {
		c.Signal(barrier)
		c.Journal.wait("main got "+barrier, 1, patience)
		return c.Journal.wait("main got TERM", 1, 0)
	}
	return c.Code() == 143
}

// early stops the init at the return of each of its system calls until the main process runs, a new init each time, and
// sends TERM just there.
func early(t *Trial) {
	const most = 100 // more than any of the known inits needs
	lost := 0
	for n := 1; n <= most; n++ {
		c := t.Start(Spec{Stage: Stage{Traced: true}, Main: t.Victim(`catch("TERM", "RT64"); serve("main")`)})
		if c.interruptAt(n) {
			t.Figure("TERM is lost up to system call %d of %d", lost, n-1)
			if lost > 0 {
				t.Failf("TERM is lost when it comes right after system call %d; the main process is started by number %d", lost, n)
			}
			return
		}
		if !c.toldTerm() {
			lost = n
		}
	}
	t.Failf("no main process after %d system calls", most)
}
