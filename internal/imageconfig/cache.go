package imageconfig

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/podinit/podinit/api/v1alpha1"
)

// Registry is where a Cache finds what it does not know.
type Registry interface {
	// Candidates are the ways to get at an image that the Pod's node could take, in the order in which they are to be
	// tried. They are found out one by one, since that may mean reading Secrets. An error stands for a way that is
	// blocked: it is reported and passed by.
	Candidates(context.Context, Query) iter.Seq2[Candidate, error]
}

// Candidate is one way to get at an image: where, and as whom.
type Candidate struct {
	// Host that is asked.
	Host string
	// Key tells where and as whom from every other way; it holds no secret.
	Key string
	// Anonymous is set where anybody could take this way.
	Anonymous bool
	// Repository takes it. It may be used by one goroutine.
	Repository Repository
}

// Repository is a Candidate's repository in its registry, seen with its credential. Errors are best *Failures.
type Repository interface {
	// Digest is what a reference stands for now. An answer proves that the credential may read it.
	Digest(context.Context, Reference) (string, error)
	// Image reads what has this digest, for these architectures or, if there are none, for all.
	Image(ctx context.Context, digest string, architectures []string) (Image, error)
}

// Limits of a Cache.
type Limits struct {
	// Bytes is about how much memory it may take.
	Bytes int
	// Tag is how long a tag is taken to stand for the same digest.
	Tag time.Duration
	// Proof is how long a credential that could read a repository is taken to be able to.
	Proof time.Duration
	// Refused is how long a registry's refusal counts, and Failed how long an accident does.
	Refused, Failed time.Duration
	// Stale is how long an answer may serve while the registry does not answer.
	Stale time.Duration
	// Flight bounds one errand to a registry. Who has sent it need not wait for it.
	Flight time.Duration
	// Flights is how many may be under way.
	Flights int
}

// DefaultLimits hold unless somebody knows better.
//
// A tag that is moved counts two minutes later. Registries bill what is read and not what is asked (Docker Hub counts
// GET of a manifest, not HEAD), so asking is what is done often.
func DefaultLimits() Limits {
	return Limits{
		Bytes: 32 << 20,
		Tag:   2 * time.Minute, Proof: 10 * time.Minute, Refused: 30 * time.Second, Failed: 5 * time.Second,
		Stale: 24 * time.Hour, Flight: 20 * time.Second, Flights: 64,
	}
}

// maxRetryAfter bounds how long a registry may want to be left alone.
const maxRetryAfter = 10 * time.Minute

// Cache is a Source that remembers what a Registry has answered.
//
// A registry is asked once for all who ask with one credential, and an image is read once for all.
//
// It is shared by all tenants, and none learns from it what it could not read itself: an image is given only to who
// has shown, with one of the Pod's own credentials or anonymously, that it may read its repository. An image is known
// by repository and digest, so a digest alone opens nothing.
//
// A lookup never waits longer than its context; what it was waiting for goes on, so that the next Pod is served.
type Cache struct {
	registry Registry
	limits   Limits
	now      func() time.Time

	mu      sync.Mutex
	memory  memory
	flights map[string]*flight // by reference and credential
	reads   map[string]*flight // by digest: of those, who reads it
	slots   chan struct{}
	// hits and misses count what was asked of the memory, by Lookup and by Known.
	hits, misses atomic.Uint64
}

var _ Source = (*Cache)(nil)

// NewCache makes a Cache; now is the clock it goes by.
func NewCache(registry Registry, limits Limits, now func() time.Time) *Cache {
	return &Cache{
		registry: registry, limits: limits, now: now,
		memory: memory{bound: limits.Bytes}, flights: map[string]*flight{}, reads: map[string]*flight{}, slots: make(chan struct{}, limits.Flights),
	}
}

// anybody is the Key under which it is remembered that a repository is open to all.
const anybody = ""

// Known is what is remembered, for who has shown a right to it.
func (c *Cache) Known(ctx context.Context, q Query) (Found, bool) {
	found, ok := c.known(ctx, q)
	c.count(ok)
	return found, ok
}

// count notes whether the memory could answer a question.
func (c *Cache) count(hit bool) {
	if hit {
		c.hits.Add(1)
	} else {
		c.misses.Add(1)
	}
}

func (c *Cache) known(ctx context.Context, q Query) (Found, bool) {
	q.Fresh = false
	if image, ok := c.remembered(q, anybody, false); ok {
		return Found{Image: image, From: FromCache}, true
	}
	if _, ok := c.image(q); !ok {
		return Found{}, false // so no Secret need be read
	}
	for candidate, err := range c.registry.Candidates(ctx, q) {
		if err == nil {
			if image, ok := c.remembered(q, candidate.Key, false); ok {
				return Found{Image: image, From: FromCache}, true
			}
		}
	}
	return Found{}, false
}

// Lookup tries the candidates one after the other until one has an answer.
func (c *Cache) Lookup(ctx context.Context, q Query) (Found, error) {
	found, err := c.lookup(ctx, q)
	c.count(found.From == FromCache)
	return found, err
}

