package imageconfig

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/fair"
)

// mirrored is a world of which public images have a mirror, which has another image of the same tag, and says nothing.
func mirrored(t *testing.T) *world {
	w := newWorld(t)
	w.hub.mirrors = []string{"mirror"}
	w.hub.tags["mirror:1"] = "sha256:mirrored"
	w.hub.open["mirror"] = []string{"anonymous"}
	w.hub.gate, w.hub.gated = make(chan struct{}), "HEAD mirror"
	return w
}

// lookFor looks an image up with so much time, and says what came of it, and after how long.
func (w *world) lookFor(atMost time.Duration, q Query) string {
	ctx, cancel := context.WithTimeout(w.t.Context(), atMost)
	defer cancel()
	start := time.Now()
	found, err := w.cache.Lookup(ctx, q)
	took := time.Since(start)
	if err != nil {
		return fmt.Sprintf("%s after %v", FailureOf(err).Reason, took)
	}
	return fmt.Sprintf("%s from %s after %v", found.Image.Digest, found.From, took)
}

func (w *world) asked() []string {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	asked := w.hub.asked
	w.hub.asked = nil
	return asked
}

const (
	askMirror      = "HEAD mirror 1 as anonymous"
	askPublic      = "HEAD public 1 as anonymous"
	readPublic     = "GET public sha256:a as anonymous"
	fromRegistry   = "sha256:a from registry after "
	fromTheMirror  = "sha256:mirrored from registry after "
	usualTime      = 3 * time.Second
	mirrorSwallows = 0 // a mirror that never answers
)

// A turn that takes long, as under load, decides for one moment: the wait that follows it ends when a host that was not
// silent at its beginning is, not when it has been silent for as long as matters next.
func TestOneMomentATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		pace := newPace(1)
		pace.unqueue()
		host := &attempt{candidate: Candidate{Host: "mirror"}, request: &request{pace: pace}}
		ch := &chain{cache: w.cache, attempts: []*attempt{host}}
		time.Sleep(hedgeAfter - time.Millisecond)
		ch.now = time.Now()
		if ch.silent(host) {
			t.Fatal("the host is silent too early")
		}
		time.Sleep(2 * time.Millisecond)
		if wait := ch.untilSilent(); wait > 0 {
			t.Errorf("the host has been silent for long enough, and is waited for another %v", wait)
		}
	})
}

// What a Pod is given while the first host is silent, how soon, and who is asked for it.
func TestHostThatIsSilent(t *testing.T) {
	tag, digest := query("public:1"), query("public@sha256:a")
	for name, c := range map[string]struct {
		query Query
		// answers is when the mirror answers, with what it has, or with refuses.
		answers time.Duration
		refuses *Failure
		time    time.Duration // of the lookup
		want    string
		asked   []string
	}{
		"for good":                    {tag, mirrorSwallows, nil, usualTime, fromRegistry + "2s", []string{askMirror, askPublic, readPublic}},
		"for good, and little time":   {tag, mirrorSwallows, nil, time.Second, fromRegistry + "1s", []string{askMirror, askPublic, readPublic}},
		"for good, and it is content": {digest, mirrorSwallows, nil, usualTime, fromRegistry + "500ms", []string{"GET mirror sha256:a as anonymous", "GET public sha256:a as anonymous"}},
		"for a moment":                {tag, 499 * time.Millisecond, nil, usualTime, fromTheMirror + "499ms", []string{askMirror, "GET mirror sha256:mirrored as anonymous"}},
		"for a second: it counts, as for a node": {tag, time.Second, nil, usualTime, fromTheMirror + "1s",
			[]string{askMirror, askPublic, readPublic, "GET mirror sha256:mirrored as anonymous"}},
		"until it has no image": {tag, time.Second, &Failure{Reason: v1alpha1.ReasonLookupNotFound, Err: errors.New("404")}, usualTime, fromRegistry + "1s",
			[]string{askMirror, askPublic, readPublic}},
		"until it fails": {tag, time.Second, &Failure{Reason: v1alpha1.ReasonLookupUnreachable, Err: errors.New("reset")}, usualTime, fromRegistry + "1s",
			[]string{askMirror, askPublic, readPublic}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := mirrored(t)
				w.hub.gated = c.asked[0]
				if c.refuses != nil {
					w.hub.fails = map[string]*Failure{"mirror": c.refuses}
				}
				if c.answers > 0 {
					time.AfterFunc(c.answers, func() { close(w.hub.gate) })
				}
				if got := w.lookFor(c.time, c.query); got != c.want {
					t.Errorf("%s, want %s", got, c.want)
				}
				if diff := cmp.Diff(c.asked, w.asked()); diff != "" {
					t.Errorf("asked (-want +got):\n%s", diff)
				}
				time.Sleep(2 * DefaultLimits().RequestTimeout)
			})
		})
	}
}

