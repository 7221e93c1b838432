// Package nodes finds node mode in a cluster, and asks each node's podinit-node what it does, through the apiserver's proxy of
// its pod.
package nodes

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/podinit/podinit/internal/cli/installation"
	"github.com/podinit/podinit/internal/cli/pages"
	"github.com/podinit/podinit/internal/node/report"
)

const (
	// Selector is what node mode's objects are labelled with, wherever they are installed.
	Selector = "app.kubernetes.io/name=podinit,app.kubernetes.io/component=node"
	// Namespace is where it is installed by default.
	Namespace = "podinit-node"

	// container of the DaemonSet in which the plugin runs, initContainer that brings the init, and the port at which the plugin
	// reports if its container names none.
	container     = "node"
	initContainer = "init"
	port          = "metrics"
	defaultPort   = 8080

	// atOnce is how many nodes are asked at once, and requestTimeout how long one may take.
	atOnce         = 16
	requestTimeout = 10 * time.Second
)

// ErrMissing is returned where node mode is not installed.
var ErrMissing = errors.New("node mode is not installed: no DaemonSet is labelled " + Selector)

// Node is one on which podinit-node runs, or is to run.
type Node struct {
	// Name of the node.
	Name string
	// Pod of podinit-node there; empty if there is none. Where one is about to take another's place, it is the newer ready one.
	Pod string
	// Ready is set where the container runtime asks podinit-node about new containers; Problem says why not.
	Ready   bool
	Problem string
	// Report of it; nil if it was not asked or has not answered, for Err.
	Report *report.Report
	Err    error
}

// FindAnywhere is podinit-node's DaemonSet, in any namespace. It returns ErrMissing if there is none.
func FindAnywhere(ctx context.Context, client kubernetes.Interface) (*appsv1.DaemonSet, error) {
	find := func(namespace string) (*appsv1.DaemonSet, error) { return Find(ctx, client, namespace) }
	return installation.Anywhere(find, Namespace, installation.Namespace)
}

// Find is podinit-node's DaemonSet in a namespace; in any if that is empty. It returns ErrMissing if there is none.
func Find(ctx context.Context, client kubernetes.Interface, namespace string) (*appsv1.DaemonSet, error) {
	found, err := client.AppsV1().DaemonSets(namespace).List(ctx, metav1.ListOptions{LabelSelector: Selector})
	switch {
	case err != nil:
		return nil, err
	case len(found.Items) == 0:
		return nil, ErrMissing
	}
	return &found.Items[0], nil
}

// Wanted says whether podinit-node is to run on a node: the DaemonSet selects it.
func Wanted(d *appsv1.DaemonSet, node *corev1.Node) bool {
	pod := &corev1.Pod{Spec: d.Spec.Template.Spec}
	match, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node)
	return err == nil && match
}

// AddMissing adds to those on which podinit-node has a pod the ones on which it is to run and has none.
func AddMissing(all []Node, wanted []string) []Node {
	has := map[string]bool{}
	for _, n := range all {
		has[n.Name] = true
	}
	for _, name := range wanted {
		if !has[name] {
			all = append(all, Node{Name: name, Problem: "no pod of podinit-node"})
		}
	}
	slices.SortFunc(all, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// List are the nodes on which podinit-node has a pod, sorted, none of them asked yet.
func List(ctx context.Context, client kubernetes.Interface, d *appsv1.DaemonSet) ([]Node, error) {
	return list(ctx, client, d, "")
}

// On is one node, not asked yet; not ok if podinit-node has no pod there.
func On(ctx context.Context, client kubernetes.Interface, d *appsv1.DaemonSet, node string) (n Node, ok bool, err error) {
	all, err := list(ctx, client, d, fields.OneTermEqualSelector("spec.nodeName", node).String())
	if err != nil || len(all) == 0 {
		return Node{Name: node}, false, err
	}
	return all[0], true, nil
}

func list(ctx context.Context, client kubernetes.Interface, d *appsv1.DaemonSet, pods string) ([]Node, error) {
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil, err
	}
	byName := map[string]Node{}
	err = pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		options.LabelSelector, options.FieldSelector = selector.String(), pods
		list, err := client.CoreV1().Pods(d.Namespace).List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			pod := &list.Items[i]
			if pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
				continue
			}
			n := nodeOf(pod)
			// During a rollout there are two: what counts is whether one of them is registered.
			if before, ok := byName[n.Name]; !ok || !before.Ready && (n.Ready || pod.DeletionTimestamp == nil) {
				byName[n.Name] = n
			}
		}
		return list, nil
	})
	if err != nil {
		return nil, err
	}
	all := make([]Node, 0, len(byName))
	for _, n := range byName {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// nodeOf is what a pod of podinit-node says of its node.
func nodeOf(pod *corev1.Pod) Node {
	n := Node{Name: pod.Spec.NodeName, Pod: pod.Name, Problem: "podinit-node is not ready"}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			n.Ready = c.Status == corev1.ConditionTrue
		}
	}
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if w := s.State.Waiting; w != nil && w.Reason != "PodInitializing" && w.Reason != "ContainerCreating" {
			n.Problem = strings.TrimSuffix(fmt.Sprintf("container %s of podinit-node waits: %s: %s", s.Name, w.Reason, w.Message), ": ")
		}
	}
	if n.Ready {
		n.Problem = ""
	}
	return n
}

