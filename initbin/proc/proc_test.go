package proc

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const stat = " S 1 41 40 0 -1 4194560 107 0 0 0 0 1 2 3 20 0 1 0 8841 2506752 242 18446744073709551615 1 2 3 0 0 0 0 0 65536 1 0 0 17 1 0 0 0 0 0\n"

func TestParseStat(t *testing.T) {
	for _, name := range []string{"sleep", "", "a b", "a) S 7 (b", "))", "((", "x\ny", "15 characters!!"} {
		p, ok := ParseStat([]byte("42 (" + name + ")" + stat))
		if !ok {
			t.Errorf("%q is refused", name)
			continue
		}
		type fields struct {
			PID, Parent, Group, Session int32
			State                       byte
			Flags                       uint32
			Start                       uint64
			Name                        string
		}
		want := fields{42, 1, 41, 40, 'S', 4194560, 8841, name}
		got := fields{p.PID, p.Parent, p.Group, p.Session, p.State, p.Flags, p.Start, p.Name()}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", name, diff)
		}
	}
	for _, text := range []string{"", "42", "42 (", "42 (x", "42 (x)", "42 (x) S", "(x) S 1", "x (x)" + stat, "42 (x) S 1 41 40 0 -1 x",
		strings.Replace("42 (x)"+stat, "8841", "x", 1), "42 (x)" + stat[:50]} {
		if p, ok := ParseStat([]byte(text)); ok {
			t.Errorf("%q is taken as %+v", text, p)
		}
	}
}

func TestGone(t *testing.T) {
	for name, tt := range map[string]struct {
		p    Process
		want bool
	}{
		"running": {Process{State: 'R'}, false}, "stopped": {Process{State: 'T'}, false}, "zombie": {Process{State: 'Z'}, true},
		"dead": {Process{State: 'X'}, true}, "exiting": {Process{State: 'R', Flags: 0x4}, true},
		"dumping core": {Process{State: 'D', Flags: 0x400}, true}, "other flags": {Process{State: 'S', Flags: 0x400100}, false},
		"the first thread has ended":        {Process{State: 'Z', Flags: 0x4, Threads: 3}, false},
		"all threads are ended by a signal": {Process{State: 'Z', Flags: 0x404, Threads: 3}, true},
	} {
		if got := tt.p.Gone(); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

const status = "Name:\tx\\nSigCgt:\tffffffffffffffff\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t42\nGroups:\tGROUPS\nThreads:\t1\nSigQ:\t1/96529\n" +
	"SigPnd:\t0000000000000100\nShdPnd:\t0000000000004000\nSigBlk:\t0000000000000001\nSigIgn:\t8000000000000006\nSigCgt:\t0000000180000002\nCapInh:\t0\n"

func TestStatus(t *testing.T) {
	text := strings.Replace(status, "GROUPS", strings.Repeat("1000 ", 10000), 1)
	for _, piece := range []int{1, 7, 4096, len(text)} {
		var s Status
		for rest := text; rest != ""; rest = rest[min(piece, len(rest)):] {
			s.Read([]byte(rest[:min(piece, len(rest))]))
		}
		if !s.Complete() || s.State != 'S' {
			t.Errorf("in pieces of %d: complete %v, state %c", piece, s.Complete(), s.State)
		}
		got := []Set{s.Pending, s.Blocked, s.Ignored, s.Caught}
		if diff := cmp.Diff([]Set{0x4100, 1, 0x8000000000000006, 0x180000002}, got); diff != "" {
			t.Errorf("in pieces of %d (-want +got):\n%s", piece, diff)
		}
	}
	for _, text := range []string{"", status[:len(status)/2], strings.Replace(status, "SigIgn:\t8", "SigIgn:\tx", 1)} {
		var s Status
		if s.Read([]byte(text)); s.Complete() {
			t.Errorf("%q is taken as complete", text)
		}
	}
}

func TestSet(t *testing.T) {
	s := Set(0).With(1).With(15).With(64)
	for signal, want := range map[uint8]bool{0: false, 1: true, 2: false, 15: true, 63: false, 64: true} {
		if s.Has(signal) != want {
			t.Errorf("signal %d: %v", signal, !want)
		}
	}
}

// The kernel's own text, of the process that runs the test.
func TestRealProc(t *testing.T) {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := ParseStat(text); !ok || int(p.PID) != os.Getpid() || int(p.Parent) != os.Getppid() || p.Start == 0 {
		t.Errorf("%+v, %v from %s", p, ok, text)
	}
	text, err = os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	var s Status
	if s.Read(text); !s.Complete() || !s.Caught.Has(15) {
		t.Errorf("%+v from %s", s, text)
	}
}

// FuzzParseStat: no text can make it fail, and a name changes nothing else.
func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (x)"+stat), "x")
	f.Add([]byte("42 (x) y) ("), ") R 2 (")
	f.Add([]byte("1 ("), "\n \x00)")
	f.Fuzz(func(t *testing.T, text []byte, name string) {
		if p, ok := ParseStat(text); ok {
			_ = p.Name()
		}
		p, ok := ParseStat([]byte("42 (" + name + ")" + stat))
		if !ok || p.PID != 42 || p.Parent != 1 || p.Start != 8841 || p.Name() != name[:min(len(name), 15)] {
			t.Errorf("%q: %+v, %v", name, p, ok)
		}
	})
}

// FuzzStatus: in whatever pieces it comes, the result is the same.
func FuzzStatus(f *testing.F) {
	f.Add([]byte(status), 3)
	f.Add([]byte("SigPnd:\t\nState:\t\nSigCgt:\tg\n"), 1)
	f.Fuzz(func(t *testing.T, text []byte, piece int) {
		var whole, pieces Status
		whole.Read(text)
		piece = max(1, piece&0xff)
		for rest := text; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
			pieces.Read(rest[:min(piece, len(rest))])
		}
		if whole != pieces {
			t.Errorf("in pieces of %s: %+v, want %+v", strconv.Itoa(piece), pieces, whole)
		}
	})
}
