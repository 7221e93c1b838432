// Package cluster runs a real single-node Kubernetes for tests: etcd, kube-apiserver,
// kube-controller-manager, kube-scheduler, kube-proxy, kubelet, containerd with runc, and an image
// registry, each the real program, built from pinned Go modules (the directory build) and executed as
// a child of one supervisor, the node.
//
// The node is PID 1 of its own PID, mount, network, UTS and IPC namespaces. Whatever runs in the
// cluster is therefore its descendant and goes with it: when the node ends, even by SIGKILL, the
// kernel ends every container and shim (pid_namespaces(7)) and drops every mount and the network.
// Only cgroups and files outlive it; Down and the next Up remove them. Nothing else on the machine
// is touched.
//
// A veth pair joins the machine (HostIP) and the node (NodeIP), so kubectl and tests reach the
// apiserver and the registry from outside.
//
// One cluster runs on a machine at a time. It needs root, as the kubelet does.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// Dir holds everything the cluster writes; Down removes it. It is short because the path of a
	// unix socket may not exceed 107 bytes (unix(7)).
	Dir = "/var/lib/podinit-cluster"

	// NodeName is the name of the one node.
	NodeName = "podinit-node"

	// HostIP and NodeIP are the two ends of the veth pair, from TEST-NET-2 (RFC 5737).
	HostIP = "198.51.100.1"
	NodeIP = "198.51.100.2"

	// Registry is the address of the image registry: plain HTTP, no credentials.
	Registry = NodeIP + ":5000"

	hostVeth    = "podinit0"
	nodeVeth    = "eth0"
	cgroupRoot  = "podinit-cluster"
	serviceCIDR = "10.96.0.0/16"
	podCIDR     = "10.244.0.0/24"
)

// Kubeconfig is the file through which an administrator reaches the cluster.
var Kubeconfig = filepath.Join(Dir, "kubeconfig")

// ErrNotRunning is what Open returns when no cluster runs on this machine.
var ErrNotRunning = errors.New("no test cluster is running on this machine: start one with 'make cluster-up'")

// Cluster is a running cluster.
type Cluster struct {
	// PID is the process of the node, in the namespace of the machine.
	PID int `json:"pid"`
	// Bin is the directory of the programs that the cluster runs, kubectl among them.
	Bin string `json:"bin"`
}

// Open returns the cluster that runs on this machine, or ErrNotRunning.
func Open() (*Cluster, error) {
	lock, err := lockNode()
	if err == nil {
		lock.Close()
		return nil, ErrNotRunning
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotRunning
	}
	if !errors.Is(err, errLocked) {
		return nil, err
	}
	text, err := os.ReadFile(stateFile)
	if err != nil {
		return nil, fmt.Errorf("a cluster is starting or was left half-started (%w): wait for it, or run 'make cluster-down'", err)
	}
	c := new(Cluster)
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("read %s: %w", stateFile, err)
	}
	return c, nil
}

// RESTConfig returns how a client reaches the cluster as its administrator.
func (c *Cluster) RESTConfig() (*rest.Config, error) {
	return clientcmd.BuildConfigFromFlags("", Kubeconfig)
}

// Client returns a client for tests: its requests do not queue behind each other, and warnings, which are about the tests' own
// objects, are not printed.
func (c *Cluster) Client() (*kubernetes.Clientset, error) {
	config, err := c.RESTConfig()
	if err != nil {
		return nil, err
	}
	config.QPS, config.WarningHandler = -1, rest.NoWarnings{}
	return kubernetes.NewForConfig(config)
}

// Kubectl returns a command that runs kubectl against the cluster.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, filepath.Join(c.Bin, "kubectl"), append([]string{"--kubeconfig", Kubeconfig}, args...)...)
}

