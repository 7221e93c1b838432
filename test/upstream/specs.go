package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/compatibility"
	"github.com/podinit/podinit/test/compatibility/report"
)

// ginkgo runs specs of e2e.test, Kubernetes' end-to-end tests.
type ginkgo struct {
	options
	name, skip string
	focus      []string
	procs      int
}

// run returns what became of the specs, by name.
func (g ginkgo) run(ctx context.Context) ([]report.Result, error) {
	log, err := os.Create(filepath.Join(g.results, g.name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	reported := g.name + "-ginkgo.json"
	args := []string{"--no-color", fmt.Sprint("--procs=", g.procs), fmt.Sprint("--timeout=", g.time), "--output-dir=" + g.results, "--json-report=" + reported}
	for _, focus := range g.focus {
		args = append(args, "--focus="+focus)
	}
	if g.skip != "" {
		args = append(args, "--skip="+g.skip)
	}
	args = append(args, filepath.Join(g.programs, "e2e.test"), "--", "--kubeconfig="+cluster.Kubeconfig, "--provider=local", "--num-nodes=1")
	command := exec.CommandContext(ctx, filepath.Join(g.programs, "ginkgo"), args...)
	command.Stdout, command.Stderr = log, log
	// ginkgo starts processes of its own.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return unix.Kill(-command.Process.Pid, unix.SIGKILL) }
	ran := command.Run()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	file, err := os.Open(filepath.Join(g.results, reported))
	if err != nil {
		return nil, errors.Join(ran, err, fmt.Errorf("%s has what ginkgo prints", log.Name()))
	}
	defer file.Close()
	results, err := read(file)
	if err == nil && len(results) == 0 {
		err = fmt.Errorf("no spec ran; %s has what ginkgo prints", log.Name())
	}
	return results, err
}

// read reads ginkgo's report (github.com/onsi/ginkgo/v2/types, Report). Specs that were not selected, or that skipped themselves,
// are not in what it returns.
func read(from io.Reader) (results []report.Result, err error) {
	var reports []struct {
		SpecReports []struct {
			ContainerHierarchyTexts           []string
			LeafNodeType, LeafNodeText, State string
			RunTime                           time.Duration
			Failure                           struct{ Message string }
		}
	}
	if err := json.NewDecoder(from).Decode(&reports); err != nil {
		return nil, fmt.Errorf("ginkgo's report: %w", err)
	}
	for _, r := range reports {
		for _, s := range r.SpecReports {
			holds := s.State == "passed"
			if s.LeafNodeType != "It" {
				if !holds {
					return nil, fmt.Errorf("%s of the suite %s: %s", s.LeafNodeType, s.State, s.Failure.Message)
				}
				continue
			}
			if s.State == "skipped" || s.State == "pending" {
				continue
			}
			name := strings.Join(append(s.ContainerHierarchyTexts, s.LeafNodeText), " ")
			results = append(results, report.Result{Name: name, Holds: holds, Why: s.Failure.Message, Seconds: s.RunTime.Seconds()})
		}
	}
	slices.SortFunc(results, func(a, b report.Result) int { return strings.Compare(a.Name, b.Name) })
	return results, nil
}

// tags are the labels that Kubernetes puts into the names of specs.
var tags = regexp.MustCompile(`\[[^\]]*\] ?`)

// short is a spec's name for people.
func short(name string) string { return strings.TrimSpace(tags.ReplaceAllString(name, "")) }

// outcome is what became of a suite in a run.
type outcome struct {
	run   Run
	suite Suite
	// results are those of the run; expected are those of the run without podinit, where this is another.
	results, expected []report.Result
	// known are the specs that are known not to end as without podinit, each with its cause.
	known map[string]string
}

// difference is a spec that is not as expected.
type difference struct {
	report.Result
	cause string
}

// differences are the specs that are not as expected. Without podinit, all are expected to pass.
func (o *outcome) differences() (all []difference) {
	expected := map[string]bool{}
	for _, e := range o.expected {
		expected[e.Name] = e.Holds
	}
	for _, result := range o.results {
		holds, ran := expected[result.Name]
		delete(expected, result.Name)
		switch {
		case o.run.Install == nil:
			holds = true
		case !ran:
			holds = !result.Holds
			result.Why = "it did not run without podinit; " + result.Why
		}
		if result.Holds != holds {
			all = append(all, difference{result, o.known[short(result.Name)]})
		}
	}
	for _, e := range o.expected {
		if _, missing := expected[e.Name]; missing {
			all = append(all, difference{report.Result{Name: e.Name, Why: "it did not run"}, o.known[short(e.Name)]})
		}
	}
	return all
}

// unknown are the differences without a cause.
func (o *outcome) unknown() []difference {
	return slices.DeleteFunc(o.differences(), func(d difference) bool { return d.cause != "" })
}

// again has results of a second try take the places of those of the first.
func (o *outcome) again(second []report.Result) {
	for _, s := range second {
		s.Again = s.Holds
		if i := slices.IndexFunc(o.results, func(r report.Result) bool { return r.Name == s.Name }); i >= 0 {
			o.results[i] = s
		} else {
			o.results = append(o.results, s)
		}
	}
}

// judge prints what became of the specs that are not as expected, and returns those without a cause, and those that are as expected
// and were said not to be.
func (o *outcome) judge(w io.Writer) (wrong []string) {
	causes := maps.Clone(o.known)
	for _, d := range o.differences() {
		delete(causes, short(d.Name))
		how := "fails"
		if d.Holds {
			how = "passes"
		}
		if d.cause != "" {
			fmt.Fprintf(w, "known %s: %s\n", short(d.Name), d.cause)
			continue
		}
		wrong = append(wrong, short(d.Name))
		fmt.Fprintf(w, "WRONG %s: it %s (%.0f s) %s\n", d.Name, how, d.Seconds, d.Why)
	}
	for _, result := range o.results {
		if result.Again {
			fmt.Fprintf(w, "ok    %s, but only when it was tried again, alone\n", short(result.Name))
		}
		if cause := causes[short(result.Name)]; cause != "" {
			wrong = append(wrong, short(result.Name))
			fmt.Fprintf(w, "WRONG %s: it was said to be otherwise than it is: %s\n", result.Name, cause)
		}
	}
	return wrong
}

// row is what stands on the page.
func (o *outcome) row(version string, during counts) compatibility.Row {
	passed := 0
	for _, result := range o.results {
		if result.Holds {
			passed++
		}
	}
	byCause := map[string][]string{}
	for _, d := range o.differences() {
		byCause[d.cause] = append(byCause[d.cause], "`"+short(d.Name)+"`")
	}
	var differs []string
	for _, cause := range slices.Sorted(maps.Keys(byCause)) {
		text := strings.Join(byCause[cause], ", ")
		if cause != "" {
			text = cause + " (" + text + ")"
		}
		differs = append(differs, text)
	}
	if differs == nil {
		differs = []string{"nothing"}
	}
	wraps := "none"
	if o.run.Install != nil {
		wraps = fmt.Sprintf("%.0f of %.0f", during[wrapped], during.sum())
	}
	return compatibility.Row{
		o.suite.Name + ", " + o.run.Name, version, fmt.Sprintf("%d of %d", passed, len(o.results)), wraps, strings.Join(differs, "; "),
		time.Now().UTC().Format(time.DateOnly),
	}
}
