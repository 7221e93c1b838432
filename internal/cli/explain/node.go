package explain

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/podinit/podinit/internal/cli/nodes"
	"github.com/podinit/podinit/internal/node/report"
)

// nodeTime is how long it may take to ask a node. A pod is explained without it, too.
const nodeTime = 3 * time.Second

// Node is the one that a pod runs on, where node mode is installed.
type Node struct {
	Name string `json:"name"`
	// Registered is set where its container runtime asks podinit-node about new containers, and Problem says why not.
	Registered bool   `json:"registered"`
	Problem    string `json:"problem,omitempty"`
}

// askNode asks the podinit-node of a pod's node through the apiserver; what may not be read, or does not answer soon, is not
// known.
func askNode(flags *genericclioptions.ConfigFlags) func(context.Context, *corev1.Pod) *nodes.Node {
	return func(ctx context.Context, pod *corev1.Pod) *nodes.Node {
		config, err := flags.ToRESTConfig()
		if err != nil {
			return nil
		}
		config = rest.CopyConfig(config)
		config.WarningHandler = rest.NoWarnings{}
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, nodeTime)
		defer cancel()
		d, err := nodes.FindAnywhere(ctx, client)
		if err != nil {
			return nil
		}
		node, ok, err := nodes.On(ctx, client, d, pod.Spec.NodeName)
		if err != nil {
			return nil
		}
		if !ok {
			node.Problem = "no pod of podinit-node"
			return &node
		}
		one := []nodes.Node{node}
		nodes.Ask(ctx, client, d, one, pod.Namespace)
		return &one[0]
	}
}

// onNode says what a pod's node has done with its containers.
func (e explainer) onNode(ctx context.Context, pod *corev1.Pod, x *Explanation) {
	if e.node == nil || pod.Spec.NodeName == "" {
		return
	}
	node := e.node(ctx, pod)
	if node == nil {
		return
	}
	x.Node = &Node{Name: node.Name, Registered: node.Ready, Problem: node.Problem}
	containers := nodes.Containers([]nodes.Node{*node})
	_, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]
	for i := range x.Containers {
		c := &x.Containers[i]
		found, ok := containers[nodes.Key{Namespace: pod.Namespace, Pod: pod.Name, Container: c.Name}]
		if !ok || !mirror && found.UID != "" && found.UID != string(pod.UID) {
			continue
		}
		if c.OnNode = &found; found.State == report.Wrapped {
			c.HasInit = true
		}
	}
}
