package imageconfig

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podinit/podinit/api/v1alpha1"
)

// hub is a Registry of one host. Who may read a repository is a list of keys.
type hub struct {
	mu     sync.Mutex
	tags   map[string]string   // "repository:tag" to digest
	open   map[string][]string // repository to who may read it; "anonymous" is everybody
	broken *Failure            // every answer, if set
	fails  map[string]*Failure // every answer to a key or of a repository
	gate   chan struct{}       // every answer waits for it, if set
	gated  string              // only of what begins so
	asked  []string            // in order
	panics bool
	// arrived is sent to when somebody waits at the gate, if set.
	arrived chan struct{}
	// refused may ask, but not read.
	refused string
	// refuses is who is refused even where everybody may read.
	refuses string
	// hidden are requests, as asked has them or how they begin, that are answered with 404.
	hidden []string
	// gone is a Secret that is there no longer.
	gone string
	// byUser is what "repository:tag as KEY" stands for, where that is not what it does for all.
	byUser map[string]string
	// mirrors are repositories that are asked before the image's own.
	mirrors []string
	// candidates is how often somebody wanted them.
	candidates int
}

// Candidates are every credential at each host, as the kubelet and containerd have it.
func (h *hub) Candidates(_ context.Context, q Query) iter.Seq2[Candidate, error] {
	return func(yield func(Candidate, error) bool) {
		h.mu.Lock()
		h.candidates++
		h.mu.Unlock()
		for _, key := range append(slices.Clone(q.PullSecrets), "anonymous") {
			switch {
			case key == "panics":
				panic("out of cheese")
			case strings.HasPrefix(key, "broken"):
				if !yield(Candidate{}, fmt.Errorf("%.10s is no docker config", key)) {
					return
				}
				continue
			case strings.HasPrefix(key, "unread"):
				if !yield(Candidate{}, &Failure{Reason: v1alpha1.ReasonLookupFailed, Transient: true, Err: errors.New(key + " cannot be read")}) {
					return
				}
				continue
			case key == h.gone:
				continue
			}
			for _, at := range append(slices.Clone(h.mirrors), q.Reference.Repository) {
				ref := q.Reference
				ref.Repository = at
				if !yield(Candidate{Host: at, Endpoint: ref.Name(), Key: ref.Name() + " as " + key, Anonymous: key == "anonymous", Repository: account{h, key, ref}}, nil) {
					return
				}
			}
		}
	}
}

type account struct {
	hub *hub
	key string
	ref Reference
}

func (a account) enter(ctx context.Context, what string) error {
	a.hub.mu.Lock()
	a.hub.asked = append(a.hub.asked, what+" as "+a.key)
	gate := a.hub.gate
	a.hub.mu.Unlock()
	if gate != nil && strings.HasPrefix(what+" as "+a.key, a.hub.gated) {
		if a.hub.arrived != nil {
			a.hub.arrived <- struct{}{}
		}
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	a.hub.mu.Lock()
	defer a.hub.mu.Unlock()
	if a.hub.panics {
		panic("out of cheese")
	}
	if a.hub.broken != nil {
		return a.hub.broken
	}
	for _, broken := range []string{a.key, a.ref.Repository} {
		if failure := a.hub.fails[broken]; failure != nil {
			return failure
		}
	}
	for _, request := range a.hub.hidden {
		if strings.HasPrefix(what+" as "+a.key, request) {
			return &Failure{Reason: v1alpha1.ReasonLookupNotFound, Err: errors.New("404")}
		}
	}
	if a.hub.refuses == a.key {
		return &Failure{Reason: v1alpha1.ReasonLookupUnauthorized, Err: errors.New("401")}
	}
	for _, key := range a.hub.open[a.ref.Repository] {
		if key == a.key || key == "anonymous" {
			return nil
		}
	}
	return &Failure{Reason: v1alpha1.ReasonLookupUnauthorized, Err: errors.New("401")}
}

func (a account) Digest(ctx context.Context, ref Reference) (string, error) {
	if err := a.enter(ctx, "HEAD "+a.ref.Repository+" "+ref.Identifier()); err != nil {
		return "", err
	}
	a.hub.mu.Lock()
	defer a.hub.mu.Unlock()
	if ref.Digest != "" {
		return ref.Digest, nil
	}
	digest, ok := a.hub.byUser[a.ref.Repository+":"+ref.Tag+" as "+a.key]
	if !ok {
		digest, ok = a.hub.tags[a.ref.Repository+":"+ref.Tag]
	}
	if !ok {
		return "", &Failure{Reason: v1alpha1.ReasonLookupNotFound, Err: errors.New("404")}
	}
	return digest, nil
}

func (a account) Image(ctx context.Context, digest string, _ []string) (Image, error) {
	if err := a.enter(ctx, "GET "+a.ref.Repository+" "+digest); err != nil {
		return Image{}, err
	}
	if a.key == a.hub.refused {
		return Image{}, &Failure{Reason: v1alpha1.ReasonLookupUnauthorized, Err: errors.New("401")}
	}
	return Image{Digest: digest, Configs: []Config{on("linux", "amd64", "runs "+digest)}}, nil
}

// world is a cache, its registry and its clock.
type world struct {
	t     testing.TB
	hub   *hub
	cache *Cache
	now   time.Time
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, now: time.Unix(1e9, 0), hub: &hub{
		tags: map[string]string{"public:1": "sha256:a", "private:1": "sha256:b", "other:1": "sha256:c"},
		open: map[string][]string{"public": {"anonymous"}, "private": {"alice"}, "other": {"alice", "bob"}},
	}}
	w.cache = NewCache(w.hub, DefaultLimits(), func() time.Time { return w.now })
	return w
}

