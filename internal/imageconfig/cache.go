package imageconfig

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/fair"
)

// Registry is where a Cache finds what it does not know.
type Registry interface {
	// Candidates are the paths to an image that the Pod's node could take, in the order in which they are to be tried. They
	// are found out one by one, since that may mean reading Secrets. An error stands for a path that is blocked: it is
	// reported, and the next one is tried.
	Candidates(context.Context, Query) iter.Seq2[Candidate, error]
}

// Candidate is one path to an image: a host, and a credential.
type Candidate struct {
	// Host that is asked.
	Host string
	// Endpoint is the repository that is asked, with its host: the image's own, or a mirror of it.
	Endpoint string
	// Key tells endpoint and credential from those of every other path; it holds no secret. Pods that have the credential
	// have the key, in whatever namespace, and no others have it.
	Key string
	// Anonymous is set where the path takes no credential.
	Anonymous bool
	// Repository is asked on this path. It may be used by one goroutine.
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
	// Proof is how long a credential that could read a digest is taken to be able to.
	Proof time.Duration
	// Refused is how long a registry's refusal counts, and Failed how long a transient error does.
	Refused, Failed time.Duration
	// Stale is how long an answer about a tag may serve while the registry does not answer, and StaleDigest one about a
	// digest, which cannot become wrong: only the right to it may have ended meanwhile.
	Stale, StaleDigest time.Duration
	// RequestTimeout bounds one request to a registry. The lookup that has sent it need not wait for it.
	RequestTimeout time.Duration
	// MaxRequests is how many may be in flight. The Pods of one namespace have at most half of them, and less where other
	// namespaces want some too.
	MaxRequests int
}

// DefaultLimits hold unless flags set others.
//
// A tag that was moved while its registry is down runs what it stood for before, at most for Stale: a registry that
// restarts, or limits its rate for a while, is back by then. A tag that is moved counts two minutes later. Registries
// bill what is read and not what is asked (Docker Hub counts GET of a manifest, not HEAD), so asking is what is done
// often.
func DefaultLimits() Limits {
	return Limits{
		Bytes: 32 << 20,
		Tag:   2 * time.Minute, Proof: 10 * time.Minute, Refused: 30 * time.Second, Failed: 5 * time.Second,
		Stale: 10 * time.Minute, StaleDigest: 24 * time.Hour, RequestTimeout: 20 * time.Second, MaxRequests: 128,
	}
}

// patience is how long an image is waited for that another namespace reads.
const patience = time.Second

// maxRetryAfter bounds how long a registry may want to be left alone.
const maxRetryAfter = 10 * time.Minute

// Cache is a Source that remembers what a Registry has answered.
//
// It is shared by all tenants, and none learns from it what it could not read itself:
//
//   - What a reference stands for is remembered for the path by which it was answered, endpoint and credential, and given
//     to no other. Registries answer by user, and a mirror that every user may read says nothing about the registry.
//   - An image is known by endpoint and digest. It is given to paths on which this endpoint has answered that a reference
//     stands for the digest, or has sent the image: a digest alone opens nothing.
//   - What a refusal or an error says, and that there was one, is for the namespace that has met it. Until a namespace has
//     shown that it may read an image, nothing that others do with it changes what is asked for it, or how soon.
//
// Credentials that may read an image share what it costs: a tag is asked for once for each credential, and the image is
// read once for each endpoint.
//
// A lookup never waits longer than its context; what it was waiting for goes on, and what would come after that if it
// fails, so that the next Pod is served.
type Cache struct {
	registry Registry
	limits   Limits
	now      func() time.Time

	mu     sync.Mutex
	memory memory
	// What is remembered: images, what references stand for (digests), why lookups have failed, hosts that hang, and which
	// path Pods take to an image.
	images   entries[imageKey, Image]
	digests  entries[answerKey, string]
	failures entries[lookupKey, *Failure]
	hanging  entries[hostKey, struct{}]
	paths    entries[podsKey, path]

	requests map[lookupKey]*request
	reads    map[imageKey]*request // of those, the ones that read an image
	slots    *fair.Pool            // by namespace
	begun    int64                 // counts requests
	// hits and misses count what was asked of the memory, by Lookup and by Known.
	hits, misses atomic.Uint64
}

