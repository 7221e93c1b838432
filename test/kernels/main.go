// Kernels runs the init on kernels of Debian's, in virtual machines, one after the other.
//
//	make test-kernels
//	make test-kernels KERNELS='-kernels arm64/sid'
//
// On each the init has to have every behaviour of test/conformance, containers that run out of memory have to end as they should,
// and "init copy" has to work on every file system. It needs root, for the owners of files in images, 1 GiB of memory, and 5 GiB
// of disk below the user's cache directory for what it downloads.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/podinit/podinit/test/compatibility"
	"github.com/podinit/podinit/test/compatibility/report"
	"github.com/podinit/podinit/test/debianimage"
)

// options are the program's flags.
type options struct {
	programs, packages, kernels, conformance, accelerator, consoles, page string
	time                                                                  time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.programs, "programs", "", "the `directory` with ARCH/{init,conformance,guest}")
	flag.StringVar(&o.packages, "packages", "", "the Debian `packages` that test/conformance needs")
	flag.StringVar(&o.kernels, "kernels", ".", "only kernels whose ARCH/SUITE/PACKAGE matches this `expression`")
	flag.StringVar(&o.conformance, "conformance", "-patience 2m -storm-orphans 2000 -storm-signals 500 -storm-mains 50", "`flags` of test/conformance")
	// A machine that is virtual itself may have /dev/kvm, and no machine starts with it.
	flag.StringVar(&o.accelerator, "accelerator", "tcg", "QEMU's `accelerator`: kvm is faster, and needs a kernel of this machine's architecture")
	flag.DurationVar(&o.time, "time", 45*time.Minute, "`time` that one machine may take")
	flag.StringVar(&o.consoles, "consoles", "", "keep what consoles show in this `directory`")
	flag.StringVar(&o.page, "write", "", "the `page` to write results to")
	flag.Parse()
	compatibility.Main("kernels", o.run)
}

// run tries every kernel that matches, and returns what went wrong on any.
func (o options) run(ctx context.Context, w io.Writer) error {
	selected, err := compatibility.Select("kernels", o.kernels, kernels)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("the files of a root file system have owners: run this as root")
	}
	return compatibility.TryEach(ctx, w, "kernels", selected, func(k Kernel) error { return o.try(ctx, w, k) })
}

// try runs a machine with the kernel, prints what it reports, and writes its row.
func (o options) try(ctx context.Context, w io.Writer, k Kernel) error {
	cache, err := debianimage.UserCache(w)
	if err != nil {
		return err
	}
	directory, err := os.MkdirTemp("", "kernels-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	m, err := o.prepare(ctx, cache, k, directory)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.time)
	defer cancel()
	start := time.Now()
	var results []report.Result
	failed := 0
	found, err := m.run(ctx, func(r report.Result) {
		results = append(results, r)
		switch {
		case !r.Holds:
			failed++
			fmt.Fprintf(w, "FAIL %s (%.0f s): %s; %s\n", r.Name, r.Seconds, r.Why, r.Figures)
		case r.Again:
			fmt.Fprintf(w, "ok   %s (%.0f s), but only when it was tried again, alone\n", r.Name, r.Seconds)
		default:
			fmt.Fprintf(w, "ok   %s (%.0f s) %s\n", r.Name, r.Seconds, r.Figures)
		}
	})
	if o.consoles != "" {
		text, readErr := os.ReadFile(m.console())
		err = errors.Join(err, readErr, os.WriteFile(filepath.Join(o.consoles, strings.ReplaceAll(k.String(), "/", "-")), text, 0o644))
	}
	if err != nil {
		return err
	}
	row := tableRow(k, found, results)
	fmt.Fprintf(w, "%s\n%.0f s; cgroup controllers: %s\n", row, time.Since(start).Seconds(), found.Controllers)
	if err := compatibility.Update(o.page, "kernels", []compatibility.Row{row}); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, len(results))
	}
	return nil
}

// prepare makes the machine's parts, in directory as far as they are its own.
func (o options) prepare(ctx context.Context, cache debianimage.Cache, k Kernel, directory string) (m machine, err error) {
	m = machine{
		architecture: k.Architecture, accelerator: o.accelerator, directory: directory,
		initramfs: filepath.Join(directory, "initramfs"), scratch: filepath.Join(directory, "scratch"),
	}
	if m.root, err = rootDisk(ctx, cache, k.Architecture, strings.Fields(o.packages)); err != nil {
		return m, err
	}
	unpacked := filepath.Join(directory, "kernel")
	kernel, release, err := k.unpack(ctx, cache, unpacked)
	if err != nil {
		return m, err
	}
	m.kernel = kernel
	modules, err := moduleFiles(ctx, unpacked, release)
	if err != nil {
		return m, err
	}
	to, err := os.Create(m.initramfs)
	if err != nil {
		return m, err
	}
	defer to.Close()
	programs := filepath.Join(o.programs, k.Architecture)
	if err := initramfs(ctx, to, map[string]string{
		"init":                 filepath.Join(programs, "guest"),
		"programs/init":        filepath.Join(programs, "init"),
		"programs/conformance": filepath.Join(programs, "conformance"),
	}, o.conformance, modules); err != nil {
		return m, fmt.Errorf("write the initramfs (make test-kernels builds the programs in it): %w", err)
	}
	scratch, err := os.Create(m.scratch)
	if err != nil {
		return m, err
	}
	defer scratch.Close()
	return m, scratch.Truncate(1 << 30)
}

// tableRow is what stands on the page: how many checks of each suite hold, and which do not.
func tableRow(k Kernel, m report.Machine, results []report.Result) compatibility.Row {
	held, all := map[string]int{}, map[string]int{}
	var volumes, differs []string
	for _, r := range results {
		suite, check, _ := strings.Cut(r.Name, "/")
		all[suite]++
		if !r.Holds {
			differs = append(differs, "`"+r.Name+"`")
			continue
		}
		held[suite]++
		if suite == "copy" {
			volumes = append(volumes, check)
		}
	}
	of := func(suite string) string { return fmt.Sprintf("%d of %d", held[suite], all[suite]) }
	return compatibility.Row{
		fmt.Sprintf("%s, %s, `%s`", k.Architecture, k.Suite, k.Package), m.Release, fmt.Sprintf("%d KiB", m.PageSize>>10),
		of("conformance"), of("memory"), strings.Join(volumes, ", "), cmp.Or(strings.Join(differs, ", "), "nothing"),
		time.Now().UTC().Format(time.DateOnly),
	}
}
