package main

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed program/program.c
var programSource []byte

// An Init is what a tree runs under.
type Init struct {
	Name string
	// Command is what stands before the main process.
	Command func(t *Tree, grace time.Duration) []string
}

// Inits are those that are compared. "tini -g" is run for information: its outcomes are counted, not compared with.
// The last is the init under test: podinit's, or any other with its flags.
func Inits(underTest []string) []Init {
	always := func(words ...string) func(*Tree, time.Duration) []string {
		return func(*Tree, time.Duration) []string { return words }
	}
	ours := func(t *Tree, grace time.Duration) []string {
		words := slices.Concat(underTest, []string{"--grace=" + grace.String()})
		if t.Stop && t.Signal != "TERM" {
			words = append(words, "--stop-signal=SIG"+t.Signal)
		}
		return append(words, "--")
	}
	switch filepath.Base(underTest[0]) {
	case "tini", "tini-static", "dumb-init", "catatonit":
		ours = always(append(underTest, "--")...) // these know neither flag
	}
	return []Init{{"none", always()}, {"tini", always("tini", "--")}, {"tini -g", always("tini", "-g", "--")}, {"podinit", ours}}
}

// Stage is where containers are run.
type Stage struct {
	Grace   time.Duration
	dir     string
	program string
}

// NewStage compiles the program that trees consist of, unless it is compiled already.
func NewStage(grace time.Duration, compiled string) (*Stage, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a PID namespace with its own /proc needs root: run this with sudo, or in a container with --privileged")
	}
	for _, program := range []string{"bash", "dash", "busybox", "tini", "dumb-init", "unshare", "setsid", "timeout", "tee"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("%w; make deps installs what the trees are made of", err)
		}
	}
	dir, err := os.MkdirTemp("", "never-worse")
	if err != nil {
		return nil, err
	}
	s := &Stage{Grace: grace, dir: dir, program: filepath.Join(dir, "program")}
	if compiled != "" {
		text, err := os.ReadFile(compiled)
		if err == nil {
			err = os.WriteFile(s.program, text, 0o755)
		}
		return s, err
	}
	compile := exec.Command("gcc", "-O1", "-Wall", "-static", "-x", "c", "-o", s.program, "-")
	compile.Stdin = strings.NewReader(string(programSource))
	if out, err := compile.CombinedOutput(); err != nil {
		s.Close()
		return nil, fmt.Errorf("gcc (make deps installs it): %w\n%s", err, out)
	}
	return s, nil
}

// Close removes what the stage has made.
func (s *Stage) Close() { os.RemoveAll(s.dir) }

const (
	patience = time.Minute             // until a tree counts as broken that does not start
	observed = 1500 * time.Millisecond // how long an ordinary signal's outcome is watched
	between  = 400 * time.Millisecond  // two signals
	leaving  = 700 * time.Millisecond  // the end of the main process and the signal
)

// Run runs a tree under an init.
func (s *Stage) Run(t *Tree, in Init) (Outcome, error) {
	c, err := s.start(t, in)
	if err != nil {
		return Outcome{}, err
	}
	defer c.remove()
	if err := c.awaitUp(); err != nil {
		c.kill()
		return Outcome{}, err
	}
	c.awaitQuiet(2 * time.Second)
	main := c.mainProcess(in.Name == "none")
	if t.Leave {
		c.touch("leave")
		c.sleep(leaving)
	}
	var o Outcome
	began := time.Now()
	o.Early = c.ended()
	if o.Early {
		o.Took = 0
	} else {
		c.stop(t, s.Grace, began)
	}
	if !c.ended() {
		o.Killed = true
		if !t.Stop {
			c.awaitQuiet(2 * time.Second)
			o.Alive = c.census()
		}
		o.MainAlive = slices.Contains(c.processes(), main)
		// It may have ended while we looked.
		o.Killed = !c.ended()
		c.kill()
	}
	<-c.done
	if !o.Early {
		o.Took = c.endedAt.Sub(began)
	}
	o.Code, o.Died = c.code, c.died
	o.Programs = fates(c.read("journal"))
	o.Init = c.read("stderr")
	o.Output = map[string]bool{}
	for line := range strings.Lines(c.read("stdout") + c.read("tee")) {
		o.Output[strings.TrimSpace(line)] = true
	}
	return o, nil
}

// container is a running tree.
type container struct {
	tree    *Tree
	cmd     *exec.Cmd
	dir     string
	program string
	done    chan struct{}
	code    int
	died    bool // by a signal
	endedAt time.Time
}

func (s *Stage) start(t *Tree, in Init) (*container, error) {
	dir, err := os.MkdirTemp(s.dir, "")
	if err != nil {
		return nil, err
	}
	c := &container{tree: t, dir: dir, program: s.program, done: make(chan struct{})}
	if err := errors.Join(os.Mkdir(c.path("home"), 0o755), os.WriteFile(c.path("journal"), nil, 0o644)); err != nil {
		return nil, err
	}
	var trouble error
	command := t.Command(s.program, int(s.Grace.Milliseconds()), func(name, text string) string {
		trouble = errors.Join(trouble, writeScript(c.path(name+".sh"), text))
		return c.path(name + ".sh")
	})
	if trouble != nil {
		return nil, trouble
	}
	stdout, err := os.OpenFile(c.path("stdout"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	stderr, err := os.OpenFile(c.path("stderr"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	c.cmd = &exec.Cmd{
		Path:   s.program,
		Args:   slices.Concat([]string{s.program, "stage"}, in.Command(t, s.Grace), command),
		Env:    []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C", "HOME=" + c.path("home"), "D=" + dir, "J=" + c.path("journal")},
		Dir:    dir,
		Stdout: stdout,
		Stderr: stderr,
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS,
			Setsid:     true,
		},
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		c.cmd.Wait()
		c.endedAt = time.Now()
		c.code = c.cmd.ProcessState.ExitCode()
		if status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			c.code, c.died = 128+int(status.Signal()), true
		}
		close(c.done)
	}()
	return c, nil
}

// writeScript writes an executable file. It goes by way of another process: a fork of this one in the meantime would
// hold the file open for writing, and nobody could execute it (ETXTBSY).
func writeScript(path, text string) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, []byte(text), 0o755)
}