// query is about "repository:tag" or "repository@digest", with pull secrets.
func query(image string, secrets ...string) Query {
	q := Query{Namespace: "team", PullSecrets: secrets}
	if repository, digest, ok := strings.Cut(image, "@"); ok {
		q.Reference = Reference{Registry: "hub", Repository: repository, Digest: digest}
	} else {
		repository, tag, _ := strings.Cut(image, ":")
		q.Reference = Reference{Registry: "hub", Repository: repository, Tag: tag}
	}
	return q
}

// look looks an image up and says what came of it, and whom the registry was asked by meanwhile.
func (w *world) look(q Query) (answer string, asked []string) {
	w.t.Helper()
	found, err := w.cache.Lookup(w.t.Context(), q)
	if err != nil {
		answer = string(FailureOf(err).Reason)
	} else {
		answer = found.Image.Digest + " from " + string(found.From)
	}
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	asked, w.hub.asked = w.hub.asked, nil
	return answer, asked
}

func (w *world) expect(q Query, answer string, asked ...string) {
	w.t.Helper()
	got, calls := w.look(q)
	if got != answer {
		w.t.Errorf("%s with %q: %s, want %s", q.Reference, q.PullSecrets, got, answer)
	}
	if diff := cmp.Diff(asked, calls); diff != "" {
		w.t.Errorf("%s with %q: registry was asked (-want +got):\n%s", q.Reference, q.PullSecrets, diff)
	}
}

func TestTagsAndDigests(t *testing.T) {
	w := newWorld(t)
	w.expect(query("public:1"), "sha256:a from registry", "HEAD public 1 as anonymous", "GET public sha256:a as anonymous")
	w.expect(query("public:1"), "sha256:a from cache")
	w.expect(query("public@sha256:a"), "sha256:a from cache")

	// imagePullPolicy Always asks each time, but reads nothing again.
	fresh := query("public:1")
	fresh.Fresh = true
	w.expect(fresh, "sha256:a from registry", "HEAD public 1 as anonymous")

	// A moved tag counts when its time is over.
	w.hub.tags["public:1"] = "sha256:new"
	w.expect(query("public:1"), "sha256:a from cache")
	w.now = w.now.Add(2 * time.Minute)
	w.expect(query("public:1"), "sha256:new from registry", "HEAD public 1 as anonymous", "GET public sha256:new as anonymous")

	// A digest never ages, but the right to it does.
	w.expect(query("public@sha256:a"), "sha256:a from cache")
	w.now = w.now.Add(time.Hour)
	w.expect(query("public@sha256:a"), "sha256:a from registry", "HEAD public sha256:a as anonymous")

	// Other nodes may need other configs of the same index.
	arm := query("public@sha256:a")
	arm.Architectures = []string{"arm64"}
	w.expect(arm, "sha256:a from registry", "GET public sha256:a as anonymous")
	// One that names two kinds of node at once is none, and its answer is nobody else's.
	both, neither := arm, arm
	both.Architectures, neither.Architectures = []string{"amd64", "arm64"}, []string{"amd64,arm64"}
	w.expect(neither, "sha256:a from registry", "GET public sha256:a as anonymous")
	w.expect(both, "sha256:a from registry", "GET public sha256:a as anonymous")
}

// Nobody gets from the cache what the registry would not give him.
func TestTenants(t *testing.T) {
	w := newWorld(t)
	w.expect(query("private:1", "alice"), "sha256:b from registry", "HEAD private 1 as alice", "GET private sha256:b as alice")
	w.expect(query("private:1", "alice"), "sha256:b from cache")

	w.expect(query("private:1", "bob"), "lookup-unauthorized", "HEAD private 1 as bob", "HEAD private 1 as anonymous")
	w.expect(query("private:1"), "lookup-unauthorized")
	w.expect(query("private@sha256:b", "bob"), "lookup-unauthorized", "GET private sha256:b as bob", "GET private sha256:b as anonymous")
	// The digest of somebody's private image opens nothing through a repository of one's own.
	w.expect(query("other@sha256:b", "bob"), "sha256:b from registry", "GET other sha256:b as bob")
	if _, ok := w.cache.Known(t.Context(), query("private:1", "bob")); ok {
		t.Error("bob knows alice's image")
	}
	if _, ok := w.cache.Known(t.Context(), query("private:1", "alice")); !ok {
		t.Error("alice does not know her image")
	}

	// A wrong one beside a right one does no harm, nor does a broken one.
	w.expect(query("private:1", "broken", "bob", "alice"), "sha256:b from cache")
	w.now = w.now.Add(time.Hour)
	w.expect(query("private:1", "broken", "bob", "alice"), "sha256:b from registry", "HEAD private 1 as bob", "HEAD private 1 as alice")

	// Who may no longer read is told nothing, also when the registry is down afterwards.
	w.hub.open["private"] = nil
	w.now = w.now.Add(time.Hour)
	w.expect(query("private:1", "alice"), "lookup-unauthorized", "HEAD private 1 as alice", "HEAD private 1 as anonymous")
	w.hub.broken = &Failure{Reason: v1alpha1.ReasonLookupUnreachable, Err: errors.New("refused")}
	w.now = w.now.Add(time.Hour)
	w.expect(query("private:1", "alice"), "lookup-unreachable", "HEAD private 1 as alice")
}

