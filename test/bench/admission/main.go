// Command admission measures what the webhook costs, beside three others that answer the same AdmissionReviews:
//
//   - floor: the least that a handler can do with the standard library. It decodes the review's uid, with
//     encoding/json, which reads everything to find it, and allows.
//   - allow: the least that a handler can do with controller-runtime. Its admission.Webhook decodes the whole
//     AdmissionReview, but not the Pod in it, and allows.
//   - podinit: the webhook's own handler, which wraps every container.
//   - usual: controller-runtime, and a handler that makes the same change to a typed Pod: decode, mutate, marshal, and
//     PatchResponseFromRaw.
//
// Each answers Pods of several sizes, in process (the bytes of the request's body to those of the answer's) and over
// HTTPS on loopback (one connection, kept open; the server is a process of its own). All have one processor. Times are
// CPU time, with that of the garbage collector; but over HTTPS, p50 and p99 are what a clock on the wall shows, and on a
// busy machine that is mostly the others. Ratios are medians over rounds in which all take turns.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	if err := run(os.Stdout, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "admission:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, args []string) error {
	flags := flag.NewFlagSet("admission", flag.ContinueOnError)
	rounds := flags.Int("rounds", 15, "how often all take a turn")
	during := flags.Duration("turn", 100*time.Millisecond, "how long a turn is")
	serving := flags.String("serve", "", "serve this variant over HTTPS until standard input ends")
	if err := flags.Parse(args); err != nil {
		return err
	}
	all, err := variants()
	if err != nil {
		return err
	}
	if *serving != "" {
		i := slices.IndexFunc(all, func(v variant) bool { return v.name == *serving })
		if i < 0 {
			return fmt.Errorf("-serve: there is no %q", *serving)
		}
		return serve(all[i])
	}

	runtime.GOMAXPROCS(1)
	var near, far []target
	for _, v := range all {
		near = append(near, newInProcess(v.handler))
		server, err := start(v)
		if err != nil {
			return err
		}
		defer server.stop()
		far = append(far, server)
	}
	fmt.Fprintln(out, "In process, from the request's bytes to the answer's; CPU time")
	if err := table(out, all, near, []int{1, 3, 20, 100}, *rounds, *during); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nHTTPS on loopback, one connection; p50 and p99 are wall time, the other columns are the server's CPU time")
	return table(out, all, far, []int{1, 3, 20}, *rounds, *during)
}

// table measures and prints. The floor is the first variant and the usual way the last.
func table(out io.Writer, all []variant, targets []target, sizes []int, rounds int, during time.Duration) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, strings.Join([]string{
		"containers", "request", "handler", "per core", "CPU time", "p50", "p99", "allocated", "time / floor", "throughput / usual", "",
	}, "\t"))
	for _, containers := range sizes {
		body := review(containers)
		samples, err := compare(targets, body, rounds, during)
		if err != nil {
			return err
		}
		for i, v := range all {
			var cpu, allocated, overFloor, overUsual []float64
			var latencies []time.Duration
			for round, s := range samples[i] {
				own := float64(s.perRequest())
				cpu = append(cpu, own)
				allocated = append(allocated, float64(s.allocated)/float64(s.requests))
				overFloor = append(overFloor, own/float64(samples[0][round].perRequest()))
				overUsual = append(overUsual, float64(samples[len(all)-1][round].perRequest())/own)
				latencies = append(latencies, s.latencies...)
			}
			slices.Sort(latencies)
			time := median(cpu)
			fmt.Fprintf(w, "%d\t%.1f KiB\t%s\t%.0f/s\t%.1f µs\t%.1f µs\t%.1f µs\t%.1f KiB\t%.2f\t%.2f\t\n", containers, float64(len(body))/1024, v.name,
				1e9/time, time/1e3, microseconds(latencies[len(latencies)/2]), microseconds(latencies[len(latencies)*99/100]),
				median(allocated)/1024, median(overFloor), median(overUsual))
		}
	}
	return w.Flush()
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
