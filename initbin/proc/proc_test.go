package proc

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const stat = " S 1 41 40 0 -1 4194560 107 0 0 0 0 1 2 3 20 0 1 0 8841 2506752 242 18446744073709551615 1 2 3 0 0 256 1073741824 4102 65538 1 0 0 17 1 0 0 0 0 0\n"

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
			Pending, Blocked            uint32
			Ignored, Caught             uint32
		}
		want := fields{42, 1, 41, 40, 'S', 4194560, 8841, name, 256, 1 << 30, 4102, 65538}
		got := fields{p.PID, p.Parent, p.Group, p.Session, p.State, p.Flags, p.Start, p.Name(), p.Pending, p.Blocked, p.Ignored, p.Caught}
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

func TestDoes(t *testing.T) {
	p, _ := ParseStat([]byte("42 (x)" + stat))
	for signal, want := range map[uint8]Disposition{
		2: {Known: true, Ignored: true, Caught: true}, 17: {Known: true, Caught: true}, 13: {Known: true, Ignored: true},
		31: {Known: true, Blocked: true}, 15: {Known: true},
	} {
		if got := p.Does(signal); got != want {
			t.Errorf("signal %d: %+v, want %+v", signal, got, want)
		}
	}
	var s Status
	s.Read([]byte(status))
	if got, want := s.Does(64), (Disposition{Known: true, Ignored: true}); got != want {
		t.Errorf("signal 64: %+v, want %+v", got, want)
	}
	var none Status
	none.Read([]byte("Name:\tx\nState:\tS (sleeping)\nTgid:\t1\nPid:\t1\nThreads:\t1\n")) // as gVisor has it
	if got := none.Does(15); got != (Disposition{}) {
		t.Errorf("without lines about signals: %+v", got)
	}
}

func TestParseCall(t *testing.T) {
	for text, want := range map[string]struct {
		call     int
		argument uint64
	}{
		"128 0x7ffd24c45560 0x0 0x7ffd24c45540 0x8 0x0 0x0 0x7ffd24c45518 0x7f1\n": {128, 0x7ffd24c45560},
		"61 0xffffffffffffffff 0x7ffd 0x2 0x0 0x0 0x0 0x7ff 0x7f\n":                {61, 0xffffffffffffffff},
		"running\n": {-1, 0}, "-1 0x7ffd 0x7f\n": {-1, 0}, "": {-1, 0}, "128": {-1, 0}, "128 0": {-1, 0}, "12345678901 0x1": {-1, 0},
	} {
		if call, argument := ParseCall([]byte(text)); call != want.call || argument != want.argument {
			t.Errorf("%q: %d, %x", text, call, argument)
		}
	}
}

func TestNestedInit(t *testing.T) {
	for text, want := range map[string]bool{"NSpid:\t7\t1\n": true, "NSpid:\t1\n": false, "NSpid:\t7\t21\n": false, "NSpid:\t7\t1\t1\n": true,
		"NSpid:\t7\t1\t5\n": false, "NSpid:\t\n": false, "NSpid:\t4194304\t4194304\t4194304\t1\n": true, "Tgid:\t1\n": false} {
		var s Status
		if s.Read([]byte(text)); s.NestedInit != want {
			t.Errorf("%q: %v", text, s.NestedInit)
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
	if s.Read(text); !s.Complete() || !s.Caught.Has(15) || s.NestedInit {
		t.Errorf("%+v from %s", s, text)
	}
	// The two files agree about every signal that both have.
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	p, _ := ParseStat(stat)
	for signal := uint8(1); signal <= InStat; signal++ {
		if a, b := p.Does(signal), s.Does(signal); a.Caught != b.Caught || a.Ignored != b.Ignored {
			t.Errorf("signal %d: %+v in stat, %+v in status", signal, a, b)
		}
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
