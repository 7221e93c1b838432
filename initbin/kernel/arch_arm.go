package kernel

import "syscall"

// Where this architecture's calls differ from the others'.
const (
	sysProcessVMReadv    = 376
	sysMmap              = syscall.SYS_MMAP2
	sysRenameat          = syscall.SYS_RENAMEAT
	sysStatfs            = syscall.SYS_STATFS64
	sysFstat             = syscall.SYS_FSTAT64
	mmapTakesStruct      = false
	cloneTakesStackFirst = false
	statfsTakesSize      = true
)
