//go:build amd64 || arm64

package main

// entry is the first instruction of the process (entry_*.s). As the init's own, which docs/freestanding.md explains, it
// blocks every signal and calls start.
func entry()

var (
	everySignal   = ^uint64(0)
	inheritedMask uint64
	blankG        [128]uintptr
	threadLocal   = [1]*[128]uintptr{&blankG}
)