// Who asks for what there is not, takes nothing from the others: not even what is old, while the registry is down.
func TestAskingForNothingCostsNobody(t *testing.T) {
	w := newWorld(t)
	w.expect(query("public:1"), "sha256:a from registry", "HEAD public 1 as anonymous", "GET public sha256:a as anonymous")
	w.expect(query("public:none"), "lookup-not-found", "HEAD public none as anonymous")
	w.expect(query("public:1"), "sha256:a from cache")
	w.now = w.now.Add(5 * time.Minute)
	w.hub.broken = &Failure{Reason: v1alpha1.ReasonLookupUnreachable, Err: errors.New("refused")}
	w.expect(query("public:1"), "sha256:a from stale", "HEAD public 1 as anonymous")
}

// An image that anybody may read needs no Secret, once it is known of a namespace's Secrets that they do not matter.
func TestPublicImagesNeedNoSecret(t *testing.T) {
	w := newWorld(t)
	w.hub.open["public"] = []string{"anonymous"}
	w.hub.refuses = "bob"
	w.expect(query("public:1"), "sha256:a from registry", "HEAD public 1 as anonymous", "GET public sha256:a as anonymous")
	w.expect(query("public:1", "broken", "bob"), "sha256:a from cache", "HEAD public 1 as bob")
	before := w.hub.candidates
	w.expect(query("public:1", "broken", "bob"), "sha256:a from cache")
	if w.hub.candidates != before {
		t.Error("the Secrets are read again")
	}
	w.now = w.now.Add(2 * time.Minute)
	w.expect(query("public:1", "broken", "bob"), "sha256:a from registry", "HEAD public 1 as bob", "HEAD public 1 as anonymous")
	if w.hub.candidates == before {
		t.Error("the Secrets are never read again")
	}

	// What could not be read may yet be what counts.
	for range 2 {
		before = w.hub.candidates
		w.look(query("public:1", "unread"))
		if w.hub.candidates == before {
			t.Error("a Secret that could not be read is not read again")
		}
	}

	// A Secret of which the credential is needed is read each time: one that is gone opens nothing.
	w.expect(query("private:1", "alice"), "sha256:b from registry", "HEAD private 1 as alice", "GET private sha256:b as alice")
	before = w.hub.candidates
	w.expect(query("private:1", "alice"), "sha256:b from cache")
	if w.hub.candidates == before {
		t.Error("the Secret is not read")
	}
	w.hub.gone = "alice"
	w.expect(query("private:1", "alice"), "lookup-unauthorized", "HEAD private 1 as anonymous")
	if _, ok := w.cache.Known(t.Context(), query("private:1", "alice")); ok {
		t.Error("it is known without the Secret")
	}
}

// What a registry answers depends on who asks, and so does what is remembered: each gets what is for its credential.
func TestRegistriesAnswerByUser(t *testing.T) {
	w := newWorld(t)
	w.hub.open["vendor"] = []string{"anonymous"}
	w.hub.tags["vendor:1"] = "sha256:for-all"
	w.hub.byUser = map[string]string{"vendor:1 as alice": "sha256:for-alice", "vendor:1 as bob": "sha256:for-bob"}
	for range 2 {
		for _, who := range []string{"alice", "bob"} {
			answer, _ := w.look(query("vendor:1", who))
			if !strings.HasPrefix(answer, "sha256:for-"+who+" ") {
				t.Errorf("%s gets %s", who, answer)
			}
		}
		if answer, _ := w.look(query("vendor:1")); !strings.HasPrefix(answer, "sha256:for-all ") {
			t.Errorf("nobody gets %s", answer)
		}
	}
	w.expect(query("vendor:1", "alice"), "sha256:for-alice from cache")

	// Whose registry is down is given what was his own.
	w.hub.broken = &Failure{Reason: v1alpha1.ReasonLookupUnreachable, Err: errors.New("refused")}
	w.now = w.now.Add(5 * time.Minute)
	for _, who := range []string{"alice", "bob"} {
		w.expect(query("vendor:1", who), "sha256:for-"+who+" from stale", "HEAD vendor 1 as "+who)
	}
	// That one may read the repository is no right to what another has in it.
	w.hub.broken = nil
	w.hub.hidden = []string{"GET vendor sha256:for-alice as bob", "GET vendor sha256:for-alice as anonymous"}
	w.now = w.now.Add(time.Hour)
	w.expect(query("vendor@sha256:for-alice", "bob"), "lookup-not-found", "GET vendor sha256:for-alice as bob", "GET vendor sha256:for-alice as anonymous")
}

