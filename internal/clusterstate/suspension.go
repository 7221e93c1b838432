package clusterstate

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/api/v1alpha1"
)

// Suspension says whether podinit is suspended: every new Pod is then admitted unchanged, and in node mode every container
// created unchanged.
//
// An administrator suspends it by a flag, which is kept with the rest of the installation, or at once by a ConfigMap that
// neither the chart nor config/ has. So nothing that reconciles those puts it back.
type Suspension struct {
	cache   cache.Cache
	byFlag  bool
	name    types.NamespacedName
	effect  string
	log     logr.Logger
	watched kind
	exists  atomic.Bool
	started atomic.Pointer[time.Time]
}

// NewSuspension watches in that cache the ConfigMap in podinit's own namespace; byFlag suspends podinit without one. effect
// is what that does, for the log: "pods are admitted unchanged".
func NewSuspension(c cache.Cache, namespace string, byFlag bool, effect string, log logr.Logger) *Suspension {
	s := &Suspension{
		cache: c, byFlag: byFlag, effect: effect, log: log,
		name: types.NamespacedName{Namespace: namespace, Name: v1alpha1.SuspendConfigMap},
	}
	see := func(exists bool) func(*corev1.ConfigMap) { return func(c *corev1.ConfigMap) { s.see(c, exists) } }
	s.watched = kind{
		object: &corev1.ConfigMap{}, handler: handle(see(true), see(false)), name: "the ConfigMap that suspends podinit",
		log: log.WithValues("name", s.name.String()),
	}
	return s
}

// SuspensionByObject restricts the cache of a Suspension to the one ConfigMap that it looks at.
func SuspensionByObject(namespace string) map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{&corev1.ConfigMap{}: suspendConfigMap(namespace)}
}

// suspendConfigMap restricts a cache of ConfigMaps to the one that is watched.
func suspendConfigMap(namespace string) cache.ByObject {
	return cache.ByObject{Namespaces: map[string]cache.Config{
		namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", v1alpha1.SuspendConfigMap)},
	}}
}

// Start watches until ctx is done. Nothing waits for it but readiness, and that not for long.
func (s *Suspension) Start(ctx context.Context) error {
	now := time.Now()
	s.started.Store(&now)
	s.logFlag()
	watch(ctx, s.cache, &s.watched)
	return nil
}

// NeedLeaderElection is false: every replica serves.
func (*Suspension) NeedLeaderElection() bool { return false }

// Now says whether podinit is suspended. It does no I/O.
func (s *Suspension) Now() bool { return s.byFlag || s.exists.Load() }

// Settled says whether it is known, or has been waited for long enough: a process that starts while podinit is suspended
// wraps nothing, and one that may not read the ConfigMap serves all the same.
func (s *Suspension) Settled() bool {
	started := s.started.Load()
	return s.known() || started != nil && time.Since(*started) > listTimeout
}

func (s *Suspension) known() bool { return s.byFlag || s.watched.synced() }

func (s *Suspension) logFlag() {
	if s.byFlag {
		s.log.Info("suspended by flag -" + v1alpha1.SuspendFlag + ": " + s.effect)
	}
}

func (s *Suspension) see(configMap *corev1.ConfigMap, exists bool) {
	if configMap.Namespace != s.name.Namespace || configMap.Name != s.name.Name || s.exists.Swap(exists) == exists {
		return
	}
	if exists {
		s.log.Info("suspended by a ConfigMap: "+s.effect+" until it is deleted", "name", s.name.String())
	} else {
		s.log.Info("the ConfigMap that suspends podinit is gone", "name", s.name.String(), "suspendedByFlag", s.byFlag)
	}
}
