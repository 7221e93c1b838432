package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Spec says what runs in a container.
type Spec struct {
	Options
	// Main is the main process, as it stands behind the init's "--".
	Main []string
	// Init replaces the init under test, to run one below it or none at all.
	Init *Init
	Stage
	// Stdin is /dev/null when nil; Stdout and Stderr are kept for Container.Stdout and Stderr when nil.
	Stdin, Stdout, Stderr *os.File
	// Terminal makes Stdin the controlling terminal.
	Terminal bool
	// Files are inherited as descriptors 4 and up.
	Files []*os.File
}

// A Container is an init as PID 1 of its own PID namespace, with its own /proc, and what runs under it.
type Container struct {
	Journal *Journal
	// PID is the init as the machine numbers it.
	PID int

	trial          *Trial
	cmd            *exec.Cmd
	stdout, stderr output
	goAhead        *os.File // lets a traced init run
	ended          chan struct{}
	code           int
	endedAt        time.Time
}

// output keeps what a program wrote.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

//go:embed victim.py
var victimSource []byte

// library is where victim.py lies, once for all trials, so that Python compiles it once.
var library = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "conformance-victim-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "victim.py"), victimSource, 0o644); err != nil {
		return "", err
	}
	return dir, exec.Command(python, "-I", "-S", "-m", "compileall", "-q", dir).Run()
})

var (
	published   = map[string]string{}
	publishedMu sync.Mutex
)

// Publish copies a binary to where every user may execute it, as a copier does it for a pod, and returns the copy.
func (t *Trial) Publish(path string) string {
	publishedMu.Lock()
	defer publishedMu.Unlock()
	if done, ok := published[path]; ok {
		return done
	}
	dir, err := library()
	t.Must(err)
	b, err := os.ReadFile(path)
	t.Must(err)
	dir = filepath.Join(dir, strconv.Itoa(len(published)))
	t.Must(os.Mkdir(dir, 0o755))
	done := filepath.Join(dir, filepath.Base(path))
	t.Must(writeFile(done, b, 0o755))
	published[path] = done
	return done
}

// Self is this program, for what it is started again as.
func (t *Trial) Self() string {
	self, err := os.Executable()
	t.Must(err)
	return t.Publish(self)
}

// removeLibrary cleans up after the last trial.
func removeLibrary() {
	if dir, err := library(); err == nil {
		os.RemoveAll(dir)
	}
}

const python = "/usr/bin/python3"

// Victim is the command line of a program written with victim.py.
func (t *Trial) Victim(code string) []string {
	dir, err := library()
	t.Must(err)
	return []string{python, "-I", "-S", "-c", "import sys; sys.path.insert(0, '" + dir + "')\nfrom victim import *\n" + code}
}

// VictimScript writes the same into a file that can be named in a shell's command line.
func (t *Trial) VictimScript(name, code string) string {
	dir, err := library()
	t.Must(err)
	return t.Write(name, "#!"+python+" -IS\nimport sys; sys.path.insert(0, '"+dir+"')\nfrom victim import *\n"+code, 0o755)
}

