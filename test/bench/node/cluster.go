package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	dto "github.com/prometheus/client_model/go"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubectl/pkg/util/podutils"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/installation"
	"github.com/podinit/podinit/internal/cli/nodes"
	"github.com/podinit/podinit/internal/node/report"
	"github.com/podinit/podinit/test/cluster"
)

const (
	// patience bounds every wait for a condition.
	patience = 3 * time.Minute
	// offNodes is a label of no node.
	offNodes = "podinit.dev/bench"
)

// bench is the test cluster, and what was made in it.
type bench struct {
	node     *cluster.Cluster
	client   *kubernetes.Clientset
	profiles dynamic.ResourceInterface
	// plugin is podinit-node's DaemonSet.
	plugin *appsv1.DaemonSet
	// namespaces and used profiles to be deleted in the end.
	namespaces, used []string
}

func connect(ctx context.Context) (*bench, error) {
	node, err := cluster.Open()
	if err != nil {
		return nil, err
	}
	config, err := node.RESTConfig()
	if err != nil {
		return nil, err
	}
	config.QPS = -1 // no throttle on this side: it would count as time that a pod takes
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	if _, err := installation.FindAnywhere(ctx, client); err != nil {
		return nil, fmt.Errorf("%w; 'make bench-node' installs it", err)
	}
	plugin, err := nodes.FindAnywhere(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("%w; 'make bench-node' installs it", err)
	}
	return &bench{node: node, client: client, profiles: objects.Resource(v1alpha1.GroupVersion.WithResource("initprofiles")), plugin: plugin}, nil
}

// cleanUp deletes what was made, and brings podinit-node back.
func (b *bench) cleanUp(ctx context.Context) error {
	var all []error
	now := int64(0)
	for _, name := range b.namespaces {
		all = append(all, b.client.CoreV1().Pods(name).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{}))
		all = append(all, b.client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{}))
	}
	for _, name := range b.used {
		all = append(all, b.profiles.Delete(ctx, name, metav1.DeleteOptions{}))
	}
	return errors.Join(append(all, b.setPlugin(ctx, true))...)
}

// namespace makes a namespace whose pods are wrapped by this delivery; with none they do not opt in.
func (b *bench) namespace(ctx context.Context, delivery v1alpha1.DeliveryPolicy) (string, error) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "podinit-bench-"}}
	if delivery != "" {
		profile := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": v1alpha1.GroupVersion.String(), "kind": "InitProfile",
			"metadata": map[string]any{"generateName": "podinit-bench-"}, "spec": map[string]any{"delivery": string(delivery)},
		}}
		made, err := b.profiles.Create(ctx, profile, metav1.CreateOptions{})
		if err != nil {
			return "", err
		}
		b.used = append(b.used, made.GetName())
		ns.Labels = map[string]string{v1alpha1.Inject: v1alpha1.InjectEnabled}
		ns.Annotations = map[string]string{v1alpha1.ProfileAnnotation: made.GetName()}
	}
	ns, err := b.client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	b.namespaces = append(b.namespaces, ns.Name)
	return ns.Name, b.await(ctx, "the service account of namespace "+ns.Name, func(ctx context.Context) (bool, error) {
		_, err := b.client.CoreV1().ServiceAccounts(ns.Name).Get(ctx, "default", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	})
}

// pod of the bench, with that many containers. They name the image's program, so that no registry is asked what it runs.
func pod(name string, containers int) *corev1.Pod {
	no := false
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{AutomountServiceAccountToken: &no}}
	for i := range containers {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
			Name: fmt.Sprintf("app-%d", i), Image: cluster.PauseImage, Command: []string{"/pause"}, ImagePullPolicy: corev1.PullIfNotPresent,
		})
	}
	return p
}

func (b *bench) awaitReady(ctx context.Context, namespace, name string) (p *corev1.Pod, err error) {
	err = b.await(ctx, "pod "+namespace+"/"+name, func(ctx context.Context) (bool, error) {
		p, err = b.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		return err == nil && podutils.IsPodReady(p), err
	})
	return p, err
}

// setPlugin takes podinit-node away, or brings it back and waits until it is registered.
func (b *bench) setPlugin(ctx context.Context, there bool) error {
	value := `"yes"`
	if there {
		value = "null"
	}
	patch := fmt.Appendf(nil, `{"spec":{"template":{"spec":{"nodeSelector":{%q:%s}}}}}`, offNodes, value)
	if _, err := b.client.AppsV1().DaemonSets(b.plugin.Namespace).Patch(ctx, b.plugin.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return err
	}
	return b.await(ctx, "podinit-node", func(ctx context.Context) (bool, error) {
		selector := metav1.FormatLabelSelector(b.plugin.Spec.Selector)
		pods, err := b.client.CoreV1().Pods(b.plugin.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return false, err
		}
		if !there {
			return len(pods.Items) == 0, nil
		}
		return len(pods.Items) == 1 && pods.Items[0].DeletionTimestamp == nil && podutils.IsPodReady(&pods.Items[0]), nil
	})
}

// report is what podinit-node reports of a namespace.
func (b *bench) report(ctx context.Context, namespace string) (*report.Report, error) {
	all, err := nodes.List(ctx, b.client, b.plugin)
	if err != nil {
		return nil, err
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("podinit-node runs on %d nodes, want 1", len(all))
	}
	nodes.Ask(ctx, b.client, b.plugin, all, namespace)
	return all[0].Report, all[0].Err
}

// metric of the node's one podinit-node, which has one value.
func (b *bench) metric(ctx context.Context, name string) (*dto.Metric, error) {
	all, err := nodes.List(ctx, b.client, b.plugin)
	if err != nil {
		return nil, err
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("podinit-node runs on %d nodes, want 1", len(all))
	}
	families, err := cluster.Metrics(ctx, b.client, b.plugin.Namespace, all[0].Pod)
	if err != nil {
		return nil, err
	}
	found := families[name].GetMetric()
	if len(found) != 1 {
		return nil, fmt.Errorf("podinit-node has %d values of %s, want 1", len(found), name)
	}
	return found[0], nil
}

// await waits until done says so.
func (b *bench) await(ctx context.Context, what string, done wait.ConditionWithContextFunc) error {
	if err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, patience, true, done); err != nil {
		return fmt.Errorf("waiting for %s: %w", what, err)
	}
	return nil
}
