package kernel

import "golang.org/x/sys/unix"

const (
	sysMmap              = unix.SYS_MMAP2
	mmapTakesStruct      = false
	cloneTakesStackFirst = false
)