// The Pod that comes next, while the first host is still silent, does not wait for it once more; and what that host says
// in the end counts for those who come then.
func TestNextPodDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mirrored(t)
		w.lookFor(usualTime, query("public:1"))
		w.asked()
		if got, want := w.lookFor(usualTime, query("public:1")), "sha256:a from cache after 0s"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		close(w.hub.gate)
		synctest.Wait()
		if got, want := w.lookFor(usualTime, query("public:1")), "sha256:mirrored from cache after 0s"; got != want {
			t.Errorf("when the mirror has answered: %s, want %s", got, want)
		}
	})
}

// A host that has said nothing for the whole time of a lookup is not waited for any more, until it answers again.
func TestHostThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mirrored(t)
		w.hub.open["mirror"] = []string{"anonymous"}
		w.hub.open["second"] = []string{"anonymous"}
		w.hub.tags["second:1"] = "sha256:second"
		lookAfter := func(pause time.Duration, want string) {
			t.Helper()
			time.Sleep(pause)
			synctest.Wait()
			w.now = w.now.Add(pause)
			if got := w.lookFor(usualTime, query("second:1")); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			time.Sleep(2 * DefaultLimits().RequestTimeout)
			synctest.Wait()
		}
		w.lookFor(usualTime, query("public:1"))
		lookAfter(time.Minute, "sha256:second from registry after 500ms") // another image of the same host
		lookAfter(time.Minute, "sha256:second from cache after 500ms")
		lookAfter(hungTime, "sha256:second from registry after 2s")
		close(w.hub.gate)
		lookAfter(time.Minute, fromTheMirror+"0s")
		w.hub.gate = make(chan struct{})
		lookAfter(hungTime-time.Minute, "sha256:second from registry after 2s")
		other := query("second:1")
		other.Namespace = "other"
		if got, want := w.lookFor(usualTime, other), "sha256:second from cache after 2s"; got != want {
			t.Errorf("another namespace: %s, want %s", got, want)
		}
		time.Sleep(2 * DefaultLimits().RequestTimeout)
		synctest.Wait()
	})
}

// The lookup of a Pod that waits no longer goes on to the next host, once for all that have waited, and the next Pod is
// served. It keeps what the Pod has for it until then.
func TestLookupGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mirrored(t)
		q := query("public:1")
		q.Pod = NewPod()
		closed := false
		_, _ = q.Pod.Once(t.Context(), func() (any, func()) { return nil, func() { closed = true } })
		before := runtime.NumGoroutine()
		answers := make(chan string)
		for range 100 {
			go func() { answers <- w.lookFor(300*time.Millisecond, q) }()
		}
		for range 100 {
			if got, want := <-answers, "lookup-timeout after 300ms"; got != want {
				t.Fatalf("%s, want %s", got, want)
			}
		}
		q.Pod.Close()
		synctest.Wait()
		if more := runtime.NumGoroutine() - before; more > 10 {
			t.Errorf("%d goroutines go on for 100 Pods of one image", more)
		}
		if closed {
			t.Error("what the Pod has is given back while it is needed")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{askMirror, askPublic, readPublic}, w.asked()); diff != "" {
			t.Errorf("asked (-want +got):\n%s", diff)
		}
		if got, want := w.lookFor(usualTime, query("public:1")), "sha256:a from cache after 700ms"; got != want {
			t.Errorf("the next Pod: %s, want %s", got, want)
		}
		time.Sleep(2 * DefaultLimits().RequestTimeout)
		synctest.Wait()
		if !closed || w.cache.slots.Used() != 0 {
			t.Errorf("in the end: given back is %v, %d slots are taken", closed, w.cache.slots.Used())
		}
		// It goes on where a host fails, too.
		w.hub.gate = make(chan struct{})
		w.hub.fails = map[string]*Failure{"mirror": {Reason: v1alpha1.ReasonLookupFailed, Err: errors.New("502")}}
		w.hub.tags["public:2"] = "sha256:two"
		w.asked()
		w.lookFor(100*time.Millisecond, query("public:2"))
		close(w.hub.gate)
		synctest.Wait()
		if diff := cmp.Diff([]string{"HEAD mirror 2 as anonymous", "HEAD public 2 as anonymous", "GET public sha256:two as anonymous"}, w.asked()); diff != "" {
			t.Errorf("asked (-want +got):\n%s", diff)
		}
	})
}

