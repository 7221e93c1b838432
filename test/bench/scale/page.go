package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"time"
)

// The results stand between these in the page.
const begin, end = "<!-- scale: written by make bench-scale -->\n", "<!-- end of scale -->"

// writePage puts the results into the page.
func writePage(path, results string) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, begun := strings.Cut(string(page), begin)
	_, after, ended := strings.Cut(rest, end)
	if !begun || !ended {
		return fmt.Errorf("%s: there is no %q with %q after it", path, begin, end)
	}
	return os.WriteFile(path, []byte(before+begin+results+end+after), 0o644)
}

// table is one of Markdown. Its first column is on the left, the others on the right.
type table struct{ text strings.Builder }

func newTable(heads ...string) *table {
	t := &table{}
	t.row(heads...)
	t.text.WriteString("|---|" + strings.Repeat("---:|", len(heads)-1) + "\n")
	return t
}

func (t *table) row(cells ...string) { t.text.WriteString("| " + strings.Join(cells, " | ") + " |\n") }

// report is all results in Markdown.
func report(o options, results []result, took time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b,
		"\nMeasured in %.0f minutes, everything on one machine with %d processor cores. Times of processors are in thousandths of one core (m).\n",
		math.Ceil(took.Minutes()), runtime.NumCPU())
	if o.apiserver != "" {
		fmt.Fprintf(&b, "kube-apiserver has `%s`.\n", o.apiserver)
	}

	fmt.Fprintf(&b, "\n## A replica that watches\n\nEach node renews its lease every %s and reports its status every %s.\n\n",
		seconds(o.lease/4), seconds(o.status))
	t := newTable("nodes, pods", "ready after, s", "memory at the start, at most, MiB", "memory after it, MiB", "of it Go heap, MiB",
		"processor, m", "requests from its start on")
	for _, r := range results {
		w := r.idle[1]
		t.row(r.size.String(), number(r.start.ready.Seconds()), mebibytes(r.start.peak), mebibytes(w.memory), mebibytes(int64(r.heard.heap)),
			millicores(w, w.first), number(r.heard.requests))
	}
	b.WriteString(t.text.String())

	fmt.Fprintf(&b, "\n## What the others pay meanwhile\n\n")
	t = newTable("nodes, pods", "statuses of nodes, in a second", "leases, in a second", "apiserver without the webhook, m",
		"with two replicas, m", "etcd, m", "KWOK, m")
	for _, r := range results {
		w := r.idle[1]
		t.row(r.size.String(), number(w.statuses/w.took.Seconds()), number(w.leases/w.took.Seconds()), millicores(r.idle[0], r.idle[0].apiserver),
			millicores(w, w.apiserver), millicores(w, w.etcd), millicores(w, w.kwok))
	}
	b.WriteString(t.text.String())

	fmt.Fprintf(&b,
		"\n## Pods at %.0f a minute\n\nFor %s without the webhook and as long with it, by turns. Times of processors are for each pod.\n\n",
		o.rate*60, seconds(o.load))
	for _, r := range results {
		fmt.Fprintf(&b, "%s: as many at once as can be, with the webhook, were %.0f a minute.\n", r.size, 60*r.filled)
	}
	b.WriteString("\n")
	t = newTable("nodes, pods", "webhook", "pods a minute", "p50, ms", "p99, ms", "apiserver, ms", "etcd, ms", "KWOK, ms",
		"webhook, ms", "its memory at most, MiB", "not wrapped")
	for _, r := range results {
		for i, l := range r.load {
			cells := []string{r.size.String(), "no", number(l.pods / l.took.Minutes()), milliseconds(l.percentile(50)),
				milliseconds(l.percentile(99)),
				l.each(l.apiserver), l.each(l.etcd), l.each(l.kwok), "", "", ""}
			if i == 1 {
				cells[1], cells[8], cells[9], cells[10] = "yes", l.each(l.first), mebibytes(l.peak), fmt.Sprint(l.unwrapped)
			}
			t.row(cells...)
		}
	}
	b.WriteString(t.text.String())
	b.WriteString("\nOf the webhook's calls, as the apiserver's metric `apiserver_admission_webhook_admission_duration_seconds` has them:\n\n")
	t = newTable("nodes, pods", "calls", "mean, ms", "within 5 ms", "within 25 ms")
	for _, r := range results {
		l := r.load[1]
		t.row(r.size.String(), number(l.calls), number(1000*l.callTime/l.calls), percent(l.within5/l.calls), percent(l.within25/l.calls))
	}
	b.WriteString(t.text.String())

	b.WriteString("\n## The command line\n\nReceived are bytes on the network, compressed.\n\n")
	t = newTable("command", "nodes, pods", "time, s", "processor, s", "memory at most, MiB", "requests", "received, MiB",
		"largest answer, MiB", "apiserver's processor, s")
	for i := range results[0].commands {
		for _, r := range results {
			c := r.commands[i]
			t.row("`podinit "+c.name+"`", r.size.String(), number(c.wall.Seconds()), number(c.processor.Seconds()), mebibytes(c.memory),
				fmt.Sprint(c.requests),
				number(float64(c.bytes)/(1<<20)), number(float64(c.largest)/(1<<20)), number(c.apiserver.Seconds()))
		}
	}
	b.WriteString(t.text.String())
	b.WriteString("\n## How it grows\n\n```text\n" + plot(results) + "```\n\n")
	return b.String()
}

// plot draws what grows as bars, one figure below the other.
func plot(results []result) string {
	var b strings.Builder
	draw := func(title string, value func(result) float64) {
		const longest = 40
		most := 0.0
		for _, r := range results {
			most = max(most, value(r))
		}
		fmt.Fprintf(&b, "%s\n", title)
		for _, r := range results {
			length := 0
			if most > 0 {
				length = int(math.Round(value(r) / most * longest))
			}
			fmt.Fprintf(&b, "  %26s  %s %s\n", r.size.String(), strings.Repeat("█", max(1, length)), number(value(r)))
		}
	}
	draw("memory of a replica, at most, at its start, MiB", func(r result) float64 { return float64(r.start.peak) / (1 << 20) })
	draw("memory of a replica after its start, MiB", func(r result) float64 { return float64(r.idle[1].memory) / (1 << 20) })
	draw("processor of a replica, idle, m", func(r result) float64 { return 1000 * r.idle[1].cores(r.idle[1].first) })
	draw("processor of the webhook for a pod, ms", func(r result) float64 { return 1000 * r.load[1].first.Seconds() / r.load[1].pods })
	draw("what a pod waits with the webhook, p99, ms", func(r result) float64 { return 1000 * r.load[1].percentile(99).Seconds() })
	for i, c := range results[0].commands {
		draw("podinit "+c.name+", s", func(r result) float64 { return r.commands[i].wall.Seconds() })
	}
	return b.String()
}

// each is a processor's time for one pod.
func (l load) each(t time.Duration) string { return number(1000 * t.Seconds() / l.pods) }

func millicores(w window, t time.Duration) string { return number(1000 * w.cores(t)) }
func milliseconds(d time.Duration) string         { return number(1000 * d.Seconds()) }
func mebibytes(bytes int64) string                { return number(float64(bytes) / (1 << 20)) }
func percent(share float64) string                { return fmt.Sprintf("%.1f %%", 100*share) }
func seconds(d time.Duration) string              { return fmt.Sprintf("%g s", d.Seconds()) }

// number has two digits that count, and what is 10 or more in full.
func number(v float64) string {
	switch {
	case v >= 10:
		return fmt.Sprintf("%.0f", v)
	case v >= 1:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
