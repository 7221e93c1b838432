package imageconfig

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/podinit/podinit/api/v1alpha1"
)

const (
	// hedgeAfter is how long a host may be silent before the next one is asked too.
	hedgeAfter = 500 * time.Millisecond
	// silentAfter is how long a host may be silent before the answer of a later one counts. It is long for a host that
	// lives, and still leaves a Pod the time for the answer.
	silentAfter = 2 * time.Second
	// hungTime is how long a host that has said nothing for the whole time of a lookup is then waited for hedgeAfter only,
	// unless it answers meanwhile.
	hungTime = 10 * time.Minute
)

// chain is one lookup: its candidates, in the order in which the node takes them, and what has come of each.
//
// A node asks the next host, or with the next credential, after any error of the one before, and never before that: the
// first answer in this order is what it runs. So it is here, too. But a node waits for minutes for a host that is silent,
// and a Pod is admitted within seconds. That is why the next host is asked as soon as one has been silent for hedgeAfter:
// its answer is kept until those before it have failed, or have been silent for silentAfter, or there is no time left.
// It counts at once where the silent host has not answered an earlier lookup of the namespace at all, and where the
// reference is a digest, which is the same everywhere.
//
// A host that is silent is not asked with another credential meanwhile, no more than one that is down.
type chain struct {
	cache *Cache
	q     Query
	// ctx is that of all that the chain waits for. end ends it.
	ctx context.Context //nolint:containedctx // it outlives the lookup's
	end context.CancelFunc
	// found has the candidates, each after one message to more but the first. It is closed after the last.
	found chan candidateOrError
	more  chan struct{}
	// results are the attempts of which the request has ended, or the wait for it.
	results chan result

	// now is when the present turn began. All that a turn decides is decided for that moment: a host of which one part of a
	// turn says that it is not silent yet, and another that it is, would be waited for until it is silent for longer.
	now time.Time

	attempts []*attempt
	ignored  []error
	dead     map[string]*Failure // hosts that another credential would not revive
	// searching is set while the next candidate is being found, exhausted when there is none.
	searching, exhausted bool
}

type candidateOrError struct {
	candidate Candidate
	err       error
}

type result struct {
	attempt *attempt
	failure *Failure
}

// attempt is one candidate of a chain.
type attempt struct {
	candidate Candidate
	// request is what is waited for; nil before it is begun, and where there was no need.
	request *request
	// hung is set if the host has hung before.
	hung bool
	// over is set when there is an answer, or a failure.
	over    bool
	image   Image
	from    From
	failure *Failure
	// skipped is set where the failure is that of the same host with another credential.
	skipped bool
}

func (a *attempt) pending() bool  { return a.request != nil && !a.over }
func (a *attempt) answered() bool { return a.over && a.failure == nil }

// newChain begins to find the candidates of a lookup, for which it holds the Pod's credentials until the chain has ended.
func (c *Cache) newChain(ctx context.Context, q Query) *chain {
	ch := &chain{
		cache: c, q: q, searching: true,
		found: make(chan candidateOrError), more: make(chan struct{}), results: make(chan result),
	}
	ch.ctx, ch.end = context.WithCancel(context.WithoutCancel(ctx))
	release := q.Pod.hold()
	go func() {
		defer release()
		ch.search()
	}()
	return ch
}

// search finds the candidates, each when it is wanted.
func (ch *chain) search() {
	defer close(ch.found)
	give := func(candidate Candidate, err error) bool {
		select {
		case ch.found <- candidateOrError{candidate, err}:
		case <-ch.ctx.Done():
			return false
		}
		select {
		case <-ch.more:
			return true
		case <-ch.ctx.Done():
			return false
		}
	}
	defer func() {
		if p := recover(); p != nil {
			give(Candidate{}, bug("", p))
		}
	}()
	for candidate, err := range ch.cache.registry.Candidates(ch.ctx, ch.q) {
		if !give(candidate, err) {
			return
		}
	}
}

// answer is what the lookup finds until ctx is done. Then nothing more is begun for it, unless a host is being asked: the
// lookup goes on without a Pod that waits, so that the next one is served, as long as there are slots that no other lookup
// waits for.
func (ch *chain) answer(ctx context.Context) (Found, error) {
	for {
		ch.now = time.Now()
		ch.advance(ctx)
		if found, err, ok := ch.decide(ch.silent); ok {
			ch.end()
			return found, err
		}
		if ch.wait(ctx.Done()) {
			continue
		}
		for _, a := range ch.attempts { // what came at the last moment
			if a.pending() {
				select {
				case <-a.request.done:
					ch.settle(a, a.request.failure)
				default:
				}
			}
		}
		found, err, ok := ch.decide(func(*attempt) bool { return true })
		if !ok {
			found, err = ch.outOfTime()
			if ch.follow() {
				go ch.finish(ctx)
				return found, err
			}
		}
		ch.end()
		return found, err
	}
}

