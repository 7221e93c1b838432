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
	"github.com/podinit/podinit/internal/fair"
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
	// Endpoint is the repository that is asked, with its host: the image's own, or a mirror of it.
	Endpoint string
	// Key tells endpoint and credential from every other way; it holds no secret. Whoever has the credential has the key,
	// in whatever namespace, and nobody else has.
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
	// Proof is how long a credential that could read a digest is taken to be able to.
	Proof time.Duration
	// Refused is how long a registry's refusal counts, and Failed how long an accident does.
	Refused, Failed time.Duration
	// Stale is how long an answer may serve while the registry does not answer.
	Stale time.Duration
	// Flight bounds one errand to a registry. Who has sent it need not wait for it.
	Flight time.Duration
	// Flights is how many may be under way. The Pods of one namespace have at most half of them, and less where other
	// namespaces want some too.
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
		Stale: 24 * time.Hour, Flight: 20 * time.Second, Flights: 128,
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
//   - What a reference stands for is remembered for the way by which it was answered, endpoint and credential, and given
//     to nobody else. Registries answer by user, and a mirror that anybody may read says nothing about the registry.
//   - An image is known by endpoint and digest. It is given to those whom this endpoint has told what the digest is of,
//     or who have read it there: a digest alone opens nothing.
//   - What a refusal or an error says, and that there was one, is for the namespace that has met it. Until a namespace has
//     shown that it may read an image, nothing that others do with it changes what is asked for it, or how soon.
//
// Those who may read an image share what it costs: a tag is asked for once for each credential, and the image is read
// once for each endpoint.
//
// A lookup never waits longer than its context; what it was waiting for goes on, so that the next Pod is served.
type Cache struct {
	registry Registry
	limits   Limits
	now      func() time.Time

	mu      sync.Mutex
	memory  memory
	flights map[string]*flight // by namespace, way and reference
	reads   map[string]*flight // by endpoint and digest: of those, who reads it
	slots   *fair.Pool         // by namespace
	// hits and misses count what was asked of the memory, by Lookup and by Known.
	hits, misses atomic.Uint64
}

var _ Source = (*Cache)(nil)

// NewCache makes a Cache; now is the clock it goes by.
func NewCache(registry Registry, limits Limits, now func() time.Time) *Cache {
	return &Cache{
		registry: registry, limits: limits, now: now,
		memory: memory{bound: limits.Bytes}, flights: map[string]*flight{}, reads: map[string]*flight{}, slots: fair.New(int64(limits.Flights)),
	}
}

// Known is what a Pod of the same namespace, with the same imagePullSecrets, was told a short while ago. What others
// were told makes no difference, so a Pod's patch does not show who else runs its image.
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

