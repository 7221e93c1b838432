//go:build amd64 || arm64

// Program is everything that the benchmark runs in a container besides the init: what starts the init, and the main
// process. It runs without libc and without the Go runtime, as the init does, so that it adds next to nothing to what
// is measured, and leaves signal mask and dispositions as it finds them.
//
//	program launch COMMAND...  prepare the container, wait for a byte on standard input, report the time, become COMMAND
//	program dress COMMAND...   block and ignore a few signals, become COMMAND
//	program exit               report the time and exit
//	program catch              report the time, and again for each SIGUSR1, which it catches
//	program early              report the time, and the number of the first signal that arrives; exit
//	program dressed            report which signals are blocked and which ignored; exit
//	program backlog N          leave N zombies to the init while it is stopped, report when it has reaped them all
//	program sustained N        leave N orphans one by one, report the times of the first and of the last one's end
//
// A report is a number of 64 bits on descriptor 3; a time is in nanoseconds on CLOCK_MONOTONIC.
package main

import (
	"syscall"
	"unsafe"

	"github.com/podinit/podinit/initbin/kernel"
)

// start is where entry_*.s goes. It does not return.
func start(block *kernel.Block) {
	kernel.Exit(run(block))
}

func run(block *kernel.Block) (code int) {
	if block.Count() < 2 {
		return 2
	}
	switch block.Arg(1) {
	case "launch":
		return launch(block)
	case "dress":
		dress()
		return become(block, 2)
	case "exit":
		reportTime()
	case "catch":
		catch()
	case "early":
		reportTime()
		info, _ := kernel.NextSignal(-1)
		report(uint64(info.Signal))
	case "dressed":
		report(inheritedMask)
		report(ignoredSignals())
	case "backlog":
		return backlog(number(block.Arg(2)))
	case "sustained":
		return sustained(number(block.Arg(2)))
	default:
		return 2
	}
	return 0
}

// launch is the container's runtime.
func launch(block *kernel.Block) int {
	if mount("none\x00", "/\x00", "none\x00", syscall.MS_REC|syscall.MS_PRIVATE) != 0 ||
		mount("proc\x00", "/proc\x00", "proc\x00", 0) != 0 {
		return 3
	}
	awaitByte()
	kernel.SetMask(inheritedMask)
	closeAtExec(4)
	reportTime()
	return become(block, 2)
}

// become runs the command that begins at the given argument in this process.
func become(block *kernel.Block, first int) int {
	var path [4096]byte
	kernel.SetMask(inheritedMask)
	kernel.Exec(kernel.Path(path[:], block.Arg(first)), block.Argv(first), block.Envp())
	return 4
}

// dress blocks and ignores signals of every kind: of the terminal, of faults, and those that end a program.
func dress() {
	for _, s := range [...]syscall.Signal{syscall.SIGTTIN, syscall.SIGILL, syscall.SIGTERM} {
		inheritedMask |= 1 << (s - 1)
	}
	for _, s := range [...]syscall.Signal{syscall.SIGTTOU, syscall.SIGSEGV, syscall.SIGINT, syscall.SIGPIPE, syscall.SIGUSR1} {
		kernel.SetIgnored(uint8(s), true)
	}
}

func ignoredSignals() (set uint64) {
	for s := range 64 {
		if kernel.Ignored(uint8(s + 1)) {
			set |= 1 << s
		}
	}
	return set
}

// catch has a handler for SIGUSR1, so that an init that asks sees it caught. The handler never runs: the signal stays
// blocked and is taken off the queue, which needs no assembly.
func catch() {
	action := [8]uintptr{4096} // struct sigaction: the handler is first
	syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGUSR1), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	for {
		reportTime()
		for {
			if info, errno := kernel.NextSignal(-1); errno == 0 && info.Signal == uint8(syscall.SIGUSR1) {
				break
			}
		}
	}
}

// backlog reports 0 when a child holds n zombies, waits for a byte, lets that child end, reports 0 again when they are
// the init's, and the time when all are gone.
func backlog(n int) int {
	holder := fork()
	if holder == 0 {
		for range n {
			forkOne()
		}
		report(0)
		awaitByte()
		return 0
	}
	kernel.WaitFor(holder)
	report(0)
	awaitNone(n + 100)
	reportTime()
	return 0
}

func sustained(n int) int {
	reportTime()
	for range n {
		parent := fork()
		if parent == 0 {
			forkOne()
			return 0
		}
		kernel.WaitFor(parent)
	}
	awaitNone(32768)
	reportTime()
	return 0
}

// forkOne starts a child that ends at once.
func forkOne() {
	if fork() == 0 {
		kernel.Exit(0)
	}
}

// fork tries until it succeeds: the process IDs of a small machine run out when others fork as much. The benchmark
// bounds how long.
func fork() (pid int) {
	for {
		pid, errno := kernel.Fork()
		if errno == 0 {
			return pid
		}
		sleep(10_000_000)
	}
}

// awaitNone returns when the init and we are the only processes with numbers below the limit.
func awaitNone(limit int) {
	for pid, self := 2, kernel.Getpid(); pid < limit; pid++ {
		for pid != self && kernel.Kill(pid, 0) == 0 {
			sleep(100_000)
		}
	}
}

func sleep(nanoseconds int64) {
	t := syscall.Timespec{Nsec: nanoseconds}
	syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
}

func reportTime() { report(uint64(kernel.Now())) }

func report(value uint64) {
	kernel.Write(3, (*[8]byte)(unsafe.Pointer(&value))[:])
}

// awaitByte waits for the benchmark's word to go on.
func awaitByte() {
	var b [1]byte
	kernel.Read(0, b[:])
}

// closeAtExec lets the benchmark see the moment in which this process becomes another program: the descriptor closes.
func closeAtExec(fd int) {
	syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_SETFD, syscall.FD_CLOEXEC)
}

// mount takes strings that end in a NUL byte.
func mount(source, target, kind string, flags uintptr) kernel.Errno {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_MOUNT, uintptr(unsafe.Pointer(unsafe.StringData(source))),
		uintptr(unsafe.Pointer(unsafe.StringData(target))), uintptr(unsafe.Pointer(unsafe.StringData(kind))), flags, 0, 0)
	return errno
}

func number(digits string) (n int) {
	for i := range len(digits) {
		n = n*10 + int(digits[i]-'0')
	}
	return n
}

func main() {
	panic("this program needs its entry point: go build -ldflags=-E=main.entry")
}
