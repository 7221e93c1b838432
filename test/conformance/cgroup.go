package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

var cgroupNumber atomic.Int64

// Cgroup makes a cgroup with a limit, given once as version 1 and once as version 2 calls it, and removes it with the trial.
func (t *Trial) Cgroup(controller, v1, v2, value string) (dir string) {
	root, file := "/sys/fs/cgroup", v2
	if _, err := os.Stat(root + "/cgroup.controllers"); err != nil {
		root, file = filepath.Join(root, controller), v1
	} else if err := os.WriteFile(root+"/cgroup.subtree_control", []byte("+"+controller), 0); err != nil {
		t.Brokenf("cgroup controller %s: %v", controller, err)
	}
	removeStale(root)
	dir = filepath.Join(root, fmt.Sprintf("podinit-conformance-%d-%d", os.Getpid(), cgroupNumber.Add(1)))
	t.Must(os.Mkdir(dir, 0o755))
	t.Cleanup(func() {
		// The last process is gone, the kernel's books may take a moment.
		t.Until("the cgroup is empty", func() bool { return unix.Rmdir(dir) == nil })
	})
	t.Must(os.WriteFile(filepath.Join(dir, file), []byte(value), 0))
	return dir
}

// removeStale removes what a run that was killed left behind.
func removeStale(root string) {
	dirs, _ := filepath.Glob(filepath.Join(root, "podinit-conformance-*-*"))
	for _, dir := range dirs {
		var pid, n int
		if _, err := fmt.Sscanf(filepath.Base(dir), "podinit-conformance-%d-%d", &pid, &n); err == nil && unix.Kill(pid, 0) == unix.ESRCH {
			unix.Rmdir(dir)
		}
	}
}
