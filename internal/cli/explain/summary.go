package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/output"
)

// Verdict says what podinit is worth to a container.
type Verdict string

const (
	// GainsSignal: its stop signal never reaches the program, and would with podinit.
	GainsSignal Verdict = "gains-signal"
	// MayGain: whether the signal reaches the program only its run shows; with podinit it does.
	MayGain Verdict = "may-gain"
	// GainsReaping: the signal reaches the program, and orphans are not reaped, or perhaps not; with podinit they are.
	GainsReaping Verdict = "gains-reaping"
	// UnknownVerdict: what the container runs is not known, as where its image cannot be looked up.
	UnknownVerdict Verdict = "unknown"
	// NotWrapped: it could gain, but podinit would not be put in.
	NotWrapped Verdict = "left-alone"
	// HasPodinit already.
	HasPodinit Verdict = "has-podinit"
	// NothingToGain: the signal reaches the program and orphans are reaped, or podinit makes no difference.
	NothingToGain Verdict = "nothing-to-gain"
)

// verdicts are as a table has them.
var verdicts = map[Verdict]string{
	GainsSignal: "gains", MayGain: "may gain", GainsReaping: "gains reaping", UnknownVerdict: "unknown", NotWrapped: "left alone",
	HasPodinit: "has podinit", NothingToGain: "nothing to gain",
}

// Report is what --summary prints.
type Report struct {
	Summary Summary `json:"summary"`
	// Containers with what hurts most first: by how sure it is that the signal does not arrive, then by pods and how long each
	// takes to end.
	Containers []Row `json:"containers"`
}

// Summary counts containers of workloads: a container of a Deployment counts once, whatever its replicas.
type Summary struct {
	Workloads int `json:"workloads"`
	// Pods that have not ended; absent for manifests.
	Pods       int `json:"pods,omitempty"`
	Containers int `json:"containers"`
	// NeverReceiveSignal are those to whose program the stop signal does not come, as they are now.
	NeverReceiveSignal int `json:"neverReceiveSignal"`
	// Verdicts by how many containers have them.
	Verdicts map[Verdict]int `json:"verdicts"`
	// UnknownBecause are the reasons for which it is not known what containers run.
	UnknownBecause map[v1alpha1.Reason]int `json:"unknownBecause,omitempty"`
	// InitContainers that are not listed: they end by themselves, and podinit would not be put in.
	InitContainers int `json:"initContainersLeftOut,omitempty"`
}

// Row is one container of a workload. Its pods may differ, as during a rollout; then there is a row for each kind.
type Row struct {
	Namespace string `json:"namespace"`
	// Workload as kind/name, and where its pod template is, if it has several.
	Workload  string `json:"workload"`
	Template  string `json:"template,omitempty"`
	Container string `json:"container"`
	// Kind is container, sidecar or initContainer.
	Kind string `json:"kind"`
	// Pods that have it; absent for manifests, and where none runs at the moment.
	Pods               int   `json:"pods,omitempty"`
	GracePeriodSeconds int64 `json:"gracePeriodSeconds"`
	// Runs are the words that it is started with, without the init; absent if they are not known.
	Runs []string `json:"runs,omitempty"`
	// StopSignal that asks it to end.
	StopSignal string `json:"stopSignal"`
	// Situation as it is now: with podinit where the container has it.
	Situation
	// ReapedBy is what reaps orphans: PID 1, nobody or unknown.
	ReapedBy string `json:"reapedBy"`
	// Action is what admission does to it in a namespace that has opted in, and LeftAlone why it skips it.
	Action    v1alpha1.Action `json:"action"`
	LeftAlone *LeftAlone      `json:"leftAlone,omitempty"`
	// Changes is what podinit would change, in a few words; absent if nothing.
	Changes string `json:"changes,omitempty"`
	// Unknown is why it is not known what it runs.
	Unknown *LeftAlone `json:"unknown,omitempty"`
	Verdict Verdict    `json:"verdict"`
}

