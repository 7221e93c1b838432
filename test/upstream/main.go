// Upstream runs Kubernetes' own conformance tests on the test cluster, without podinit and with every pod wrapped, and compares.
//
//	make test-upstream
//
// A spec is a test of Kubernetes' end-to-end tests. With podinit, each has to end as it does without, but for those of which
// differs.go says why they cannot.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/compatibility"
	"github.com/podinit/podinit/test/compatibility/report"
)

// options are the program's flags.
type options struct {
	programs, images, results, runs, suites, focus, version, page string
	procs                                                         int
	time                                                          time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.programs, "programs", "", "the `directory` with what make test-upstream builds: e2e.test, ginkgo, and what images are made of")
	flag.StringVar(&o.images, "images", "", "the `directory` of the archives that make images writes")
	flag.StringVar(&o.results, "results", "", "the `directory` for ginkgo's reports; a run is compared with the results without podinit there")
	flag.StringVar(&o.runs, "runs", ".", "only runs whose name matches this `expression`")
	flag.StringVar(&o.suites, "suites", ".", "only suites whose name matches this `expression`")
	flag.StringVar(&o.focus, "focus", "", "only specs that match this `expression`; nothing is written to the page then")
	flag.IntVar(&o.procs, "procs", 8, "how many specs run at a `time`")
	flag.DurationVar(&o.time, "time", time.Hour, "`time` that a suite may take in one run, and again in a second try")
	flag.StringVar(&o.version, "version", "", "the `version` of Kubernetes")
	flag.StringVar(&o.page, "write", "", "the `page` to write results to")
	flag.Parse()
	compatibility.Main("upstream", o.run)
}

// Suite is a part of Kubernetes' end-to-end tests.
type Suite struct {
	Name string
	// Owner and Label are in the names of its specs, in this order.
	Owner, Label string
	// Skip is an expression for specs that are left out, if any.
	Skip string
}

func (s Suite) String() string { return s.Name }

// specs is an expression for its specs that match another.
func (s Suite) specs(focus string) string {
	owner, label := regexp.QuoteMeta(s.Owner), regexp.QuoteMeta(s.Label)
	return fmt.Sprintf("%s.*((%s).*%s|%s.*(%s))", owner, focus, label, label, focus)
}

// nodeConformance and appsConformance are the suites of which differs.go has specs.
const nodeConformance, appsConformance = "NodeConformance", "Conformance of sig-apps"

// suites are those that a cluster of one node can run. Of NodeConformance, specs are left out that take half an hour, need images from the
// internet, or need what is not on by default. Conformance has none of them but slow ones. ginkgo runs specs that need the cluster for
// themselves last, one at a time.
var suites = []Suite{
	{nodeConformance, "[sig-node]", "[NodeConformance]", `\[(Slow|Serial|Disruptive|Flaky|Feature)`},
	{appsConformance, "[sig-apps]", "[Conformance]", ""},
	{"Conformance of sig-network", "[sig-network]", "[Conformance]", ""},
	{"Conformance of sig-storage", "[sig-storage]", "[Conformance]", ""},
}

// run does every run that matches, and returns what went wrong in any.
func (o options) run(ctx context.Context, w io.Writer) error {
	selected, err := compatibility.Select("runs", o.runs, runs(ctx))
	if err != nil {
		return err
	}
	parts, err := compatibility.Select("suites", o.suites, suites)
	if err != nil {
		return err
	}
	running, err := cluster.Open()
	if err != nil {
		return err
	}
	client, err := running.Client()
	if err != nil {
		return err
	}
	i := installer{Cluster: running, client: client, images: o.images}
	if err := os.MkdirAll(o.results, 0o755); err != nil {
		return err
	}
	manifest, dnsImage, err := readCoreDNS(o.programs)
	if err != nil {
		return err
	}
	if err := pushImages(ctx, w, o.programs, running.Bin, dnsImage); err != nil {
		return err
	}
	if err := i.prepare(ctx); err != nil {
		return err
	}
	if err := i.startDNS(ctx, manifest); err != nil {
		return err
	}
	err = compatibility.TryEach(ctx, w, "runs", selected, func(r Run) error { return o.try(ctx, w, i, r, parts) })
	return errors.Join(err, i.remove(context.WithoutCancel(ctx)))
}

// try runs the suites with podinit as the run has it.
func (o options) try(ctx context.Context, w io.Writer, i installer, r Run, parts []Suite) error {
	if err := errors.Join(i.remove(ctx), i.install(ctx, r)); err != nil {
		return err
	}
	before := counts{}
	return compatibility.TryEach(ctx, w, "suites", parts, func(s Suite) error {
		out, err := o.suite(ctx, w, r, s)
		if err != nil {
			return err
		}
		after, err := i.counts(ctx, r)
		if err != nil {
			return err
		}
		during := after.minus(before)
		before = after
		if r.Install != nil && during[wrapped] == 0 {
			return fmt.Errorf("no container was wrapped: %v", during)
		}
		fmt.Fprintf(w, "containers: %v\n", during)
		wrong, row := out.judge(w), out.row(o.version, during)
		fmt.Fprintln(w, row)
		if o.page != "" && o.focus == "" {
			if err := compatibility.Update(o.page, "upstream", []compatibility.Row{row}); err != nil {
				return err
			}
		}
		if wrong != nil {
			return fmt.Errorf("%d of %d specs are not as expected: %s", len(wrong), len(out.results), strings.Join(wrong, "; "))
		}
		return nil
	})
}

// suite runs one suite, and again, one at a time, what is not as expected.
func (o options) suite(ctx context.Context, w io.Writer, r Run, s Suite) (*outcome, error) {
	// ginkgo ends specs that take too long; this is for ginkgo.
	ctx, cancel := context.WithTimeout(ctx, 2*o.time+time.Minute)
	defer cancel()
	name, without := s.Name+" "+r.Name, s.Name+" "+withoutPodinit
	if o.focus != "" {
		name, without = name+" focused", without+" focused"
	}
	name, without = slug(name), slug(without)
	out := &outcome{run: r, suite: s, known: r.Differs[s.Name]}
	if r.Install != nil {
		if err := readJSON(filepath.Join(o.results, without+".json"), &out.expected); err != nil {
			return nil, fmt.Errorf("%w; -runs '%s' writes the results to compare with", err, withoutPodinit)
		}
	}
	g := ginkgo{options: o, name: name, focus: []string{s.specs(o.focus)}, skip: s.Skip, procs: o.procs}
	results, err := g.run(ctx)
	if err != nil {
		return nil, err
	}
	out.results = results
	g.focus = nil
	for _, result := range out.unknown() {
		g.focus = append(g.focus, regexp.QuoteMeta(result.Name)+"$")
	}
	if g.focus != nil {
		fmt.Fprintf(w, "%d specs are not as expected, and are tried again, one at a time\n", len(g.focus))
		g.name, g.skip, g.procs = name+"-again", "", 1
		second, err := g.run(ctx)
		if err != nil {
			return nil, err
		}
		out.again(second)
	}
	return out, writeJSON(filepath.Join(o.results, name+".json"), out.results)
}

// slug is a name for files.
func slug(name string) string { return strings.ReplaceAll(strings.ToLower(name), " ", "-") }

func readJSON(path string, to *[]report.Result) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}

func writeJSON(path string, results []report.Result) error {
	text, err := json.MarshalIndent(results, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}
