// Package fair shares an amount, of slots or of bytes, among keys such as namespaces, so that none can take it all.
//
// A key may take as long as it then holds no more than what is still free. Alone it so comes to half of the total; a
// second one that takes what it can comes to a quarter, and any that comes after them still finds half of what is left
// (dynamic thresholds: Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998).
// Half of a single slot is none, so the last slot goes to a key that holds nothing.
package fair

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
)

// Pool is a total that is shared. It is safe for concurrent use.
type Pool struct {
	total int64

	mu   sync.Mutex
	used int64
	keys map[string]*account
	// waiting are the keys that are waited for, in the order in which they began to.
	waiting []*account
}

// account is what one key has and waits for.
type account struct {
	key   string
	used  int64
	queue []*Ticket
}

// New makes a Pool of so much, two at least.
func New(total int64) *Pool {
	return &Pool{total: total, keys: map[string]*account{}}
}

// Most is the most that one key can come to hold.
func (p *Pool) Most() int64 { return p.total / 2 }

// Used is how much is taken by all keys together.
func (p *Pool) Used() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used
}

// TryAcquire takes n for key if that is free for it now and nothing has waited for the same key before. Release gives it
// back.
func (p *Pool) TryAcquire(key string, n int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.account(key)
	if len(a.queue) > 0 || !p.fits(a, n) {
		p.forget(a)
		return false
	}
	p.take(a, n)
	return true
}

// Acquire takes n for key, and waits for it until ctx is done, whose error it returns then. More than Most it never
// gets.
func (p *Pool) Acquire(ctx context.Context, key string, n int64) error {
	return p.AcquireRanked(ctx, key, n, nil)
}

// Rank orders those that wait for the same key: the earlier Deadline goes first, and of two that are the same, what Began
// first. Both are times or numbers of any unit. Those without a rank have the lowest, and go in the order in which they
// came.
type Rank struct{ Deadline, Began int64 }

func (r Rank) compare(other Rank) int {
	return cmp.Or(cmp.Compare(r.Deadline, other.Deadline), cmp.Compare(r.Began, other.Began))
}

// AcquireRanked is Acquire with a rank, which is asked for each time that something is free, and may change until then.
// It must not use the Pool.
func (p *Pool) AcquireRanked(ctx context.Context, key string, n int64, rank func() Rank) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.TryAcquire(key, n) {
		return nil
	}
	t := p.wait(key, n, rank)
	select {
	case <-t.Ready():
		return nil
	case <-ctx.Done():
		t.Leave()
		return ctx.Err()
	}
}

// Release gives back n of what key has taken.
func (p *Pool) Release(key string, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.account(key)
	a.used -= n
	p.used -= n
	p.forget(a)
	p.serve()
}

// Wait queues for n for key. It is for those that wait for something else too: Leave ends it, whether Ready or not.
func (p *Pool) Wait(key string, n int64) *Ticket { return p.wait(key, n, nil) }

func (p *Pool) wait(key string, n int64, rank func() Rank) *Ticket {
	t := &Ticket{pool: p, n: n, rank: rank, ready: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	t.account = p.account(key)
	if t.account.queue = append(t.account.queue, t); len(t.account.queue) == 1 {
		p.waiting = append(p.waiting, t.account)
	}
	p.serve()
	return t
}

// Ticket is a place in the queue of a key.
type Ticket struct {
	pool    *Pool
	account *account
	n       int64
	rank    func() Rank // nil for none
	ready   chan struct{}
	granted bool
}

// Ready is closed when what was waited for is taken.
func (t *Ticket) Ready() <-chan struct{} { return t.ready }

// Leave ends the wait, and gives back what was taken meanwhile.
func (t *Ticket) Leave() {
	p := t.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	a := t.account
	if t.granted {
		a.used -= t.n
		p.used -= t.n
	} else {
		if i := slices.Index(a.queue, t); i >= 0 {
			a.queue = slices.Delete(a.queue, i, i+1)
		}
		p.notWaiting(a)
	}
	p.forget(a)
	p.serve()
}

// serve gives what is free to those that wait: each time to the key that has the least, and of two that have the same,
// to the one that began to wait first. The lock is held.
func (p *Pool) serve() {
	for {
		var next *account
		var at int
		for _, a := range p.waiting {
			if next != nil && a.used >= next.used {
				continue
			}
			if i := a.first(); p.fits(a, a.queue[i].n) {
				next, at = a, i
			}
		}
		if next == nil {
			return
		}
		t := next.queue[at]
		next.queue = slices.Delete(next.queue, at, at+1)
		p.take(next, t.n)
		t.granted = true
		close(t.ready)
		p.notWaiting(next)
	}
}

// first is the one of the queue that is next.
func (a *account) first() int {
	if a.queue[0].rank == nil {
		return 0
	}
	first, lowest := 0, a.queue[0].ranked()
	for i, t := range a.queue[1:] {
		if r := t.ranked(); r.compare(lowest) < 0 {
			first, lowest = i+1, r
		}
	}
	return first
}

func (t *Ticket) ranked() Rank {
	if t.rank == nil {
		return Rank{math.MinInt64, math.MinInt64}
	}
	return t.rank()
}

// fits says whether an account may take n: it then holds no more than is still free, or n is the last slot, and its first.
func (p *Pool) fits(a *account, n int64) bool {
	free := p.total - p.used
	return a.used+n <= free-n || a.used == 0 && n == 1 && free == 1
}

func (p *Pool) take(a *account, n int64) {
	a.used += n
	p.used += n
}

func (p *Pool) account(key string) *account {
	a, ok := p.keys[key]
	if !ok {
		a = &account{key: key}
		p.keys[key] = a
	}
	return a
}

// notWaiting takes an account whose queue is empty out of those that wait; if it is not, it goes behind the others.
func (p *Pool) notWaiting(a *account) {
	for i, other := range p.waiting {
		if other != a {
			continue
		}
		if p.waiting = append(p.waiting[:i], p.waiting[i+1:]...); len(a.queue) > 0 {
			p.waiting = append(p.waiting, a)
		}
		return
	}
}

// forget drops an account that has nothing and waits for nothing, so that keys of the past take no memory.
func (p *Pool) forget(a *account) {
	if a.used == 0 && len(a.queue) == 0 {
		delete(p.keys, a.key)
	}
}
