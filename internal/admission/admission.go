// Package admission decides about a Pod that is about to be created: what holds for it without being in it, a plan, the
// lookups that the plan asks for, and the plan with their answers. It knows nothing of HTTP: package webhook serves it to apiservers,
// and the command line plans with it.
package admission

import (
	"context"
	"fmt"
	"time"

	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/reason"
)

// Planner plans for the Pods of an installation. Its methods may be called from many goroutines, and change nothing.
type Planner struct {
	// Config of the installation.
	Config inject.Config
	// Setting is what holds for a Pod without being in it. It returns soon after ctx is done, and never fails: what it cannot
	// find out has a default. Without it all has.
	Setting func(ctx context.Context, namespace string, pod *inject.Pod) inject.Setting
	// Images finds out what containers without a command run; nil looks nothing up.
	Images imageconfig.Source
	// NodesDiffer says whether a node holds another image under a tag than the one with a digest; nil if that is not known.
	NodesDiffer func(imageconfig.Reference, string) bool
	// LookupTimeout is how long a Pod may wait for its lookups; less if the context ends earlier.
	LookupTimeout time.Duration
}

// Request is a Pod to plan for.
type Request struct {
	// Namespace of the Pod. The Pod's own field may be empty.
	Namespace string
	// Object is the Pod's JSON.
	Object []byte
	// Wait calls what waits for others, and lets other Pods have the processor meanwhile. It fails if there is no time left to
	// have the processor back. Nil only calls.
	Wait func(until func()) error
}

// wait calls what waits for others.
func (r Request) wait(until func()) error {
	if r.Wait != nil {
		return r.Wait(until)
	}
	until()
	return nil
}

// Result is the plan for a Pod.
type Result struct {
	Plan *inject.Plan
	// Lookups that were made for it.
	Lookups []Lookup
}

// Plan decides about a Pod, and looks up what it needs to know for that. It waits for nothing once ctx is done. An error means
// that the Pod cannot be read, or that Wait has failed.
func (p Planner) Plan(ctx context.Context, request Request) (Result, error) {
	pod, err := inject.Decode(request.Object)
	if err != nil {
		return Result{}, err
	}
	setting := inject.Setting{Namespace: request.Namespace, Selected: true}
	if p.Setting != nil {
		setting = p.Setting(ctx, request.Namespace, pod)
	}
	result := Result{Plan: inject.NewPlan(p.Config, setting, pod)}
	questions := result.Plan.Lookups
	// A caller that makes namespaces up would have a share of the lookups for each.
	if p.Images == nil || len(questions) == 0 || setting.NamespaceMissing {
		return result, nil
	}
	var answers map[string]inject.LookedUp
	if err := request.wait(func() { answers, result.Lookups = p.lookUp(ctx, questions) }); err != nil {
		return Result{}, fmt.Errorf("no free processor after the lookups: %w", err)
	}
	if len(answers) > 0 {
		result.Plan = result.Plan.With(answers)
	}
	return result, nil
}

// Answer is what becomes of a Pod.
type Answer struct {
	// Patch is a JSON patch (RFC 6902); nil if the Pod stays as it is.
	Patch []byte
	// Warnings are for the user that creates the Pod.
	Warnings []string
	// Refusals are why the Pod is not admitted; none if it is. Only a profile with onProblem Reject asks for that.
	Refusals []string
	// Containers that were decided about.
	Containers []inject.Decision
	// Ignored are settings of the Pod or its namespace that are not followed.
	Ignored []reason.Ignored
	// Problems are what the Pod's author can correct, where the Pod is admitted all the same; they are about Subject.
	Problems []inject.Problem
	Subject  inject.Subject
	// Lookups that were made for it.
	Lookups []Lookup
}

// Mutate plans, and writes the patch or why the Pod is refused. An error means that there is no patch that is sure to be right.
func (p Planner) Mutate(ctx context.Context, request Request) (Answer, error) {
	result, err := p.Plan(ctx, request)
	if err != nil {
		return Answer{}, err
	}
	return result.Answer()
}

// Answer is what becomes of the Pod by this plan. It fails where the patch cannot be written, unless the Pod is refused.
func (r Result) Answer() (Answer, error) {
	answer := Answer{Containers: r.Plan.Containers, Ignored: r.Plan.Ignored, Lookups: r.Lookups}
	if answer.Refusals = r.Plan.Refusals(); len(answer.Refusals) > 0 {
		return answer, nil
	}
	var err error
	if answer.Patch, err = r.Plan.Patch(); err != nil {
		return Answer{}, err
	}
	if answer.Warnings = r.Plan.Warnings(); len(answer.Warnings) > 0 {
		answer.Problems, answer.Subject = r.Plan.Problems(), r.Plan.Subject()
	}
	return answer, nil
}
