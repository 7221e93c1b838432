package planner

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/pages"
	"github.com/podinit/podinit/internal/delivery"
)

// FollowCluster has the injector go by what the cluster's webhook goes by for the pods of a namespace, or of all if that is
// empty: InitProfiles, the namespaces' choice of them, and the nodes' architectures. What the options say stays. What may
// not be read is noted on errOut, and does not count. It takes one list of each.
func (i *Injector) FollowCluster(ctx context.Context, client kubernetes.Interface, o Options, namespace string, errOut io.Writer) error {
	var err error
	if len(o.Architectures) == 0 {
		if i.known.architectures, err = nodeArchitectures(ctx, client); err != nil {
			note(errOut, fmt.Sprintf("nodes cannot be read (%v); assumed: nodes of any architecture", err))
		}
	}
	if len(o.Profiles) > 0 {
		return ctx.Err()
	}
	if i.known.profiles, err = installedProfiles(ctx, client); err != nil {
		note(errOut, fmt.Sprintf("InitProfiles cannot be read (%v); assumed: the built-in defaults", err))
	}
	if len(i.known.profiles.specs) > 0 {
		if i.known.choices, err = namespaceChoices(ctx, client, namespace); err != nil {
			note(errOut, fmt.Sprintf("namespaces cannot be read (%v); assumed: the InitProfile %q, if there is one", err, v1alpha1.DefaultProfile))
		}
	}
	return ctx.Err()
}

// installedProfiles are the InitProfiles of the cluster, without any where there is no such kind.
func installedProfiles(ctx context.Context, client kubernetes.Interface) (*profiles, error) {
	all := &profiles{specs: map[string]*v1alpha1.InitProfileSpec{}}
	err := pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		text, err := client.CoreV1().RESTClient().Get().
			AbsPath("/apis", v1alpha1.GroupVersion.Group, v1alpha1.GroupVersion.Version, "initprofiles").
			VersionedParams(&options, scheme.ParameterCodec).DoRaw(ctx)
		if err != nil {
			return nil, err
		}
		var list v1alpha1.InitProfileList
		if err := json.Unmarshal(text, &list); err != nil {
			return nil, err
		}
		for i := range list.Items {
			all.specs[list.Items[i].Name] = &list.Items[i].Spec
		}
		return &list, nil
	})
	if apierrors.IsNotFound(err) {
		return all, nil
	}
	return all, err
}

// namespaceChoices are the names of InitProfiles that namespaces name.
func namespaceChoices(ctx context.Context, client kubernetes.Interface, namespace string) (map[string]string, error) {
	choices := map[string]string{}
	if namespace != metav1.NamespaceAll {
		n, err := client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		if err == nil {
			choices[n.Name] = n.Annotations[v1alpha1.ProfileAnnotation]
		}
		return choices, err
	}
	return choices, pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		list, err := client.CoreV1().Namespaces().List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			choices[list.Items[i].Name] = list.Items[i].Annotations[v1alpha1.ProfileAnnotation]
		}
		return list, nil
	})
}

// nodeArchitectures are those of the Linux nodes; nil if a node does not report one yet.
func nodeArchitectures(ctx context.Context, client kubernetes.Interface) ([]string, error) {
	var nodes delivery.Nodes
	err := pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		list, err := client.CoreV1().Nodes().List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			nodes.Set(list.Items[i].Name, &list.Items[i].Status.NodeInfo)
		}
		return list, nil
	})
	if err != nil {
		return nil, err
	}
	return nodes.Architectures(), nil
}
