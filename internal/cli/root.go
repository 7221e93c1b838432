// Package cli is the command line "podinit": its commands in one tree, and what they have in common.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/podinit/podinit/internal/cli/check"
	"github.com/podinit/podinit/internal/cli/complete"
	"github.com/podinit/podinit/internal/cli/exit"
	"github.com/podinit/podinit/internal/cli/explain"
	"github.com/podinit/podinit/internal/cli/injectcmd"
	"github.com/podinit/podinit/internal/cli/output"
	"github.com/podinit/podinit/internal/cli/status"
	"github.com/podinit/podinit/internal/cli/uninject"
	"github.com/podinit/podinit/internal/cli/versioncmd"
)

const about = `podinit gives every pod a real PID 1: one that forwards signals, reaps orphans and reports the real exit code.

This program does outside of a cluster what podinit's webhook does inside, with the same code, and checks an
installation. Installed in PATH as kubectl-podinit it is also "kubectl podinit".

` + exit.Help

// Run runs the command that args name, args[0] being what the program was called by, until it is done or the user
// interrupts it. It returns the exit code.
func Run(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// What client-go logs, our own errors say.
	klog.SetLogger(logr.Discard())
	rest.SetDefaultWarningHandler(rest.NewWarningWriter(errOut,
		rest.WarningWriterOptions{Deduplicate: true, Color: bool(output.StyleFor(errOut))}))

	name := displayName(args[0])
	root, begun := newCommand(name, genericiooptions.IOStreams{In: in, Out: out, ErrOut: errOut})
	root.SetArgs(args[1:])
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exit.OK
	}
	if !*begun {
		err = exit.With(exit.Usage, fmt.Errorf("%w\nSee '%s --help'", err, command.CommandPath()))
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	var unanswered *url.Error
	if errors.As(err, &unanswered) {
		err = fmt.Errorf("%w\nShow the current cluster: kubectl config current-context. Choose another: --context, --kubeconfig", err)
	}
	if !exit.Said(err) {
		fmt.Fprintf(errOut, "%s %s\n", output.StyleFor(errOut).Red("error:"), strings.TrimSuffix(err.Error(), "\n"))
	}
	return exit.Code(err)
}

// displayName is what users type: "kubectl podinit" where kubectl has found us as its plugin.
func displayName(arg0 string) string {
	name := strings.TrimSuffix(filepath.Base(arg0), ".exe")
	if plugin, ok := strings.CutPrefix(name, "kubectl-"); ok {
		return "kubectl " + plugin
	}
	return "podinit"
}

// newCommand is the tree of commands. begun is set once one of them has run: an error before that is about the
// command line.
func newCommand(name string, streams genericiooptions.IOStreams) (root *cobra.Command, begun *bool) {
	begun = new(bool)
	root = &cobra.Command{
		Use:           "podinit",
		Short:         "A real PID 1 for every Kubernetes pod",
		Long:          about,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: name},
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			*begun = true
		},
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	flags := genericclioptions.NewConfigFlags(true).WithWrapConfigFn(unthrottled)
	flags.AddFlags(root.PersistentFlags())
	complete.Register(root, flags)
	root.SetUsageTemplate(usageTemplate)
	root.AddCommand(newOptions())
	for _, add := range []func(*genericclioptions.ConfigFlags, genericiooptions.IOStreams) *cobra.Command{
		injectcmd.NewCommand,
		uninject.NewCommand,
		explain.NewCommand,
		status.NewCommand,
		check.NewCommand,
		versioncmd.NewCommand,
	} {
		root.AddCommand(add(flags, streams))
	}
	return root, begun
}

// unthrottled has the client ask as fast as the apiserver answers, which has a queue of its own for each user (API Priority and
// Fairness). Commands wait for one page before they ask for the next, and ask few nodes at once; client-go's 5 requests a second
// would have a large cluster's nodes and pages wait for minutes.
func unthrottled(config *rest.Config) *rest.Config {
	config.QPS = -1
	return config
}
