package webhook

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/inject"
)

// Injector is the Mutator that package inject makes of a Config.
type Injector struct {
	Config inject.Config
	// Setting says what holds for a Pod without being in it. It returns soon after ctx is done, and never fails: what
	// it cannot find out has a default. Without it all has.
	Setting func(ctx context.Context, namespace string, pod *inject.Pod) inject.Setting
	// Images finds out what containers without a command run; nil if nobody does.
	Images imageconfig.Source
	// LookupTime is how long a Pod may wait for that; less if admission has less.
	LookupTime time.Duration
}

// Plan decides about a Pod, and looks up what it needs to know for that.
func (i Injector) Plan(ctx context.Context, request Request) (*inject.Plan, []LookedUp, error) {
	pod, err := inject.Decode(request.Object)
	if err != nil {
		return nil, nil, err
	}
	setting := inject.Setting{Namespace: request.Namespace, Selected: true}
	if i.Setting != nil {
		setting = i.Setting(ctx, request.Namespace, pod)
	}
	plan := inject.NewPlan(i.Config, setting, pod)
	var lookups []LookedUp
	// A caller that makes namespaces up would have a share of the lookups for each.
	if i.Images != nil && len(plan.Lookups) > 0 && !setting.NamespaceMissing {
		err := request.wait(func() { setting.Images, lookups = i.lookUp(ctx, plan.Lookups) })
		if err != nil {
			return nil, lookups, fmt.Errorf("no processor is free any more after the lookups: %w", err)
		}
		if len(setting.Images) > 0 {
			plan = plan.With(setting.Images)
		}
	}
	return plan, lookups, nil
}

// Mutate plans and writes the patch. It changes nothing, so a dry run is no different.
func (i Injector) Mutate(ctx context.Context, request Request) (Answer, error) {
	plan, lookups, err := i.Plan(ctx, request)
	if err != nil {
		return Answer{}, err
	}
	answer := Answer{Lookups: lookups, Warnings: plan.Warnings()}
	for _, d := range plan.Containers {
		answer.Containers = append(answer.Containers, Container{Name: d.Name, Action: string(d.Action()), Reason: string(d.Reason), Source: string(d.Source)})
	}
	for _, ignored := range plan.Ignored {
		answer.Ignored = append(answer.Ignored, string(ignored.Reason))
	}
	patch, err := plan.Patch()
	refusals := plan.Refusals()
	switch {
	case len(refusals) > 0:
		answer.Refusal, answer.Warnings = strings.Join(refusals, " "), nil
	case err != nil:
		return Answer{}, err
	default:
		answer.Patch = patch
	}
	return answer, nil
}
