package kernel

import "syscall"

// Where this architecture's calls differ from the others'.
const (
	sysProcessVMReadv    = 270
	sysMmap              = syscall.SYS_MMAP
	sysRenameat          = syscall.SYS_RENAMEAT2
	sysStatfs            = syscall.SYS_STATFS
	sysFstat             = syscall.SYS_FSTAT
	mmapTakesStruct      = false
	cloneTakesStackFirst = false
	statfsTakesSize      = false
)
