package main

import (
	"unsafe"

	"github.com/podinit/podinit/initbin/decimal"
	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/policy"
	"github.com/podinit/podinit/initbin/proc"
)

// history is what the init remembers about processes.
type history struct {
	notified       processSet // those that have been asked to end: programs take a second SIGTERM for impatience
	handlers       processSet // those that have handled a signal which asks to end
	held           processSet // those that are not notified at once, as another process may have done it
	waiters        processSet // those that have been seen to wait for signals
	unseenNotified bool       // those that cannot be seen, without /proc, have been notified once
}

// processSet is a hash table by process ID in mapped memory. It never forgets; the start time tells a process from a
// later one with the same number.
type processSet struct {
	memory kernel.Mapping
	n      int
}

// notice is an entry of a processSet.
type notice struct {
	start uint64
	pid   int32
	moment
}

// moment is when a process was added to a processSet: in the ticks of Process.Start and, as a tick is long, with the number
// of the process that was the newest then. The number is known for shells only. forked is proc.Process.Forked at that time.
type moment struct {
	ticks  uint32
	newest int32
	forked bool
	_      [3]byte
}

// before reports whether the moment was before a process started.
func (m moment) before(p *proc.Process) bool {
	age := int32(uint32(p.Start) - m.ticks)
	return age > 0 || age == 0 && p.PID > m.newest
}

// newestProcess is the newest process ID, the last number in /proc/loadavg (proc_loadavg(5)).
func newestProcess() int32 {
	var text [128]byte
	n, _ := kernel.ReadFile(kernel.Bytes("/proc/loadavg\x00"), text[:])
	begin := 0
	for i := range n {
		if text[i] == ' ' {
			begin = i + 1
		}
	}
	if pid, ok := decimal.Parse(kernel.AsString(text[begin:max(begin, n-1)])); ok {
		return int32(pid)
	}
	return 1<<31 - 1
}

// identity names a process even when its number is used again.
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

// has reports whether p is in the set.
func (t *processSet) has(p *proc.Process) bool {
	_, ok := t.when(p)
	return ok
}

// when is when p was added to the set, if it is there.
//
//go:noinline
func (t *processSet) when(p *proc.Process) (m moment, ok bool) {
	slots := kernel.View[notice](t.memory)
	if len(slots) == 0 {
		return m, false
	}
	slot := &slots[slotOf(slots, p.PID, p.Start)]
	return slot.moment, slot.pid != 0
}

// hasProgram reports whether p is in the set, and has not run another program since: a shell's child has the shell's handlers
// until it does.
func (t *processSet) hasProgram(p *proc.Process) bool {
	m, ok := t.when(p)
	return ok && (!m.forked || p.Forked())
}

// add adds p. Without memory for it, p is not in the set, and at worst notified twice.
func (t *processSet) add(p *proc.Process) {
	slots := kernel.View[notice](t.memory)
	if 2*t.n >= len(slots) {
		bigger, errno := kernel.Map(max(1, 2*len(slots)*int(unsafe.Sizeof(notice{}))))
		if errno != 0 {
			return
		}
		more := kernel.View[notice](bigger)
		for _, s := range slots {
			if s.pid != 0 {
				more[slotOf(more, s.pid, s.start)] = s
			}
		}
		t.memory.Unmap()
		t.memory, slots = bigger, more
	}
	i := slotOf(slots, p.PID, p.Start)
	known := slots[i].pid != 0
	if !known || slots[i].forked && !p.Forked() {
		slots[i] = notice{start: p.Start, pid: p.PID, moment: moment{ticks: kernel.BootTicks(), forked: p.Forked()}}
		if policy.ShellOf(p.Name()) != 0 {
			slots[i].newest = newestProcess()
		}
	}
	if !known {
		t.n++
	}
}

// slotOf is the slot of a process, or the free slot that it would get. There is always a free one.
//
//go:noinline
func slotOf(slots []notice, pid int32, start uint64) int {
	i := int(uint(pid) % uint(len(slots)))
	for slots[i].pid != 0 && (slots[i].pid != pid || slots[i].start != start) {
		if i++; i == len(slots) {
			i = 0
		}
	}
	return i
}
