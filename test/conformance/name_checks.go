package main

import (
	"os"
	"strings"
)

// called starts the init by another name, with the command line that goes with it. The wrong init cares for no name.
func (t *Trial) called(name string, d dialect, s Spec) *Container {
	switch t.Init.Name {
	case "none":
		panic(failure{NoSuch, "it goes by no name"})
	case "wrong":
		return t.Start(s)
	}
	link := t.Path(name)
	if err := os.Symlink(t.Publish(t.Init.Path), link); err != nil && !os.IsExist(err) {
		t.Brokenf("%v", err)
	}
	s.Init = &Init{Name: name, Path: link, dialect: d}
	return t.Start(s)
}

// familyUnder says who of the family sees USR1 under this name, and in which session the main process is.
func familyUnder(name string, d dialect, environment []string, raw []string, session string, who ...string) func(*Trial) {
	return func(t *Trial) {
		s := Spec{Options: Options{Raw: raw}, Stage: Stage{Env: environment}, Main: t.Victim(`
say("session", "own" if os.getsid(0) == os.getpid() else "shared")` + family)}
		var c *Container
		if name == "" {
			c = t.Start(s)
		} else {
			c = t.called(name, d, s)
		}
		c.Await("main ready", "child ready", "daemon ready", "session "+session)
		c.Probe("main", "USR1")
		c.Settle("main", "child", "daemon")
		for _, w := range []string{"main", "child", "daemon"} {
			c.Said(strings.Count(strings.Join(who, " "), w), w+" got USR1")
		}
	}
}

// endsAtOnce is a check that under this name nobody is waited for once the main process has ended.
func endsAtOnce(name string, d dialect) func(*Trial) {
	return func(t *Trial) {
		c := t.called(name, d, Spec{Main: t.Victim(`
fork(program, "left", "TERM", "INT", session=True)
catch("TERM")
serve("main", TERM=(0, 3))`)})
		c.Await("main ready", "left ready")
		c.Signal("TERM")
		c.Await("main done")
		c.Ends(3)
		if took := c.endedAt.Sub(c.At("main done")); took > 4*second {
			c.Failf("ended %v after the main process", took)
		}
	}
}

// prints is a check that under this name each of the flags prints something and ends with 0.
func prints(name string, flags ...string) func(*Trial) {
	return func(t *Trial) {
		for _, flag := range flags {
			c := t.called(name, func(Options) ([]string, string) { return []string{flag}, "" }, Spec{})
			c.Ends(0)
			if out := c.stdout.String() + c.stderr.String(); len(out) < 5 {
				c.Failf("%s prints %q", flag, out)
			}
		}
	}
}

// variables are everything that an init of another name would read.
var variables = []string{"TINI_KILL_PROCESS_GROUP=1", "TINI_SUBREAPER=1", "TINI_VERBOSITY=3", "DUMB_INIT_SETSID=1", "DUMB_INIT_DEBUG=1", "CATATONIT_DEBUG=1"}

