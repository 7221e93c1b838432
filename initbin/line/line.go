// Package line builds one line of text in a fixed piece of memory, for an init that cannot allocate.
package line

import "github.com/podinit/podinit/initbin/decimal"

// Size is how much a line holds: what Kubernetes keeps of a termination message, and what one write to a pipe keeps
// together (PIPE_BUF).
const Size = 4096

// Line is a line of text. What does not fit is cut off.
type Line struct {
	n    int
	text [Size]byte
}

// Text appends s. Control characters become a question mark, so that no name can break the line.
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
	var digits [decimal.Size]byte
	for _, digit := range digits[:decimal.Put(digits[:], uint64(n))] {
		l.byte(digit)
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

// Empty reports whether nothing has been appended.
func (l *Line) Empty() bool { return l.n == 0 }

//go:noinline
func (l *Line) byte(c byte) {
	if uint(l.n) < Size {
		l.text[l.n] = c
		l.n++
	}
}
