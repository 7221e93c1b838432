package kernel

import "golang.org/x/sys/unix"

const (
	sysMmap              = unix.SYS_MMAP
	mmapTakesStruct      = true // the oldest calling convention is still this one's (mmap(2))
	cloneTakesStackFirst = true // clone(2), "C library/kernel differences"
)
