package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// A Violation of the law.
type Violation struct {
	Kind, Subject string // Subject is a program or a wrapper, or empty for the container
	Detail        string
}

// what is the violation without what may differ between two runs.
func (v Violation) what() Violation { return Violation{Kind: v.Kind, Subject: v.Subject} }

// The kinds of violations.
const (
	killed      = "killed"       // it would have lived
	twice       = "twice"        // notified more often
	lost        = "work lost"    // work that would have been finished
	code        = "exit code"    // another one
	tooLate     = "late"         // ended later, or had to be killed
	notNotified = "not notified" // a signal that it catches did not reach it
	notEnded    = "not ended"    // the stop signal did not end what it should
	cut         = "cut"          // notified, and not left the time that there was
)

// slack is what a busy machine may need longer.
const slack = 2 * time.Second

// Judge compares an outcome with the two that it must not be worse than. It is a pure function.
func Judge(t *Tree, none, tini, ours Outcome, grace time.Duration) []Violation {
	j := judgement{Tree: t, none: none, tini: tini, ours: ours, path: t.Path()}
	j.notified()
	j.work()
	j.survivors()
	if j.ends() || j.none.Killed || !j.none.Died { // else the kernel has not spared PID 1, and to live on is no worse
		j.code()
		j.time(grace)
	}
	j.purpose()
	return unique(j.found)
}

type judgement struct {
	*Tree
	none, tini, ours Outcome
	path             Path
	found            []Violation
}

func (j *judgement) add(kind, subject, format string, arguments ...any) {
	j.found = append(j.found, Violation{kind, subject, fmt.Sprintf(format, arguments...)})
}

// names are all processes of the tree's programs.
func (j *judgement) names() (names []string) {
	for i := range j.Programs {
		names = append(names, j.Programs[i].names()...)
	}
	return names
}

// notified: no process gets more signals than under the one of the two that gave it more, or than were sent. Those that
// ask it to end are counted for themselves: a reload is no reason to leave.
func (j *judgement) notified() {
	early := j.none.Early && j.tini.Early
	for _, name := range j.names() {
		has := j.ours.Programs[name].Got
		for _, ends := range []bool{true, false} {
			of := func(got []string) (out []string) {
				for _, signal := range got {
					if j.endsOn(name, signal) == ends {
						out = append(out, signal)
					}
				}
				return out
			}
			had := max(len(of(j.none.Programs[name].Got)), len(of(j.tini.Programs[name].Got)))
			limit := max(had, j.Times)
			if early && ends {
				limit = max(had, 1) // it is left when the main process has ended, and notified for that
			} else if j.path.Shielded && !j.ends() {
				limit = had // what a shell catches, it gets alone
				if ends && !j.ours.MainAlive && !j.ours.Killed {
					limit = max(had, 1) // the main process ended for it, and what it left is notified
				}
			}
			if j.groups() {
				limit++ // once more by a wrapper, which the kernel or the wrapper's own end may keep from being seen
			}
			if got := of(has); len(got) > limit {
				j.add(twice, name, "%d times (%s) instead of %d", len(got), strings.Join(got, ", "), limit)
			}
		}
		had := max(len(j.none.Programs[name].Got), len(j.tini.Programs[name].Got))
		if len(has) == 0 && had > 0 && j.ours.Programs[name].Up > 0 {
			j.add(notNotified, name, "no signal reached it")
		}
	}
	for layer, fate := range j.ours.Programs {
		for said, n := range fate.Said {
			if said == "job" {
				continue // as often as the time allows
			}
			had := max(j.none.Programs[layer].Said[said], j.tini.Programs[layer].Said[said])
			if limit := max(had, j.Times); n > limit {
				j.add(twice, layer, "%q %d times instead of %d", said, n, limit)
			}
		}
	}
}