// Start runs an init, and returns when it has been executed.
func (t *Trial) Start(s Spec) *Container {
	init := t.Init
	if s.Init != nil {
		init = *s.Init
	}
	args, missing := init.dialect(s.Options)
	if missing != "" {
		panic(failure{NoSuch, "no such option: " + missing})
	}
	switch init.Name {
	case "none":
		path, err := exec.LookPath(s.Main[0])
		t.Must(err)
		s.Argv = append([]string{path}, s.Main[1:]...)
	case "wrong":
		s.Env = append(s.Env, wrongVariable+"=1")
		fallthrough
	default:
		path := init.Path
		if s.Init == nil {
			path = t.Publish(path)
		}
		s.Argv = append(append([]string{path}, args...), s.Main...)
	}

	if s.Dir == "" {
		s.Dir = "/"
	}
	if s.ReadOnly {
		s.Writable = t.Dir
	}
	if s.Limits == nil {
		s.Limits = map[int][2]uint64{}
	}
	if _, ok := s.Limits[unix.RLIMIT_CORE]; !ok {
		s.Limits[unix.RLIMIT_CORE] = [2]uint64{0, 0}
	}
	if _, ok := s.Limits[unix.RLIMIT_NOFILE]; !ok {
		// This runtime raised its own soft limit; a container's is set by its runtime anyway.
		s.Limits[unix.RLIMIT_NOFILE] = [2]uint64{1024, 4096}
	}
	var goAhead *os.File
	if s.Traced {
		r, w, err := os.Pipe()
		t.Must(err)
		defer r.Close()
		s.Files, goAhead = []*os.File{r}, w
	}
	journal, err := newJournal(t.Path(fmt.Sprintf("journal-%d", len(t.cleanup))))
	t.Must(err)
	for _, v := range []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LANG=C.UTF-8", "JOURNAL=" + journal.Path} {
		name, _, _ := strings.Cut(v, "=")
		if !slices.ContainsFunc(s.Env, func(have string) bool { return strings.HasPrefix(have, name+"=") }) {
			s.Env = append(s.Env, v)
		}
	}

	spec, err := json.Marshal(s.Stage)
	t.Must(err)
	self := t.Self()
	executed, sync, err := os.Pipe()
	t.Must(err)
	c := &Container{Journal: journal, trial: t, goAhead: goAhead, ended: make(chan struct{})}
	c.cmd = &exec.Cmd{
		Path:       self,
		Args:       []string{self},
		Env:        []string{stageVariable + "=" + string(spec)},
		Dir:        "/",
		Stdin:      nilOr(s.Stdin),
		Stdout:     orOutput(s.Stdout, &c.stdout),
		Stderr:     orOutput(s.Stderr, &c.stderr),
		ExtraFiles: append([]*os.File{sync}, s.Files...),
		// What is still running when the init has ended is dead or not ours; its pipes are not waited for.
		WaitDelay: time.Second,
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
			Setsid:     true,
			Setctty:    s.Terminal,
		},
	}
	err = c.cmd.Start()
	sync.Close()
	t.Must(err)
	c.PID = c.cmd.Process.Pid
	t.Cleanup(c.kill)
	if s.Traced {
		// Not before the stage runs, whose own exec is not the one to be traced.
		_, err := executed.Read(make([]byte, 1))
		executed.Close()
		if err != nil {
			go c.wait() // nobody traces it
			t.Brokenf("the stage ended before it could be traced: %v", err)
		}
		return c
	}
	go c.wait()
	trouble, err := io.ReadAll(executed)
	executed.Close()
	t.Must(err)
	if len(trouble) > 0 {
		t.Brokenf("%s", trouble)
	}
	if s.ProcessOne {
		// PID 1 has one child, the init.
		t.Until("the init is started", func() bool {
			children := c.children(c.PID)
			if len(children) == 1 {
				c.PID = children[0]
			}
			return len(children) == 1 || !c.Running()
		})
	}
	return c
}

func nilOr(f *os.File) io.Reader {
	if f == nil {
		return nil
	}
	return f
}

func orOutput(f *os.File, o *output) io.Writer {
	if f == nil {
		return o
	}
	return f
}

func (c *Container) wait() {
	err := c.cmd.Wait()
	c.endedAt = time.Now()
	c.code = c.cmd.ProcessState.ExitCode()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		c.code = -2
	}
	c.Journal.end()
	c.Journal.wait(lastLine, 1, time.Minute)
	close(c.ended)
}

func (c *Container) kill() {
	c.cmd.Process.Kill()
	<-c.ended
	c.forget()
}

// forget lets go of what a container that has ended still holds, for trials that start very many.
func (c *Container) forget() {
	c.Journal.fifo.Close()
	os.Remove(c.Journal.Path)
}

// Signal sends a signal to the init from outside of its namespace, as a container runtime does.
func (c *Container) Signal(names ...string) {
	for _, name := range names {
		sig, ok := signalNumber(name)
		if !ok {
			c.trial.Brokenf("no signal %s", name)
		}
		if err := unix.Kill(c.PID, syscall.Signal(sig)); err != nil {
			c.Failf("%s to the init: %v", name, err)
		}
	}
}

// Await waits until each of the lines was said.
func (c *Container) Await(lines ...string) {
	for _, l := range lines {
		c.AwaitTimes(l, 1)
	}
}

// AwaitTimes waits until the line was said n times.
func (c *Container) AwaitTimes(line string, n int) {
	if !c.Journal.wait(line, n, c.trial.Size.Patience) {
		c.Failf("not said (%d times): %s", n, line)
	}
}

// Code waits for the container's end and returns its exit code.
func (c *Container) Code() int {
	select {
	case <-c.ended:
		return c.code
	case <-time.After(c.trial.Size.Patience):
		c.Failf("the container has not ended")
		return -1
	}
}

