package clusterstate

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/profile"
	"github.com/podinit/podinit/internal/reason"
)

const (
	// listTimeout is how long readiness waits for the first lists. After that the webhook serves with what it has.
	listTimeout = 10 * time.Second
	// liveTimeout is how long an admission may be held up by reading its namespace from the apiserver.
	liveTimeout = time.Second
)

// Profiles know what the Namespaces and InitProfiles of a cluster say.
//
// They read from the cache only what has been listed: before that, a read would wait for the list, which never comes where
// the CustomResourceDefinition is missing or listing is forbidden.
type Profiles struct {
	cache cache.Cache
	live  client.Reader
	log   logr.Logger

	started              atomic.Pointer[time.Time]
	namespaces, profiles kind

	// complaint keeps an apiserver that does not answer from filling the log.
	complaint rate.Sometimes
}

// NewProfiles watches in that cache. It reads live from the apiserver what is too new to be there.
func NewProfiles(c cache.Cache, live client.Reader, log logr.Logger) *Profiles {
	return &Profiles{
		cache: c, live: live, log: log, complaint: rate.Sometimes{Interval: time.Minute},
		namespaces: kind{object: &corev1.Namespace{}, name: "Namespaces", log: log},
		profiles:   kind{object: &v1alpha1.InitProfile{}, name: "InitProfiles", optional: true, log: log},
	}
}

// ProfilesByObject restricts the cache of Profiles to what they look at.
func ProfilesByObject() map[client.Object]cache.ByObject {
	return map[client.Object]cache.ByObject{&corev1.Namespace{}: {Transform: trimNamespace}}
}

// Start watches until ctx is done. Nothing waits for it but readiness, and that not for long.
func (p *Profiles) Start(ctx context.Context) error {
	p.run(ctx)
	return nil
}

func (p *Profiles) run(ctx context.Context) {
	now := time.Now()
	p.started.Store(&now)
	watch(ctx, p.cache, &p.namespaces, &p.profiles)
}

// NeedLeaderElection is false: every replica serves.
func (*Profiles) NeedLeaderElection() bool { return false }

// overdue says whether readiness has waited long enough.
func (p *Profiles) overdue() bool {
	started := p.started.Load()
	return started != nil && time.Since(*started) > listTimeout
}

// Ready is a health check: it fails until both kinds are known, but not for long, and not where there are no InitProfiles to
// know.
func (p *Profiles) Ready(*http.Request) error {
	if p.Synced() || p.overdue() {
		return nil
	}
	return fmt.Errorf("waiting for the first list of Namespaces (read: %t) and of InitProfiles (read: %t)", p.namespaces.synced(), p.profiles.synced())
}

// Synced says whether all is known that there is to know: the Namespaces, and the InitProfiles if the cluster has any.
func (p *Profiles) Synced() bool {
	return p.namespaces.synced() && (p.profiles.synced() || p.profiles.absent.Load())
}

// admitted is what holds for a Pod that the apiserver has sent.
func (p *Profiles) admitted(ctx context.Context, namespace string, pod *inject.Pod) inject.Setting {
	setting := inject.Setting{Namespace: namespace, Selected: true}
	found, err := p.namespace(ctx, namespace)
	if err != nil {
		p.complaint.Do(func() {
			p.log.Error(err, "reading a namespace; assuming that it names no profile; logged once a minute", "namespace", namespace)
		})
		setting.Ignored = []reason.Ignored{{
			Setting: fmt.Sprintf("annotation %s of namespace %q", v1alpha1.ProfileAnnotation, namespace), Skip: reason.Skip{Reason: v1alpha1.ReasonNamespaceUnread},
		}}
		setting.NamespaceMissing = p.namespaces.synced() // in neither the list nor the apiserver's answer
	}
	return p.of(found, setting, pod)
}

// of is a setting with what a namespace and the profiles say.
func (p *Profiles) of(namespace *corev1.Namespace, setting inject.Setting, pod *inject.Pod) inject.Setting {
	setting.NamespaceInject = namespace.Labels[v1alpha1.Inject]
	var ignored []reason.Ignored
	setting.Profile, ignored = profile.Choose(p, namespace.Annotations[v1alpha1.ProfileAnnotation], pod.Metadata.Annotations[v1alpha1.ProfileAnnotation])
	setting.Ignored = append(setting.Ignored, ignored...)
	return setting
}

// Known is what holds for a Pod of which only its node knows: no apiserver has checked that it has opted in. It comes from
// memory alone. A namespace that is not there is taken to say nothing.
func (p *Profiles) Known(namespace string, pod *inject.Pod) inject.Setting {
	setting := inject.Setting{Namespace: namespace}
	found := &corev1.Namespace{}
	if !p.namespaces.synced() || p.cache.Get(context.Background(), types.NamespacedName{Name: namespace}, found) != nil {
		setting.Ignored = []reason.Ignored{{Setting: fmt.Sprintf("labels and annotations of namespace %q", namespace), Skip: reason.Skip{Reason: v1alpha1.ReasonNamespaceUnread}}}
	}
	return p.of(found, setting, pod)
}

// namespace is the namespace from the cache. It is read from the apiserver where the cache must be behind: it is not
// there, or it is closed there, and of a namespace that is closed the apiserver would not have sent the Pod.
func (p *Profiles) namespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	cached, key := &corev1.Namespace{}, types.NamespacedName{Name: name}
	found := p.namespaces.synced() && p.cache.Get(ctx, key, cached) == nil
	if found && !v1alpha1.Disables(cached.Labels[v1alpha1.Inject]) {
		return cached, nil
	}
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	live := &corev1.Namespace{}
	switch err := p.live.Get(ctx, key, live); {
	case err == nil:
		return live, nil
	case found:
		return cached, nil
	default:
		return cached, fmt.Errorf("getting namespace %q from the apiserver: %w", name, err)
	}
}

// Get is for profile.Choose.
func (p *Profiles) Get(name string) (*v1alpha1.InitProfileSpec, error) {
	if !p.profiles.synced() {
		return nil, profile.ErrUnread
	}
	found := &v1alpha1.InitProfile{}
	// Reading from memory takes no time, so there is no context to obey.
	switch err := p.cache.Get(context.Background(), types.NamespacedName{Name: name}, found); {
	case apierrors.IsNotFound(err):
		return nil, profile.ErrMissing
	case err != nil:
		return nil, fmt.Errorf("%w: %w", profile.ErrUnread, err)
	}
	return &found.Spec, nil
}

// trimNamespace is the cache's transform for Namespaces: it keeps what this package looks at.
func trimNamespace(object any) (any, error) {
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
