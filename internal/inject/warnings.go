package inject

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/reason"
)

// So that a Pod full of mistakes makes no endless answer, there are at most so many warnings about settings that are ignored,
// about containers that are left alone, and about those that may run another image.
const (
	maxIgnored   = 16
	maxLeftAlone = 16
	maxDrift     = 16
)

// Warnings are sentences for the client that creates the Pod: what was ignored, what was left alone although it need not be, and
// what may run another image than the one that its command was looked up from.
func (p *Plan) Warnings() []string {
	warnings := p.warnings(func(reason.Skip) bool { return true })
	drifts := 0
	for _, d := range p.Containers {
		for _, r := range d.Drift {
			if drifts++; drifts <= maxDrift {
				what := fmt.Sprintf("container %s may run another image than its command was looked up from", reason.QuotedName(d.Name))
				warnings = append(warnings, reason.Skip{Reason: r}.Sentence(what))
			}
		}
	}
	return warnings
}

// Refusals are why the Pod is to be refused, none if it is admitted. Only a profile with onProblem Reject refuses, and
// only for what the Pod's author can correct: never because a registry, the network or podinit itself fails. A Pod that has
// not opted in is never refused.
func (p *Plan) Refusals() []string {
	if p.setting.Profile.Spec.OnProblem != v1alpha1.ProblemReject || p.Skip.Reason == v1alpha1.ReasonSuspended || p.pod.unseen(p.Skip.Reason) {
		return nil
	}
	refusals := p.warnings(func(s reason.Skip) bool { return s.Correctable })
	if _, _, err := p.metadata(); errors.Is(err, ErrAnnotationsTooLarge) && len(refusals) == 0 {
		refusals = append(refusals, "podinit: pod left alone: "+err.Error())
	}
	return refusals
}

// Problem is something of a Pod that its author can correct.
type Problem struct {
	Reason v1alpha1.Reason
	// Sentence says what was left alone or ignored, why, and what to do.
	Sentence string
}

// Problems are what a profile with onProblem Reject would refuse the Pod for, one for each reason. A reason of several
// containers has the first one's sentence, and says how many others there are.
func (p *Plan) Problems() []Problem {
	if p.Skip.Reason == v1alpha1.ReasonSuspended || p.pod.unseen(p.Skip.Reason) {
		return nil
	}
	var problems []Problem
	others := map[v1alpha1.Reason]int{}
	for _, problem := range p.problems(func(s reason.Skip) bool { return s.Correctable }) {
		switch {
		case problem.Reason == "":
		case slices.ContainsFunc(problems, func(other Problem) bool { return other.Reason == problem.Reason }):
			others[problem.Reason]++
		default:
			problem.Sentence = strings.TrimPrefix(problem.Sentence, "podinit: ")
			problems = append(problems, problem)
		}
	}
	for i := range problems {
		if n := others[problems[i].Reason]; n > 0 {
			problems[i].Sentence += fmt.Sprintf(" (The same reason holds in %d more places of the pod.)", n)
		}
	}
	return problems
}

// warnings are the sentences of problems.
func (p *Plan) warnings(wanted func(reason.Skip) bool) []string {
	var warnings []string
	for _, problem := range p.problems(wanted) {
		warnings = append(warnings, problem.Sentence)
	}
	return warnings
}

// problems are those about the Pod or its containers that were left alone, after those about what was ignored; of both,
// those that are wanted. One without a reason says that there are more.
func (p *Plan) problems(wanted func(reason.Skip) bool) []Problem {
	var problems []Problem
	for _, i := range p.Ignored {
		if wanted(i.Skip) {
			problems = append(problems, Problem{i.Reason, i.Warning()})
		}
	}
	worth := func(s reason.Skip) bool { return s.Reason != "" && !reason.Of(s.Reason).Routine && wanted(s) }
	if p.Skip.Reason != "" {
		if worth(p.Skip) {
			problems = append(problems, Problem{p.Skip.Reason, p.Skip.Sentence("pod left alone")})
		}
		return problems
	}
	leftAlone := 0
	for _, d := range p.Containers {
		if !worth(d.Skip) {
			continue
		}
		if leftAlone++; leftAlone <= maxLeftAlone {
			problems = append(problems, Problem{d.Reason, d.Skip.Sentence(fmt.Sprintf("container %s left alone", reason.QuotedName(d.Name)))})
		}
	}
	if more := leftAlone - maxLeftAlone; more > 0 {
		problems = append(problems, Problem{Sentence: fmt.Sprintf("podinit: more containers left alone: %d.", more)})
	}
	return problems
}