var _ Source = (*Cache)(nil)

// NewCache makes a Cache; now is the clock it goes by.
func NewCache(registry Registry, limits Limits, now func() time.Time) *Cache {
	c := &Cache{
		registry: registry, limits: limits, now: now,
		memory: memory{bound: limits.Bytes}, requests: map[lookupKey]*request{}, reads: map[imageKey]*request{}, slots: fair.New(int64(limits.MaxRequests)),
	}
	c.images = newEntries[imageKey, Image](&c.memory)
	c.digests = newEntries[answerKey, string](&c.memory)
	c.failures = newEntries[lookupKey, *Failure](&c.memory)
	c.hanging = newEntries[hostKey, struct{}](&c.memory)
	c.paths = newEntries[podsKey, path](&c.memory)
	return c
}

// Known is the answer that a Pod of the same namespace, with the same imagePullSecrets, got a short while ago. Answers to
// others make no difference, so a Pod's patch does not show which others run its image.
func (c *Cache) Known(ctx context.Context, q Query) (Found, bool) {
	q.Fresh = false
	image, ok := c.known(ctx, q)
	c.count(ok)
	if !ok {
		return Found{}, false
	}
	return Found{Image: image, From: FromCache}, true
}

func (c *Cache) known(ctx context.Context, q Query) (Image, bool) {
	c.mu.Lock()
	by, ok := c.taken(q, q.Reference.String())
	c.mu.Unlock()
	if !ok {
		return Image{}, false // so no Secret need be read
	}
	if by.open {
		return c.remembered(q)
	}
	for candidate, err := range c.registry.Candidates(ctx, q) {
		if ctx.Err() != nil {
			break
		}
		if err == nil && candidate.Key == by.key { // the Pod still has the credential
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.recall(q, q.Reference.String(), by, false)
		}
	}
	return Image{}, false
}

// count notes whether the memory could answer a question.
func (c *Cache) count(hit bool) {
	if hit {
		c.hits.Add(1)
	} else {
		c.misses.Add(1)
	}
}

// Lookup is what the first of the candidates that has an answer says; chain tells which that is where a host is silent.
// Once ctx is done no lookup is begun.
func (c *Cache) Lookup(ctx context.Context, q Query) (Found, error) {
	found, err := c.lookup(ctx, q)
	c.count(found.From == FromCache)
	return found, err
}

func (c *Cache) lookup(ctx context.Context, q Query) (Found, error) {
	if image, ok := c.remembered(q); ok {
		return Found{Image: image, From: FromCache}, nil
	}
	if ctx.Err() != nil {
		return Found{}, noTime(ErrNoTime)
	}
	return c.newChain(ctx, q).answer(ctx)
}

// ask gets an answer by one candidate: from memory, or else a request that is to be waited for, or why neither.
func (c *Cache) ask(q Query, candidate Candidate) (Image, *request, *Failure) {
	// The memory and the requests in flight are looked at in one go: a request that ends in between would be sent twice.
	c.mu.Lock()
	defer c.mu.Unlock()
	if image, ok := c.recall(q, q.Reference.String(), candidate.path(), false); ok {
		return image, nil, nil
	}
	if failure := c.failed(q, candidate); failure != nil {
		return Image{}, nil, failure
	}
	return Image{}, c.request(q, candidate), nil
}

// request is one request to a registry, which all lookups of its lookupKey wait for.
type request struct {
	done    chan struct{}
	image   Image
	failure *Failure
	pace    *pace
	// sent is set once it is in flight, followed if a chain goes on when it has ended, whether a Pod waits or not, and
	// waiting is how many lookups wait for a slot to send it with. The Cache's lock guards them.
	sent, followed bool
	waiting        int
}

