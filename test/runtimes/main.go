// Runtimes runs the init's conformance suite in containers of several OCI runtimes.
//
//	make test-runtimes
//
// The suite is the main process of an init that is PID 1 of the runtime's container, and starts containers of its own below it, in
// PID namespaces there. The runtimes are started by bundles, without a cluster.
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podinit/podinit/test/compatibility"
	"github.com/podinit/podinit/test/compatibility/report"
	"github.com/podinit/podinit/test/debianimage"
)

// options are the program's flags.
type options struct {
	programs, packages, runtimes, runsc, conformance, page string
	time                                                   time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.programs, "programs", "", "the `directory` with init and conformance")
	flag.StringVar(&o.packages, "packages", "", "the Debian `packages` that test/conformance needs")
	flag.StringVar(&o.runtimes, "runtimes", ".", "only runtimes whose name matches this `expression`")
	flag.StringVar(&o.runsc, "runsc", "runsc", "gVisor's `program`")
	flag.StringVar(&o.conformance, "conformance", "", "`flags` of test/conformance")
	flag.DurationVar(&o.time, "time", 30*time.Minute, "`time` that the suite may take in one runtime")
	flag.StringVar(&o.page, "write", "", "the `page` to write results to")
	flag.Parse()
	compatibility.Main("runtimes", o.run)
}

// Runtime is a way to start a container.
type Runtime struct {
	// Name is the row on the page.
	Name    string
	Program string
	// Flags of the program, before its command.
	Flags []string
	// UserNamespace maps the container's users to others of the machine, as "hostUsers: false" does in a pod.
	UserNamespace bool
	// NotHybrid is set for a runtime that refuses a machine with cgroup v1 that has v2, too.
	NotHybrid bool
	// Suite are flags of the suite.
	Suite []string
	// Differs are the checks that do not hold there, each with its cause.
	Differs map[string]string
}

func (r Runtime) String() string { return r.Name }

func (o options) all() []Runtime {
	var ofOthers map[string]string
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		ofOthers = cgroupV1
	}
	return []Runtime{
		{Name: "crun", Program: "crun", NotHybrid: true},
		{Name: "crun, user namespace", Program: "crun", NotHybrid: true, UserNamespace: true, Differs: ofOthers},
		{Name: "gVisor", Program: o.runsc, Flags: []string{"--network=none", "--ignore-cgroups"}, Suite: []string{"-storm-orphans", "1000"}, Differs: gVisor},
		{Name: "runc", Program: "runc"},
		{Name: "runc, user namespace", Program: "runc", UserNamespace: true, Differs: ofOthers},
	}
}

// run tries every runtime that matches, and returns what went wrong in any.
func (o options) run(ctx context.Context, w io.Writer) error {
	selected, err := compatibility.Select("runtimes", o.runtimes, o.all())
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("containers are started with the rights of root: run this as root")
	}
	cache, err := debianimage.UserCache(w)
	if err != nil {
		return err
	}
	image, err := compatibility.Root(ctx, cache, runtime.GOARCH, strings.Fields(o.packages))
	if err != nil {
		return err
	}
	directory, err := os.MkdirTemp("", "runtimes-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	defer removeCgroups()
	if err := os.Chmod(directory, 0o755); err != nil {
		return err
	}
	root := filepath.Join(directory, "root")
	if err := compatibility.Unpack(ctx, image, root); err != nil {
		return err
	}
	return compatibility.TryEach(ctx, w, "runtimes", selected, func(r Runtime) error { return o.try(ctx, w, r, directory, root) })
}

// try runs the suite in a runtime's container, and again, alone, what did not hold, and writes the runtime's row.
func (o options) try(ctx context.Context, w io.Writer, r Runtime, directory, root string) error {
	ctx, cancel := context.WithTimeout(ctx, o.time)
	defer cancel()
	version, err := exec.CommandContext(ctx, r.Program, "--version").Output()
	if err != nil {
		return fmt.Errorf("%s --version: %w", r.Program, err)
	}
	c := container{Runtime: r, directory: directory, root: root, programs: o.programs}
	results, err := c.suite(ctx, strings.Fields(o.conformance))
	if err != nil {
		return err
	}
	var again []string
	for _, result := range results {
		if check := strings.TrimPrefix(result.Name, report.Conformance); !result.Holds && r.Differs[check] == "" {
			again = append(again, regexp.QuoteMeta(check))
		}
	}
	if again != nil {
		second, err := c.suite(ctx, append(strings.Fields(o.conformance), "-parallel", "1", "-run", "^("+strings.Join(again, "|")+")$"))
		if err != nil {
			return err
		}
		for _, s := range second {
			i := slices.IndexFunc(results, func(r report.Result) bool { return r.Name == s.Name })
			s.Again = s.Holds
			results[i] = s
		}
	}
	wrong := judge(w, r, results)
	row := tableRow(r, compatibility.VersionOf(string(version)), results)
	fmt.Fprintln(w, row)
	if err := compatibility.Update(o.page, "runtimes", []compatibility.Row{row}); err != nil {
		return err
	}
	if wrong != nil {
		return fmt.Errorf("%d of %d checks are not as expected: %s", len(wrong), len(results), strings.Join(wrong, ", "))
	}
	return nil
}