// A mirror that anybody may read opens what it has itself, and nothing of the registry behind it: neither by tag nor by
// digest, whatever it says it has.
func TestMirrorsOpenNothing(t *testing.T) {
	w := newWorld(t)
	w.hub.mirrors = []string{"mirror"}
	w.hub.tags["private:public"] = "sha256:p"
	w.hub.tags["mirror:public"] = "sha256:p"
	w.hub.open["mirror"] = []string{"anonymous"}
	secret := query("private:1")
	secret.Namespace = "mallory"
	alice := query("private:1", "alice")
	alice.Namespace = "alice"
	if answer, _ := w.look(alice); answer != "sha256:b from registry" {
		t.Fatal(answer)
	}
	public := query("private:public")
	public.Namespace = "mallory"
	if answer, _ := w.look(public); answer != "sha256:p from registry" {
		t.Fatal(answer)
	}
	if answer, _ := w.look(secret); answer != "lookup-unauthorized" {
		t.Errorf("mallory is told %s", answer)
	}
	// The mirror says what tags stand for, and answers for every digest that is asked for, but has none of it.
	w.hub.hidden = []string{"GET mirror"}
	w.hub.tags["mirror:copied"] = "sha256:b"
	for _, image := range []string{"private@sha256:b", "private:copied"} {
		q := query(image)
		q.Namespace = "mallory"
		if answer, asked := w.look(q); strings.HasPrefix(answer, "sha256:b") {
			t.Errorf("%s: mallory is told %s, having asked %q", image, answer, asked)
		}
	}
}

// What a namespace that may not read an image is told, and what is asked for that, is the same whatever others have done.
func TestOthersMakeNoDifference(t *testing.T) {
	down := &Failure{Reason: v1alpha1.ReasonLookupFailed, Err: errors.New("500 of bob's")}
	for _, image := range []string{"private:1", "private@sha256:b", "private:none", "private@sha256:none", "public:none"} {
		for _, broken := range []*Failure{nil, down} {
			var told [2]string
			for i, others := range []bool{false, true} {
				w := newWorld(t)
				in := func(namespace string, secrets ...string) Query {
					q := query(image, secrets...)
					q.Namespace = namespace
					return q
				}
				if others {
					w.look(in("alice", "alice")) // she has it
					w.look(in("carol"))          // she may not, either
					w.look(in("carol", "bob"))
				}
				w.hub.broken = broken
				_, known := w.cache.Known(t.Context(), in("bob", "bob"))
				_, err := w.cache.Lookup(t.Context(), in("bob", "bob"))
				asked := w.hub.asked
				told[i] = fmt.Sprintf("known %v, %v, having asked %q", known, err, asked)
			}
			if told[0] != told[1] {
				t.Errorf("%s, broken %v: bob is told\n%s\nand, when others have asked,\n%s", image, broken, told[0], told[1])
			}
		}
	}
}

// A namespace does not wait for, nor is served by, what another has under way, until it has shown its right.
func TestRequestsAreTheNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.hub.gate = make(chan struct{})
		var all sync.WaitGroup
		for _, namespace := range []string{"red", "red", "blue"} {
			q := query("private:1")
			q.Namespace = namespace
			all.Go(func() { _, _ = w.cache.Lookup(t.Context(), q) })
			synctest.Wait()
		}
		if want := []string{"HEAD private 1 as anonymous", "HEAD private 1 as anonymous"}; !cmp.Equal(want, w.hub.asked) {
			t.Errorf("asked %q, want once for each namespace", w.hub.asked)
		}
		close(w.hub.gate)
		all.Wait()
	})
}

// What is known of an image for a container that has a command does not depend on what other namespaces run.
func TestKnownIsTheNamespaces(t *testing.T) {
	w := newWorld(t)
	w.expect(query("public:1"), "sha256:a from registry", "HEAD public 1 as anonymous", "GET public sha256:a as anonymous")
	other := query("public:1")
	other.Namespace = "other"
	before := w.hub.candidates
	if _, ok := w.cache.Known(t.Context(), other); ok || w.hub.candidates != before {
		t.Error("another namespace learns that the image is run")
	}
	if _, ok := w.cache.Known(t.Context(), query("public:1")); !ok {
		t.Error("the namespace does not know its own")
	}
	w.now = w.now.Add(2 * time.Minute)
	if _, ok := w.cache.Known(t.Context(), query("public:1")); ok {
		t.Error("it is known for longer than a tag counts")
	}
}

