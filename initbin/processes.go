package main

import (
	"syscall"

	"unsafe"

	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/proc"
)

// processes is a snapshot of /proc, sorted by process ID. Its memory is used again for the next one.
//
// Children are found by their parent's number and not in /proc/PID/task/*/children, which many kernels do not have
// (CONFIG_PROC_CHILDREN).
type processes struct {
	list kernel.List[proc.Process]
}

// all is the snapshot.
func (p *processes) all() []proc.Process { return p.list.All() }

// hasProc says whether there is a /proc and it is that of our PID namespace: another's numbers mean other processes.
func (c *container) hasProc() bool {
	const yes, no = 1, 2
	if c.proc == 0 {
		c.proc = no
		var memory, link [40]byte
		n, _ := kernel.Readlink(kernel.Path(memory[:], "/proc/self"), link[:])
		if self, ok := number(kernel.AsString(link[:n])); ok && self == c.pid {
			c.proc = yes
		} else {
			sayNoProc()
		}
	}
	return c.proc == yes
}

// scan takes a new snapshot of the processes, if it can.
func (c *container) scan() bool { return c.hasProc() && c.processes.scan() }

// scan takes a new snapshot. It is false if there is no /proc, or no memory for it.
func (p *processes) scan() bool {
	p.list.Clear()
	path := [...]byte{'/', 'p', 'r', 'o', 'c', 0}
	directory, errno := kernel.Open(path[:], syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
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
		for rest := entries[:n]; len(rest) > direntName; {
			length := int(*(*uint16)(unsafe.Pointer(&rest[direntLength])))
			if length <= direntName || length > len(rest) {
				break
			}
			if pid, isProcess := number(kernel.Text(&rest[direntName])); isProcess {
				if process, exists := readStat(pid); exists {
					if added := p.list.Add(); added != nil {
						*added, ok = process, true
					}
				}
			}
			rest = rest[length:]
		}
	}
	kernel.Close(directory)
	return ok
}

// struct linux_dirent64 (getdents(2)): inode and offset, 8 bytes each, length 2, type 1, name.
const (
	direntLength = 16
	direntName   = 19
)

// find is the process with that number.
func (p *processes) find(pid int32) *proc.Process {
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
		return &all[low]
	}
	return nil
}

// below says whether a process is a descendant of the process ancestor. Sessions of "kubectl exec" are not below PID 1:
// their parent is outside the PID namespace.
func (p *processes) below(process *proc.Process, ancestor int32) bool {
	for range p.all() {
		if process.Parent == ancestor {
			return true
		}
		parent := p.find(process.Parent)
		if parent == nil {
			return false
		}
		process = parent
	}
	return false
}

// readStat reads /proc/PID/stat.
func readStat(pid int) (process proc.Process, ok bool) {
	var memory [40]byte
	fd, errno := kernel.Open(processFile(&memory, pid, "/stat"), syscall.O_RDONLY, 0)
	if errno != 0 {
		return process, false
	}
	var text [1024]byte
	n, _ := kernel.Read(fd, text[:])
	kernel.Close(fd)
	return proc.ParseStat(text[:n])
}

// readStatus reads /proc/PID/status.
func readStatus(pid int) (status proc.Status, ok bool) {
	fd, errno := openStatus(pid)
	if errno != 0 {
		return status, false
	}
	status, ok = readStatusFrom(fd)
	kernel.Close(fd)
	return status, ok
}

// mainStatus reads the main process's. Its file stays open, since that takes half of the time; it never is another
// process's, even when the number is.
func (c *container) mainStatus() (status proc.Status, ok bool) {
	if c.statusFile == 0 {
		fd, errno := openStatus(c.main)
		if errno != 0 {
			return status, false
		}
		c.statusFile = fd
	} else if kernel.Rewind(c.statusFile) != 0 {
		return status, false
	}
	return readStatusFrom(c.statusFile)
}

func openStatus(pid int) (fd int, errno kernel.Errno) {
	var memory [40]byte
	return kernel.Open(processFile(&memory, pid, "/status"), syscall.O_RDONLY, 0)
}

func readStatusFrom(fd int) (status proc.Status, ok bool) {
	var text [2048]byte
	for !status.Complete() {
		n, errno := kernel.Read(fd, text[:])
		if errno != 0 || n == 0 {
			break
		}
		status.Read(text[:n])
	}
	return status, status.Complete()
}

// processFile is the name of a file of a process in /proc.
func processFile(memory *[40]byte, pid int, file string) []byte {
	var digits [20]byte
	n := putNumber(digits[:], pid)
	return kernel.Path(memory[:], "/proc/", kernel.AsString(digits[:n]), file)
}

// number reads a decimal number.
func number(s string) (n int, ok bool) {
	if s == "" || len(s) > 9 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}

// putNumber writes a decimal number and says how long it is.
func putNumber(into []byte, n int) int {
	var digits [20]byte
	i := len(digits)
	for ok := true; ok && i > 0; ok = n > 0 {
		i--
		digits[i] = byte('0' + n%10)
		n /= 10
	}
	return copy(into, digits[i:])
}