// Ends waits for the container's end with this exit code.
func (c *Container) Ends(code int) {
	if got := c.Code(); got != code {
		c.Failf("exit code %d, want %d", got, code)
	}
}

// Running says whether the init has not ended.
func (c *Container) Running() bool {
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

// Said asks that each of the lines was said exactly n times, up to now.
func (c *Container) Said(n int, lines ...string) {
	for _, l := range lines {
		if got := c.Count(l); got != n {
			c.Failf("said %d times, want %d: %s", got, n, l)
		}
	}
}

// Count is how often a line was said.
func (c *Container) Count(line string) int {
	c.Journal.mu.Lock()
	defer c.Journal.mu.Unlock()
	return c.Journal.count(line)
}

// At is when a line was first said.
func (c *Container) At(line string) time.Time {
	for _, l := range c.Journal.all() {
		if l.Text == line {
			return l.At
		}
	}
	c.Failf("never said: %s", line)
	return time.Time{}
}

// Value is what stands behind a prefix in the first line that has it.
func (c *Container) Value(prefix string) string {
	for _, l := range c.Journal.all() {
		if v, ok := strings.CutPrefix(l.Text, prefix); ok {
			return v
		}
	}
	c.Failf("never said: %s", prefix)
	return ""
}

// Failf fails the trial and adds what was seen in this container.
func (c *Container) Failf(format string, args ...any) {
	var b strings.Builder
	fmt.Fprintf(&b, format, args...)
	if !c.Running() {
		fmt.Fprintf(&b, " (the init has ended with %d)", c.code)
	}
	b.WriteString(c.Journal.String())
	if s := strings.TrimSpace(c.stderr.String()); s != "" {
		b.WriteString("\n    stderr: " + strings.ReplaceAll(clip(s, 2000), "\n", "\n    stderr: "))
	}
	panic(failure{Lacks, b.String()})
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "..."
	}
	return s
}

// children lists a process's children by the machine's numbers.
func (c *Container) children(pid int) (out []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, path := range tasks {
		b, _ := os.ReadFile(path)
		for _, f := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}

// main waits for the init's first child and returns it by the machine's numbers.
func (c *Container) main() int {
	var pid int
	c.trial.Until("the init has a child", func() bool {
		if children := c.children(c.PID); len(children) > 0 {
			pid = children[0]
		}
		return pid != 0
	})
	return pid
}

// status reads one field of /proc/PID/status; the machine's number, which it may have lost already.
func status(pid int, field string) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// zombies counts the processes in this container that nobody has waited for.
func (c *Container) zombies() (n int) {
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/root/proc/[0-9]*/stat", c.PID))
	for _, path := range stats {
		b, _ := os.ReadFile(path)
		// The name may hold anything, parentheses too; the state stands behind the last one.
		if i := strings.LastIndexByte(string(b), ')'); i > 0 && i+2 < len(b) && b[i+2] == 'Z' {
			n++
		}
	}
	return n
}

// processes lists every process of the container by the machine's numbers.
func (c *Container) processes() (out []int) {
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", c.PID))
	if err != nil {
		c.Failf("the init is gone: %v", err)
	}
	links, _ := filepath.Glob("/proc/[0-9]*/ns/pid")
	for _, link := range links {
		if l, err := os.Readlink(link); err == nil && l == namespace {
			pid, _ := strconv.Atoi(strings.Split(link, "/")[2])
			out = append(out, pid)
		}
	}
	return out
}

// entries counts the processes in /proc, with those that are about to end, which have no namespaces any more, and zombies.
func (c *Container) entries() int {
	processes, _ := filepath.Glob(fmt.Sprintf("/proc/%d/root/proc/[0-9]*", c.PID))
	return len(processes)
}

// comm is a process's name.
func comm(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(b))
}

// kill signals a process inside a container, by the machine's number; it may be gone.
func kill(pid int, name string) {
	sig, _ := signalNumber(name)
	unix.Kill(pid, syscall.Signal(sig))
}

// killNamed signals every process of the container that has this name.
func (c *Container) killNamed(name, signal string) {
	for _, pid := range c.processes() {
		if comm(pid) == name {
			kill(pid, signal)
		}
	}
}

// Exec runs a command in the container from outside, as "kubectl exec" does: a process without a parent there.
func (c *Container) Exec(argv ...string) *exec.Cmd {
	cmd := exec.Command("/usr/bin/nsenter", append([]string{"-t", strconv.Itoa(c.PID), "-p", "-m", "--"}, argv...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "JOURNAL=" + c.Journal.Path}
	return cmd
}
