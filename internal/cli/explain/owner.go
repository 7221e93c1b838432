package explain

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/podinit/podinit/api/v1alpha1"
)

// Owner is what has made a pod.
type Owner struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Group of its API; empty for the core group.
	Group string `json:"group,omitempty"`
	// Compares is what of a live pod it compares with what it made, where the profile says that it does.
	Compares v1alpha1.Comparison `json:"compares,omitempty"`
	// Note says whether it leaves a wrapped pod as it is, as far as this pod shows it.
	Note string `json:"note,omitempty"`
}

// longEnough is how long a controller has left a pod as it is that does not compare it: those that do find the difference
// as soon as the pod exists.
const longEnough = 10 * time.Minute

// ownerOf is the pod's controller, or its first owner; nil if it has none. hasInit says that some container of the pod
// starts the init.
func ownerOf(pod *corev1.Pod, compares v1alpha1.Comparison, hasInit bool, now time.Time) *Owner {
	reference := metav1.GetControllerOf(pod)
	if reference == nil {
		if len(pod.OwnerReferences) == 0 {
			return nil
		}
		reference = &pod.OwnerReferences[0]
	}
	o := &Owner{Kind: reference.Kind, Name: reference.Name, Compares: compares}
	if group, _, found := strings.Cut(reference.APIVersion, "/"); found {
		o.Group = group
	}
	entry := fmt.Sprintf("{group: %s, kind: %s}", o.Group, o.Kind)
	switch {
	case compares == v1alpha1.ComparesPod:
		o.Note = "The profile's exclude.owners says that it, or its owner, compares live pods with its own template."
	case compares == v1alpha1.ComparesImage:
		o.Note = "The profile's exclude.owners says that it, or its owner, compares the images of live pods with its own template: podinit " +
			"does not pin them."
	case o.Group == "" || o.Group == "apps" || o.Group == "batch":
		// Kubernetes' own controllers compare nothing.
	case !hasInit || pod.CreationTimestamp.IsZero():
		o.Note = "If it compares live pods with its own template, it replaces a wrapped pod again and again. Run explain for a wrapped pod to " +
			"see; if it does, add " + entry + " to exclude.owners of the profile."
	case pod.DeletionTimestamp != nil:
		o.Note = fmt.Sprintf("The pod is wrapped and was deleted %s after it was made. If its successor is deleted as soon, its owner compares "+
			"live pods with its own template: add %s to exclude.owners of the profile.",
			duration.HumanDuration(pod.DeletionTimestamp.Sub(pod.CreationTimestamp.Time)), entry)
	case now.Sub(pod.CreationTimestamp.Time) < longEnough:
		o.Note = fmt.Sprintf("It has left this wrapped pod as it is for %s. Look again in ten minutes: if another pod has replaced it, the "+
			"owner compares live pods with its own template; add %s to exclude.owners of the profile.",
			duration.HumanDuration(now.Sub(pod.CreationTimestamp.Time)), entry)
	default:
		o.Note = fmt.Sprintf("It has left this wrapped pod as it is for %s: the owner does not compare it with its own template, or less often "+
			"than that.", duration.HumanDuration(now.Sub(pod.CreationTimestamp.Time)))
	}
	return o
}

// String is the owner as people write it.
func (o Owner) String() string {
	if o.Group == "" {
		return o.Kind + "/" + o.Name
	}
	return fmt.Sprintf("%s/%s (%s)", o.Kind, o.Name, o.Group)
}
