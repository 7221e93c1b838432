package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/podinit/podinit/internal/fair"
)

const (
	// firstPiece is how much memory a body has before any of it has arrived, in bytes, unless it is smaller. Then it has
	// as much again each time that this is full.
	firstPiece = 64 << 10
	// maxDecisions bounds what the decisions that are under way at once may take, in bytes. The Pods of one namespace have
	// at most half of it.
	maxDecisions = 48 << 20
	// perByte is about how many bytes a decision takes for each byte of the Pod, as measured for Pods of 1000
	// containers (TestManyLargePods). perDecision is what it takes besides, and maxDecision what it takes at most, since
	// rawjson bounds what it makes of a document.
	perByte     = 16
	perDecision = 16 << 10
	maxDecision = 6 << 20
)

var (
	errBusy = fmt.Errorf("more than %d MiB of AdmissionReviews at once: with failurePolicy Ignore the pod is admitted unchanged", MaxBodies>>20)
	// errNamespaceBusy and errNoTurn are for the Pods of a namespace that creates too many large ones at once.
	errNamespaceBusy = errors.New("too many large pods of this namespace are in flight; create the pod again")
	errNoTurn        = errors.New("too many large pods of this namespace are in flight, and the apiserver would not have waited longer; create the pod again")
)

// arrival is a body that arrives. What it takes is counted as it grows: a header that promises much, or a client that
// sends slowly, takes next to nothing from the others.
type arrival struct {
	// all is what all bodies take, in bytes.
	all *atomic.Int64
	// size is what the header says, in bytes; no more is read.
	size  int64
	taken int64
}

// read reads a body; it fails with errBusy if there is no room for it.
func (a *arrival) read(from io.Reader) ([]byte, error) {
	body := []byte{}
	for int64(len(body)) < a.size {
		if len(body) == cap(body) {
			room := min(a.size, max(firstPiece, 2*int64(cap(body))))
			if !a.take(room - a.taken) {
				return nil, errBusy
			}
			larger := make([]byte, len(body), room)
			copy(larger, body)
			body = larger
		}
		n, err := from.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err != nil && int64(len(body)) < a.size {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return body, nil
}

// take counts so many bytes more, if there is room for them.
func (a *arrival) take(bytes int64) bool {
	room := int64(MaxBodies)
	if a.size > smallBody {
		room -= smallBodies
	}
	if a.all.Add(bytes) > room {
		a.all.Add(-bytes)
		return false
	}
	a.taken += bytes
	return true
}

// forget gives back what was taken.
func (a *arrival) forget() { a.all.Add(-a.taken) }

// shares are what the Pods of each namespace have of the memory, so that those of one can never take it all. Its zero
// value is ready.
type shares struct {
	once sync.Once
	// bodies are those that were read, and decisions what is made of them; both in bytes.
	bodies, decisions *fair.Pool
}

// take waits for memory for the decision about a Pod, which done gives back. It fails at once where the Pods of the
// namespace that wait for theirs hold too much, and when ctx is done.
func (s *shares) take(ctx context.Context, in *reviewRequest) (done func(), outcome string, err error) {
	s.once.Do(func() { s.bodies, s.decisions = fair.New(MaxBodies), fair.New(maxDecisions) })
	namespace := shorten(in.Namespace, maxName)
	size := int64(len(in.Object))
	if !s.bodies.TryAcquire(namespace, size) {
		return nil, outcomeBusy, errNamespaceBusy
	}
	weight := min(perDecision+perByte*size, maxDecision)
	if err := s.decisions.Acquire(ctx, namespace, weight); err != nil {
		s.bodies.Release(namespace, size)
		return nil, outcomeTimeout, fmt.Errorf("%w: %w", errNoTurn, err)
	}
	return func() {
		s.decisions.Release(namespace, weight)
		s.bodies.Release(namespace, size)
	}, "", nil
}
