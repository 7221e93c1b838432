package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podinit/podinit/test/compatibility/report"
)

// A module comes after what it needs, and once.
func TestModulesInOrder(t *testing.T) {
	const dependencies = `kernel/fs/ext4/ext4.ko.xz: kernel/fs/mbcache.ko.xz kernel/fs/jbd2/jbd2.ko.xz kernel/lib/libcrc32c.ko.xz
kernel/fs/jbd2/jbd2.ko.xz:
kernel/fs/mbcache.ko.xz:
kernel/lib/libcrc32c.ko.xz: kernel/crypto/crc32c_generic.ko.xz
kernel/crypto/crc32c_generic.ko.xz:
kernel/fs/nls/nls_iso8859-1.ko.xz:
kernel/drivers/net/unneeded.ko.xz:
`
	want := []string{
		"/m/kernel/crypto/crc32c_generic.ko.xz", "/m/kernel/lib/libcrc32c.ko.xz", "/m/kernel/fs/mbcache.ko.xz", "/m/kernel/fs/jbd2/jbd2.ko.xz",
		"/m/kernel/fs/ext4/ext4.ko.xz", "/m/kernel/fs/nls/nls_iso8859-1.ko.xz",
	}
	if diff := cmp.Diff(want, inOrder(dependencies, "/m")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What is in the archive is what the kernel and the guest look for.
func TestInitramfs(t *testing.T) {
	directory := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var archive bytes.Buffer
	modules := []string{file("b.ko", "odd"), file("a.ko", "even")}
	if err := initramfs(t.Context(), &archive, map[string]string{"init": file("guest", "#!guest")}, "-patience 1m", modules); err != nil {
		t.Fatal(err)
	}
	got := readArchive(t, archive.String())
	want := map[string]string{
		"dev": "40755", "proc": "40755", "sys": "40755", "root": "40755", "modules": "40755", "programs": "40755", "dev/console": "20600 5:1",
		"modules/b.ko": "100644 odd", "modules/a.ko": "100644 even", "modules/list": "100644 b.ko\na.ko\n",
		"programs/flags": "100644 -patience 1m", "init": "100755 #!guest", "TRAILER!!!": "0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// readArchive returns the modes and contents of a cpio archive, as the kernel reads one (init/initramfs.c).
func readArchive(t *testing.T, text string) map[string]string {
	t.Helper()
	entries := map[string]string{}
	padded := func(n int) int { return (n + 3) &^ 3 }
	for text != "" {
		var fields [13]int
		for i := range fields {
			if _, err := fmt.Sscanf(text[6+8*i:14+8*i], "%X", &fields[i]); err != nil || text[:6] != "070701" {
				t.Fatalf("not a header: %q", text[:110])
			}
		}
		mode, size, major, minor, name := fields[1], fields[6], fields[9], fields[10], text[110:110+fields[11]-1]
		text = text[padded(110+fields[11]):]
		entry := fmt.Sprintf("%o", mode)
		if major > 0 {
			entry += fmt.Sprintf(" %d:%d", major, minor)
		}
		if size > 0 {
			entry += " " + text[:size]
		}
		entries[name], text = entry, text[padded(size):]
	}
	return entries
}

func TestTableRow(t *testing.T) {
	k := Kernel{"ppc64le", "sid", "linux-image-powerpc64le-64k"}
	machine := report.Machine{Release: "7.2", PageSize: 65536}
	results := []report.Result{{Name: "memory/main", Holds: true}, {Name: "copy/tmpfs", Holds: true}, {Name: "copy/vfat", Why: "x"}, {Name: "conformance/exit/code", Holds: true}}
	row := tableRow(k, machine, results)
	want := "| ppc64le, sid, `linux-image-powerpc64le-64k` | 7.2 | 64 KiB | 1 of 1 | 1 of 1 | tmpfs | `copy/vfat` |"
	if !strings.HasPrefix(row.String(), want) {
		t.Errorf("%s\nwant %s", row, want)
	}
}

// A machine that ends without a report is an error with what its console showed.
func TestMachineWithoutReport(t *testing.T) {
	directory := t.TempDir()
	program := filepath.Join(directory, "qemu")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho kernel panic\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	emulators["test"] = emulator{program: program}
	defer delete(emulators, "test")
	if _, err := (machine{architecture: "test", directory: directory}).run(t.Context(), func(report.Result) {}); err == nil || !strings.Contains(err.Error(), "kernel panic") {
		t.Errorf("%v, want what the console showed", err)
	}
}

// The kernel is found where old and new packages have it.
func TestKernelFile(t *testing.T) {
	for file, release := range map[string]string{
		"boot/vmlinuz-5.10.0-32-amd64":                         "5.10.0-32-amd64",
		"boot/vmlinux-6.1.0-50-powerpc64le":                    "6.1.0-50-powerpc64le",
		"usr/lib/modules/7.2.13+deb14-powerpc64le-64k/vmlinux": "7.2.13+deb14-powerpc64le-64k",
	} {
		directory := t.TempDir()
		path := filepath.Join(directory, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
		if got, gotRelease, err := kernelFile(directory); got != path || gotRelease != release || err != nil {
			t.Errorf("%s: %s, %s, %v", file, got, gotRelease, err)
		}
	}
	if _, _, err := kernelFile(t.TempDir()); err == nil {
		t.Error("a kernel was found in an empty directory")
	}
}
