package clusterstate

import (
	"context"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/internal/quantity"
)

// limitRanges know what the LimitRanges of a namespace demand of every container at least, so that the copier asks for no more.
type limitRanges struct {
	cache   cache.Cache
	watched kind
}

func newLimitRanges(c cache.Cache, log logr.Logger) *limitRanges {
	return &limitRanges{cache: c, watched: kind{object: &corev1.LimitRange{}, name: "LimitRanges", log: log}}
}

// least is what a namespace's LimitRanges demand of every container at least, by the resource's name; empty if they demand
// nothing, nil if they have not been listed yet. It does no I/O.
func (l *limitRanges) least(namespace string) map[string]resource.Quantity {
	if !l.watched.synced() {
		return nil
	}
	var ranges corev1.LimitRangeList
	// Reading from memory takes no time, so there is no context to obey.
	if err := l.cache.List(context.Background(), &ranges, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil
	}
	return leastOf(ranges.Items)
}

// leastOf is the largest of the minimums for a container.
func leastOf(ranges []corev1.LimitRange) map[string]resource.Quantity {
	demanded := map[string]resource.Quantity{}
	for i := range ranges {
		for _, item := range ranges[i].Spec.Limits {
			if item.Type != corev1.LimitTypeContainer {
				continue // a Pod's minimum is of its sum, to which the copier adds nothing
			}
			for name, q := range item.Min {
				if !quantity.Bounded(q) {
					continue // no container can have so much
				}
				if before, ok := demanded[string(name)]; !ok || q.Cmp(before) > 0 {
					demanded[string(name)] = q
				}
			}
		}
	}
	return demanded
}

// trimLimitRange is the cache's transform for LimitRanges: it keeps what this package looks at.
func trimLimitRange(object any) (any, error) {
	r, ok := object.(*corev1.LimitRange)
	if !ok {
		return object, nil
	}
	trimmed := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: r.Name, UID: r.UID, ResourceVersion: r.ResourceVersion}}
	for _, item := range r.Spec.Limits {
		if len(item.Min) > 0 {
			trimmed.Spec.Limits = append(trimmed.Spec.Limits, corev1.LimitRangeItem{Type: item.Type, Min: item.Min})
		}
	}
	return trimmed, nil
}
