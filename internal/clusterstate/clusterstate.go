// Package clusterstate knows what holds in a cluster for Pods without being in them, and gives it as one inject.Setting: the
// Namespaces and InitProfiles, what nodes can do and hold, what LimitRanges demand, whether nodes can pull the init image, and
// whether podinit is suspended.
//
// All of it is watched. Decisions read it from memory: they wait for no list, and what is not known has a default.
package clusterstate

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/canary"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/inject"
)

// Options of a Watcher.
type Options struct {
	// Cache is where objects are watched; ByObject says what it keeps of them.
	Cache cache.Cache
	// Live reads a Namespace from the apiserver that is too new to be in Cache.
	Live client.Reader
	// Discovery tells the apiserver's version.
	Discovery discovery.ServerVersionInterface
	// Namespace is podinit's own: the canaries are in it, and the ConfigMap that suspends podinit.
	Namespace string
	// InitImage is the reference of the init image, by which canaries are known.
	InitImage string
	// InitImageChanged is called for each architecture whose nodes cannot pull the init image any more, or can again; may be nil.
	InitImageChanged func(ctx context.Context, opening canary.Opening, open bool)
	// Suspended is set where a flag suspends podinit, whether there is a ConfigMap or not.
	Suspended bool
	Log       logr.Logger
}

// Watcher gives the Setting of Pods that the apiserver sends.
type Watcher struct {
	cache      cache.Cache
	profiles   *Profiles
	nodes      *nodes
	limits     *limitRanges
	suspension *Suspension
	canaries   *canary.Watcher
	pods       kind
}

// New makes a Watcher, which knows nothing until it is started.
func New(o Options) *Watcher {
	w := &Watcher{
		cache:      o.Cache,
		profiles:   NewProfiles(o.Cache, o.Live, o.Log.WithName("profile")),
		nodes:      newNodes(o.Discovery, o.Log.WithName("delivery")),
		limits:     newLimitRanges(o.Cache, o.Log.WithName("limitrange")),
		suspension: NewSuspension(o.Cache, o.Namespace, o.Suspended, "pods are admitted unchanged", o.Log.WithName("suspend")),
	}
	w.canaries = canary.NewWatcher(o.InitImage, w.nodes.architecture, o.Log.WithName("canary"))
	w.canaries.Changed = o.InitImageChanged
	w.pods = kind{
		object: &corev1.Pod{}, handler: handle(w.canaries.Set, w.canaries.Remove), name: "pods of podinit's own namespace",
		log: o.Log.WithName("canary"),
	}
	w.canaries.Synced = w.pods.synced
	return w
}

// ByObject restricts the cache of a Watcher to what it looks at. InitProfiles are not named: a cache wants to know the kinds
// that are before it starts, and their CustomResourceDefinition may be missing.
func ByObject(namespace string) map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{
		&corev1.Namespace{}:  {Transform: trimNamespace},
		&corev1.ConfigMap{}:  suspendConfigMap(namespace),
		&corev1.Node{}:       {Transform: trimNode},
		&corev1.LimitRange{}: {Transform: trimLimitRange},
		&corev1.Pod{}:        {Namespaces: map[string]cache.Config{namespace: {}}, Transform: canary.Trim},
	}
}

// NeedLeaderElection is false: every replica serves.
func (*Watcher) NeedLeaderElection() bool { return false }

// Start watches until ctx is done. Nothing waits for it but readiness, and that not for long. A kind that cannot be watched
// keeps no other from being.
func (w *Watcher) Start(ctx context.Context) error {
	w.suspension.logFlag()
	var all sync.WaitGroup
	for _, run := range []func(){
		func() { w.profiles.run(ctx) },
		func() { w.nodes.followVersion(ctx) },
		func() { w.canaries.Run(ctx) },
		func() { watch(ctx, w.cache, &w.nodes.watched, &w.limits.watched, &w.suspension.watched, &w.pods) },
	} {
		all.Go(run)
	}
	all.Wait()
	return nil
}

// Setting is what holds for a Pod that the apiserver has sent.
func (w *Watcher) Setting(ctx context.Context, namespace string, pod *inject.Pod) inject.Setting {
	if w.Suspended() {
		return inject.Setting{Namespace: namespace, Selected: true, Suspended: true}
	}
	setting := w.profiles.admitted(ctx, namespace, pod)
	setting.ImageVolumes, setting.Architectures = w.nodes.imageVolumes(), w.nodes.architectures()
	setting.Unavailable = w.canaries.Unavailable()
	setting.LeastResources = w.limits.least(namespace)
	return setting
}

// Suspended says whether podinit is suspended now. It does no I/O.
func (w *Watcher) Suspended() bool { return w.suspension.Now() }

// Unavailable are the architectures whose nodes cannot pull the init image, sorted; nil if all can, or it is not known. It
// does no I/O. The slice is not to be changed.
func (w *Watcher) Unavailable() []string { return w.canaries.Unavailable() }

// NodesDiffer says whether a node is known to hold another image under a tag than the one with this digest. It does no I/O.
func (w *Watcher) NodesDiffer(ref imageconfig.Reference, digest string) bool {
	return w.nodes.images.Differ(ref, digest)
}

// Ready is a health check: it fails until Namespaces and InitProfiles are known, but not for longer than listTimeout, and not
// where there are no InitProfiles to know.
func (w *Watcher) Ready(r *http.Request) error { return w.profiles.Ready(r) }

// SuspensionReady is a health check. It fails until the ConfigMap has been looked for, so that a replica that starts while
// podinit is suspended wraps nothing; but not for longer than listTimeout.
func (w *Watcher) SuspensionReady(*http.Request) error {
	if w.suspension.known() || w.profiles.overdue() {
		return nil
	}
	return errors.New("waiting to know whether ConfigMap " + v1alpha1.SuspendConfigMap + " suspends podinit")
}