// request joins a request of the namespace that is in flight or waited for, or begins one. The lock is held.
func (c *Cache) request(q Query, candidate Candidate) *request {
	key := lookupKeyOf(q, candidate)
	f, ok := c.requests[key]
	if !ok {
		c.begun++
		f = &request{done: make(chan struct{}), pace: newPace(c.begun)}
		c.requests[key] = f
	}
	if !f.sent && c.slots.TryAcquire(q.Namespace, 1) {
		c.send(q, candidate, f)
	}
	if !f.sent {
		f.waiting++
	}
	return f
}

// send sends a request, for which a slot of the namespace is taken, and which goes on when no lookup waits for it any
// more. The lock is held.
func (c *Cache) send(q Query, candidate Candidate, f *request) {
	f.sent = true
	f.pace.unqueue()
	go func() {
		ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), paceKey{}, f.pace), c.limits.RequestTimeout)
		defer cancel()
		f.image, f.failure = c.resolve(ctx, q, candidate)
		c.slots.Release(q.Namespace, 1)
		c.mu.Lock()
		c.remember(q, candidate, f)
		delete(c.requests, lookupKeyOf(q, candidate))
		c.mu.Unlock()
		close(f.done)
	}()
}

// wait waits for a request until atMost is done, and until ctx is for a slot to send it with. Every lookup that waits does
// so for itself, and one that gives up costs the others nothing. It returns why there is no answer, nil if there is one.
func (c *Cache) wait(ctx, atMost context.Context, q Query, candidate Candidate, f *request) *Failure {
	f.pace.waits(ctx, c.limits.RequestTimeout)
	c.mu.Lock()
	sent := f.sent
	c.mu.Unlock()
	if !sent {
		turn := c.slots.Wait(q.Namespace, 1)
		select {
		case <-f.done:
		case <-turn.Ready():
		case <-ctx.Done():
		case <-atMost.Done():
		}
		c.mu.Lock()
		f.waiting--
		if sent = f.sent; !sent && ctx.Err() == nil && atMost.Err() == nil {
			c.send(q, candidate, f) // with the slot of this turn
			sent = true
		} else {
			turn.Leave()
			if !sent && f.waiting == 0 {
				delete(c.requests, lookupKeyOf(q, candidate))
			}
		}
		c.mu.Unlock()
		if !sent {
			return noTime(errTooMany)
		}
	}
	select {
	case <-f.done:
		return f.failure
	case <-atMost.Done():
		return noTime(errNotInTime)
	}
}

var (
	// ErrNoTime is why nothing was begun.
	ErrNoTime  = errors.New("the time for admission was used up")
	errTooMany = errors.New("too many lookups of this namespace are in flight")

	errNotInTime = errors.New("the registry has not answered before admission timed out; podinit still waits for the answer, so the next pod may be wrapped")
)

// noTime is a lookup that was not made in time.
func noTime(err error) *Failure {
	return &Failure{Reason: v1alpha1.ReasonLookupTimeout, Err: err}
}

// bug is a panic at a registry.
func bug(host string, panicked any) *Failure {
	return &Failure{Reason: v1alpha1.ReasonLookupFailed, Registry: host, Err: fmt.Errorf("a bug in podinit, please report it: panic: %v", panicked)}
}

// resolve asks what the reference stands for and, if that is news, what it runs. A panic on what a registry sends must not
// end the webhook.
func (c *Cache) resolve(ctx context.Context, q Query, candidate Candidate) (image Image, failure *Failure) {
	defer func() {
		if p := recover(); p != nil {
			failure = bug(candidate.Host, p)
		}
	}()
	fail := func(err error) (Image, *Failure) { return Image{}, failureAt(candidate.Host, err) }
	// To read an image, or to learn what a reference stands for, is the proof that the credential may. Which of both is done
	// depends on earlier answers on this path, and not on whether others have the image.
	digest := q.Reference.Digest
	at, answered := c.answered(q, candidate)
	switch {
	case digest != "" && !answered:
		return c.readAlone(ctx, q, candidate, digest)
	case digest == "" || c.now().Sub(at) >= c.limits.Proof:
		var err error
		if digest, err = candidate.Repository.Digest(ctx, q.Reference); err != nil {
			return fail(err)
		}
	}
	for {
		kept, r, first := c.join(imageKeyOf(q, candidate.Endpoint, digest))
		switch {
		case first:
			return c.read(ctx, q, candidate, digest, r)
		case r == nil:
			return kept, nil
		}
		select {
		case <-r.done:
			if r.failure == nil {
				return r.image, nil
			}
			// Why another request could not read it is for that one. This one tries itself.
		case <-time.After(patience):
			// The other namespace's slots may be taken by its other requests. Ours need not be.
			return c.readAlone(ctx, q, candidate, digest)
		case <-ctx.Done():
			return fail(ctx.Err())
		}
	}
}