func (c *Cache) lookup(ctx context.Context, q Query) (Found, error) {
	if image, ok := c.remembered(q, anybody, false); ok {
		return Found{Image: image, From: FromCache}, nil
	}
	var ignored []error
	var failures []*Failure
	var dead []string // hosts that another credential would not revive
	for candidate, err := range c.registry.Candidates(ctx, q) {
		if err != nil {
			ignored = append(ignored, err)
			continue
		}
		if slices.Contains(dead, candidate.Host) {
			continue
		}
		image, from, failure := c.ask(ctx, q, candidate)
		if failure == nil {
			return Found{Image: image, From: from, Ignored: ignored}, nil
		}
		failures = append(failures, failure)
		if !failure.personal() {
			dead = append(dead, candidate.Host)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return Found{Ignored: ignored}, summary(failures, ignored)
}

// summary is the failure that says most: one that is no refusal if there is one, since the refusal of the last,
// anonymous way is the rule.
func summary(failures []*Failure, ignored []error) *Failure {
	if len(failures) == 0 {
		if len(ignored) > 0 {
			return FailureOf(ignored[len(ignored)-1])
		}
		return FailureOf(errors.New("nobody knows how to reach the registry"))
	}
	best := failures[0]
	for _, f := range failures {
		if best.Reason == v1alpha1.ReasonLookupUnauthorized && f.Reason != v1alpha1.ReasonLookupUnauthorized {
			best = f
		}
	}
	if len(ignored) == 0 {
		return best
	}
	told := *best
	told.Err = fmt.Errorf("%w; credentials that could not be used: %w", best.Err, errors.Join(ignored...))
	return &told
}

// ask gets an answer by one candidate: from memory, or by waiting for an errand to the registry.
func (c *Cache) ask(ctx context.Context, q Query, candidate Candidate) (Image, From, *Failure) {
	// What is remembered and who is under way is looked at in one go: an errand that ends in between would be sent twice.
	c.mu.Lock()
	if image, ok := c.recall(q, candidate.Key, false); ok {
		c.mu.Unlock()
		return image, FromCache, nil
	}
	var f *flight
	failure := c.failed(q, candidate)
	if failure == nil {
		f = c.flight(q, candidate)
	}
	c.mu.Unlock()
	if f != nil {
		select {
		case <-f.done:
			if f.failure == nil {
				return f.image, FromRegistry, nil
			}
			failure = f.failure
		case <-ctx.Done():
			failure = &Failure{Reason: v1alpha1.ReasonLookupTimeout, Registry: candidate.Host,
				Err: errors.New("no answer within the time that admission has; it is waited for, so the next pod may be served")}
		}
	}
	if !failure.final() {
		if image, ok := c.remembered(q, candidate.Key, true); ok {
			return image, FromStale, nil
		}
	}
	return Image{}, "", failure
}

// flight is one errand to a registry, and everybody who waits for it.
type flight struct {
	done    chan struct{}
	image   Image
	failure *Failure
}

// flight joins an errand that is under way, or sends one. The lock is held.
func (c *Cache) flight(q Query, candidate Candidate) *flight {
	key := keyOf("flight", q.Reference.String(), candidate.Key, architectures(q))
	if f, ok := c.flights[key]; ok {
		return f
	}
	f := &flight{done: make(chan struct{})}
	c.flights[key] = f
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), c.limits.Flight)
		defer cancel()
		f.image, f.failure = c.fly(ctx, q, candidate)
		c.mu.Lock()
		c.remember(q, candidate, f)
		delete(c.flights, key)
		c.mu.Unlock()
		close(f.done)
	}()
	return f
}

// fly asks what the reference stands for and, if that is news, what it runs. A panic on what a registry sends must not
// end the webhook.
func (c *Cache) fly(ctx context.Context, q Query, candidate Candidate) (image Image, failure *Failure) {
	defer func() {
		if p := recover(); p != nil {
			failure = &Failure{Reason: v1alpha1.ReasonLookupFailed, Registry: candidate.Host, Err: fmt.Errorf("a bug in podinit, please report it: panic: %v", p)}
		}
	}()
	fail := func(err error) (Image, *Failure) { return Image{}, failureAt(candidate.Host, err) }
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return fail(fmt.Errorf("too many lookups are under way: %w", ctx.Err()))
	}
	// To read an image, or to be told what a reference stands for, is the proof that the credential may.
	digest, proven := q.Reference.Digest, false
	for {
		if digest != "" {
			kept, r, first := c.join(imageKey(q, digest))
			switch {
			case first:
				return c.read(ctx, q, candidate, digest, r)
			case proven && r == nil:
				return kept, nil
			case proven:
				select {
				case <-r.done:
				case <-ctx.Done():
					return fail(ctx.Err())
				}
				if r.failure == nil || !r.failure.personal() {
					return r.image, r.failure
				}
				continue // with our own credential
			}
		}
		var err error
		if digest, err = candidate.Repository.Digest(ctx, q.Reference); err != nil {
			return fail(err)
		}
		proven = true
	}
}

