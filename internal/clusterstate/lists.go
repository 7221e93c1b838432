package clusterstate

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/podinit/podinit/internal/canary"
)

// pageSize is how many objects are asked for at once.
const pageSize = 500

// NewInformer is for a cache's options. Its informers read lists in pages, and keep of a page what this package looks at before
// they ask for the next.
//
// Since version 1.34, and in 1.32, an apiserver sends objects one by one to an informer that begins (WatchList). Others answer an
// informer's list from their watch cache, which knows no pages: all nodes of a large cluster at once, each with its 50 images,
// would take more memory than the webhook has. A list without a resource version has pages, and is not older than what is
// asked for with one.
func NewInformer(
	lists toolscache.ListerWatcher, example runtime.Object, resync time.Duration, indexers toolscache.Indexers,
) toolscache.SharedIndexInformer {
	return toolscache.NewSharedIndexInformer(paged{toolscache.ToListerWatcherWithContext(lists)}, example, resync, indexers)
}

// paged reads lists in pages.
type paged struct {
	toolscache.ListerWatcherWithContext
}

// List is a toolscache.Lister's.
func (p paged) List(options metav1.ListOptions) (runtime.Object, error) {
	return p.ListWithContext(context.Background(), options)
}

// Watch is a toolscache.Watcher's.
func (p paged) Watch(options metav1.ListOptions) (apiwatch.Interface, error) {
	return p.WatchWithContext(context.Background(), options)
}

// ListWithContext is a toolscache.ListerWithContext's.
func (p paged) ListWithContext(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	options.ResourceVersion, options.ResourceVersionMatch, options.Limit = "", "", pageSize
	var all []runtime.Object
	for {
		page, err := p.ListerWatcherWithContext.ListWithContext(ctx, options)
		if err != nil {
			return nil, err
		}
		err = meta.EachListItemWithAlloc(page, func(object runtime.Object) error {
			trimmed, err := trim(object)
			all = append(all, trimmed)
			return err
		})
		if err != nil {
			return nil, err
		}
		list, err := meta.ListAccessor(page)
		if err != nil {
			return nil, err
		}
		if options.Continue = list.GetContinue(); options.Continue == "" {
			return page, meta.SetList(page, all)
		}
	}
}

// trim is the transform of every kind that this package watches. Doing it again changes nothing.
func trim(object runtime.Object) (runtime.Object, error) {
	for _, transform := range []toolscache.TransformFunc{trimNode, trimNamespace, trimLimitRange, canary.Trim} {
		trimmed, err := transform(object)
		if err != nil {
			return nil, err
		}
		object = trimmed.(runtime.Object)
	}
	return object, nil
}
