package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Stage is what a container runtime sets up in the new namespaces before it executes the init.
// It travels in the environment of this program, started once more, which then becomes the init.
type Stage struct {
	Argv []string
	Env  []string
	Dir  string
	// ProcessOne keeps a process of its own as PID 1 and runs the init as its child.
	ProcessOne bool
	// NoProc leaves /proc empty; ReadOnly makes the root mount read-only except below Writable.
	NoProc, ReadOnly bool
	Writable         string
	// HidePID hides the processes of other users in /proc.
	HidePID bool
	// Cgroups are directories to move into, last of all, since this runtime is bigger than their limits.
	Cgroups []string
	// Ignore and Block are the dispositions and the mask; Pend is sent before the init runs, and has to be blocked.
	Ignore, Block, Pend []int
	// Limits are soft and hard, by resource.
	Limits map[int][2]uint64
	// Umask and OOMScoreAdj are left alone when nil.
	Umask, OOMScoreAdj *int
	// UID is the user and group; 0 is root.
	UID int
	// Drop are the capabilities that are taken away.
	Drop                []uintptr
	NoNewPrivs, Seccomp bool
	// ClosedStderr executes the init without descriptor 2.
	ClosedStderr bool
	// Traced waits with the exec for a tracer, whose word comes on descriptor 4.
	Traced bool

	// Child is PID 1's child, in namespaces that stand already.
	Child bool
}

const (
	stageVariable = "CONFORMANCE_STAGE"
	stageFailed   = 125
)

func init() {
	// Exec replaces the first thread, and a tracer follows a thread: let it be this one.
	if os.Getenv(stageVariable) != "" {
		runtime.LockOSThread()
	}
}

// enterStage becomes the init where this process was started for that, and returns otherwise.
func enterStage() {
	spec := os.Getenv(stageVariable)
	if spec == "" {
		return
	}
	errors := os.NewFile(3, "stage errors")
	unix.CloseOnExec(3)
	var s Stage
	err := json.Unmarshal([]byte(spec), &s)
	if err == nil {
		err = s.enter()
	}
	fmt.Fprintf(errors, "stage: %v", err)
	os.Exit(stageFailed)
}

func (s *Stage) enter() error {
	if !s.Child {
		// Go's Pdeathsig takes getppid's 0, in a new PID namespace, for a parent that has died, and sends this process SIGKILL. Linux
		// drops it for PID 1, gVisor does not.
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
			return fmt.Errorf("signal for the end of the suite: %w", err)
		}
	}
	var cgroups []int
	for _, dir := range s.Cgroups {
		fd, err := unix.Open(dir+"/cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("cgroup %s: %w", dir, err)
		}
		cgroups = append(cgroups, fd)
	}
	if s.OOMScoreAdj != nil {
		if err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(*s.OOMScoreAdj)), 0); err != nil {
			return err
		}
	}
	if !s.Child {
		if err := s.mounts(); err != nil {
			return err
		}
	}
	if s.ProcessOne {
		return s.beProcessOne()
	}
	if err := os.Chdir(s.Dir); err != nil {
		return err
	}
	if err := s.credentials(); err != nil {
		return err
	}
	for r, l := range s.Limits {
		if err := rawSetrlimit(r, l); err != nil {
			return fmt.Errorf("limit %d: %w", r, err)
		}
	}
	if s.Umask != nil {
		unix.Umask(*s.Umask)
	}
	if s.Seccomp {
		if err := runtimeDefaultSeccomp(); err != nil {
			return fmt.Errorf("seccomp: %w", err)
		}
	}
	return s.exec(cgroups)
}

func (s *Stage) mounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if s.NoProc {
		// Detached rather than covered: the machine's own /proc must not show either.
		if err := unix.Mount("none", "/proc", "tmpfs", unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("empty /proc: %w", err)
		}
	} else {
		options := ""
		if s.HidePID {
			options = "hidepid=2"
		}
		if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options); err != nil {
			return fmt.Errorf("/proc: %w", err)
		}
	}
	if s.ReadOnly {
		if err := unix.Mount(s.Writable, s.Writable, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("writable mount: %w", err)
		}
		readOnly, writable := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}, unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}
		err := unix.MountSetattr(-1, "/", 0, &readOnly)
		if err == unix.ENOSYS { // before Linux 5.12
			return remountReadOnly()
		}
		if err != nil {
			return fmt.Errorf("read-only root: %w", err)
		}
		if err := unix.MountSetattr(-1, s.Writable, 0, &writable); err != nil {
			return fmt.Errorf("writable mount: %w", err)
		}
	}
	return nil
}

