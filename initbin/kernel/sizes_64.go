//go:build amd64 || arm64 || ppc64le || s390x || riscv64

package kernel

import "syscall"

// kernelSet is a signal set as the kernel reads it: an array of machine words, the low signals first.
func kernelSet(mask uint64) uint64 { return mask }

func timespec(ns int64) syscall.Timespec { return syscall.Timespec{Sec: ns / 1e9, Nsec: ns % 1e9} }
