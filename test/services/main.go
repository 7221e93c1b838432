// Services stops services, as Debian ships them, in containers without an init, under tini and under podinit's, and writes down what
// became of their processes.
//
//	make test-services
//	make test-services SERVICES='-services "RabbitMQ|runit"'
//
// A service is stopped as a kubelet stops it: PID 1 gets the stop signal, and SIGKILL when the grace period is over. What still runs when
// PID 1 ends is killed by the kernel (pid_namespaces(7)); the kernel's process events say how many those were. It needs root, for
// containers and for process events, and 2 GiB of disk.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podinit/podinit/test/compatibility"
)

// grace is the grace period: long enough for all services, and short where one does not notice its stop signal.
const grace = 15 * time.Second

// suite is where Debian's packages are taken from.
const suite = "bookworm"

// options are the program's flags.
type options struct {
	init, services, page string
}

func main() {
	var o options
	flag.StringVar(&o.init, "init", "", "podinit's init, a static `program`")
	flag.StringVar(&o.services, "services", ".", "only services whose name matches this `expression`")
	flag.StringVar(&o.page, "write", "", "the `page` to write results to")
	flag.Parse()
	compatibility.Main("services", o.run)
}

// run stops every service that is selected, and returns which are worse off with podinit.
func (o options) run(ctx context.Context, w io.Writer) error {
	selected, err := compatibility.Select("services", o.services, services)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("containers are started with the rights of root: run this as root")
	}
	directory, err := os.MkdirTemp("", "services-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	if err := os.Chmod(directory, 0o755); err != nil {
		return err
	}
	root := filepath.Join(directory, "root")
	if err := makeRoot(ctx, w, root, selected); err != nil {
		return err
	}
	inits, err := makeInits(directory, o.init)
	if err != nil {
		return err
	}
	return compatibility.TryEach(ctx, w, "services", selected, func(s Service) error {
		results := map[string]outcome{}
		for _, init := range inits {
			result, err := stop(ctx, s, init, root, directory)
			if err != nil {
				return fmt.Errorf("with %s: %w", init.name, err)
			}
			fmt.Fprintf(w, "%-8s %s; %.1f s\n", init.name, result, result.took.Seconds())
			results[init.name] = result
		}
		if err := compatibility.Update(o.page, "services", []compatibility.Row{tableRow(s, results)}); err != nil {
			return err
		}
		return judge(results)
	})
}

// makeRoot makes a root file system with the services, as their packages set them up.
func makeRoot(ctx context.Context, w io.Writer, root string, selected []Service) error {
	packages := []string{"tini"}
	for _, s := range selected {
		packages = append(packages, strings.Fields(s.Packages)...)
	}
	slices.Sort(packages)
	packages = slices.Compact(packages)
	fmt.Fprintf(w, "Making a root file system with %d packages and what they depend on (minutes)\n", len(packages))
	out, err := exec.CommandContext(ctx, "mmdebstrap", "--variant=minbase", "--include="+strings.Join(packages, ","), suite, root).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mmdebstrap: %w:\n%s", err, out)
	}
	return nil
}

// initProgram is what stands before a service's command.
type initProgram struct {
	name string
	argv []string
	// mount is a directory on the machine that is mounted at /podinit, "" for none.
	mount string
}

const (
	without = "nothing"
	tini    = "tini"
	podinit = "podinit"
)

func makeInits(directory, program string) ([]initProgram, error) {
	mount := filepath.Join(directory, "podinit")
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("-init: %w", err)
	}
	if err := errors.Join(os.Mkdir(mount, 0o755), os.WriteFile(filepath.Join(mount, "init"), content, 0o755)); err != nil {
		return nil, err
	}
	return []initProgram{
		{name: without},
		{name: tini, argv: []string{"/usr/bin/tini", "--"}},
		{name: podinit, argv: []string{"/podinit/init", "--grace=" + grace.String(), "--"}, mount: mount},
	}, nil
}

// outcome is how a container has ended.
type outcome struct {
	// code is what a kubelet would report: 128 and the signal, if one ended PID 1.
	code int
	// late is set if PID 1 was killed when the grace period was over.
	late bool
	// killed is how many processes, without PID 1, SIGKILL has ended.
	killed int
	took   time.Duration
}

func (o outcome) String() string {
	switch {
	case o.late:
		return fmt.Sprintf("killed after %.0f s", grace.Seconds())
	case o.killed > 0:
		return fmt.Sprintf("exit code %d, killed %d", o.code, o.killed)
	}
	return fmt.Sprintf("exit code %d", o.code)
}

// judge says where a service is worse off with podinit than with tini: it has to end as with tini where that ends it in time, and
// none of its processes may be killed unless the service outlives its grace period anyway.
func judge(results map[string]outcome) error {
	tini, podinit := results[tini], results[podinit]
	switch {
	case tini.late:
		return nil
	case podinit.late:
		return fmt.Errorf("with podinit %s, with tini %s", podinit, tini)
	case podinit.killed > 0:
		return fmt.Errorf("with podinit %s", podinit)
	case podinit.code != tini.code:
		return fmt.Errorf("with podinit %s, with tini %s", podinit, tini)
	}
	return nil
}

func tableRow(s Service, results map[string]outcome) compatibility.Row {
	row := compatibility.Row{s.Name, unix.SignalName(s.Signal)}
	for _, name := range []string{without, tini, podinit} {
		row = append(row, results[name].String())
	}
	return append(row, time.Now().UTC().Format(time.DateOnly))
}