var nameChecks = []Check{
	{"names/tini", "Called tini it signals the main process alone.", familyUnder("tini", tini, nil, nil, "shared", "main")},
	{"names/tini-group", "Called tini, -g signals the group, next to -s, -v and -w.", familyUnder("tini", tini, nil, []string{"-g", "-s", "-vv", "-w"}, "shared", "main", "child")},
	{"names/tini-variable", "Called tini, TINI_KILL_PROCESS_GROUP signals the group.",
		familyUnder("tini", tini, []string{"TINI_KILL_PROCESS_GROUP=1"}, nil, "shared", "main", "child")},
	{"names/docker-init", "So it does called docker-init.",
		familyUnder("docker-init", tini, []string{"TINI_KILL_PROCESS_GROUP=1"}, nil, "shared", "main", "child")},
	{"names/tini-ends-at-once", "Called tini it waits for nobody once the main process has ended.", endsAtOnce("tini", tini)},
	{"names/tini-no-magic", "Called tini it runs a script without #!.", func(t *Trial) {
		t.called("tini", tini, Spec{Main: []string{t.Write("script", "exit 3\n", 0o755)}}).Ends(3)
	}},
	{"names/tini-environment", "Called tini its variables reach the main process.", func(t *Trial) {
		c := t.called("tini", tini, Spec{Stage: Stage{Env: []string{"TINI_SUBREAPER=1", "TINI_KILL_PROCESS_GROUP=1"}}, Main: []string{"/usr/bin/env"}})
		c.Ends(0)
		if out := c.stdout.String(); !strings.Contains(out, "TINI_SUBREAPER=1\nTINI_KILL_PROCESS_GROUP=1\n") {
			c.Failf("environment: %q", out)
		}
	}},
	{"names/tini-prints", "Called tini, -h, -l and --version print.", prints("tini", "-h", "-l", "--version")},
	{"names/dumb-init", "Called dumb-init it gives the main process a session and signals its group.",
		familyUnder("dumb-init", dumbInit, nil, nil, "own", "main", "child")},
	{"names/dumb-init-single-child", "Called dumb-init, --single-child signals the main process alone.",
		familyUnder("dumb-init", dumbInit, nil, []string{"--single-child"}, "shared", "main")},
	{"names/dumb-init-variable", "Called dumb-init, DUMB_INIT_SETSID=0 does.",
		familyUnder("dumb-init", dumbInit, []string{"DUMB_INIT_SETSID=0"}, nil, "shared", "main")},
	{"names/dumb-init-prints", "Called dumb-init, -h, --help, -V and --version print.", prints("dumb-init", "-h", "--help", "-V", "--version")},
	{"names/dumb-init-rewrite", "Called dumb-init, -r and --rewrite rewrite.", func(t *Trial) {
		c := t.called("dumb-init", dumbInit, Spec{Options: Options{Raw: []string{"-r", "15:3", "--rewrite", "1:0"}}, Main: t.Victim(`catch("TERM", "QUIT", "HUP", "RT64"); serve("main")`)})
		c.Await("main ready")
		c.Probe("main", "TERM", "HUP")
		c.Said(1, "main got QUIT")
		c.Said(0, "main got TERM", "main got HUP")
	}},
	{"names/dumb-init-ends-at-once", "Called dumb-init it waits for nobody once the main process has ended.", endsAtOnce("dumb-init", dumbInit)},
	{"names/own", "By its own name it reads no variable of its own or of another init: in a pod they belong to the image.",
		familyUnder("", nil, append([]string{"DUMB_INIT_SETSID=0"}, variables[:3]...), nil, "shared", "main")},
	{"names/own-silent", "Nor does any of them make it talk.", func(t *Trial) {
		c := t.Start(Spec{Stage: Stage{Env: variables, ProcessOne: true}, Main: []string{dash, "-c", "sleep 0.1 & exit 3"}})
		c.Ends(3)
		if out := c.stdout.String() + c.stderr.String(); out != "" {
			c.Failf("%q", out)
		}
	}},
	{"names/no-permutation", "Flags of the main process are its own, with and without --.", func(t *Trial) {
		if t.Init.Name == "none" {
			panic(failure{NoSuch, "no such option: any"})
		}
		for _, separator := range [][]string{{"--"}, {}} {
			in := Init{t.Init.Name, t.Publish(t.Init.Path), func(Options) ([]string, string) { return separator, "" }}
			c := t.Start(Spec{Init: &in, Main: []string{"/bin/echo", "-h", "--version", "-g", "--", "-s"}})
			c.Ends(0)
			if out := c.stdout.String(); out != "-h --version -g -- -s\n" {
				c.Failf("%q", out)
			}
		}
	}},
	{"names/help", "-h and --version print and end with 0; an unknown flag starts nothing.", func(t *Trial) {
		if t.Init.Name == "none" {
			panic(failure{NoSuch, "no such option: any"})
		}
		for _, flag := range []string{"-h", "--version"} {
			in := Init{t.Init.Name, t.Publish(t.Init.Path), func(Options) ([]string, string) { return []string{flag}, "" }}
			c := t.Start(Spec{Init: &in})
			c.Ends(0)
			if len(c.stdout.String()) < 10 {
				c.Failf("%s prints on standard output %q", flag, c.stdout.String())
			}
		}
		in := Init{t.Init.Name, t.Publish(t.Init.Path), func(Options) ([]string, string) { return []string{"--no-such-flag", "--"}, "" }}
		c := t.Start(Spec{Init: &in, Main: t.Victim(`say("started")`)})
		if c.Code() == 0 || !strings.Contains(c.stderr.String(), "no-such-flag") {
			c.Failf("an unknown flag is taken")
		}
		c.Said(0, "started")
	}},
	{"names/warn-on-reap", "-w writes a line for an orphan that is reaped.", func(t *Trial) {
		c := t.called("tini", tini, Spec{Options: Options{Raw: []string{"-w"}}, Main: t.Victim(`
orphan(time.sleep, 0.1, session=True)
catch("USR1")
serve("main")`)})
		c.Await("main ready")
		t.Until("a line on standard error", func() bool { return strings.Count(c.stderr.String(), "\n") == 1 })
	}},
	{"names/parent-death", "-p asks for a signal at its parent's death, which it forwards.", func(t *Trial) {
		if t.Init.Name == "none" || t.Init.Name == "wrong" {
			panic(failure{NoSuch, "no such option: -p"})
		}
		argv := append([]string{t.Publish(t.Init.Path), "-p", "USR1", "-s", "--"}, t.Victim(`catch("USR1"); serve("prog", USR1=(0, 0))`)...)
		if strings.HasPrefix(t.Init.Name, "tini") {
			argv[2] = "SIGUSR1"
		}
		none := Init{Name: "none", dialect: bare}
		c := t.Start(Spec{Init: &none, Stage: Stage{Env: []string{"ARGV=" + strings.Join(argv, "\x01")}}, Main: t.Victim(`
def parent():
	default(*CATCHABLE)
	fork(run, os.environ["ARGV"].split("\x01"))
	catch("USR2")
	serve("parent", USR2=(0, 0))
pid = fork(parent)
catch("RT50")
serve("main", RT50=lambda: os.kill(pid, NUMBER["USR2"]))`)})
		c.Await("prog ready", "parent ready", "main ready")
		c.Signal("RT50")
		c.Await("parent done", "prog got USR1", "prog done")
	}},
}
