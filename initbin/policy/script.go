package policy

// Script is what can be concluded about a shell's traps from the words of its script. The kernel does not show traps: bash
// catches SIGINT with a trap and without one, and runs a trap for SIGTERM only when its foreground child has ended. Where
// the words mislead, the shell gets the signal alone, as with tini.
type Script struct {
	Traps    bool // the script sets traps
	Kills    bool // it sends signals itself (kill, pkill, killall)
	Names    bool // it names the signal of the delivery
	Watchdog bool // it is MariaDB's, which ignores all signals so that they do not end it, and waits for the server to end

	n    int
	word [16]byte
}

// Read takes the next piece of a script or of a command line. signal is the name of the delivery's signal, such as
// SIGHUP. The last word must be ended by a piece of its own, such as a NUL.
func (s *Script) Read(piece []byte, signal string) {
	for _, c := range piece {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-' && s.n > 0:
			if s.n < len(s.word) {
				s.word[s.n] = c
			}
			s.n++
		default:
			if s.n > 0 && s.n <= len(s.word) {
				s.take(s.word[:s.n], signal)
			}
			s.n = 0
		}
	}
}

func (s *Script) take(word []byte, signal string) {
	const kill, sig = "kill", "SIG"
	switch {
	case string(word) == "trap":
		s.Traps = true
	case string(word) == "mariadbd-safe", string(word) == "mysqld_safe":
		s.Watchdog = true
	case string(word) == signal, len(signal) > len(sig) && string(word) == signal[len(sig):]:
		s.Names = true
	}
	if n := len(word) - len(kill); n >= 0 && (string(word[:len(kill)]) == kill || string(word[n:]) == kill) {
		s.Kills = true
	}
}
