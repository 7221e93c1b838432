package options

// Problem is what is wrong with a command line. The zero value is no problem.
type Problem struct {
	Flag string // the flag as written
	Word string // its value as written
	Want string // what would be right
}

// Any says whether there is one.
func (p Problem) Any() bool { return p.Want != "" }

// Err is p as an error, nil if there is none.
func (p Problem) Err() error {
	if !p.Any() {
		return nil
	}
	return p
}

// Error says what was read and what would be right.
func (p Problem) Error() string {
	if p.Word == "" {
		return p.Flag + ": " + p.Want
	}
	return p.Flag + ": \"" + p.Word + "\" is not " + p.Want
}

// What the flags want, for Problem.Want.
const (
	wantFlag     = "no such flag; --help lists them, and a program of this name goes after --"
	wantValue    = "a value is missing"
	wantNoValue  = "this flag takes no value"
	wantDuration = "a duration such as 45s, 1m30s or a number of seconds"
	wantSignal   = "a signal such as SIGQUIT, QUIT, SIGRTMIN+3 or 3"
	wantRewrite  = "a rewrite such as TERM:QUIT, or TERM:0 to drop the signal"
	wantTarget   = "auto, main, group or all"
	wantWait     = "main or all"
	wantEscalate = "shells or all"
	wantAbsolute = "an absolute path"
	wantCode     = "an exit code from 0 to 255"
)

// letters lists the one-letter flags and the word each stands for. They are tini's and dumb-init's.
var letters = [...]struct {
	letter byte
	word   string
}{
	{'s', "subreaper"},
	{'p', "parent-death-signal"},
	{'v', "verbose"},
	{'w', "warn-on-reap"},
	{'g', "group"},
	{'e', "remap-exit-code"},
	{'l', "license"},
	{'h', "help"},
	{'V', "version"},
	{'c', "single-child"},
	{'r', "rewrite"},
}

// Parse reads flags from the front of words, on top of o. It stops behind "--", or before the first word that is no
// flag, and gives back how many words it has read: the program is words[n:], unless platforms come there (Choose). Nothing
// is permuted, and "--" is never the value of a flag.
func Parse(o Options, words []string) (result Options, n int, problem Problem) {
	for n < len(words) {
		word := words[n]
		if len(word) < 2 || word[0] != '-' || IsPlatform(word) {
			return o, n, Problem{}
		}
		n++
		if word == "--" {
			return o, n, Problem{}
		}

		if word[1] == '-' {
			flag, value, given := cut(word[2:], '=')
			if !takesValue(flag) {
				if given {
					return o, n, Problem{Flag: word, Want: wantNoValue}
				}
			} else if !given {
				if n == len(words) || words[n] == "--" {
					return o, n, Problem{Flag: word, Want: wantValue}
				}
				value = words[n] //nolint:gosec // n is below len(words), as the line above has it
				n++
			}
			var want string
			if o, want = o.with(flag, value); want != "" {
				return o, n, Problem{Flag: word[:2+len(flag)], Word: value, Want: want}
			}
			continue
		}

		// A cluster of letters; the rest of the word, or the next word, is the value of the first that takes one.
		for i := 1; i < len(word); i++ {
			flag, value := wordOf(word[i]), ""
			if takesValue(flag) {
				if value = word[i+1:]; value == "" {
					if n == len(words) || words[n] == "--" {
						return o, n, Problem{Flag: word, Want: wantValue}
					}
					value = words[n]
					n++
				}
			}
			var want string
			if o, want = o.with(flag, value); want != "" {
				return o, n, Problem{Flag: word[:i+1], Word: value, Want: want}
			}
			if value != "" {
				break
			}
		}
	}
	return o, n, Problem{}
}

func wordOf(letter byte) string {
	for _, l := range letters {
		if l.letter == letter {
			return l.word
		}
	}
	return ""
}

func takesValue(flag string) bool {
	switch flag {
	case "grace", "linger", "stop-signal", "signal-target", "wait", "escalate", "termination-message", "procfile",
		"rewrite", "remap-exit-code", "parent-death-signal":
		return true
	}
	return false
}

