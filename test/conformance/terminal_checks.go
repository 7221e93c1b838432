package main

var terminalChecks = []Check{
	{"terminal/foreground", "The main process's group is the terminal's foreground group: it reads and sets the terminal without being stopped.", func(t *Trial) {
		term := t.Terminal()
		c := t.Start(term.on(Spec{Main: t.Victim(`
say("foreground", os.tcgetpgrp(0) == os.getpgrp())
say("main ready")
say("read", os.read(0, 100).decode().strip())
os.tcsetpgrp(0, os.getpgrp())
os._exit(6)`)}))
		c.Await("main ready")
		term.Type("hello\n")
		c.Ends(6)
		c.Said(1, "foreground True", "read hello")
	}},
	{"terminal/control-c", "Ctrl-C reaches the main process and its child, each once.", func(t *Trial) {
		term := t.Terminal()
		c := t.Start(term.on(Spec{Main: t.Victim(`
fork(program, "child", "INT", "RT64")
catch("INT", "RT64")
serve("main")`)}))
		c.Await("main ready", "child ready")
		term.Type(controlC)
		c.Await("main got INT", "child got INT")
		c.Probe("main", "RT64")
		c.Said(1, "main got INT", "child got INT")
	}},
	{"terminal/control-c-shell", "Ctrl-C reaches the program that a shell runs, once, though the shell does not pass it on.", func(t *Trial) {
		term := t.Terminal()
		c := t.Start(term.on(Spec{Main: []string{bash, "-c", "$PROG; exit 6"}, Stage: Stage{Env: []string{"PROG=" + t.VictimScript("prog", finishing)}}}))
		c.Await("prog ready")
		term.Type(controlC)
		c.Await("prog done")
		c.Ends(6)
		c.Said(1, "prog got INT")
	}},
	{"terminal/job-control", "In a shell Ctrl-Z stops a program, fg goes on with it, and Ctrl-C then reaches it, once.", func(t *Trial) {
		term := t.Terminal()
		prog := t.VictimScript("prog", `say("pid", os.getpid()); catch("INT"); serve("prog", INT=(0.5, 0))`)
		c := t.Start(term.on(Spec{Main: []string{bash, "--norc", "--noprofile", "-i"}, Stage: Stage{Env: []string{"PROG=" + prog}}}))
		term.Type("$PROG\n")
		c.Await("prog ready")
		pid := 0
		for _, p := range c.processes() {
			if comm(p) == "prog" {
				pid = p
			}
		}
		term.Type(controlZ)
		t.Until("the program is stopped", func() bool { return status(pid, "State") == "T (stopped)" })
		term.Type("echo again >$JOURNAL\n")
		c.Await("again")
		term.Type("fg\n")
		t.Until("the program goes on", func() bool { return status(pid, "State") == "S (sleeping)" })
		term.Type(controlC)
		c.Await("prog done")
		c.Said(1, "prog got INT")
		term.Type("exit 7\n")
		c.Ends(7)
	}},
	{"terminal/resize", "A resize reaches the main process as WINCH, once, and it sees the new size.", func(t *Trial) {
		term := t.Terminal()
		c := t.Start(term.on(Spec{Main: t.Victim(`
catch("WINCH", "RT64")
serve("main", WINCH=lambda: say("size", *os.get_terminal_size(0)))`)}))
		c.Await("main ready")
		t.Must(term.resize(33, 77))
		c.Await("size 77 33")
		c.Probe("main", "RT64")
		c.Said(1, "main got WINCH")
	}},
	{"terminal/hang-up", "When the terminal goes away the main process is told.", func(t *Trial) {
		term := t.Terminal()
		c := t.Start(term.on(Spec{Main: t.Victim(`
catch("HUP")
serve("main", HUP=(0, 6))`)}))
		c.Await("main ready")
		term.slave.Close()
		term.master.Close()
		c.Ends(6)
	}},
	{"terminal/not-controlling", "A terminal on standard input that controls another session, or none, does not keep the main process from starting.", func(t *Trial) {
		term := t.Terminal()
		s := term.on(Spec{Main: []string{dash, "-c", "exit 6"}})
		s.Terminal = false
		t.Start(s).Ends(6)
	}},
	{"terminal/shell-exits", "The container ends with an interactive shell's code, whatever the shell left in the background.", func(t *Trial) {
		term := t.Terminal()
		c := t.Start(term.on(Spec{Options: Options{}, Main: []string{bash, "--norc", "--noprofile", "-i"}, Stage: Stage{Env: []string{"PROG=" + t.VictimScript("prog", finishing)}}}))
		term.Type("$PROG &\n")
		c.Await("prog ready")
		term.Type("exit 7\n")
		c.Await("prog done")
		c.Ends(7)
		c.Said(1, "prog got TERM")
	}},
}
