package kernel

import (
	"syscall"
	"unsafe"
)

// Mapping is memory of our own that is no Go heap: anonymous pages (mmap(2)). The zero value is empty.
type Mapping struct {
	address uintptr
	size    int
}

// Map takes at least size bytes, all zero.
func Map(size int) (Mapping, Errno) {
	size = (size + 0xffff) &^ 0xffff // whole pages, whatever their size here
	var address uintptr
	var e Errno
	const protection, flags = syscall.PROT_READ | syscall.PROT_WRITE, syscall.MAP_PRIVATE | syscall.MAP_ANONYMOUS
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

// Unmap gives it back.
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
