package webhook

import (
	"context"
	"runtime"
	"sync"

	"github.com/podinit/podinit/internal/fair"
)

// largeReview is the size from which a review is large, in bytes: several times that of a usual Pod's. What is smaller is
// decided about in some milliseconds.
const largeReview = 32 << 10

// processors are how many large reviews are computed on at once, shared by namespace. Without it all that there are would
// be, each a little, and a usual Pod's would have to wait for a turn among them, several times. Its zero value is ready.
type processors struct {
	once sync.Once
	pool *fair.Pool
}

// turn is the right to compute on one review.
type turn struct {
	of  *processors
	key string
}

// take waits for a turn, for a namespace or for any, until ctx is done. A small review has its turn at once.
func (p *processors) take(ctx context.Context, namespace string, size int) (turn, error) {
	if size < largeReview {
		return turn{}, nil
	}
	p.once.Do(func() { p.pool = fair.New(max(2, int64(runtime.GOMAXPROCS(0)))) }) // one key has at most half
	t := turn{p, shorten(namespace, maxName)}
	if err := p.pool.Acquire(ctx, t.key, 1); err != nil {
		return turn{}, err
	}
	return t, nil
}

// give ends the turn, once.
func (t *turn) give() {
	if t.of != nil {
		t.of.pool.Release(t.key, 1)
		t.of = nil
	}
}

// wait lets others have the turn while something else is waited for.
func (t *turn) wait(ctx context.Context, until func()) error {
	of := t.of
	t.give()
	until()
	if of == nil {
		return nil
	}
	if err := of.pool.Acquire(ctx, t.key, 1); err != nil {
		return err
	}
	t.of = of
	return nil
}
