package clusterstate

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"

	"github.com/podinit/podinit/internal/delivery"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/nodeimages"
)

// versionInterval is how often the apiserver is asked for its version, which an upgrade changes.
const versionInterval = 5 * time.Minute

// nodes know what the nodes of a cluster can do and hold. Until they do, the verdict on image volumes is that the cluster is
// not known.
type nodes struct {
	discovery discovery.ServerVersionInterface
	log       logr.Logger
	watched   kind
	// images that the nodes hold.
	images nodeimages.Index

	mu  sync.Mutex
	all delivery.Nodes
	// silent are the nodes whose kubelets are not heard of any more.
	silent    map[string]bool
	apiserver string
	last      inject.ImageVolumes
}

func newNodes(d discovery.ServerVersionInterface, log logr.Logger) *nodes {
	n := &nodes{discovery: d, log: log}
	n.watched = kind{object: &corev1.Node{}, handler: handle(n.set, n.remove), name: "nodes", log: log}
	return n
}

// imageVolumes is the verdict at the moment. It does no I/O.
func (n *nodes) imageVolumes() inject.ImageVolumes {
	if !n.watched.synced() {
		return inject.ImageVolumes{}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	verdict := n.all.ImageVolumes(n.apiserver)
	if verdict != n.last {
		n.log.Info("image volumes", "verdict", verdict.Verdict, "inUserNamespaces", verdict.VerdictInUserNamespaces)
		n.last = verdict
	}
	return verdict
}

// architectures of the Linux nodes at the moment, sorted; nil if they are not known. It does no I/O.
func (n *nodes) architectures() []string {
	if !n.watched.synced() {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.all.Architectures()
}

// architecture of one Linux node; not known if the node is not, or if its kubelet is not heard of any more: what its Pods
// show is then what was. It does no I/O.
func (n *nodes) architecture(node string) (name string, known bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	name = n.all.Architecture(node)
	return name, name != "" && !n.silent[node]
}

// followVersion asks for the apiserver's version until ctx is done.
func (n *nodes) followVersion(ctx context.Context) {
	for {
		wait := versionInterval
		if info, err := n.discovery.ServerVersion(); err != nil {
			n.log.Error(err, "asking the apiserver for its version: not known whether images can be mounted as volumes; trying again")
			wait = retryInterval
		} else {
			n.mu.Lock()
			n.apiserver = info.GitVersion
			n.mu.Unlock()
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

func (n *nodes) set(node *corev1.Node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all.Set(node.Name, &node.Status.NodeInfo)
	n.images.Set(node.Name, node.Status.Images)
	delete(n.silent, node.Name)
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown {
			if n.silent == nil {
				n.silent = map[string]bool{}
			}
			n.silent[node.Name] = true
		}
	}
}

func (n *nodes) remove(node *corev1.Node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all.Remove(node.Name)
	n.images.Remove(node.Name)
	delete(n.silent, node.Name)
}

// trimNode is the cache's transform for Nodes: it keeps what this package looks at.
func trimNode(object any) (any, error) {
	n, ok := object.(*corev1.Node)
	if !ok {
		return object, nil
	}
	var conditions []corev1.NodeCondition
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			conditions = append(conditions, corev1.NodeCondition{Type: c.Type, Status: c.Status})
		}
	}
	info := &n.Status.NodeInfo
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion},
		Status: corev1.NodeStatus{Conditions: conditions, Images: nodeimages.Pack(n), NodeInfo: corev1.NodeSystemInfo{
			OperatingSystem: info.OperatingSystem, Architecture: info.Architecture, KubeletVersion: info.KubeletVersion,
			ContainerRuntimeVersion: info.ContainerRuntimeVersion,
		}},
	}, nil
}
