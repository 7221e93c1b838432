package main

import (
	"math"
	"slices"
)

// figures is what a measure found: for every contender by name, one figure for each round.
type figures map[string][]float64

// value is a contender's figure: the median of its rounds. ok is false if it has none.
func (f figures) value(name string) (v float64, ok bool) {
	rounds, ok := f[name]
	return median(rounds), ok
}

// over is how much more each contender has than the baseline, round by round.
func (f figures) over(baseline string) figures {
	result := figures{}
	for name, rounds := range f {
		if name == baseline {
			continue
		}
		for i, v := range rounds {
			result[name] = append(result[name], v-f[baseline][i])
		}
	}
	return result
}

// ratio is a contender's figure over a peer's, and the lowest and highest that a single round gave. It is not a number
// where the peer has 0.
func (f figures) ratio(name, peer string) (all, low, high float64) {
	ours, _ := f.value(name)
	theirs, _ := f.value(peer)
	low, high = math.Inf(1), math.Inf(-1)
	for i, v := range f[name] {
		low, high = min(low, v/f[peer][i]), max(high, v/f[peer][i])
	}
	return ours / theirs, low, high
}

// best is the peer with the best figure.
func (f figures) best(peers []contender, moreIsBetter bool) (name string) {
	for _, p := range peers {
		v, ok := f.value(p.name)
		if !ok {
			continue
		}
		best, _ := f.value(name)
		if name == "" || !moreIsBetter && v < best || moreIsBetter && v > best {
			name = p.name
		}
	}
	return name
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}
