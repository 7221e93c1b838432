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
	"github.com/podinit/podinit/internal/cli/output"
	"github.com/podinit/podinit/internal/version"
)

// serverTime is how long the cluster may take to answer, unless --request-timeout says otherwise.
const serverTime = 10 * time.Second

// Versions is what the command prints.
type Versions struct {
	Client Client `json:"client"`
	// Server is absent with --client, and where the cluster could not be asked.
	Server *Server `json:"server,omitempty"`
}

// Client is this program.
type Client struct {
	Version   string `json:"version"`
	GoVersion string `json:"goVersion"`
	Platform  string `json:"platform"`
}

// Server is the webhook in the cluster.
type Server struct {
	// Namespace and Name of the webhook's Deployment.
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Version of the webhook; empty if nothing says it.
	Version string `json:"version,omitempty"`
	// Source is what says so: the Deployment's label, its image's tag, or a pod that it has wrapped.
	Source string `json:"source,omitempty"`
	// Image of the webhook, and InitImage that it has pods use.
	Image     string `json:"image,omitempty"`
	InitImage string `json:"initImage,omitempty"`
	// SuspendedByFlag is set where the Deployment has the flag that suspends podinit.
	SuspendedByFlag bool `json:"suspendedByFlag,omitempty"`
}

// NewCommand is "podinit version".
func NewCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var clientOnly bool
	command := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program, and of the webhook in the cluster",
		Long: `Print the version of this program, and of the webhook in the cluster.

The webhook's version is what its Deployment's label app.kubernetes.io/version says, else the tag of its image if that
is one, else the label podinit.dev/version of the pod that it has wrapped last. The Deployment is found by its labels
` + installation.Selector + `, in every namespace,
or in the namespace of -n.`,
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
			versions.Server, failure = server(command.Context(), flags)
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
		said := s.Version
		if said == "" {
			said = "unknown: neither a label nor the image's tag has it, and no pod is wrapped yet"
		}
		fmt.Fprintf(&b, "Server: %s (deployment/%s in namespace %s)\n", said, s.Name, s.Namespace)
		fmt.Fprintf(&b, "  webhook image: %s\n  init image:    %s\n", orNone(s.Image), orNone(s.InitImage))
	}
	_, err := fmt.Fprint(streams.Out, b.String())
	return err
}

func orNone(text string) string {
	if text == "" {
		return "<none>"
	}
	return text
}

// server finds the webhook. An error has its exit code.
func server(ctx context.Context, flags *genericclioptions.ConfigFlags) (*Server, error) {
	config, err := flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("no cluster to ask: %w; --client needs no cluster", err)
	}
	if config.Timeout == 0 {
		config.Timeout = serverTime
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the cluster: %w", err)
	}
	deployment, err := webhook(ctx, client, *flags.Namespace)
	if err != nil {
		return nil, err
	}
	s := &Server{
		Namespace: deployment.Namespace, Name: deployment.Name, SuspendedByFlag: installation.Enabled(deployment, v1alpha1.SuspendFlag),
		Image: installation.Image(deployment), InitImage: installation.InitImage(deployment),
	}
	s.Version, s.Source = installation.Version(ctx, client, deployment)
	return s, nil
}

// webhook is the Deployment in a namespace; in any if that is empty.
func webhook(ctx context.Context, client kubernetes.Interface, namespace string) (*appsv1.Deployment, error) {
	d, err := installation.Find(ctx, client, namespace)
	switch {
	case errors.Is(err, installation.ErrMissing):
		return nil, exit.With(exit.Found, err)
	case apierrors.IsForbidden(err) && namespace == "":
		return nil, fmt.Errorf("looking for the webhook: %w. Set its namespace with -n, or use --client", err)
	case err != nil:
		return nil, fmt.Errorf("asking the cluster for the webhook's deployment: %w; --client needs no cluster", err)
	}
	return d, nil
}
