package clusterstate

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// retryInterval is how often what failed is tried again. A kind that the apiserver does not have is looked for as often: its
// CustomResourceDefinition may come.
const retryInterval = 5 * time.Second

// kind is one kind of objects that is watched.
type kind struct {
	object client.Object
	// handler is given every object; nil if the cache alone keeps them.
	handler toolscache.ResourceEventHandler
	// name of the kind, or of what of it is watched.
	name string
	// optional is set where the kind has a CustomResourceDefinition, which the cluster may not have.
	optional bool
	log      logr.Logger

	// listed is set once watching has begun. It says whether the first list has come, and has been handled.
	listed atomic.Pointer[func() bool]
	// absent is set where the apiserver has no such kind.
	absent atomic.Bool
}

// handle has objects of a type set when they are new or have changed, and removed.
func handle[T client.Object](set, remove func(T)) toolscache.ResourceEventHandler {
	call := func(do func(T), object any) {
		if gone, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
			object = gone.Obj
		}
		if o, ok := object.(T); ok {
			do(o)
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { call(set, object) },
		UpdateFunc: func(_, object any) { call(set, object) },
		DeleteFunc: func(object any) { call(remove, object) },
	}
}

// synced says whether all objects are known that the first list has.
func (k *kind) synced() bool {
	listed := k.listed.Load()
	return listed != nil && (*listed)()
}

// begin begins to watch. It does not wait for the first list: an informer tries again by itself when that fails.
func (k *kind) begin(ctx context.Context, c cache.Cache) error {
	informer, err := c.GetInformer(ctx, k.object, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	listed := informer.HasSynced
	if k.handler != nil {
		registration, err := informer.AddEventHandler(k.handler)
		if err != nil {
			return err
		}
		listed = registration.HasSynced
	}
	k.listed.Store(&listed)
	return nil
}

// watch begins to watch as soon as that can be, unless ctx is done before.
func (k *kind) watch(ctx context.Context, c cache.Cache) {
	for {
		err := k.begin(ctx, c)
		absent := k.optional && meta.IsNoMatchError(err)
		switch was := k.absent.Swap(absent); {
		case err == nil:
			if k.optional {
				k.log.Info("watching " + k.name)
			}
			return
		case absent && !was:
			k.log.Info("there are no " + k.name + ": their CustomResourceDefinition is not installed; defaults hold until it is")
		case !absent:
			k.log.Error(err, "watching "+k.name+"; trying again")
		}
		if !sleep(ctx, retryInterval) {
			return
		}
	}
}

// watch has all kinds watched. It returns when ctx is done.
func watch(ctx context.Context, c cache.Cache, kinds ...*kind) {
	var all sync.WaitGroup
	for _, k := range kinds {
		all.Go(func() { k.watch(ctx, c) })
	}
	all.Wait()
	<-ctx.Done()
}

// sleep waits; false if ctx is done.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
