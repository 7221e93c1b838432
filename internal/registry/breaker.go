package registry

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/fair"
	"github.com/podinit/podinit/internal/imageconfig"
)

const (
	// maxFailures in a row, and a host or a repository gets no request for restTime; then one request tries whether it is
	// back.
	maxFailures = 3
	restTime    = 5 * time.Second
	// maxAtHost to one host at once. One namespace has at most half of them, as many as three nodes have that pull.
	maxAtHost = 32
	// maxBreakers is how many hosts, and how many repositories, breakers are kept for: every user that may create Pods
	// can invent such names.
	maxBreakers = 1024
)

// All that a Pod learns about a request that was not sent: the answers to earlier requests are for the Pods that sent them.
var (
	errHostRests       = errors.New("requests to it have failed; podinit asks it again within 5 seconds")
	errRepositoryRests = errors.New("requests for this repository have failed; podinit asks again within 5 seconds")
)

// breakers stop requests to hosts and repositories that do not answer, so that no Pod waits for one that is known to be down.
//
// What is known of a host is known to all. A host fails if it cannot be connected to, or fails at /v2/, which is the
// same for every client. All else is a failure of one repository, as one namespace sees it with one credential: a proxy's
// project whose upstream is down, a repository that is broken or was broken on purpose.
type breakers struct {
	now func() time.Time

	mu           sync.Mutex
	hosts        map[string]*breaker
	repositories map[string]*breaker
	// queues are those of the hosts that are asked just now, by host.
	queues map[string]*queue
}

// queue is where requests to one host get a slot each, by namespace.
type queue struct {
	slots *fair.Pool
	users int
}

// breaker is about one host, or one repository.
type breaker struct {
	users    int
	failures int
	rests    time.Time
	// last is why it has failed.
	last v1alpha1.Reason
}

// visit is a request that was let in. hostAnswered, hostFailed, repositoryAnswered and repositoryFailed report its result,
// if the result is known; then it leaves.
type visit struct {
	all              *breakers
	host, repository *breaker
	// name of the host.
	name, namespace string
	// probes is set for the one that tries whether host or repository is back.
	probes bool
}

// enter lets a request of a namespace in. It fails if the host or the repository rests, with a Failure of the same reason
// as the last failure and nothing else of it.
func (b *breakers) enter(host, repository, namespace string) (visit, error) {
	v := visit{all: b, name: host, namespace: namespace}
	b.mu.Lock()
	defer b.mu.Unlock()
	v.host, v.repository = b.of(&b.hosts, host), b.of(&b.repositories, repository)
	if failure := v.rests(); failure != nil {
		return visit{}, failure
	}
	hostProbe, repositoryProbe := v.host.probe(b.now()), v.repository.probe(b.now())
	v.probes = hostProbe || repositoryProbe
	v.host.users++
	v.repository.users++
	return v, nil
}

// request waits for a slot for one request of the visit, at its own host or at another one that it leads to, until ctx is
// done. It fails as enter does if others have found the visit's own host or repository down meanwhile. The slot is held
// until done is called, once.
func (v visit) request(ctx context.Context, host string) (done func(), err error) {
	all := v.all
	all.mu.Lock()
	q, ok := all.queues[host]
	if !ok {
		if all.queues == nil {
			all.queues = map[string]*queue{}
		}
		q = &queue{slots: fair.New(maxAtHost)}
		all.queues[host] = q
	}
	q.users++
	all.mu.Unlock()
	leave := func() {
		all.mu.Lock()
		defer all.mu.Unlock()
		if q.users--; q.users == 0 {
			delete(all.queues, host)
		}
	}
	err = imageconfig.Turn(ctx, func(rank func() fair.Rank) error { return q.slots.AcquireRanked(ctx, v.namespace, 1, rank) })
	if err != nil {
		leave()
		return nil, err
	}
	done = func() {
		q.slots.Release(v.namespace, 1)
		leave()
	}
	if host == v.name && !v.probes {
		all.mu.Lock()
		failure := v.rests()
		all.mu.Unlock()
		if failure != nil {
			done()
			return nil, failure
		}
	}
	return done, nil
}

// rests is why the visit is not made; nil if it is. The lock is held.
func (v visit) rests() *imageconfig.Failure {
	now := v.all.now()
	switch {
	case v.host.resting(now):
		return &imageconfig.Failure{Reason: v.host.last, Registry: registryAt(v.name), Err: errHostRests}
	case v.repository.resting(now):
		return &imageconfig.Failure{Reason: v.repository.last, Registry: registryAt(v.name), Err: errRepositoryRests}
	}
	return nil
}

func (v visit) leave() {
	v.all.mu.Lock()
	defer v.all.mu.Unlock()
	v.host.users--
	v.repository.users--
}

func (v visit) hostAnswered()       { v.all.answered(v.host) }
func (v visit) repositoryAnswered() { v.all.answered(v.repository) }

func (v visit) hostFailed(why v1alpha1.Reason)       { v.all.failed(v.host, why) }
func (v visit) repositoryFailed(why v1alpha1.Reason) { v.all.failed(v.repository, why) }

func (b *breakers) answered(at *breaker) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at.failures = 0
}

func (b *breakers) failed(at *breaker, why v1alpha1.Reason) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at.failures++
	at.last, at.rests = why, b.now().Add(restTime)
}

// resting says whether it gets no requests.
func (at *breaker) resting(now time.Time) bool {
	return at.failures >= maxFailures && now.Before(at.rests)
}

// probe says whether this request is the one that tries whether it is back; the others wait for how it fares.
func (at *breaker) probe(now time.Time) bool {
	if at.failures < maxFailures {
		return false
	}
	at.rests = now.Add(restTime)
	return true
}

// of is the breaker of a host or repository. The lock is held.
func (b *breakers) of(all *map[string]*breaker, key string) *breaker {
	if at, ok := (*all)[key]; ok {
		return at
	}
	if *all == nil {
		*all = map[string]*breaker{}
	}
	for _, resting := range []bool{false, true} { // what rests is forgotten last
		if len(*all) < maxBreakers {
			break
		}
		for key, at := range *all {
			if at.users == 0 && at.resting(b.now()) == resting {
				delete(*all, key)
			}
		}
	}
	at := &breaker{}
	(*all)[key] = at
	return at
}
