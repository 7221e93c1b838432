//go:build amd64 || arm64 || ppc64le

package kernel

import "syscall"

// Where this architecture's calls differ from the others'.
const (
	sysMmap              = syscall.SYS_MMAP
	sysRenameat          = syscall.SYS_RENAMEAT
	sysStatfs            = syscall.SYS_STATFS
	sysFstat             = syscall.SYS_FSTAT
	mmapTakesStruct      = false
	cloneTakesStackFirst = false
	statfsTakesSize      = false
)
