// Guest is the first process of a virtual machine of test/kernels. It loads the modules that came with it, goes over to the root
// file system of the machine's disk, runs the init's conformance suite and what only a kernel of its own shows (the kernel's
// memory killer, copies on every file system), reports each result in a line on the console, and switches the machine off.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podinit/podinit/test/compatibility/report"
)

// programs is where the programs under test are: a file system in memory, on both roots.
const programs = "/programs"

func main() {
	run, what := boot, "boot"
	if len(os.Args) > 1 {
		run, what = work, "work"
	}
	if err := run(); err != nil {
		send(report.Line{Broken: fmt.Sprintf("%s: %v", what, err)})
	}
	if what == "work" {
		return
	}
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// send prints a line for the host.
func send(l report.Line) {
	text, err := json.Marshal(l)
	if err != nil {
		panic(err)
	}
	fmt.Printf("\n%s%s\n", report.Prefix, text)
}

// boot makes the machine ready, has a child do the work, and reaps what comes meanwhile.
func boot() error {
	err := errors.Join(
		mount("devtmpfs", "/dev", "devtmpfs", ""),
		mount("proc", "/proc", "proc", ""),
		mount("sysfs", "/sys", "sysfs", ""),
		loadModules(),
	)
	if err != nil {
		return err
	}
	disk, err := diskOf("root")
	if err != nil {
		return err
	}
	if err := changeRoot(disk); err != nil {
		return err
	}
	child, err := os.StartProcess("/proc/self/exe", []string{"guest", "work"}, &os.ProcAttr{
		Env:   []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LANG=C.UTF-8"},
		Files: []*os.File{nil, os.Stdout, os.Stderr},
	})
	if err != nil {
		return err
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for children: %w", err)
		case pid == child.Pid && status.ExitStatus() != 0:
			return fmt.Errorf("the child that does the work ended with %#x", int(status))
		case pid == child.Pid:
			return nil
		}
	}
}

func mount(source, target, kind, options string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(source, target, kind, 0, options); err != nil {
		return fmt.Errorf("mount %s at %s: %w", kind, target, err)
	}
	return nil
}

// loadModules loads what the list names, in its order.
func loadModules() error {
	list, err := os.ReadFile("/modules/list")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(list)) {
		file, err := os.Open(filepath.Join("/modules", name))
		if err != nil {
			return err
		}
		// ENODEV: a driver for what this processor lacks.
		err = unix.FinitModule(int(file.Fd()), "", 0)
		file.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("load module %s: %w", name, err)
		}
	}
	return nil
}

// diskOf waits for the disk with this serial number.
func diskOf(serial string) (string, error) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		disks, _ := filepath.Glob("/sys/block/vd*/serial")
		for _, path := range disks {
			if text, _ := os.ReadFile(path); strings.TrimSpace(string(text)) == serial {
				return "/dev/" + filepath.Base(filepath.Dir(path)), nil
			}
		}
	}
	return "", fmt.Errorf("no disk %q after a minute", serial)
}

// changeRoot makes the file system of the disk the root, with what containers and their runtimes expect there.
func changeRoot(disk string) error {
	const root = "/root"
	if err := mount(disk, root, "ext4", ""); err != nil {
		return err
	}
	for _, kernel := range []string{"/dev", "/proc", "/sys"} {
		if err := unix.Mount(kernel, root+kernel, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", kernel, err)
		}
	}
	if err := mount("tmpfs", root+programs, "tmpfs", "mode=755"); err != nil {
		return err
	}
	if err := os.CopyFS(root+programs, os.DirFS(programs)); err != nil {
		return err
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	return errors.Join(
		mount("tmpfs", "/tmp", "tmpfs", "mode=1777"),
		mount("tmpfs", "/run", "tmpfs", "mode=755"),
		mount("tmpfs", "/dev/shm", "tmpfs", "mode=1777"),
		mount("devpts", "/dev/pts", "devpts", "ptmxmode=666"),
		mount("cgroup2", "/sys/fs/cgroup", "cgroup2", ""),
	)
}