func (c *container) path(name string) string { return filepath.Join(c.dir, name) }

func (c *container) read(name string) string {
	text, _ := os.ReadFile(c.path(name))
	return string(text)
}

func (c *container) touch(name string) { os.WriteFile(c.path(name), nil, 0o644) }

func (c *container) remove() { os.RemoveAll(c.dir) }

func (c *container) kill() {
	c.cmd.Process.Kill()
	<-c.done
}

func (c *container) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// sleep returns earlier when the container ends.
func (c *container) sleep(d time.Duration) {
	select {
	case <-c.done:
	case <-time.After(d):
	}
}

// stop sends the signals and waits until the container has ended, or the time for that is over.
func (c *container) stop(t *Tree, grace time.Duration, began time.Time) {
	signal := unix.SignalNum("SIG" + t.Signal)
	for i := range t.Times {
		if i > 0 {
			c.sleep(between)
		}
		c.cmd.Process.Signal(signal)
	}
	if !t.Stop {
		c.sleep(observed)
		return
	}
	if t.Finish > 0 {
		c.sleep(time.Until(began.Add(time.Duration(t.Finish * float64(grace)))))
		c.touch("finish")
	}
	c.sleep(time.Until(began.Add(grace)))
}

// awaitUp waits until every program has started.
func (c *container) awaitUp() error {
	for deadline := time.Now().Add(patience); ; c.sleep(25 * time.Millisecond) {
		journal := fates(c.read("journal"))
		up := true
		for i := range c.tree.Programs {
			for _, name := range c.tree.Programs[i].names() {
				up = up && journal[name].Up > 0
			}
		}
		switch {
		case up || c.ended() && c.mayEnd():
			return nil
		case c.ended():
			return fmt.Errorf("it ended with %d before its programs had started: %s", c.code, c.read("stderr"))
		case time.Now().After(deadline):
			return fmt.Errorf("its programs have not started: %s", c.read("journal")+c.read("stderr"))
		}
	}
}

// mayEnd says whether the main process may end by itself before it gets a signal.
func (c *container) mayEnd() bool {
	return slices.ContainsFunc(c.tree.Programs, func(p Program) bool { return p.Kind == "daemon" })
}

// awaitQuiet waits until every process sleeps: a shell has set its traps then, and waits. It gives up after a while.
func (c *container) awaitQuiet(atMost time.Duration) {
	before := ""
	for deadline := time.Now().Add(atMost); time.Now().Before(deadline) && !c.ended(); c.sleep(60 * time.Millisecond) {
		now, asleep := "", true
		for _, pid := range c.processes() {
			fields := stat(pid)
			if len(fields) < 13 {
				asleep = false
				continue
			}
			asleep = asleep && (fields[0] == "S" || fields[0] == "Z")
			now += fmt.Sprint(pid, fields[0], fields[11], fields[12], " ") // with the processor time
		}
		if asleep && now == before {
			return
		}
		before = now
	}
}

// stat are the fields of /proc/PID/stat behind the name.
func stat(pid int) []string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := cutLast(string(text), ") ")
	return strings.Fields(rest)
}

func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return s, "", false
}

// processes are all processes of the container, by the machine's numbers.
func (c *container) processes() []int {
	all := []int{c.cmd.Process.Pid}
	children := kernelChildren
	if _, err := os.Stat("/proc/thread-self/children"); err != nil {
		children = scannedChildren() // gVisor has no such file
	}
	for i := 0; i < len(all); i++ {
		for _, pid := range children(all[i]) {
			if !slices.Contains(all, pid) {
				all = append(all, pid)
			}
		}
	}
	return all
}

func kernelChildren(pid int) (children []int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, word := range strings.Fields(string(text)) {
		if child, err := strconv.Atoi(word); err == nil {
			children = append(children, child)
		}
	}
	return children
}

// scannedChildren looks at every process once.
func scannedChildren() func(pid int) []int {
	of := map[int][]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if fields := stat(pid); err == nil && len(fields) > 1 {
			parent, _ := strconv.Atoi(fields[1])
			of[parent] = append(of[parent], pid)
		}
	}
	return func(pid int) []int { return of[pid] }
}

// mainProcess is the first child of the init, or PID 1 where there is no init.
func (c *container) mainProcess(none bool) int {
	all := c.processes()
	if none || len(all) == 1 {
		return all[0]
	}
	return slices.Min(all[1:])
}

// census counts the living processes of each program.
func (c *container) census() map[string]int {
	out := map[string]int{}
	for _, pid := range c.processes() {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if words := strings.Split(string(text), "\x00"); len(words) > 2 && words[0] == c.program {
			out[words[1]]++
		}
	}
	return maps.Clone(out)
}