// finish is the lookup of a Pod that does not wait any more.
func (ch *chain) finish(ctx context.Context) {
	defer ch.end()
	bound, cancel := context.WithTimeout(ch.ctx, ch.cache.limits.RequestTimeout)
	defer cancel()
	for {
		ch.now = time.Now()
		ch.advance(ctx)
		if _, _, ok := ch.decide(ch.silent); ok || !ch.searching && !slices.ContainsFunc(ch.attempts, (*attempt).pending) {
			return
		}
		if !ch.wait(bound.Done()) {
			return
		}
	}
}

// follow says whether this chain is the one that goes on for a request, of all that wait for it.
func (ch *chain) follow() bool {
	ch.cache.mu.Lock()
	defer ch.cache.mu.Unlock()
	follows := false
	for _, a := range ch.attempts {
		if a.pending() && a.request.sent && !a.request.followed {
			a.request.followed, follows = true, true
		}
	}
	return follows
}

// decide is the answer of the first candidate that has one, if those before it have failed or are not waited for; or the
// failure, if all have failed.
func (ch *chain) decide(giveUp func(*attempt) bool) (Found, error, bool) { //nolint:revive // the error is half of the answer
	passed := false
	for i, a := range ch.attempts {
		switch {
		case a.answered():
			if !passed && !perhapsAnother(ch.failures(i), ch.ignored) {
				ch.cache.introduce(ch.q, a.candidate)
			}
			return Found{Image: a.image, From: a.from, Ignored: ch.ignored}, nil, true
		case a.over:
		case giveUp(a):
			passed = true
		default:
			return Found{}, nil, false
		}
	}
	if passed || !ch.exhausted {
		return Found{}, nil, false
	}
	found, err := ch.fail(ch.failures(len(ch.attempts)))
	return found, err, true
}

// fail is the lookup of which no candidate has an answer: a stale one, if one may stand in for it.
func (ch *chain) fail(failures []*Failure) (Found, error) {
	var unanswered []path
	for _, a := range ch.attempts {
		if !a.over || !a.failure.final() {
			unanswered = append(unanswered, a.candidate.path())
		}
	}
	if image, from, ok := ch.cache.stale(ch.q, unanswered); ok {
		return Found{Image: image, From: from, Ignored: ch.ignored}, nil
	}
	return Found{Ignored: ch.ignored}, summary(failures, ch.ignored)
}

// outOfTime is the lookup of which no candidate has answered in time.
func (ch *chain) outOfTime() (Found, error) {
	failures := ch.failures(len(ch.attempts))
	ch.cache.mu.Lock()
	for _, a := range ch.attempts {
		switch {
		case !a.pending():
		case a.request.sent:
			failure := noTime(errNotInTime)
			failure.Registry = a.candidate.Host
			failures = append(failures, failure)
		default:
			failures = append(failures, noTime(errTooMany))
		}
	}
	ch.cache.mu.Unlock()
	if !slices.ContainsFunc(ch.attempts, (*attempt).pending) {
		failures = append(failures, noTime(ErrNoTime))
	}
	return ch.fail(failures)
}

// failures are those of the first n candidates.
func (ch *chain) failures(n int) (failures []*Failure) {
	for _, a := range ch.attempts[:n] {
		if a.over && a.failure != nil && !a.skipped {
			failures = append(failures, a.failure)
		}
	}
	return failures
}

// silent says whether a candidate is not waited for where a later one has the answer.
func (ch *chain) silent(a *attempt) bool {
	limit := silentAfter
	asked := ch.asked(a.candidate.Host)
	if ch.q.Reference.Pinned() || asked != nil && asked.hung {
		limit = hedgeAfter
	}
	return asked != nil && asked.request.pace.silent(ch.now) >= limit
}

// asked is the attempt at a host that is under way; nil if there is none.
func (ch *chain) asked(host string) *attempt {
	for _, a := range ch.attempts {
		if a.pending() && a.candidate.Host == host {
			return a
		}
	}
	return nil
}

