package main

import (
	"fmt"
	"math"
	"strings"
)

// row is one measure of the table.
type row struct {
	name         string
	unit         string
	figures      figures
	moreIsBetter bool
	yesNo        bool    // figures are 1 for yes and 0 for no
	budget       budget  // the zero value where there is none
	drawing      drawing // how the plot shows it
	moment       int     // of a row about the first moments: when, in microseconds
}

// budget is what our init is held to.
type budget struct {
	text string
	met  func(r row, ours float64, peers []contender) bool
}

// atMost is a budget that no peer decides.
func atMost(limit float64, text string) budget {
	return budget{text, func(_ row, ours float64, _ []contender) bool { return ours <= limit }}
}

func always() budget {
	return budget{"always", func(_ row, ours float64, _ []contender) bool { return ours == 1 }}
}

// belowPeer is a budget in terms of one peer's figure.
func belowPeer(factor float64, peer, text string) budget {
	return budget{text, func(r row, ours float64, _ []contender) bool {
		theirs, _ := r.figures.value(peer)
		return ours <= factor*theirs
	}}
}

// belowBest is a budget in terms of the best peer's figure.
func belowBest(factor float64) budget {
	text := "below every peer"
	if factor != 1 {
		text = fmt.Sprintf("at most %v of the best peer", factor)
	}
	return budget{text, func(r row, ours float64, peers []contender) bool {
		theirs, _ := r.figures.value(r.figures.best(peers, r.moreIsBetter))
		return ours <= factor*theirs && ours != theirs
	}}
}

// table is Markdown: a row for each measure, a column for each contender, ours first, then how ours stands.
func table(contenders []contender, rows []row) string {
	peers := contenders[1:]
	columns := append(contenders[:len(contenders):len(contenders)], withoutInit)
	var t strings.Builder
	t.WriteString("| measure |")
	for _, c := range columns {
		fmt.Fprintf(&t, " %s |", c.name)
	}
	t.WriteString(" to the best peer | budget | met |\n|---|" + strings.Repeat("---:|", len(columns)+1) + "---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&t, "| %s |", r.title())
		for _, c := range columns {
			fmt.Fprintf(&t, " %s |", r.cell(c.name))
		}
		fmt.Fprintf(&t, " %s | %s | %s |\n", r.ratio(contenders[0].name, peers), r.budget.text, r.verdict(contenders[0].name, peers))
	}
	return t.String()
}

func (r row) title() string {
	if r.unit == "" {
		return r.name
	}
	return r.name + ", " + r.unit
}

// cell is a contender's figure, empty if it has none.
func (r row) cell(name string) string {
	v, ok := r.figures.value(name)
	switch {
	case !ok:
		return ""
	case !r.yesNo:
		return number(v)
	case v == 1:
		return "yes"
	}
	return "no"
}

// ratio is our figure over the best peer's, with the range of the rounds.
func (r row) ratio(ours string, peers []contender) string {
	best := r.figures.best(peers, r.moreIsBetter)
	if theirs, _ := r.figures.value(best); r.yesNo || best == "" || theirs == 0 {
		return ""
	}
	all, low, high := r.figures.ratio(ours, best)
	if number(low) == number(high) {
		return number(all)
	}
	return fmt.Sprintf("%s (%s to %s)", number(all), number(low), number(high))
}

// verdict is whether the budget is met, empty where there is none.
func (r row) verdict(ours string, peers []contender) string {
	if r.budget.met == nil {
		return ""
	}
	v, _ := r.figures.value(ours)
	if r.budget.met(r, v, peers) {
		return "yes"
	}
	return "**no**"
}

// number has three digits that count, and thousands in full.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a == math.Trunc(a) || a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