// work: what either of the two finished is finished.
func (j *judgement) work() {
	for _, base := range []Outcome{j.none, j.tini} {
		for _, name := range j.names() {
			had, has := base.Programs[name], j.ours.Programs[name]
			switch {
			case had.Finished > 0 && has.Finished == 0:
				j.add(lost, name, "it did not finish its work")
			case had.Done > 0 && has.Done+has.Finished == 0:
				j.add(lost, name, "it did not finish its shutdown")
			case base.Output[name+" says done"] && !j.ours.Output[name+" says done"] && has.Finished == 0:
				j.add(lost, name, "its last output did not arrive")
			case base.Output[name+" says finished"] && !j.ours.Output[name+" says finished"]:
				j.add(lost, name, "its last output did not arrive")
			}
		}
		for layer, fate := range base.Programs {
			for said := range fate.Said {
				if j.ours.Programs[layer].Said[said] == 0 && (j.handled(layer) || !j.ends()) && !j.someLeft() {
					j.add(lost, layer, "it did not come to %q", said)
				}
			}
		}
	}
}

// leftByItself says whether a process that no wrapper shields from the signal ended by its own handler for it.
func (j *judgement) leftByItself(name string) bool {
	if j.path.Shielded || !j.endsOn(name, j.path.Signal) {
		return false
	}
	f := j.ours.Programs[name]
	other := slices.ContainsFunc(f.Got, func(signal string) bool { return signal != j.path.Signal })
	return len(f.Got) > 0 && !other && f.Done+f.Left > 0
}

func (j *judgement) someLeft() bool { return slices.ContainsFunc(j.names(), j.leftByItself) }

// survivors: an ordinary signal ends nobody who would have lived, except by a handler of the program's own.
func (j *judgement) survivors() {
	if j.Stop || j.Leave {
		return
	}
	mayEnd := j.ends() && !j.path.Shielded || j.someLeft() || j.innerDecides()
	for _, base := range []Outcome{j.none, j.tini} {
		if base.Killed && !j.ours.Killed && !mayEnd {
			j.add(killed, "", "the container ended with %d", j.ours.Code)
		}
		for _, name := range j.names() {
			f := j.ours.Programs[name]
			if j.ours.Alive[name] < base.Alive[name] && j.ours.Alive[name] < f.Up && !mayEnd {
				j.add(killed, name, "it is gone")
			}
		}
	}
}

// code: the exit code is that of one of the two, unless both had to be killed.
// Where podinit notifies what unshare has started instead of unshare, that ends with its child's code, not by the signal.
// A container that an ordinary signal need not end has no exit code to compare with.
func (j *judgement) code() {
	if j.ours.Killed || !j.Stop && (j.none.Killed || j.tini.Killed) {
		return
	}
	var codes []int
	for _, base := range []Outcome{j.none, j.tini} {
		if !base.Killed && !(base.Code >= 128 && j.none.Killed && j.has("unshare")) {
			codes = append(codes, base.Code)
		}
	}
	if len(codes) > 0 && !slices.Contains(codes, j.ours.Code) {
		j.add(code, "", "%d instead of %d", j.ours.Code, codes)
	}
}

// time: not later than the later of the two, except to await what is left, and never beyond the grace period.
func (j *judgement) time(grace time.Duration) {
	bothEnded := !j.none.Killed && !j.tini.Killed
	oneEnded := !j.none.Killed || !j.tini.Killed
	switch {
	case j.Leave:
	case j.ours.Killed && (j.Stop && oneEnded || bothEnded && j.ours.MainAlive):
		j.add(tooLate, "", "it had to be killed")
	case bothEnded && !j.ours.Killed && !j.awaits():
		limit := max(j.none.Took, j.tini.Took) + slack
		if j.ours.Took > limit {
			j.add(tooLate, "", "%.1f s instead of %.1f s", j.ours.Took.Seconds(), limit.Seconds())
		}
	}
	if j.Stop && !j.Leave && j.ours.Took > grace+slack {
		j.add(tooLate, "", "%.1f s, beyond the grace period", j.ours.Took.Seconds())
	}
}

// awaits says whether a program may be left when the main process has ended that takes its time, or that is not notified
// again at once, as a script that sends signals may have done so.
func (j *judgement) awaits() bool {
	if slices.ContainsFunc(j.Layers, func(l Layer) bool { return l.Wrapper != nil && strings.Contains(l.Script, "kill") }) {
		return true
	}
	return slices.ContainsFunc(j.Programs, func(p Program) bool { return p.Shut > 0.1 || p.Kind == "ignore" || p.Kind == "leave" }) || j.path.Shielded || j.path.Left
}

