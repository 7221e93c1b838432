package main

import (
	"slices"
	"testing"
	"time"
)

const grace = 5 * time.Second

// tree is a bash script of one wrapper around one program.
func tree(wrapperName, trap, signal string, stop bool, p Program) *Tree {
	p.Name = "P"
	return &Tree{Layers: []Layer{{Wrapper: wrapper(wrapperName), Shell: "bash", Form: "-c", Trap: trap}}, Programs: []Program{p}, Signal: signal, Stop: stop, Times: 1}
}

func ran(code int, took time.Duration, fate Fate) Outcome {
	fate.Up = 1
	output := map[string]bool{}
	if fate.Done > 0 {
		output["P says done"] = true
	}
	if fate.Finished > 0 {
		output["P says finished"] = true
	}
	return Outcome{Code: code, Took: took, Programs: map[string]Fate{"P": fate}, Output: output}
}

func stillRuns(fate Fate) Outcome {
	o := ran(137, grace, fate)
	o.Killed, o.MainAlive, o.Alive = true, true, map[string]int{"P": 1}
	return o
}

func with(o Outcome, layer, said string, times int) Outcome {
	o.Programs[layer] = Fate{Said: map[string]int{said: times}}
	return o
}

func TestJudge(t *testing.T) {
	once := Program{Kind: "once", Catch: []string{"TERM", "INT"}, Shut: 0.5}
	reloads := Program{Kind: "handler", Catch: []string{"TERM"}, Reload: []string{"HUP"}}
	quits := Program{Kind: "handler", Catch: []string{"TERM", "QUIT"}}
	job := Program{Kind: "default", Natural: true}
	var (
		term     = []string{"TERM"}
		nothing  = Fate{}
		done     = Fate{Got: term, Done: 1}
		twiceGot = Fate{Got: []string{"TERM", "TERM"}, Left: 1}
		finished = Fate{Finished: 1}
	)
	forward := tree("forward", "TERM", "TERM", true, once)
	below := tree("foreground", "", "TERM", true, once)
	usr1 := tree("foreground", "", "USR1", false, Program{Kind: "default"})
	hup := tree("reload", "HUP", "HUP", false, reloads)
	loop := tree("worker loop", "TERM", "TERM", true, job)
	leave := tree("leave", "", "TERM", true, once)
	leave.Leave = true
	exits := tree("forward and exit", "TERM", "TERM", true, Program{Kind: "once", Catch: term, Shut: 0.2})
	pipe := tree("pipe to tee", "", "TERM", true, Program{Kind: "handler", Catch: term, Shut: 0.1})
	silent := ran(143, time.Second, done)
	silent.Output = nil
	early := ran(0, 0, nothing)
	early.Early = true

	inner := tree("foreground", "", "USR1", false, Program{Kind: "default"})
	inner.Layers = append(inner.Layers, tree("forward", "USR1", "USR1", false, Program{}).Layers...)

	for name, tt := range map[string]struct {
		tree             *Tree
		none, tini, ours Outcome
		want             []string
	}{
		"the same everywhere":            {forward, ran(0, 2*time.Second, done), ran(0, 2*time.Second, done), ran(0, 2*time.Second, done), nil},
		"notified twice, left its work":  {forward, ran(0, 2*time.Second, done), ran(0, 2*time.Second, done), ran(3, 2*time.Second, twiceGot), []string{cut, code, twice, lost}},
		"notified twice by all":          {exits, ran(0, 0, twiceGot), ran(0, 0, nothing), ran(0, 0, Fate{Got: []string{"TERM", "TERM"}, Done: 1}), nil},
		"INT, and then TERM":             {tree("forward and exit", "INT", "INT", true, once), ran(0, 0, nothing), ran(0, 0, nothing), ran(0, 0, Fate{Got: []string{"INT", "TERM"}, Done: 1}), []string{twice}},
		"notified, after nobody was":     {below, stillRuns(nothing), ran(143, 0, nothing), ran(143, 2500*time.Millisecond, done), nil},
		"never notified":                 {below, stillRuns(nothing), ran(143, 0, nothing), ran(143, 0, nothing), []string{notNotified}},
		"never ended":                    {tree("foreground", "", "TERM", true, Program{Kind: "default"}), stillRuns(nothing), ran(143, 0, nothing), stillRuns(nothing), []string{tooLate, notEnded}},
		"default, ended at once":         {tree("exec", "", "TERM", true, Program{Kind: "default"}), stillRuns(nothing), ran(143, 0, nothing), ran(143, 0, nothing), nil},
		"another exit code":              {forward, ran(0, 2*time.Second, done), ran(0, 2*time.Second, done), ran(143, 2*time.Second, done), []string{code}},
		"tini's exit code":               {below, ran(0, 0, done), ran(143, 0, done), ran(143, 0, done), nil},
		"awaited beyond the others' end": {exits, ran(0, 0, Fate{Got: term}), ran(0, 0, Fate{Got: term}), ran(0, 3*time.Second, done), nil},
		"beyond the grace period":        {below, stillRuns(nothing), ran(143, 0, nothing), ran(143, 8*time.Second, done), []string{tooLate}},
		"left by a shell, notified late": {tree("trap exit, background", "TERM", "TERM", true, quick), ran(0, 0, nothing), ran(0, 0, nothing), ran(0, 4*time.Second, done), nil},
		"much later":                     {tree("exec", "", "TERM", true, Program{Kind: "handler", Catch: term}), ran(0, 0, done), ran(0, 0, done), ran(0, 4*time.Second, done), []string{tooLate}},
		"its output is lost":             {pipe, stillRuns(nothing), ran(143, 0, nothing), silent, []string{cut}},
		"cut by a dead pipe":             {pipe, stillRuns(nothing), ran(143, 0, nothing), ran(143, 0, Fate{Got: term}), []string{cut}},

		"a job is finished":             {loop, with(ran(0, 3*time.Second, finished), "L1", "stopped", 1), with(ran(0, 3*time.Second, finished), "L1", "stopped", 1), with(ran(0, 3*time.Second, finished), "L1", "stopped", 1), nil},
		"a job is cut":                  {loop, with(ran(0, 3*time.Second, finished), "L1", "stopped", 1), with(ran(0, 3*time.Second, finished), "L1", "stopped", 1), with(ran(0, 2*time.Second, nothing), "L1", "stopped", 1), []string{lost}},
		"a trap's work is lost":         {loop, with(ran(0, 3*time.Second, finished), "L1", "stopped", 1), with(ran(0, 3*time.Second, finished), "L1", "stopped", 1), ran(0, 3*time.Second, finished), []string{lost}},
		"a trap runs twice":             {hup, with(stillRuns(nothing), "L1", "reload", 1), with(stillRuns(nothing), "L1", "reload", 1), with(stillRuns(nothing), "L1", "reload", 2), []string{twice}},
		"a shell's signal is passed on": {hup, with(stillRuns(nothing), "L1", "reload", 1), with(stillRuns(nothing), "L1", "reload", 1), with(stillRuns(Fate{Got: []string{"HUP"}}), "L1", "reload", 1), []string{twice}},
		"a reload kills":                {hup, with(stillRuns(nothing), "L1", "reload", 1), with(stillRuns(nothing), "L1", "reload", 1), with(ran(129, 0, nothing), "L1", "reload", 1), []string{killed}},

		"a signal that PID 1 ignores":      {usr1, stillRuns(nothing), ran(138, 0, nothing), stillRuns(nothing), nil},
		"a signal that kills":              {usr1, stillRuns(nothing), ran(138, 0, nothing), ran(138, 0, nothing), []string{killed}},
		"a program is gone":                {usr1, stillRuns(nothing), ran(138, 0, nothing), func() Outcome { o := stillRuns(nothing); o.Alive = nil; return o }(), []string{killed}},
		"a signal reaches who catches":     {tree("foreground", "", "HUP", false, reloads), stillRuns(nothing), ran(129, 0, nothing), stillRuns(Fate{Got: []string{"HUP"}}), nil},
		"it ends by its own handler":       {tree("foreground", "", "QUIT", false, quits), stillRuns(nothing), ran(131, 0, nothing), ran(0, 0, Fate{Got: []string{"QUIT"}, Done: 1}), nil},
		"it was a TERM that ended it":      {tree("foreground", "", "QUIT", false, quits), stillRuns(nothing), ran(131, 0, nothing), ran(131, 0, Fate{Got: []string{"QUIT", "TERM"}, Done: 1}), []string{killed, twice}},
		"a reload, and TERM":               {tree("two programs, wait -n", "", "HUP", false, Program{Kind: "handler", Catch: term, Reload: []string{"HUP"}}), early, early, ran(0, 0, Fate{Got: []string{"HUP", "TERM"}, Done: 1}), nil},
		"an inner wrapper forwards it":     {inner, stillRuns(nothing), ran(138, 0, nothing), ran(0, 0, nothing), nil},
		"INT ends who does not handle it":  {tree("exec", "", "INT", false, Program{Kind: "default"}), stillRuns(nothing), ran(130, 0, nothing), ran(130, 0, nothing), nil},
		"a signal does not reach it":       {tree("exec", "", "HUP", false, reloads), stillRuns(Fate{Got: []string{"HUP"}}), stillRuns(Fate{Got: []string{"HUP"}}), stillRuns(nothing), []string{notNotified}},
		"left behind, notified once":       {leave, early, early, ran(0, 2*time.Second, done), nil},
		"left behind, notified once more":  {leave, early, early, ran(0, 2*time.Second, twiceGot), []string{cut, twice}},
		"kept waiting until the very end":  {tree("trap echo, foreground", "TERM", "TERM", true, quick), stillRuns(nothing), stillRuns(nothing), stillRuns(nothing), []string{notNotified}},
		"kept waiting, notified in time":   {tree("trap echo, foreground", "TERM", "TERM", true, quick), stillRuns(nothing), stillRuns(nothing), ran(0, 4*time.Second, done), nil},
		"what is left is awaited":          {tree("trap exit, background", "HUP", "HUP", false, Program{Kind: "ignore"}), ran(0, 0, nothing), ran(0, 0, nothing), func() Outcome { o := stillRuns(nothing); o.MainAlive = false; return o }(), nil},
		"the main process did not exit":    {tree("trap exit, background", "HUP", "HUP", false, Program{Kind: "ignore"}), ran(0, 0, nothing), ran(0, 0, nothing), stillRuns(nothing), []string{tooLate}},
		"both end by themselves, we don't": {forward, ran(0, 2*time.Second, done), ran(0, 2*time.Second, done), stillRuns(done), []string{tooLate, notEnded}},
	} {
		got := kinds(Judge(tt.tree, tt.none, tt.tini, tt.ours, grace))
		slices.Sort(tt.want)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// quick needs next to no time to end.
var quick = Program{Kind: "handler", Catch: []string{"TERM"}, Shut: 0.02}

func TestFates(t *testing.T) {
	got := fates("P 2 up\nP 2 got TERM\nP 9 up\nL1 reload\nP 9 got INT\nP 9 got TERM\nP 9 left\nL1 reload\nP 2 done\n")
	p := got["P"]
	if p.Up != 2 || !slices.Equal(p.Got, []string{"INT", "TERM"}) || p.Done != 1 || p.Left != 1 || got["L1"].Said["reload"] != 2 {
		t.Errorf("%+v", got)
	}
}

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{"/bin/sh": "/bin/sh", "": "''", "a b": "'a b'", "trap '' TERM": `'trap '\'''\'' TERM'`} {
		if got := quote(word); got != want {
			t.Errorf("%q: %s", word, got)
		}
	}
}

// TestGenerate: a tree comes from its seed and number alone, and some hundreds go through everything there is.
func TestGenerate(t *testing.T) {
	type dimension struct{ of, value string }
	seen := map[dimension]int{}
	for n := range 400 {
		tr := Generate(1, n)
		if again := Generate(1, n); tr.String() != again.String() {
			t.Fatalf("%s and then %s", tr, again)
		}
		for i := range tr.Layers {
			l := &tr.Layers[i]
			seen[dimension{"wrapper", l.Name}]++
			seen[dimension{"shell", l.Shell}]++
			seen[dimension{"form", l.Form}]++
		}
		for i := range tr.Programs {
			p := &tr.Programs[i]
			seen[dimension{"program", p.Kind}]++
			if p.Natural && tr.Finish > 0.75 {
				t.Errorf("%s: beyond the bound that the law states", tr)
			}
		}
		seen[dimension{"signal", tr.Signal}]++
		if tr.Stop {
			seen[dimension{"stop signal", tr.Signal}]++
		}
	}
	for _, w := range wrappers {
		if seen[dimension{"wrapper", w.Name}] < 3 {
			t.Errorf("wrapper %s: %d times", w.Name, seen[dimension{"wrapper", w.Name}])
		}
	}
	for of, values := range map[string][]string{"shell": shells, "form": forms, "program": programKinds, "signal": signals, "stop signal": signals} {
		for _, v := range values {
			if seen[dimension{of, v}] < 10 {
				t.Errorf("%s %s: %d times", of, v, seen[dimension{of, v}])
			}
		}
	}
}

// TestPath: where a signal goes, from the outermost wrapper to the programs.
func TestPath(t *testing.T) {
	two := tree("foreground", "", "INT", true, quick)
	two.Layers = append(two.Layers, tree("forward TERM", "INT", "INT", true, quick).Layers...)
	for name, tt := range map[string]struct {
		tree *Tree
		want Path
	}{
		"nobody handles it":       {tree("foreground", "", "TERM", true, quick), Path{Signal: "TERM"}},
		"a trap for another":      {tree("trap echo, foreground", "HUP", "TERM", true, quick), Path{Signal: "TERM"}},
		"a trap that waits":       {tree("trap echo, foreground", "TERM", "TERM", true, quick), Path{Signal: "TERM", Shielded: true, Keeps: Defers}},
		"ignored":                 {tree("ignore", "TERM", "TERM", true, quick), Path{Signal: "TERM", Shielded: true, Keeps: Ignores}},
		"forwarded as another":    {two, Path{Signal: "TERM"}},
		"the shell leaves":        {tree("trap exit, background", "HUP", "HUP", true, quick), Path{Signal: "TERM", Left: true}},
		"bash with another trap":  {tree("trap echo, foreground", "TERM", "INT", true, quick), Path{Signal: "INT", Unsure: true}},
		"bash without, as by ^C":  {tree("foreground", "", "INT", true, quick), Path{Signal: "INT"}},
		"forwarded and then left": {tree("forward and exit", "TERM", "TERM", true, quick), Path{Signal: "TERM", Left: true}},
	} {
		if got := tt.tree.Path(); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}
