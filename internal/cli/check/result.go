package check

import (
	"fmt"
	"slices"
)

// Status is how a check ended.
type Status string

const (
	Passed  Status = "passed"
	Warning Status = "warning"
	Failed  Status = "failed"
	// NotChecked is where something that the check needs is missing or may not be read. It says nothing about podinit.
	NotChecked Status = "not-checked"
)

// order of statuses, from the one that any other replaces.
var order = []Status{Passed, NotChecked, Warning, Failed}

// Result is what one check found.
type Result struct {
	// Category and Name stay the same from version to version. Names are unique.
	Category string `json:"category"`
	Name     string `json:"name"`
	// Status is that of the worst of Problems.
	Status Status `json:"status"`
	// Text is what is true where the check passes.
	Text string `json:"text"`
	// Problems is empty where it passes.
	Problems []Problem `json:"problems,omitempty"`
}

// Problem is one thing that a check found.
type Problem struct {
	Status Status `json:"status"`
	// Found is what is so; no full stop.
	Found string `json:"found"`
	// Hint is what to do about it; empty if there is nothing.
	Hint string `json:"hint,omitempty"`
}

// say adds to the text what has been seen.
func (r *Result) say(format string, args ...any) { r.Text += " (" + fmt.Sprintf(format, args...) + ")" }

func (r *Result) fail(hint, format string, args ...any) { r.add(Failed, hint, format, args...) }
func (r *Result) warn(hint, format string, args ...any) { r.add(Warning, hint, format, args...) }
func (r *Result) skip(hint, format string, args ...any) { r.add(NotChecked, hint, format, args...) }

func (r *Result) add(status Status, hint, format string, args ...any) {
	r.Problems = append(r.Problems, Problem{Status: status, Found: fmt.Sprintf(format, args...), Hint: hint})
	if slices.Index(order, status) > slices.Index(order, r.Status) {
		r.Status = status
	}
}

// Report is all results, and how many there are of each status.
type Report struct {
	Passed     int      `json:"passed"`
	Warnings   int      `json:"warnings"`
	Failed     int      `json:"failed"`
	NotChecked int      `json:"notChecked"`
	Results    []Result `json:"results"`
}

func newReport(results []Result) Report {
	report := Report{Results: results}
	for _, r := range results {
		switch r.Status {
		case Passed:
			report.Passed++
		case Warning:
			report.Warnings++
		case Failed:
			report.Failed++
		case NotChecked:
			report.NotChecked++
		}
	}
	return report
}

// problemsOnly is the report without the checks that pass; how many there are, it still says.
func (report Report) problemsOnly() Report {
	report.Results = slices.DeleteFunc(slices.Clone(report.Results), func(r Result) bool { return r.Status == Passed })
	return report
}

// good says whether no check fails, and if strict whether all could be made.
func (report Report) good(strict bool) bool {
	return report.Failed == 0 && (!strict || report.NotChecked == 0)
}

// check is one question, asked of the facts alone.
type check struct {
	category, name string
	// holds is what is true where the check passes.
	holds string
	ask   func(*Facts, *Result)
}

// run asks every question.
func run(checks []check, f *Facts) []Result {
	results := make([]Result, len(checks))
	for i, c := range checks {
		results[i] = Result{Category: c.category, Name: c.name, Status: Passed, Text: c.holds}
		c.ask(f, &results[i])
	}
	return results
}