// with is o with one flag set; want is not empty if value is not what the flag takes.
func (o Options) with(flag, value string) (result Options, want string) {
	ok := true
	switch flag {
	case "grace":
		o.Grace, ok = ParseDuration(value)
		want = wantDuration
	case "linger":
		o.Linger, ok = ParseDuration(value)
		want = wantDuration
	case "stop-signal":
		o.StopSignal, ok = ParseSignal(value)
		want = wantSignal
	case "parent-death-signal":
		o.ParentDeathSignal, ok = ParseSignal(value)
		want = wantSignal
	case "rewrite":
		o.Rewrites, ok = o.Rewrites.parse(value)
		want = wantRewrite
	case "signal-target":
		o.SignalTarget, ok = parseTarget(value)
		want = wantTarget
	case "group":
		o.SignalTarget = Group
	case "single-child":
		o.SignalTarget, o.OwnSession = Main, false
		if o.AtEnd == TellGroup {
			o.AtEnd = TellNobody // dumb-init tells the main process, which is the one that has ended
		}
	case "wait":
		o.WaitAll, ok = value == "all", value == "all" || value == "main"
		want = wantWait
	case "escalate":
		o.EscalateAll, ok = value == "all", value == "all" || value == "shells"
		want = wantEscalate
	case "remap-exit-code":
		var code int
		if code, ok = parseNumber(value, 255); ok {
			o.RemapExitCodes = o.RemapExitCodes.With(uint8(code))
		}
		want = wantCode
	case "termination-message":
		// The init's own directory is not the program's.
		if ok = value == "" || value[0] == '/'; ok {
			o.TerminationMessage = value
		}
		want = wantAbsolute
	case "procfile":
		o.Procfile = value
	case "subreaper":
		o.Subreaper = true
	case "warn-on-reap":
		o.WarnOnReap = true
	case "verbose":
		o.Verbosity = min(o.Verbosity, 254) + 1
	case "help":
		o.Show = ShowHelp
	case "version":
		o.Show = ShowVersion
	case "license":
		o.Show = ShowLicense
	default:
		return o, wantFlag
	}
	if ok {
		want = ""
	}
	return o, want
}

// targets are the words of --signal-target, by Target.
var targets = [...]string{Auto: "auto", Main: "main", Group: "group", All: "all"}

func parseTarget(word string) (Target, bool) {
	for t, name := range targets {
		if word == name {
			return Target(t), true
		}
	}
	return Auto, false
}

// parse reads "s:r" on top of r.
func (r Rewrites) parse(word string) (Rewrites, bool) {
	from, to, found := cut(word, ':')
	s, ok := ParseSignal(from)
	if !found || !ok {
		return r, false
	}
	if to == "0" {
		return r.With(s, 0), true
	}
	t, ok := ParseSignal(to)
	if !ok {
		return r, false
	}
	return r.With(s, t), true
}

// units are the units of a duration, longest first where one begins another.
var units = [...]struct {
	name string
	unit Duration
}{
	{"ns", Nanosecond}, {"us", Microsecond}, {"µs", Microsecond}, {"ms", Millisecond},
	{"s", Second}, {"m", Minute}, {"h", Hour},
}

// maxDuration keeps sums of durations far from overflow: a hundred years.
const maxDuration = 100 * 365 * 24 * Hour

// ParseDuration reads a duration as Go prints it, 1m30s or 0.5s, or a bare number of seconds. It is never negative.
func ParseDuration(word string) (Duration, bool) {
	if word == "" {
		return 0, false
	}
	var total Duration
	for first := true; word != ""; first = false {
		// The number, as nanoseconds of a second: whole and thousand-millionths.
		var whole, fraction Duration
		scale := Second
		digits, point := 0, false
		for word != "" {
			c := word[0]
			if c == '.' && !point {
				point = true
			} else if c < '0' || c > '9' {
				break
			} else if digits++; !point {
				if whole = whole*10 + Duration(c-'0'); whole > maxDuration/100 {
					return 0, false
				}
			} else if scale /= 10; scale > 0 {
				fraction += Duration(c-'0') * scale
			}
			word = word[1:]
		}
		if digits == 0 {
			return 0, false
		}

		unit := Second
		if word != "" {
			unit = 0
			for _, u := range units {
				if hasPrefix(word, u.name) {
					unit, word = u.unit, word[len(u.name):]
					break
				}
			}
			if unit == 0 {
				return 0, false
			}
		} else if !first {
			return 0, false // "1m30": the unit of the last number is missing
		}

		if whole > maxDuration/unit {
			return 0, false
		}
		// fraction is below one second, and a unit is either a multiple or a divisor of a second.
		if unit >= Second {
			fraction *= unit / Second
		} else {
			fraction /= Second / unit
		}
		if total += whole*unit + fraction; total > maxDuration {
			return 0, false
		}
	}
	return total, true
}

// parseNumber reads a decimal number from 0 to limit.
func parseNumber(word string, limit int) (int, bool) {
	if word == "" || len(word) > 9 {
		return 0, false
	}
	n := 0
	for i := range len(word) {
		if word[i] < '0' || word[i] > '9' {
			return 0, false
		}
		n = n*10 + int(word[i]-'0')
	}
	return n, n <= limit
}

func cut(s string, at byte) (before, after string, found bool) {
	for i := range len(s) {
		if s[i] == at {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}
