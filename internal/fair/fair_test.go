package fair_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/podinit/podinit/internal/fair"
)

// One key comes to half, and each later one to half of what is left, up to the last slot.
func TestNobodyTakesAll(t *testing.T) {
	p := fair.New(64)
	for i, want := range []int{32, 16, 8, 4, 2, 1, 1, 0} {
		got := 0
		for p.TryAcquire(fmt.Sprint(i), 1) {
			got++
		}
		if got != want {
			t.Errorf("key %d has got %d, want %d", i, got, want)
		}
	}
	p.Release("0", 1)
	p.Release("0", 1)
	if !p.TryAcquire("new", 1) {
		t.Error("what was given back is not to be had")
	}
}

// What a key may have is a matter of amounts, not of how often it asks.
func TestWeights(t *testing.T) {
	p := fair.New(100)
	if p.TryAcquire("a", 51) {
		t.Error("more than half was given to one")
	}
	if !p.TryAcquire("a", 50) || p.TryAcquire("b", 26) || !p.TryAcquire("b", 25) {
		t.Error("not half, and then half of what is left")
	}
	p.Release("a", 50)
	p.Release("b", 25)
	if p.Used() != 0 {
		t.Errorf("%d are used", p.Used())
	}
}

// In a pool of two slots, one key cannot keep all others waiting.
func TestTheLastSlot(t *testing.T) {
	p := fair.New(2)
	if !p.TryAcquire("a", 1) || p.TryAcquire("a", 1) {
		t.Error("one key does not come to one of two slots")
	}
	if !p.TryAcquire("b", 1) {
		t.Error("a key that holds nothing does not get the last slot")
	}
	waits := p.Wait("c", 1)
	p.Release("a", 1)
	select {
	case <-waits.Ready():
	default:
		t.Error("a key that waits does not get the last slot")
	}
	// A pool of bytes has no last slot: what is left stays for smaller requests.
	bytes := fair.New(100)
	if !bytes.TryAcquire("a", 50) || bytes.TryAcquire("b", 50) || !bytes.TryAcquire("b", 1) {
		t.Error("a key that holds nothing gets all that is free of a pool of bytes")
	}
}

// What becomes free goes to the key that has the least, not to the one that has waited longest.
func TestTheLeastIsServedFirst(t *testing.T) {
	p := fair.New(8)
	for range 4 {
		p.TryAcquire("hog", 1)
	}
	hog := p.Wait("hog", 1)
	for range 2 {
		p.TryAcquire("other", 1)
	}
	p.TryAcquire("third", 1)
	p.TryAcquire("fourth", 1)
	late := p.Wait("late", 1)
	select {
	case <-late.Ready():
		t.Fatal("there was nothing left")
	default:
	}
	p.Release("hog", 1)
	select {
	case <-late.Ready():
	default:
		t.Error("the one that has nothing is not served")
	}
	select {
	case <-hog.Ready():
		t.Error("the one that has most is served")
	default:
	}
	late.Leave()
	for range 2 {
		p.Release("other", 1)
	}
	p.Release("third", 1)
	p.Release("fourth", 1)
	select {
	case <-hog.Ready():
	default:
		t.Error("alone it is not served")
	}
}

// Of those that wait for the same key the most urgent is served first, by what is urgent then.
func TestRanks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fair.New(2)
		p.TryAcquire("a", 1)
		var served []string
		ranks := map[string]fair.Rank{"late": {9, 1}, "later": {9, 2}, "soon": {5, 3}, "changes": {7, 0}}
		var all sync.WaitGroup
		wait := func(name string, rank func() fair.Rank) {
			all.Go(func() {
				if err := p.AcquireRanked(t.Context(), "a", 1, rank); err != nil {
					t.Error(err)
				}
				served = append(served, name)
				p.Release("a", 1)
			})
			synctest.Wait()
		}
		for _, name := range []string{"later", "late", "changes", "soon"} {
			wait(name, func() fair.Rank { return ranks[name] })
		}
		wait("without", nil)
		ranks["changes"] = fair.Rank{Deadline: 10}
		p.Release("a", 1)
		all.Wait()
		if got, want := fmt.Sprint(served), "[without soon late later changes]"; got != want {
			t.Errorf("served in the order %s, want %s", got, want)
		}
	})
}

func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fair.New(2)
		if err := p.Acquire(t.Context(), "a", 1); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() { failed <- p.Acquire(ctx, "a", 1) }()
		synctest.Wait()
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		if err := p.Acquire(ctx, "b", 1); !errors.Is(err, context.Canceled) || p.Used() != 1 {
			t.Errorf("%v: something is taken for a context that is done", err)
		}
		p.Release("a", 1)
		if err := p.Acquire(t.Context(), "a", 1); err != nil {
			t.Errorf("%v: who has left is still in the queue", err)
		}
	})
}

// Whatever many do at once, no more is taken than there is, all are served in the end, and nothing stays.
func TestMany(t *testing.T) {
	const total = 1000
	p := fair.New(total)
	var inUse atomic.Int64
	var all sync.WaitGroup
	for worker := range 64 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(worker)))
			key := fmt.Sprint(worker % 5)
			for range 200 {
				n := 1 + random.Int64N(p.Most())
				ctx, cancel := context.WithCancel(context.Background())
				if random.IntN(4) == 0 {
					go cancel()
				}
				if p.Acquire(ctx, key, n) == nil {
					if now := inUse.Add(n); now > total {
						t.Errorf("%d of %d are taken", now, total)
					}
					inUse.Add(-n)
					p.Release(key, n)
				}
				cancel()
			}
		})
	}
	all.Wait()
	if p.Used() != 0 || !p.TryAcquire("x", p.Most()) {
		t.Errorf("%d are still taken", p.Used())
	}
}
