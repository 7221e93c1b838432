package compatibility

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/podinit/podinit/test/debianimage"
)

// rootSuite has the programs that the conformance suite runs, on every kernel and in every runtime.
const rootSuite = "bookworm"

// Root is a root file system with the packages of the conformance suite, and with what makes file systems. Programs under test go
// to /programs.
func Root(ctx context.Context, cache debianimage.Cache, architecture string, packages []string) (v1.Image, error) {
	packages = slices.DeleteFunc(slices.Clone(packages), func(p string) bool { return p == "postgresql" })
	spec := debianimage.Spec{
		Packages: append(packages, "postgresql-15", "coreutils", "grep", "sed", "btrfs-progs", "dosfstools", "e2fsprogs", "xfsprogs"),
		// Only for their scripts in Perl, and for PostgreSQL's just-in-time compiler.
		Without: []string{"postgresql-common", "postgresql-client-common", "libllvm14", "usrmerge", "ssl-cert", "ucf", "perl"},
		// One of the scripts in Perl stands in the place of the program.
		Files: []debianimage.File{{Path: "/usr/bin/psql", Mode: os.ModeSymlink | 0o777, Content: "../lib/postgresql/15/bin/psql"}},
	}
	for _, name := range []string{"/dev", "/mnt", "/proc", "/programs", "/run", "/sys", "/tmp"} {
		spec.Files = append(spec.Files, debianimage.File{Path: name, Mode: os.ModeDir | 0o755})
	}
	return cache.Other(architecture, rootSuite).Build(ctx, spec)
}

// Unpack unpacks an image, with its owners; flags are tar's.
func Unpack(ctx context.Context, image v1.Image, directory string, flags ...string) error {
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	files := mutate.Extract(image)
	defer files.Close()
	command := exec.CommandContext(ctx, "tar", append([]string{"-x", "-f", "-", "--numeric-owner", "-C", directory}, flags...)...)
	command.Stdin = files
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("unpack an image with tar: %w: %s", err, out)
	}
	return nil
}
