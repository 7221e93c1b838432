package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"
)

// series are the times of one kind of pod or container, in the order in which they were taken.
type series struct {
	name  string
	times []time.Duration
}

// quantile of the times, from the nearest rank: q of them are at most that long.
func (s series) quantile(q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(s.times))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

// median of the times.
func (s series) median() time.Duration {
	sorted := slices.Sorted(slices.Values(s.times))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

func (s series) mean() time.Duration {
	var sum time.Duration
	for _, t := range s.times {
		sum += t
	}
	return sum / time.Duration(len(s.times))
}

// minus is how much longer each time is than that of the other series in the same round.
func (s series) minus(other series) series {
	over := series{name: s.name}
	for i, t := range s.times {
		over.times = append(over.times, t-other.times[i])
	}
	return over
}

// printReady compares pods of each kind with the first, round by round.
func printReady(to io.Writer, all []series) error {
	w := tabwriter.NewWriter(to, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "pod\tmedian\tmean\tfastest\tslowest\tmedian of the difference in a round\t")
	for i, s := range all {
		over := "-"
		if i > 0 {
			median := s.minus(all[0]).median()
			over = fmt.Sprintf("%+d ms (%+.0f %%)", median.Milliseconds(), 100*median.Seconds()/all[0].median().Seconds())
		}
		fmt.Fprintf(w, "%s\t%d ms\t%d ms\t%d ms\t%d ms\t%s\t\n", s.name, s.median().Milliseconds(), s.mean().Milliseconds(),
			s.quantile(0).Milliseconds(), s.quantile(1).Milliseconds(), over)
	}
	return w.Flush()
}

// printCreate compares the p50 and p99 of each kind with those of the first.
func printCreate(to io.Writer, all []series) error {
	w := tabwriter.NewWriter(to, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "container\tcreated\tp50\tp99\tp50 more\tp99 more\t")
	more := func(s series, q float64) string {
		return fmt.Sprintf("%+.2f ms", milliseconds(s.quantile(q)-all[0].quantile(q)))
	}
	for i, s := range all {
		p50, p99 := "-", "-"
		if i > 0 {
			p50, p99 = more(s, 0.5), more(s, 0.99)
		}
		fmt.Fprintf(w, "%s\t%d\t%.2f ms\t%.2f ms\t%s\t%s\t\n", s.name, len(s.times), milliseconds(s.quantile(0.5)), milliseconds(s.quantile(0.99)), p50, p99)
	}
	return w.Flush()
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
