// Package cluster runs a real Kubernetes of one or a few nodes for tests: etcd, kube-apiserver,
// kube-controller-manager, kube-scheduler, kube-proxy, kubelet, containerd or CRI-O with runc, and an image
// registry, each the real program, built from pinned Go modules (the directory build) and executed as
// a child of one supervisor, the node. A further node runs kube-proxy, kubelet and containerd alone.
//
// A node is PID 1 of its own PID, mount, network, UTS and IPC namespaces. Whatever runs on
// it is therefore its descendant and goes with it: when the node ends, even by SIGKILL, the
// kernel ends every container and shim (pid_namespaces(7)) and drops every mount and the network.
// Only cgroups and files outlive it; Down and the next Up remove them. Nothing else on the machine
// is touched.
//
// A veth pair joins the machine (HostIP) and the first node (NodeIP), so kubectl and tests reach the
// apiserver and the registry from outside. A bridge in the first node's network joins the further ones
// to it; the first routes.
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
	"path/filepath"
	"strings"
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

	// NodeName is the name of the first node. Further ones have a number behind it: podinit-node-2.
	NodeName = "podinit-node"

	// HostIP and NodeIP are the two ends of the first veth pair, from TEST-NET-2 (RFC 5737).
	HostIP = "198.51.100.1"
	NodeIP = "198.51.100.2"
	// furtherIP is the address of a further node: of the second 198.51.100.12.
	furtherIP = "198.51.100.1%d"

	// Registry is the address of the image registry: plain HTTP, no credentials.
	Registry = NodeIP + ":5000"

	hostVeth    = "podinit0"
	nodeVeth    = "eth0"
	nodesBridge = "nodes"
	cgroupRoot  = "podinit-cluster"
	serviceCIDR = "10.96.0.0/16"
	clusterCIDR = "10.244.0.0/16"
)

// Kubeconfig is the file through which an administrator reaches the cluster.
var Kubeconfig = filepath.Join(Dir, "kubeconfig")

// ErrNotRunning is what Open returns when no cluster runs on this machine.
var ErrNotRunning = errors.New("no test cluster is running on this machine: start one with 'make cluster-up'")

// Cluster is a running cluster.
type Cluster struct {
	// PID is the process of the first node, in the namespace of the machine.
	PID int `json:"pid"`
	// Bin is the directory of the programs that the cluster runs, kubectl among them.
	Bin string `json:"bin"`
	// Self is the program that runs a node.
	Self string `json:"self"`
	// Nodes are all nodes, also those that have crashed, the first before the others.
	Nodes []Node `json:"nodes"`
}

// Open returns the cluster that runs on this machine, or ErrNotRunning.
func Open() (*Cluster, error) {
	if runs, err := first.runs(); err != nil {
		return nil, err
	} else if !runs {
		return nil, ErrNotRunning
	}
	c, err := readState()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("a cluster is starting (%w): wait for it", err)
	}
	return c, err
}

func readState() (*Cluster, error) {
	text, err := os.ReadFile(stateFile)
	if err != nil {
		return nil, err
	}
	c := new(Cluster)
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("read %s: %w", stateFile, err)
	}
	return c, nil
}

func (c *Cluster) writeState() error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return os.WriteFile(stateFile, text, 0o644)
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

