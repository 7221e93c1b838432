// Package versioncmd is the command "podinit version".
package versioncmd

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/exit"
	"github.com/podinit/podinit/internal/cli/installation"
	"github.com/podinit/podinit/internal/cli/nodes"
	"github.com/podinit/podinit/internal/cli/output"
	"github.com/podinit/podinit/internal/version"
)

// serverTime is how long the cluster may take to answer, unless --request-timeout says otherwise.
const serverTime = 10 * time.Second

// Versions is what the command prints.
type Versions struct {
	Client Client `json:"client"`
	// Server is absent with --client, and where there is no webhook or it could not be found.
	Server *Workload `json:"server,omitempty"`
	// Node is absent with --client, and where there is no node mode or it could not be found.
	Node *Workload `json:"node,omitempty"`
}

// Client is this program.
type Client struct {
	Version   string `json:"version"`
	GoVersion string `json:"goVersion"`
	Platform  string `json:"platform"`
}

// Workload is the webhook's Deployment or podinit-node's DaemonSet.
type Workload struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Version of what runs, or several while nodes have different ones; empty if it is not known.
	Version string `json:"version,omitempty"`
	// Source of the version: a label, the image's tag, a pod that the webhook has wrapped, or the reports of the nodes.
	Source string `json:"source,omitempty"`
	// Image of what runs, and InitImage of the init that containers get.
	Image     string `json:"image,omitempty"`
	InitImage string `json:"initImage,omitempty"`
	// SuspendedByFlag is set where the workload has the flag that suspends it.
	SuspendedByFlag bool `json:"suspendedByFlag,omitempty"`
}

// NewCommand is "podinit version".
func NewCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var clientOnly bool
	command := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this program, and of the webhook and podinit-node in the cluster",
		Long: `Print the versions of this program, and of the webhook and podinit-node in the cluster, those that are installed.

The webhook's version is what its Deployment's label app.kubernetes.io/version says, else the tag of its image if that
is one, else the label podinit.dev/version of the pod that it has wrapped last. The Deployment is found by its labels
` + installation.Selector + `, in every namespace,
or in the namespace of -n.

The version of podinit-node, the plugin of node mode, is found in the same way: its DaemonSet has the labels
` + nodes.Selector + `; if neither label nor tag is a version,
the nodes report theirs.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	format := output.AddFlag(command)
	command.Flags().BoolVar(&clientOnly, "client", false, "do not ask the cluster")
	command.RunE = func(command *cobra.Command, _ []string) error {
		versions := Versions{Client: Client{Version: version.Version, GoVersion: runtime.Version(),
			Platform: runtime.GOOS + "/" + runtime.GOARCH}}
		var failure error
		if !clientOnly {
			failure = versions.ask(command.Context(), flags)
		}
		if err := print(*format, versions, streams); err != nil {
			return err
		}
		return failure
	}
	return command
}

func print(format output.Format, v Versions, streams genericiooptions.IOStreams) error {
	if format != output.Table {
		return format.Print(streams.Out, v)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Client: %s (%s, %s)\n", v.Client.Version, v.Client.GoVersion, v.Client.Platform)
	if s := v.Server; s != nil {
		fmt.Fprintf(&b, "Server: %s (deployment/%s in namespace %s)\n",
			orUnknown(s.Version, "neither a label nor the image's tag has it, and no pod is wrapped yet"), s.Name, s.Namespace)
		fmt.Fprintf(&b, "  webhook image: %s\n  init image:    %s\n", orNone(s.Image), orNone(s.InitImage))
	}
	if n := v.Node; n != nil {
		fmt.Fprintf(&b, "Node:   %s (daemonset/%s in namespace %s)\n",
			orUnknown(n.Version, "neither a label nor the image's tag has it, and no node reports it"), n.Name, n.Namespace)
		fmt.Fprintf(&b, "  node image:    %s\n  init image:    %s\n", orNone(n.Image), orNone(n.InitImage))
	}
	_, err := fmt.Fprint(streams.Out, b.String())
	return err
}

func orUnknown(version, why string) string {
	if version == "" {
		return "unknown: " + why
	}
	return version
}

func orNone(text string) string {
	if text == "" {
		return "<none>"
	}
	return text
}

// ask finds the webhook and podinit-node. An error has its exit code: where one of the two is found, the other may be missing or
// forbidden to read.
func (v *Versions) ask(ctx context.Context, flags *genericclioptions.ConfigFlags) error {
	config, err := flags.ToRESTConfig()
	if err != nil {
		return fmt.Errorf("no cluster to ask: %w; --client needs no cluster", err)
	}
	if config.Timeout == 0 {
		config.Timeout = serverTime
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("connecting to the cluster: %w", err)
	}
	deployment, ofWebhook := installation.Find(ctx, client, *flags.Namespace)
	if ofWebhook == nil {
		v.Server = server(ctx, client, deployment)
	}
	daemonSet, ofNode := findNode(ctx, client, *flags.Namespace)
	if ofNode == nil {
		v.Node = node(ctx, client, daemonSet)
	}
	if errors.Is(ofWebhook, installation.ErrMissing) && errors.Is(ofNode, nodes.ErrMissing) {
		return exit.With(exit.Found, fmt.Errorf("%w, and no DaemonSet is labelled %s", installation.ErrMissing, nodes.Selector))
	}
	found := v.Server != nil || v.Node != nil
	for _, err := range []error{ofWebhook, ofNode} {
		missing := errors.Is(err, installation.ErrMissing) || errors.Is(err, nodes.ErrMissing)
		switch forbidden := apierrors.IsForbidden(err); {
		case err == nil, missing, forbidden && found:
		case forbidden && *flags.Namespace == "":
			return fmt.Errorf("looking for podinit: %w. Set its namespace with -n, or use --client", err)
		default:
			return fmt.Errorf("asking the cluster for podinit: %w; --client needs no cluster", err)
		}
	}
	return nil
}

func server(ctx context.Context, client kubernetes.Interface, d *appsv1.Deployment) *Workload {
	s := &Workload{
		Namespace: d.Namespace, Name: d.Name, SuspendedByFlag: installation.Enabled(d, v1alpha1.SuspendFlag),
		Image: installation.Image(d), InitImage: installation.InitImage(d),
	}
	s.Version, s.Source = installation.Version(ctx, client, d)
	return s
}

// findNode is the DaemonSet in a namespace; if that is empty, in any.
func findNode(ctx context.Context, client kubernetes.Interface, namespace string) (*appsv1.DaemonSet, error) {
	if namespace == "" {
		return nodes.FindAnywhere(ctx, client)
	}
	return nodes.Find(ctx, client, namespace)
}

func node(ctx context.Context, client kubernetes.Interface, d *appsv1.DaemonSet) *Workload {
	n := &Workload{
		Namespace: d.Namespace, Name: d.Name, SuspendedByFlag: installation.EnabledIn(nodes.ContainerOf(d), v1alpha1.SuspendFlag),
		Image: nodes.Image(d), InitImage: nodes.InitImage(d),
	}
	n.Version, n.Source = nodes.Version(ctx, client, d)
	return n
}
