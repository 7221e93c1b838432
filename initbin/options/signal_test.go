package options

import (
	"strconv"
	"testing"
	"time"
)

func TestParseSignal(t *testing.T) {
	for word, want := range map[string]Signal{
		"TERM": 15, "SIGTERM": 15, "sigterm": 15, "Term": 15, "15": 15, "015": 15, "SIGIOT": 6, "CLD": 17, "POLL": 29,
		"RTMIN": 34, "SIGRTMIN+3": 37, "RTMAX": 64, "sigrtmax-2": 62, "64": 64, "STOP": 19,
	} {
		if got, ok := ParseSignal(word); !ok || got != want {
			t.Errorf("%q is %d, %v, want %d", word, got, ok, want)
		}
	}
	for _, word := range []string{"", "0", "65", "-1", "SIG", "SIGSIGTERM", "TERM ", "RTMIN+", "RTMIN+31", "RTMIN-1", "RTMAX+1", "1e1"} {
		if got, ok := ParseSignal(word); ok {
			t.Errorf("%q is taken as signal %d", word, got)
		}
	}
}

func FuzzParseSignal(f *testing.F) {
	f.Add("SIGTERM")
	f.Add("RTMAX-30")
	f.Fuzz(func(t *testing.T, word string) {
		s, ok := ParseSignal(word)
		if !ok {
			return
		}
		if s < 1 || s > MaxSignal {
			t.Fatalf("%q is signal %d", word, s)
		}
		if back, ok := ParseSignal(s.String()); !ok || back != s {
			t.Errorf("%q is %d, printed %q, read back as %d", word, s, s.String(), back)
		}
	})
}

func TestParseDuration(t *testing.T) {
	for word, want := range map[string]Duration{
		"0": 0, "0s": 0, "45s": 45 * Second, "1m30s": 90 * Second, "90": 90 * Second, "1.5": 1500 * Millisecond,
		"1h0m0.5s": Hour + 500*Millisecond, "250ms": 250 * Millisecond, ".5s": 500 * Millisecond,
		"1.5h": 90 * Minute, "2us": 2 * Microsecond, "2µs": 2 * Microsecond, "7ns": 7,
	} {
		if got, ok := ParseDuration(word); !ok || got != want {
			t.Errorf("%q is %v, %v, want %v", word, got, ok, want)
		}
	}
	for _, word := range []string{"", "s", "-1s", "+1s", "1x", "1m30", "1..5s", ".s", ".", "99999999999999999999s", "1000000h", " 1s", "1 s"} {
		if got, ok := ParseDuration(word); ok {
			t.Errorf("%q is taken as %v", word, got)
		}
	}
}

// FuzzParseDuration: what both we and the standard library accept means the same to both, but for the rounding of
// fractions, and we print as it prints.
func FuzzParseDuration(f *testing.F) {
	f.Add("1h2m3.004s", int64(90e9))
	f.Add("0.000000001h", int64(1))
	f.Fuzz(func(t *testing.T, word string, n int64) {
		if got, ok := ParseDuration(word); ok {
			if got < 0 {
				t.Fatalf("%q is negative: %v", word, got)
			}
			if _, err := strconv.ParseFloat(word, 64); err == nil {
				word += "s"
			}
			if want, err := time.ParseDuration(word); err == nil && (want-time.Duration(got)).Abs() > 4*time.Microsecond*time.Duration(len(word)) {
				t.Errorf("%q is %v, want %v", word, got, want)
			}
		}
		d := Duration(n)
		if d < 0 || d > maxDuration/100 {
			return
		}
		if got, ok := ParseDuration(d.String()); !ok || got != d {
			t.Errorf("%v is read as %v, %v", d, got, ok)
		}
		if want := time.Duration(n).String(); n >= int64(Second) && n%int64(Minute) != 0 && d.String() != want && d < Minute {
			t.Errorf("%d is printed %v, want %v", n, d, want)
		}
	})
}

func TestDurationString(t *testing.T) {
	for d, want := range map[Duration]string{
		0: "0s", 45 * Second: "45s", 90 * Second: "1m30s", 30 * Minute: "30m", Hour + Second: "1h1s",
		500 * Millisecond: "0.5s", 1: "0.000000001s", 100 * Second: "1m40s",
	} {
		if got := d.String(); got != want {
			t.Errorf("%d is printed %q, want %q", int64(d), got, want)
		}
	}
}
