package delivery

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/podinit/podinit/internal/inject"
)

const (
	// retry is how often what failed is tried again.
	retry = 5 * time.Second
	// recheck is how often the apiserver is asked for its version, which an upgrade changes.
	recheck = 5 * time.Minute
)

// Watcher keeps the verdict on a cluster up to date. Until it knows, the verdict is that the cluster is not known.
type Watcher struct {
	// Cache is where the nodes are watched.
	Cache cache.Cache
	// Discovery tells the apiserver's version.
	Discovery discovery.ServerVersionInterface
	Log       logr.Logger

	mu    sync.Mutex
	nodes Nodes
	// architectures is what nodes say, until one of them changes.
	architectures []string
	// silent are the nodes whose kubelets are not heard of any more.
	silent    map[string]bool
	informer  cache.Informer
	apiserver string
	last      inject.ImageVolumes
}

// ImageVolumes is the verdict at the moment. It does no I/O.
func (w *Watcher) ImageVolumes() inject.ImageVolumes {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.informer == nil || !w.informer.HasSynced() {
		return inject.ImageVolumes{}
	}
	verdict := w.nodes.ImageVolumes(w.apiserver)
	if verdict != w.last {
		w.Log.Info("image volumes", "verdict", verdict.Verdict, "inUserNamespaces", verdict.VerdictInUserNamespaces)
		w.last = verdict
	}
	return verdict
}

// Architectures of the Linux nodes at the moment, sorted; nil if they are not known. It does no I/O. The slice is not to
// be changed.
func (w *Watcher) Architectures() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.informer == nil || !w.informer.HasSynced() {
		return nil
	}
	if w.architectures == nil {
		w.architectures = w.nodes.Architectures()
	}
	return w.architectures
}

// Architecture of one Linux node; not known if the node is not, or if its kubelet is not heard of any more: what its Pods
// show is then what was. It does no I/O.
func (w *Watcher) Architecture(node string) (name string, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name = w.nodes.architectures[node]
	return name, name != "" && !w.silent[node]
}

// Start watches until ctx is done. Nothing waits for it.
func (w *Watcher) Start(ctx context.Context) error {
	for {
		wait := recheck
		if err := w.look(ctx); err != nil {
			w.Log.Error(err, "finding out whether images can be mounted as volumes; trying again")
			wait = retry
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// NeedLeaderElection is false: every replica serves.
func (w *Watcher) NeedLeaderElection() bool { return false }

// look begins to watch nodes, once, and asks for the apiserver's version.
func (w *Watcher) look(ctx context.Context) error {
	w.mu.Lock()
	watching := w.informer != nil
	w.mu.Unlock()
	if !watching {
		informer, err := w.Cache.GetInformer(ctx, &corev1.Node{}, cache.BlockUntilSynced(false))
		if err == nil {
			_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
				AddFunc:    w.set,
				UpdateFunc: func(_, object any) { w.set(object) },
				DeleteFunc: w.remove,
			})
		}
		if err != nil {
			return fmt.Errorf("watching nodes: %w", err)
		}
		w.mu.Lock()
		w.informer = informer
		w.mu.Unlock()
	}
	info, err := w.Discovery.ServerVersion()
	if err != nil {
		return fmt.Errorf("asking the apiserver for its version: %w", err)
	}
	w.mu.Lock()
	w.apiserver = info.GitVersion
	w.mu.Unlock()
	return nil
}

func (w *Watcher) set(object any) {
	if node, ok := object.(*corev1.Node); ok {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.nodes.Set(node.Name, &node.Status.NodeInfo)
		delete(w.silent, node.Name)
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown {
				if w.silent == nil {
					w.silent = map[string]bool{}
				}
				w.silent[node.Name] = true
			}
		}
		w.architectures = nil
	}
}

func (w *Watcher) remove(object any) {
	if gone, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	if node, ok := object.(*corev1.Node); ok {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.nodes.Remove(node.Name)
		delete(w.silent, node.Name)
		w.architectures = nil
	}
}

// Trim is the cache's transform for Nodes: it keeps what this package looks at, and the labels.
func Trim(object any) (any, error) {
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
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion, Labels: n.Labels},
		Status:     corev1.NodeStatus{NodeInfo: n.Status.NodeInfo, Conditions: conditions},
	}, nil
}
