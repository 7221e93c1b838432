package rawjson

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"
	"slices"
	"unicode/utf8"
)

// maxDepth is how deep objects and arrays may be nested, as in encoding/json.
const maxDepth = 10000

// maxStored is how many bytes the elements of arrays and entries of maps that are stored from one document may measure,
// without what they point to. A byte or two of JSON can make hundreds in memory, so the size of a document does not bound
// what it takes.
const maxStored = 8 << 20

// Error says what is wrong with a document, and where.
type Error struct {
	// Path of the value that is wrong, down to where the document and the struct agree.
	Path string
	// Offset of the value or the byte that is wrong.
	Offset int
	// Problem is what is wrong.
	Problem string
}

func (e *Error) Error() string {
	where := fmt.Sprintf("at byte %d", e.Offset)
	if e.Path != "" {
		where = e.Path + ", " + where
	}
	return where + ": " + e.Problem
}

// cursor is a place in a document. Its methods read on from there and stop at the first byte that is not JSON.
type cursor struct {
	raw    []byte
	at     int
	depth  int
	stored uintptr
}

func (c *cursor) fail(format string, args ...any) *Error {
	return &Error{Offset: c.at, Problem: fmt.Sprintf(format, args...)}
}

// unexpected is the error for a byte that is not what must come here.
func (c *cursor) unexpected(wanted string) *Error {
	if c.at >= len(c.raw) {
		return c.fail("the document ends where %s must be", wanted)
	}
	return c.fail("%q where %s must be", c.raw[c.at], wanted)
}

// peek skips white space and returns the byte after it, 0 at the end.
func (c *cursor) peek() byte {
	for ; c.at < len(c.raw); c.at++ {
		switch b := c.raw[c.at]; b {
		case ' ', '\t', '\n', '\r':
		default:
			return b
		}
	}
	return 0
}

// enter steps into the object or array that begins at the cursor.
func (c *cursor) enter() *Error {
	if c.depth++; c.depth > maxDepth {
		return c.fail("nested deeper than %d", maxDepth)
	}
	c.at++
	return nil
}

// begin steps into the object or array that begins with the given byte, or over a null in its place.
func (c *cursor) begin(with byte, what string) (null bool, err *Error) {
	switch c.peek() {
	case with:
		return false, c.enter()
	case 'n':
		return true, c.word("null")
	}
	return false, c.unexpected(what)
}

// next steps to the next element of the array, or to the next name in the object, that ends with the given byte;
// done after it has stepped over the end.
func (c *cursor) next(first bool, end byte) (done bool, err *Error) {
	switch b := c.peek(); {
	case b == end:
		c.at++
		c.depth--
		return true, nil
	case first:
	case b != ',':
		return false, c.unexpected("a comma or the end of an object or array")
	default:
		c.at++
		c.peek()
	}
	return false, nil
}

// name reads the name of a member, as it is between the quotes, and steps to its value.
func (c *cursor) name() (content []byte, escaped bool, err *Error) {
	if c.peek() != '"' {
		return nil, false, c.unexpected("the name of a field")
	}
	if content, escaped, err = c.text(); err != nil {
		return nil, false, err
	}
	if c.peek() != ':' {
		return nil, false, c.unexpected("a colon")
	}
	c.at++
	return content, escaped, nil
}

// store counts an element of that size that is going to be stored.
func (c *cursor) store(size uintptr) *Error {
	if c.stored += size; c.stored > maxStored {
		return c.fail("elements of more than %d MiB", maxStored>>20)
	}
	return nil
}

// ordinary are the bytes of a string that mean themselves.
var ordinary = func() (table [256]bool) {
	for b := range table {
		table[b] = b >= ' ' && b != '"' && b != '\\'
	}
	return table
}()

// skipOrdinary is where the next byte is that does not mean itself, or the end.
//
// It takes eight bytes at a time. Subtracting n from each sets the top bit of those that are less than n, unless it was
// set before; what a byte borrows can only mislead about those above it, and the lowest one is all that is asked for.
func skipOrdinary(raw []byte, at int) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; at+8 <= len(raw); at += 8 {
		bytes := binary.LittleEndian.Uint64(raw[at:])
		quote, backslash := bytes^ones*'"', bytes^ones*'\\'
		if found := ((bytes-ones*' ')&^bytes | (quote-ones)&^quote | (backslash-ones)&^backslash) & tops; found != 0 {
			return at + bits.TrailingZeros64(found)/8
		}
	}
	for at < len(raw) && ordinary[raw[at]] {
		at++
	}
	return at
}

