package main

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"text/tabwriter"
	"time"

	dto "github.com/prometheus/client_model/go"
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

// printCreate compares each kind with the first: the p50 within each block, since the machine is not as busy in all of them, and
// the p99 of all blocks together.
func printCreate(to io.Writer, blocks [][]series) error {
	var all, more []series
	for i, s := range blocks[0] {
		pooled, over := series{name: s.name}, series{}
		for _, block := range blocks {
			pooled.times = append(pooled.times, block[i].times...)
			over.times = append(over.times, block[i].quantile(0.5)-block[0].quantile(0.5))
		}
		all, more = append(all, pooled), append(more, over)
	}
	w := tabwriter.NewWriter(to, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "container\tcreated\tp50\tp99\tp50 more, median of blocks\tp99 more\t")
	for i, s := range all {
		p50, p99 := "-", "-"
		if i > 0 {
			p50 = fmt.Sprintf("%+.2f ms", milliseconds(more[i].median()))
			p99 = fmt.Sprintf("%+.2f ms", milliseconds(s.quantile(0.99)-all[0].quantile(0.99)))
		}
		fmt.Fprintf(w, "%s\t%d\t%.2f ms\t%.2f ms\t%s\t%s\t\n", s.name, len(s.times), milliseconds(s.quantile(0.5)), milliseconds(s.quantile(0.99)), p50, p99)
	}
	return w.Flush()
}

// answers of podinit-node to the runtime, by how long they took at most: the buckets of its histogram, in seconds.
type answers map[float64]uint64

func (a answers) add(h *dto.Histogram) {
	before := uint64(0)
	for _, bucket := range h.GetBucket() {
		a[bucket.GetUpperBound()] += bucket.GetCumulativeCount() - before
		before = bucket.GetCumulativeCount()
	}
}

func (a answers) count() (n uint64) {
	for _, of := range a {
		n += of
	}
	return n
}

// within says in how many seconds q of the answers were given.
func (a answers) within(q float64) float64 {
	seen := uint64(0)
	for _, bound := range slices.Sorted(maps.Keys(a)) {
		if seen += a[bound]; float64(seen) >= q*float64(a.count()) {
			return bound
		}
	}
	return math.NaN()
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
