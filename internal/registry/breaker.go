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
	// maxAccidents in a row, and a host or a repository is left alone for restTime; then one errand tries whether it is
	// back.
	maxAccidents = 3
	restTime     = 5 * time.Second
	// maxErrands to one host at once. One namespace has at most half of them.
	maxErrands = 16
	// maxBreakers is how many hosts, and how many repositories, something is remembered about: whoever may create Pods
	// may invent them.
	maxBreakers = 1024
)

// All that a Pod is told of an errand that was not sent: what the earlier ones have got is for those who sent them.
var (
	errHostRests       = errors.New("requests to it have failed; it is asked again within 5 seconds")
	errRepositoryRests = errors.New("requests for this repository have failed; it is asked again within 5 seconds")
)

// breakers keep errands from what does not answer, so that no Pod waits for what is known to be down.
//
// What is known of a host is known to all. A host fails if it cannot be connected to, or fails at /v2/, which is the
// same for everybody. All else is a failure of one repository, as one namespace sees it with one credential: a proxy's
// project whose upstream is down, a repository that is broken or belongs to somebody who breaks it on purpose.
type breakers struct {
	now func() time.Time

	mu           sync.Mutex
	hosts        map[string]*breaker
	repositories map[string]*breaker
}

// breaker is about one host, or one repository.
type breaker struct {
	slots     *fair.Pool // of a host, by namespace
	users     int
	accidents int
	rests     time.Time
	// last is why it has failed.
	last v1alpha1.Reason
}

// visit is an errand that was let in. What came of it is said with hostAnswered, hostFailed, repositoryAnswered and
// repositoryFailed, or not said if it is not known; then it leaves.
type visit struct {
	all              *breakers
	host, repository *breaker
	namespace        string
}

// enter waits for a slot of a namespace at a host. It fails if the host or the repository rests, with a Failure of the same reason as
// the last accident and nothing else of it.
func (b *breakers) enter(ctx context.Context, host, repository, namespace string) (visit, error) {
	v := visit{all: b, namespace: namespace}
	b.mu.Lock()
	v.host, v.repository = b.of(&b.hosts, host), b.of(&b.repositories, repository)
	if failure := v.rests(host); failure != nil {
		b.mu.Unlock()
		return visit{}, failure
	}
	hostProbe, repositoryProbe := v.host.probe(b.now()), v.repository.probe(b.now())
	v.host.users++
	v.repository.users++
	if v.host.slots == nil {
		v.host.slots = fair.New(maxErrands)
	}
	b.mu.Unlock()

	if err := v.host.slots.Acquire(ctx, namespace, 1); err != nil {
		v.done()
		return visit{}, err
	}
	if !hostProbe && !repositoryProbe { // others may have found it down meanwhile
		b.mu.Lock()
		failure := v.rests(host)
		b.mu.Unlock()
		if failure != nil {
			v.leave()
			return visit{}, failure
		}
	}
	return v, nil
}

// rests is why the visit is not made; nil if it is. The lock is held.
func (v visit) rests(host string) *imageconfig.Failure {
	now := v.all.now()
	switch {
	case v.host.resting(now):
		return &imageconfig.Failure{Reason: v.host.last, Registry: dockerHub(host), Err: errHostRests}
	case v.repository.resting(now):
		return &imageconfig.Failure{Reason: v.repository.last, Registry: dockerHub(host), Err: errRepositoryRests}
	}
	return nil
}

func (v visit) leave() {
	v.host.slots.Release(v.namespace, 1)
	v.done()
}

func (v visit) done() {
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
	at.accidents = 0
}

func (b *breakers) failed(at *breaker, why v1alpha1.Reason) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at.accidents++
	at.last, at.rests = why, b.now().Add(restTime)
}

// resting says whether it is left alone.
func (at *breaker) resting(now time.Time) bool {
	return at.accidents >= maxAccidents && now.Before(at.rests)
}

// probe says whether this errand is the one that tries whether it is back; the others wait for how it fares.
func (at *breaker) probe(now time.Time) bool {
	if at.accidents < maxAccidents {
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