// Ask asks podinit-node on each of these nodes for its report on one namespace, or on all if that is empty. What does not
// answer says why in its Err.
func Ask(ctx context.Context, client kubernetes.Interface, d *appsv1.DaemonSet, all []Node, namespace string) {
	slots := make(chan struct{}, atOnce)
	var asked sync.WaitGroup
	for i := range all {
		if all[i].Pod == "" {
			continue
		}
		slots <- struct{}{}
		asked.Go(func() {
			defer func() { <-slots }()
			all[i].Report, all[i].Err = ask(ctx, client, d, all[i].Pod, namespace)
			if r := all[i].Report; r != nil && !r.Registered && r.Problem != "" {
				all[i].Ready, all[i].Problem = false, r.Problem
			}
		})
	}
	asked.Wait()
}

func ask(ctx context.Context, client kubernetes.Interface, d *appsv1.DaemonSet, pod, namespace string) (*report.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request := client.CoreV1().RESTClient().Get().Namespace(d.Namespace).Resource("pods").
		Name(fmt.Sprintf("http:%s:%d", pod, portOf(d))).SubResource("proxy").Suffix(report.Path)
	if namespace != metav1.NamespaceAll {
		request = request.Param(report.NamespaceParameter, namespace)
	}
	text, err := request.DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	var r report.Report
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("pod %s answers with something else than a report: %w", pod, err)
	}
	return &r, nil
}

// portOf is where the DaemonSet's pods report.
func portOf(d *appsv1.DaemonSet) int32 {
	for _, p := range ContainerOf(d).Ports {
		if p.Name == port {
			return p.ContainerPort
		}
	}
	return defaultPort
}

// ContainerOf is the container of podinit-node; an empty one if there is none.
func ContainerOf(d *appsv1.DaemonSet) *corev1.Container {
	return named(d.Spec.Template.Spec.Containers, container)
}

func named(containers []corev1.Container, name string) *corev1.Container {
	if i := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == name }); i >= 0 {
		return &containers[i]
	}
	return &corev1.Container{}
}

// Image of podinit-node; empty if the DaemonSet has no container of it.
func Image(d *appsv1.DaemonSet) string { return ContainerOf(d).Image }

// InitImage is the image of the init that nodes give to containers; empty if the DaemonSet does not name it.
func InitImage(d *appsv1.DaemonSet) string {
	return named(d.Spec.Template.Spec.InitContainers, initContainer).Image
}

// Version is podinit-node's version, and where it is from: the DaemonSet's label, its image's tag, or else what the nodes report,
// which takes permission to get pods/proxy. While nodes have different versions, all of them are named. Both are empty if the
// version is not known. Nodes are asked last, since there may be many.
func Version(ctx context.Context, client kubernetes.Interface, d *appsv1.DaemonSet) (version, source string) {
	if version, source = installation.VersionOf(d.Labels, Image(d)); version != "" {
		return version, source
	}
	all, err := List(ctx, client, d)
	if err != nil {
		return "", ""
	}
	Ask(ctx, client, d, all, d.Namespace) // that namespace's containers alone: few
	var versions []string
	for _, n := range all {
		if n.Report != nil && n.Report.Version != "" {
			versions = append(versions, n.Report.Version)
		}
	}
	if len(versions) == 0 {
		return "", ""
	}
	slices.Sort(versions)
	return strings.Join(slices.Compact(versions), ", "), "reports of the nodes"
}

// Key of a container in a report.
type Key struct{ Namespace, Pod, Container string }

// Containers are those of the reports, by name. Of two of one name, as where a container has been created again, the one that
// runs without the init counts.
func Containers(all []Node) map[Key]report.Container {
	found := map[Key]report.Container{}
	for _, n := range all {
		if n.Report == nil {
			continue
		}
		for _, c := range n.Report.Containers {
			key := Key{c.Namespace, c.Pod, c.Name}
			if before, ok := found[key]; !ok || before.State != report.Missed {
				found[key] = c
			}
		}
	}
	return found
}

// InitVersion is the version of the init in a container that a node has wrapped: the name of its directory without the hash
// behind it.
func InitVersion(c report.Container) string {
	if i := strings.LastIndexByte(c.Init, '-'); i > 0 {
		return c.Init[:i]
	}
	return c.Init
}
