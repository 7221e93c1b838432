package compatibility

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Spec describes a container to an OCI runtime (https://github.com/opencontainers/runtime-spec): a program in a root file system, with
// namespaces of its own except for users.
func Spec(root string, argv, capabilities []string) *specs.Spec {
	return &specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: root},
		Process: &specs.Process{
			Args: argv, Cwd: "/",
			Env:          []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LANG=C.UTF-8"},
			Capabilities: &specs.LinuxCapabilities{Bounding: capabilities, Effective: capabilities, Permitted: capabilities},
			Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1024, Hard: 4096}},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
			Memory("/dev/shm", "1777"), Memory("/tmp", "1777"),
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
			{Type: specs.NetworkNamespace}, {Type: specs.CgroupNamespace},
		}},
	}
}

// Memory mounts files in memory that can be run, as a pod's volumes are; mode is that of the directory.
func Memory(where, mode string) specs.Mount {
	return specs.Mount{Destination: where, Type: "tmpfs", Source: "tmpfs", Options: []string{"nodev", "mode=" + mode}}
}

// WriteBundle makes the directory that a runtime starts a container from.
func WriteBundle(directory string, spec *specs.Spec) error {
	text, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return errors.Join(os.Mkdir(directory, 0o755), os.WriteFile(filepath.Join(directory, "config.json"), text, 0o644))
}
