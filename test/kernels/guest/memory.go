package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// eater takes memory until the kernel ends it.
const eater = `import sys
taken = []
while True:
	taken.append(bytearray(1 << 20))
`

// memoryChecks are about the kernel's memory killer, in a cgroup with a limit. Since 1.28 a kubelet sets memory.oom.group, unless
// singleProcessOOMKill is on.
func memoryChecks() []check {
	const another = "another process was killed because the container ran out of memory"
	eat := []string{"python3", "-c", eater}
	return []check{
		// The kernel ends the program alone. The init lives, and reports how it ended.
		{"memory/main", func() (string, error) {
			return outOfMemory("0", eat, ended{code: 137, output: `"python3" was killed by SIGKILL because the container ran out of memory`})
		}},
		{"memory/child", func() (string, error) {
			shell := []string{"dash", "-c", `python3 -c "$0"; exit 3`, eater}
			return outOfMemory("0", shell, ended{code: 3, output: another})
		}},
		{"memory/child-survived", func() (string, error) {
			shell := []string{"dash", "-c", `python3 -c "$0"; echo went on; exit 0`, eater}
			return outOfMemory("0", shell, ended{code: 0, output: "went on"})
		}},
		// The kernel ends the whole container, so that the kubelet sees PID 1 killed.
		{"memory/group-main", func() (string, error) {
			return outOfMemory("1", eat, ended{code: -1, signal: syscall.SIGKILL})
		}},
		{"memory/group-child", func() (string, error) {
			shell := []string{"dash", "-c", `python3 -c "$0"; exit 3`, eater}
			return outOfMemory("1", shell, ended{code: -1, signal: syscall.SIGKILL})
		}},
	}
}

// outOfMemory runs the init with this main process in a cgroup of 48 MiB, and compares how the container ends; output need only
// be a part of what it prints.
func outOfMemory(group string, main []string, want ended) (string, error) {
	cgroup, err := os.MkdirTemp("/sys/fs/cgroup", "memory-")
	if err != nil {
		return "", err
	}
	defer os.Remove(cgroup)
	for file, value := range map[string]string{"memory.max": "50331648", "memory.oom.group": group} {
		if err := os.WriteFile(filepath.Join(cgroup, file), []byte(value), 0); err != nil {
			return "", err
		}
	}
	got, err := container(cgroup, append([]string{initPath, "--"}, main...)...)
	if err != nil {
		return "", err
	}
	events, err := os.ReadFile(filepath.Join(cgroup, "memory.events"))
	if err != nil {
		return "", err
	}
	figures := strings.Join(strings.Fields(string(events)), " ")
	if strings.Contains(figures, "oom_kill 0") {
		return figures, fmt.Errorf("the kernel killed nothing, and the container ended with %+v", got)
	}
	if got.code != want.code || got.signal != want.signal || !strings.Contains(got.output, want.output) {
		return figures, fmt.Errorf("the container ended with %+v, want %+v", got, want)
	}
	return figures, nil
}
