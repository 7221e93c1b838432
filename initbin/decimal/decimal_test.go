package decimal

import (
	"math"
	"strconv"
	"testing"
)

func TestPrefix(t *testing.T) {
	for text, want := range map[string]struct {
		n      uint64
		digits int
	}{"": {0, 0}, "x1": {0, 0}, "-1": {0, 0}, "0": {0, 1}, "007 8": {7, 3}, "42\n": {42, 2}, "18446744073709551615": {math.MaxUint64, 20}} {
		if n, digits := Prefix([]byte(text)); n != want.n || digits != want.digits {
			t.Errorf("%q is %d of %d digits, want %+v", text, n, digits, want)
		}
	}
}

func TestParse(t *testing.T) {
	for word, want := range map[string]int{"0": 0, "015": 15, "999999999": 999_999_999} {
		if n, ok := Parse(word); n != want || !ok {
			t.Errorf("%q is %d, %v", word, n, ok)
		}
	}
	for _, word := range []string{"", "-1", "+1", "1 ", " 1", "1x", "1000000000"} {
		if n, ok := Parse(word); ok {
			t.Errorf("%q is taken as %d", word, n)
		}
	}
}

func TestPut(t *testing.T) {
	for _, n := range []uint64{0, 7, 10, 4_194_304, math.MaxUint64} {
		var digits [Size]byte
		if got, want := string(digits[:Put(digits[:], n)]), strconv.FormatUint(n, 10); got != want {
			t.Errorf("%d is written %q", n, got)
		}
	}
}
