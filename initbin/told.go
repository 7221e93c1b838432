package main

import (
	"unsafe"

	"github.com/podinit/podinit/initbin/kernel"
	"github.com/podinit/podinit/initbin/proc"
)

// told remembers which processes have been asked to end, so that none is asked twice: programs take a second SIGTERM
// for impatience. It is a hash table by process ID in mapped memory, and it never forgets; the start time tells a
// process from a later one with the same number.
type told struct {
	memory kernel.Mapping
	n      int
}

// telling is that a process has been told.
type telling struct {
	start uint64
	pid   int32
	when  uint32 // in the ticks of Process.Start
}

// identity is a process for ever.
type identity struct {
	start uint64
	pid   int32
	_     int32
}

func identify(p *proc.Process) identity { return identity{start: p.Start, pid: p.PID} }

func (t *told) has(p *proc.Process) bool {
	_, told := t.when(p)
	return told
}

// when says when p has been told, if it has been.
func (t *told) when(p *proc.Process) (ticks uint32, told bool) {
	slots := kernel.View[telling](t.memory)
	if len(slots) == 0 {
		return 0, false
	}
	slot := &slots[place(slots, p.PID, p.Start)]
	return slot.when, slot.pid != 0
}

// add remembers p. Without memory for that it is forgotten, and at worst told twice.
func (t *told) add(p *proc.Process) {
	slots := kernel.View[telling](t.memory)
	if 2*t.n >= len(slots) {
		bigger, errno := kernel.Map(max(1, 2*len(slots)*int(unsafe.Sizeof(telling{}))))
		if errno != 0 {
			return
		}
		more := kernel.View[telling](bigger)
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
		slots[i] = telling{start: p.Start, pid: p.PID, when: kernel.BootTicks()}
		t.n++
	}
}

// place is where a process is, or the free slot where it would be. There is always a free one.
func place(slots []telling, pid int32, start uint64) int {
	i := int(uint(pid) % uint(len(slots)))
	for slots[i].pid != 0 && (slots[i].pid != pid || slots[i].start != start) {
		if i++; i == len(slots) {
			i = 0
		}
	}
	return i
}
