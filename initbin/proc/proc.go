// Package proc reads what /proc says about processes. It parses text and does no I/O.
package proc

import "unsafe"

// Process is what the init needs of /proc/PID/stat (proc_pid_stat(5)). It holds no pointers, so that a table of it can
// live in mapped memory.
type Process struct {
	PID     int32
	Parent  int32
	Group   int32
	Session int32
	Flags   uint32
	Threads int32
	Start   uint64 // since boot, in ticks: a process ID may be used again, both together not
	State   byte
	length  uint8
	name    [15]byte // TASK_COMM_LEN without the NUL
}

// PF_EXITING and PF_SIGNALED (linux/sched.h): the first thread is past the point where it could handle anything; and it
// is because of a signal, so that all threads are, though it may still be writing a core dump or giving memory back.
const (
	flagExiting  = 0x4
	flagSignaled = 0x400
)

// Name is the command name, which the process itself can change to anything. The string is p's own memory.
func (p *Process) Name() string { return unsafe.String(&p.name[0], p.length) }

// Gone says whether the process has ended or is about to: it can neither get a signal nor be waited for. The first
// thread may also end before the others (pthread_exit(3)): then the process looks like a zombie and is none.
func (p *Process) Gone() bool {
	if p.Flags&flagSignaled != 0 {
		return true
	}
	return (p.State == 'Z' || p.State == 'X' || p.Flags&flagExiting != 0) && p.Threads <= 1
}

// Stopped says whether the process is stopped by a signal.
func (p *Process) Stopped() bool { return p.State == 'T' }

// ParseStat reads /proc/PID/stat. The name in it stands in parentheses and may itself hold parentheses, spaces and
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
	return p, !f.bad
}

// fields takes a text apart at its spaces.
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
	begin := i
	var n uint64
	for i < f.end && '0' <= text[i] && text[i] <= '9' {
		n = n*10 + uint64(text[i]-'0')
		i++
	}
	f.bad = f.bad || i == begin || i < f.end && text[i] != ' ' && text[i] != '\n'
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
