// Package decimal reads and writes decimal numbers without allocating.
package decimal

import "unsafe"

// Prefix reads the number that text begins with; digits is how many digits it has, 0 if there is no number. A number above
// 64 bits wraps around.
//
//go:noinline
func Prefix(text []byte) (n uint64, digits int) {
	for digits < len(text) && '0' <= text[digits] && text[digits] <= '9' {
		n = n*10 + uint64(text[digits]-'0')
		digits++
	}
	return n, digits
}

// maxDigits is how many digits fit into an int of 32 bits whatever they are.
const maxDigits = 9

// Parse reads a word that is a number of one to nine digits.
//
//go:noinline
func Parse(word string) (n int, ok bool) {
	value, digits := Prefix(unsafe.Slice(unsafe.StringData(word), len(word)))
	if digits == 0 || digits != len(word) || digits > maxDigits {
		return 0, false
	}
	return int(value), true
}

// Size is how many digits a number has at most.
const Size = 20

// Put writes n at the beginning of into, and returns how many digits that is.
//
//go:noinline
func Put(into []byte, n uint64) int {
	var digits [Size]byte
	i := len(digits)
	for more := true; more && i > 0; more = n > 0 {
		i--
		digits[i] = byte('0' + n%10)
		n /= 10
	}
	return copy(into, digits[i:])
}
