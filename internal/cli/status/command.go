// Package status is the command "podinit status": which pods are wrapped, which are not and why, which have an old
// version of the init, and which run another image than the one whose command they were given.
package status

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/canary"
	"github.com/podinit/podinit/internal/cli/image"
	"github.com/podinit/podinit/internal/cli/output"
	"github.com/podinit/podinit/internal/cli/pages"
	"github.com/podinit/podinit/internal/cli/version"
	"github.com/podinit/podinit/internal/inject"
)

const (
	// requestTime is how long the apiserver may take for a page, unless --request-timeout says otherwise.
	requestTime = time.Minute
)

// NewCommand is "podinit status".
func NewCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var all, wide, offline bool
	var installed string
	command := &cobra.Command{
		Use:   "status",
		Short: "Which pods are wrapped, which are not and why, what is outdated or has drifted",
		Long: `Which pods are wrapped, which are not and why, what is outdated or has drifted.

Pods that have ended are not counted, nor those that have nothing to do with podinit. A pod is outdated if its init has
another version than the webhook; a container has drifted if it runs another image than the one that the registry named
when its command was looked up. Two digests may be names of one image, so the registry is asked where they differ, with
your own credentials; where it cannot be, nothing is claimed.

For a single pod, and for why a container is as it is: podinit explain pod/NAME.`,
		Example: `  # In the namespace of the current context:
  podinit status

  # Everywhere, with the names of pods:
  podinit status -A --wide

  # Namespaces with pods that were made while the webhook was away:
  podinit status -A -o json | jq -r '.namespaces[] | select(.withoutStatus > 0) | .name'`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	format := output.AddFlag(command)
	command.Flags().BoolVarP(&all, "all-namespaces", "A", false, "look into all namespaces")
	command.Flags().BoolVar(&wide, "wide", false, "name pods")
	command.Flags().BoolVar(&offline, "offline", false, "ask no registry")
	command.Flags().StringVar(&installed, "installed-version", "", "version that counts as up to date; else that of the webhook")
	command.RunE = func(command *cobra.Command, _ []string) error {
		namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
		if err != nil {
			return fmt.Errorf("no cluster to ask: %w", err)
		}
		if all {
			namespace = metav1.NamespaceAll
		}
		config, err := flags.ToRESTConfig()
		if err != nil {
			return fmt.Errorf("no cluster to ask: %w", err)
		}
		config = rest.CopyConfig(config)
		if config.Timeout == 0 {
			config.Timeout = requestTime
		}
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return fmt.Errorf("connecting to the cluster: %w", err)
		}
		digests := Digests(image.Digests)
		if offline {
			digests = func(context.Context, string) ([]string, error) { return nil, errors.New("no registry is asked") }
		}
		report, err := collect(command.Context(), client, namespace, installed, digests)
		if err != nil {
			return err
		}
		if *format != output.Table {
			return format.Print(streams.Out, report)
		}
		return report.print(streams.Out, output.StyleFor(streams.Out), wide)
	}
	return command
}

// collect reads a namespace, or all of them if that is empty, a page at a time.
func collect(ctx context.Context, client kubernetes.Interface, namespace, installed string, digests Digests) (Report, error) {
	var notRead, suspended []string
	untouched := inject.SystemNamespaces
	server, err := version.Find(ctx, client, metav1.NamespaceAll)
	switch {
	case err == nil:
		untouched = append(slices.Clone(untouched), server.Namespace)
		installed = cmp.Or(installed, server.Version)
		suspended = suspendedBy(ctx, client, server)
	case installed == "" && apierrors.IsForbidden(err):
		notRead = append(notRead, "The webhook's version, for which one must be allowed to list Deployments in all namespaces. No pod counts as outdated, unless --installed-version says it.")
	case installed == "":
		notRead = append(notRead, fmt.Sprintf("The webhook's version, so that no pod counts as outdated, unless --installed-version says it: %v", err))
	}
	labels, err := namespaces(ctx, client, namespace)
	switch {
	case apierrors.IsForbidden(err):
		notRead = append(notRead, fmt.Sprintf("Namespaces, so that it is not known which have opted in, and pods without a status are not counted: %v", err))
	case err != nil:
		return Report{}, fmt.Errorf("reading namespaces: %w", err)
	}
	b := NewBuilder(installed)
	err = pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		list, err := client.CoreV1().Pods(namespace).List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			b.Pod(&list.Items[i], optInOf(labels, list.Items[i].Namespace, untouched))
		}
		return list, nil
	})
	if err != nil {
		return Report{}, fmt.Errorf("reading pods: %w", err)
	}
	for _, name := range sorted(labels) {
		if !slices.Contains(untouched, name) {
			b.Namespace(name, labels[name])
		}
	}
	report := b.Report(ctx, digests)
	if server != nil {
		report.InitImage = initImage(ctx, client, server.Namespace)
	}
	report.NotRead, report.Suspended = notRead, suspended
	return report, ctx.Err()
}

