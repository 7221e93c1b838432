package main

import (
	"syscall"

	"unsafe"

	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/proc"
)

// processes is a snapshot of /proc, sorted by process ID, in mapped memory that is used again for the next one.
//
// Children are found by their parent's number and not in /proc/PID/task/*/children, which many kernels do not have
// (CONFIG_PROC_CHILDREN), and which says nothing of processes that hang below other threads' children.
type processes struct {
	memory kernel.Mapping
	n      int
}

// all is the snapshot.
func (p *processes) all() []proc.Process { return kernel.View[proc.Process](p.memory)[:p.n] }

// scan takes a new snapshot. It is false if there is no /proc, or no memory for it.
func (p *processes) scan() bool {
	p.n = 0
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
					ok = p.add(process) || ok
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

func (p *processes) add(process proc.Process) bool {
	table := kernel.View[proc.Process](p.memory)
	if p.n == len(table) {
		bigger, errno := kernel.Map(max(1, 2*len(table)*int(unsafe.Sizeof(process))))
		if errno != 0 {
			return false
		}
		copy(kernel.View[proc.Process](bigger), table)
		p.memory.Unmap()
		p.memory = bigger
		table = kernel.View[proc.Process](bigger)
	}
	table[p.n] = process
	p.n++
	return true
}

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
	for range p.n {
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
	fd, errno := openProcess(pid, "/stat")
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
	fd, errno := openProcess(pid, "/status")
	if errno != 0 {
		return status, false
	}
	var text [2048]byte
	for {
		n, errno := kernel.Read(fd, text[:])
		if errno != 0 || n == 0 {
			break
		}
		status.Read(text[:n])
	}
	kernel.Close(fd)
	return status, status.Complete()
}

func openProcess(pid int, file string) (fd int, errno kernel.Errno) {
	var memory [40]byte
	var digits [20]byte
	n := putNumber(digits[:], pid)
	return kernel.Open(kernel.Path(memory[:], "/proc/", kernel.AsString(digits[:n]), file), syscall.O_RDONLY, 0)
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
