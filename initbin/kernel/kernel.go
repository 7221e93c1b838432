// Package kernel has the system calls that the init makes: one function for each, and nothing more.
//
// The calls are raw (syscall.RawSyscall), because the resident init runs without the Go runtime and so without a
// scheduler to inform. Nothing here allocates, and no pointer is stored anywhere: a stored pointer would need
// the garbage collector's write barrier. A path is a slice that ends in a NUL byte, as the kernel wants it.
package kernel

import (
	"syscall"
	"unsafe"
)

// Errno is the error of a system call, 0 if it has not failed.
type Errno = syscall.Errno

// Exit ends the process.
func Exit(code int) {
	for { // exit_group(2) does not return; the loop is for the compiler
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, uintptr(code), 0, 0)
	}
}

// Getpid is the init's own process ID in its PID namespace.
func Getpid() int {
	pid, _, _ := syscall.RawSyscall(syscall.SYS_GETPID, 0, 0, 0)
	return int(pid)
}

// Getpgrp is the init's own process group.
func Getpgrp() int {
	pgid, _, _ := syscall.RawSyscall(syscall.SYS_GETPGID, 0, 0, 0)
	return int(pgid)
}

// Getsid is the init's own session.
func Getsid() int {
	sid, _, _ := syscall.RawSyscall(syscall.SYS_GETSID, 0, 0, 0)
	return int(sid)
}

// Fork is fork(2): 0 in the child, which continues on a copy of the stack.
func Fork() (pid int, errno Errno) {
	flags, stack := uintptr(syscall.SIGCHLD), uintptr(0)
	if cloneTakesStackFirst {
		flags, stack = stack, flags
	}
	r, _, e := syscall.RawSyscall6(syscall.SYS_CLONE, flags, stack, 0, 0, 0, 0)
	return int(r), e
}

// Exec is execve(2). It returns only if it fails.
func Exec(path []byte, argv, envp **byte) Errno {
	_, _, e := syscall.RawSyscall(syscall.SYS_EXECVE, uintptr(unsafe.Pointer(unsafe.SliceData(path))),
		uintptr(unsafe.Pointer(argv)), uintptr(unsafe.Pointer(envp)))
	return e
}

// Wait collects one child that has ended, or with syscall.WUNTRACED stopped. pid is 0 if there are children but none of
// them has; errno is ECHILD if there are none.
func Wait(options int) (pid int, status syscall.WaitStatus, errno Errno) {
	var s int32
	r, _, e := syscall.RawSyscall6(syscall.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&s)), uintptr(options|syscall.WNOHANG), 0, 0, 0)
	if e != 0 {
		return 0, 0, e
	}
	return int(r), syscall.WaitStatus(s), 0
}

// Kill is kill(2).
//
//go:noinline
func Kill(pid int, signal uint8) Errno {
	_, _, e := syscall.RawSyscall(syscall.SYS_KILL, uintptr(pid), uintptr(signal), 0)
	return e
}

// SetMask blocks exactly the signals in mask, of which bit n-1 is signal n.
func SetMask(mask uint64) Errno {
	set := kernelSet(mask)
	_, _, e := syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, sigSetmask, uintptr(unsafe.Pointer(&set)), 0, unsafe.Sizeof(set), 0, 0)
	return e
}

// Info is what comes with a signal: the head of siginfo_t.
type Info struct {
	Signal uint8
	// Code is positive when the kernel sent the signal itself, and 0 or negative when a process did (sigaction(2)).
	Code int32
	// PID is the process that sent it, 0 if that is outside the init's PID namespace.
	PID int
}

// siginfo is the kernel's struct; the union behind the three numbers is aligned as a pointer is.
type siginfo struct {
	signo, errno, code int32
	fields             struct {
		_   [0]uintptr
		pid int32
		uid uint32
	}
	_ [128]byte
}

// NextSignal takes one of the blocked signals off the queue, and waits for one at most timeout nanoseconds, for ever if
// that is negative. errno is EAGAIN when the time is over, and EINTR when the init has been stopped and continued.
//
//go:noinline
func NextSignal(timeout int64) (Info, Errno) {
	var info siginfo
	set := kernelSet(^uint64(0))
	var limit *syscall.Timespec
	var t syscall.Timespec
	if timeout >= 0 {
		t = timespec(timeout)
		limit = &t
	}
	_, _, e := syscall.RawSyscall6(syscall.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&set)), uintptr(unsafe.Pointer(&info)),
		uintptr(unsafe.Pointer(limit)), unsafe.Sizeof(set), 0, 0)
	return Info{Signal: uint8(info.signo), Code: info.code, PID: int(info.fields.pid)}, e
}

// Sleep waits for so many nanoseconds.
func Sleep(ns int64) {
	t := timespec(ns)
	syscall.RawSyscall6(syscall.SYS_PPOLL, 0, 0, uintptr(unsafe.Pointer(&t)), 0, 0, 0)
}

