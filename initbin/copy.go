package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/decimal"
	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/line"
)

// installation is one "init copy" at work. Its paths end in NUL.
type installation struct {
	destination string
	memory      [2][4096]byte
	target      []byte // the file to write
	temporary   []byte // the file in the same directory that is written first
}

// install copies this program to destination, from where a container will run it: afterwards either the whole file is
// there, or the file that was there before. A copier may run again while an old init still runs (the name moves to a new
// file, which ETXTBSY does not prevent), and several may run at once (each has a temporary file of its own).
func install(destination string) (code int) {
	i := installation{destination: destination}
	var digits [2][decimal.Size]byte
	pid, time := decimal.Put(digits[0][:], uint64(kernel.Getpid())), decimal.Put(digits[1][:], uint64(kernel.Now()))
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
		return i.failed("examine the directory of", destination, errno)
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

// write fills the temporary file with this program, readable and executable for every user, and safe from a crash.
func (i *installation) write() (code int) {
	source, errno := kernel.Open(kernel.Bytes(ownExecutable), syscall.O_RDONLY, 0)
	if errno != 0 {
		return i.failed("open", ownExecutable[:len(ownExecutable)-1], errno)
	}
	target, errno := kernel.Open(i.temporary, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL, 0o600)
	if errno != 0 {
		return i.failed("create a file next to", i.destination, errno)
	}
	buffer, errno := kernel.Map(1 << 16)
	if errno != 0 {
		return i.failed("map memory to copy to", i.destination, errno)
	}
	for {
		n, errno := kernel.Read(source, kernel.View[byte](buffer))
		if errno != 0 {
			return i.failed("read", ownExecutable[:len(ownExecutable)-1], errno)
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
	// Readable too: a user may not open /proc/PID/fd of a process whose binary the user cannot read (ptrace(2)).
	if errno := kernel.Fchmod(target, 0o555); errno != 0 {
		return i.failed("chmod", i.destination, errno)
	}
	// Closed before it is run: ETXTBSY.
	kernel.Close(target)
	kernel.Close(source)
	return 0
}

// try runs the copy, since only that shows whether a container can: see architectures and security modules.
func (i *installation) try() (code int) {
	pid, errno := kernel.Fork()
	if errno != 0 {
		return i.failed("fork to try", i.destination, errno)
	}
	if pid == 0 {
		kernel.SetMask(inheritedMask)
		arguments := [...]*byte{kernel.Pointer("init\x00"), kernel.Pointer(trialRun + "\x00"), nil}
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

// errnoNoExec is for a volume that is mounted noexec; the kernel has no number of its own for that.
const errnoNoExec = ^kernel.Errno(0)

// failed prints what was tried, on what, why it failed, and what to do next.
func (i *installation) failed(tried, on string, errno kernel.Errno) (code int) {
	var l line.Line
	l.Text("podinit: cannot ").Text(tried).Text(" ").Text(on).Text(": ")
	switch errno {
	case errnoNoExec:
		l.Text("the volume is mounted noexec because the node's /var/lib/kubelet is; " +
			"remount it with exec, or deliver the init as an image volume")
	case syscall.ENOSPC, syscall.EDQUOT:
		l.Text("the volume is full; the init needs 2 MiB")
	case syscall.EROFS:
		l.Text("the volume is mounted read-only; the copier needs it writable, and only the other containers read-only")
	case syscall.EACCES, syscall.EPERM:
		l.Text("permission denied; the copier's user must be allowed to write and run files there: " +
			"see fsGroup, SELinux and AppArmor")
	case syscall.ENOENT, syscall.ENOTDIR:
		if on == ownExecutable[:len(ownExecutable)-1] {
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
	write(2, kernel.AsString(l.End().Bytes())) // unlike PID 1, this process may block
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