// Names of Secrets that are too long for the cache cost it nothing.
func TestEndlessSecretNames(t *testing.T) {
	w := newWorld(t)
	q := query("public:1", strings.Repeat("broken", 1<<20))
	w.expect(q, "sha256:a from registry", "HEAD public 1 as anonymous", "GET public sha256:a as anonymous")
	w.expect(q, "sha256:a from cache")
	if w.cache.memory.bytes > 1<<20 {
		t.Errorf("the cache holds %d bytes", w.cache.memory.bytes)
	}
}

func TestFailuresCountForAWhile(t *testing.T) {
	w := newWorld(t)
	missing := query("public:2")
	w.expect(missing, "lookup-not-found", "HEAD public 2 as anonymous")
	w.now = w.now.Add(29 * time.Second)
	w.expect(missing, "lookup-not-found")
	w.hub.tags["public:2"] = "sha256:d"
	w.now = w.now.Add(time.Second)
	w.expect(missing, "sha256:d from registry", "HEAD public 2 as anonymous", "GET public sha256:d as anonymous")

	for _, c := range []struct {
		failure *Failure
		counts  time.Duration
	}{
		{&Failure{Reason: v1alpha1.ReasonLookupUnreachable, Err: errors.New("refused")}, 5 * time.Second},
		{&Failure{Reason: v1alpha1.ReasonLookupRateLimited, RetryAfter: time.Minute, Err: errors.New("429")}, time.Minute},
		{&Failure{Reason: v1alpha1.ReasonLookupRateLimited, RetryAfter: 1000 * time.Hour, Err: errors.New("429")}, 10 * time.Minute},
		{&Failure{Reason: v1alpha1.ReasonLookupTooLarge, Err: errors.New("huge")}, 30 * time.Second},
	} {
		w := newWorld(t)
		w.hub.broken = c.failure
		w.expect(query("public:1"), string(c.failure.Reason), "HEAD public 1 as anonymous")
		w.now = w.now.Add(c.counts - time.Millisecond)
		w.expect(query("public:1"), string(c.failure.Reason))
		w.hub.broken = nil
		w.now = w.now.Add(time.Millisecond)
		w.expect(query("public:1"), "sha256:a from registry", "HEAD public 1 as anonymous", "GET public sha256:a as anonymous")
	}
}

// A registry that is down is not asked again by every other credential; one that limits a credential is.
func TestOtherCredentials(t *testing.T) {
	w := newWorld(t)
	w.hub.broken = &Failure{Reason: v1alpha1.ReasonLookupUnreachable, Err: errors.New("refused")}
	w.expect(query("public:1", "alice", "bob"), "lookup-unreachable", "HEAD public 1 as alice")
	w = newWorld(t)
	w.hub.broken = &Failure{Reason: v1alpha1.ReasonLookupRateLimited, Err: errors.New("429")}
	w.expect(query("public:1", "alice"), "lookup-rate-limited", "HEAD public 1 as alice", "HEAD public 1 as anonymous")
}

// What is wrong with one credential does not hide the next one, as the kubelet goes on after any error.
func TestBrokenCredentialHidesNone(t *testing.T) {
	for _, reason := range []v1alpha1.Reason{v1alpha1.ReasonLookupFailed, v1alpha1.ReasonLookupInvalid} {
		w := newWorld(t)
		w.hub.fails = map[string]*Failure{"bob": {Reason: reason, Personal: true, Err: errors.New("its token server is broken")}}
		w.expect(query("private:1", "bob", "alice"), "sha256:b from registry", "HEAD private 1 as bob", "HEAD private 1 as alice", "GET private sha256:b as alice")
	}
}

// A stale answer is for when nobody has a better one: not the next mirror, nor the next credential.
func TestStaleIsTheLast(t *testing.T) {
	down := &Failure{Reason: v1alpha1.ReasonLookupUnreachable, Err: errors.New("refused")}
	w := newWorld(t)
	w.hub.mirrors = []string{"mirror"}
	w.hub.tags["mirror:1"] = "sha256:old"
	w.hub.open["mirror"] = []string{"anonymous"}
	w.look(query("public:1"))
	w.hub.fails = map[string]*Failure{"mirror": down}
	w.now = w.now.Add(5 * time.Minute)
	w.expect(query("public:1"), "sha256:a from registry", "HEAD mirror 1 as anonymous", "HEAD public 1 as anonymous", "GET public sha256:a as anonymous")

	// One that is not asked with every credential may yet have answered one of them.
	w = newWorld(t)
	w.expect(query("other:1", "bob"), "sha256:c from registry", "HEAD other 1 as bob", "GET other sha256:c as bob")
	w.hub.broken = down
	w.now = w.now.Add(5 * time.Minute)
	w.expect(query("other:1", "alice", "bob"), "sha256:c from stale", "HEAD other 1 as alice")
}

