//go:build arm

package kernel

import "syscall"

// kernelSet is a signal set as the kernel reads it: an array of machine words, the low signals first. A little-endian
// uint64 has them so.
func kernelSet(mask uint64) uint64 { return mask }

// timespec is at most 68 years, which is all that the seconds have room for.
func timespec(ns int64) syscall.Timespec {
	return syscall.Timespec{Sec: int32(min(ns/1e9, 1<<31-1)), Nsec: int32(ns % 1e9)}
}
