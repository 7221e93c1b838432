package options

import "strconv"

// Signal is a signal's number, the same on every architecture the init is built for. 0 stands for no signal.
type Signal uint8

// MaxSignal is the highest real-time signal, SIGRTMAX.
const MaxSignal = 64

// rtmin is SIGRTMIN as glibc and musl programs see it; libc uses 32 and 33 itself (signal(7)).
const rtmin = 34

// Signals that are named here: Linux' numbers, on whatever system this runs.
const (
	sigABRT = 6
	sigCHLD = 17
	sigSTOP = 19
	sigTSTP = 20
	sigTTOU = 22
	sigIO   = 29
	sigSYS  = 31
)

// aliases are second names.
var aliases = [...]struct {
	name string
	s    Signal
}{{"IOT", sigABRT}, {"CLD", sigCHLD}, {"POLL", sigIO}, {"UNUSED", sigSYS}, {"RTMIN", rtmin}, {"RTMAX", MaxSignal}}

// ParseSignal reads a signal in any usual form: TERM, SIGTERM, sigterm, 15, RTMIN+3, RTMAX-1.
func ParseSignal(word string) (Signal, bool) {
	if n, ok := parseNumber(word, MaxSignal); ok {
		return Signal(n), n > 0
	}
	if len(word) > 3 && equalFold(word[:3], "SIG") {
		word = word[3:]
	}
	for n, name := range names {
		if name != "" && equalFold(word, name[3:]) {
			return Signal(n), true
		}
	}
	for _, a := range aliases {
		if equalFold(word, a.name) {
			return a.s, true
		}
	}
	if len(word) > len("RTMIN+") {
		if n, ok := parseNumber(word[len("RTMIN+"):], MaxSignal-rtmin); ok {
			switch head := word[:len("RTMIN+")]; {
			case equalFold(head, "RTMIN+"):
				return rtmin + Signal(n), true
			case equalFold(head, "RTMAX-"):
				return MaxSignal - Signal(n), true
			}
		}
	}
	return 0, false
}

// Name is the standard name, SIGTERM, or "" for the real-time signals, which have only numbers.
func (s Signal) Name() string {
	if int(s) < len(names) {
		return names[s]
	}
	return ""
}

// String is the form that the flags use: SIGTERM, SIGRTMIN+3.
func (s Signal) String() string {
	if name := s.Name(); name != "" {
		return name
	}
	if s >= rtmin && s <= MaxSignal {
		return "SIGRTMIN+" + strconv.Itoa(int(s-rtmin))
	}
	return strconv.Itoa(int(s))
}

// names are written in full, since joining strings allocates.
var names = [...]string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
	9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
	16: "SIGSTKFLT", 17: "SIGCHLD", 18: "SIGCONT", 19: "SIGSTOP", 20: "SIGTSTP", 21: "SIGTTIN", 22: "SIGTTOU",
	23: "SIGURG", 24: "SIGXCPU", 25: "SIGXFSZ", 26: "SIGVTALRM", 27: "SIGPROF", 28: "SIGWINCH", 29: "SIGIO",
	30: "SIGPWR", 31: "SIGSYS",
}

func equalFold(word, upper string) bool {
	if len(word) != len(upper) {
		return false
	}
	for i := range len(word) {
		c := word[i]
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != upper[i] {
			return false
		}
	}
	return true
}
