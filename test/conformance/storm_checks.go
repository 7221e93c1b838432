package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// memory is what a process holds, in kB: resident, and of that anonymous.
func memory(pid int) (rss, anonymous int) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.Atoi(f[1])
		switch f[0] {
		case "Rss:":
			rss = n
		case "Anonymous:":
			anonymous = n
		}
	}
	return rss, anonymous
}

// growth is how much anonymous memory an init may take while it works, once and for all, in kB.
const growth = 64

// keepsMemory runs a storm and fails when the second half of it made the init bigger than the first.
func (c *Container) keepsMemory(storm func(half int)) {
	storm(1)
	_, before := memory(c.PID)
	storm(2)
	rss, after := memory(c.PID)
	c.trial.Figure("anonymous memory %d kB halfway, %d kB at the end; resident %d kB", before, after, rss)
	if after > before+growth {
		c.Failf("anonymous memory grew from %d to %d kB", before, after)
	}
}

var stormChecks = []Check{
	{"storm/orphans", "Thousands of short orphans leave no zombie, do not make the init bigger, and lose no code.", func(t *Trial) {
		half := t.Size.Orphans / 2
		t.Size.Patience *= 10 // much is to be done between two conditions
		c := t.Start(Spec{Main: t.Victim(fmt.Sprintf(`
catch("USR1", "USR2")
def storm():
	def fifty():
		for _ in range(50):
			if os.fork() == 0:
				os._exit(1)
	for _ in range(%d):
		os.waitpid(fork(fifty), 0)
	say("main stormed")
serve("main", %d, USR1=storm, USR2=(0, 77))`, half/50, 3*int(t.Size.Patience.Seconds())))}) // two storms, and what is between
		c.Await("main ready")
		start := time.Now()
		c.keepsMemory(func(n int) {
			c.Signal("USR1")
			c.AwaitTimes("main stormed", n)
			t.Until("no zombie is left", func() bool { return c.zombies() == 0 && len(c.processes()) <= 2 })
		})
		t.Figure("%d orphans in %.1f s", 2*half, time.Since(start).Seconds())
		c.Signal("USR2")
		c.Ends(77)
	}},
	{"storm/signals", "Thousands of real-time signals among orphans that end are all delivered, each once, and do not make the init bigger.", func(t *Trial) {
		half := t.Size.Signals / 2
		t.Size.Patience *= 10
		c := t.Start(Spec{Main: t.Victim(`
def orphans():
	while True:
		fork(lambda: fork(lambda: None))
		os.waitpid(-1, 0)
		time.sleep(0.002)
fork(orphans)
watch = ["RT%d" % n for n in range(34, 65)]
catch("USR2", *watch)
numbers = {NUMBER[n] for n in watch}
say("main ready")
count = 0
while True:
	info = signal.sigwaitinfo(numbers | {NUMBER["USR2"]})
	if info.si_signo == NUMBER["USR2"]:
		os._exit(77)
	if info.si_signo == 64:
		say("main counts", count)
	else:
		count += 1
`)})
		c.Await("main ready")
		start := time.Now()
		c.keepsMemory(func(n int) {
			for i := range half {
				c.Signal(signalName(34 + i%30))
			}
			c.Signal(barrier)
			c.Await(fmt.Sprintf("main counts %d", n*half))
		})
		t.Figure("%d signals in %.1f s", 2*half, time.Since(start).Seconds())
		c.Signal("USR2")
		c.Ends(77)
	}},
	{"storm/mains", "Hundreds of main processes that end within microseconds of a grandchild all keep their code.", func(t *Trial) {
		for i := range t.Size.Mains {
			code := 1 + i%250
			c := t.Start(Spec{Main: []string{dash, "-c", fmt.Sprintf("( (exit 255) & (exit 254) & ) & (exit 253) & exit %d", code)}})
			c.Ends(code)
			c.forget()
		}
		t.Figure("%d main processes", t.Size.Mains)
	}},
}

var idleChecks = []Check{
	{"idle/threads", "The init is one thread; every thread counts against the pod's limit of processes.", func(t *Trial) {
		c := t.idle()
		rss, anonymous := memory(c.PID)
		t.Figure("resident %d kB, anonymous %d kB", rss, anonymous)
		if n := status(c.PID, "Threads"); n != "1" {
			c.Failf("%s threads", n)
		}
	}},
	{"idle/wake-ups", "With nothing to do it never wakes up.", func(t *Trial) {
		c := t.idle()
		switches := func() (n int) {
			tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", c.PID))
			for _, task := range tasks {
				tid, _ := strconv.Atoi(task.Name())
				for _, field := range []string{"voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"} {
					m, _ := strconv.Atoi(status(tid, field))
					n += m
				}
			}
			return n
		}
		before := switches()
		c.quiet(t.Size.Idle)
		n := switches() - before
		t.Figure("%d wake-ups in %v", n, t.Size.Idle)
		if n != 0 {
			c.Failf("%d wake-ups in %v", n, t.Size.Idle)
		}
	}},
}

// idle starts a container that does nothing, and waits until the init has done all it does at the start.
func (t *Trial) idle() *Container {
	c := t.Start(Spec{Main: t.Victim(`catch("TERM"); serve("main")`)})
	c.Await("main ready")
	c.quiet(second)
	return c
}