// advance begins with each candidate that may be asked now: all before it have failed, or their hosts are silent. If that
// holds for all that are known, the next is wanted.
func (ch *chain) advance(ctx context.Context) {
	for _, a := range ch.attempts {
		if !a.over && a.request == nil {
			if failure := ch.dead[a.candidate.Host]; failure != nil {
				a.over, a.failure, a.skipped = true, failure, true
			} else if ch.asked(a.candidate.Host) == nil {
				ch.begin(ctx, a)
			}
		}
		switch {
		case a.answered():
			return // those behind it are not needed
		case a.pending() && a.request.pace.silent(ch.now) < hedgeAfter:
			return
		}
	}
	if !ch.searching && !ch.exhausted {
		select {
		case ch.more <- struct{}{}:
			ch.searching = true
		case <-ch.ctx.Done():
		}
	}
}

// begin asks a candidate, if its answer is not known.
func (ch *chain) begin(ctx context.Context, a *attempt) {
	image, f, failure := ch.cache.ask(ch.q, a.candidate)
	a.hung = ch.cache.hung(ch.q, a.candidate)
	if f == nil {
		a.image, a.from = image, FromCache
		ch.over(a, failure)
		return
	}
	a.request = f
	go func() {
		failure := ch.cache.wait(ctx, ch.ctx, ch.q, a.candidate, f)
		select {
		case ch.results <- result{a, failure}:
		case <-ch.ctx.Done():
		}
	}()
}

// settle notes how a request has ended.
func (ch *chain) settle(a *attempt, failure *Failure) {
	if failure == nil {
		a.image, a.from = a.request.image, FromRegistry
	}
	ch.over(a, failure)
}

func (ch *chain) over(a *attempt, failure *Failure) {
	a.over, a.failure = true, failure
	if failure != nil && !failure.personal() {
		if ch.dead == nil {
			ch.dead = map[string]*Failure{}
		}
		ch.dead[a.candidate.Host] = failure
	}
}

// wait waits until something has happened, or some host has become silent. It returns false if done is closed before.
func (ch *chain) wait(done <-chan struct{}) bool {
	timer := time.NewTimer(ch.untilSilent())
	defer timer.Stop()
	found := ch.found
	if !ch.searching {
		found = nil
	}
	select {
	case next, ok := <-found:
		ch.searching, ch.exhausted = false, !ok
		switch {
		case !ok:
		case next.err != nil:
			ch.ignored = append(ch.ignored, next.err)
		default:
			ch.attempts = append(ch.attempts, &attempt{candidate: next.candidate})
		}
	case r := <-ch.results:
		ch.settle(r.attempt, r.failure)
	case <-timer.C:
	case <-done:
		return false
	}
	return true
}

// untilSilent is when a host that is waited for may next be silent for as long as matters.
func (ch *chain) untilSilent() time.Duration {
	soonest := ch.cache.limits.RequestTimeout
	for _, a := range ch.attempts {
		if a.pending() {
			silent := a.request.pace.silent(ch.now)
			for _, matters := range []time.Duration{hedgeAfter, silentAfter} {
				if silent < matters {
					soonest = min(soonest, matters-silent)
				}
			}
		}
	}
	return soonest - time.Since(ch.now)
}

// perhapsAnother says whether one of the paths that have failed may yet work, and then be the one that counts.
func perhapsAnother(failures []*Failure, ignored []error) bool {
	return slices.ContainsFunc(failures, func(f *Failure) bool { return !f.final() }) ||
		slices.ContainsFunc(ignored, func(err error) bool {
			var f *Failure
			return errors.As(err, &f) && f.Transient
		})
}

// summary is the failure that says most: the first transient one if there is one, since what was not answered might have
// been the image; else what the last host of the chain has said, since a mirror need not have every image. It is transient
// itself if a credential could not be used for a reason that is not the author's.
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
		return FailureOf(errors.New("no host is configured for the registry"))
	}
	best := last(failures)
	for _, f := range failures {
		if !f.final() {
			best = f
			break
		}
	}
	summed := *best
	if len(open) > 0 {
		summed.Err = fmt.Errorf("%w; credentials that could not be used: %w", best.Err, errors.Join(open...))
	}
	for _, err := range ignored {
		var f *Failure
		summed.Transient = summed.Transient || errors.As(err, &f) && f.Transient
	}
	return &summed
}

// last is the failure of the last host that was asked. With several credentials it is the one that says more than a refusal,
// if there is one: without a credential, asked last, a refusal is the rule.
func last(failures []*Failure) *Failure {
	best := failures[len(failures)-1]
	for _, f := range failures {
		if f.Registry == best.Registry && f.Reason != v1alpha1.ReasonLookupUnauthorized {
			return f
		}
	}
	return best
}
