package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/podinit/podinit/test/compatibility/report"
)

// emulator is how an architecture's machine is started: one that has no graphics, two processors, and 1 GiB of memory.
type emulator struct {
	program, console string
	flags            []string
}

// Processors are old ones where the architecture's programs need no more: qemu64 has x86-64-v1 and a little more. Older ones of
// arm64 cannot have pages of 16 KiB.
var emulators = map[string]emulator{
	"amd64":   {"qemu-system-x86_64", "ttyS0", []string{"-machine", "q35", "-cpu", "qemu64"}},
	"arm64":   {"qemu-system-aarch64", "ttyAMA0", []string{"-machine", "virt", "-cpu", "neoverse-n1"}},
	"ppc64le": {"qemu-system-ppc64", "hvc0", []string{"-machine", "pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off", "-cpu", "power9"}},
}

// machine is a virtual machine's parts.
type machine struct {
	architecture, accelerator string
	kernel, initramfs         string
	root, scratch, directory  string
}

// run starts the machine, reads its report, calls each with each result as it comes, and returns when the machine is off. The
// console is kept in a file of directory.
func (m machine) run(ctx context.Context, each func(report.Result)) (found report.Machine, err error) {
	e := emulators[m.architecture]
	words := append([]string{
		"-m", "1024", "-smp", "2", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
		"-accel", m.accelerator,
		"-kernel", m.kernel, "-initrd", m.initramfs, "-append", "console=" + e.console + " quiet loglevel=1 panic=-1",
		"-drive", "if=none,id=root,format=raw,snapshot=on,file=" + m.root, "-device", "virtio-blk-pci,drive=root,serial=root",
		"-drive", "if=none,id=scratch,format=raw,snapshot=on,file=" + m.scratch, "-device", "virtio-blk-pci,drive=scratch,serial=scratch",
	}, e.flags...)
	log, err := os.Create(m.console())
	if err != nil {
		return found, err
	}
	defer log.Close()
	var trouble bytes.Buffer
	command := exec.CommandContext(ctx, e.program, words...)
	command.Stderr = &trouble
	console, err := command.StdoutPipe()
	if err != nil {
		return found, err
	}
	if err := command.Start(); err != nil {
		return found, err
	}
	found, err = report.Read(io.TeeReader(console, log), each)
	// What comes after the report keeps the machine from switching off if nobody reads it.
	io.Copy(log, console)
	if waitErr := command.Wait(); err == nil && waitErr != nil {
		err = waitErr
	}
	if err != nil {
		text, _ := os.ReadFile(log.Name())
		err = fmt.Errorf("%w\n%s%s", err, lastLines(string(text), 30), trouble.String())
	}
	return found, err
}

// console is the file with what the machine's console shows.
func (m machine) console() string { return filepath.Join(m.directory, "console") }

func lastLines(text string, n int) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}
