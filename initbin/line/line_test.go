package line

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLine(t *testing.T) {
	for want, build := range map[string]func(*Line){
		"\n":                                func(l *Line) {},
		"a 7 b\n":                           func(l *Line) { l.Text("a ").Number(7).Text(" b") },
		"-12 0 9223372036854775807\n":       func(l *Line) { l.Number(-12).Text(" ").Number(0).Text(" ").Number(math.MaxInt64) },
		"45s 0.5s 0s 2s\n":                  func(l *Line) { l.Seconds(45e9).Text(" ").Seconds(52e7).Text(" ").Seconds(0).Text(" ").Seconds(196e7) },
		"a?b?c\n":                           func(l *Line) { l.Text("a\nb\x7fc") },
		strings.Repeat("x", Size-1) + "\n":  func(l *Line) { l.Text(strings.Repeat("x", Size+100)) },
		strings.Repeat("x", Size-2) + "1\n": func(l *Line) { l.Text(strings.Repeat("x", Size-2)).Number(123) },
	} {
		var l Line
		build(&l)
		if diff := cmp.Diff(want, string(l.End().Bytes())); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
