// Package check is the command "podinit check": what a cluster needs for podinit, and what is wrong with an
// installation of it.
//
// Facts are gathered first, all of them by reading but for dry runs; what they mean is decided without any I/O. What
// podinit ships (package config) is what a cluster is compared with.
package check

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/podinit/podinit/internal/cli/exit"
	"github.com/podinit/podinit/internal/cli/output"
	"github.com/podinit/podinit/internal/cli/remoteimage"
	"github.com/podinit/podinit/internal/imageconfig"
)

const (
	// requestTime is how long the apiserver may take for one answer, unless --request-timeout says otherwise. A dry run
	// waits for every webhook.
	requestTime = 30 * time.Second
	// pause is the time between two looks with --wait.
	pause = 2 * time.Second
)

// options are the command's flags.
type options struct {
	// Pre asks what a cluster needs before podinit is installed.
	Pre bool
	// Wait is how long to look again until nothing fails.
	Wait time.Duration
	// InstallNamespace is where podinit is installed.
	InstallNamespace string
	// InitImage is the image to look for, before an installation names one.
	InitImage string
	// Strict has what could not be checked count as a failure.
	Strict bool
	// Short has one line printed for each check that does not pass, and nothing else; ProblemsOnly leaves out those that pass.
	Short, ProblemsOnly bool
	// CreateNamespace has a namespace made for the dry run, and deleted.
	CreateNamespace bool
}

// NewCommand is "podinit check".
func NewCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var o options
	command := &cobra.Command{
		Use:   "check",
		Short: "Check that the cluster is ready for podinit, and that the installation works",
		Long: `Check that the cluster is ready for podinit, and that the installation works.

Each check has a name, and reports what it found and what to do. It changes nothing: whether a new pod is wrapped is found
out by a dry run. The dry run creates a pod in the namespace that -n names, with --create-namespace in a temporary one, else in a namespace
with the label podinit.dev/inject=enabled. A check whose objects you may not read is not made.

The exit code is 1 if a check fails, and with --strict also if a check is not made; else 0. Warnings do not count.`,
		Example: `  # Before podinit is installed:
  podinit check --pre

  # Right after, while it starts:
  podinit check --wait 2m

  # The problems, one line each, or nothing
  podinit check --short

  # In a pipeline: one line for each problem
  podinit check -o json | jq -r '.results[] | select(.status == "failed") | .name + ": " + .problems[].found'`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	format := output.AddFlag(command)
	command.Flags().BoolVar(&o.Pre, "pre", false, "check what a cluster needs before podinit is installed")
	command.Flags().DurationVar(&o.Wait, "wait", 0, "check again for this long, until nothing fails, such as 2m")
	command.Flags().StringVar(&o.InstallNamespace, "install-namespace", "",
		"namespace that podinit is installed in; else the namespace in its webhook configuration")
	command.Flags().StringVar(&o.InitImage, "init-image", "", "image of the init; else the image that the webhook gives to pods")
	command.Flags().BoolVar(&o.CreateNamespace, "create-namespace", false, "make a temporary namespace for the dry run")
	command.Flags().BoolVar(&o.Short, "short", false, "print one line for each check that does not pass, and nothing else")
	command.Flags().BoolVar(&o.ProblemsOnly, "problems-only", false, "leave out checks that pass; the summary counts them")
	command.Flags().BoolVar(&o.Strict, "strict", false, "fail also if a check could not be made")
	command.MarkFlagsMutuallyExclusive("short", "problems-only")
	command.MarkFlagsMutuallyExclusive("short", "output")
	command.RunE = func(command *cobra.Command, _ []string) error {
		g, err := newGatherer(flags, o)
		if err != nil {
			return err
		}
		report, err := g.report(command.Context(), o, streams)
		if err != nil {
			return err
		}
		if o.ProblemsOnly {
			report = report.problemsOnly()
		}
		switch {
		case o.Short:
			err = report.short(streams.Out, output.StyleFor(streams.Out))
		case *format == output.Table:
			err = report.print(streams.Out, output.StyleFor(streams.Out))
		default:
			err = format.Print(streams.Out, report)
		}
		if err == nil && !report.good(o.Strict) {
			return exit.Silently(exit.Found)
		}
		return err
	}
	return command
}

func newGatherer(flags *genericclioptions.ConfigFlags, o options) (*Gatherer, error) {
	if o.CreateNamespace && *flags.Namespace != "" {
		return nil, exit.With(exit.Usage, errors.New("-n and --create-namespace exclude each other: -n names an existing namespace"))
	}
	config, err := flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("no cluster to check: %w", err)
	}
	config = rest.CopyConfig(config)
	if config.Timeout == 0 {
		config.Timeout = requestTime
	}
	config.WarningHandler = rest.NoWarnings{} // what a webhook says about a dry-run pod is not for the user
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the cluster: %w", err)
	}
	shipped, err := NewShipped()
	if err != nil {
		return nil, err
	}
	if o.InitImage != "" {
		if err := imageconfig.CheckPullable(o.InitImage); err != nil {
			return nil, exit.With(exit.Usage, fmt.Errorf("--init-image: %w", err))
		}
	}
	return &Gatherer{
		Client: client, Shipped: shipped, Images: remoteimage.Platforms,
		Namespace: o.InstallNamespace, InitImage: o.InitImage, DryRunNamespace: *flags.Namespace, Temporary: o.CreateNamespace,
	}, nil
}

// report looks, with --wait again and again until nothing fails. That the cluster cannot be asked at all is an error.
func (g *Gatherer) report(ctx context.Context, o options, streams genericiooptions.IOStreams) (Report, error) {
	gather, checksOf := g.Installation, checksOf
	if o.Pre {
		gather, checksOf = g.Before, func(*Facts) []check { return before }
	}
	end := time.Now().Add(o.Wait)
	for said := ""; ; {
		facts := gather(ctx)
		if err := ctx.Err(); err != nil {
			return Report{}, err
		}
		last := !time.Now().Add(pause).Before(end)
		if facts.Kubernetes.Err != nil && last {
			return Report{}, fmt.Errorf("the cluster does not answer: %w", facts.Kubernetes.Err)
		}
		report := newReport(run(checksOf(facts), facts))
		if report.good(o.Strict) && facts.Kubernetes.Err == nil || last {
			return report, nil
		}
		now := report.failures(o.Strict)
		if facts.Kubernetes.Err != nil {
			now = "the cluster to answer"
		}
		if now != said {
			fmt.Fprintf(streams.ErrOut, "waiting for: %s\n", now)
			said = now
		}
		select {
		case <-ctx.Done():
			return Report{}, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// failures names the checks that fail, and if strict those that could not be made.
func (report Report) failures(strict bool) string {
	var all []string
	for _, r := range report.Results {
		if r.Status == Failed || strict && r.Status == NotChecked {
			all = append(all, r.Name)
		}
	}
	return strings.Join(all, ", ")
}
