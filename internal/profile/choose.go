// Package profile finds the InitProfile that applies to a Pod.
//
// Choose is the rule and pure. Watcher keeps InitProfiles and Namespaces in memory and never keeps an admission
// waiting: what is not known has a default.
package profile

import (
	"errors"
	"fmt"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/inject"
)

// Why there is no InitProfile of a name.
var (
	// ErrMissing means that there is none.
	ErrMissing = errors.New("there is no InitProfile of that name")
	// ErrUnread means that nobody knows: InitProfiles cannot be read, or not yet.
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
// The Pod's wish goes before the namespace's, unless one of the two profiles does not let Pods choose. Where neither
// names one that can be used, it is the one called "default", if there is one.
func Choose(profiles Profiles, namespaceWish, podWish string) (*inject.Profile, []inject.Ignored) {
	var ignored []inject.Ignored
	ignore := func(where, name string, r v1alpha1.Reason, detail string) {
		ignored = append(ignored, inject.Ignored{
			Wish: fmt.Sprintf("the %s's annotation %s: %q", where, v1alpha1.ProfileAnnotation, name), Reason: r, Detail: detail,
			Correctable: where == "pod" && r != v1alpha1.ReasonProfileInvalid && r != v1alpha1.ReasonProfileUnread,
		})
	}
	get := func(where, name string) *inject.Profile {
		if name == "" {
			return nil
		}
		p, r, detail := read(profiles, name)
		if r != "" {
			ignore(where, name, r, detail)
		}
		return p
	}

	chosen := get("namespace", namespaceWish)
	if chosen == nil {
		var r v1alpha1.Reason
		var detail string
		if chosen, r, detail = read(profiles, v1alpha1.DefaultProfile); r == v1alpha1.ReasonProfileInvalid {
			ignored = append(ignored, inject.Ignored{Wish: fmt.Sprintf("InitProfile %q", v1alpha1.DefaultProfile), Reason: r, Detail: detail})
		}
	}
	switch pods := get("pod", podWish); {
	case pods == nil || podWish == chosen.Name():
	case chosen != nil && !chosen.SelectableByPods():
		ignore("pod", podWish, v1alpha1.ReasonProfileFixed, "")
	case !pods.SelectableByPods():
		ignore("pod", podWish, v1alpha1.ReasonProfileNotForPods, "")
	default:
		chosen = pods
	}
	return chosen, ignored
}

// read gets one profile ready, or says why not.
func read(profiles Profiles, name string) (*inject.Profile, v1alpha1.Reason, string) {
	spec, err := profiles.Get(name)
	switch {
	case errors.Is(err, ErrMissing):
		return nil, v1alpha1.ReasonProfileMissing, ""
	case err != nil:
		return nil, v1alpha1.ReasonProfileUnread, ""
	}
	p, err := inject.NewProfile(name, *spec)
	if err != nil {
		return nil, v1alpha1.ReasonProfileInvalid, err.Error()
	}
	return p, "", ""
}
