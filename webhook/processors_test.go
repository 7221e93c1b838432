package webhook

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// Large reviews of one namespace have half of the processors, others find some, small ones never wait, and who waits for
// something else has none.
func TestProcessors(t *testing.T) { synctest.Test(t, testProcessors) }

func testProcessors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	var p processors
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	take := func(namespace string, size int, want bool) turn {
		t.Helper()
		got, err := p.take(soon(), namespace, size)
		if (err == nil) != want {
			t.Errorf("%d bytes of namespace %s: %v, want a turn: %v", size, namespace, err, want)
		}
		return got
	}
	first, second := take("a", largeReview, true), take("a", largeReview, true)
	take("a", largeReview, false)
	take("a", largeReview-1, true)
	other := take("b", largeReview, true)
	other.give()
	err := first.wait(soon(), func() {
		third := take("a", largeReview, true)
		third.give()
	})
	if err != nil {
		t.Errorf("after waiting: %v", err)
	}
	take("a", largeReview, false)
	var third turn
	if err := first.wait(soon(), func() { third = take("a", largeReview, true) }); err == nil {
		t.Error("two have the turn of one")
	}
	for _, one := range []*turn{&first, &second, &third} {
		one.give()
		one.give()
	}
	if used := p.pool.Used(); used != 0 {
		t.Errorf("%d turns are not given back", used)
	}
}
