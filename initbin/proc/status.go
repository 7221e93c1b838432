package proc

// Set is a set of signals as /proc/PID/status prints it: bit n-1 is signal n.
type Set uint64

// Has reports whether a signal is in the set.
func (s Set) Has(signal uint8) bool { return signal > 0 && s>>(signal-1)&1 != 0 }

// With is the set with one more signal.
func (s Set) With(signal uint8) Set {
	if signal > 0 {
		s |= 1 << (signal - 1)
	}
	return s
}

// Status is what the init needs of /proc/PID/status (proc_pid_status(5)).
type Status struct {
	State   byte
	Pending Set // SigPnd and ShdPnd
	Blocked Set
	Ignored Set
	Caught  Set

	// NestedInit: the process is PID 1 of a PID namespace below that of the /proc it was read from.
	NestedInit bool

	seen int
	n    int
	line [64]byte
}

// Complete reports whether every line about signals has been read, and the state. gVisor has no lines about signals
// (google/gvisor, pkg/sentry/fsimpl/proc/task_files.go).
func (s *Status) Complete() bool { return s.seen == 6 }

// Does is what the first thread does about a signal.
func (s *Status) Does(signal uint8) Disposition {
	return Disposition{Known: s.Complete(), Caught: s.Caught.Has(signal), Ignored: s.Ignored.Has(signal), Blocked: s.Blocked.Has(signal)}
}

// Disposition is what a process does about one signal.
type Disposition struct {
	Known                    bool // the kernel shows it; otherwise the others are false
	Caught, Ignored, Blocked bool
}

// Read takes the next piece of the file. The list of groups can make it longer than any buffer, so it comes in pieces
// and only the head of each line is kept. Newlines within a name are escaped by the kernel here.
func (s *Status) Read(piece []byte) {
	for len(piece) > 0 {
		end := 0
		for end < len(piece) && piece[end] != '\n' {
			end++
		}
		s.n += copy(s.line[s.n:], piece[:end])
		if end == len(piece) {
			return
		}
		s.take(s.line[:s.n])
		s.n = 0
		piece = piece[end+1:]
	}
}

func (s *Status) take(line []byte) {
	switch {
	case begins(line, "State:\t") && len(line) > len("State:\t"):
		s.State = line[len("State:\t")]
		s.seen++
	case begins(line, "NSpid:\t"):
		s.NestedInit = nestedInit(line[len("NSpid:\t"):])
	case begins(line, "SigPnd:\t"), begins(line, "ShdPnd:\t"):
		s.Pending |= s.set(line)
	case begins(line, "SigBlk:\t"):
		s.Blocked = s.set(line)
	case begins(line, "SigIgn:\t"):
		s.Ignored = s.set(line)
	case begins(line, "SigCgt:\t"):
		s.Caught = s.set(line)
	}
}

// nestedInit reads the numbers that a process has in its PID namespaces, the outermost first: it is PID 1 of one if there
// are several and the last is 1.
func nestedInit(numbers []byte) bool {
	n := len(numbers)
	return n >= 3 && numbers[n-1] == '1' && numbers[n-2] == '\t'
}

// set reads the hexadecimal number after a heading of eight characters.
func (s *Status) set(line []byte) Set {
	var set Set
	for _, c := range line[len("SigPnd:\t"):] {
		digit, ok := hex(c)
		if !ok {
			return 0
		}
		set = set<<4 | Set(digit)
	}
	s.seen++
	return set
}

func begins(line []byte, heading string) bool {
	return len(line) >= len(heading) && string(line[:len(heading)]) == heading
}
