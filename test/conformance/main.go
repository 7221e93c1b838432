// Conformance runs an init through every behaviour that a container expects of PID 1, and prints which hold.
//
//	go run ./test/conformance -init bin/linux/amd64/init -init /usr/bin/tini
//
// Each check starts the init as PID 1 of a PID namespace of its own, with its own /proc, and programs under it
// that tell what happens to them. It needs root and the Debian packages listed in packages.txt.
package main

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// debianPackages are what the checks run, one a line; "#" starts a comment.
//
//go:embed packages.txt
var debianPackages string

type options struct {
	inits    []Init
	run      string
	long     bool
	parallel int
	why      bool
	json     bool
	size     Size
}

// quick is what continuous integration runs, long is the size that the product promises.
var (
	quick = Size{Patience: 30 * time.Second, Orphans: 10_000, Signals: 2_000, Mains: 200, Idle: 10 * time.Second}
	long  = Size{Patience: 2 * time.Minute, Orphans: 100_000, Signals: 10_000, Mains: 1_000, Idle: 10 * time.Second}
)

// enter becomes what this process was started again for: the stage of a container, a victim, a wrong init.
func enter() {
	enterStage()
	enterWrongInit()
	enterVictim()
}

func main() {
	enter()
	var o options
	flag.Func("init", "an `init` to run, [name=]path; may be repeated; none is no init, wrong a deliberately wrong one", func(s string) error {
		in, err := ParseInit(s)
		o.inits = append(o.inits, in)
		return err
	})
	flag.StringVar(&o.run, "run", "", "only checks whose name matches this `expression`")
	flag.BoolVar(&o.why, "v", false, "say why, and what was measured")
	flag.BoolVar(&o.json, "json", false, "print a line of JSON for each result as it comes, instead of the table")
	flag.IntVar(&o.parallel, "parallel", 4, "`checks` at a time")
	sizeFlags(flag.CommandLine, &o.size, &o.long)
	flag.Parse()
	if err := o.main(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(2)
	}
}

// sizeFlags defines the flags that say how big a run is.
func sizeFlags(fs *flag.FlagSet, s *Size, all *bool) {
	*s = quick
	fs.BoolVar(all, "long", false, "the full storms: 100,000 orphans, 10,000 signals, 1,000 mains")
	fs.IntVar(&s.Orphans, "storm-orphans", quick.Orphans, "short `orphans` in the storm")
	fs.IntVar(&s.Signals, "storm-signals", quick.Signals, "`signals` in the storm")
	fs.IntVar(&s.Mains, "storm-mains", quick.Mains, "`mains` that exit beside a grandchild")
	fs.DurationVar(&s.Idle, "idle", quick.Idle, "`time` to watch an idle init")
	fs.DurationVar(&s.Patience, "patience", quick.Patience, "`time` until a condition that does not come counts as absent")
}

func (o *options) main(w io.Writer) error {
	defer removeLibrary()
	if o.long {
		o.size = long
	}
	if len(o.inits) == 0 {
		return fmt.Errorf("no -init given; try -init bin/linux/amd64/init -init /usr/bin/tini")
	}
	if err := requirements(); err != nil {
		return err
	}
	match, err := regexp.Compile(o.run)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	var table Table
	for _, in := range o.inits {
		if _, err := os.Stat(in.Path); in.Name != "none" && err != nil {
			return err
		}
		table.Inits = append(table.Inits, in.Name)
	}
	for _, c := range checks() {
		if match.MatchString(c.Name) {
			table.Checks = append(table.Checks, c)
		}
	}
	if o.json {
		lines := json.NewEncoder(w)
		table.Done = func(c Check, in Init, r Result) {
			lines.Encode(outcome{in.Name, c.Name, c.Doc, r.Verdict, r.Why, r.Figures, r.Took.Seconds()})
		}
	}
	table.Run(o.inits, o.size, o.parallel)
	if o.json {
		return nil
	}
	return table.Print(w, o.why)
}

// An outcome is a result as -json prints it.
type outcome struct {
	Init, Check, Doc string
	Verdict          Verdict
	Why, Figures     string
	Seconds          float64
}

// A Table is which behaviour holds for which init.
type Table struct {
	Checks  []Check
	Inits   []string
	Results [][]Result // by check, by init
	// Done, if it is set, is called with each result as it comes, with one at a time.
	Done func(Check, Init, Result)
}

// Run fills the table; at most parallel trials run at a time.
func (t *Table) Run(inits []Init, size Size, parallel int) {
	t.Results = make([][]Result, len(t.Checks))
	for i := range t.Results {
		t.Results[i] = make([]Result, len(inits))
	}
	slots := make(chan struct{}, max(parallel, 1))
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i, c := range t.Checks {
		for k, in := range inits {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				r := Try(c, in, size)
				t.Results[i][k] = r
				if t.Done != nil {
					mu.Lock()
					defer mu.Unlock()
					t.Done(c, in, r)
				}
			})
		}
	}
	wg.Wait()
}

// Print writes the table; why adds the reason of every "no" and the figures.
func (t *Table) Print(w io.Writer, why bool) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "behaviour\t%s\n", strings.Join(t.Inits, "\t"))
	for i, c := range t.Checks {
		fmt.Fprint(tw, c.Name)
		for _, r := range t.Results[i] {
			fmt.Fprintf(tw, "\t%s", r.Verdict)
		}
		fmt.Fprintln(tw)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if !why {
		return nil
	}
	for i, c := range t.Checks {
		for k, r := range t.Results[i] {
			if r.Why != "" || r.Figures != "" {
				fmt.Fprintf(w, "\n%s, %s (%.1fs): %s\n    %s\n", c.Name, t.Inits[k], r.Took.Seconds(), c.Doc, strings.TrimSpace(r.Figures+"\n    "+r.Why))
			}
		}
	}
	return nil
}

// packages lists the Debian packages that the checks need.
func packages() (out []string) {
	for line := range strings.Lines(debianPackages) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// requirements says what is missing here, in words that help.
func requirements() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("a PID namespace with its own /proc needs root: run this with sudo or in a container with --privileged")
	}
	for _, program := range []string{
		python, bash, dash, "/usr/bin/busybox", "/usr/bin/nsenter", "/usr/bin/setpriv", "/usr/bin/tini", "/usr/bin/dumb-init",
		"/usr/bin/catatonit", "/usr/sbin/nginx", "/usr/bin/gunicorn", "/usr/bin/psql", cmp.Or(postgres("postgres"), "postgres"),
	} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w; install what the checks run: apt-get install --no-install-recommends %s", err, strings.Join(packages(), " "))
		}
	}
	return nil
}