// Call is the number of a system call that /proc/PID/syscall shows.
type Call int

// WaitsForSignal reports whether a process that is in the call waits for signals (sigtimedwait(2)).
func (c Call) WaitsForSignal() bool {
	const time64 = 421 // rt_sigtimedwait_time64, on 32-bit architectures
	return c == syscall.SYS_RT_SIGTIMEDWAIT || c == time64
}

// WaitsForChild reports whether a process that is in the call waits for a child (wait(2)).
func (c Call) WaitsForChild() bool { return c == syscall.SYS_WAIT4 || c == syscall.SYS_WAITID }

// SignalSet reads a set of signals in the memory of another process (process_vm_readv(2)).
func SignalSet(pid int, address uint64) (mask uint64, errno Errno) {
	var set uint64
	local := [2]uintptr{uintptr(unsafe.Pointer(&set)), unsafe.Sizeof(set)} // struct iovec
	remote := [2]uintptr{uintptr(address), unsafe.Sizeof(set)}
	_, _, e := syscall.RawSyscall6(sysProcessVMReadv, uintptr(pid), uintptr(unsafe.Pointer(&local)), 1, uintptr(unsafe.Pointer(&remote)), 1, 0)
	return set, e
}

// Discard takes a blocked signal off the queue, if one is pending.
func Discard(signal uint8) {
	set := kernelSet(1 << (signal - 1))
	var now syscall.Timespec
	syscall.RawSyscall6(syscall.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&set)), 0, uintptr(unsafe.Pointer(&now)),
		unsafe.Sizeof(set), 0, 0)
}

// Now is the monotonic clock in nanoseconds. It stops while the machine is suspended, so no deadline passes then.
func Now() int64 {
	now, _ := Clock()
	return now
}

// Clock is Now where the clock may not be readable.
//
//go:noinline
func Clock() (now int64, errno Errno) {
	var t syscall.Timespec
	_, _, e := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&t)), 0)
	return int64(t.Sec)*1e9 + int64(t.Nsec), e
}

// BootTicks is the clock that /proc/PID/stat gives a process's start in: a hundred ticks a second since boot, on all
// architectures that the init is built for.
func BootTicks() uint32 {
	var t syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&t)), 0)
	return uint32(int64(t.Sec)*100 + int64(t.Nsec)/1e7)
}

// Ignored reports whether a signal is ignored (SIG_IGN).
func Ignored(signal uint8) bool {
	var old sigaction
	syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(signal), 0, uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	return old.handler == 1
}

// SetIgnored ignores a signal (SIG_IGN), or gives it its default action (SIG_DFL).
func SetIgnored(signal uint8, ignored bool) {
	var act sigaction
	if ignored {
		act.handler = 1
	}
	syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(signal), uintptr(unsafe.Pointer(&act)), 0, 8, 0, 0)
}

// sigaction is the kernel's struct: its order differs between architectures, but the handler is first in all of them,
// and the others stay zero here.
type sigaction struct {
	handler uintptr
	_       [7]uintptr
}

// BecomeSubreaper makes orphaned descendants children of the init, as they are PID 1's (PR_SET_CHILD_SUBREAPER).
func BecomeSubreaper() Errno {
	_, _, e := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0)
	return e
}

// SetParentDeathSignal has the kernel send the init a signal when its parent dies.
func SetParentDeathSignal(signal uint8) Errno {
	_, _, e := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(signal), 0)
	return e
}

// Setpgid puts a process (0: the caller) into a process group (0: its own).
func Setpgid(pid, pgid int) Errno {
	_, _, e := syscall.RawSyscall(syscall.SYS_SETPGID, uintptr(pid), uintptr(pgid), 0)
	return e
}

// Setsid starts a new session.
func Setsid() Errno {
	_, _, e := syscall.RawSyscall(syscall.SYS_SETSID, 0, 0, 0)
	return e
}

// Foreground is the process group in the foreground of a terminal; errno is ENOTTY if fd is not a terminal, or not that of the session.
//
//go:noinline
func Foreground(fd int) (pgid int, errno Errno) {
	var p int32
	_, _, e := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TIOCGPGRP, uintptr(unsafe.Pointer(&p)))
	return int(p), e
}

// SetForeground brings a process group of the session to the foreground of its terminal.
func SetForeground(fd, pgid int) Errno {
	p := int32(pgid)
	_, _, e := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TIOCSPGRP, uintptr(unsafe.Pointer(&p)))
	return e
}

// IsTerminal reports whether a descriptor is a terminal, of any session: every terminal has a size, and nothing else has.
func IsTerminal(fd int) bool {
	var size [4]uint16
	_, _, e := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size)))
	return e == 0
}

