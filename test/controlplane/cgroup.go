package controlplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// group is a cgroup with a memory limit (cgroups(7)).
type group struct {
	directory string
	// usage, peak and kills are files: the memory used, the most of it, and, on one line that begins with "oom_kill ", how many
	// processes the limit has ended.
	usage, peak, kills string
}

// newGroup makes a cgroup with a memory limit, in the hierarchy of v2 if it is the machine's, else in v1's.
func newGroup(number int, memory int64) (*group, error) {
	const mount = "/sys/fs/cgroup"
	var s unix.Statfs_t
	if err := unix.Statfs(mount, &s); err != nil {
		return &group{}, err
	}
	name := fmt.Sprintf("podinit-webhook-%d-%d", os.Getpid(), number)
	g := &group{
		directory: filepath.Join(mount, "memory", name), usage: "memory.usage_in_bytes", peak: "memory.max_usage_in_bytes",
		kills: "memory.oom_control",
	}
	limits := []string{"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"}
	if s.Type == unix.CGROUP2_SUPER_MAGIC {
		g = &group{directory: filepath.Join(mount, name), usage: "memory.current", peak: "memory.peak", kills: "memory.events"}
		limits = []string{"memory.max", "memory.swap.max"}
		// An error is that of the limit, below: the controller may be delegated already.
		_ = os.WriteFile(filepath.Join(mount, "cgroup.subtree_control"), []byte("+memory"), 0o644)
	}
	if err := os.Mkdir(g.directory, 0o755); err != nil {
		return &group{},
			fmt.Errorf("the webhook's memory limit needs a cgroup of its own: %w: run this as root, with the cgroup file system writable", err)
	}
	for i, limit := range limits {
		value := strconv.FormatInt(memory, 10)
		if limit == "memory.swap.max" {
			value = "0"
		}
		err := os.WriteFile(filepath.Join(g.directory, limit), []byte(value), 0o644)
		if err != nil && (i == 0 || !errors.Is(err, os.ErrNotExist)) { // a kernel without swap accounting lacks the second
			return g, fmt.Errorf("limit the webhook's memory: %w", err)
		}
	}
	return g, nil
}

// remove removes it; its last process may not be gone yet.
func (g *group) remove() (err error) {
	if g.directory == "" {
		return nil
	}
	for range 50 {
		if err = unix.Rmdir(g.directory); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("remove %s: %w", g.directory, err)
}

// procs is the file that a process writes its id to, to be in the cgroup.
func (g *group) procs() string { return filepath.Join(g.directory, "cgroup.procs") }

// reset makes the peak that of the time from now on, where the kernel can.
func (g *group) reset() { _ = os.WriteFile(filepath.Join(g.directory, g.peak), []byte("0"), 0o644) }

// read is the number in one of its files.
func (g *group) read(file string) int64 {
	text, _ := os.ReadFile(filepath.Join(g.directory, file))
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
