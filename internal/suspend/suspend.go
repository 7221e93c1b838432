// Package suspend says whether podinit is suspended: every new Pod is then admitted as it came.
//
// An administrator suspends it by a flag of the webhook, which is kept with the rest of the installation, or at once by a
// ConfigMap that neither the chart nor config/ has. So nothing that reconciles those puts it back.
package suspend

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/podinit/podinit/api/v1alpha1"
)

const (
	// listTimeout is how long readiness waits for the first list. After that the webhook serves as if not suspended.
	listTimeout = 10 * time.Second
	// retryInterval is how often a watch that could not be set up is tried again.
	retryInterval = 5 * time.Second
)

// Watcher follows the ConfigMap.
type Watcher struct {
	// Cache is where the ConfigMap is watched; ByObject restricts it to that one.
	Cache cache.Cache
	// Namespace of the webhook.
	Namespace string
	// Always is set by the flag: podinit is suspended, whether there is a ConfigMap or not.
	Always bool
	Log    logr.Logger

	mu       sync.Mutex
	started  time.Time
	informer cache.Informer
	exists   bool
}

// ByObject restricts a cache of ConfigMaps to the one that is watched.
func ByObject(namespace string) cache.ByObject {
	return cache.ByObject{Namespaces: map[string]cache.Config{
		namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", v1alpha1.SuspendConfigMap)},
	}}
}

// Suspended says whether podinit is suspended now. It does no I/O.
func (w *Watcher) Suspended() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.Always || w.exists
}

// Gauge is Suspended for a metric: 1 or 0.
func (w *Watcher) Gauge() float64 {
	if w.Suspended() {
		return 1
	}
	return 0
}

// Ready is a health check. It fails until the ConfigMap has been looked for, so that a replica that starts while podinit is
// suspended wraps nothing; but not for longer than listTimeout.
func (w *Watcher) Ready(*http.Request) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.Always,
		w.informer != nil && w.informer.HasSynced(),
		!w.started.IsZero() && time.Since(w.started) > listTimeout:
		return nil
	}
	return errors.New("waiting to know whether ConfigMap " + v1alpha1.SuspendConfigMap + " suspends podinit")
}

// NeedLeaderElection is false: every replica serves.
func (w *Watcher) NeedLeaderElection() bool { return false }

// Start watches until ctx is done. Nothing waits for it but readiness.
func (w *Watcher) Start(ctx context.Context) error {
	w.mu.Lock()
	w.started = time.Now()
	w.mu.Unlock()
	if w.Always {
		w.Log.Info("suspended by flag -" + v1alpha1.SuspendFlag + ": pods are admitted as they come")
	}
	for {
		err := w.watch(ctx)
		if err == nil {
			break
		}
		w.Log.Error(err, "watching the ConfigMap that suspends podinit; trying again", "name", w.key().String())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryInterval):
		}
	}
	<-ctx.Done()
	return nil
}

func (w *Watcher) key() types.NamespacedName {
	return types.NamespacedName{Namespace: w.Namespace, Name: v1alpha1.SuspendConfigMap}
}

// watch begins to watch. It does not wait for the first list: an informer tries again by itself when that fails.
func (w *Watcher) watch(ctx context.Context) error {
	informer, err := w.Cache.GetInformer(ctx, &corev1.ConfigMap{}, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	handler, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { w.see(object, true) },
		DeleteFunc: func(object any) { w.see(object, false) },
	})
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.informer = handled{informer, handler}
	return nil
}

// handled is an informer that has synced when its handler has seen the first list, too.
type handled struct {
	cache.Informer
	handler toolscache.ResourceEventHandlerRegistration
}

// HasSynced says whether the first list has been handled.
func (h handled) HasSynced() bool { return h.handler.HasSynced() }

func (w *Watcher) see(object any, exists bool) {
	if gone, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	configMap, ok := object.(*corev1.ConfigMap)
	if !ok || configMap.Namespace != w.Namespace || configMap.Name != v1alpha1.SuspendConfigMap {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.exists == exists {
		return
	}
	w.exists = exists
	if exists {
		w.Log.Info("suspended by a ConfigMap: pods are admitted as they come until it is deleted", "name", w.key().String())
	} else {
		w.Log.Info("the ConfigMap that suspends podinit is gone", "name", w.key().String(), "suspendedByFlag", w.Always)
	}
}
