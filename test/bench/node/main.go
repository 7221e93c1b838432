// Command node measures what node mode costs, compared with the webhook's two deliveries and with no init, on the test cluster
// with the webhook and podinit-node installed:
//
//   - how long a pod takes from its creation until it is Ready: without the init, wrapped by the webhook with an init container,
//     wrapped by it with an image volume, and wrapped by the node. All take turns. The kubelet looks for started containers once a
//     second, so each pod is created at another moment of that second.
//   - how long the runtime takes to create a container, CRI's CreateContainer: without podinit-node, and with it for a container
//     that does not opt in and for one that it wraps.
//   - how much memory podinit-node takes while the node has many wrapped containers.
//
// 'make bench-node' prepares all that it needs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, os.Stderr, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, progress io.Writer, args []string) (err error) {
	flags := flag.NewFlagSet("node", flag.ContinueOnError)
	rounds := flags.Int("rounds", 10, "how many pods of each kind are created, in turn")
	blocks := flags.Int("blocks", 8, "how often podinit-node is taken away and brought back")
	creates := flags.Int("creates", 75, "how many containers of each kind are created each time")
	containers := flags.Int("containers", 250, "how many wrapped containers the node has when podinit-node's memory is read")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *rounds < 1 || *blocks < 1 || *creates < 1 || *containers < 1 {
		return errors.New("-rounds, -blocks, -creates and -containers must be 1 or more")
	}
	c, err := connect(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.cleanUp(context.WithoutCancel(ctx))) }()

	fmt.Fprintln(progress, "Creating pods, in turn ...")
	ready, err := c.measureReady(ctx, *rounds)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "From creation to Ready, %d pods each, in turn, on a node that runs podinit-node\n\n", *rounds)
	if err := printReady(out, ready); err != nil {
		return err
	}

	fmt.Fprintln(progress, "Creating containers by CRI, with and without podinit-node ...")
	created, own, err := c.measureCreate(ctx, *blocks, *creates)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nCRI's CreateContainer, with and without podinit-node in turn\n\n")
	if err := printCreate(out, created); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nOf this, podinit-node decides within %g ms (p50) and %g ms (p99), in %d answers\n", 1000*own.within(0.5), 1000*own.within(0.99), own.count())

	fmt.Fprintf(progress, "Creating %d containers ...\n", *containers)
	before, after, err := c.measureMemory(ctx, *containers)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "\nResident memory of podinit-node: %.1f MiB with %d wrapped containers, %.1f MiB with %d\n", before.mebibytes, before.containers, after.mebibytes, after.containers)
	return err
}
