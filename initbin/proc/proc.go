// Package proc parses the files of processes in /proc. It does no I/O.
package proc

import (
	"syscall"
	"unsafe"

	"github.com/podinit/podinit/initbin/decimal"
)

// Process is what the init needs from /proc/PID/stat (proc_pid_stat(5)). It holds no pointers, so that a table of it can
// live in mapped memory.
type Process struct {
	PID     int32
	Parent  int32
	Group   int32
	Session int32
	Flags   uint32
	Threads int32
	Start   uint64 // since boot, in ticks: a process ID may be used again, both together not

	// What the first thread does about the signals up to 31: Status has the others. Pending is of the thread alone, so
	// it has SIGKILL as soon as the process is being ended, and not what is sent to the process.
	Pending, Blocked, Ignored, Caught uint32

	// What the snapshot adds.
	Relatives
	Ours    bool // it is below the init
	Handles bool // it, or a process below it, handles the signal of the delivery
	Ended   bool // it has been seen to end since

	State  byte
	length uint8
	name   [15]byte // TASK_COMM_LEN without the NUL
}

// Relatives are positions in a table of processes, plus one, so that 0 stands for none.
type Relatives struct {
	Up, Child, Sibling int32
}

// InStat is the last signal that /proc/PID/stat has a bit for.
const InStat = 31

// PF_EXITING and PF_SIGNALED (linux/sched.h): the first thread is past the point where it could handle anything; and it
// is because of a signal, so that all threads are, though it may still be writing a core dump or giving memory back.
const (
	flagExiting  = 0x4
	flagSignaled = 0x400
)

// PF_FORKNOEXEC (linux/sched.h): execve(2) clears it.
const flagForked = 0x40

// Name is the command name, which the process itself can change to anything. The string is p's own memory.
func (p *Process) Name() string { return unsafe.String(&p.name[0], p.length) }

// Gone reports whether the process has ended or is about to: a signal has no effect on it. The first thread may also end
// before the others (pthread_exit(3)): then the process looks like a zombie but is not one.
func (p *Process) Gone() bool {
	if p.Flags&flagSignaled != 0 {
		return true
	}
	return (p.State == 'Z' || p.State == 'X' || p.Flags&flagExiting != 0) && p.Threads <= 1
}

// Ending reports whether the process has ended, or is sure to: to end a process, the kernel queues SIGKILL for all its threads
// while it still queues the signal (complete_signal in kernel/signal.c).
func (p *Process) Ending() bool { return p.Gone() || Set(p.Pending).Has(uint8(syscall.SIGKILL)) }

// Forked reports whether the process still runs the program of the one that has forked it.
func (p *Process) Forked() bool { return p.Flags&flagForked != 0 }

// Does is what the first thread does about a signal up to InStat.
func (p *Process) Does(signal uint8) Disposition {
	return Disposition{Known: true, Caught: Set(p.Caught).Has(signal), Ignored: Set(p.Ignored).Has(signal),
		Blocked: Set(p.Blocked).Has(signal)}
}

// Stopped reports whether the process is stopped by a signal.
func (p *Process) Stopped() bool { return p.State == 'T' }

// ParseStat reads /proc/PID/stat. The name in it is in parentheses and may itself contain parentheses, spaces and
// newlines, so it ends at the last parenthesis.
func ParseStat(text []byte) (p Process, ok bool) {
	open, end := -1, -1
	for i, c := range text {
		if c == '(' && open < 0 {
			open = i
		}
		if c == ')' {
			end = i
		}
	}
	if open < 2 || end < open {
		return p, false
	}
	f := fields{end: open - 1}
	p.PID = int32(f.number(text))
	p.length = uint8(copy(p.name[:], text[open+1:end]))

	f.at, f.end = end+1, len(text)
	p.State = f.letter(text)
	p.Parent = int32(f.number(text))
	p.Group = int32(f.number(text))
	p.Session = int32(f.number(text))
	f.number(text) // tty_nr
	f.number(text) // tpgid
	p.Flags = uint32(f.number(text))
	for range 10 { // minflt to nice
		f.number(text)
	}
	p.Threads = int32(f.number(text))
	f.number(text) // itrealvalue
	p.Start = f.number(text)
	for range 8 { // vsize to kstkeip
		f.number(text)
	}
	p.Pending = uint32(f.number(text))
	p.Blocked = uint32(f.number(text))
	p.Ignored = uint32(f.number(text))
	p.Caught = uint32(f.number(text))
	return p, !f.bad
}

// fields reads a text field by field.
type fields struct {
	at, end int // what is left of it
	bad     bool
}

func (f *fields) number(text []byte) uint64 {
	i := f.at
	for i < f.end && text[i] == ' ' {
		i++
	}
	if i < f.end && text[i] == '-' {
		i++ // tpgid is -1 without a terminal; no number that is used is negative
	}
	n, digits := decimal.Prefix(text[i:f.end])
	i += digits
	f.bad = f.bad || digits == 0 || i < f.end && text[i] != ' ' && text[i] != '\n'
	f.at = i
	return n
}

func (f *fields) letter(text []byte) byte {
	if f.end-f.at < 2 || text[f.at] != ' ' || text[f.at+1] < 'A' {
		f.bad = true
		return 0
	}
	f.at += 2
	return text[f.at-1]
}

// ParseCall reads /proc/PID/syscall (proc_pid_syscall(5)): the number of the system call that a process is in, -1 if it
// is in none or runs, and the first argument.
func ParseCall(text []byte) (call int, argument uint64) {
	number, i := decimal.Prefix(text)
	if i == 0 || i > 9 || i+3 > len(text) || string(text[i:i+3]) != " 0x" {
		return -1, 0
	}
	for i += 3; i < len(text); i++ {
		digit, ok := hex(text[i])
		if !ok {
			break
		}
		argument = argument<<4 | uint64(digit)
	}
	return int(number), argument
}

func hex(c byte) (digit byte, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}