// A refusal is the author's to correct, unless a credential of his could not be read.
func TestTransient(t *testing.T) {
	for _, c := range []struct {
		query Query
		want  bool
	}{
		{query("private:1"), false},
		{query("private:1", "bob"), false},
		{query("private:1", "broken", "bob"), false},
		{query("private:1", "unread"), true},
		{query("public:none", "broken", "unread"), true},
	} {
		w := newWorld(t)
		_, err := w.cache.Lookup(t.Context(), c.query)
		if f := FailureOf(err); f.Transient != c.want {
			t.Errorf("%s with %q: %v is transient: %v", c.query.Reference, c.query.PullSecrets, f, f.Transient)
		}
	}
}

// Of what several candidates say, that counts which leaves the image possible.
func TestSummary(t *testing.T) {
	failures := func(reasons ...v1alpha1.Reason) (all []*Failure) {
		for _, r := range reasons {
			all = append(all, &Failure{Reason: r, Err: errors.New("no")})
		}
		return all
	}
	for _, reasons := range [][]v1alpha1.Reason{ // the first is wanted
		{v1alpha1.ReasonLookupTimeout, v1alpha1.ReasonLookupNotFound, v1alpha1.ReasonLookupUnauthorized},
		{v1alpha1.ReasonLookupNotFound, v1alpha1.ReasonLookupUnauthorized, v1alpha1.ReasonLookupUnauthorized},
		{v1alpha1.ReasonLookupRateLimited, v1alpha1.ReasonLookupUnsupported},
	} {
		want := reasons[0]
		for range reasons {
			if got := summary(failures(reasons...), nil).Reason; got != want {
				t.Errorf("of %q: %s", reasons, got)
			}
			reasons = append(reasons[1:], reasons[0])
		}
	}
}

func TestStale(t *testing.T) {
	w := newWorld(t)
	w.expect(query("public:1"), "sha256:a from registry", "HEAD public 1 as anonymous", "GET public sha256:a as anonymous")
	w.hub.broken = &Failure{Reason: v1alpha1.ReasonLookupFailed, Err: errors.New("500")}
	w.now = w.now.Add(10*time.Minute - time.Second)
	w.expect(query("public:1"), "sha256:a from stale", "HEAD public 1 as anonymous")
	w.expect(query("public:1"), "sha256:a from stale")
	if _, ok := w.cache.Known(t.Context(), query("public:1")); ok {
		t.Error("a stale answer is given as one that is known")
	}
	// Who wants the answer of now has none.
	fresh := query("public:1")
	fresh.Fresh = true
	w.expect(fresh, "lookup-failed")
	w.now = w.now.Add(time.Second)
	w.expect(query("public:1"), "lookup-failed")
	w.now = w.now.Add(5 * time.Second)
	w.expect(query("public:1"), "lookup-failed", "HEAD public 1 as anonymous")

	// What a digest runs is never yesterday's.
	w.expect(query("public@sha256:a"), "sha256:a from cache", "HEAD public sha256:a as anonymous")
	digest := query("public@sha256:a")
	digest.Fresh = true
	w.expect(digest, "sha256:a from cache")
	w.now = w.now.Add(24 * time.Hour)
	w.expect(digest, "lookup-failed", "HEAD public sha256:a as anonymous")

	// What was deleted does not come back.
	w.hub.broken = nil
	w.expect(query("other:1", "bob"), "sha256:c from registry", "HEAD other 1 as bob", "GET other sha256:c as bob")
	delete(w.hub.tags, "other:1")
	w.now = w.now.Add(time.Hour)
	w.expect(query("other:1", "bob"), "lookup-not-found", "HEAD other 1 as bob", "HEAD other 1 as anonymous")
	w.hub.broken = &Failure{Reason: v1alpha1.ReasonLookupFailed, Err: errors.New("500")}
	w.now = w.now.Add(time.Hour)
	w.expect(query("other:1", "bob"), "lookup-failed", "HEAD other 1 as bob")
}

// Who cannot wait goes without; the answer that comes later serves the next.
func TestDeadline(t *testing.T) {
	w := newWorld(t)
	w.hub.gate = make(chan struct{})
	w.hub.arrived = make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-w.hub.arrived
		cancel()
	}()
	_, err := w.cache.Lookup(ctx, query("public:1"))
	if got := FailureOf(err).Reason; got != v1alpha1.ReasonLookupTimeout {
		t.Errorf("reason %s, want a timeout", got)
	}
	close(w.hub.gate)
	// This joins the request that went on, or comes when it has ended.
	if found, err := w.cache.Lookup(t.Context(), query("public:1")); err != nil || found.Image.Digest != "sha256:a" {
		t.Errorf("%v, %v", found, err)
	}
	if diff := cmp.Diff([]string{"HEAD public 1 as anonymous", "GET public sha256:a as anonymous"}, w.hub.asked); diff != "" {
		t.Errorf("registry was asked (-want +got):\n%s", diff)
	}
	w.hub.asked = nil
	w.expect(query("public:1"), "sha256:a from cache")
}

