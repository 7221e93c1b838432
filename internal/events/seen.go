package events

import (
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// seen remembers what was recorded, and how much of it in each namespace.
type seen struct {
	mu sync.Mutex
	// written is when an Event was recorded, by its key.
	written    map[string]time.Time
	namespaces map[string]*rate.Limiter
	// tidied is when what is out of date was last forgotten for want of room.
	tidied time.Time
}

// next says whether an Event may be written: "" if it may, else the outcome. If too much is remembered, it may not.
func (s *seen) next(key, namespace string, now time.Time) (outcome string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.written[key]; ok && now.Sub(at) < interval {
		return outcomeKnown
	}
	s.tidy(now)
	limiter := s.namespaces[namespace]
	if len(s.written) >= maxRemembered || limiter == nil && len(s.namespaces) >= maxRemembered {
		return outcomeDropped
	}
	if limiter == nil {
		limiter = rate.NewLimiter(rate.Every(namespaceInterval), namespaceBurst)
		s.namespaces[namespace] = limiter
	}
	if !limiter.AllowN(now, 1) {
		return outcomeDropped
	}
	s.written[key] = now
	return ""
}

// tidy forgets what is out of date if there is no more room; not for every Event of a flood, since it looks at everything.
func (s *seen) tidy(now time.Time) {
	if max(len(s.written), len(s.namespaces)) < maxRemembered || now.Sub(s.tidied) < time.Second {
		return
	}
	s.tidied = now
	maps.DeleteFunc(s.written, func(_ string, at time.Time) bool { return now.Sub(at) >= interval })
	// A namespace that has its whole burst again is as good as a new one.
	maps.DeleteFunc(s.namespaces, func(_ string, l *rate.Limiter) bool { return l.TokensAt(now) >= namespaceBurst })
}

// forget takes back that an Event was recorded.
func (s *seen) forget(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.written, key)
}