// remountReadOnly makes the root mount read-only. What is mounted below it stays writable.
func remountReadOnly() error {
	if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("read-only root: %w", err)
	}
	return nil
}

func (s *Stage) credentials() error {
	for _, c := range s.Drop {
		// EINVAL: a kernel that does not have it.
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && err != unix.EINVAL {
			return fmt.Errorf("bounding set: %w", err)
		}
	}
	if s.UID != 0 {
		// As runc does, so that the user may open /proc/self/fd/1 anew. Pipes only: a device is the machine's.
		for fd := range 3 {
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
				continue
			}
			if err := unix.Fchown(fd, s.UID, s.UID); err != nil {
				return fmt.Errorf("owner of descriptor %d: %w", fd, err)
			}
		}
		if err := unix.Setgroups(nil); err != nil {
			return err
		}
		if err := unix.Setresgid(s.UID, s.UID, s.UID); err != nil {
			return err
		}
		if err := unix.Setresuid(s.UID, s.UID, s.UID); err != nil {
			return err
		}
	}
	if s.NoNewPrivs || s.Seccomp {
		return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	return nil
}

// sigaction is the kernel's struct; only its first word matters here.
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

// exec becomes the init with exactly the dispositions and the mask asked for, and none of this runtime's.
func (s *Stage) exec(cgroups []int) error {
	argv, err := pointers(s.Argv)
	if err != nil {
		return err
	}
	env, err := pointers(s.Env)
	if err != nil {
		return err
	}
	if s.Traced {
		if err := awaitTracer(3, 4); err != nil {
			return fmt.Errorf("tracer: %w", err)
		}
	}
	var all, mask uint64
	all = ^uint64(0)
	for _, sig := range s.Block {
		mask |= 1 << (sig - 1)
	}
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), 0, 8, 0, 0)
	// What this program was started with, under nohup say, is not the container's.
	for sig := 1; sig <= 64; sig++ {
		var action sigaction // SIG_DFL is 0, SIG_IGN is 1
		if slices.Contains(s.Ignore, sig) {
			action.handler = 1
		}
		_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
		if e != 0 && sig != int(unix.SIGKILL) && sig != int(unix.SIGSTOP) {
			return fmt.Errorf("disposition of %d: %w", sig, e)
		}
	}
	for _, sig := range s.Pend {
		// To this thread: the others have not blocked it.
		unix.Tgkill(os.Getpid(), unix.Gettid(), unix.Signal(sig))
	}
	self := []byte("0")
	for _, fd := range cgroups {
		if _, _, e := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&self[0])), 1); e != 0 {
			return fmt.Errorf("enter cgroup: %w", e)
		}
	}
	if s.ClosedStderr {
		unix.RawSyscall(unix.SYS_CLOSE, 2, 0, 0)
	}
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&mask)), 0, 8, 0, 0)
	_, _, e := unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(argv[0])), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])))
	return fmt.Errorf("exec %s: %w", s.Argv[0], e)
}

func pointers(words []string) ([]*byte, error) {
	var out []*byte
	for _, w := range words {
		p, err := unix.BytePtrFromString(w)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return append(out, nil), nil
}

// rawSetrlimit goes past package syscall, which remembers a limit of its own for exec.
func rawSetrlimit(resource int, l [2]uint64) error {
	if _, _, e := unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, uintptr(resource), uintptr(unsafe.Pointer(&l)), 0, 0, 0); e != 0 {
		return e
	}
	return nil
}

// beProcessOne runs the rest of the stage as a child, reaps what comes, and ends as the child did.
func (s *Stage) beProcessOne() error {
	rest := *s
	rest.ProcessOne, rest.Cgroups, rest.Child = false, nil, true
	spec, err := json.Marshal(rest)
	if err != nil {
		return err
	}
	p, err := os.StartProcess(os.Args[0], os.Args[:1], &os.ProcAttr{
		Env:   []string{stageVariable + "=" + string(spec)},
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, os.NewFile(3, "stage errors")},
	})
	if err != nil {
		return err
	}
	// The child alone has to hold it, so that its exec ends it.
	unix.Close(3)
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			os.Exit(stageFailed)
		case pid != p.Pid:
		case status.Signaled():
			os.Exit(128 + int(status.Signal()))
		case status.Exited():
			os.Exit(status.ExitStatus())
		}
	}
}

// everyCapability is for Stage.Drop.
func everyCapability() (all []uintptr) {
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		all = append(all, c)
	}
	return all
}
