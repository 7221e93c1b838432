package rawjson

import (
	"bytes"
	"testing"
)

// Every byte, in every place of a text and with every neighbour that could lend it a bit.
func TestSkipOrdinary(t *testing.T) {
	for special := range 256 {
		for _, other := range []byte{'a', ' ', '!', '#', '[', ']', 0x7f, 0x80, 0xff} {
			for length := range 20 {
				for at := range length {
					raw := bytes.Repeat([]byte{other}, length)
					raw[at] = byte(special)
					want := length
					if !ordinary[special] {
						want = at
					}
					if got := skipOrdinary(raw, 0); got != want {
						t.Fatalf("%q: stopped at %d, want %d", raw, got, want)
					}
				}
			}
		}
	}
}