// answered is when it was last answered on this path what the reference stands for, if it ever was.
func (c *Cache) answered(q Query, candidate Candidate) (at time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, at, ok = c.digests.get(answerKey{q.Reference.String(), candidate.Key})
	return at, ok
}

// join is an image that is kept, or else the request that reads it, the caller's own if it is the first.
func (c *Cache) join(key imageKey) (kept Image, r *request, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if image, _, ok := c.images.get(key); ok {
		return image, nil, false
	}
	r, underWay := c.reads[key]
	if !underWay {
		r = &request{done: make(chan struct{})}
		c.reads[key] = r
	}
	return Image{}, r, !underWay
}

// read reads an image, for all requests that have joined with a proof of their own.
func (c *Cache) read(ctx context.Context, q Query, candidate Candidate, digest string, r *request) (Image, *Failure) {
	r.failure = &Failure{Reason: v1alpha1.ReasonLookupFailed, Registry: candidate.Host, Err: errors.New("reading it has ended in a panic")}
	defer func() {
		key := imageKeyOf(q, candidate.Endpoint, digest)
		c.mu.Lock()
		if r.failure == nil {
			c.keep(q, candidate, r.image)
		}
		delete(c.reads, key)
		c.mu.Unlock()
		close(r.done)
	}()
	image, err := candidate.Repository.Image(ctx, digest, q.Architectures)
	r.image, r.failure = image, failureAt(candidate.Host, err)
	return r.image, r.failure
}

