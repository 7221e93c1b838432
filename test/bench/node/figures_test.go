package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// of is a series of these milliseconds.
func of(name string, times ...int) series {
	s := series{name: name}
	for _, t := range times {
		s.times = append(s.times, time.Duration(t)*time.Millisecond)
	}
	return s
}

func TestQuantile(t *testing.T) {
	hundred := series{}
	for i := 100; i > 0; i-- {
		hundred.times = append(hundred.times, time.Duration(i)*time.Millisecond)
	}
	for q, want := range map[float64]int{0: 1, 0.5: 50, 0.99: 99, 1: 100} {
		if got := hundred.quantile(q); got != time.Duration(want)*time.Millisecond {
			t.Errorf("%v of 1 to 100 ms: %s, want %d ms", q, got, want)
		}
	}
	if got := of("", 7).quantile(0.99); got != 7*time.Millisecond {
		t.Errorf("of one time: %s", got)
	}
	if got := of("", 4, 1, 3, 2).median(); got != 2500*time.Microsecond {
		t.Errorf("the median of four: %s", got)
	}
}

// What differs between rounds, as by other work on the machine, does not count: pods are compared within a round.
func TestPrintReady(t *testing.T) {
	var out strings.Builder
	if err := printReady(&out, []series{of("no init", 1000, 2000, 3000), of("node mode", 1010, 2020, 3030)}); err != nil {
		t.Fatal(err)
	}
	want := `         pod    median      mean   fastest   slowest   median of the difference in a round
     no init   2000 ms   2000 ms   1000 ms   3000 ms                                     -
   node mode   2020 ms   2020 ms   1010 ms   3030 ms                         +20 ms (+1 %)
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPrintCreate(t *testing.T) {
	var out strings.Builder
	if err := printCreate(&out, []series{of("without", 1, 2, 3), of("wrapped", 2, 3, 5)}); err != nil {
		t.Fatal(err)
	}
	want := `   container   created       p50       p99   p50 more   p99 more
     without         3   2.00 ms   3.00 ms          -          -
     wrapped         3   3.00 ms   5.00 ms   +1.00 ms   +2.00 ms
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