// verdictOf judges a container.
func verdictOf(c Container) Verdict {
	now := c.WithoutInit
	switch {
	case c.HasInit:
		return HasPodinit
	case len(c.Runs) == 0:
		return UnknownVerdict
	case now.SignalReachesProgram == Yes && now.OrphansReaped == Yes:
		return NothingToGain
	case c.WithInit == nil:
		return NotWrapped
	case now.SignalReachesProgram == c.WithInit.SignalReachesProgram && now.OrphansReaped == c.WithInit.OrphansReaped:
		return NothingToGain
	case now.SignalReachesProgram == c.WithInit.SignalReachesProgram: // SIGKILL reaches no process's handler
		return GainsReaping
	case now.SignalReachesProgram == No:
		return GainsSignal
	}
	return MayGain
}

// rowsOf are the containers of an explanation, without initContainers that podinit leaves alone: leftOut is how many.
func rowsOf(x Explanation, workload string, pods int) (rows []Row, leftOut int) {
	for _, c := range x.Containers {
		if c.Kind == "initContainer" && !c.HasInit && c.WithInit == nil {
			leftOut++
			continue
		}
		if c.LeftAlone == nil && x.LeftAlone != nil { // the pod as a whole
			c.LeftAlone, c.WithInit = x.LeftAlone, nil
		}
		r := Row{
			Namespace: x.Namespace, Workload: workload, Template: x.Template, Container: c.Name, Kind: c.Kind, Pods: pods,
			GracePeriodSeconds: x.GracePeriodSeconds, Runs: c.Runs, StopSignal: c.StopSignal, Situation: c.WithoutInit,
			Action: v1alpha1.ActionWrapped, LeftAlone: c.LeftAlone, Verdict: verdictOf(c),
		}
		switch {
		case c.HasInit && c.WithInit != nil:
			r.Situation = *c.WithInit
		case c.HasInit: // it would be left alone now, and has it from before
			r.Situation = withInit(c.Runs, facts{signal: c.StopSignal}).public()
		}
		switch {
		case c.WithInit == nil:
			r.Action = v1alpha1.ActionSkipped
		case !c.HasInit:
			r.Changes = changes(c)
		}
		if r.Verdict == UnknownVerdict {
			r.Unknown = cmp.Or(c.unread, r.LeftAlone)
		}
		switch r.OrphansReaped {
		case Yes:
			r.ReapedBy = brief(r.PID1)
		case No:
			r.ReapedBy = "nobody"
		default:
			r.ReapedBy = "unknown"
		}
		rows = append(rows, r)
	}
	return rows, leftOut
}

// brief is the program that is PID 1, without what that depends on.
func brief(pid1 string) string {
	if i := strings.IndexAny(pid1, ",:;"); i > 0 {
		return pid1[:i]
	}
	return pid1
}

// hurts is how early a row comes.
func (r Row) hurts() int {
	switch {
	case r.Verdict == GainsSignal:
		return 0
	case r.Verdict == NotWrapped && r.SignalReachesProgram == No:
		return 1
	case r.Verdict == MayGain:
		return 2
	case r.Verdict == UnknownVerdict:
		return 3
	case r.Verdict == NotWrapped && r.SignalReachesProgram == Unknown:
		return 4
	case r.Verdict == GainsReaping:
		return 5
	case r.Verdict == NotWrapped:
		return 6
	case r.Verdict == HasPodinit:
		return 7
	}
	return 8
}

// newReport sorts rows, joins those that say the same of pods that differ otherwise, and counts them.
func newReport(rows []Row, pods, leftOut int) Report {
	slices.SortStableFunc(rows, func(a, b Row) int {
		seconds := func(r Row) int64 { return int64(max(1, r.Pods)) * r.GracePeriodSeconds }
		return cmp.Or(cmp.Compare(a.hurts(), b.hurts()), cmp.Compare(seconds(b), seconds(a)), cmp.Compare(a.Namespace, b.Namespace),
			cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Template, b.Template), cmp.Compare(a.Container, b.Container))
	})
	s := Summary{Pods: pods, Containers: len(rows), Verdicts: map[Verdict]int{}, InitContainers: leftOut}
	workloads := map[string]bool{}
	for _, r := range rows {
		workloads[r.Namespace+"/"+r.Workload] = true
		s.Verdicts[r.Verdict]++
		if r.SignalReachesProgram == No {
			s.NeverReceiveSignal++
		}
		if r.Unknown != nil {
			if s.UnknownBecause == nil {
				s.UnknownBecause = map[v1alpha1.Reason]int{}
			}
			s.UnknownBecause[r.Unknown.Reason]++
		}
	}
	s.Workloads = len(workloads)
	return Report{Summary: s, Containers: rows}
}

