// Package line builds one line of text in a fixed piece of memory, for an init that cannot allocate.
package line

// Size is how much a line holds: what Kubernetes keeps of a termination message, and what one write to a pipe keeps
// together (PIPE_BUF).
const Size = 4096

// Line is a line in the making. What does not fit is cut off.
type Line struct {
	n    int
	text [Size]byte
}

// Text appends s. Control characters become a question mark, so that a strange name cannot break the line.
func (l *Line) Text(s string) *Line {
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c == 0x7f {
			c = '?'
		}
		l.byte(c)
	}
	return l
}

// Quoted appends s between quotation marks.
func (l *Line) Quoted(s string) *Line { return l.Text("\"").Text(s).Text("\"") }

// Number appends n in decimal.
func (l *Line) Number(n int64) *Line {
	if n < 0 {
		l.byte('-')
		n = -n
	}
	var digits [20]byte
	i := len(digits)
	for ok := true; ok && i > 0; ok = n > 0 {
		i--
		digits[i] = byte('0' + n%10)
		n /= 10
	}
	for ; i < len(digits); i++ {
		l.byte(digits[i])
	}
	return l
}

// Seconds appends a duration in nanoseconds, to a tenth of a second: 45s, 0.5s.
func (l *Line) Seconds(ns int64) *Line {
	tenths := (ns + 50e6) / 100e6
	l.Number(tenths / 10)
	if tenths%10 != 0 {
		l.byte('.')
		l.Number(tenths % 10)
	}
	return l.Text("s")
}

// End appends the newline, which always fits, unless it is there already.
func (l *Line) End() *Line {
	if l.n > 0 && l.text[l.n-1] == '\n' {
		return l
	}
	l.n = min(l.n, Size-1)
	l.text[l.n] = '\n'
	l.n++
	return l
}

// Bytes is the line so far.
func (l *Line) Bytes() []byte { return l.text[:l.n] }

// Empty says whether nothing has been appended.
func (l *Line) Empty() bool { return l.n == 0 }

//go:noinline
func (l *Line) byte(c byte) {
	if uint(l.n) < Size {
		l.text[l.n] = c
		l.n++
	}
}
