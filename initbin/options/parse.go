package options

import "github.com/podinit/podinit/initbin/decimal"

// Problem is a mistake in a command line. The zero value says that there is none.
type Problem struct {
	Flag string // the flag as written
	Word string // its value as written
	Want string // what is right
}

// Any reports whether there is one.
func (p Problem) Any() bool { return p.Want != "" }

// Err is p as an error, nil if there is none.
func (p Problem) Err() error {
	if !p.Any() {
		return nil
	}
	return p
}

// Error names the flag, its value, and what is right.
func (p Problem) Error() string {
	if p.Word == "" {
		return p.Flag + ": " + p.Want
	}
	return p.Flag + ": \"" + p.Word + "\" is not " + p.Want
}

const (
	wantFlag    = "no such flag; --help lists the flags; write a program with this name after --"
	wantValue   = "a value is missing"
	wantNoValue = "this flag takes no value"
)

// Parse reads flags from the front of words, on top of o. It stops after "--", or before the first word that is not
// a flag, and returns how many words it has read: the program is words[n:], unless platforms follow (Choose). Words are
// not reordered, and "--" is never the value of a flag.
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

		// One long flag, or a cluster of letters: the first of them that takes a value ends it, and the rest of the word is
		// the value. Where the word has none, the next word is.
		for i := 1; i < len(word); {
			var f *flag
			var written, value string
			given := false
			if word[1] == '-' {
				written, value, given = cut(word, '=')
				f, i = named(written[len("--"):]), len(word)
			} else {
				f = lettered(word[i : i+1])
				i++
				written = word[:i]
				if f != nil && f.value != "" && i < len(word) {
					value, given, i = word[i:], true, len(word)
				}
			}
			switch {
			case f == nil:
				return o, n, Problem{Flag: written, Want: wantFlag}
			case f.value == "" && given:
				return o, n, Problem{Flag: word, Want: wantNoValue}
			case f.value != "" && !given:
				if n == len(words) || words[n] == "--" {
					return o, n, Problem{Flag: word, Want: wantValue}
				}
				value = words[n]
				n++
			}
			if o, problem = f.set(o, written, value); problem.Any() {
				return o, n, problem
			}
		}
	}
	return o, n, Problem{}
}

// maxDigest is the length of the longest digest that registries have, a sha512, in bytes.
const maxDigest = len("sha512:") + 128

// isDigest reports whether a word is a digest as registries write it (OCI image spec, descriptor.md, "Digests").
func isDigest(word string) bool {
	algorithm, digits, found := cut(word, ':')
	if !found || algorithm == "" || len(digits) < 32 || len(word) > maxDigest {
		return false
	}
	for i := range len(algorithm) {
		if c := algorithm[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	for i := range len(digits) {
		if c := digits[i]; (c < 'a' || c > 'f') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
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
	n, ok := decimal.Parse(word)
	return n, ok && n <= limit
}

func cut(s string, at byte) (before, after string, found bool) {
	for i := range len(s) {
		if s[i] == at {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}
