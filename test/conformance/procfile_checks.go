package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// procfile starts a main process that reports all signals and leaves on TERM with 0, beside the programs of a Procfile.
func (t *Trial) procfile(text string, main ...string) *Container {
	if len(main) == 0 {
		main = t.Victim(`catch("TERM", "USR1", "RT64"); serve("main", TERM=(0, 0), USR1=(0, 4))`)
	}
	return t.Start(Spec{Options: Options{Procfile: t.Write("Procfile", text, 0o644)}, Main: main})
}

// programs writes one victim for each of the names, which catches TERM and leaves with the given codes.
func (t *Trial) programs(codes ...int) (text string, ready []string) {
	for i, code := range codes {
		name := fmt.Sprintf("p%d", i)
		script := t.VictimScript(name, fmt.Sprintf(`catch("TERM", "USR1"); serve("%s", TERM=(0.5, %d), USR1=(0, %d))`, name, code, code))
		text += name + ": exec " + script + "\n"
		ready = append(ready, name+" ready")
	}
	return text, ready
}

var procfileChecks = []Check{
	{"procfile/beside", "Every program of a Procfile runs beside the main process; comments and blank lines are nothing.", func(t *Trial) {
		text, ready := t.programs(0, 0)
		c := t.procfile("# two programs\n\n" + text + "\n  \n#p9: nothing\n")
		c.Await(append(ready, "main ready")...)
		c.Signal("TERM")
		c.Ends(0)
		c.Said(1, "main got TERM", "p0 got TERM", "p1 got TERM", "p0 done", "p1 done")
	}},
	{"procfile/main-ends", "When the main process ends the programs are stopped, told once, and its failure is the code.", func(t *Trial) {
		text, ready := t.programs(0, 0)
		c := t.procfile(text)
		c.Await(append(ready, "main ready")...)
		c.killNamed("python3", "USR1")
		c.Ends(4)
		c.Said(1, "p0 got TERM", "p1 got TERM", "p0 done", "p1 done")
	}},
	{"procfile/program-ends", "When a program ends everything is stopped, and the first failure is the code.", func(t *Trial) {
		text, ready := t.programs(3, 5)
		c := t.procfile(text)
		c.Await(append(ready, "main ready")...)
		c.killNamed("p0", "USR1")
		c.Ends(3)
		c.Said(1, "main got TERM", "p1 got TERM", "p1 done")
	}},
	{"procfile/first-failure", "A program that ends well stops the rest; of the rest the first failure is the code.", func(t *Trial) {
		text, ready := t.programs(0, 5)
		c := t.procfile(text)
		c.Await(append(ready, "main ready")...)
		c.killNamed("p0", "USR1")
		c.Ends(5)
		c.Said(1, "main got TERM", "p1 got TERM")
	}},
	{"procfile/killed", "A program that a signal killed is a failure of 128 and the signal's number.", func(t *Trial) {
		text, ready := t.programs(0)
		c := t.procfile(text)
		c.Await(append(ready, "main ready")...)
		c.killNamed("p0", "KILL")
		c.Ends(137)
	}},
	{"procfile/shell", "A command is a shell's, and each has a group of its own and the container's environment.", func(t *Trial) {
		c := t.procfile(`group: echo group $(cut -d" " -f5 /proc/$$/stat) $$ >$JOURNAL; exec sleep 300
variables: echo variables $(env) >$JOURNAL; exec sleep 300
`, t.Victim(`catch("TERM", "RT64"); serve("main", TERM=(0, 0))`)...)
		c.Await("main ready")
		t.Until("both have said what they see", func() bool {
			return strings.Contains(c.Journal.String(), "group ") && strings.Contains(c.Journal.String(), "variables ")
		})
		f := strings.Fields(c.Value("group "))
		if len(f) != 2 || f[0] != f[1] {
			c.Failf("group and pid: %v", f)
		}
		if seen := c.Value("variables "); strings.Contains(seen, "PORT=") || !strings.Contains(seen, "JOURNAL="+c.Journal.Path) {
			c.Failf("environment")
		}
		c.Signal("TERM")
		c.Ends(0)
	}},
	{"procfile/lines", "Lines of output keep their program's name and are not mixed, written in however small pieces.", func(t *Trial) {
		const n = 200
		var text string
		for _, name := range []string{"web", "worker-2"} {
			script := t.VictimScript(name, fmt.Sprintf(`
for i in range(%d):
	for piece in ("%s", " line ", str(i), " of it\n"):
		os.write(1, piece.encode())
	time.sleep(0.001)
say("%s written")
catch("TERM")
serve("%s", TERM=(0, 0))`, n, name, name, name))
			text += name + ": exec " + script + "\n"
		}
		c := t.procfile(text)
		c.Await("web written", "worker-2 written", "main ready")
		c.Signal("TERM")
		c.Ends(0)
		out := c.stdout.String()
		for _, name := range []string{"web", "worker-2"} {
			for i := range n {
				if !regexp.MustCompile(fmt.Sprintf(`(?m)^%s +\| %s line %d of it$`, name, name, i)).MatchString(out) {
					c.Failf("line %d of %s is not whole: %q", i, name, clip(out, 300))
				}
			}
		}
		if lines := strings.Count(out, "\n"); lines != 2*n {
			c.Failf("%d lines, want %d", lines, 2*n)
		}
	}},
	{"procfile/last-words", "What a program writes last, without a line end, is not lost.", func(t *Trial) {
		c := t.procfile("p: printf 'last words'; exit 3\n")
		c.Ends(3)
		if !regexp.MustCompile(`(?m)^p +\| last words$`).MatchString(c.stdout.String()) {
			c.Failf("standard output: %q", c.stdout.String())
		}
	}},
	{"procfile/malformed", "A malformed file is refused before anything starts, with line and reason.", func(t *Trial) {
		for _, text := range []string{"ok: echo started >$JOURNAL\nno colon here\n", "ok: echo started >$JOURNAL\n: no name\n", "ok: echo started >$JOURNAL\nempty:\n"} {
			c := t.procfile(text, t.Victim(`say("started")`)...)
			if c.Code() == 0 {
				c.Failf("%q is taken", text)
			}
			c.Said(0, "started")
			if !strings.Contains(c.stderr.String(), "2") || !strings.Contains(c.stderr.String(), "Procfile") {
				c.Failf("standard error does not name the file and line 2")
			}
		}
		c := t.Start(Spec{Options: Options{Procfile: t.Path("absent")}, Main: t.Victim(`say("started")`)})
		if c.Code() == 0 {
			c.Failf("an absent file is taken")
		}
		c.Said(0, "started")
	}},
	{"procfile/stuck-output", "A standard output that takes nothing more stops neither signals nor the end.", func(t *Trial) {
		full := fullPipe(t)
		chatty := t.VictimScript("chatty", `
fork(lambda: [os.write(1, b"x" * 4000 + b"\n") for _ in range(1000)])
catch("TERM", "RT64")
serve("chatty", TERM=(0, 0))`)
		c := t.Start(Spec{
			Options: Options{Procfile: t.Write("Procfile", "chatty: exec "+chatty+"\n", 0o644), Grace: 4 * second},
			Stdout:  full, Stderr: full,
			Main: t.Victim(`catch("TERM", "RT64"); serve("main", TERM=(0, 6))`),
		})
		c.Await("chatty ready", "main ready")
		c.quiet(time.Second)
		c.Probe("main", "RT64")
		c.Signal("TERM")
		c.Await("chatty done", "main done")
		c.Ends(6)
	}},
}