// suspendedBy is what suspends podinit. The ConfigMap may be forbidden to read; pods that are left alone say it, too.
func suspendedBy(ctx context.Context, client kubernetes.Interface, server *version.Server) (by []string) {
	if c, err := client.CoreV1().ConfigMaps(server.Namespace).Get(ctx, v1alpha1.SuspendConfigMap, metav1.GetOptions{}); err == nil {
		by = append(by, fmt.Sprintf("ConfigMap %s in namespace %s, since %s", c.Name, c.Namespace, c.CreationTimestamp.UTC().Format(time.RFC3339)))
	}
	if server.SuspendedByFlag {
		by = append(by, fmt.Sprintf("flag -%s of Deployment %s in namespace %s", v1alpha1.SuspendFlag, server.Name, server.Namespace))
	}
	return by
}

// initImage says for which nodes new pods are left alone, because they cannot pull the init image; nothing where podinit's
// own pods or nodes may not be read, as for many who may read their own pods.
func initImage(ctx context.Context, client kubernetes.Interface, namespace string) (unavailable []InitImage) {
	var pods []corev1.Pod
	err := pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		list, err := client.CoreV1().Pods(namespace).List(ctx, options)
		if err == nil {
			pods = append(pods, list.Items...)
		}
		return list, err
	})
	if err != nil {
		return nil
	}
	architecture := map[string]string{}
	err = pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		list, err := client.CoreV1().Nodes().List(ctx, options)
		if err == nil {
			for i := range list.Items {
				architecture[list.Items[i].Name] = list.Items[i].Status.NodeInfo.Architecture
			}
		}
		return list, err
	})
	if err != nil {
		return nil
	}
	known := func(node string) (string, bool) { return architecture[node], architecture[node] != "" }
	for _, o := range canary.OpenFor(canary.OfServing(pods), known) {
		unavailable = append(unavailable, InitImage{Architecture: o.Architecture, Pod: namespace + "/" + o.Pod, Message: o.Reason + ": " + oneLine(o.Message)})
	}
	return unavailable
}

func optInOf(labels map[string]string, namespace string, untouched []string) optIn {
	label, known := labels[namespace]
	switch {
	case slices.Contains(untouched, namespace):
		return never
	case !known:
		return unknown
	case label == v1alpha1.InjectDisabled:
		return closed
	case label == v1alpha1.InjectEnabled:
		return yes
	}
	return no
}

// namespaces are the labels podinit.dev/inject, by namespace; empty where there is none.
func namespaces(ctx context.Context, client kubernetes.Interface, namespace string) (map[string]string, error) {
	labels := map[string]string{}
	if namespace != metav1.NamespaceAll {
		n, err := client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		labels[n.Name] = n.Labels[v1alpha1.Inject]
		return labels, nil
	}
	err := pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		list, err := client.CoreV1().Namespaces().List(ctx, options)
		if err != nil {
			return nil, err
		}
		for _, n := range list.Items {
			labels[n.Name] = n.Labels[v1alpha1.Inject]
		}
		return list, nil
	})
	if err != nil {
		return nil, err
	}
	return labels, nil
}
