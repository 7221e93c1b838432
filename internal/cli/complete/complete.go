// Package complete completes words of the command line from the kubeconfig and the cluster: contexts, namespaces, profiles,
// and objects such as deploy/web.
//
// A shell waits for it with every press of the tab key, and shows what it prints. So the cluster has little time, and
// where it does not answer there is nothing to complete, and no error is printed.
package complete

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/podinit/podinit/api/v1alpha1"
)

const (
	// timeout bounds all that is asked for one completion.
	timeout = 2 * time.Second
	// maxNames bounds how many names are asked for.
	maxNames = 500
)

// kinds are offered where no kind is typed yet.
var kinds = []string{"cronjob/", "daemonset/", "deployment/", "job/", "pod/", "replicaset/", "statefulset/"}

type function = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// Register completes the values of kubectl's flags for all commands.
func Register(root *cobra.Command, flags *genericclioptions.ConfigFlags) {
	for name, f := range map[string]function{
		"namespace": named(flags, schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}),
		"context":   configured(flags, func(c api.Config) []string { return slices.Sorted(maps.Keys(c.Contexts)) }),
		"cluster":   configured(flags, func(c api.Config) []string { return slices.Sorted(maps.Keys(c.Clusters)) }),
		"user":      configured(flags, func(c api.Config) []string { return slices.Sorted(maps.Keys(c.AuthInfos)) }),
	} {
		_ = root.RegisterFlagCompletionFunc(name, f) // it fails only for flags that are not there
	}
}

// Profiles completes --profile with names of InitProfiles, and with files.
func Profiles(command *cobra.Command, flags *genericclioptions.ConfigFlags) {
	names := named(flags, schema.GroupVersionResource{Group: v1alpha1.Group, Version: "v1alpha1", Resource: "initprofiles"})
	_ = command.RegisterFlagCompletionFunc("profile",
		func(command *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			found, _ := names(command, args, word)
			return found, cobra.ShellCompDirectiveDefault
		})
}

// Objects completes arguments such as deploy/web, of any kind and by any name that the cluster has for it.
func Objects(flags *genericclioptions.ConfigFlags) function {
	return func(command *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		kind, name, typed := strings.Cut(word, "/")
		if !typed {
			return beginning(kinds, word), cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
		}
		namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names := within(command.Context(), func(ctx context.Context) []string {
			resource, err := resourceOf(flags, kind)
			if err != nil {
				return nil
			}
			return list(ctx, flags, resource, namespace)
		})
		var words []string
		for _, n := range beginning(names, name) {
			words = append(words, kind+"/"+n)
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// resourceOf finds what a kind, its plural or its short name means in the cluster.
func resourceOf(flags *genericclioptions.ConfigFlags, kind string) (schema.GroupVersionResource, error) {
	mapper, err := flags.ToRESTMapper()
	if err != nil {
		return schema.GroupVersionResource{}, err
	}
	resource, group := schema.ParseResourceArg(strings.ToLower(kind))
	if resource == nil {
		r := group.WithVersion("")
		resource = &r
	}
	return mapper.ResourceFor(*resource)
}

// named completes names of objects that are in no namespace.
func named(flags *genericclioptions.ConfigFlags, resource schema.GroupVersionResource) function {
	return func(command *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		names := within(command.Context(), func(ctx context.Context) []string { return list(ctx, flags, resource, metav1.NamespaceNone) })
		return beginning(names, word), cobra.ShellCompDirectiveNoFileComp
	}
}

// configured completes names from the kubeconfig.
func configured(flags *genericclioptions.ConfigFlags, names func(api.Config) []string) function {
	return func(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		config, err := flags.ToRawKubeConfigLoader().RawConfig()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return beginning(names(config), word), cobra.ShellCompDirectiveNoFileComp
	}
}

// within is what find finds in the time that there is; nothing if it takes longer, as discovery may.
func within(ctx context.Context, find func(context.Context) []string) []string {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	found := make(chan []string, 1)
	go func() { found <- find(ctx) }()
	select {
	case names := <-found:
		return names
	case <-ctx.Done():
		return nil
	}
}

// list is the names of objects; none where they cannot be read.
func list(
	ctx context.Context, flags *genericclioptions.ConfigFlags, resource schema.GroupVersionResource, namespace string,
) (names []string) {
	config, err := flags.ToRESTConfig()
	if err != nil {
		return nil
	}
	config = rest.CopyConfig(config)
	config.Timeout, config.WarningHandler = timeout, rest.NoWarnings{}
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return nil
	}
	objects, err := client.Resource(resource).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: maxNames})
	if err != nil {
		return nil
	}
	for _, o := range objects.Items {
		names = append(names, o.Name)
	}
	return names
}

// beginning are the words that begin with what is typed.
func beginning(words []string, typed string) (some []string) {
	for _, w := range words {
		if strings.HasPrefix(w, typed) {
			some = append(some, w)
		}
	}
	return some
}