// For whom nobody waits any more, nothing is begun: no Secret is read, no registry asked, and nothing goes on.
func TestNothingAfterTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 {
			_, err := w.cache.Lookup(ctx, query("public:1", "alice"))
			if got := FailureOf(err).Reason; got != v1alpha1.ReasonLookupTimeout {
				t.Errorf("reason %s, want a timeout", got)
			}
		}
		synctest.Wait()
		if len(w.hub.asked) > 0 || w.hub.candidates > 0 || len(w.cache.requests) > 0 {
			t.Errorf("%d candidates, asked %q, %d requests", w.hub.candidates, w.hub.asked, len(w.cache.requests))
		}
	})
}

// A namespace whose registries hang takes no other's lookups: not even where they want the same image, and however many
// namespaces do so. What waits leaves nothing behind, and no more goes on than there are slots.
func TestSlotsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.hub.open["hanging"] = []string{"anonymous"}
		w.hub.gate, w.hub.gated = make(chan struct{}), "HEAD hanging"
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var all sync.WaitGroup
		for namespace := range 3 {
			for i := range 1000 {
				q := query(fmt.Sprintf("hanging:%d", i))
				q.Namespace = fmt.Sprintf("evil-%d", namespace)
				if i == 999 { // what a good one wants: it waits in the queue of an evil one
					q = query("public:1")
					q.Namespace = "evil-0"
				}
				all.Go(func() { _, _ = w.cache.Lookup(ctx, q) })
			}
			synctest.Wait()
		}
		if got := w.cache.slots.Used(); got >= int64(DefaultLimits().MaxRequests) {
			t.Errorf("%d of %d slots are taken", got, DefaultLimits().MaxRequests)
		}
		good := query("public:1")
		good.Namespace = "good"
		if _, err := w.cache.Lookup(ctx, good); err != nil {
			t.Errorf("the good one gets %v", err)
		}
		all.Wait() // for their deadline
		synctest.Wait()
		w.cache.mu.Lock()
		if underWay := len(w.cache.requests); int64(underWay) != w.cache.slots.Used() || underWay > DefaultLimits().MaxRequests {
			t.Errorf("%d lookups are remembered, %d are under way", underWay, w.cache.slots.Used())
		}
		w.cache.mu.Unlock()
		time.Sleep(DefaultLimits().RequestTimeout)
		synctest.Wait()
		if used, left := w.cache.slots.Used(), len(w.cache.requests); used != 0 || left != 0 {
			t.Errorf("%d slots are taken and %d lookups remembered in the end", used, left)
		}
		close(w.hub.gate)
	})
}

func TestOneRequest(t *testing.T) {
	w := newWorld(t)
	w.hub.gate = make(chan struct{})
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if found, err := w.cache.Lookup(t.Context(), query("public:1")); err != nil || found.Image.Digest != "sha256:a" {
				t.Errorf("%v, %v", found, err)
			}
		})
	}
	// Who comes after the answer finds it in memory.
	close(w.hub.gate)
	all.Wait()
	if diff := cmp.Diff([]string{"HEAD public 1 as anonymous", "GET public sha256:a as anonymous"}, w.hub.asked); diff != "" {
		t.Errorf("registry was asked (-want +got):\n%s", diff)
	}
}

