package profile

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/inject"
)

const (
	// patience is how long readiness waits for the first lists. After that the webhook serves with what it has.
	patience = 10 * time.Second
	// retry is how often a kind is looked for that the apiserver does not have: a CustomResourceDefinition may come.
	retry = 5 * time.Second
	// liveRead is how long an admission may be held up by reading its namespace from the apiserver.
	liveRead = time.Second
)

// Watcher finds the profile for Pods from the InitProfiles and Namespaces of a cluster.
//
// It reads from the cache only what has been listed: before that, a read would wait for the list, which never comes
// where the CustomResourceDefinition is missing or listing is forbidden.
type Watcher struct {
	cache cache.Cache
	live  client.Reader
	log   logr.Logger

	mu                   sync.Mutex
	started              time.Time
	profiles, namespaces cache.Informer
	// absent is set where the apiserver has no InitProfiles.
	absent bool

	// complaint keeps an apiserver that does not answer from filling the log.
	complaint rate.Sometimes
}

// NewWatcher watches in that cache. It reads live from the apiserver what is too new to be there.
func NewWatcher(c cache.Cache, live client.Reader, log logr.Logger) *Watcher {
	return &Watcher{cache: c, live: live, log: log, complaint: rate.Sometimes{Interval: time.Minute}}
}

// Start watches until ctx is done. Nothing waits for it but readiness, and that not for long.
func (w *Watcher) Start(ctx context.Context) error {
	w.mu.Lock()
	w.started = time.Now()
	w.mu.Unlock()
	for complete := false; !complete; {
		if complete = w.watch(ctx); !complete {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(retry):
			}
		}
	}
	<-ctx.Done()
	return nil
}

// NeedLeaderElection is false: every replica serves.
func (w *Watcher) NeedLeaderElection() bool { return false }

// watch begins to watch what is not watched yet, and says whether that is all. It does not wait for the first list: an
// informer tries again by itself when that fails.
func (w *Watcher) watch(ctx context.Context) (complete bool) {
	namespaces, err := w.cache.GetInformer(ctx, &corev1.Namespace{}, cache.BlockUntilSynced(false))
	if err != nil {
		w.log.Error(err, "watching Namespaces; trying again")
	}
	profiles, profilesErr := w.cache.GetInformer(ctx, &v1alpha1.InitProfile{}, cache.BlockUntilSynced(false))
	absent := meta.IsNoMatchError(profilesErr)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case profilesErr == nil && w.profiles == nil:
		w.log.Info("watching InitProfiles")
	case absent && !w.absent:
		w.log.Info("there are no InitProfiles: their CustomResourceDefinition is not installed; defaults hold until it is")
	case profilesErr != nil && !absent:
		w.log.Error(profilesErr, "watching InitProfiles; trying again")
	}
	w.namespaces, w.profiles, w.absent = namespaces, profiles, absent
	return err == nil && profilesErr == nil
}

// synced says which kinds have been listed.
func (w *Watcher) synced() (namespaces, profiles bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.namespaces != nil && w.namespaces.HasSynced(), w.profiles != nil && w.profiles.HasSynced()
}

// Ready is a health check: it fails until both kinds are known, but not for long, and not where there are no
// InitProfiles to know.
func (w *Watcher) Ready(*http.Request) error {
	namespaces, profiles := w.synced()
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.started.IsZero():
		return errors.New("InitProfiles and Namespaces are not watched yet")
	case time.Since(w.started) > patience, namespaces && (profiles || w.absent):
		return nil
	}
	return fmt.Errorf("waiting for the first list of Namespaces (read: %t) and of InitProfiles (read: %t)", namespaces, profiles)
}

// Setting is what holds for a Pod that the apiserver has sent.
func (w *Watcher) Setting(ctx context.Context, namespace string, pod *inject.Pod) inject.Setting {
	setting := inject.Setting{Namespace: namespace, Selected: true}
	found, err := w.namespace(ctx, namespace)
	if err != nil {
		w.complaint.Do(func() {
			w.log.Error(err, "reading a namespace; it is taken to name no profile; said once a minute", "namespace", namespace)
		})
		setting.Ignored = []inject.Ignored{{
			Wish: fmt.Sprintf("annotation %s of namespace %q", v1alpha1.ProfileAnnotation, namespace), Reason: v1alpha1.ReasonNamespaceUnread,
		}}
		setting.NamespaceMissing, _ = w.synced() // in neither the list nor the apiserver's answer
	}
	setting.NamespaceInject = found.Labels[v1alpha1.Inject]
	var ignored []inject.Ignored
	setting.Profile, ignored = Choose(w, found.Annotations[v1alpha1.ProfileAnnotation], pod.Metadata.Annotations[v1alpha1.ProfileAnnotation])
	setting.Ignored = append(setting.Ignored, ignored...)
	return setting
}

// namespace is the namespace from the cache. It is read from the apiserver where the cache must be behind: it is not
// there, or it is closed there, and of a namespace that is closed the apiserver would not have sent the Pod.
func (w *Watcher) namespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	cached, key := &corev1.Namespace{}, types.NamespacedName{Name: name}
	known, _ := w.synced()
	found := known && w.cache.Get(ctx, key, cached) == nil
	if found && cached.Labels[v1alpha1.Inject] != v1alpha1.InjectDisabled {
		return cached, nil
	}
	ctx, cancel := context.WithTimeout(ctx, liveRead)
	defer cancel()
	live := &corev1.Namespace{}
	switch err := w.live.Get(ctx, key, live); {
	case err == nil:
		return live, nil
	case found:
		return cached, nil
	default:
		return cached, fmt.Errorf("getting namespace %q from the apiserver: %w", name, err)
	}
}

// Get is for Choose.
func (w *Watcher) Get(name string) (*v1alpha1.InitProfileSpec, error) {
	if _, known := w.synced(); !known {
		return nil, ErrUnread
	}
	profile := &v1alpha1.InitProfile{}
	// Reading from memory takes no time, so there is no context to obey.
	switch err := w.cache.Get(context.Background(), types.NamespacedName{Name: name}, profile); {
	case apierrors.IsNotFound(err):
		return nil, ErrMissing
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnread, err)
	}
	return &profile.Spec, nil
}

// Trim is the cache's transform for Namespaces: it keeps what this package looks at.
func Trim(object any) (any, error) {
	n, ok := object.(*corev1.Namespace)
	if !ok {
		return object, nil
	}
	kept := func(m map[string]string, key string) map[string]string {
		if value, ok := m[key]; ok {
			return map[string]string{key: value}
		}
		return nil
	}
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion,
		Labels: kept(n.Labels, v1alpha1.Inject), Annotations: kept(n.Annotations, v1alpha1.ProfileAnnotation),
	}}, nil
}
