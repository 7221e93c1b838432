package webhook

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/inject"
)

const (
	// planTime is what is left at least, of the time that admission has, for what comes after the lookups; a quarter of it
	// where that is more.
	planTime = 250 * time.Millisecond
	// knownTime is how long a Pod may wait for what is only nice to have: it may take a Secret to be allowed to know it.
	knownTime = 200 * time.Millisecond
	// maxLookups of one Pod are under way at once.
	maxLookups = 8
)

// LookedUp is one lookup, for the metrics and the log.
type LookedUp struct {
	// Container that it was for; for the log alone.
	Container string
	// Outcome is where the image was found, or the reason why it was not.
	Outcome string
	Took    time.Duration
	// Failure says what was tried and what came of it; nil if the image was found. It holds no secret.
	Failure error
	// Ignored says which of the Pod's credentials could not be used, and why. They hold no secret.
	Ignored []error
}

// lookupLine is a LookedUp in the log.
type lookupLine struct {
	Container string   `json:"container"`
	Outcome   string   `json:"outcome"`
	Seconds   float64  `json:"seconds"`
	Failure   string   `json:"failure,omitempty"`
	Ignored   []string `json:"ignored,omitempty"`
}

func lookupLines(lookups []LookedUp) []lookupLine {
	lines := make([]lookupLine, len(lookups))
	for i, l := range lookups {
		lines[i] = lookupLine{Container: l.Container, Outcome: l.Outcome, Seconds: l.Took.Seconds()}
		if l.Failure != nil {
			lines[i].Failure = shorten(l.Failure.Error(), maxText)
		}
		for _, err := range l.Ignored {
			lines[i].Ignored = append(lines[i].Ignored, shorten(err.Error(), maxText))
		}
	}
	return lines
}

// lookUp finds the answers to a plan's questions, by the name of the container. Only what is nice to have and not known
// already is left out.
func (i Injector) lookUp(ctx context.Context, lookups []inject.Lookup) (map[string]inject.LookedUp, []LookedUp) {
	ctx, cancel := context.WithTimeout(ctx, i.lookupTime(ctx))
	defer cancel()
	if len(lookups) == 1 && lookups[0].Required { // the usual Pod, which needs nobody else
		answer, told := i.lookUpOne(ctx, lookups[0])
		return map[string]inject.LookedUp{lookups[0].Container: answer}, []LookedUp{told}
	}
	soon, cancel := context.WithTimeout(ctx, knownTime)
	defer cancel()
	var pod *imageconfig.Pod
	if len(lookups[0].Query.PullSecrets) > 0 { // they are the same for all
		pod = imageconfig.NewPod()
		defer pod.Close()
	}
	var (
		mu      sync.Mutex
		answers map[string]inject.LookedUp
		told    []LookedUp
		all     sync.WaitGroup
		slots   = make(chan struct{}, maxLookups)
	)
	answer := func(container string, a inject.LookedUp) {
		if answers == nil {
			answers = map[string]inject.LookedUp{}
		}
		answers[container] = a
	}
	for _, lookup := range lookups {
		lookup.Query.Pod = pod
		if !lookup.Required {
			if soon.Err() != nil {
				continue
			}
			if found, ok := i.Images.Known(soon, lookup.Query); ok {
				mu.Lock()
				answer(lookup.Container, inject.LookedUp{Image: found.Image})
				mu.Unlock()
			}
			continue
		}
		slots <- struct{}{} // each is free again when ctx is done, at the latest
		if err := ctx.Err(); err != nil {
			<-slots
			failure := &imageconfig.Failure{Reason: v1alpha1.ReasonLookupTimeout, Err: imageconfig.ErrNoTime}
			mu.Lock()
			answer(lookup.Container, inject.LookedUp{Failure: failure})
			told = append(told, LookedUp{Container: lookup.Container, Outcome: string(failure.Reason), Failure: failure})
			mu.Unlock()
			continue
		}
		all.Go(func() {
			defer func() { <-slots }()
			found, one := i.lookUpOne(ctx, lookup)
			mu.Lock()
			defer mu.Unlock()
			answer(lookup.Container, found)
			told = append(told, one)
		})
	}
	all.Wait()
	return answers, told
}

// lookUpOne finds one image, and says how it went.
func (i Injector) lookUpOne(ctx context.Context, lookup inject.Lookup) (answer inject.LookedUp, told LookedUp) {
	start := time.Now()
	found, failure := i.find(ctx, lookup.Query)
	told = LookedUp{Container: lookup.Container, Outcome: string(found.From), Took: time.Since(start), Ignored: found.Ignored}
	if failure != nil {
		told.Outcome, told.Failure = string(failure.Reason), failure // a nil *Failure in an error would not be nil
	}
	return inject.LookedUp{Image: found.Image, Failure: failure}, told
}

// find survives a panic, which in a goroutine would end the webhook.
func (i Injector) find(ctx context.Context, q imageconfig.Query) (found imageconfig.Found, failure *imageconfig.Failure) {
	defer func() {
		if p := recover(); p != nil {
			failure = &imageconfig.Failure{Reason: v1alpha1.ReasonLookupFailed, Err: fmt.Errorf("a bug in podinit, please report it: panic: %v", p)}
		}
	}()
	found, err := i.Images.Lookup(ctx, q)
	if err != nil {
		return found, imageconfig.FailureOf(err)
	}
	return found, nil
}

// lookupTime is how long a Pod may wait for its images.
func (i Injector) lookupTime(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		return min(i.LookupTime, left-max(planTime, left/4))
	}
	return i.LookupTime
}
