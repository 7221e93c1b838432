package canary

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
)

const (
	// retryInterval is how often what failed is tried again.
	retryInterval = 5 * time.Second
	// lookInterval is how often the Breaker looks though no Pod has changed: nodes come, or fall silent.
	lookInterval = 5 * time.Second
	// restTime is the least between two looks, however often Pods change.
	restTime = 500 * time.Millisecond
)

// Watcher keeps a Breaker up to date. Until it can read canaries, or where it may not, the Breaker is closed.
type Watcher struct {
	// Cache is where the Pods of podinit's own namespace are watched.
	Cache cache.Cache
	// Image is the reference of the init image.
	Image string
	// Architecture of a node; not known for one whose kubelet is not heard of any more, since its Pods show what was.
	Architecture func(node string) (name string, known bool)
	// Changed is called for each architecture for which the Breaker opens or closes; nil if nobody wants to know.
	Changed func(ctx context.Context, opening Opening, open bool)
	Log     logr.Logger

	mu       sync.Mutex
	canaries map[types.UID]Canary
	informer cache.Informer

	// unavailable is what Unavailable returns.
	unavailable atomic.Pointer[[]string]
	breaker     Breaker
	openings    map[string]Opening
}

// Unavailable are the architectures whose nodes cannot pull the init image, sorted; nil if all can, or it is not known. It
// does no I/O. The slice is not to be changed.
func (w *Watcher) Unavailable() []string {
	if all := w.unavailable.Load(); all != nil {
		return *all
	}
	return nil
}

// NeedLeaderElection is false: every replica decides.
func (w *Watcher) NeedLeaderElection() bool { return false }

// Start watches until ctx is done. Nothing waits for it.
func (w *Watcher) Start(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	for {
		err := w.watch(ctx, changed)
		if err == nil {
			break
		}
		w.Log.Error(err, "not known whether nodes can pull the init image; trying again")
		if !sleep(ctx, retryInterval, nil) {
			return nil
		}
	}
	for {
		wait := lookInterval
		if w.informer.HasSynced() {
			now := time.Now()
			if again := w.look(ctx, now); !again.IsZero() {
				wait = min(wait, again.Sub(now))
			}
		}
		if !sleep(ctx, restTime, nil) || !sleep(ctx, wait-restTime, changed) {
			return nil
		}
	}
}

// sleep waits, or until something comes; false if ctx is done.
func sleep(ctx context.Context, how time.Duration, until <-chan struct{}) bool {
	timer := time.NewTimer(how)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-until:
	}
	return true
}

// watch begins to watch Pods.
func (w *Watcher) watch(ctx context.Context, changed chan<- struct{}) error {
	informer, err := w.Cache.GetInformer(ctx, &corev1.Pod{}, cache.BlockUntilSynced(false))
	if err == nil {
		wake := func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		}
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { w.set(object); wake() },
			UpdateFunc: func(_, object any) { w.set(object); wake() },
			DeleteFunc: func(object any) { w.remove(object); wake() },
		})
	}
	if err != nil {
		return fmt.Errorf("watching pods of podinit's own namespace: %w", err)
	}
	w.informer = informer
	return nil
}

func (w *Watcher) set(object any) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if c, ok := Of(pod, w.Image); ok {
		if w.canaries == nil {
			w.canaries = map[types.UID]Canary{}
		}
		w.canaries[pod.UID] = c
	} else {
		delete(w.canaries, pod.UID)
	}
}

func (w *Watcher) remove(object any) {
	if gone, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	if pod, ok := object.(*corev1.Pod); ok {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.canaries, pod.UID)
	}
}

// look has the Breaker look, and says what has changed.
func (w *Watcher) look(ctx context.Context, now time.Time) (again time.Time) {
	w.mu.Lock()
	all := make([]Canary, 0, len(w.canaries))
	for _, c := range w.canaries {
		all = append(all, c)
	}
	w.mu.Unlock()
	open, again := w.breaker.Look(now, all, w.Architecture)
	openings := make(map[string]Opening, len(open))
	var names []string
	for _, o := range open {
		openings[o.Architecture] = o
		names = append(names, o.Architecture)
	}
	w.unavailable.Store(&names) // first, since telling takes time
	was := w.openings
	w.openings = openings
	for _, name := range names {
		if _, before := was[name]; !before {
			w.tell(ctx, openings[name], true)
		}
	}
	for name, o := range was {
		if _, still := openings[name]; !still {
			w.tell(ctx, o, false)
		}
	}
	return again
}

func (w *Watcher) tell(ctx context.Context, o Opening, open bool) {
	log := w.Log.WithValues("image", w.Image, "architecture", o.Architecture)
	if open {
		log.Info("nodes cannot pull the init image: new pods are left alone", "waiting", o.Waiting, "pulled", o.Pulled, "pod", o.Pod, "node", o.Node, "reason", o.Reason, "message", o.Message)
	} else {
		log.Info("nodes can pull the init image again: new pods are wrapped", "leftAloneSince", o.Since)
	}
	if w.Changed != nil {
		w.Changed(ctx, o, open)
	}
}
