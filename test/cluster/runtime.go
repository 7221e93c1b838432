package cluster

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const crio = "crio"

// containerRuntime is what a node's kubelet has containers started by.
type containerRuntime struct {
	// name is the component's and the program's.
	name   string
	args   []string
	socket string
}

// runtimeOf is CRI-O where the cluster's programs have it, and containerd elsewhere.
func runtimeOf(bin string) containerRuntime {
	if _, err := os.Stat(filepath.Join(bin, crio)); err == nil {
		args := []string{"--config", etc("crio.conf"), "--config-dir", etc("crio.conf.d"), "--registries-conf", etc("registries.conf")}
		return containerRuntime{crio, args, "/run/crio/crio.sock"}
	}
	return containerRuntime{"containerd", []string{"--config", etc("containerd.toml")}, "/run/containerd/containerd.sock"}
}

// Runtime is the component that starts containers: "containerd" or "crio".
func (c *Cluster) Runtime() string { return runtimeOf(c.Bin).name }

// RuntimeSocket is where the first node's runtime listens, as a path on the machine.
func (c *Cluster) RuntimeSocket() string {
	return fmt.Sprintf("/proc/%d/root%s", c.PID, runtimeOf(c.Bin).socket)
}

// crioFiles are CRI-O's configuration (crio.conf(5), containers-registries.conf(5), containers-policy.json(5)).
func crioFiles(bin string) map[string]string {
	return map[string]string{
		"crio.conf": fmt.Sprintf(`[crio]
root = %[1]q
runroot = "/run/crio/storage"
version_file = "/run/crio/version"
clean_shutdown_file = "/run/crio/clean.shutdown"
storage_driver = "overlay"
[crio.api]
listen = %[2]q
[crio.runtime]
cgroup_manager = "cgroupfs"
conmon_cgroup = "pod"
default_runtime = "runc"
namespaces_dir = "/run/crio/namespaces"
pinns_path = %[3]q
container_exits_dir = "/run/crio/exits"
container_attach_socket_dir = "/run/crio"
apparmor_profile = "unconfined"
[crio.runtime.runtimes.runc]
runtime_path = %[10]q
runtime_root = "/run/runc"
monitor_cgroup = "pod"
[crio.image]
pause_image = %[4]q
pause_command = "/pause"
signature_policy = %[5]q
[crio.network]
network_dir = %[6]q
plugin_dirs = [%[7]q]
[crio.nri]
enable_nri = true
nri_listen = "/run/nri/nri.sock"
nri_plugin_dir = %[8]q
nri_plugin_config_dir = %[9]q
[crio.nri.default_validator]
nri_enable_default_validator = true
`, filepath.Join(Dir, crio), runtimeOf(bin).socket, filepath.Join(bin, "pinns"), PauseImage, etc("policy.json"), etc("cni"), cniDir(),
			filepath.Join(Dir, "nri", "plugins"), etc("nri"), etc("runc")),
		// Lowering a score takes CAP_SYS_RESOURCE, which a root of a container or a CI machine may lack. containerd has a setting for that.
		"runc": `#!/bin/sh
for argument; do
	if [ "$previous" = --bundle ]; then
		sed -i -E "s/(\"oomScoreAdj\": *)-[0-9]+/\1$(cat /proc/self/oom_score_adj)/" "$argument/config.json"
	fi
	previous=$argument
done
exec runc "$@"
`,
		"policy.json": `{"default": [{"type": "insecureAcceptAnything"}]}`,
		// By plain HTTP: the cluster's registry, and those that tests start in pods and on the machine, at any port.
		"registries.conf": fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n[[registry]]\nlocation = %q\ninsecure = true\n", NodeIP, HostIP),
	}
}

// hideUnmounted has /proc/cgroups say of controllers of cgroup v1 that are not mounted that they are off (cgroups(7)), until show is called:
// CRI-O limits what a kernel has, which it reads before it listens, and runc cannot. While anything is mounted in /proc, the kernel lets no user
// namespace mount another.
func hideUnmounted() (show func(), err error) {
	text, err := os.ReadFile("/proc/cgroups")
	if err != nil || unified() {
		return func() {}, err
	}
	var hidden strings.Builder
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 4 && fields[1] == "0" {
			line = strings.Join(fields[:3], "\t") + "\t0\n"
		}
		hidden.WriteString(line)
	}
	if err := os.WriteFile(etc("cgroups"), []byte(hidden.String()), 0o644); err != nil {
		return nil, err
	}
	show = func() {
		if err := unix.Unmount("/proc/cgroups", 0); err != nil {
			log.Printf("show cgroup controllers: %v", err)
		}
	}
	return show, unix.Mount(etc("cgroups"), "/proc/cgroups", "", unix.MS_BIND, "")
}
