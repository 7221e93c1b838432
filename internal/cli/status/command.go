// Package status is the command "podinit status": which pods are wrapped, which are not and why, which have an old
// version of the init, and which run another image than the one whose command they were given.
package status

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/canary"
	"github.com/podinit/podinit/internal/cli/installation"
	"github.com/podinit/podinit/internal/cli/nodes"
	"github.com/podinit/podinit/internal/cli/output"
	"github.com/podinit/podinit/internal/cli/pages"
	"github.com/podinit/podinit/internal/cli/remoteimage"
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
		Short: "Show which pods are wrapped, which are not and why, and which are outdated or have drifted",
		Long: `Show which pods are wrapped, which are not and why, and which are outdated or have drifted.

Pods that have ended do not count, nor pods that podinit does not know. A pod is outdated if its init has
another version than the webhook; a container has drifted if it runs another image than the one that the registry named
when its command was looked up. Two digests may name the same image; if they differ, the registry is asked, with
your own credentials. If it cannot be asked, the container does not count as drifted.

For a single pod and the reasons for each container: podinit explain pod/NAME.`,
		Example: `  # In the namespace of the current context:
  podinit status

  # Everywhere, with the names of pods:
  podinit status -A --wide

  # Namespaces with pods that were created while the webhook was not available:
  podinit status -A -o json | jq -r '.namespaces[] | select(.withoutStatus > 0) | .name'`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	format := output.AddFlag(command)
	command.Flags().BoolVarP(&all, "all-namespaces", "A", false, "list the pods of all namespaces")
	command.Flags().BoolVar(&wide, "wide", false, "name pods")
	command.Flags().BoolVar(&offline, "offline", false, "ask no registry")
	command.Flags().StringVar(&installed, "installed-version", "", "version that counts as up to date; else the webhook's")
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
		digests := Digests(remoteimage.Digests)
		if offline {
			digests = func(context.Context, string) ([]string, error) { return nil, errors.New("registries are not asked") }
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
	webhook, err := installation.Find(ctx, client, metav1.NamespaceAll)
	switch {
	case err == nil:
		untouched = append(slices.Clone(untouched), webhook.Namespace)
		if installed == "" {
			installed, _ = installation.Version(ctx, client, webhook)
		}
		suspended = suspendedBy(ctx, client, webhook)
	case installed == "" && apierrors.IsForbidden(err):
		notRead = append(notRead, "The webhook's version, which requires permission to list Deployments in all namespaces. No pod counts as "+
			"outdated, unless --installed-version is set.")
	case installed == "":
		notRead = append(notRead, fmt.Sprintf("The webhook's version, so no pod counts as outdated, unless --installed-version is set: %v", err))
	}
	onNodes, of, problems := askNodes(ctx, client, namespace)
	if of != "" {
		untouched = append(slices.Clone(untouched), of)
		if webhook == nil {
			notRead = nil // nodes alone wrap
		}
	}
	notRead = append(notRead, problems...)
	labels, err := namespaces(ctx, client, namespace)
	switch {
	case apierrors.IsForbidden(err):
		notRead = append(notRead,
			fmt.Sprintf("Namespaces, so it is not known which have opted in, and pods without a status do not count: %v", err))
	case err != nil:
		return Report{}, fmt.Errorf("reading namespaces: %w", err)
	}
	b := NewBuilder(installed)
	if of != "" {
		b.OnNodes(onNodes)
	}
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
	if webhook != nil {
		report.InitImage = initImage(ctx, client, webhook.Namespace)
	}
	report.NotRead, report.Suspended = notRead, suspended
	return report, ctx.Err()
}

// askNodes asks every node of node mode what it does, and says in which namespace it is installed; "" if it is not, or may not
// be read. problems are what is not known of it.
func askNodes(ctx context.Context, client kubernetes.Interface, namespace string) (all []nodes.Node, of string, problems []string) {
	d, err := nodes.FindAnywhere(ctx, client)
	if err != nil {
		return nil, "", nil // for most users there is none, or none that they may see
	}
	all, err = nodes.List(ctx, client, d)
	if err != nil {
		return nil, d.Namespace,
			[]string{fmt.Sprintf("The pods of podinit-node in namespace %s, so it is not known what the nodes wrap: %v", d.Namespace, err)}
	}
	nodes.Ask(ctx, client, d, all, namespace)
	wanted, notRead := wantedOn(ctx, client, d)
	silent := 0
	for _, n := range all {
		if n.Err != nil {
			if silent++; err == nil {
				err = n.Err
			}
		}
	}
	if silent > 0 {
		problems = append(problems, fmt.Sprintf("What podinit-node reports on %d of %s, which requires permission to get pods/proxy in namespace %s: %v", silent,
			output.Count(len(all), "node"), d.Namespace, err))
	}
	if notRead != nil {
		problems = append(problems, fmt.Sprintf("Nodes, so it is not known which have no pod of podinit-node: %v", notRead))
	}
	return nodes.AddMissing(all, wanted), d.Namespace, problems
}

// wantedOn are the nodes on which podinit-node is to run.
func wantedOn(ctx context.Context, client kubernetes.Interface, d *appsv1.DaemonSet) (names []string, err error) {
	return names, pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		list, err := client.CoreV1().Nodes().List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			if nodes.Wanted(d, &list.Items[i]) {
				names = append(names, list.Items[i].Name)
			}
		}
		return list, nil
	})
}

// suspendedBy is what suspends podinit. The ConfigMap may be forbidden to read; pods that are left alone say it, too.
func suspendedBy(ctx context.Context, client kubernetes.Interface, webhook *appsv1.Deployment) (by []string) {
	if c, err := client.CoreV1().ConfigMaps(webhook.Namespace).Get(ctx, v1alpha1.SuspendConfigMap, metav1.GetOptions{}); err == nil {
		by = append(by, fmt.Sprintf("ConfigMap %s in namespace %s, since %s", c.Name, c.Namespace,
			c.CreationTimestamp.UTC().Format(time.RFC3339)))
	}
	if installation.Enabled(webhook, v1alpha1.SuspendFlag) {
		by = append(by, fmt.Sprintf("flag -%s of Deployment %s in namespace %s", v1alpha1.SuspendFlag, webhook.Name, webhook.Namespace))
	}
	return by
}

// initImage says for which nodes new pods are left alone, because they cannot pull the init image; nothing where podinit's
// own pods or nodes may not be read, as for many users, who may read their own pods only.
func initImage(ctx context.Context, client kubernetes.Interface, namespace string) (unavailable []InitImage) {
	var serving canary.Serving
	err := pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		list, err := client.CoreV1().Pods(namespace).List(ctx, options)
		if err == nil {
			for i := range list.Items {
				serving.Add(&list.Items[i])
			}
		}
		return list, err
	})
	canaries := serving.Canaries()
	// Nodes are large and may be many. They are not read where no canary waits.
	if err != nil || !slices.ContainsFunc(canaries, func(c canary.Canary) bool { return c.State == canary.Waiting }) {
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
	for _, o := range canary.OpenFor(canaries, known) {
		unavailable = append(unavailable,
			InitImage{Architecture: o.Architecture, Pod: namespace + "/" + o.Pod, Message: o.Reason + ": " + oneLine(o.Message)})
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
	case v1alpha1.Disables(label):
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
