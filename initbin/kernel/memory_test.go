package kernel

import "testing"

func TestList(t *testing.T) {
	var l List[[3]int32]
	for i := range int32(100_000) {
		*l.Add() = [3]int32{i, 2 * i, 3 * i}
	}
	if len(l.All()) != 100_000 {
		t.Fatalf("%d elements", len(l.All()))
	}
	for i, e := range l.All() {
		if want := [3]int32{int32(i), 2 * int32(i), 3 * int32(i)}; e != want {
			t.Fatalf("element %d is %v, want %v", i, e, want)
		}
	}
	l.Remove(0)
	if got := l.All()[0]; len(l.All()) != 99_999 || got[0] != 99_999 {
		t.Errorf("%d elements, the first %v", len(l.All()), got)
	}
	l.Clear()
	if len(l.All()) != 0 {
		t.Errorf("%d elements after Clear", len(l.All()))
	}
}

func TestPath(t *testing.T) {
	var memory [8]byte
	for _, tt := range []struct {
		parts []string
		want  string
	}{{[]string{"/a", "/", "b"}, "/a/b\x00"}, {[]string{}, "\x00"}, {[]string{"1234567"}, "1234567\x00"}, {[]string{"12345678"}, ""}, {[]string{"1234", "5678"}, ""}} {
		if got := string(Path(memory[:], tt.parts...)); got != tt.want {
			t.Errorf("%q gives %q, want %q", tt.parts, got, tt.want)
		}
	}
}
