package inject

import (
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/profile"
	"github.com/podinit/podinit/internal/reason"
)

// Config is what an installation of podinit decides for all its Pods.
type Config struct {
	// Image is the reference of the image that holds the init, as the copier pulls it.
	Image string
	// Mirrors are the repositories, without tag and digest, that other webhooks may have the copier pull Image from. A
	// user that can push to one chooses what runs in wrapped Pods.
	Mirrors []string
	// Version of the init in Image.
	Version string
	// OpenShift has the copier ask for no seccomp profile that the Pod's containers do not ask for, also where no annotation
	// of the Pod says that SecurityContextConstraints hold for it.
	OpenShift bool
	// ExcludedNamespaces are never touched.
	ExcludedNamespaces []string
}

// SystemNamespaces are those of what the cluster itself needs, which a webhook must not hold up: they are excluded by
// default, together with the webhook's own.
var SystemNamespaces = []string{"kube-system", "kube-public", "kube-node-lease"}

// Setting is what holds for a Pod without being in it.
type Setting struct {
	// Namespace is the request's: the Pod's own field may still be empty.
	Namespace string
	// NamespaceInject is the namespace's label podinit.dev/inject, if it is known.
	NamespaceInject string
	// NamespaceMissing is set where the cluster seems to have no such namespace: no Pod can be created in it, so a client
	// that sends one is hardly an apiserver.
	NamespaceMissing bool
	// Selected is set where the apiserver has sent the Pod. It sends only those that have opted in, and knows that
	// better than we do: our NamespaceInject may be older than its own.
	Selected bool
	// Suspended leaves every Pod alone that would have been looked at, whatever its profile says of problems.
	Suspended bool
	// Profile that applies; nil means that every field of it has its default.
	Profile *profile.Profile
	// ImageVolumes is what profiles with delivery Auto go by.
	ImageVolumes ImageVolumes
	// Ignored are the settings that were ignored when Profile was chosen.
	Ignored []reason.Ignored
	// Architectures of the cluster's Linux nodes, sorted; nil if they are not known.
	Architectures []string
	// Unavailable are the architectures whose nodes cannot pull the init image; nil if all can, or it is not known.
	Unavailable []string
	// LeastResources are what the namespace's LimitRanges demand of every container at least, by the resource's name; empty if
	// they demand nothing, nil if it is not known.
	LeastResources map[string]resource.Quantity
	// Images are the answers to a plan's Lookups, by the name of the container. What is not answered is not known.
	Images map[string]LookedUp
}

// ImageVolumes says whether a cluster can mount images as volumes. The zero value means that this is not known.
type ImageVolumes struct {
	// Verdict is ReasonEveryNodeCan, or why not every node can.
	Verdict v1alpha1.Reason
	// VerdictInUserNamespaces is the same for Pods with hostUsers: false.
	VerdictInUserNamespaces v1alpha1.Reason
}

// For is the verdict for one Pod.
func (v ImageVolumes) For(pod *Pod) v1alpha1.Reason {
	verdict := v.Verdict
	if own := pod.Spec.HostUsers; own != nil && !*own {
		verdict = v.VerdictInUserNamespaces
	}
	if verdict == "" {
		verdict = v1alpha1.ReasonClusterUnknown
	}
	return verdict
}

// deliver chooses how the init reaches the containers.
func (in *input) deliver() (v1alpha1.Delivery, v1alpha1.Reason) {
	switch in.setting.Profile.Spec.Delivery {
	case v1alpha1.DeliverByImageVolume:
		return v1alpha1.DeliveryImageVolume, ""
	case v1alpha1.DeliverByNode:
		return v1alpha1.DeliveryNode, ""
	case v1alpha1.DeliverAuto:
		verdict := in.setting.ImageVolumes.For(in.pod)
		if verdict == v1alpha1.ReasonEveryNodeCan {
			return v1alpha1.DeliveryImageVolume, verdict
		}
		return v1alpha1.DeliveryInitContainer, verdict
	}
	return v1alpha1.DeliveryInitContainer, ""
}
