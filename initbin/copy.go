package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/line"
)

// installation is one "init copy" at work. Its paths end in NUL.
type installation struct {
	destination string
	memory      [2][4096]byte
	target      []byte // what is to be written
	temporary   []byte // what is written first, beside it
}

// install copies this very program to destination, where a container will run it from: either the whole file is there,
// or what was there before. A copier may run again while an old init still runs (the name moves to a new file, which
// ETXTBSY does not hinder), and several may run at once (each has a temporary file of its own).
func install(destination string) (code int) {
	i := installation{destination: destination}
	var digits [2][20]byte
	const most = int64(^uint(0) >> 1) // of an int, which has 32 bits on some machines and is not to become negative
	pid, time := putNumber(digits[0][:], kernel.Getpid()), putNumber(digits[1][:], int(kernel.Now()&most))
	directory := parent(destination)
	i.target = kernel.Path(i.memory[0][:], destination)
	i.temporary = kernel.Path(i.memory[1][:], directory, ".podinit-",
		kernel.AsString(digits[0][:pid]), "-", kernel.AsString(digits[1][:time]))
	if i.target == nil || i.temporary == nil {
		return i.failed("write", destination, syscall.ENAMETOOLONG)
	}

	var memory [4096]byte
	flags, errno := kernel.Statfs(kernel.Path(memory[:], directory, "."))
	if errno != 0 {
		return i.failed("look at the directory of", destination, errno)
	}
	if flags&kernel.NoExec != 0 {
		return i.failed("install", destination, errnoNoExec)
	}

	if n := len(destination); n > 0 && destination[n-1] == '/' {
		return i.failed("write", destination, syscall.EISDIR)
	}
	code = i.write()
	if code == 0 {
		code = i.try()
	}
	if code == 0 {
		if errno := kernel.Rename(i.temporary, i.target); errno != 0 {
			code = i.failed("rename a temporary file to", destination, errno)
		}
	}
	if code != 0 {
		kernel.Unlink(i.temporary)
	}
	return code
}

// write fills the temporary file with this program, readable and executable for everybody, and safe from a crash.
func (i *installation) write() (code int) {
	var memory [32]byte
	source, errno := kernel.Open(kernel.Path(memory[:], "/proc/self/exe"), syscall.O_RDONLY, 0)
	if errno != 0 {
		return i.failed("open", "/proc/self/exe", errno)
	}
	target, errno := kernel.Open(i.temporary, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL, 0o600)
	if errno != 0 {
		return i.failed("create a file beside", i.destination, errno)
	}
	buffer, errno := kernel.Map(1 << 16)
	if errno != 0 {
		return i.failed("map memory to copy to", i.destination, errno)
	}
	for {
		n, errno := kernel.Read(source, kernel.View[byte](buffer))
		if errno != 0 {
			return i.failed("read", "/proc/self/exe", errno)
		}
		if n == 0 {
			break
		}
		for rest := kernel.View[byte](buffer)[:n]; len(rest) > 0; {
			n, errno := kernel.Write(target, rest)
			if errno != 0 {
				return i.failed("write", i.destination, errno)
			}
			rest = rest[n:]
		}
	}
	if errno := kernel.Fsync(target); errno != 0 {
		return i.failed("fsync", i.destination, errno)
	}
	// Readable too: of a process whose binary it cannot read, a user may not open /proc/PID/fd (ptrace(2)).
	if errno := kernel.Fchmod(target, 0o555); errno != 0 {
		return i.failed("chmod", i.destination, errno)
	}
	// Closed before it is run: ETXTBSY.
	kernel.Close(target)
	kernel.Close(source)
	return 0
}

// try runs the copy, since only that finds out whether a container can: another architecture, or a security module.
func (i *installation) try() (code int) {
	pid, errno := kernel.Fork()
	if errno != 0 {
		return i.failed("fork to try", i.destination, errno)
	}
	if pid == 0 {
		kernel.SetMask(inheritedMask)
		name := [...]byte{'i', 'n', 'i', 't', 0}
		var command [len(trialRun) + 1]byte
		copy(command[:], trialRun)
		arguments := [...]*byte{&name[0], &command[0], nil}
		kernel.Exit(int(kernel.Exec(i.temporary, &arguments[0], &arguments[2])))
	}
	status, errno := kernel.WaitFor(pid)
	switch {
	case errno != 0:
		return i.failed("wait for the trial run of", i.destination, errno)
	case status.Exited() && status.ExitStatus() == 0:
		return 0
	case status.Exited():
		return i.failed("run", i.destination, kernel.Errno(status.ExitStatus()))
	}
	return i.failed("run", i.destination, syscall.ENOEXEC)
}

// errnoNoExec stands for a volume that is mounted noexec; the kernel has no number of its own for that.
const errnoNoExec = ^kernel.Errno(0)

// failed says what was tried, on what, why it failed, and what to do next.
func (i *installation) failed(tried, on string, errno kernel.Errno) (code int) {
	var l line.Line
	l.Text("podinit: cannot ").Text(tried).Text(" ").Text(on).Text(": ")
	switch errno {
	case errnoNoExec:
		l.Text("the volume is mounted noexec, as the node's /var/lib/kubelet then is; " +
			"remount that with exec, or deliver the init as an image volume")
	case syscall.ENOSPC, syscall.EDQUOT:
		l.Text("the volume is full; the init needs 2 MiB")
	case syscall.EROFS:
		l.Text("the volume is mounted read-only; the copier needs it writable, only the others read-only")
	case syscall.EACCES, syscall.EPERM:
		l.Text("permission denied; the copier's user must be allowed to write and run files there: " +
			"see fsGroup, SELinux and AppArmor")
	case syscall.ENOENT, syscall.ENOTDIR:
		if on == "/proc/self/exe" {
			l.Text("/proc is missing; mount it")
		} else {
			l.Text("no such directory; mount the volume there")
		}
	case syscall.EISDIR:
		l.Text("it is a directory; name the file in it, as in /podinit/init")
	case syscall.ENOEXEC:
		l.Text("this machine cannot run it; the init image must be for the node's architecture")
	default:
		l.Text(reason(errno))
	}
	write(2, kernel.AsString(l.End().Bytes())) // this is no PID 1 that must not block
	return 1
}

// parent is the directory of a path, with its slash; empty for the working directory.
func parent(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[:i+1]
		}
	}
	return ""
}
