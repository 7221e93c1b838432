package main

import (
	"syscall"
	"unsafe"

	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/policy"
	"github.com/podinit/podinit/initbin/proc"
)

// notified is a set of processes: those that have been asked to end, so that none is asked twice, since programs take a
// second SIGTERM for impatience. It is a hash table by process ID in mapped memory, and it never forgets; the start time
// tells a process from a later one with the same number.
type notified struct {
	memory kernel.Mapping
	n      int
}

// notice is that a process has been notified.
type notice struct {
	start uint64
	pid   int32
	moment
}

// moment is when a process has been notified: in the ticks of Process.Start, and as a tick is long, with the number of
// the process that was the newest then, which only shells are asked for.
type moment struct {
	ticks  uint32
	newest int32
	_      int32
}

// before says whether that was before a process started.
func (m moment) before(p *proc.Process) bool {
	age := int32(uint32(p.Start) - m.ticks)
	return age > 0 || age == 0 && p.PID > m.newest
}

// newestProcess is the last number in /proc/loadavg (proc_loadavg(5)).
func newestProcess() int32 {
	var memory [16]byte
	var text [128]byte
	fd, errno := kernel.Open(kernel.Path(memory[:], "/proc/loadavg"), syscall.O_RDONLY, 0)
	if errno != 0 {
		return 1<<31 - 1
	}
	n, _ := kernel.Read(fd, text[:])
	kernel.Close(fd)
	begin := 0
	for i := range n {
		if text[i] == ' ' {
			begin = i + 1
		}
	}
	if pid, ok := number(kernel.AsString(text[begin:max(begin, n-1)])); ok {
		return int32(pid)
	}
	return 1<<31 - 1
}

// identity is a process for ever.
type identity struct {
	start uint64
	pid   int32
	_     int32
}

func identify(p *proc.Process) identity { return identity{start: p.Start, pid: p.PID} }

// find is the process in a snapshot, or nil if it has ended.
func (id identity) find(in *processes) *proc.Process {
	if p := in.find(id.pid); p != nil && p.Start == id.start {
		return p
	}
	return nil
}

func (t *notified) has(p *proc.Process) bool {
	_, ok := t.when(p)
	return ok
}

// when says when p has been notified, if it has been.
//
//go:noinline
func (t *notified) when(p *proc.Process) (m moment, ok bool) {
	slots := kernel.View[notice](t.memory)
	if len(slots) == 0 {
		return m, false
	}
	slot := &slots[place(slots, p.PID, p.Start)]
	return slot.moment, slot.pid != 0
}

// add remembers p. Without memory for that it is forgotten, and at worst notified twice.
func (t *notified) add(p *proc.Process) {
	slots := kernel.View[notice](t.memory)
	if 2*t.n >= len(slots) {
		bigger, errno := kernel.Map(max(1, 2*len(slots)*int(unsafe.Sizeof(notice{}))))
		if errno != 0 {
			return
		}
		more := kernel.View[notice](bigger)
		for _, s := range slots {
			if s.pid != 0 {
				more[place(more, s.pid, s.start)] = s
			}
		}
		t.memory.Unmap()
		t.memory, slots = bigger, more
	}
	i := place(slots, p.PID, p.Start)
	if slots[i].pid == 0 {
		slots[i] = notice{start: p.Start, pid: p.PID, moment: moment{ticks: kernel.BootTicks()}}
		if policy.ShellOf(p.Name()) != 0 {
			slots[i].newest = newestProcess()
		}
		t.n++
	}
}

// place is where a process is, or the free slot where it would be. There is always a free one.
//
//go:noinline
func place(slots []notice, pid int32, start uint64) int {
	i := int(uint(pid) % uint(len(slots)))
	for slots[i].pid != 0 && (slots[i].pid != pid || slots[i].start != start) {
		if i++; i == len(slots) {
			i = 0
		}
	}
	return i
}
