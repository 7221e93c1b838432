package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/podinit/podinit/test/compatibility"
	"github.com/podinit/podinit/test/debianimage"
)

// Kernel is a kernel to try.
type Kernel struct {
	// Architecture is Go's name, Suite and Package are Debian's.
	Architecture, Suite, Package string
}

func (k Kernel) String() string { return k.Architecture + "/" + k.Suite + "/" + k.Package }

// kernels are Debian's oldest and newest for each architecture, and for amd64 those of the releases between. Pages are of 4 KiB,
// and of 16 or 64 where the name says so; ppc64le's in bookworm are of 64.
var kernels = []Kernel{
	{"amd64", "bullseye", "linux-image-amd64"},
	{"amd64", "bookworm", "linux-image-amd64"},
	{"amd64", "trixie", "linux-image-amd64"},
	{"amd64", "sid", "linux-image-amd64"},
	{"arm64", "bullseye", "linux-image-arm64"},
	{"arm64", "sid", "linux-image-arm64"},
	{"arm64", "sid", "linux-image-arm64-16k"},
	{"ppc64le", "bookworm", "linux-image-powerpc64le"},
	{"ppc64le", "sid", "linux-image-powerpc64le-64k"},
}

// modules are what the machine's disks and the file systems under test need, where they are not part of the kernel. Those of the
// checksums are asked for by name at run time, which modules.dep does not say.
var modules = []string{
	"virtio_pci", "virtio_blk", "crc32c_generic", "crc32c", "libcrc32c", "xxhash_generic", "blake2b_generic", "blake2b", "sha256_generic", "sha256",
	"ext4", "xfs", "btrfs", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859-1", "nls_utf8", "overlay",
}

// unpack takes the kernel and its modules out of the packages into directory, and returns the kernel's file.
func (k Kernel) unpack(ctx context.Context, cache debianimage.Cache, directory string) (kernel, release string, err error) {
	image, err := cache.Other(k.Architecture, k.Suite).Build(ctx, debianimage.Spec{
		Packages: []string{k.Package},
		// What makes an initramfs of its own on a real machine.
		Without: []string{"kmod", "linux-base", "initramfs-tools", "linux-initramfs-tool"},
	})
	if err != nil {
		return "", "", err
	}
	if err := compatibility.Unpack(ctx, image, directory, "--wildcards", "*/vmlinu*", "*usr/lib/modules/*"); err != nil {
		return "", "", err
	}
	return kernelFile(directory)
}

// kernelFile finds the kernel where packages have it: /boot/vmlinuz-RELEASE, and since 7.0 /usr/lib/modules/RELEASE/vmlinuz. PowerPC's
// is vmlinux.
func kernelFile(directory string) (file, release string, err error) {
	for _, pattern := range []string{"boot/vmlinu[xz]-*", "usr/lib/modules/*/vmlinu[xz]"} {
		found, err := filepath.Glob(filepath.Join(directory, pattern))
		if err != nil {
			return "", "", err
		}
		if len(found) == 1 {
			_, release, ok := strings.Cut(filepath.Base(found[0]), "-")
			if !ok {
				release = filepath.Base(filepath.Dir(found[0]))
			}
			return found[0], release, nil
		}
	}
	return "", "", fmt.Errorf("one kernel was expected in %s, in boot or usr/lib/modules", directory)
}

// moduleFiles are the files of the modules and all they depend on, each after those it depends on.
func moduleFiles(ctx context.Context, directory, release string) ([]string, error) {
	if out, err := exec.CommandContext(ctx, "depmod", "-b", filepath.Join(directory, "usr"), release).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("depmod: %w: %s", err, out)
	}
	base := filepath.Join(directory, "usr", "lib", "modules", release)
	text, err := os.ReadFile(filepath.Join(base, "modules.dep"))
	if err != nil {
		return nil, err
	}
	return inOrder(string(text), base), nil
}

