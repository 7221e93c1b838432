package main

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// interruptAt lets a traced init make n system calls and sends it TERM as the last of them returns. It says whether the
// init had a child by then, and lets it run on untraced.
func (c *Container) interruptAt(n int) (started bool) {
	// A tracer is a thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t := c.trial
	defer func() { go c.wait() }()
	_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(c.PID), 0, unix.PTRACE_O_TRACEEXEC|unix.PTRACE_O_TRACESYSGOOD, 0, 0)
	if e != 0 {
		t.Brokenf("trace the init: %v", e)
	}
	c.goAhead.Write([]byte("go"))
	c.goAhead.Close()

	executed, entered, returned := false, false, -1 // the return of execve itself is number 0
	for {
		var ws unix.WaitStatus
		if _, err := unix.Wait4(c.PID, &ws, unix.WALL, nil); err == unix.EINTR {
			continue
		} else if err != nil {
			t.Brokenf("trace the init: %v", err)
		}
		if !ws.Stopped() {
			t.Failf("the init ended while it was traced: %#x", int(ws))
		}
		inject := 0
		switch {
		case ws.StopSignal() == unix.SIGTRAP|0x80: // a system call's entry or return
			if returned < 0 {
				returned = 0
				break
			}
			entered = !entered
			if entered {
				break
			}
			returned++
			started = len(c.children(c.PID)) > 0
			if returned < n && !started {
				break
			}
			if !started {
				unix.Kill(c.PID, unix.SIGTERM)
			}
			// Another of its threads may have ended it already.
			if err := unix.PtraceDetach(c.PID); err != nil && err != unix.ESRCH {
				t.Brokenf("let the init run: %v", err)
			}
			return started
		case int(ws)>>8 == int(unix.SIGTRAP)|unix.PTRACE_EVENT_EXEC<<8:
			executed = true
		case ws.StopSignal() != unix.SIGTRAP:
			inject = int(ws.StopSignal())
		}
		var err error
		if executed {
			err = unix.PtraceSyscall(c.PID, inject)
		} else {
			err = unix.PtraceCont(c.PID, inject)
		}
		if err != nil && err != unix.ESRCH {
			t.Brokenf("trace the init: %v", err)
		}
	}
}

// awaitTracer says, in the stage, that a tracer may come, and waits for the word that it is there.
func awaitTracer(ready, goAhead int) error {
	unix.CloseOnExec(goAhead)
	if _, err := unix.Write(ready, []byte("t")); err != nil {
		return err
	}
	_, err := unix.Read(goAhead, make([]byte, 2))
	return err
}
