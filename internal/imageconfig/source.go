package imageconfig

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/podinit/podinit/api/v1alpha1"
)

// Query asks for the image of one container.
type Query struct {
	Reference Reference
	// Namespace of the Pod, and its imagePullSecrets there.
	Namespace   string
	PullSecrets []string
	// Pod is the one that it is about, so that what holds for all its Queries is found out once; nil for one alone.
	Pod *Pod
	// Fresh asks for what a tag stands for now: imagePullPolicy Always. The answer is never FromStale.
	Fresh bool
	// Architectures of the cluster's nodes, sorted; nil if they are not known, which means all.
	Architectures []string
}

// Pod is what the Queries of one Pod share: its credentials, however many images it has.
type Pod struct {
	// lock is held by the one that finds it out.
	lock  chan struct{}
	value any
	close func()
	// held is by how many it is in use, the one that has made it included.
	held atomic.Int64
}

// NewPod makes a Pod. Close it when no Query of it is made any more; what its lookups still need they keep.
func NewPod() *Pod {
	p := &Pod{lock: make(chan struct{}, 1)}
	p.held.Store(1)
	return p
}

// hold keeps what the Pod has until release is called. A nil Pod has nothing.
func (p *Pod) hold() (release func()) {
	if p == nil {
		return func() {}
	}
	p.held.Add(1)
	return p.Close
}

// Once is what find returns for the first Query that had the time to find it out, for all that come later. What close
// gives back is kept until the Pod is closed, and what goes on for it has ended. While another Query finds it out that is waited for until ctx is done.
func (p *Pod) Once(ctx context.Context, find func() (value any, close func())) (any, error) {
	select {
	case p.lock <- struct{}{}:
		defer func() { <-p.lock }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if p.close != nil {
		return p.value, nil
	}
	value, done := find()
	if err := ctx.Err(); err != nil { // it is not all that there is
		done()
		return nil, err
	}
	p.value, p.close = value, done
	return value, nil
}

// Close gives back what the Pod has kept, once nothing goes on for it.
func (p *Pod) Close() {
	if p.held.Add(-1) == 0 && p.close != nil {
		p.close()
	}
}

// Found is the answer to a Query.
type Found struct {
	Image Image
	// From is where it came from.
	From From
	// Ignored says which credentials could not be used although the Pod names them. None was needed.
	Ignored []error
}

// From is where an answer came from.
type From string

const (
	FromCache    From = "cache"
	FromRegistry From = "registry"
	// FromStale is a cache whose answer about a tag is older than it should be, while the registry does not answer: the
	// tag may have been moved.
	FromStale From = "stale"
)

// Source finds images. It may be used by many at once, and returns soon after ctx is done; every error is a *Failure.
type Source interface {
	// Lookup finds the image, by asking a registry if need be.
	Lookup(context.Context, Query) (Found, error)
	// Known is the image if the Pod's namespace has had it looked up already; registries are not asked.
	Known(context.Context, Query) (Found, bool)
}

// Failure is why an image was not found, or cannot be used.
type Failure struct {
	Reason v1alpha1.Reason
	// Registry that was asked; may be empty.
	Registry string
	// RetryAfter is how long the registry wants to be left alone; 0 if it does not say.
	RetryAfter time.Duration
	// Transient is set where the Pod's author cannot correct it although the Reason by itself says otherwise: the author does
	// not cause a refusal if the Secret could not be read.
	Transient bool
	// Personal is set where another credential may get another answer although the Reason by itself says otherwise: a token
	// server that fails at this one.
	Personal bool
	// Err says what was tried and what came of it. It holds no secret.
	Err error
}

func (f *Failure) Error() string {
	if f.Registry == "" {
		return f.Err.Error()
	}
	return fmt.Sprintf("registry %s: %v", f.Registry, f.Err)
}

func (f *Failure) Unwrap() error { return f.Err }

// Private is an error that the log may have and the client that creates the Pod may not: users that may create Pods need not
// be allowed to know which Secrets there are.
type Private struct{ Err error }

func (p Private) Error() string { return p.Err.Error() }

// Unwrap is the error itself.
func (p Private) Unwrap() error { return p.Err }

// FailureOf is err as a Failure; other errors get ReasonLookupFailed.
func FailureOf(err error) *Failure {
	var f *Failure
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &Failure{Reason: v1alpha1.ReasonLookupTimeout, Err: err}
	}
	return &Failure{Reason: v1alpha1.ReasonLookupFailed, Err: err}
}

// final says whether the registry has answered for good: asking another host, or later, does not help, and what was known
// before holds no longer. Other failures are transient errors.
func (f *Failure) final() bool {
	switch f.Reason {
	case v1alpha1.ReasonLookupTimeout, v1alpha1.ReasonLookupUnreachable, v1alpha1.ReasonLookupTLS, v1alpha1.ReasonLookupPlainHTTP,
		v1alpha1.ReasonLookupRateLimited, v1alpha1.ReasonLookupFailed:
		return false
	}
	return true
}

// personal says whether another credential may get another answer.
func (f *Failure) personal() bool {
	switch f.Reason {
	case v1alpha1.ReasonLookupUnauthorized, v1alpha1.ReasonLookupNotFound, v1alpha1.ReasonLookupRateLimited:
		return true
	}
	return f.Personal
}