// inOrder reads modules.dep, whose lines are FILE: FILE…
func inOrder(dependencies, base string) (files []string) {
	needs, byName := map[string][]string{}, map[string]string{}
	for line := range strings.Lines(dependencies) {
		file, rest, _ := strings.Cut(line, ":")
		needs[file] = strings.Fields(rest)
		name, _, _ := strings.Cut(path.Base(file), ".ko")
		byName[strings.ReplaceAll(name, "-", "_")] = file
	}
	var add func(file string)
	add = func(file string) {
		full := filepath.Join(base, file)
		if slices.Contains(files, full) {
			return
		}
		for _, needed := range needs[file] {
			add(needed)
		}
		files = append(files, full)
	}
	for _, name := range modules {
		// A module that is not there is part of the kernel, or this kernel does without.
		if file, ok := byName[strings.ReplaceAll(name, "-", "_")]; ok {
			add(file)
		}
	}
	return files
}

// readModule reads a module, which newer kernels compress.
func readModule(ctx context.Context, file string) (name string, content []byte, err error) {
	name = filepath.Base(file)
	if uncompressed, ok := strings.CutSuffix(name, ".xz"); ok {
		content, err = exec.CommandContext(ctx, "xz", "--decompress", "--stdout", file).Output()
		return uncompressed, content, err
	}
	content, err = os.ReadFile(file)
	return name, content, err
}

// rootDisk makes the disk of an architecture's machines, an ext4 that no machine changes, or takes it from the cache.
func rootDisk(ctx context.Context, cache debianimage.Cache, architecture string, packages []string) (string, error) {
	image, err := compatibility.Root(ctx, cache, architecture, packages)
	if err != nil {
		return "", err
	}
	digest, err := image.Digest()
	if err != nil {
		return "", err
	}
	disk := filepath.Join(cache.Directory, "disks", architecture+"-"+digest.Hex[:16]+".ext4")
	if _, err := os.Stat(disk); err == nil {
		return disk, nil
	}
	if err := os.MkdirAll(filepath.Dir(disk), 0o755); err != nil {
		return "", err
	}
	directory, err := os.MkdirTemp(filepath.Dir(disk), "new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(directory)
	root, unfinished := filepath.Join(directory, "root"), filepath.Join(directory, "disk")
	if err := compatibility.Unpack(ctx, image, root); err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", root, unfinished, "1500M").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("mke2fs: %w: %s", err, out)
	}
	return disk, os.Rename(unfinished, disk)
}

// initramfs is a cpio archive (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst) with the guest as its first
// program, the modules, and the programs under test.
func initramfs(ctx context.Context, to io.Writer, programs map[string]string, flags string, moduleFiles []string) error {
	a := archive{to: to}
	for _, directory := range []string{"dev", "proc", "sys", "root", "modules", "programs"} {
		a.add(directory, cpioDirectory|0o755, nil)
	}
	a.device("dev/console", 5, 1)
	var list strings.Builder
	for _, file := range moduleFiles {
		name, content, err := readModule(ctx, file)
		if err != nil {
			return fmt.Errorf("module %s: %w", file, err)
		}
		a.add("modules/"+name, cpioFile|0o644, content)
		fmt.Fprintln(&list, name)
	}
	a.add("modules/list", cpioFile|0o644, []byte(list.String()))
	a.add("programs/flags", cpioFile|0o644, []byte(flags))
	for name, file := range programs {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		a.add(name, cpioFile|0o755, content)
	}
	return a.close()
}

const (
	cpioFile      = 0o100000
	cpioDirectory = 0o040000
	cpioDevice    = 0o020000
)

// archive writes cpio's "new ASCII" format.
type archive struct {
	to      io.Writer
	entries int
	err     error
}

func (a *archive) entry(name string, mode, major, minor int, content []byte) {
	a.entries++
	// magic, inode, mode, uid, gid, links, time, size, device, device of a special file, length of the name, checksum
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", a.entries, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name)+1, 0)
	for _, part := range []string{header + name + "\x00", string(content)} {
		_, err := io.WriteString(a.to, part+strings.Repeat("\x00", (4-len(part)%4)%4))
		a.err = errors.Join(a.err, err)
	}
}

func (a *archive) add(name string, mode int, content []byte) { a.entry(name, mode, 0, 0, content) }

func (a *archive) device(name string, major, minor int) {
	a.entry(name, cpioDevice|0o600, major, minor, nil)
}

func (a *archive) close() error {
	a.add("TRAILER!!!", 0, nil)
	return a.err
}
