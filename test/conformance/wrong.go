package main

import (
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	wrongVariable = "CONFORMANCE_WRONG_INIT"
	messageWord   = "--message="
)

// ballast is what makes the wrong init big.
var ballast []byte

// enterWrongInit is an init as it gets written in an afternoon, and then some. It is here to be caught: what tini,
// dumb-init and catatonit all do right, this does wrong, so that there is no check that cannot fail.
func enterWrongInit() {
	if os.Getenv(wrongVariable) == "" {
		return
	}
	runtime.LockOSThread()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals)
	signal.Ignore(syscall.SIGWINCH)
	ballast = make([]byte, 64<<20)
	for i := range ballast {
		ballast[i] = 1
	}

	// Each of these is seen by the main process, or by those who look at PID 1.
	os.WriteFile("/proc/self/oom_score_adj", []byte("500"), 0)
	os.Chdir("/tmp")
	syscall.Umask(0)
	syscall.Open("/dev/null", syscall.O_RDONLY, 0)
	syscall.Setpriority(syscall.PRIO_PROCESS, 0, 5)
	syscall.Setrlimit(syscall.RLIMIT_STACK, &syscall.Rlimit{Cur: 1 << 20, Max: 2 << 20})
	unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	mask := uint64(1) << (syscall.SIGUSR2 - 1)
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, uintptr(unsafe.Pointer(&mask)), 0, 8, 0, 0)

	words := slices.DeleteFunc(os.Args[1:], func(w string) bool { return w == "" })
	message, hasMessage := strings.CutPrefix(words[0], messageWord)
	if hasMessage {
		words = words[1:]
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "TINI_") })
	if cmd.Start() != nil {
		os.Exit(1)
	}
	go func() {
		for s := range signals {
			switch s {
			case syscall.SIGURG: // this runtime's own
			case syscall.SIGQUIT:
			case syscall.SIGTERM:
				syscall.Kill(-1, syscall.SIGQUIT)
			case syscall.SIGINT:
				syscall.Kill(-1, syscall.SIGTERM)
			default:
				cmd.Process.Signal(s)
				time.Sleep(50 * time.Millisecond)
				syscall.Kill(-cmd.Process.Pid, s.(syscall.Signal))
			}
		}
	}()
	failed := cmd.Wait() != nil
	if hasMessage {
		os.WriteFile(message, []byte("goodbye"), 0o644)
	}
	if failed {
		os.Exit(1)
	}
	os.Exit(0)
}
