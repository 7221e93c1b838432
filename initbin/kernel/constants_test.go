package kernel

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestConstants(t *testing.T) {
	for name, c := range map[string][2]int{
		"close_range":            {sysCloseRange, unix.SYS_CLOSE_RANGE},
		"process_vm_readv":       {sysProcessVMReadv, unix.SYS_PROCESS_VM_READV},
		"SIG_SETMASK":            {sigSetmask, unix.SIG_SETMASK},
		"CLOCK_MONOTONIC":        {clockMonotonic, unix.CLOCK_MONOTONIC},
		"PR_SET_CHILD_SUBREAPER": {prSetChildSubreaper, unix.PR_SET_CHILD_SUBREAPER},
		"AT_FDCWD":               {atFdcwd, unix.AT_FDCWD},
		"SEEK_END":               {seekEnd, unix.SEEK_END},
		"POLLIN":                 {pollIn, unix.POLLIN},
		"POLLOUT":                {pollOut, unix.POLLOUT},
		"ST_NOEXEC":              {NoExec, unix.ST_NOEXEC},
		"struct pollfd":          {int(unsafe.Sizeof(PollFd{})), int(unsafe.Sizeof(unix.PollFd{}))},
	} {
		if c[0] != c[1] {
			t.Errorf("%s is %d, want %d", name, c[0], c[1])
		}
	}
}
