package main

import (
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// install copies this very program to destination, where a container will run it from: either the whole file is there,
// or what was there before. A copier may run again with an old init still running (the name moves to a new file, which
// ETXTBSY does not hinder), and several may run at once (each has its own temporary file).
func install(destination string) error {
	source, err := syscall.Open("/proc/self/exe", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return problem("open", "/proc/self/exe", err, "mount /proc")
	}
	defer syscall.Close(source)

	directory := parent(destination)
	if err := installable(destination, directory); err != nil {
		return err
	}

	temporary := directory + "/.podinit-" + strconv.Itoa(syscall.Getpid()) + "-" + strconv.FormatInt(monotonic(), 36)
	target, err := syscall.Open(temporary, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return problem("create", temporary, err, advice(err))
	}
	if err := fill(source, target, temporary); err != nil {
		syscall.Close(target)
		syscall.Unlink(temporary)
		return err
	}
	if err := syscall.Close(target); err != nil {
		syscall.Unlink(temporary)
		return problem("close", temporary, err, advice(err))
	}
	if err := syscall.Rename(temporary, destination); err != nil {
		syscall.Unlink(temporary)
		return problem("rename "+temporary+" to", destination, err, advice(err))
	}
	return nil
}

// installable finds what would make the copy useless before it is made.
func installable(destination, directory string) error {
	var stat syscall.Stat_t
	if syscall.Stat(destination, &stat) == nil && stat.Mode&syscall.S_IFMT == syscall.S_IFDIR {
		return problem("write", destination, syscall.EISDIR, "name the file, as in "+destination+"/init")
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(directory, &fs); err != nil {
		return problem("look at", directory, err, advice(err))
	}
	if fs.Flags&unix.ST_NOEXEC != 0 {
		return problem("install in", directory, syscall.EACCES, "the volume is mounted noexec, as the node's "+
			"/var/lib/kubelet then is: remount that with exec, or deliver the init as an image volume")
	}
	return nil
}

// fill copies, and leaves a file that anybody may read and run and that survives a crash.
func fill(source, target int, name string) error {
	buffer := make([]byte, 128<<10)
	for {
		n, err := syscall.Read(source, buffer)
		if err != nil {
			return problem("read", "/proc/self/exe", err, advice(err))
		}
		if n == 0 {
			break
		}
		for rest := buffer[:n]; len(rest) > 0; {
			n, err := syscall.Write(target, rest)
			if err != nil {
				return problem("write", name, err, advice(err))
			}
			rest = rest[n:]
		}
	}
	if err := syscall.Fsync(target); err != nil {
		return problem("fsync", name, err, advice(err))
	}
	// After the fsync, so that nothing executable is ever half a program. Readable too: /proc/1 belongs to root if the
	// binary cannot be read (proc(5), "dumpable").
	if err := syscall.Fchmod(target, 0o555); err != nil {
		return problem("chmod", name, err, advice(err))
	}
	return nil
}

func problem(tried, on string, err error, next string) error {
	text := "cannot " + tried + " " + on + ": " + err.Error()
	if next != "" {
		text += "; " + next
	}
	return message(text)
}

type message string

func (m message) Error() string { return string(m) }

func advice(err error) string {
	switch err {
	case syscall.ENOSPC, syscall.EDQUOT:
		return "the volume is full: it needs 2 MiB for the init"
	case syscall.EROFS:
		return "the volume is mounted read-only: the copier needs it writable, only the others read-only"
	case syscall.EACCES, syscall.EPERM:
		return "the copier's user may not write there: set fsGroup or the directory's mode"
	case syscall.ENOENT, syscall.ENOTDIR:
		return "mount the volume there"
	}
	return ""
}

func parent(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[:i+1] + "."
		}
	}
	return "."
}

func monotonic() int64 {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return t.Nano()
}
