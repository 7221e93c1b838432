package inject

import (
	"slices"
	"strings"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/reason"
)

// comparedBy says what of the Pod its owner compares with what it made, if it is one of these; "" if nothing that is known.
func (p *Pod) comparedBy(owners []v1alpha1.ExcludedOwner) (compares v1alpha1.Comparison) {
	for i := range owners {
		o := &owners[i]
		if !ownedBy(p.Metadata.OwnerReferences, o) && !marked(p.Metadata, o.Marks) {
			continue
		}
		if o.Compares != v1alpha1.ComparesImage {
			return v1alpha1.ComparesPod // the default, and more than images
		}
		compares = v1alpha1.ComparesImage
	}
	return compares
}

func ownedBy(references []ownerReference, o *v1alpha1.ExcludedOwner) bool {
	return (o.Group != "" || o.Kind != "") && slices.ContainsFunc(references, func(r ownerReference) bool {
		group, _, found := strings.Cut(r.APIVersion, "/")
		if !found {
			group = "" // v1
		}
		return group == o.Group && (o.Kind == "" || o.Kind == r.Kind)
	})
}

// marked says whether the Pod has all these labels or annotations, KEY or KEY=VALUE, and there are any.
func marked(meta *metadata, marks []string) bool {
	return len(marks) > 0 && !slices.ContainsFunc(marks, func(mark string) bool {
		key, want, valued := strings.Cut(mark, "=")
		is := func(m map[string]string) bool {
			value, ok := m[key]
			return ok && (!valued || value == want)
		}
		return !is(meta.Labels) && !is(meta.Annotations)
	})
}

// pinsNothing says that pinDigest is ignored where the Pod's owner compares images; none where it does not pin anyway.
func (in *input) pinsNothing() []reason.Ignored {
	if in.compares != v1alpha1.ComparesImage || !in.setting.Profile.Pins() {
		return nil
	}
	return []reason.Ignored{{
		Setting: "the InitProfile's pinDigest: " + string(v1alpha1.PinOnLookup), Skip: reason.Skip{Reason: v1alpha1.ReasonOwnerComparesImages},
	}}
}

// Subject is the object that an Event about a Pod names.
type Subject struct {
	APIVersion, Kind, Name string
	// UID is empty for a Pod, which has none before it is created.
	UID string
}

// Subject is the controller that owns the Pod, or else the Pod itself, whose Name is empty if the apiserver is still to give
// it one. The apiserver does not bound what an owner reference says, and checks a Pod's name only after admission: what is
// longer than the name of any object is not used.
func (p *Plan) Subject() Subject {
	const maxName = 253 // of an object, in bytes
	for _, o := range p.pod.Metadata.OwnerReferences {
		if o.Controller && max(len(o.APIVersion), len(o.Kind), len(o.Name), len(o.UID)) <= maxName {
			return Subject{APIVersion: o.APIVersion, Kind: o.Kind, Name: o.Name, UID: o.UID}
		}
	}
	s := Subject{APIVersion: "v1", Kind: "Pod"}
	if len(p.pod.Metadata.Name) <= maxName {
		s.Name = p.pod.Metadata.Name
	}
	return s
}
