package registry

import (
	"context"
	"sync"
	"time"
)

const (
	// maxAccidents in a row, and a host is left alone for restTime; then one errand tries whether it is back.
	maxAccidents = 3
	restTime     = 5 * time.Second
	// maxErrands to one host at once.
	maxErrands = 8
	// maxHosts that something is remembered about: whoever may create Pods may invent hosts.
	maxHosts = 1024
)

// breakers keep errands from hosts that do not answer, so that no Pod waits for what is known to be down.
type breakers struct {
	now func() time.Time

	mu    sync.Mutex
	hosts map[string]*breaker
}

// breaker is about one host.
type breaker struct {
	slots     chan struct{}
	users     int
	accidents int
	rests     time.Time
	last      error
}

// enter waits for a place at a host, or fails with its last accident. leave says what came of the errand: nil also if
// the host has refused, which is an answer.
func (b *breakers) enter(ctx context.Context, host string) (leave func(accident error), err error) {
	b.mu.Lock()
	at := b.of(host)
	if at.accidents >= maxAccidents {
		if b.now().Before(at.rests) {
			defer b.mu.Unlock()
			return nil, at.last
		}
		at.rests = b.now().Add(restTime) // the others wait for how this one fares
	}
	at.users++
	b.mu.Unlock()

	done := func() {
		b.mu.Lock()
		at.users--
		b.mu.Unlock()
	}
	select {
	case at.slots <- struct{}{}:
	case <-ctx.Done():
		done()
		return nil, ctx.Err()
	}
	return func(accident error) {
		<-at.slots
		b.mu.Lock()
		if accident == nil {
			at.accidents = 0
		} else {
			at.accidents++
			at.last, at.rests = accident, b.now().Add(restTime)
		}
		b.mu.Unlock()
		done()
	}, nil
}

// of is the breaker of a host. The lock is held.
func (b *breakers) of(host string) *breaker {
	if at, ok := b.hosts[host]; ok {
		return at
	}
	if b.hosts == nil {
		b.hosts = map[string]*breaker{}
	}
	if len(b.hosts) >= maxHosts {
		for name, at := range b.hosts {
			if at.users == 0 {
				delete(b.hosts, name)
			}
		}
	}
	at := &breaker{slots: make(chan struct{}, maxErrands)}
	b.hosts[host] = at
	return at
}