// Restart ends components by SIGKILL, as a crash does, and starts each again from what the directory Bin has by now. It returns
// when they run and the apiserver is ready. Pods keep running.
func (c *Cluster) Restart(ctx context.Context, components ...string) error {
	before, err := os.ReadFile(restartedFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(restartFile, []byte(strings.Join(components, " ")), 0o644); err != nil {
		return err
	}
	if err := unix.Kill(c.PID, restartSignal); err != nil {
		return fmt.Errorf("signal the node: %w", err)
	}
	client, err := c.Client()
	if err != nil {
		return err
	}
	for {
		now, err := os.ReadFile(restartedFile)
		if err == nil && string(now) != string(before) {
			if err = client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			err = errors.Join(ctx.Err(), err)
			return fmt.Errorf("%s: not started again (logs are in %s): %w", strings.Join(components, ", "), filepath.Dir(nodeLog), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

var (
	stateFile = filepath.Join(Dir, "cluster.json")
	lockFile  = filepath.Join(Dir, "node.lock")
	nodeLog   = filepath.Join(Dir, "logs", "node.log")
	// restartFile names the components to restart, restartedFile changes whenever that has been done.
	restartFile   = filepath.Join(Dir, "restart")
	restartedFile = filepath.Join(Dir, "restarted")

	errLocked = errors.New("a node is running")
)

// Up starts a cluster from the programs in bin and returns when its node is ready. self is the
// program that calls Node when its first argument is "node". When a cluster runs already, Up
// returns that one. What a crashed run left behind is removed first. Progress goes to w, a line a step.
func Up(ctx context.Context, bin, self string, w io.Writer) (*Cluster, error) {
	if c, err := Open(); err == nil {
		fmt.Fprintln(w, "the cluster is running already")
		return c, nil
	} else if !errors.Is(err, ErrNotRunning) {
		return nil, err
	}
	if err := checkMachine(bin); err != nil {
		return nil, err
	}
	if err := removeLeftovers(); err != nil {
		return nil, err
	}
	for _, dir := range []string{"logs", "pki", "etc"} {
		if err := os.MkdirAll(filepath.Join(Dir, dir), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(lockFile, nil, 0o644); err != nil {
		return nil, err
	}
	if err := writePKI(); err != nil {
		return nil, fmt.Errorf("make the cluster's certificates: %w", err)
	}
	c, ended, err := startNode(bin, self)
	if err != nil {
		return nil, err
	}
	if err := c.await(ctx, ended, w); err != nil {
		// The node's files stay for reading; the next Up or Down removes them.
		stop(c.PID, ended)
		return nil, err
	}
	return c, nil
}

// Down ends the running cluster, if any, and removes what it left on the machine.
func Down(w io.Writer) error {
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	c, err := Open()
	switch {
	case err == nil:
		stop(c.PID, nil)
		fmt.Fprintln(w, "the cluster is stopped")
	case errors.Is(err, ErrNotRunning):
		fmt.Fprintln(w, "no cluster is running")
	default:
		return err
	}
	return removeLeftovers()
}

// startNode starts the supervisor in namespaces of its own and joins it to the machine's network. ended is
// closed when the supervisor has ended.
func startNode(bin, self string) (c *Cluster, ended <-chan struct{}, err error) {
	log, err := os.Create(nodeLog)
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	// The node waits for the end of its standard input before it starts anything: by then its
	// network exists.
	gate, open, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer gate.Close()
	defer open.Close()

	cmd := exec.Command(self, "node", bin)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = gate, log, log
	cmd.Dir = Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET |
			unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("start the node in its own namespaces: %w", err)
	}
	over := make(chan struct{})
	go func() {
		cmd.Wait()
		close(over)
	}()
	c = &Cluster{PID: cmd.Process.Pid, Bin: bin}
	if err := joinNetwork(c.PID); err != nil {
		stop(c.PID, over)
		return nil, nil, err
	}
	text, err := json.Marshal(c)
	if err == nil {
		err = os.WriteFile(stateFile, text, 0o644)
	}
	if err != nil {
		stop(c.PID, over)
		return nil, nil, err
	}
	return c, over, nil
}

// stop ends the node. SIGKILL to the first process of a PID namespace ends every process in it
// before its parent is told (pid_namespaces(7)), so nothing of the cluster runs when stop returns.
func stop(pid int, ended <-chan struct{}) {
	unix.Kill(pid, unix.SIGKILL)
	if ended != nil {
		<-ended
		return
	}
	for unix.Kill(pid, 0) == nil {
		time.Sleep(20 * time.Millisecond)
	}
}

// await returns when the cluster serves and its node is ready.
func (c *Cluster) await(ctx context.Context, ended <-chan struct{}, w io.Writer) error {
	config, err := c.RESTConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	steps := []struct {
		what string
		done func(context.Context) error
	}{
		{"the apiserver is ready", func(ctx context.Context) error {
			return client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
		}},
		{"the node is ready", func(ctx context.Context) error {
			node, err := client.CoreV1().Nodes().Get(ctx, NodeName, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, condition := range node.Status.Conditions {
				if condition.Type == corev1.NodeReady {
					if condition.Status == corev1.ConditionTrue && len(node.Spec.Taints) == 0 {
						return nil
					}
					return fmt.Errorf("node condition Ready is %s: %s", condition.Status, condition.Message)
				}
			}
			return errors.New("the node has not reported yet")
		}},
		{"pods may be created", func(ctx context.Context) error {
			_, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
			return err
		}},
	}
	began := time.Now()
	for _, step := range steps {
		for {
			attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
			err := step.done(attempt)
			cancel()
			if err == nil {
				break
			}
			select {
			case <-ended:
				return fmt.Errorf("the node ended while waiting until %s; %s ends with:\n%s", step.what, nodeLog, tail(nodeLog, 12))
			case <-ctx.Done():
				return fmt.Errorf("gave up waiting until %s (logs are in %s): %w", step.what, filepath.Dir(nodeLog), err)
			case <-time.After(100 * time.Millisecond):
			}
		}
		fmt.Fprintf(w, "%5.1f s  %s\n", time.Since(began).Seconds(), step.what)
	}
	return nil
}

// lockNode takes the lock that a running node holds, or returns errLocked. It is the one truth on
// whether a node runs: the kernel drops it with the process, whatever way that ends (flock(2)).
func lockNode() (*os.File, error) {
	f, err := os.OpenFile(lockFile, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errLocked
		}
		return nil, fmt.Errorf("lock %s: %w", lockFile, err)
	}
	return f, nil
}

// removeLeftovers removes what a node that no longer runs left on the machine. A node that was killed
// lets go of its lock a moment before its last processes are gone, so what is busy is tried again.
func removeLeftovers() error {
	const patience = 10 * time.Second
	began := time.Now()
	for {
		err := errors.Join(removeVeth(), removeCgroups(), os.RemoveAll(Dir))
		if err == nil {
			return nil
		}
		if time.Since(began) > patience {
			return fmt.Errorf("remove what an earlier cluster left (processes of it may still run): %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// tail returns the last lines of a file, for an error message.
func tail(name string, lines int) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
