package main

// entry is the first instruction of the process (entry_*.s): it blocks every signal, gives Go code what it needs to run
// on, and calls start, which does not return.
func entry()

// Tools that look for unused code do not read assembly.
var _, _ = entry, start

var (
	// everySignal is the mask that entry sets. The kernel drops what PID 1 neither blocks nor handles (signal(7), "the
	// init process"), so until this is set a SIGTERM is lost.
	everySignal = ^uint64(0)

	// inheritedMask is the mask that was set before, which the main process gets.
	inheritedMask uint64

	// blankG stands in for the runtime's g. Go code reads one field of it, the stack guard, before it enters a function
	// that needs stack; zero means that there is always enough.
	blankG [128]uintptr

	// threadLocal is where amd64 looks for g.
	threadLocal = [1]*[128]uintptr{&blankG}
)
