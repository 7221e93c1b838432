package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

var errNotRoot = errors.New("the test cluster needs root, because a kubelet does: run this as root (sudo make …)")

// cniBin lists where distributions put the CNI plugins.
var cniBin = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}

// programs lists what the machine itself must offer: path or name, and the Debian package.
var programs = []struct{ name, debian string }{
	{"runc", "runc"},
	{"ip", "iproute2"},
	{"nft", "nftables"},
	{"mount", "mount"},
	{"nsenter", "util-linux"},
}

// built lists what the cluster runs, as 'make cluster-programs' builds it.
var built = []string{
	"etcd", "registry", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy",
	"kubelet", "kubectl", "containerd", "containerd-shim-runc-v2", "pause",
}

// checkMachine says in one sentence what the machine lacks.
func checkMachine(bin string) error {
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	var packages []string
	for _, program := range programs {
		if _, err := exec.LookPath(program.name); err != nil {
			packages = append(packages, program.debian)
		}
	}
	if cniDir() == "" {
		packages = append(packages, "containernetworking-plugins")
	}
	if len(packages) > 0 {
		return fmt.Errorf("this machine lacks programs that a node needs; on Debian and Ubuntu: apt-get install %s", strings.Join(packages, " "))
	}
	for _, name := range built {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return fmt.Errorf("%s is not built: run 'make cluster-programs' (%w)", name, err)
		}
	}
	return nil
}

// cniDir is the directory of the CNI plugins, or "".
func cniDir() string {
	for _, dir := range cniBin {
		if _, err := os.Stat(filepath.Join(dir, "bridge")); err == nil {
			return dir
		}
	}
	return ""
}

// joinNetwork connects the network namespace of the first node, of process pid, with the machine's.
func joinNetwork(pid int) error {
	node := fmt.Sprint(pid)
	for _, args := range [][]string{
		{"link", "add", hostVeth, "type", "veth", "peer", "name", nodeVeth, "netns", node},
		{"address", "add", HostIP + "/30", "dev", hostVeth},
		{"link", "set", hostVeth, "up"},
	} {
		if err := run("ip", args...); err != nil {
			return fmt.Errorf("join the node to this machine's network: %w", err)
		}
	}
	return nil
}

// joinFirst connects the network namespace of a further node, of process pid, with that of the first, of process firstPID. There is
// a bridge for them, and the first node routes: between nodes, and between them and the machine. What is sent to a node that has
// crashed, or to its pods, is lost without a word, as in a network of many routers: nobody asks whether its address still answers.
func joinFirst(i index, pid, firstPID int) error {
	if ip(firstPID, "link", "show", nodesBridge) != nil {
		if err := ip(firstPID, "link", "add", nodesBridge, "type", "bridge"); err != nil {
			return err
		}
	}
	port, node, mac := i.port(), i.address()+"/32", fmt.Sprintf("02:00:00:00:00:%02x", int(i))
	// The port of a node that has crashed goes with its network namespace, but the kernel takes its time over that.
	_ = ip(firstPID, "link", "delete", port)
	for _, args := range [][]string{
		{"link", "add", port, "type", "veth", "peer", "name", nodeVeth, "address", mac, "netns", fmt.Sprint(pid)},
		{"link", "set", port, "master", nodesBridge, "up"},
		{"link", "set", nodesBridge, "up"},
		{"neighbour", "replace", i.address(), "lladdr", mac, "dev", nodesBridge, "nud", "permanent"},
		{"route", "replace", node, "dev", nodesBridge, "src", NodeIP},
		{"route", "replace", i.podCIDR(), "via", i.address(), "dev", nodesBridge, "src", NodeIP},
	} {
		if err := ip(firstPID, args...); err != nil {
			return fmt.Errorf("join %s to the first node's network: %w", i.name(), err)
		}
	}
	return run("ip", "route", "replace", node, "via", NodeIP, "dev", hostVeth)
}

