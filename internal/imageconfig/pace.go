package imageconfig

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/podinit/podinit/internal/fair"
)

// pace is how urgent an in-flight lookup is, which its requests want to know, and for how long its host has been silent,
// which they know. It is in the context of a Repository's methods.
type pace struct {
	// number in the order in which lookups were begun.
	number int64

	mu sync.Mutex
	// next and last are the first and the last deadline of the Pods that wait for it.
	next, last time.Time
	// sent is when the host was sent the last request.
	sent time.Time
	// queued is how many requests wait for their turn.
	queued int
}

type paceKey struct{}

// newPace is that of a lookup that waits for a slot.
func newPace(number int64) *pace { return &pace{number: number, queued: 1} }

// unqueue notes that a request has its turn, or the lookup its slot.
func (p *pace) unqueue() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queued--
	p.sent = time.Now()
}

// waits notes that a Pod waits for the lookup until ctx is done.
func (p *pace) waits(ctx context.Context, atMost time.Duration) {
	now := time.Now()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = now.Add(atMost)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.next.After(now) || deadline.Before(p.next) {
		p.next = deadline
	}
	if deadline.After(p.last) {
		p.last = deadline
	}
}

// rank is by the first deadline that is still to come. A lookup that no Pod waits for any more comes after the others.
func (p *pace) rank() fair.Rank {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	rank := fair.Rank{Deadline: math.MaxInt64, Began: p.number}
	for _, deadline := range []time.Time{p.next, p.last} {
		if deadline.After(now) {
			rank.Deadline = deadline.UnixNano()
			break
		}
	}
	return rank
}

// silent is for how long, at the given time, the host has not sent all that it was last asked for.
func (p *pace) silent(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.queued > 0 {
		return 0
	}
	return now.Sub(p.sent)
}

// Turn gets a request of a lookup its turn among others, by get, which is given the rank that it has there: what Pods
// wait for comes first, the one whose time is over soonest before the others, and of those that wait equally long the
// lookup that has begun first, which so is finished before more are begun. The time until then is not one in which the
// host is silent. ctx is that of a Repository's method, or one made of it.
func Turn(ctx context.Context, get func(rank func() fair.Rank) error) error {
	p, ok := ctx.Value(paceKey{}).(*pace)
	if !ok {
		return get(nil)
	}
	p.mu.Lock()
	p.queued++
	p.mu.Unlock()
	defer p.unqueue()
	return get(p.rank)
}