// text reads the string that begins at the cursor and returns what is between the quotes.
func (c *cursor) text() (content []byte, escaped bool, err *Error) {
	raw, start := c.raw, c.at+1
	for at := start; ; at++ {
		at = skipOrdinary(raw, at)
		c.at = at
		switch {
		case at >= len(raw):
			return nil, false, c.unexpected("the end of a string")
		case raw[at] == '"':
			c.at++
			return raw[start:at], escaped, nil
		case raw[at] != '\\':
			return nil, false, c.fail("the control character %q in a string", raw[at])
		}
		escaped = true
		at++
		if at < len(raw) && raw[at] == 'u' {
			for range 4 {
				if at++; at >= len(raw) || !hexadecimal(raw[at]) {
					return nil, false, c.fail(`\u without four hexadecimal digits`)
				}
			}
			continue
		}
		if at >= len(raw) || !escapes[raw[at]] {
			return nil, false, c.fail("a backslash that escapes nothing")
		}
	}
}

var escapes = [256]bool{'"': true, '\\': true, '/': true, 'b': true, 'f': true, 'n': true, 'r': true, 't': true}

func hexadecimal(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b && b <= 'f' || 'A' <= b && b <= 'F'
}

// meaning is the string that is meant by what text has read.
func meaning(content []byte, escaped bool) string {
	if !escaped && utf8.Valid(content) {
		return string(content)
	}
	// In Kubernetes' objects this is rare enough to leave it to the standard library, which cannot fail here.
	var s string
	_ = json.Unmarshal(slices.Concat([]byte{'"'}, content, []byte{'"'}), &s)
	return s
}

// number reads the number that begins at the cursor.
func (c *cursor) number() ([]byte, *Error) {
	start := c.at
	if c.byte() == '-' {
		c.at++
	}
	if c.byte() == '0' {
		c.at++
	} else if err := c.digits(); err != nil {
		return nil, err
	}
	if c.byte() == '.' {
		c.at++
		if err := c.digits(); err != nil {
			return nil, err
		}
	}
	if b := c.byte(); b == 'e' || b == 'E' {
		c.at++
		if b := c.byte(); b == '+' || b == '-' {
			c.at++
		}
		if err := c.digits(); err != nil {
			return nil, err
		}
	}
	return c.raw[start:c.at], nil
}

func (c *cursor) digits() *Error {
	start := c.at
	for b := c.byte(); '0' <= b && b <= '9'; b = c.byte() {
		c.at++
	}
	if c.at == start {
		return c.unexpected("a digit")
	}
	return nil
}

// byte is the one at the cursor, 0 at the end.
func (c *cursor) byte() byte {
	if c.at < len(c.raw) {
		return c.raw[c.at]
	}
	return 0
}

// word reads true, false or null.
func (c *cursor) word(word string) *Error {
	if rest := c.raw[c.at:]; len(rest) < len(word) || string(rest[:len(word)]) != word {
		return c.unexpected("a value")
	}
	c.at += len(word)
	return nil
}

// skip reads a value that is not looked at.
func (c *cursor) skip() (err *Error) {
	switch b := c.peek(); b {
	case '"':
		_, _, err = c.text()
		return err
	case '{', '[':
		if err := c.enter(); err != nil {
			return err
		}
		end := b + 2 // in ASCII, '}' is '{' + 2, and ']' is '[' + 2
		for first := true; ; first = false {
			if done, err := c.next(first, end); done || err != nil {
				return err
			}
			if b == '{' {
				if _, _, err := c.name(); err != nil {
					return err
				}
			}
			if err := c.skip(); err != nil {
				return err
			}
		}
	case 't':
		return c.word("true")
	case 'f':
		return c.word("false")
	case 'n':
		return c.word("null")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		_, err = c.number()
		return err
	}
	return c.unexpected("a value")
}
