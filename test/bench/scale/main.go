// Command scale measures how podinit grows with a cluster, on a real etcd and kube-apiserver with simulated nodes: KWOK writes
// the status of nodes and pods and renews nodes' leases in place of kubelets. The webhook is the real program, two replicas of
// it, each under the memory limit that config/ deploys it with. There are no schedulers or controllers: pods are created with
// their node and their ReplicaSet as owner.
//
// For each size of the cluster it measures
//
//   - what a replica costs that watches: memory, from its start on, and processor time, while nodes report their status;
//   - what pods that are created at a rate wait for, and cost, with and without the webhook, by turns;
//   - what the command line's commands cost that read a cluster: time, memory, and what they ask the apiserver for.
//
// 'make bench-scale' prepares all that it needs, and writes docs/scale.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, os.Stderr, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	// programs is the directory of etcd and kube-apiserver; webhook, podinit and kwok are programs, stages KWOK's directory of
	// Stages.
	programs, webhook, podinit, kwok, stages string
	sizes                                    []size
	// rate at which pods are created, in a second.
	rate float64
	// load is how long pods are created with, and how long without the webhook; idle how long nothing happens but nodes' reports.
	load, idle time.Duration
	// fill bounds the time in which the pods of a size are created. What is not there then is not there.
	fill time.Duration
	// status is how often a node reports its status, lease how long a lease is valid, which is renewed four times as often.
	status, lease time.Duration
	// arguments of the apiserver, separated by commas.
	apiserver string
	// page that is written.
	page string
}

// size of a cluster.
type size struct{ nodes, pods int }

func (s size) String() string { return fmt.Sprintf("%d nodes, %d pods", s.nodes, s.pods) }

func run(ctx context.Context, out, progress io.Writer, args []string) (err error) {
	var o options
	flags := flag.NewFlagSet("scale", flag.ContinueOnError)
	flags.StringVar(&o.programs, "programs", "bin/cluster", "`directory` with etcd and kube-apiserver")
	flags.StringVar(&o.webhook, "webhook", "bin/linux/amd64/podinit-webhook", "the webhook's `program`")
	flags.StringVar(&o.podinit, "podinit", "bin/podinit", "the command line's `program`")
	flags.StringVar(&o.kwok, "kwok", "bin/scale/kwok", "KWOK's `program`")
	flags.StringVar(&o.stages, "stages", "bin/scale/stages", "`directory` with KWOK's Stages")
	sizes := flags.String("sizes", "100/1000,1000/10000,5000/50000", "sizes of the cluster, `nodes/pods`, from the smallest on")
	perMinute := flags.Float64("rate", 10000, "how many `pods` are created in a minute")
	flags.DurationVar(&o.load, "load", 30*time.Second, "how long pods are created with the webhook, and as long without it")
	flags.DurationVar(&o.idle, "idle", 30*time.Second, "how long nothing happens but what nodes report")
	flags.DurationVar(&o.fill, "fill", 6*time.Minute, "how long the pods of a size may take to be created; then there are fewer")
	flags.DurationVar(&o.status, "status", time.Minute,
		"how often a node reports its status, on average; a kubelet does so every five minutes, and when something changes")
	flags.DurationVar(&o.lease, "lease", 40*time.Second,
		"how long a node's lease is valid, in whole seconds; it is renewed four times as often")
	flags.StringVar(&o.apiserver, "apiserver", "", "further `arguments` of kube-apiserver, separated by spaces")
	flags.StringVar(&o.page, "write", "", "`page` that the results are written to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.sizes, err = parseSizes(*sizes); err != nil {
		return fmt.Errorf("-sizes: %w", err)
	}
	if o.rate = *perMinute / 60; o.rate <= 0 || o.load <= 0 || o.idle <= 0 || o.fill <= 0 || o.status <= 0 || o.lease < time.Second {
		return errors.New("-rate, -load, -idle, -fill and -status must be more than 0, and -lease a second or more")
	}
	began := time.Now()
	b, err := newBench(ctx, o, progress)
	defer func() { err = errors.Join(err, b.close()) }()
	if err != nil {
		return err
	}
	var results []result
	for _, s := range o.sizes {
		r, err := b.measure(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		results = append(results, r)
		// After each size, so that a run that ends early has something to show.
		if o.page != "" {
			if err := writePage(o.page, report(o, results, time.Since(began))); err != nil {
				return err
			}
		}
	}
	_, err = io.WriteString(out, report(o, results, time.Since(began)))
	return err
}

// parseSizes reads sizes, which grow.
func parseSizes(text string) (sizes []size, err error) {
	for _, word := range strings.Split(text, ",") {
		nodes, pods, _ := strings.Cut(word, "/")
		var s size
		if s.nodes, err = strconv.Atoi(nodes); err != nil {
			return nil, fmt.Errorf("%q is not NODES/PODS: %w", word, err)
		}
		if s.pods, err = strconv.Atoi(pods); err != nil {
			return nil, fmt.Errorf("%q is not NODES/PODS: %w", word, err)
		}
		if s.nodes < 1 || s.pods < 1 || len(sizes) > 0 && (s.nodes < sizes[len(sizes)-1].nodes || s.pods < sizes[len(sizes)-1].pods) {
			return nil, fmt.Errorf("%q: sizes are 1 or more, and none is less than the one before", word)
		}
		sizes = append(sizes, s)
	}
	return sizes, nil
}
