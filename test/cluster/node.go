package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Supervise is what a node runs: PID 1 of the namespaces that Up made. It starts the node's programs
// from the directory bin and runs as long as all of them do; it returns why it gave up. Every
// process of the node ends with it.
func Supervise(bin string, number int) error {
	i := index(number)
	if os.Getpid() != 1 {
		return errors.New("the node runs only as the first process of its own PID namespace: use 'up'")
	}
	lock, err := os.OpenFile(i.lockFile(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", i.lockFile(), err)
	}
	// The lock tells others that a node runs: it must last as long as this process does, and an
	// os.File that nothing refers to any more is closed by its finalizer.
	defer lock.Close()
	word, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	if string(word) != gateOpen {
		return errors.New("the program that started this node ended before it had joined it to a network")
	}
	if err := setUpMounts(i); err != nil {
		return fmt.Errorf("set up the node's mounts: %w", err)
	}
	if err := unix.Sethostname([]byte(i.name())); err != nil {
		return err
	}
	if err := setUpNetwork(i); err != nil {
		return fmt.Errorf("set up the node's network: %w", err)
	}
	if err := makeCgroups(i); err != nil {
		return err
	}
	if err := writeConfigs(i, bin); err != nil {
		return fmt.Errorf("write the configuration of the node's programs: %w", err)
	}
	s := &supervisor{bin: bin, components: components(i, bin), children: map[int]string{}, ended: make(chan string, 1)}
	go s.reap()
	if err := s.startAll(); err != nil {
		return err
	}
	restart := make(chan os.Signal, 1)
	signal.Notify(restart, restartSignal)
	for {
		select {
		case why := <-s.ended:
			return errors.New(why)
		case <-restart:
			names, err := os.ReadFile(restartFile)
			if err != nil {
				return err
			}
			if err := s.restart(strings.Fields(string(names))); err != nil {
				return err
			}
		}
	}
}

// restartSignal has the node restart what restartFile names.
const restartSignal = unix.SIGHUP

// gateOpen is what a node reads from its standard input when its network exists.
const gateOpen = "go"

// setUpMounts gives the node its own /proc, as a PID namespace needs, and its own /run, /var/log and
// /var/lib/kubelet, where containerd and kubelet leave sockets and links at fixed paths. A further
// node sees its own directory at the path of Dir, so that all paths are the same on every node.
func setUpMounts(i index) error {
	// First private, so nothing reaches the machine; then shared again among the node's own
	// descendants, as mount propagation into pods requires (mount_namespaces(7)).
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	if i != first {
		// Which registries speak plain HTTP is the same on every node, and tests write it on the machine.
		for _, bind := range [][2]string{{etc("certs.d"), filepath.Join(i.dir(), "etc", "certs.d")}, {i.dir(), Dir}} {
			if err := unix.Mount(bind[0], bind[1], "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
				return fmt.Errorf("mount %s on %s: %w", bind[0], bind[1], err)
			}
		}
		// The working directory is still the one below the mount.
		if err := os.Chdir(Dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(kubeletFixed, 0o755); err != nil {
		return err
	}
	// crun takes cgroup v2 where it is mounted, also beside the hierarchies of v1, which the other programs use.
	if !unified() {
		if err := unix.Unmount(filepath.Join(cgroupMount, "unified"), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	for _, dir := range []string{"/run", "/var/log", kubeletFixed} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
			return fmt.Errorf("mount a tmpfs on %s: %w", dir, err)
		}
	}
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

// kubeletFixed is where a kubelet has the sockets of device plugins, whatever its --root-dir.
const kubeletFixed = "/var/lib/kubelet"

// supervisor starts programs and reaps them and every orphan, as PID 1 must.
type supervisor struct {
	bin        string
	components []component

	mu       sync.Mutex
	children map[int]string
	ended    chan string
	// stopping is the child that may end, stopped is closed when it has.
	stopping int
	stopped  chan struct{}
}

// component is a program of the cluster. ready tells whether what depends on it may start.
type component struct {
	name  string
	args  []string
	ready func() error
}

// accepts is a component's ready: it listens at an address.
func accepts(network, address string) func() error {
	return func() error {
		conn, err := net.DialTimeout(network, address, time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// restart ends components by SIGKILL, as a crash does, and starts each again. What it writes to its log goes on.
func (s *supervisor) restart(names []string) error {
	for _, name := range names {
		i := slices.IndexFunc(s.components, func(c component) bool { return c.name == name })
		if i < 0 {
			return fmt.Errorf("restart %s: the cluster has no such component", name)
		}
		if err := s.end(name); err != nil {
			return fmt.Errorf("end %s: %w", name, err)
		}
		if err := s.start(s.components[i]); err != nil {
			return err
		}
	}
	return os.WriteFile(restartedFile, fmt.Append(nil, time.Now().UnixNano()), 0o644)
}

// end kills a component and waits for its end.
func (s *supervisor) end(name string) error {
	s.mu.Lock()
	for pid, child := range s.children {
		if child == name {
			s.stopping, s.stopped = pid, make(chan struct{})
		}
	}
	stopped := s.stopped
	err := errors.New("it does not run")
	if s.stopping != 0 {
		err = unix.Kill(s.stopping, unix.SIGKILL)
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	<-stopped
	return nil
}

// components are those of a node, in the order in which they are started.
func components(i index, bin string) []component {
	client := &http.Client{Timeout: 2 * time.Second}
	answers := func(url string) func() error {
		return func() error {
			response, err := client.Get(url)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			if response.StatusCode != http.StatusOK {
				return fmt.Errorf("%s answers %s", url, response.Status)
			}
			return nil
		}
	}
	controlPlane := []component{
		{"registry", []string{"serve", etc("registry.yaml")}, answers("http://" + Registry + "/v2/")},
		{"etcd", etcdArgs(), answers("http://127.0.0.1:2379/readyz")},
		{"kube-apiserver", apiserverArgs(), accepts("tcp", NodeIP+":6443")},
		{"kube-controller-manager", controllerManagerArgs(), nil},
		{"kube-scheduler", []string{"--kubeconfig", kubeconfig("kube-scheduler"), "--leader-elect=false"}, nil},
	}
	runtime := runtimeOf(bin)
	node := []component{
		{runtime.name, runtime.args, accepts("unix", runtime.socket)},
		{"kube-proxy", []string{"--config", etc("kube-proxy.yaml")}, nil},
		{"kubelet", []string{"--config", etc("kubelet.yaml"), "--kubeconfig", kubeconfig("kubelet"),
			"--root-dir", filepath.Join(Dir, "kubelet"), "--hostname-override", i.name(), "--node-ip", i.address()}, nil},
	}
	if i != first {
		return node
	}
	return append(controlPlane, node...)
}

func (s *supervisor) startAll() error {
	for _, c := range s.components {
		if err := s.start(c); err != nil {
			return err
		}
		if c.name == "registry" {
			if err := pushSandboxImage(context.Background(), s.bin); err != nil {
				return err
			}
		}
	}
	return nil
}

// start runs a component with its output in a log of its own and waits until it is ready.
func (s *supervisor) start(c component) error {
	out, err := os.OpenFile(filepath.Join(Dir, "logs", c.name+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	path := filepath.Join(s.bin, c.name)
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	if c.name == crio {
		show, err := hideUnmounted()
		if err != nil {
			return fmt.Errorf("hide cgroup controllers: %w", err)
		}
		defer show()
	}
	// The reaper must know the child before it can end.
	s.mu.Lock()
	process, err := os.StartProcess(path, append([]string{c.name}, c.args...), &os.ProcAttr{
		Dir:   Dir,
		Env:   append(os.Environ(), "PATH="+s.bin+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
		Files: []*os.File{null, out, out},
	})
	if err == nil {
		s.children[process.Pid] = c.name
	}
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("start %s: %w", path, err)
	}
	began := time.Now()
	for c.ready != nil {
		err := c.ready()
		if err == nil {
			break
		}
		select {
		case why := <-s.ended:
			return errors.New(why)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Since(began) > 2*time.Minute {
			return fmt.Errorf("%s is not ready after two minutes: %w", c.name, err)
		}
	}
	log.Printf("%s started (%.1f s)", c.name, time.Since(began).Seconds())
	return nil
}

// reap waits for every child, adopted ones too (shims are orphans by design), and reports the first
// program of ours that ends. os/exec would race with it for the exit status, so nothing in this
// process uses exec once it runs.
func (s *supervisor) reap() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			time.Sleep(50 * time.Millisecond)
			continue
		}
		s.mu.Lock()
		name := s.children[pid]
		delete(s.children, pid)
		if pid == s.stopping {
			s.stopping, name = 0, ""
			close(s.stopped)
		}
		s.mu.Unlock()
		if name == "" {
			continue
		}
		how := fmt.Sprintf("code %d", status.ExitStatus())
		if status.Signaled() {
			how = "signal " + status.Signal().String()
		}
		logName := filepath.Join(Dir, "logs", name+".log")
		select {
		case s.ended <- fmt.Sprintf("%s ended with %s; %s ends with:\n%s", name, how, logName, tail(logName, 12)):
		default:
		}
	}
}
