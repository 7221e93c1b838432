package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/podinit/podinit/initbin/kernel"
	"golang.org/x/sys/unix"
)

// initPath is the init under test, built as a release is. scripts is a directory for scripts of the tests' programs.
var initPath, scripts string

// ldflags are what make the binary an init: see docs/freestanding.md.
const ldflags = "-s -w -E main.entry"

// mountProc marks a run of this test binary that only prepares a PID namespace and then becomes its PID 1.
const mountProc = "PODINIT_TEST_MOUNT_PROC"

func TestMain(m *testing.M) {
	if os.Getenv(mountProc) != "" {
		fmt.Fprintln(os.Stderr, becomePID1())
		os.Exit(99)
	}
	directory, err := os.MkdirTemp("", "podinit")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Chmod(directory, 0o755)
	initPath, scripts = filepath.Join(directory, "init"), directory
	build := exec.Command("go", "build", "-trimpath", "-ldflags", ldflags, "-o", initPath, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(directory)
	os.Exit(code)
}

// becomePID1 gives the new PID namespace its own /proc and executes the arguments.
func becomePID1() error {
	runtime.LockOSThread()
	if os.Getenv(mountProc) == "yes" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("making mounts private: %w", err)
		}
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			return fmt.Errorf("mounting /proc: %w", err)
		}
	}
	os.Unsetenv(mountProc)
	refused := os.Getenv(refuseCall)
	os.Unsetenv(refuseCall)
	// Whatever this test was started with (nohup ignores SIGHUP), a container begins with defaults.
	for s := uint8(1); s <= 64; s++ {
		kernel.SetIgnored(s, false)
	}
	if number, err := strconv.Atoi(refused); err == nil {
		if err := refuseSystemCall(uint32(number)); err != nil {
			return fmt.Errorf("refusing system call %d: %w", number, err)
		}
	}
	return syscall.Exec(os.Args[1], os.Args[1:], os.Environ())
}

// refuseCall names the variable with the number of a system call that is refused with EPERM from then on, as a recorded
// seccomp profile does.
const refuseCall = "PODINIT_TEST_REFUSE"

func refuseSystemCall(number uint32) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: number},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	return nil
}

// testContainer is a process under test in a PID namespace of its own, as its PID 1 unless a test says otherwise.
type testContainer struct {
	*exec.Cmd
	t         *testing.T
	output    *buffer
	directory string // $D
	finished  func() // what is to be done when it has ended
}

// await is a script that waits until its arguments exist as files in $D, which processes of a test make with "touch" to
// show how far they are.
const await = `for f; do until [ -e $D/$f ]; do sleep 0.01; done; done`

// newContainer prepares "init arguments..." as PID 1 of a new PID namespace with its own /proc.
func newContainer(t *testing.T, arguments ...string) *testContainer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], append([]string{initPath}, arguments...)...)
	directory := t.TempDir()
	if err := os.WriteFile(filepath.Join(directory, "await"), []byte(await), 0o644); err != nil {
		t.Fatal(err)
	}
	// An interactive shell reads the files in its HOME, which must not be those of the user that runs the tests.
	cmd.Env = append(os.Environ(), mountProc+"=yes", "D="+directory, "HOME="+scripts)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	c := &testContainer{Cmd: cmd, t: t, output: &buffer{}, directory: directory}
	cmd.Stdout, cmd.Stderr = c.output, c.output
	cmd.WaitDelay = 10 * time.Second
	return c
}

// script prepares a shell script as the main process.
func script(t *testing.T, text string, flags ...string) *testContainer {
	t.Helper()
	return newContainer(t, append(flags, "--", "/bin/sh", "-c", text)...)
}

func (c *testContainer) start() *testContainer {
	c.t.Helper()
	if err := c.Cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// patience is how long a test waits for what must come. It is long, since only a fault takes it.
const patience = time.Minute

// waitFor waits until the output holds text.
func (c *testContainer) waitFor(text string) *testContainer {
	c.t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(c.output.String(), text); {
		if time.Now().After(deadline) {
			c.t.Fatalf("no %q in the output:\n%s", text, c.output)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return c
}

func (c *testContainer) signal(s syscall.Signal) *testContainer {
	c.t.Helper()
	if err := c.Process.Signal(s); err != nil {
		c.t.Fatalf("sending %v: %v\n%s", s, err, c.output)
	}
	return c
}

// wait waits for the end and gives the exit code, -1 if a signal killed the init itself.
func (c *testContainer) wait() int {
	c.t.Helper()
	err := c.Cmd.Wait()
	if c.finished != nil {
		c.finished()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatalf("%v\n%s", err, c.output)
	}
	return c.ProcessState.ExitCode()
}

func (c *testContainer) run() int {
	c.t.Helper()
	return c.start().wait()
}

// buffer is a bytes.Buffer that a test may look into while a process writes.
type buffer struct {
	mutex sync.Mutex
	bytes bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.bytes.Write(p)
}

func (b *buffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.bytes.String()
}

// sortedLines are the lines of a text in order, but for some.
func sortedLines(text string, without ...string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if !slices.Contains(without, strings.TrimSuffix(line, "\n")) {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// touch makes a file in $D, for which a process of the test waits.
func (c *testContainer) touch(name string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.directory, name), nil, 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// eventually waits until something holds.
func (c *testContainer) eventually(what string, holds func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("not so: %s\n%s", what, c.output)
		}
	}
}

// settle waits until every process of the container that has a child sleeps: a shell that has just started a program has
// still to wait for it, and to do what it does before that.
func (c *testContainer) settle() *testContainer {
	c.t.Helper()
	c.eventually("every process with a child sleeps", func() bool {
		files, _ := filepath.Glob("/proc/[0-9]*/stat")
		asleep, children := map[string]bool{}, map[string][]string{}
		for _, file := range files {
			text, _ := os.ReadFile(file)
			_, rest, _ := strings.Cut(string(text[bytes.LastIndexByte(text, ')')+1:]), " ")
			if fields := strings.Fields(rest); len(fields) > 1 {
				pid := filepath.Base(filepath.Dir(file))
				asleep[pid] = fields[0] == "S" || fields[0] == "T"
				children[fields[1]] = append(children[fields[1]], pid)
			}
		}
		below := []string{strconv.Itoa(c.Process.Pid)}
		for i := 0; i < len(below); i++ {
			if own := children[below[i]]; len(own) > 0 && !asleep[below[i]] {
				return false
			}
			below = append(below, children[below[i]]...)
		}
		return true
	})
	return c
}

// waitUntilTaken waits until the init has taken a signal that it was sent, and sleeps again.
func (c *testContainer) waitUntilTaken(s syscall.Signal) {
	c.t.Helper()
	c.eventually("the init has taken "+s.String(), func() bool {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Process.Pid))
		var pending uint64
		for line := range strings.Lines(string(text)) {
			if hex, ok := strings.CutPrefix(line, "ShdPnd:\t"); ok {
				fmt.Sscanf(hex, "%x", &pending)
			}
		}
		return strings.Contains(string(text), "State:\tS") && pending>>(s-1)&1 == 0
	})
}