// Restart ends components of the first node by SIGKILL, as a crash does, and starts each again from what the directory Bin has by now.
// It returns when they run and the apiserver is ready. Pods keep running.
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
			return fmt.Errorf("%s: not started again (logs are in %s): %w", strings.Join(components, ", "), first.logs(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

var (
	stateFile = filepath.Join(Dir, "cluster.json")
	// restartFile names the components to restart, restartedFile changes whenever that has been done.
	restartFile   = filepath.Join(Dir, "restart")
	restartedFile = filepath.Join(Dir, "restarted")
)

// Up starts a cluster of so many nodes from the programs in bin and returns when they are ready. self is the
// program that calls Supervise when its first argument is "node". To a cluster that runs already, Up adds the nodes that it
// lacks, and returns that one. What a crashed run left behind is removed first. Progress goes to w, a line a step.
func Up(ctx context.Context, bin, self string, nodes int, w io.Writer) (*Cluster, error) {
	if nodes < 1 || nodes > maxNodes {
		return nil, fmt.Errorf("a cluster has 1 to %d nodes, not %d", maxNodes, nodes)
	}
	c, err := Open()
	switch {
	case err == nil:
		fmt.Fprintln(w, "the cluster is running already")
	case !errors.Is(err, ErrNotRunning):
		return nil, err
	default:
		if c, err = upFirst(ctx, bin, self, w); err != nil {
			return nil, err
		}
	}
	var names []string
	for i := first + 1; int(i) <= nodes; i++ {
		if runs, err := i.runs(); err != nil {
			return nil, err
		} else if !runs {
			names = append(names, i.name())
		}
	}
	if err := c.start(ctx, w, names...); err != nil {
		return nil, err
	}
	return c, nil
}

// upFirst starts the first node, when none runs.
func upFirst(ctx context.Context, bin, self string, w io.Writer) (*Cluster, error) {
	if err := checkMachine(bin); err != nil {
		return nil, err
	}
	if err := removeLeftovers(); err != nil {
		return nil, err
	}
	for _, dir := range []string{"pki", "etc"} {
		if err := os.MkdirAll(filepath.Join(Dir, dir), 0o755); err != nil {
			return nil, err
		}
	}
	if err := writePKI(); err != nil {
		return nil, fmt.Errorf("make the cluster's certificates: %w", err)
	}
	c := &Cluster{Bin: bin, Self: self}
	ended, err := c.startNode(first)
	if err != nil {
		return nil, err
	}
	if err := c.await(ctx, first, ended, w, c.untilServing(), c.untilReady(first, time.Time{}), c.untilPods()); err != nil {
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

// stop ends a node. SIGKILL to the first process of a PID namespace ends every process in it
// before its parent is told (pid_namespaces(7)), so nothing of the node runs when stop returns.
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

// step is something to wait for.
type step struct {
	what string
	done func(context.Context, *kubernetes.Clientset) error
}

func (c *Cluster) untilServing() step {
	return step{"the apiserver is ready", func(ctx context.Context, client *kubernetes.Clientset) error {
		return client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	}}
}

func (c *Cluster) untilPods() step {
	return step{"pods may be created", func(ctx context.Context, client *kubernetes.Clientset) error {
		_, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	}}
}

// untilReady is when a node says that it is ready, and does so since a time, which leaves out what it said before it crashed.
func (c *Cluster) untilReady(i index, since time.Time) step {
	return step{i.name() + " is ready", func(ctx context.Context, client *kubernetes.Clientset) error {
		node, err := client.CoreV1().Nodes().Get(ctx, i.name(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, taint := range node.Spec.Taints {
			if taint.Key == corev1.TaintNodeNotReady || taint.Key == corev1.TaintNodeUnreachable {
				return fmt.Errorf("the node has the taint %s", taint.Key)
			}
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && !condition.LastHeartbeatTime.Time.Before(since.Truncate(time.Second)) {
				if condition.Status == corev1.ConditionTrue {
					return nil
				}
				return fmt.Errorf("node condition Ready is %s: %s", condition.Status, condition.Message)
			}
		}
		return errors.New("the node has not reported yet")
	}}
}

// await returns when all steps are done, for which a node must run.
func (c *Cluster) await(ctx context.Context, i index, ended <-chan struct{}, w io.Writer, steps ...step) error {
	config, err := c.RESTConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	began := time.Now()
	for _, step := range steps {
		for {
			attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
			err := step.done(attempt, client)
			cancel()
			if err == nil {
				break
			}
			select {
			case <-ended:
				return fmt.Errorf("%s ended while waiting until %s; %s ends with:\n%s", i.name(), step.what, i.log(), tail(i.log(), 12))
			case <-ctx.Done():
				return fmt.Errorf("gave up waiting until %s (logs are in %s): %w", step.what, i.logs(), err)
			case <-time.After(100 * time.Millisecond):
			}
		}
		fmt.Fprintf(w, "%5.1f s  %s\n", time.Since(began).Seconds(), step.what)
	}
	return nil
}

// removeLeftovers removes what nodes left on the machine whose cluster no longer runs; further ones may still run. A node that was
// killed lets go of its lock a moment before its last processes are gone, so what is busy is tried again.
func removeLeftovers() error {
	if err := stopFurther(); err != nil {
		return err
	}
	return insist(func() error {
		errs := []error{removeVeth(), os.RemoveAll(Dir)}
		for i := first; i <= maxNodes; i++ {
			errs = append(errs, removeCgroups(i))
		}
		return errors.Join(errs...)
	})
}

// insist tries something again until it succeeds, for a while.
func insist(remove func() error) error {
	const patience = 10 * time.Second
	began := time.Now()
	for {
		err := remove()
		if err == nil {
			return nil
		}
		if time.Since(began) > patience {
			return fmt.Errorf("remove what an earlier cluster or node left (processes of it may still run): %w", err)
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