// Lookup tries the candidates one after the other until one has an answer. Once ctx is done nothing is begun.
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
	var ignored []error
	var failures []*Failure
	var dead []string // hosts that another credential would not revive
	for candidate, err := range c.registry.Candidates(ctx, q) {
		if err != nil {
			ignored = append(ignored, err)
			continue
		}
		if ctx.Err() != nil {
			failures = append(failures, noTime(ErrNoTime))
			break
		}
		if slices.Contains(dead, candidate.Host) {
			continue
		}
		image, from, failure := c.ask(ctx, q, candidate)
		if failure == nil {
			if from != FromStale && !perhapsAnother(failures, ignored) {
				c.introduce(q, candidate)
			}
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

// perhapsAnother says whether one of the ways that were tried in vain may yet work, and then be the one that counts.
func perhapsAnother(failures []*Failure, ignored []error) bool {
	return slices.ContainsFunc(failures, func(f *Failure) bool { return !f.final() }) ||
		slices.ContainsFunc(ignored, func(err error) bool {
			var f *Failure
			return errors.As(err, &f) && f.Transient
		})
}

// summary is the failure that says most: a transient one if there is one, since what was not answered might have been the
// image, and a refusal only if there is nothing else, since the refusal of the last, anonymous way is the rule. It is
// transient itself if a credential could not be used for a reason that is not the author's.
func summary(failures []*Failure, ignored []error) *Failure {
	var open []error // what may be shown
	for _, err := range ignored {
		if private := (Private{}); !errors.As(err, &private) {
			open = append(open, err)
		}
	}
	if len(failures) == 0 {
		if len(open) > 0 {
			return FailureOf(open[len(open)-1])
		}
		return FailureOf(errors.New("nobody knows how to reach the registry"))
	}
	rank := func(f *Failure) int {
		switch {
		case !f.final():
			return 2
		case f.Reason != v1alpha1.ReasonLookupUnauthorized:
			return 1
		}
		return 0
	}
	best := failures[0]
	for _, f := range failures[1:] {
		if rank(f) > rank(best) {
			best = f
		}
	}
	told := *best
	if len(open) > 0 {
		told.Err = fmt.Errorf("%w; credentials that could not be used: %w", best.Err, errors.Join(open...))
	}
	for _, err := range ignored {
		var f *Failure
		told.Transient = told.Transient || errors.As(err, &f) && f.Transient
	}
	return &told
}

// ask gets an answer by one candidate: from memory, or by waiting for an errand to the registry.
func (c *Cache) ask(ctx context.Context, q Query, candidate Candidate) (Image, From, *Failure) {
	// What is remembered and who is under way is looked at in one go: an errand that ends in between would be sent twice.
	c.mu.Lock()
	if image, ok := c.recall(q, q.Reference.String(), candidate.way(), false); ok {
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
		if failure = c.wait(ctx, q, candidate, f); failure == nil {
			return f.image, FromRegistry, nil
		}
	}
	if !failure.final() {
		c.mu.Lock()
		image, ok := c.recall(q, q.Reference.String(), candidate.way(), true)
		c.mu.Unlock()
		if ok {
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
	// sent is set once it is under way, and waiting is how many wait for a slot to send it with. The Cache's lock guards
	// both.
	sent    bool
	waiting int
}

// flight joins an errand of the namespace that is under way or waited for, or begins one. The lock is held.
func (c *Cache) flight(q Query, candidate Candidate) *flight {
	key := flightKey(q, candidate)
	f, ok := c.flights[key]
	if !ok {
		f = &flight{done: make(chan struct{})}
		c.flights[key] = f
	}
	if !f.sent && c.slots.TryAcquire(q.Namespace, 1) {
		c.send(q, candidate, f)
	}
	if !f.sent {
		f.waiting++
	}
	return f
}

// send sends an errand, for which a slot of the namespace is taken, and which goes on when nobody waits for it any more.
// The lock is held.
func (c *Cache) send(q Query, candidate Candidate, f *flight) {
	f.sent = true
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), c.limits.Flight)
		defer cancel()
		f.image, f.failure = c.fly(ctx, q, candidate)
		c.slots.Release(q.Namespace, 1)
		c.mu.Lock()
		c.remember(q, candidate, f)
		delete(c.flights, flightKey(q, candidate))
		c.mu.Unlock()
		close(f.done)
	}()
}

// wait waits for an errand, and until it is sent for a slot to send it with: everybody who waits, so that the one who
// gives up costs the others nothing. It returns why there is no answer, nil if there is one.
func (c *Cache) wait(ctx context.Context, q Query, candidate Candidate, f *flight) *Failure {
	c.mu.Lock()
	sent := f.sent
	c.mu.Unlock()
	if !sent {
		turn := c.slots.Wait(q.Namespace, 1)
		select {
		case <-f.done:
		case <-turn.Ready():
		case <-ctx.Done():
		}
		c.mu.Lock()
		f.waiting--
		if sent = f.sent; !sent && ctx.Err() == nil {
			c.send(q, candidate, f) // with the slot of this turn
			sent = true
		} else {
			turn.Leave()
			if !sent && f.waiting == 0 {
				delete(c.flights, flightKey(q, candidate))
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
	case <-ctx.Done():
		failure := noTime(errors.New("no answer within the time that admission has; it is waited for, so the next pod may be served"))
		failure.Registry = candidate.Host
		return failure
	}
}

var (
	// ErrNoTime is why nothing was begun.
	ErrNoTime  = errors.New("admission had no time left for it")
	errTooMany = errors.New("too many lookups of this namespace are under way")
)

// noTime is a lookup that was not made in time.
func noTime(err error) *Failure {
	return &Failure{Reason: v1alpha1.ReasonLookupTimeout, Err: err}
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
	// To read an image, or to be told what a reference stands for, is the proof that the credential may. Which of both is
	// done depends on what this way was told before, and not on whether others have the image.
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
		kept, r, first := c.join(imageKey(q, candidate.Endpoint, digest))
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
			// Why another could not read it is for that one. We try ourselves.
		case <-time.After(patience):
			// Another's slots may be taken by what he has begun besides. Ours need not be.
			return c.readAlone(ctx, q, candidate, digest)
		case <-ctx.Done():
			return fail(ctx.Err())
		}
	}
}

// answered is when this way was told what the reference stands for, if it ever was.
func (c *Cache) answered(q Query, candidate Candidate) (at time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.memory.get(answerKey(q.Reference.String(), candidate.Key))
	return e.at, ok
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

// read reads an image, for all who have joined with a proof of their own.
func (c *Cache) read(ctx context.Context, q Query, candidate Candidate, digest string, r *flight) (Image, *Failure) {
	r.failure = &Failure{Reason: v1alpha1.ReasonLookupFailed, Registry: candidate.Host, Err: errors.New("reading it has ended in a panic")}
	defer func() {
		key := imageKey(q, candidate.Endpoint, digest)
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

// readAlone reads an image for one who does not wait for others, nor others for him.
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
	c.memory.put(entry{key: imageKey(q, candidate.Endpoint, image.Digest), value: image, size: image.size(), at: c.now()})
}

// way is by which endpoint and credential an answer was got, and whether it takes no credential.
type way struct {
	endpoint, key string
	open          bool
}

func (c Candidate) way() way { return way{c.Endpoint, c.Key, c.Anonymous} }

// introduce writes down which way the Pods of a namespace take to an image. If it is open to anybody, the next Pod needs
// neither its Secrets nor the ways before this one.
func (c *Cache) introduce(q Query, candidate Candidate) {
	key, ok := askerKey(q, q.Reference.String())
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.memory.put(entry{key: key, value: candidate.way(), size: len(candidate.Endpoint) + len(candidate.Key), at: c.now()})
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
	answer, failed := answerKey(q.Reference.String(), candidate.Key), failedKey(q, candidate.Key)
	now := c.now()
	if f.failure == nil {
		digest := f.image.Digest
		c.memory.put(entry{key: answer, value: digest, size: len(digest), at: now})
		if !q.Reference.Pinned() { // what the Pod may be pinned to
			c.memory.put(entry{key: answerKey(q.Reference.Name()+"@"+digest, candidate.Key), value: digest, size: len(digest), at: now})
		}
		c.memory.drop(failed)
		return
	}
	c.memory.put(entry{key: failed, value: f.failure, size: len(f.failure.Error()), at: now})
	switch f.failure.Reason {
	case v1alpha1.ReasonLookupUnauthorized, v1alpha1.ReasonLookupNotFound:
		// Other references stay: asking for what there never was takes nothing from those who ask for what there is.
		if e, ok := c.memory.get(answer); ok && f.failure.Reason == v1alpha1.ReasonLookupUnauthorized {
			c.memory.drop(answerKey(q.Reference.Name()+"@"+e.value.(string), candidate.Key))
		}
		c.memory.drop(answer)
	}
}

// remembered is what a reference stands for, if Pods of this namespace with the same imagePullSecrets take a way to it
// that is open to anybody.
func (c *Cache) remembered(q Query) (Image, bool) {
	reference := q.Reference.String()
	c.mu.Lock()
	defer c.mu.Unlock()
	if by, ok := c.taken(q, reference); ok && by.open {
		return c.recall(q, reference, by, false)
	}
	return Image{}, false
}

// taken is the way that a Pod of this namespace with the same imagePullSecrets has taken lately. The lock is held.
func (c *Cache) taken(q Query, reference string) (way, bool) {
	key, ok := askerKey(q, reference)
	if !ok {
		return way{}, false
	}
	e, ok := c.memory.get(key)
	if !ok || c.now().Sub(e.at) >= c.limits.Tag {
		return way{}, false
	}
	return e.value.(way), true
}

// recall is what q's reference stands for, if this way was told it, and not too long ago. The lock is held.
func (c *Cache) recall(q Query, reference string, by way, stale bool) (Image, bool) {
	counts := c.limits.Tag
	switch {
	case stale:
		counts = c.limits.Stale
	case q.Reference.Pinned():
		counts = c.limits.Proof
	case q.Fresh:
		counts = 0
	}
	e, ok := c.memory.get(answerKey(reference, by.key))
	if !ok || c.now().Sub(e.at) >= counts {
		return Image{}, false
	}
	if e, ok = c.memory.get(imageKey(q, by.endpoint, e.value.(string))); !ok {
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

func imageKey(q Query, endpoint, digest string) string {
	return keyOf("image", endpoint, digest, architectures(q))
}

func answerKey(reference, key string) string { return keyOf("answer", reference, key) }

func failedKey(q Query, key string) string {
	return keyOf("failed", q.Namespace, q.Reference.String(), key, architectures(q))
}

// maxSecretNames bounds what the names of imagePullSecrets may take in a key, in bytes: what valid ones take at most
// that are read.
const maxSecretNames = 16 * 254

// askerKey is the same for Pods of one namespace that get at an image in the same ways. It is not ok for a Pod that names
// more Secrets than are read.
func askerKey(q Query, reference string) (string, bool) {
	size := 0
	for _, name := range q.PullSecrets {
		size += len(name) + 1
	}
	if size > maxSecretNames {
		return "", false
	}
	return keyOf("asker", q.Namespace, strings.Join(q.PullSecrets, "\x00"), reference), true
}

func flightKey(q Query, candidate Candidate) string {
	return keyOf("flight", q.Namespace, candidate.Key, q.Reference.String(), architectures(q))
}

func architectures(q Query) string { return strings.Join(q.Architectures, ",") }

// keyOf joins words that have no NUL in them.
func keyOf(words ...string) string { return strings.Join(words, "\x00") }
