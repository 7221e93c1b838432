package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// FuzzRelay has the relay write what comes in pieces: each line once, whole and behind the program's name, but those
// above maxLine, which it cuts, and the last, which it ends.
func FuzzRelay(f *testing.F) {
	f.Add([]byte("one\ntwo\nthree"), uint16(5), uint16(0))
	f.Add([]byte("\n\n"), uint16(1), uint16(0))
	f.Add([]byte("long\n"), uint16(999), uint16(40))
	f.Fuzz(func(t *testing.T, text []byte, piece, times uint16) {
		text = bytes.Repeat(text, min(int(times)+1, 1+(1<<18)/(len(text)+1)))
		size := max(int(piece)+1, len(text)/4096)
		file, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		var c container
		end := pipeEnd{to: int32(file.Fd())}
		buffer := make([]byte, room)
		var want strings.Builder
		line := 0
		for rest := text; ; {
			n := copy(buffer[end.length:maxLine], rest[:min(len(rest), size)])
			rest = rest[n:]
			end.length += int32(n)
			c.writeLines(&end, buffer, n == 0)
			if end.length < 0 || end.length >= maxLine {
				t.Fatalf("%d bytes are kept, and there is room for %d", end.length, maxLine)
			}
			if n == 0 {
				break
			}
		}
		for _, b := range text {
			if line == 0 {
				want.WriteString(" | ")
			}
			want.WriteByte(b)
			if line++; b == '\n' {
				line = 0
			} else if line == maxLine {
				want.WriteByte('\n')
				line = 0
			}
		}
		if line > 0 {
			want.WriteByte('\n')
		}
		got, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want.String() {
			t.Errorf("%d bytes, want %d", len(got), want.Len())
		}
	})
}
