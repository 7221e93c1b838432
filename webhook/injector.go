package webhook

import (
	"context"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/inject"
)

// Injector is the Mutator that package inject makes of a Config.
type Injector struct {
	Config inject.Config
}

// Mutate plans and writes the patch. It does no I/O, so a dry run is no different.
func (i Injector) Mutate(_ context.Context, request Request) (Answer, error) {
	pod, err := inject.Decode(request.Object)
	if err != nil {
		return Answer{}, err
	}
	plan := inject.NewPlan(i.Config, request.Namespace, pod)
	patch, err := plan.Patch()
	if err != nil {
		return Answer{}, err
	}
	answer := Answer{Patch: patch, Warnings: plan.Warnings()}
	for _, d := range plan.Containers {
		action := v1alpha1.ActionWrapped
		if d.Reason != "" {
			action = v1alpha1.ActionSkipped
		}
		answer.Containers = append(answer.Containers, Container{Action: string(action), Reason: string(d.Reason), Source: string(d.Source)})
	}
	return answer, nil
}
