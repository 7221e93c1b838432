// Package version is the command "podinit version".
package version

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/exit"
	"github.com/podinit/podinit/internal/cli/output"
	"github.com/podinit/podinit/internal/cli/pages"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/version"
)

// Labels by which the webhook is found, wherever it is installed.
const (
	webhookSelector = "app.kubernetes.io/name=podinit,app.kubernetes.io/component=webhook"
	versionLabel    = "app.kubernetes.io/version"
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
		Short: "The version of this program, and of the webhook in the cluster",
		Long: `The version of this program, and of the webhook in the cluster.

The webhook's version is what its Deployment's label app.kubernetes.io/version says, else the tag of its image if that
is one, else the label podinit.dev/version of the pod that it has wrapped last. The Deployment is found by its labels
` + webhookSelector + `, in every namespace,
or in the one that -n names.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	format := output.AddFlag(command)
	command.Flags().BoolVar(&clientOnly, "client", false, "ask no cluster")
	command.RunE = func(command *cobra.Command, _ []string) error {
		versions := Versions{Client: Client{Version: version.Version, GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}}
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
			said = "unknown: neither a label nor the image's tag says it, and no pod is wrapped yet"
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
		return nil, fmt.Errorf("no cluster to ask: %w; --client asks none", err)
	}
	if config.Timeout == 0 {
		config.Timeout = serverTime
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the cluster: %w", err)
	}
	return Find(ctx, client, *flags.Namespace)
}

// Find is the webhook that is installed in a namespace; in any if that is empty. An error has its exit code.
func Find(ctx context.Context, client kubernetes.Interface, namespace string) (*Server, error) {
	deployment, err := webhook(ctx, client, namespace)
	if err != nil {
		return nil, err
	}
	s := describe(deployment)
	if s.Version == "" {
		if s.Version = lastWrapped(ctx, client); s.Version != "" {
			s.Source = "label " + v1alpha1.VersionLabel + " of the pod wrapped last"
		}
	}
	return s, nil
}

// webhook is the Deployment in a namespace; in any if that is empty.
func webhook(ctx context.Context, client kubernetes.Interface, namespace string) (*appsv1.Deployment, error) {
	found, err := client.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{LabelSelector: webhookSelector})
	switch {
	case apierrors.IsForbidden(err) && namespace == "":
		return nil, fmt.Errorf("looking for the webhook: %w. Name its namespace with -n, or ask for --client alone", err)
	case err != nil:
		return nil, fmt.Errorf("asking the cluster for the webhook's deployment: %w; --client asks no cluster", err)
	case len(found.Items) == 0:
		return nil, exit.With(exit.Found, errors.New("podinit is not installed: no deployment is labelled "+webhookSelector))
	}
	return &found.Items[0], nil
}

// isVersion tells a tag that is a version from one that somebody has chosen, as "prod" on a mirror.
var isVersion = regexp.MustCompile(`^v\d+\.\d+\.\d+`)

// describe is what the Deployment says itself.
func describe(d *appsv1.Deployment) *Server {
	s := &Server{Namespace: d.Namespace, Name: d.Name, SuspendedByFlag: SuspendedByFlag(d)}
	containers := d.Spec.Template.Spec.Containers
	if i := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == "webhook" }); i >= 0 {
		s.Image = containers[i].Image
		for _, variable := range containers[i].Env {
			if variable.Name == "PODINIT_INIT_IMAGE" {
				s.InitImage = variable.Value
			}
		}
	}
	tagged, _, _ := strings.Cut(s.Image, "@") // "make push" names images by both
	if label := d.Labels[versionLabel]; label != "" {
		s.Version, s.Source = label, "label "+versionLabel
	} else if imageconfig.CheckName(tagged) != nil {
		return s
	} else if tag, err := name.NewTag(tagged, name.WithDefaultTag("")); err == nil && isVersion.MatchString(tag.TagStr()) {
		s.Version, s.Source = tag.TagStr(), "the image's tag"
	}
	return s
}

// SuspendedByFlag says whether the webhook's Deployment has the flag that suspends podinit.
func SuspendedByFlag(d *appsv1.Deployment) bool {
	for _, c := range d.Spec.Template.Spec.Containers {
		for _, arg := range c.Args {
			name, value, given := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
			if !strings.HasPrefix(arg, "-") || name != v1alpha1.SuspendFlag {
				continue
			}
			if on, err := strconv.ParseBool(value); !given || on && err == nil {
				return true
			}
		}
	}
	return false
}

// lastWrapped is the version that the youngest of the pods that are wrapped has; empty if there is none, or it cannot
// be known.
func lastWrapped(ctx context.Context, client kubernetes.Interface) string {
	var version string
	var at time.Time
	err := pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		options.LabelSelector = v1alpha1.VersionLabel
		list, err := client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, options)
		if err != nil {
			return nil, err
		}
		for _, pod := range list.Items {
			if made := pod.CreationTimestamp.Time; version == "" || made.After(at) {
				version, at = pod.Labels[v1alpha1.VersionLabel], made
			}
		}
		return list, nil
	})
	if err != nil {
		return ""
	}
	return version
}
