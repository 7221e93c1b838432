// Command demo shows what podinit changes for the pods that people have trouble with. It runs the same pods in a
// plain namespace, in one that podinit injects and, where podinit-node is installed, in one that is left to the nodes. It stops
// them, and prints side by side what was seen. It fails when a side is not as it must be, so it is a test too.
//
//	demo -kubeconfig FILE -push HOST/NAME:TAG
//	demo -kubeconfig FILE -load COMMAND
//
// The cluster must run podinit's webhook. The image of the pods is made of Debian packages; nodes pull it, or a command
// loads it into them.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/test/debianimage"
)

func main() {
	var o options
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `file` of the cluster (default: as kubectl finds it)")
	o.nodes.AddFlags(flag.CommandLine)
	flag.StringVar(&o.image, "image", "", "`image` of the pods that is in a registry already, instead of -push")
	flag.BoolVar(&o.keep, "keep", false, "leave the demo's namespaces and its InitProfile in the cluster")
	flag.Parse()
	if sources := slices.DeleteFunc([]string{o.nodes.Push, o.nodes.Load, o.image}, func(s string) bool { return s == "" }); len(sources) != 1 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

type options struct {
	// kubeconfig is the file with the cluster's address and credentials; empty is kubectl's default.
	kubeconfig string
	// nodes says how the image of the pods gets there.
	nodes debianimage.Nodes
	// image is one that was pushed before, instead.
	image string
	// keep leaves the namespaces, which are empty of pods by then, and the InitProfile.
	keep bool
}

// namespaces of the demo: without podinit, with it, and with pods that are left to the nodes by an InitProfile.
const (
	plainNamespace   = "podinit-demo-plain"
	podinitNamespace = "podinit-demo"
	nodeNamespace    = "podinit-demo-node"
	nodeProfile      = nodeNamespace
)

// run runs every scenario in each namespace, prints the table, and returns an error if it is not as it must be.
func run(ctx context.Context, o options, table, progress io.Writer) (err error) {
	cluster, err := connect(o.kubeconfig)
	if err != nil {
		return err
	}
	image := o.image
	if image == "" {
		built, err := buildImage(ctx, progress)
		if err != nil {
			return err
		}
		if image, err = o.nodes.Put(ctx, built, "demo", progress); err != nil {
			return err
		}
	}

	nodeMode, err := cluster.hasNodeMode(ctx)
	if err != nil {
		return err
	}
	namespaces := []string{plainNamespace, podinitNamespace}
	if nodeMode {
		namespaces = append(namespaces, nodeNamespace)
	}
	fmt.Fprintf(progress, "Creating the namespaces %s\n", strings.Join(namespaces, ", "))
	if !o.keep {
		defer func() {
			ctx := context.WithoutCancel(ctx) // also when interrupted
			for _, namespace := range namespaces {
				if deleteErr := cluster.deleteNamespace(ctx, namespace); err == nil {
					err = deleteErr
				}
			}
			if nodeMode {
				if deleteErr := cluster.deleteProfile(ctx, nodeProfile); err == nil {
					err = deleteErr
				}
			}
		}()
	}
	if err := cluster.createNamespace(ctx, plainNamespace, nil, nil); err != nil {
		return err
	}
	optedIn := map[string]string{v1alpha1.Inject: v1alpha1.InjectEnabled}
	if nodeMode {
		if err := cluster.createProfile(ctx, nodeProfile); err != nil {
			return err
		}
		if err := cluster.createNamespace(ctx, nodeNamespace, optedIn, map[string]string{v1alpha1.ProfileAnnotation: nodeProfile}); err != nil {
			return err
		}
	}
	if err := cluster.createNamespace(ctx, podinitNamespace, optedIn, nil); err != nil {
		return err
	}
	if err := cluster.awaitInjection(ctx, podinitNamespace, scenarios[0].pod(image)); err != nil {
		return err
	}

	fmt.Fprintf(progress, "Running %d pods in each, stopping them after %s\n", len(scenarios), seconds(settle))
	results := make([]result, len(scenarios))
	group, groupCtx := errgroup.WithContext(ctx)
	for i, scenario := range scenarios {
		results[i].scenario = scenario
		outcomes := map[string]*outcome{plainNamespace: &results[i].plain, podinitNamespace: &results[i].podinit}
		if nodeMode {
			results[i].node = new(outcome)
			outcomes[nodeNamespace] = results[i].node
		}
		for namespace, outcome := range outcomes {
			group.Go(func() (err error) {
				*outcome, err = cluster.runPod(groupCtx, namespace, scenario.pod(image))
				if err == nil {
					fmt.Fprintf(progress, "  %s/%s is gone after %s\n", namespace, scenario.name, seconds(outcome.gone))
				}
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}

	fmt.Fprintln(progress)
	if err := printTable(table, results); err != nil {
		return err
	}
	if err := check(results); err != nil {
		return err
	}
	_, err = fmt.Fprintf(table, "\n%s\n", summary(results))
	return err
}
