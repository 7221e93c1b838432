package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// errNotOffered is for a file system that the kernel does not have.
var errNotOffered = errors.New("not offered by this kernel")

// copyChecks are of "init copy" on each file system that a pod's volume may be on.
func copyChecks() []check {
	disk := func(name string, mkfs ...string) check {
		return check{"copy/" + name, func() (string, error) { return onDisk(name, mkfs) }}
	}
	return []check{
		{"copy/tmpfs", func() (string, error) { return "", onVolume("tmpfs", "tmpfs", "") }},
		disk("ext4", "mkfs.ext4", "-q", "-F"),
		disk("xfs", "mkfs.xfs", "-q", "-f"),
		disk("btrfs", "mkfs.btrfs", "-q", "-f"),
		disk("vfat", "mkfs.vfat"),
		{"copy/overlay", onOverlay},
	}
}

// volume is where file systems are mounted.
const volume = "/mnt"

// onDisk makes a file system on the second disk.
func onDisk(kind string, mkfs []string) (string, error) {
	disk, err := diskOf("scratch")
	if err != nil {
		return "", err
	}
	if out, err := exec.Command(mkfs[0], append(mkfs[1:], disk)...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", mkfs[0], err, out)
	}
	return "", onVolume(disk, kind, "")
}

// onOverlay is on an overlay whose upper directory is on ext4, as a container's own root is.
func onOverlay() (string, error) {
	disk, err := diskOf("scratch")
	if err != nil {
		return "", err
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", disk).CombinedOutput(); err != nil {
		return "", fmt.Errorf("mkfs.ext4: %w: %s", err, out)
	}
	const layers = "/run/layers"
	if err := mount(disk, layers, "ext4", ""); err != nil {
		return "", err
	}
	defer unix.Unmount(layers, 0)
	for _, name := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(layers, name), 0o755); err != nil {
			return "", err
		}
	}
	return "", onVolume("overlay", "overlay", "lowerdir="+layers+"/lower,upperdir="+layers+"/upper,workdir="+layers+"/work")
}

// onVolume copies the init to a file system as the copier does: once, over an init that runs, several at a time; and runs it there.
func onVolume(source, kind, options string) error {
	if offered, err := os.ReadFile("/proc/filesystems"); err != nil {
		return err
	} else if !strings.Contains(string(offered), "\t"+kind+"\n") {
		return errNotOffered
	}
	if err := mount(source, volume, kind, options); err != nil {
		return err
	}
	defer unix.Unmount(volume, unix.MNT_DETACH)
	// lost+found is ext4's own.
	directory := volume + "/podinit"
	if err := os.Mkdir(directory, 0o755); err != nil {
		return err
	}
	path := directory + "/init"
	if err := copyTo(path); err != nil {
		return fmt.Errorf("the first copy: %w", err)
	}
	if err := overRunning(path); err != nil {
		return fmt.Errorf("a copy over an init that runs: %w", err)
	}
	var copies sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		copies.Go(func() { errs[i] = run(initPath, "copy", path) })
	}
	copies.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("copies at the same time: %w", err)
	}
	if err := isInit(path); err != nil {
		return fmt.Errorf("after copies at the same time: %w", err)
	}
	if files, err := os.ReadDir(directory); err != nil || len(files) != 1 {
		return fmt.Errorf("%d files are there, want the init alone: %v (%w)", len(files), files, err)
	}
	if got, err := container("", "setpriv", "--reuid", "65532", "--regid", "65532", "--clear-groups", path, "--", "dash", "-c", "exit 7"); err != nil || got.code != 7 {
		return fmt.Errorf("a container of a user without privileges ended with %+v, want code 7 (%w)", got, err)
	}
	// Bound first: on the same disk, the file system's other mounts keep their options.
	if err := unix.Mount("", volume, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("remount noexec: %w", err)
	}
	if out, err := exec.Command(initPath, "copy", path).CombinedOutput(); err == nil || !strings.Contains(string(out), "mounted noexec") {
		return fmt.Errorf("a copy to a volume that is mounted noexec: %s (%w)", out, err)
	}
	return nil
}

func run(argv ...string) error {
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
	}
	return nil
}

func copyTo(path string) error {
	if err := run(initPath, "copy", path); err != nil {
		return err
	}
	return isInit(path)
}

// isInit compares the copy with the init, and runs it.
func isInit(path string) error {
	want, err := os.ReadFile(initPath)
	if err != nil {
		return err
	}
	got, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) || info.Mode() != 0o555 {
		return fmt.Errorf("%d bytes with mode %v, want the init's %d with mode 0555", len(got), info.Mode(), len(want))
	}
	return run(path, "version")
}

// overRunning copies while the file that was there runs.
func overRunning(path string) error {
	old := exec.Command(path, "--", "sleep", "300")
	old.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := old.Start(); err != nil {
		return err
	}
	defer func() {
		old.Process.Signal(syscall.SIGTERM)
		old.Wait()
	}()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if running, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", old.Process.Pid)); err == nil && running == path {
			break
		}
		if time.Now().After(deadline) {
			return errors.New("the init that was copied does not run")
		}
	}
	return copyTo(path)
}