// judge prints the results, and returns the checks that do not hold and should, and those that hold and are said not to.
func judge(w io.Writer, r Runtime, results []report.Result) (wrong []string) {
	for _, result := range results {
		check := strings.TrimPrefix(result.Name, report.Conformance)
		cause := r.Differs[check]
		switch {
		case result.Holds && cause != "":
			wrong = append(wrong, check)
			fmt.Fprintf(w, "HOLDS %s (%.0f s), which was said not to: %s\n", check, result.Seconds, cause)
		case result.Again:
			fmt.Fprintf(w, "ok    %s (%.0f s), but only when it was tried again, alone\n", check, result.Seconds)
		case result.Holds:
			fmt.Fprintf(w, "ok    %s (%.0f s) %s\n", check, result.Seconds, result.Figures)
		case cause != "":
			fmt.Fprintf(w, "known %s: %s (%s)\n", check, cause, firstLine(result.Why))
		default:
			wrong = append(wrong, check)
			fmt.Fprintf(w, "FAIL  %s (%.0f s): %s; %s\n", check, result.Seconds, result.Why, result.Figures)
		}
	}
	return wrong
}

func firstLine(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	return first
}

// tableRow is what stands on the page: how many checks hold, and which do not, by cause.
func tableRow(r Runtime, version string, results []report.Result) compatibility.Row {
	held := 0
	byCause := map[string][]string{}
	var causes []string
	for _, result := range results {
		if result.Holds {
			held++
			continue
		}
		check := strings.TrimPrefix(result.Name, report.Conformance)
		cause := r.Differs[check]
		if byCause[cause] == nil {
			causes = append(causes, cause)
		}
		byCause[cause] = append(byCause[cause], "`"+check+"`")
	}
	slices.Sort(causes)
	var differs []string
	for _, cause := range causes {
		text := strings.Join(byCause[cause], ", ")
		if cause != "" {
			text = cause + " (" + text + ")"
		}
		differs = append(differs, text)
	}
	var name unix.Utsname
	_ = unix.Uname(&name) // the kernel's version is empty if it fails
	kernel, _, _ := strings.Cut(unix.ByteSliceToString(name.Release[:]), "-")
	return compatibility.Row{
		r.Name, version, fmt.Sprintf("%s, Linux %s", runtime.GOARCH, kernel), fmt.Sprintf("%d of %d", held, len(results)),
		cmp.Or(strings.Join(differs, "; "), "nothing"), time.Now().UTC().Format(time.DateOnly),
	}
}

// hideUnified takes cgroup v2 away from a machine that has both.
const hideUnified = "if [ -e /sys/fs/cgroup/unified/cgroup.procs ]; then umount /sys/fs/cgroup/unified; fi"

// leaveRoot moves the container's processes below its root of cgroup v2, where it has that: a cgroup with limits for others below it
// may have no processes of its own (cgroups(7)).
const leaveRoot = `if [ -e /sys/fs/cgroup/cgroup.subtree_control ]; then
	mkdir /sys/fs/cgroup/suite && echo 1 >/sys/fs/cgroup/suite/cgroup.procs && echo $$ >/sys/fs/cgroup/suite/cgroup.procs; fi`

// container is where the suite runs.
type container struct {
	Runtime
	directory, root, programs string
	number                    int
}

// suite runs the conformance suite with these flags.
func (c *container) suite(ctx context.Context, flags []string) ([]report.Result, error) {
	c.number++
	name := strings.NewReplacer(", ", "-", " ", "-").Replace(strings.ToLower(c.Name)) + fmt.Sprintf("-%d-%d", os.Getpid(), c.number)
	bundle := filepath.Join(c.directory, name)
	words := append([]string{"/programs/init", "--", "sh", "-c", leaveRoot + ` && exec "$@"`, "-", "/programs/conformance", "-json", "-init", "podinit=/programs/init"}, append(c.Suite, flags...)...)
	if err := c.writeBundle(bundle, name, words); err != nil {
		return nil, err
	}
	state := filepath.Join(c.directory, "state")
	global := append([]string{"--root", state}, c.Flags...)
	defer exec.Command(c.Program, slices.Concat(global, []string{"delete", "--force", name})...).Run()
	var out, trouble bytes.Buffer
	argv := slices.Concat([]string{c.Program}, global, []string{"run", "--bundle", bundle, name})
	if c.NotHybrid {
		argv = slices.Concat([]string{"unshare", "--mount", "sh", "-c", hideUnified + ` && exec "$@"`, "-"}, argv)
	}
	command := exec.CommandContext(ctx, argv[0], argv[1:]...)
	command.Stdout, command.Stderr = &out, &trouble
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("%s run: %w\n%s", c.Program, err, trouble.String())
	}
	var results []report.Result
	err := report.ReadConformance(&out, func(r report.Result) { results = append(results, r) })
	return results, err
}
