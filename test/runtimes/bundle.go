package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/podinit/podinit/test/compatibility"
)

// cgroupParent is above the containers' cgroups.
const cgroupParent = "podinit-runtimes"

// firstUser is what root in a user namespace is on the machine.
const firstUser = 1 << 20

// capabilities are all of capability.h, in its order.
var capabilities = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
	NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE
	SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND
	AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`)

// ownCapabilities are those that this process may give to a container: the suite does what a container runtime does, and needs all
// that it can have.
func ownCapabilities() (own []string) {
	for number, name := range capabilities {
		if has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(number), 0, 0, 0); err == nil && has == 1 {
			own = append(own, "CAP_"+name)
		}
	}
	return own
}

// writeBundle makes the directory that the container is started from.
func (c *container) writeBundle(bundle, name string, argv []string) error {
	programs, err := filepath.Abs(c.programs)
	if err != nil {
		return err
	}
	spec := compatibility.Spec(c.root, argv, ownCapabilities())
	spec.Root.Readonly = true
	spec.Mounts = append(spec.Mounts, compatibility.Memory("/run", "755"),
		specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "rw"}},
		specs.Mount{Destination: "/programs", Type: "bind", Source: programs, Options: []string{"bind", "ro"}},
	)
	spec.Linux.CgroupsPath = "/" + cgroupParent + "/" + name
	if c.UserNamespace {
		mapping := []specs.LinuxIDMapping{{ContainerID: 0, HostID: firstUser, Size: 1 << 16}}
		spec.Linux.UIDMappings, spec.Linux.GIDMappings = mapping, mapping
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		// The container's root may make cgroups below its own.
		spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", fmt.Sprintf(
			"chown -R %d:%d $(find /sys/fs/cgroup -type d -path '*/%s/%s')", firstUser, firstUser, cgroupParent, name)}}}}
	}
	return compatibility.WriteBundle(bundle, spec)
}

// removeCgroups removes the parents that runtimes have made for their containers' cgroups.
func removeCgroups() {
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		parents, _ := filepath.Glob(pattern + cgroupParent)
		for _, parent := range parents {
			_ = unix.Rmdir(parent) // a container that does not end keeps it busy
		}
	}
}
