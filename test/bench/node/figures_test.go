package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
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

// A machine that is busier in one block than in another does not change the difference of the p50.
func TestPrintCreate(t *testing.T) {
	var out strings.Builder
	blocks := [][]series{
		{of("without", 1, 2, 3), of("wrapped", 2, 3, 5)},
		{of("without", 101, 102, 103), of("wrapped", 102, 103, 105)},
		{of("without", 1, 2, 3), of("wrapped", 2, 3, 5)},
	}
	if err := printCreate(&out, blocks); err != nil {
		t.Fatal(err)
	}
	want := `   container   created       p50         p99   p50 more, median of blocks   p99 more
     without         9   3.00 ms   103.00 ms                            -          -
     wrapped         9   5.00 ms   105.00 ms                     +1.00 ms   +2.00 ms
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The buckets of several histograms, whose counts are cumulative, are added.
func TestAnswers(t *testing.T) {
	histogram := func(counts ...uint64) *dto.Histogram {
		h := &dto.Histogram{}
		for i, bound := range []float64{0.001, 0.01, 0.1} {
			h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: &bound, CumulativeCount: &counts[i]})
		}
		return h
	}
	a := answers{}
	a.add(histogram(40, 49, 50))
	a.add(histogram(40, 50, 50))
	if diff := cmp.Diff(answers{0.001: 80, 0.01: 19, 0.1: 1}, a); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n, half, most, all := a.count(), a.within(0.5), a.within(0.99), a.within(1); n != 100 || half != 0.001 || most != 0.01 || all != 0.1 {
		t.Errorf("%d answers, half within %v s, 99 %% within %v s, all within %v s", n, half, most, all)
	}
}