// join is an image that is kept, or else who reads it, the caller if it is the first.
func (c *Cache) join(key string) (kept Image, r *flight, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.memory.get(key); ok {
		return e.value.(Image), nil, false
	}
	r, underWay := c.reads[key]
	if !underWay {
		r = &flight{done: make(chan struct{})}
		c.reads[key] = r
	}
	return Image{}, r, !underWay
}

// read reads an image, for all who have joined.
func (c *Cache) read(ctx context.Context, q Query, candidate Candidate, digest string, r *flight) (Image, *Failure) {
	r.failure = &Failure{Reason: v1alpha1.ReasonLookupFailed, Registry: candidate.Host, Err: errors.New("reading it has ended in a panic")}
	defer func() {
		key := imageKey(q, digest)
		c.mu.Lock()
		if r.failure == nil {
			c.keep(q, r.image)
		}
		delete(c.reads, key)
		c.mu.Unlock()
		close(r.done)
	}()
	image, err := candidate.Repository.Image(ctx, digest, q.Architectures)
	r.image, r.failure = image, failureAt(candidate.Host, err)
	return r.image, r.failure
}

// keep writes down what a digest stands for. The lock is held.
func (c *Cache) keep(q Query, image Image) {
	c.memory.put(entry{key: imageKey(q, image.Digest), value: image, size: image.size(), at: c.now()})
}

// failureAt is err as a Failure of a registry; nil for none.
func failureAt(host string, err error) *Failure {
	if err == nil {
		return nil
	}
	told := *FailureOf(err)
	if told.Registry == "" {
		told.Registry = host
	}
	return &told
}

// remember writes down what came of an errand. The lock is held.
func (c *Cache) remember(q Query, candidate Candidate, f *flight) {
	tag, proof, failed := tagKey(q), proofKey(q, candidate.Key), failedKey(q, candidate.Key)
	now := c.now()
	if f.failure == nil {
		c.memory.put(entry{key: tag, value: f.image.Digest, size: len(f.image.Digest), at: now})
		c.memory.put(entry{key: proof, at: now})
		if candidate.Anonymous {
			c.memory.put(entry{key: proofKey(q, anybody), at: now})
		}
		c.memory.drop(failed)
		return
	}
	c.memory.put(entry{key: failed, value: f.failure, size: len(f.failure.Error()), at: now})
	switch f.failure.Reason {
	case v1alpha1.ReasonLookupUnauthorized:
		c.memory.drop(proof)
		if candidate.Anonymous {
			c.memory.drop(proofKey(q, anybody))
		}
	case v1alpha1.ReasonLookupNotFound:
		// The right to the repository stays: asking for what there never was takes it from nobody.
		c.memory.drop(tag)
	}
}

// remembered is what a reference stands for, if that is known and the credential behind key has shown that it may know.
func (c *Cache) remembered(q Query, key string, stale bool) (Image, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.recall(q, key, stale)
}

// recall is remembered with the lock held.
func (c *Cache) recall(q Query, key string, stale bool) (Image, bool) {
	now := c.now()
	tag, proof := c.limits.Tag, c.limits.Proof
	if q.Fresh {
		tag = 0
	}
	if stale {
		tag, proof = c.limits.Stale, c.limits.Stale
	}
	if e, ok := c.memory.get(proofKey(q, key)); !ok || now.Sub(e.at) >= proof {
		return Image{}, false
	}
	digest := q.Reference.Digest
	if digest == "" {
		e, ok := c.memory.get(tagKey(q))
		if !ok || now.Sub(e.at) >= tag {
			return Image{}, false
		}
		digest = e.value.(string)
	}
	e, ok := c.memory.get(imageKey(q, digest))
	if !ok {
		return Image{}, false
	}
	return e.value.(Image), true
}

// image is what a reference was last known to stand for, whoever may know it.
func (c *Cache) image(q Query) (Image, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	digest := q.Reference.Digest
	if digest == "" {
		e, ok := c.memory.get(tagKey(q))
		if !ok {
			return Image{}, false
		}
		digest = e.value.(string)
	}
	e, ok := c.memory.get(imageKey(q, digest))
	if !ok {
		return Image{}, false
	}
	return e.value.(Image), true
}

// failed is the last failure, while it counts. The lock is held.
func (c *Cache) failed(q Query, candidate Candidate) *Failure {
	e, ok := c.memory.get(failedKey(q, candidate.Key))
	if !ok {
		return nil
	}
	failure := e.value.(*Failure)
	counts := c.limits.Failed
	if failure.final() {
		counts = c.limits.Refused
	}
	if c.now().Sub(e.at) >= min(max(counts, failure.RetryAfter), maxRetryAfter) {
		return nil
	}
	return failure
}

func imageKey(q Query, digest string) string {
	return keyOf("image", q.Reference.Name(), digest, architectures(q))
}
func tagKey(q Query) string               { return keyOf("tag", q.Reference.String()) }
func proofKey(q Query, key string) string { return keyOf("proof", q.Reference.Name(), key) }
func failedKey(q Query, key string) string {
	return keyOf("failed", q.Reference.String(), key, architectures(q))
}
func architectures(q Query) string { return strings.Join(q.Architectures, ",") }

// keyOf joins words that have no NUL in them.
func keyOf(words ...string) string { return strings.Join(words, "\x00") }