// LeaveTerminal gives up the terminal of the session.
func LeaveTerminal(fd int) Errno {
	_, _, e := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TIOCNOTTY, 0)
	return e
}

// TakeTerminal makes a terminal that of the new session.
func TakeTerminal(fd int) Errno {
	_, _, e := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TIOCSCTTY, 0)
	return e
}

// Chdir is chdir(2).
func Chdir(path []byte) Errno {
	_, _, e := syscall.RawSyscall(syscall.SYS_CHDIR, uintptr(unsafe.Pointer(unsafe.SliceData(path))), 0, 0)
	return e
}

// CloseRange closes every descriptor from first on. errno is ENOSYS before Linux 5.9, or what a seccomp profile from
// before it returns. The last descriptor is the highest that an int holds: gVisor takes no higher one.
func CloseRange(first int) Errno {
	_, _, e := syscall.RawSyscall(sysCloseRange, uintptr(first), 1<<31-1, 0)
	return e
}

// Open is open(2) with O_CLOEXEC.
//
//go:noinline
func Open(path []byte, flags int, mode uint32) (fd int, errno Errno) {
	at := atFdcwd // not the constant: it is negative
	r, _, e := syscall.RawSyscall6(syscall.SYS_OPENAT, uintptr(at), uintptr(unsafe.Pointer(unsafe.SliceData(path))),
		uintptr(flags|syscall.O_CLOEXEC), uintptr(mode), 0, 0)
	return int(r), e
}

// Readlink reads a symbolic link.
//
//go:noinline
func Readlink(path, into []byte) (n int, errno Errno) {
	at := atFdcwd
	r, _, e := syscall.RawSyscall6(syscall.SYS_READLINKAT, uintptr(at), uintptr(unsafe.Pointer(unsafe.SliceData(path))),
		uintptr(unsafe.Pointer(unsafe.SliceData(into))), uintptr(len(into)), 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(r), 0
}

// IsOpen reports whether a descriptor is open.
func IsOpen(fd int) bool {
	_, _, e := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
	return e == 0
}

// Close is close(2).
//
//go:noinline
func Close(fd int) {
	syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0)
}

// Read is read(2).
//
//go:noinline
func Read(fd int, into []byte) (n int, errno Errno) {
	r, _, e := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(into))), uintptr(len(into)))
	if e != 0 {
		return 0, e
	}
	return int(r), 0
}

// ReadFile reads what one read(2) gives of the beginning of a file.
//
//go:noinline
func ReadFile(path, into []byte) (n int, errno Errno) {
	fd, errno := Open(path, syscall.O_RDONLY, 0)
	if errno != 0 {
		return 0, errno
	}
	n, errno = Read(fd, into)
	Close(fd)
	return n, errno
}

// Write is write(2).
//
//go:noinline
func Write(fd int, text []byte) (n int, errno Errno) {
	r, _, e := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(text))), uintptr(len(text)))
	if e != 0 {
		return 0, e
	}
	return int(r), 0
}

// IsRegular reports whether a descriptor is of a regular file: no device, pipe or socket (inode(7)).
func IsRegular(fd int) bool {
	var stat syscall.Stat_t
	_, _, e := syscall.RawSyscall(sysFstat, uintptr(fd), uintptr(unsafe.Pointer(&stat)), 0)
	return e == 0 && stat.Mode&syscall.S_IFMT == syscall.S_IFREG
}

// SeekEnd moves to the end of a file and returns its size.
func SeekEnd(fd int) (size int, errno Errno) {
	r, _, e := syscall.RawSyscall(syscall.SYS_LSEEK, uintptr(fd), 0, seekEnd)
	return int(r), e
}

// Rewind goes back to the beginning of a file.
func Rewind(fd int) Errno {
	_, _, e := syscall.RawSyscall(syscall.SYS_LSEEK, uintptr(fd), 0, 0)
	return e
}

// Dirents reads entries of a directory (getdents64(2)).
func Dirents(fd int, into []byte) (n int, errno Errno) {
	r, _, e := syscall.RawSyscall(syscall.SYS_GETDENTS64, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(into))), uintptr(len(into)))
	if e != 0 {
		return 0, e
	}
	return int(r), 0
}

// EntryName is the name of the first of the entries that Dirents has read, and the others. It is empty after the last.
//
//go:noinline
func EntryName(entries []byte) (name string, rest []byte) {
	// struct linux_dirent64 (getdents(2)): inode and offset, 8 bytes each, length 2, type 1, name.
	const lengthAt, nameAt = 16, 19
	if len(entries) <= nameAt {
		return "", nil
	}
	length := int(*(*uint16)(unsafe.Pointer(&entries[lengthAt])))
	if length <= nameAt || length > len(entries) {
		return "", nil
	}
	return Text(&entries[nameAt]), entries[length:]
}

