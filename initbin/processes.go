package main

import (
	"syscall"

	"github.com/podinit/podinit/initbin/decimal"
	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/proc"
)

// processes is a snapshot of /proc, sorted by process ID, and linked as a tree. The next snapshot uses the same memory.
//
// Children are found by their parent's number and not in /proc/PID/task/*/children, which many kernels do not have
// (CONFIG_PROC_CHILDREN).
type processes struct {
	list   kernel.List[proc.Process]
	reaped uint32 // container.reaped at that time

	usable     answer             // whether /proc can be used: see hasProc
	hasSignals bool               // /proc/PID/stat shows what a process does about signals
	queue      kernel.List[int32] // positions of the processes to which work may send a signal
}

// root is the init's own entry, or nil.
func (p *processes) root(self int) *proc.Process { return p.find(int32(self)) }

// all is the snapshot.
func (p *processes) all() []proc.Process { return p.list.All() }

// hasProc reports whether there is a /proc of the init's PID namespace: in another's, numbers mean other processes.
func (c *container) hasProc() bool {
	if c.processes.usable == unknown {
		c.processes.usable = no
		var link [40]byte
		n, _ := kernel.Readlink(kernel.Bytes("/proc/self\x00"), link[:])
		if self, ok := decimal.Parse(kernel.AsString(link[:n])); ok && self == c.pid {
			c.processes.usable = yes
		} else {
			logNoProc()
		}
	}
	return c.processes.usable == yes
}

// scan takes a new snapshot of the processes, if it can.
func (c *container) scan() bool {
	c.processes.reaped = c.reaped
	if !c.hasProc() || !c.processes.scan() {
		return false
	}
	c.processes.link(int32(c.pid))
	// Every signal is blocked here. gVisor has zeros where stat has signals.
	self := c.processes.root(c.pid)
	c.processes.hasSignals = self != nil && self.Blocked != 0
	return true
}

// scan takes a new snapshot. It is false if there is no /proc, or no memory for it.
func (p *processes) scan() bool {
	p.list.Clear()
	directory, errno := kernel.Open(kernel.Bytes("/proc\x00"), syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	if errno != 0 {
		return false
	}
	ok := false
	var entries [2048]byte
	for {
		n, errno := kernel.Dirents(directory, entries[:])
		if errno != 0 || n == 0 {
			break
		}
		for name, rest := kernel.EntryName(entries[:n]); name != ""; name, rest = kernel.EntryName(rest) {
			pid, isProcess := decimal.Parse(name)
			if !isProcess {
				continue
			}
			if process, exists := readStat(pid); exists {
				if added := p.list.Add(); added != nil {
					*added, ok = process, true
				}
			}
		}
	}
	kernel.Close(directory)
	return ok
}

// find is the process with that number.
func (p *processes) find(pid int32) *proc.Process {
	if at := p.position(pid); at >= 0 {
		return &p.all()[at]
	}
	return nil
}

// position is where the process with that number stands, -1 if it is not there.
//
//go:noinline
func (p *processes) position(pid int32) int {
	all := p.all()
	low, high := 0, len(all)
	for low < high {
		middle := (low + high) / 2
		if all[middle].PID < pid {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low < len(all) && all[low].PID == pid {
		return low
	}
	return -1
}

// link links every process to its relatives, and marks those below self. Sessions of "kubectl exec" are not below PID 1:
// their parent is outside the PID namespace.
func (p *processes) link(self int32) {
	all := p.all()
	parent, at := int32(-1), -1
	for i := len(all) - 1; i >= 0; i-- { // so that siblings are linked in order
		if all[i].Parent != parent {
			parent = all[i].Parent
			at = p.position(parent)
		}
		if at >= 0 {
			all[i].Up = int32(at) + 1
			all[i].Sibling = all[at].Child
			all[at].Child = int32(i) + 1
		}
	}
	root := int32(p.position(self)) + 1
	if root == 0 {
		return
	}
	// Numbers that are used again during the scan may link processes in a circle, but not below root: every process has
	// one parent.
	for at := all[root-1].Child; at != 0; {
		all[at-1].Ours = true
		next := all[at-1].Child
		for next == 0 && at != root {
			next = all[at-1].Sibling
			at = all[at-1].Up
		}
		at = next
	}
}

// readStat reads /proc/PID/stat.
func readStat(pid int) (process proc.Process, ok bool) {
	var memory [40]byte
	var text [1024]byte
	n, errno := kernel.ReadFile(processFile(&memory, pid, "/stat"), text[:])
	if errno != 0 {
		return process, false
	}
	return proc.ParseStat(text[:n])
}

// readStatus reads /proc/PID/status. It is incomplete if it cannot be read.
//
//go:noinline
func readStatus(pid int) (status proc.Status) {
	fd, errno := openStatus(pid)
	if errno != 0 {
		return status
	}
	status = readStatusFrom(fd)
	kernel.Close(fd)
	return status
}

// mainStatus reads the status of the main process. The file stays open, since opening it takes half of the time; it never
// shows another process, even if that gets the number. Where it cannot go back to its beginning (a seccomp profile may refuse
// lseek) it is opened again. ok is false if the file cannot be read.
func (c *container) mainStatus() (status proc.Status, ok bool) {
	if c.programs.mainStatus != 0 && kernel.Rewind(c.programs.mainStatus) != 0 {
		kernel.Close(c.programs.mainStatus)
		c.programs.mainStatus = 0
	}
	if c.programs.mainStatus == 0 {
		fd, errno := openStatus(c.programs.main().pid)
		if errno != 0 {
			return status, false
		}
		c.programs.mainStatus = fd
	}
	return readStatusFrom(c.programs.mainStatus), true
}

func openStatus(pid int) (fd int, errno kernel.Errno) {
	var memory [40]byte
	return kernel.Open(processFile(&memory, pid, "/status"), syscall.O_RDONLY, 0)
}

func readStatusFrom(fd int) (status proc.Status) {
	var text [2048]byte
	for !status.Complete() {
		n, errno := kernel.Read(fd, text[:])
		if errno != 0 || n == 0 {
			break
		}
		status.Read(text[:n])
	}
	return status
}

// processFile is the name of a file of a process in /proc.
//
//go:noinline
func processFile(memory *[40]byte, pid int, file string) []byte {
	var digits [decimal.Size]byte
	n := decimal.Put(digits[:], uint64(pid))
	return kernel.Path(memory[:], "/proc/", kernel.AsString(digits[:n]), file)
}