// purpose: what podinit is for. The stop signal ends what does not handle it; what handles it is notified and has the
// time that there is.
func (j *judgement) purpose() {
	if !j.Stop || j.path.Unsure {
		return
	}
	if j.path.Shielded {
		j.late()
		return
	}
	ends := true
	for i := range j.Programs {
		p := &j.Programs[i]
		catches := p.catches(j.path.Signal) && !slices.Contains(p.Reload, j.path.Signal)
		inherited := j.Layers[len(j.Layers)-1].Background && (j.path.Signal == "INT" || j.path.Signal == "QUIT")
		switch {
		case p.Kind == "ignore", p.Kind == "tell" || p.Kind == "leave" || p.Kind == "daemon",
			slices.Contains(p.Reload, j.path.Signal),
			!catches && (inherited || j.path.Signal == "WINCH"):
			ends = false
			continue
		case !catches:
			continue
		}
		f := j.ours.Programs[p.Name]
		limit := 0.8
		if j.path.Left {
			limit = 0.3
		}
		if len(f.Got) == 0 {
			j.add(notNotified, p.Name, "it catches %s", j.path.Signal)
		} else if p.Shut <= limit && j.Times == 1 && f.Done == 0 && !j.groups() {
			j.add(cut, p.Name, "it was notified and did not finish its shutdown")
		} else if f.Done > 0 && !j.ours.Output[p.Name+" says done"] {
			j.add(cut, p.Name, "its last output did not arrive")
		}
		if p.Shut > limit {
			ends = false
		}
	}
	if ends && j.ours.Killed {
		j.add(notEnded, "", "it ran until it was killed")
	}
}

// late: what a shell kept waiting is notified before SIGKILL, early enough for a quick end.
func (j *judgement) late() {
	if j.path.Keeps == Handles || j.Times > 1 || j.Finish > 0 {
		return
	}
	for i := range j.Programs {
		p := &j.Programs[i]
		if slices.Contains(p.Catch, "TERM") && slices.Contains(p.Catch, j.Signal) && p.Shut < 0.05 && p.Kind != "daemon" && j.ours.Programs[p.Name].Done == 0 {
			j.add(notNotified, p.Name, "the shell kept it waiting until SIGKILL")
		}
	}
}

// unique drops what was found twice.
func unique(found []Violation) (out []Violation) {
	for _, v := range found {
		if !slices.ContainsFunc(out, func(o Violation) bool { return o.what() == v.what() }) {
			out = append(out, v)
		}
	}
	return out
}

// kinds of some violations, each once.
func kinds(violations []Violation) []string {
	set := map[string]bool{}
	for _, v := range violations {
		set[v.Kind] = true
	}
	return slices.Sorted(maps.Keys(set))
}

func byKind(count map[string]int) string {
	if len(count) == 0 {
		return ""
	}
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(count)) {
		out = append(out, fmt.Sprintf("%s: %d", kind, count[kind]))
	}
	return " (" + strings.Join(out, ", ") + ")"
}

// print shows a tree, its outcomes and what is wrong with them.
func (r *Result) print(w io.Writer, inits []Init) {
	fmt.Fprintf(w, "\nTree %s\n%s\n", r.Tree.ID, r.Tree)
	for _, in := range inits {
		o := r.Outcomes[in.Name]
		fmt.Fprintf(w, "  %-8s %s\n", in.Name, o)
		if in.Name == "podinit" && o.Init != "" {
			fmt.Fprintf(w, "           %s\n", strings.ReplaceAll(strings.TrimSpace(o.Init), "\n", "\n           "))
		}
	}
	for _, v := range r.Violations {
		fmt.Fprintf(w, "  VIOLATION %s", v.Kind)
		if v.Subject != "" {
			fmt.Fprintf(w, " %s", v.Subject)
		}
		fmt.Fprintf(w, ": %s\n", v.Detail)
	}
	if len(r.Violations) > 0 {
		fmt.Fprintf(w, "  run only this tree: go run ./test/never-worse -only %s\n", r.Tree.ID)
	}
}