// Asking the next host counts as a lookup: where a namespace has no slot for it, it waits, and without anybody who waits
// for the Pod it takes none that others of the namespace want.
func TestHedgesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mirrored(t)
		limits := DefaultLimits()
		limits.MaxRequests = 2 // one for each namespace
		w.cache = NewCache(w.hub, limits, func() time.Time { return w.now })
		w.hub.gated = askMirror
		w.hub.tags["other:2"] = "sha256:c"
		if got, want := w.lookFor(usualTime, query("public:1")), "lookup-timeout after 3s"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if diff := cmp.Diff([]string{askMirror}, w.asked()); diff != "" {
			t.Errorf("asked (-want +got):\n%s", diff)
		}
		if got, want := w.lookFor(30*time.Second, query("other:2", "alice")), "sha256:c from registry after 17s"; got != want { // when the mirror's time is over
			t.Errorf("another lookup: %s, want %s", got, want)
		}
		time.Sleep(2 * limits.RequestTimeout)
		synctest.Wait()
		if diff := cmp.Diff([]string{"HEAD mirror 2 as alice", "HEAD other 2 as alice", "GET other sha256:c as alice"}, w.asked()); diff != "" {
			t.Errorf("asked (-want +got):\n%s", diff)
		}
	})
}

// A lookup that waits for a slot is not one of a host that is silent: a burst does not ask every mirror and the registry
// behind them.
func TestQueueIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mirrored(t)
		limits := DefaultLimits()
		limits.MaxRequests = 2
		w.cache = NewCache(w.hub, limits, func() time.Time { return w.now })
		w.hub.gated = "HEAD mirror busy"
		w.hub.tags["mirror:busy"] = "sha256:busy"
		busy := query("public:busy")
		go func() { _ = w.lookFor(usualTime, busy) }()
		synctest.Wait()
		w.asked()
		time.AfterFunc(400*time.Millisecond, func() { close(w.hub.gate) })
		if got, want := w.lookFor(usualTime, query("public:1")), fromTheMirror+"400ms"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		synctest.Wait()
		f := &request{pace: newPace(1)}
		time.Sleep(time.Minute)
		if got := f.pace.silent(time.Now()); got != 0 {
			t.Errorf("without a slot it is silent for %v", got)
		}
		f.pace.unqueue()
		time.Sleep(time.Second)
		ctx := context.WithValue(t.Context(), paceKey{}, f.pace)
		if got := f.pace.silent(time.Now()); got != time.Second {
			t.Errorf("with a slot it is silent for %v", got)
		}
		if err := Turn(ctx, func(func() fair.Rank) error { time.Sleep(time.Minute); return nil }); err != nil || f.pace.silent(time.Now()) != 0 {
			t.Errorf("after a turn that came late it is silent for %v: %v", f.pace.silent(time.Now()), err)
		}
	})
}

// A host that is silent is asked with no other credential meanwhile, and with each, in its turn, when it answers.
func TestSilenceAndCredentials(t *testing.T) {
	for name, c := range map[string]struct {
		answers time.Duration
		want    string
		asked   []string
	}{
		"for good": {mirrorSwallows, "sha256:b from registry after 2s",
			[]string{"HEAD mirror 1 as bob", "HEAD private 1 as bob", "HEAD private 1 as alice", "GET private sha256:b as alice"}},
		"for a second": {time.Second, "sha256:mirrored from registry after 1s", []string{
			"HEAD mirror 1 as bob", "HEAD private 1 as bob", "HEAD private 1 as alice", "GET private sha256:b as alice",
			"HEAD mirror 1 as alice", "GET mirror sha256:mirrored as alice"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := mirrored(t)
				w.hub.open["mirror"] = []string{"alice"}
				if c.answers > 0 {
					time.AfterFunc(c.answers, func() { close(w.hub.gate) })
				}
				if got := w.lookFor(usualTime, query("private:1", "bob", "alice")); got != c.want {
					t.Errorf("%s, want %s", got, c.want)
				}
				if diff := cmp.Diff(c.asked, w.asked()); diff != "" {
					t.Errorf("asked (-want +got):\n%s", diff)
				}
				time.Sleep(2 * DefaultLimits().RequestTimeout)
			})
		})
	}
}

// A stale answer does not stand in for that of another host, and is better than none.
func TestSilenceAndStaleAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := mirrored(t)
		w.hub.gated = "nothing"
		w.look(query("public:1"))
		w.now = w.now.Add(5 * time.Minute)
		w.hub.gated = "HEAD mirror"
		if got, want := w.lookFor(usualTime, query("public:1")), fromRegistry+"2s"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		time.Sleep(2 * DefaultLimits().RequestTimeout)
		synctest.Wait()
		w.now = w.now.Add(5*time.Minute - time.Second)
		w.hub.gated = "HEAD"
		if got, want := w.lookFor(usualTime, query("public:1")), "sha256:mirrored from stale after 3s"; got != want {
			t.Errorf("when all are silent: %s, want %s", got, want)
		}
		time.Sleep(2 * DefaultLimits().RequestTimeout)
		synctest.Wait()
	})
}

func TestPanicOfCandidates(t *testing.T) {
	w := newWorld(t)
	w.expect(query("private:1", "panics"), "lookup-failed")
}