// readAlone reads an image for one request that waits for no other, nor others for it.
func (c *Cache) readAlone(ctx context.Context, q Query, candidate Candidate, digest string) (Image, *Failure) {
	image, err := candidate.Repository.Image(ctx, digest, q.Architectures)
	if err != nil {
		return Image{}, failureAt(candidate.Host, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(q, candidate, image)
	return image, nil
}

// keep writes down what a digest stands for. The lock is held.
func (c *Cache) keep(q Query, candidate Candidate, image Image) {
	c.images.put(imageKeyOf(q, candidate.Endpoint, image.Digest), image, image.size(), c.now())
}

// path is by which endpoint and credential an answer was got, and whether it takes no credential.
type path struct {
	endpoint, key string
	open          bool
}

func (c Candidate) path() path { return path{c.Endpoint, c.Key, c.Anonymous} }

// introduce writes down which path the Pods of a namespace take to an image. If it is open to every user, the next Pod
// needs neither its Secrets nor the paths before this one.
func (c *Cache) introduce(q Query, candidate Candidate) {
	key, ok := podsKeyOf(q, q.Reference.String())
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paths.put(key, candidate.path(), len(candidate.Endpoint)+len(candidate.Key), c.now())
}

// failureAt is err as a Failure of a registry; nil for none.
func failureAt(host string, err error) *Failure {
	if err == nil {
		return nil
	}
	failure := *FailureOf(err)
	if failure.Registry == "" {
		failure.Registry = host
	}
	return &failure
}

// remember writes down what came of a request. The lock is held.
func (c *Cache) remember(q Query, candidate Candidate, f *request) {
	answer, failed, host := answerKey{q.Reference.String(), candidate.Key}, lookupKeyOf(q, candidate), hostKey{q.Namespace, candidate.Host}
	now := c.now()
	if f.failure != nil && f.failure.Reason == v1alpha1.ReasonLookupTimeout && f.pace.silent(time.Now()) >= silentAfter { // not for want of a slot
		c.hanging.put(host, struct{}{}, 0, now)
	} else {
		c.hanging.drop(host)
	}
	if f.failure == nil {
		digest := f.image.Digest
		c.digests.put(answer, digest, len(digest), now)
		if !q.Reference.Pinned() { // what the Pod may be pinned to
			c.digests.put(answerKey{q.Reference.Name() + "@" + digest, candidate.Key}, digest, len(digest), now)
		}
		c.failures.drop(failed)
		return
	}
	c.failures.put(failed, f.failure, len(f.failure.Error()), now)
	switch f.failure.Reason {
	case v1alpha1.ReasonLookupUnauthorized, v1alpha1.ReasonLookupNotFound:
		// Other references stay: asking for what there never was takes nothing from lookups of what there is.
		if digest, _, ok := c.digests.get(answer); ok && f.failure.Reason == v1alpha1.ReasonLookupUnauthorized {
			c.digests.drop(answerKey{q.Reference.Name() + "@" + digest, candidate.Key})
		}
		c.digests.drop(answer)
	}
}

// remembered is what a reference stands for, if Pods of this namespace with the same imagePullSecrets take a path to it
// that is open to every user.
func (c *Cache) remembered(q Query) (Image, bool) {
	reference := q.Reference.String()
	c.mu.Lock()
	defer c.mu.Unlock()
	if by, ok := c.taken(q, reference); ok && by.open {
		return c.recall(q, reference, by, false)
	}
	return Image{}, false
}

// taken is the path that a Pod of this namespace with the same imagePullSecrets has taken lately. The lock is held.
func (c *Cache) taken(q Query, reference string) (path, bool) {
	key, ok := podsKeyOf(q, reference)
	if !ok {
		return path{}, false
	}
	by, at, ok := c.paths.get(key)
	if !ok || c.now().Sub(at) >= c.limits.Tag {
		return path{}, false
	}
	return by, true
}

// stale is what was answered too long ago on the first of these paths, or has just been asked for there without success. It
// is never an answer about a tag of which the answer of now is wanted. What is known of a digest is as good as ever.
func (c *Cache) stale(q Query, by []path) (Image, From, bool) {
	from := FromStale
	switch {
	case q.Reference.Pinned():
		from = FromCache
	case q.Fresh:
		return Image{}, "", false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range by {
		if image, ok := c.recall(q, q.Reference.String(), p, true); ok {
			return image, from, true
		}
	}
	return Image{}, "", false
}

// recall is what q's reference stands for, if it was answered on this path, and not too long ago. The lock is held.
func (c *Cache) recall(q Query, reference string, by path, stale bool) (Image, bool) {
	counts := c.limits.Tag
	switch {
	case stale && q.Reference.Pinned():
		counts = c.limits.StaleDigest
	case stale:
		counts = c.limits.Stale
	case q.Reference.Pinned():
		counts = c.limits.Proof
	case q.Fresh:
		counts = 0
	}
	digest, at, ok := c.digests.get(answerKey{reference, by.key})
	if !ok || c.now().Sub(at) >= counts {
		return Image{}, false
	}
	image, _, ok := c.images.get(imageKeyOf(q, by.endpoint, digest))
	return image, ok
}

// failed is the last failure, while it counts. The lock is held.
func (c *Cache) failed(q Query, candidate Candidate) *Failure {
	failure, at, ok := c.failures.get(lookupKeyOf(q, candidate))
	if !ok {
		return nil
	}
	counts := c.limits.Failed
	if failure.final() {
		counts = c.limits.Refused
	}
	if c.now().Sub(at) >= min(max(counts, failure.RetryAfter), maxRetryAfter) {
		return nil
	}
	return failure
}

// hung says whether a host has lately let a lookup of the namespace end without an answer.
func (c *Cache) hung(q Query, candidate Candidate) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, at, ok := c.hanging.get(hostKey{q.Namespace, candidate.Host})
	return ok && c.now().Sub(at) < hungTime
}
