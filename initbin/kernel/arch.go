//go:build amd64 || arm64 || ppc64le || riscv64

package kernel

import "golang.org/x/sys/unix"

const (
	sysMmap              = unix.SYS_MMAP
	mmapTakesStruct      = false
	cloneTakesStackFirst = false
)