// Writable reports whether a write to fd takes at least a line now, instead of blocking or raising SIGPIPE. Of a terminal it
// reports only that there is some room: see IsTerminal.
func Writable(fd int) (bool, Errno) {
	p := PollFd{FD: int32(fd), Events: PollOut}
	t := syscall.Timespec{}
	n, _, e := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&t)), 0, 0, 0)
	return e == 0 && n == 1 && p.Revents == PollOut, e
}

// Fsync is fsync(2).
func Fsync(fd int) Errno {
	_, _, e := syscall.RawSyscall(syscall.SYS_FSYNC, uintptr(fd), 0, 0)
	return e
}

// Fchmod is fchmod(2).
func Fchmod(fd int, mode uint32) Errno {
	_, _, e := syscall.RawSyscall(syscall.SYS_FCHMOD, uintptr(fd), uintptr(mode), 0)
	return e
}

// Rename is rename(2).
func Rename(from, to []byte) Errno {
	at := atFdcwd
	_, _, e := syscall.RawSyscall6(sysRenameat, uintptr(at), uintptr(unsafe.Pointer(unsafe.SliceData(from))),
		uintptr(at), uintptr(unsafe.Pointer(unsafe.SliceData(to))), 0, 0)
	return e
}

// Unlink is unlink(2).
func Unlink(path []byte) Errno {
	at := atFdcwd
	_, _, e := syscall.RawSyscall(syscall.SYS_UNLINKAT, uintptr(at), uintptr(unsafe.Pointer(unsafe.SliceData(path))), 0)
	return e
}

// Statfs returns the flags with which the file system of a path is mounted, such as NoExec.
func Statfs(path []byte) (flags int64, errno Errno) {
	var fs syscall.Statfs_t
	name, size := uintptr(unsafe.Pointer(unsafe.SliceData(path))), unsafe.Sizeof(fs)
	var e Errno
	if statfsTakesSize {
		_, _, e = syscall.RawSyscall(sysStatfs, name, size, uintptr(unsafe.Pointer(&fs)))
	} else {
		_, _, e = syscall.RawSyscall(sysStatfs, name, uintptr(unsafe.Pointer(&fs)), 0)
	}
	return int64(fs.Flags), e
}

// WaitFor waits for one child to end.
func WaitFor(pid int) (status syscall.WaitStatus, errno Errno) {
	var s int32
	_, _, e := syscall.RawSyscall6(syscall.SYS_WAIT4, uintptr(pid), uintptr(unsafe.Pointer(&s)), 0, 0, 0, 0)
	return syscall.WaitStatus(s), e
}

// Path joins the parts of a path in into, with a NUL at the end for the kernel. It is nil if it does not fit.
//
//go:noinline
func Path(into []byte, parts ...string) []byte {
	n := 0
	for _, part := range parts {
		if n+len(part) >= len(into) {
			return nil
		}
		n += copy(into[n:], part)
	}
	into[n] = 0
	return into[:n+1]
}

// Pipe is pipe2(2) with O_CLOEXEC.
func Pipe() (read, write int, errno Errno) {
	var fds [2]int32
	_, _, e := syscall.RawSyscall(syscall.SYS_PIPE2, uintptr(unsafe.Pointer(&fds)), syscall.O_CLOEXEC, 0)
	return int(fds[0]), int(fds[1]), e
}

// Dup duplicates a descriptor to another number, which stays open in a program that is executed.
func Dup(from, to int) Errno {
	_, _, e := syscall.RawSyscall(syscall.SYS_DUP3, uintptr(from), uintptr(to), 0)
	return e
}

// WriteBoth writes two pieces in one call, so that no line of another writer comes between (pipe(7), PIPE_BUF).
func WriteBoth(fd int, first, second []byte) (n int, errno Errno) {
	vector := [2]syscall.Iovec{}
	*(*uintptr)(unsafe.Pointer(&vector[0].Base)) = uintptr(unsafe.Pointer(unsafe.SliceData(first)))
	*(*uintptr)(unsafe.Pointer(&vector[1].Base)) = uintptr(unsafe.Pointer(unsafe.SliceData(second)))
	vector[0].SetLen(len(first))
	vector[1].SetLen(len(second))
	r, _, e := syscall.RawSyscall(syscall.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&vector)), 2)
	if e != 0 {
		return 0, e
	}
	return int(r), 0
}

// PollFd is struct pollfd.
type PollFd struct {
	FD              int32
	Events, Revents int16
}

// The events of PollFd: something to read, room to write.
const (
	PollIn  = pollIn
	PollOut = pollOut
)

// Poll waits until one of the descriptors is ready; negative ones are skipped.
func Poll(fds []PollFd) Errno {
	_, _, e := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(unsafe.SliceData(fds))), uintptr(len(fds)), 0, 0, 0, 0)
	return e
}
