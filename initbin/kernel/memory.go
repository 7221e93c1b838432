package kernel

import (
	"syscall"
	"unsafe"
)

// Mapping is memory outside the Go heap: anonymous pages (mmap(2)). The zero value is empty.
type Mapping struct {
	address uintptr
	size    int
}

// Map allocates at least size bytes, all zero.
func Map(size int) (Mapping, Errno) { return mapPages(size, syscall.MAP_PRIVATE) }

// MapShared does the same, and what a forked child writes there the init sees, too.
func MapShared(size int) (Mapping, Errno) { return mapPages(size, syscall.MAP_SHARED) }

func mapPages(size int, share uintptr) (Mapping, Errno) {
	size = (size + 0xffff) &^ 0xffff // whole pages, whatever their size here
	var address uintptr
	var e Errno
	const protection = syscall.PROT_READ | syscall.PROT_WRITE
	flags := share | syscall.MAP_ANONYMOUS
	if mmapTakesStruct {
		arguments := [6]uintptr{0, uintptr(size), protection, flags, ^uintptr(0), 0}
		address, _, e = syscall.RawSyscall(sysMmap, uintptr(unsafe.Pointer(&arguments)), 0, 0)
	} else {
		address, _, e = syscall.RawSyscall6(sysMmap, 0, uintptr(size), protection, flags, ^uintptr(0), 0)
	}
	if e != 0 {
		return Mapping{}, e
	}
	return Mapping{address, size}, 0
}

// Unmap frees it.
func (m Mapping) Unmap() {
	if m.size > 0 {
		syscall.RawSyscall(syscall.SYS_MUNMAP, m.address, uintptr(m.size), 0)
	}
}

// View is the mapping as elements of a type without pointers.
func View[T any](m Mapping) []T {
	if m.size == 0 {
		return nil
	}
	var element T
	return unsafe.Slice((*T)(pointer(m.address)), m.size/int(unsafe.Sizeof(element)))
}

// pointer is an address outside the Go heap as a pointer. The detour keeps go vet quiet, which cannot know that no
// garbage collector moves or frees this memory.
func pointer(address uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&address)) }

// Reserve makes the mapping hold at least size bytes, and keeps what is in it.
func (m *Mapping) Reserve(size int) bool {
	if size <= m.size {
		return true
	}
	bigger, errno := Map(max(size, 2*m.size))
	if errno != 0 {
		return false
	}
	copy(View[byte](bigger), View[byte](*m))
	m.Unmap()
	*m = bigger
	return true
}

// List is a list that grows in mapped memory. Its elements hold no pointers. The zero value is empty.
//
// Its methods are small enough to be inlined: a generic function that is called needs descriptions of its types, which
// make the init larger than it may be.
type List[T any] struct{ list }

type list struct {
	memory Mapping
	n      int
}

// All is the list. It is valid until the next Add.
func (l *List[T]) All() []T { return View[T](l.memory)[:l.n] }

// Add appends an element, for the caller to fill. It is nil if there is no memory for it.
func (l *List[T]) Add() *T {
	var element T
	return (*T)(l.add(int(unsafe.Sizeof(element))))
}

//
//go:noinline
func (l *list) add(size int) unsafe.Pointer {
	if !l.memory.Reserve((l.n + 1) * size) {
		return nil
	}
	l.n++
	return pointer(l.memory.address + uintptr((l.n-1)*size))
}

// Clear empties the list and keeps its memory.
func (l *list) Clear() { l.n = 0 }

// Remove removes the i-th element and moves the last to its position.
func (l *List[T]) Remove(i int) {
	l.n--
	elements := View[T](l.memory)
	elements[i] = elements[l.n]
}
