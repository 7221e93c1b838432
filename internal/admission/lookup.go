package admission

import (
	"context"
	"fmt"
	"slices"
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

// Lookup is one lookup that was made, for metrics and logs.
type Lookup struct {
	// Container that it was for.
	Container string
	// Outcome is where the image was found, or the reason why it was not.
	Outcome string
	Took    time.Duration
	// Failure says what was tried and what came of it; nil if the image was found. It holds no secret.
	Failure error
	// Ignored says which of the Pod's credentials could not be used, and why. They hold no secret.
	Ignored []error
}

// lookUp finds the answers to a plan's questions, by the name of the container. Only what is nice to have and not known
// already is left out.
func (p Planner) lookUp(ctx context.Context, lookups []inject.Lookup) (map[string]inject.LookedUp, []Lookup) {
	var pod *imageconfig.Pod
	if len(lookups) > 1 && len(lookups[0].Query.PullSecrets) > 0 { // they are the same for all
		pod = imageconfig.NewPod()
		defer pod.Close()
	}
	answers := make(map[string]inject.LookedUp, len(lookups))
	var made []Lookup
	if required := count(lookups, true); required > 0 {
		made = p.lookUpRequired(ctx, lookups, required, pod, answers)
	}
	// Afterwards, since the image of one container may be that of another.
	if count(lookups, false) > 0 {
		p.recall(ctx, lookups, pod, answers)
	}
	return answers, made
}

func count(lookups []inject.Lookup, required bool) (n int) {
	for i := range lookups {
		if lookups[i].Required == required {
			n++
		}
	}
	return n
}

// recall adds what is known already to the answers.
func (p Planner) recall(ctx context.Context, lookups []inject.Lookup, pod *imageconfig.Pod, answers map[string]inject.LookedUp) {
	ctx, cancel := context.WithTimeout(ctx, min(knownTime, p.timeout(ctx)))
	defer cancel()
	for _, lookup := range lookups {
		if lookup.Required || ctx.Err() != nil {
			continue
		}
		lookup.Query.Pod = pod
		if found, ok := p.Images.Known(ctx, lookup.Query); ok {
			answers[lookup.Container] = inject.LookedUp{Image: found.Image}
		}
	}
}

// lookUpRequired adds the images that registries have to be asked for to the answers, and returns how each lookup went.
func (p Planner) lookUpRequired(
	ctx context.Context, lookups []inject.Lookup, required int, pod *imageconfig.Pod, answers map[string]inject.LookedUp,
) []Lookup {
	ctx, cancel := context.WithTimeout(ctx, p.timeout(ctx))
	defer cancel()
	if required == 1 { // the usual Pod, which needs no goroutine
		lookup := lookups[slices.IndexFunc(lookups, func(l inject.Lookup) bool { return l.Required })]
		lookup.Query.Pod = pod
		answer, made := p.lookUpOne(ctx, lookup)
		answers[lookup.Container] = answer
		return []Lookup{made}
	}
	made, results := make([]Lookup, 0, required), make([]inject.LookedUp, required)
	var (
		all   sync.WaitGroup
		slots = make(chan struct{}, maxLookups)
	)
	for _, lookup := range lookups {
		if !lookup.Required {
			continue
		}
		lookup.Query.Pod = pod
		made = append(made, Lookup{Container: lookup.Container})
		one, answer := &made[len(made)-1], &results[len(made)-1]
		slots <- struct{}{} // each is free again when ctx is done, at the latest
		if ctx.Err() != nil {
			<-slots
			answer.Failure = &imageconfig.Failure{Reason: v1alpha1.ReasonLookupTimeout, Err: imageconfig.ErrNoTime}
			one.Outcome, one.Failure = string(answer.Failure.Reason), answer.Failure
			continue
		}
		all.Go(func() {
			defer func() { <-slots }()
			*answer, *one = p.lookUpOne(ctx, lookup)
		})
	}
	all.Wait()
	for i := range made {
		answers[made[i].Container] = results[i]
	}
	return made
}

// lookUpOne finds one image, and says how it went.
func (p Planner) lookUpOne(ctx context.Context, lookup inject.Lookup) (answer inject.LookedUp, made Lookup) {
	start := time.Now()
	found, failure := p.find(ctx, lookup.Query)
	made = Lookup{Container: lookup.Container, Outcome: string(found.From), Took: time.Since(start), Ignored: found.Ignored}
	if failure != nil {
		made.Outcome, made.Failure = string(failure.Reason), failure // a nil *Failure in an error would not be nil
	}
	answer = inject.LookedUp{Image: found.Image, Failure: failure, Stale: found.From == imageconfig.FromStale}
	answer.NodesDiffer = failure == nil && p.NodesDiffer != nil && p.NodesDiffer(lookup.Query.Reference, found.Image.Digest)
	return answer, made
}

// find survives a panic, which in a goroutine would end the webhook.
func (p Planner) find(ctx context.Context, q imageconfig.Query) (found imageconfig.Found, failure *imageconfig.Failure) {
	defer func() {
		if p := recover(); p != nil {
			failure = &imageconfig.Failure{Reason: v1alpha1.ReasonLookupFailed, Err: fmt.Errorf("a bug in podinit, please report it: panic: %v", p)}
		}
	}()
	found, err := p.Images.Lookup(ctx, q)
	if err != nil {
		return found, imageconfig.FailureOf(err)
	}
	return found, nil
}

// lookupTime is how long a Pod may wait for its images.
func (p Planner) timeout(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		return min(p.LookupTimeout, left-max(planTime, left/4))
	}
	return p.LookupTimeout
}
