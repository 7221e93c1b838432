package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Node is a node of a cluster.
type Node struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	// PID is its first process, in the namespace of the machine. Of a node that has crashed it is the one that there was.
	PID int `json:"pid"`
}

// index is a node's number. The first runs the control plane and the registry, too.
type index int

const (
	first index = 1
	// maxNodes is as many as there are addresses.
	maxNodes = 9
)

func (i index) name() string {
	if i == first {
		return NodeName
	}
	return NodeName + "-" + strconv.Itoa(int(i))
}

func (i index) address() string {
	if i == first {
		return NodeIP
	}
	return fmt.Sprintf(furtherIP, i)
}

// port is the node's end of its link to the first node, as that one calls it.
func (i index) port() string { return "node" + strconv.Itoa(int(i)) }

func (i index) podCIDR() string { return fmt.Sprintf("10.244.%d.0/24", i-1) }

// dir has all that the node writes. Inside a further node it is seen at Dir.
func (i index) dir() string {
	if i == first {
		return Dir
	}
	return filepath.Join(Dir, "node-"+strconv.Itoa(int(i)))
}

func (i index) cgroup() string {
	if i == first {
		return cgroupRoot
	}
	return cgroupRoot + "-" + strconv.Itoa(int(i))
}

func (i index) lockFile() string { return filepath.Join(i.dir(), "node.lock") }

func (i index) logs() string { return filepath.Join(i.dir(), "logs") }

func (i index) log() string { return filepath.Join(i.logs(), "node.log") }

// further finds a further node by its name.
func further(name string) (index, error) {
	number, found := strings.CutPrefix(name, NodeName+"-")
	i, err := strconv.Atoi(number)
	if !found || err != nil || index(i) <= first || i > maxNodes {
		return 0, fmt.Errorf("%q is not the name of a further node: those are %s to %s", name, (first + 1).name(), index(maxNodes).name())
	}
	return index(i), nil
}

// runs tells whether a node runs, by the lock that a running one holds. It is the one truth on that: the kernel drops it with the
// process, whatever way that ends (flock(2)).
func (i index) runs() (bool, error) {
	f, err := os.OpenFile(i.lockFile(), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", i.lockFile(), err)
	}
	return false, nil
}

// startNode starts a node's supervisor in namespaces of its own and joins it to the network. ended is closed when the supervisor
// has ended.
func (c *Cluster) startNode(i index) (ended <-chan struct{}, err error) {
	if err := os.MkdirAll(filepath.Join(i.dir(), "etc", "certs.d"), 0o755); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(i.logs(), 0o755); err != nil {
		return nil, err
	}
	if err := writeNodePKI(i); err != nil {
		return nil, fmt.Errorf("make the certificates of %s: %w", i.name(), err)
	}
	if err := os.WriteFile(i.lockFile(), nil, 0o644); err != nil {
		return nil, err
	}
	log, err := os.Create(i.log())
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// The node waits for a word on its standard input before it starts anything: by then its network exists.
	gate, open, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	defer open.Close()

	cmd := exec.Command(c.Self, "node", c.Bin, strconv.Itoa(int(i)))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = gate, log, log
	cmd.Dir = Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET |
			unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s in its own namespaces: %w", i.name(), err)
	}
	over := make(chan struct{})
	go func() {
		cmd.Wait()
		close(over)
	}()
	pid := cmd.Process.Pid
	if i == first {
		c.PID = pid
		err = joinNetwork(pid)
	} else {
		err = joinFirst(i, pid, c.PID)
	}
	if err == nil {
		c.setNode(Node{Name: i.name(), Address: i.address(), PID: pid})
		err = c.writeState()
	}
	if err == nil {
		_, err = io.WriteString(open, gateOpen)
	}
	if err != nil {
		stop(pid, over)
		return nil, err
	}
	return over, nil
}

// setNode puts a node into the list, where the one of that name was.
func (c *Cluster) setNode(node Node) {
	i := slices.IndexFunc(c.Nodes, func(n Node) bool { return n.Name == node.Name })
	if i < 0 {
		c.Nodes = append(c.Nodes, node)
		return
	}
	c.Nodes[i] = node
}

// Start starts a further node, with the disk that it had if it has crashed, and returns when it is ready.
func (c *Cluster) Start(ctx context.Context, name string) error {
	i, err := further(name)
	if err != nil {
		return err
	}
	if runs, err := i.runs(); err != nil {
		return err
	} else if runs {
		return fmt.Errorf("start %s: it is running already", name)
	}
	return c.start(ctx, io.Discard, name)
}

// start starts further nodes, all at once.
func (c *Cluster) start(ctx context.Context, w io.Writer, names ...string) error {
	began := time.Now()
	ended := make([]<-chan struct{}, len(names))
	for n, name := range names {
		i, err := further(name)
		if err != nil {
			return err
		}
		if err := insist(func() error { return removeCgroups(i) }); err != nil {
			return err
		}
		if ended[n], err = c.startNode(i); err != nil {
			return err
		}
	}
	for n, name := range names {
		i, err := further(name)
		if err != nil {
			return err
		}
		if err := c.await(ctx, i, ended[n], w, c.untilReady(i, began)); err != nil {
			return err
		}
	}
	return nil
}

// Crash ends a further node as a loss of power does: by SIGKILL, with all that runs on it, and without a word to those that have
// connections to it. Its disk stays.
func (c *Cluster) Crash(name string) error {
	i, err := further(name)
	if err != nil {
		return err
	}
	runs, err := i.runs()
	if err != nil {
		return err
	}
	n := slices.IndexFunc(c.Nodes, func(n Node) bool { return n.Name == name })
	if !runs || n < 0 {
		return fmt.Errorf("crash %s: it is not running", name)
	}
	// Else the sockets of what ends would be closed, which the other ends would see.
	if err := cutOff(i, c.PID); err != nil {
		return err
	}
	stop(c.Nodes[n].PID, nil)
	return nil
}

// Remove takes a further node away for good: it crashes, and its disk and its Node are deleted. Start then makes a new one.
func (c *Cluster) Remove(ctx context.Context, name string) error {
	i, err := further(name)
	if err != nil {
		return err
	}
	if runs, err := i.runs(); err != nil {
		return err
	} else if runs {
		if err := c.Crash(name); err != nil {
			return err
		}
	}
	if err := insist(func() error { return errors.Join(removeCgroups(i), os.RemoveAll(i.dir())) }); err != nil {
		return err
	}
	c.Nodes = slices.DeleteFunc(c.Nodes, func(n Node) bool { return n.Name == name })
	if err := c.writeState(); err != nil {
		return err
	}
	client, err := c.Client()
	if err != nil {
		return err
	}
	if err := client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}

// stopFurther ends the further nodes of the cluster whose state is on the machine.
func stopFurther() error {
	c, err := readState()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, node := range c.Nodes {
		i, err := further(node.Name)
		if err != nil {
			continue // the first
		}
		if runs, err := i.runs(); err != nil {
			return err
		} else if runs {
			stop(node.PID, nil)
		}
	}
	return nil
}
