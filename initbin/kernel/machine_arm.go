package kernel

import (
	"syscall"
	"unsafe"
)

// ARM is the version of this 32-bit ARM as uname(2) names it: armv6l is 6. Newer ones, 64-bit ones too (armv8l, aarch64),
// are 7 for a 32-bit program.
func ARM() int {
	var name syscall.Utsname
	syscall.RawSyscall(syscall.SYS_UNAME, uintptr(unsafe.Pointer(&name)), 0, 0)
	const prefix = "armv"
	for i := range len(prefix) {
		if byte(name.Machine[i]) != prefix[i] {
			return 7
		}
	}
	return min(max(int(name.Machine[len(prefix)])-'0', 5), 7)
}