// However many credentials ask for an image at once, it is read once, and each has shown its own right to it: by HEAD of
// the tag, or by reading what has the digest.
func TestOneRead(t *testing.T) {
	down := &Failure{Reason: v1alpha1.ReasonLookupUnreachable, Err: errors.New("refused")}
	const first, second = "HEAD other 1 as alice\nGET other sha256:c as alice\n", "HEAD other 1 as bob"
	for name, c := range map[string]struct {
		image   string
		refused string
		broken  *Failure
		answers [2]string // alice's and bob's
		asked   string
	}{
		"by tag":             {image: "other:1", answers: [2]string{"sha256:c", "sha256:c"}, asked: first + second},
		"by digest":          {image: "other@sha256:c", answers: [2]string{"sha256:c", "sha256:c"}, asked: "GET other sha256:c as alice\nGET other sha256:c as bob"},
		"who may not is not": {image: "other:1", refused: "alice", answers: [2]string{"lookup-unauthorized", "sha256:c"}, asked: first + second + "\nGET other sha256:c as bob"},
		"nobody can":         {image: "other:1", broken: down, answers: [2]string{"lookup-unreachable", "lookup-unreachable"}, asked: first + second + "\nGET other sha256:c as bob"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.hub.refused = c.refused
				var answers [2]string
				var all sync.WaitGroup
				ask := func(i int, who string) {
					all.Go(func() {
						found, err := w.cache.Lookup(t.Context(), query(c.image, who))
						if answers[i] = found.Image.Digest; err != nil {
							answers[i] = string(FailureOf(err).Reason)
						}
					})
					synctest.Wait()
				}
				w.hub.gate, w.hub.gated = make(chan struct{}), "GET"
				ask(0, "alice")
				ask(1, "bob")
				w.hub.broken = c.broken
				close(w.hub.gate)
				all.Wait()
				if answers != c.answers {
					t.Errorf("answers %q, want %q", answers, c.answers)
				}
				var asked []string
				for _, a := range w.hub.asked {
					if !strings.HasSuffix(a, "as anonymous") {
						asked = append(asked, a)
					}
				}
				if diff := cmp.Diff(c.asked, strings.Join(asked, "\n")); diff != "" {
					t.Errorf("registry was asked (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// An image that another namespace reads is waited for, but not for longer than it usually takes: that one's slots may be
// taken by what it has begun besides.
func TestReadOfAnotherThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.hub.gate, w.hub.gated = make(chan struct{}), "GET other sha256:c as alice"
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		evil, good := query("other:1", "alice"), query("other:1", "bob")
		evil.Namespace = "evil"
		var all sync.WaitGroup
		all.Go(func() { _, _ = w.cache.Lookup(ctx, evil) })
		synctest.Wait()
		if found, err := w.cache.Lookup(ctx, good); err != nil || found.Image.Digest != "sha256:c" {
			t.Errorf("%v, %v", found, err)
		}
		if found, err := w.cache.Lookup(ctx, good); err != nil || found.From != FromCache {
			t.Errorf("the next one gets %v from %q, %v", found.Image, found.From, err)
		}
		all.Wait()
		close(w.hub.gate)
	})
}

func TestPanic(t *testing.T) {
	w := newWorld(t)
	w.hub.panics = true
	w.expect(query("public:1"), "lookup-failed", "HEAD public 1 as anonymous")
}

func TestNoWay(t *testing.T) {
	w := newWorld(t)
	nowhere := NewCache(none{}, DefaultLimits(), func() time.Time { return w.now })
	_, err := nowhere.Lookup(t.Context(), query("public:1"))
	if f := FailureOf(err); f.Reason != v1alpha1.ReasonLookupOff {
		t.Errorf("%v", f)
	}
}

type none struct{}

func (none) Candidates(context.Context, Query) iter.Seq2[Candidate, error] {
	return func(yield func(Candidate, error) bool) {
		yield(Candidate{}, &Failure{Reason: v1alpha1.ReasonLookupOff, Registry: "hub", Err: errors.New("off")})
	}
}

// What the cache says it needs is what it needs, and it keeps to its bound: 10,000 usual images are far below it,
// 100,000 reach it and stay there.
func TestMemory(t *testing.T) {
	w := newWorld(t)
	fill := func(from, to int) {
		for i := from; i < to; i++ {
			q := query(fmt.Sprintf("team-%d/application:v1.%d", i%100, i))
			digest := fmt.Sprintf("sha256:%064d", i)
			image := Image{Digest: digest, Configs: []Config{{
				Platform:   Platform{OS: "linux", Architecture: "amd64"},
				Entrypoint: []string{strings.Clone("/usr/local/bin/docker-entrypoint.sh")}, Cmd: []string{strings.Clone("application"), strings.Clone("--config=/etc/application.yaml")},
				StopSignal: "SIGQUIT", User: "65532", WorkingDir: "/srv", Path: strings.Clone("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
			}}}
			by := Candidate{Endpoint: q.Reference.Name(), Key: q.Reference.Name() + " as " + strings.Repeat("k", 64)}
			w.cache.keep(q, by, image)
			w.cache.remember(q, by, &request{image: image})
			w.cache.introduce(q, by)
		}
	}
	live := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := live()
	fill(0, 10_000)
	took := live() - before
	bytes, images := w.cache.memory.bytes, len(w.cache.images.byKey)
	t.Logf("10,000 images: %.1f MiB counted, %.1f MiB of heap", float64(bytes)/(1<<20), float64(took)/(1<<20))
	if images != 10_000 {
		t.Errorf("%d images are kept, want all", images)
	}
	if took > bytes*5/4 {
		t.Errorf("%d bytes of heap, counted %d: overheads are too low", took, bytes)
	}
	fill(10_000, 100_000)
	took = live() - before
	bytes, images = w.cache.memory.bytes, len(w.cache.images.byKey)
	t.Logf("100,000 images: %d kept, %.1f MiB counted, %.1f MiB of heap", images, float64(bytes)/(1<<20), float64(took)/(1<<20))
	if bound := DefaultLimits().Bytes; bytes > bound || took > bound*5/4 {
		t.Errorf("counted %d, heap %d, bound %d", bytes, took, bound)
	}
	if images < 10_000 {
		t.Errorf("only %d images are kept", images)
	}
	runtime.KeepAlive(w)
}

// BenchmarkLookup is a lookup of which the answer is in memory, of an image that anybody may read and of one that takes a
// credential.
func BenchmarkLookup(b *testing.B) {
	w := newWorld(b)
	for name, q := range map[string]Query{"public": query("public:1"), "private": query("private:1", "alice")} {
		if _, err := w.cache.Lookup(b.Context(), q); err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if found, err := w.cache.Lookup(b.Context(), q); err != nil || found.From != FromCache {
					b.Fatal(found, err)
				}
			}
		})
	}
}
