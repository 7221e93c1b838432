package kernel

import "syscall"

// Where this architecture's calls differ from the others'.
const (
	sysProcessVMReadv    = 340
	sysMmap              = syscall.SYS_MMAP
	sysRenameat          = syscall.SYS_RENAMEAT
	sysStatfs            = syscall.SYS_STATFS
	sysFstat             = syscall.SYS_FSTAT
	mmapTakesStruct      = true // mmap(2), "NOTES"
	cloneTakesStackFirst = true // clone(2), "C library/kernel differences"
	statfsTakesSize      = false
)
