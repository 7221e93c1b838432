package canary

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// lookInterval is how often the Breaker looks though no Pod has changed: nodes come, or fall silent.
	lookInterval = 5 * time.Second
	// restTime is the least between two looks, however often Pods change.
	restTime = 500 * time.Millisecond
)

// Watcher keeps a Breaker up to date. Until it knows the canaries, the Breaker is closed.
type Watcher struct {
	// Changed is called for each architecture for which the Breaker opens or closes; may be nil.
	Changed func(ctx context.Context, opening Opening, open bool)
	// Synced says whether all canaries are known.
	Synced func() bool

	image        string
	architecture func(node string) (name string, known bool)
	log          logr.Logger
	changed      chan struct{}

	mu       sync.Mutex
	canaries map[types.UID]Canary

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

// NewWatcher watches the canaries of an init image. architecture is that of a node; not known for one whose kubelet is not heard
// of any more, since its Pods show what was.
func NewWatcher(image string, architecture func(node string) (name string, known bool), log logr.Logger) *Watcher {
	return &Watcher{image: image, architecture: architecture, log: log, changed: make(chan struct{}, 1), canaries: map[types.UID]Canary{}}
}

// Run looks until ctx is done, whenever a canary has changed and now and then.
func (w *Watcher) Run(ctx context.Context) {
	for {
		wait := lookInterval
		if w.Synced() {
			now := time.Now()
			if again := w.look(ctx, now); !again.IsZero() {
				wait = min(wait, again.Sub(now))
			}
		}
		if !sleep(ctx, restTime, nil) || !sleep(ctx, wait-restTime, w.changed) {
			return
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

// Set takes note of a Pod of podinit's own namespace that is new or has changed.
func (w *Watcher) Set(pod *corev1.Pod) {
	c, ok := Of(pod, w.image)
	w.mu.Lock()
	defer w.mu.Unlock()
	if ok {
		w.canaries[pod.UID] = c
	} else {
		delete(w.canaries, pod.UID)
	}
	w.wake()
}

// Remove takes note of a Pod that is gone.
func (w *Watcher) Remove(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.canaries, pod.UID)
	w.wake()
}

// wake has Run look soon.
func (w *Watcher) wake() {
	select {
	case w.changed <- struct{}{}:
	default: // it will
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
	open, again := w.breaker.Look(now, all, w.architecture)
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
	log := w.log.WithValues("image", w.image, "architecture", o.Architecture)
	if open {
		log.Info("nodes cannot pull the init image: new pods are left alone", "waiting", o.Waiting, "pulled", o.Pulled, "pod", o.Pod, "node", o.Node, "reason", o.Reason, "message", o.Message)
	} else {
		log.Info("nodes can pull the init image again: new pods are wrapped", "leftAloneSince", o.Since)
	}
	if w.Changed != nil {
		w.Changed(ctx, o, open)
	}
}
