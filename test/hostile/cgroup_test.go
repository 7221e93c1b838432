package hostile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// group is a cgroup with a memory limit (cgroups(7)).
type group struct {
	directory string
	// peak and kills are files: the most memory used, and, on one line that begins with "oom_kill ", how many processes
	// the limit has ended.
	peak, kills string
}

// newGroup makes a cgroup with a memory limit, in the hierarchy of v2 if it is the machine's, else in v1's.
func newGroup(t *testing.T, memory int64) *group {
	t.Helper()
	const mount = "/sys/fs/cgroup"
	var s unix.Statfs_t
	if err := unix.Statfs(mount, &s); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("podinit-hostile-%d", os.Getpid())
	g := &group{directory: filepath.Join(mount, "memory", name), peak: "memory.max_usage_in_bytes", kills: "memory.oom_control"}
	limits := []string{"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"}
	if s.Type == unix.CGROUP2_SUPER_MAGIC {
		g = &group{directory: filepath.Join(mount, name), peak: "memory.peak", kills: "memory.events"}
		limits = []string{"memory.max", "memory.swap.max"}
		if err := os.WriteFile(filepath.Join(mount, "cgroup.subtree_control"), []byte("+memory"), 0o644); err != nil {
			t.Logf("delegating the memory controller: %v", err) // it may be delegated already
		}
	}
	if err := os.Mkdir(g.directory, 0o755); err != nil {
		t.Fatalf("the webhook's memory limit needs a cgroup of its own: %v: run this as root, with the cgroup file system writable", err)
	}
	t.Cleanup(func() {
		var err error
		for range 50 { // its last process may not be gone yet
			if err = unix.Rmdir(g.directory); err == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Errorf("remove %s: %v", g.directory, err)
	})
	for i, limit := range limits {
		value := strconv.FormatInt(memory, 10)
		if limit == "memory.swap.max" {
			value = "0"
		}
		err := os.WriteFile(filepath.Join(g.directory, limit), []byte(value), 0o644)
		if err != nil && (i == 0 || !errors.Is(err, os.ErrNotExist)) { // a kernel without swap accounting lacks the second
			t.Fatalf("limit the webhook's memory: %v", err)
		}
	}
	return g
}

// procs is the file that a process writes its id to, to be in the cgroup.
func (g *group) procs() string { return filepath.Join(g.directory, "cgroup.procs") }

// reset makes the peak that of the time from now on, where the kernel can.
func (g *group) reset() { _ = os.WriteFile(filepath.Join(g.directory, g.peak), []byte("0"), 0o644) }

// most is the most memory that was used, in bytes.
func (g *group) most() int64 {
	text, _ := os.ReadFile(filepath.Join(g.directory, g.peak))
	n, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n
}

// killed is how many processes the limit has ended.
func (g *group) killed() int {
	text, _ := os.ReadFile(filepath.Join(g.directory, g.kills))
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
			n, _ := strconv.Atoi(n)
			return n
		}
	}
	return 0
}