// cutOff takes a further node from the network.
func cutOff(i index, firstPID int) error { return ip(firstPID, "link", "set", i.port(), "down") }

// ip configures the network of the node whose first process is pid.
func ip(pid int, args ...string) error {
	return run("nsenter", append([]string{fmt.Sprintf("--net=/proc/%d/ns/net", pid), "ip"}, args...)...)
}

// setUpNetwork configures the node's end; it runs inside the node's namespace.
func setUpNetwork(i index) error {
	// kubelet and kube-proxy find the node's address by the default route. On the first node nothing answers on it.
	address, routes := NodeIP+"/30", [][]string{{"default", "via", HostIP}}
	if i != first {
		address, routes = i.address()+"/32", [][]string{{NodeIP, "dev", nodeVeth}, {"default", "via", NodeIP}}
	}
	commands := [][]string{
		{"link", "set", "lo", "up"},
		{"address", "add", address, "dev", nodeVeth},
		{"link", "set", nodeVeth, "up"},
	}
	for _, route := range routes {
		commands = append(commands, append([]string{"route", "add"}, route...))
	}
	for _, args := range commands {
		if err := run("ip", args...); err != nil {
			return err
		}
	}
	// Pods are on a bridge; their packets to Services and to the node are routed.
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
}

// removeVeth removes the pair that joinNetwork made. It goes with the node's network namespace, but
// the kernel takes its time over that.
func removeVeth() error {
	if _, err := net.InterfaceByName(hostVeth); err != nil {
		return nil //nolint:nilerr // it is gone already
	}
	return run("ip", "link", "delete", hostVeth)
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

const cgroupMount = "/sys/fs/cgroup"

// unified tells whether the machine uses the cgroup v2 hierarchy alone (cgroups(7)).
func unified() bool {
	var s unix.Statfs_t
	return unix.Statfs(cgroupMount, &s) == nil && s.Type == unix.CGROUP2_SUPER_MAGIC
}

// hierarchies lists the cgroup hierarchies that a kubelet manages: the one of v2, or each of v1.
func hierarchies() ([]string, error) {
	if unified() {
		return []string{cgroupMount}, nil
	}
	entries, err := os.ReadDir(cgroupMount)
	if err != nil {
		return nil, fmt.Errorf("list the cgroup hierarchies: %w", err)
	}
	var dirs []string
	for _, entry := range entries {
		dir := filepath.Join(cgroupMount, entry.Name())
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil && entry.IsDir() {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) == 0 {
		return nil, fmt.Errorf("no cgroup hierarchy is mounted below %s", cgroupMount)
	}
	return dirs, nil
}

// makeCgroups makes the cgroup below which a node's kubelet keeps its pods, in every hierarchy.
func makeCgroups(i index) error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		group := filepath.Join(dir, i.cgroup())
		if unified() {
			// A v2 group has the controllers that its parent delegates.
			controllers, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
			if err != nil {
				return err
			}
			for _, controller := range strings.Fields(string(controllers)) {
				if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o644); err != nil {
					return fmt.Errorf("delegate cgroup controller %s: %w", controller, err)
				}
			}
		}
		if err := os.MkdirAll(group, 0o755); err != nil {
			return fmt.Errorf("make the node's cgroup: %w", err)
		}
		// A new v1 cpuset is empty and takes no process until it has processors and memory (cpuset(7)).
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(dir, name))
			if errors.Is(err, fs.ErrNotExist) || unified() {
				continue
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(group, name), value, 0o644)
			}
			if err != nil {
				return fmt.Errorf("fill in %s of the node's cgroup: %w", name, err)
			}
		}
	}
	return nil
}

// removeCgroups removes a node's cgroup and all below it, deepest first.
func removeCgroups(i index) error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		var groups []string
		filepath.WalkDir(filepath.Join(dir, i.cgroup()), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				groups = append(groups, path)
			}
			return nil
		})
		slices.Reverse(groups)
		for _, group := range groups {
			if err := os.Remove(group); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}