// merge joins rows that differ in nothing but pods, in the order of the first of each.
func merge(rows []Row) (merged []Row) {
	at := map[string]int{}
	for _, r := range rows {
		pods := r.Pods
		r.Pods = 0
		key := fmt.Sprintf("%q %q %q",
			[]string{r.Namespace, r.Workload, r.Template, r.Container, r.Kind, r.StopSignal, r.PID1, r.SignalWhy, r.OrphansWhy,
				string(r.Action), string(r.Verdict), fmt.Sprint(r.GracePeriodSeconds)}, r.Runs, reasonsOf(r))
		i, ok := at[key]
		if !ok {
			i = len(merged)
			at[key] = i
			merged = append(merged, r)
		}
		merged[i].Pods += pods
	}
	return merged
}

func reasonsOf(r Row) (all []string) {
	for _, l := range []*LeftAlone{r.LeftAlone, r.Unknown} {
		if l != nil {
			all = append(all, string(l.Reason), l.Detail)
		}
	}
	return all
}

// sentences are the summary in words, the headline first.
func (r Report) sentences() (all []string) {
	s := r.Summary
	signal := "SIGTERM"
	for _, row := range r.Containers {
		if row.SignalReachesProgram != Yes && row.StopSignal != "SIGTERM" {
			signal = "their stop signal"
		}
	}
	never, gain := s.NeverReceiveSignal, s.Verdicts[GainsSignal]
	verb := "receive"
	if never == 1 {
		verb = "receives"
	}
	headline := fmt.Sprintf("%d of %s never %s %s", never, output.Count(s.Containers, "container"), verb, signal)
	switch {
	case never == 0:
	case gain == 0 && never == 1:
		headline += "; podinit would not change that"
	case gain == 0:
		headline += "; podinit would not change that for any of them"
	case never == 1:
		headline += "; podinit would deliver it"
	case gain == never:
		headline += "; podinit would deliver it to all of them"
	default:
		headline += fmt.Sprintf("; podinit would deliver it to %d of them", gain)
	}
	all = append(all, headline+".")
	say := func(v Verdict, one, more string) {
		switch n := s.Verdicts[v]; {
		case n == 1:
			all = append(all, "1 "+one+".")
		case n > 1:
			all = append(all, fmt.Sprintf("%d %s.", n, more))
		}
	}
	say(MayGain, "may or may not receive it, depending on its program or script; with podinit it does",
		"may or may not receive it, depending on their programs or scripts; with podinit they do")
	say(GainsReaping, "receives it, and its orphans may stay zombies; podinit would reap them",
		"receive it, and their orphans may stay zombies; podinit would reap them")
	if n := s.Verdicts[UnknownVerdict]; n > 0 {
		var reasons []string
		for reason, count := range s.UnknownBecause {
			reasons = append(reasons, fmt.Sprintf("%s: %d", reason, count))
		}
		slices.Sort(reasons)
		text := fmt.Sprintf("%d unknown: what runs in the image is not known", n)
		if len(reasons) > 0 {
			text += " (" + strings.Join(reasons, ", ") + ")"
		}
		all = append(all, text+".")
	}
	say(NotWrapped, "could gain, but podinit would leave it alone; -o wide has the reason",
		"could gain, but podinit would leave them alone; -o wide has the reasons")
	say(HasPodinit, "has podinit already", "have podinit already")
	say(NothingToGain, "has nothing to gain", "have nothing to gain")
	return all
}
