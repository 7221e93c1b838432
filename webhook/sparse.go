package webhook

import (
	"sync/atomic"

	"golang.org/x/time/rate"
)

const (
	// badPerSecond and badBurst bound the log lines about what clients do wrong: a client must not fill the node's disk.
	badPerSecond = 1
	badBurst     = 20
)

// sparse says which lines of a kind are written to the log, and counts the others. Its zero value is ready. It is safe for
// concurrent use.
type sparse struct {
	limiter atomic.Pointer[rate.Limiter]
	dropped atomic.Int64
}

// next says whether the next line is to be written, and how many before it were not.
func (s *sparse) next() (dropped int64, ok bool) {
	limiter := s.limiter.Load()
	if limiter == nil {
		s.limiter.CompareAndSwap(nil, rate.NewLimiter(badPerSecond, badBurst))
		limiter = s.limiter.Load()
	}
	if !limiter.Allow() {
		s.dropped.Add(1)
		return 0, false
	}
	return s.dropped.Swap(0), true
}
