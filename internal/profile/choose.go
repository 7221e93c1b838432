package profile

import (
	"errors"
	"fmt"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/reason"
)

// Why there is no InitProfile of a name.
var (
	// ErrMissing means that there is none.
	ErrMissing = errors.New("there is no InitProfile of that name")
	// ErrUnread means that it is not known: InitProfiles cannot be read, or are not read yet.
	ErrUnread = errors.New("InitProfiles cannot be read")
)

// Profiles are the InitProfiles of a cluster.
type Profiles interface {
	// Get returns the spec of the InitProfile of that name, which is not to be changed; or ErrMissing or ErrUnread.
	Get(name string) (*v1alpha1.InitProfileSpec, error)
}

// Choose chooses the profile for a Pod, by what is named in the annotation of its namespace and in its own. It says
// which of the two are ignored. The profile is nil if every field has its default.
//
// The Pod's annotation goes before the namespace's, unless one of the two profiles does not let Pods choose. Where neither
// names one that can be used, it is the one called "default", if there is one.
func Choose(profiles Profiles, byNamespace, byPod string) (*Profile, []reason.Ignored) {
	var ignored []reason.Ignored
	ignore := func(where, name string, why reason.Skip) {
		why.Correctable = where == "pod" && why.Reason != v1alpha1.ReasonProfileInvalid && why.Reason != v1alpha1.ReasonProfileUnread
		setting := fmt.Sprintf("the %s's annotation %s: %q", where, v1alpha1.ProfileAnnotation, name)
		ignored = append(ignored, reason.Ignored{Setting: setting, Skip: why})
	}
	get := func(where, name string) *Profile {
		if name == "" {
			return nil
		}
		p, unusable := read(profiles, name)
		if unusable.Reason != "" {
			ignore(where, name, unusable)
		}
		return p
	}

	chosen := get("namespace", byNamespace)
	if chosen == nil {
		var unusable reason.Skip
		if chosen, unusable = read(profiles, v1alpha1.DefaultProfile); unusable.Reason == v1alpha1.ReasonProfileInvalid {
			ignored = append(ignored, reason.Ignored{Setting: fmt.Sprintf("InitProfile %q", v1alpha1.DefaultProfile), Skip: unusable})
		}
	}
	switch pods := get("pod", byPod); {
	case pods == nil || byPod == chosen.Name():
	case chosen != nil && !chosen.SelectableByPods():
		ignore("pod", byPod, reason.Skip{Reason: v1alpha1.ReasonProfileFixed})
	case !pods.SelectableByPods():
		ignore("pod", byPod, reason.Skip{Reason: v1alpha1.ReasonProfileNotForPods})
	default:
		chosen = pods
	}
	return chosen, ignored
}

// read gets one profile ready, or says why not.
func read(profiles Profiles, name string) (*Profile, reason.Skip) {
	spec, err := profiles.Get(name)
	switch {
	case errors.Is(err, ErrMissing):
		return nil, reason.Skip{Reason: v1alpha1.ReasonProfileMissing}
	case err != nil:
		return nil, reason.Skip{Reason: v1alpha1.ReasonProfileUnread}
	}
	p, err := New(name, *spec)
	if err != nil {
		return nil, reason.Skip{Reason: v1alpha1.ReasonProfileInvalid, Detail: err.Error()}
	}
	return p, reason.Skip{}
}
