// Package v1alpha1 holds what podinit writes into and reads from a cluster: the names of its labels and
// annotations, the status annotation and the reasons in it.
//
// +kubebuilder:object:generate=true
// +groupName=podinit.dev
package v1alpha1

import "strings"

// Group is the API group, and the prefix of every label and annotation of podinit.
const Group = "podinit.dev"

// Labels and annotations.
const (
	// Inject is a Namespace's label and a Pod's label or annotation: InjectEnabled or InjectDisabled.
	Inject = Group + "/inject"
	// ProfileAnnotation is a Namespace's or a Pod's annotation that names an InitProfile.
	ProfileAnnotation = Group + "/profile"
	// ContainersAnnotation is a Pod's annotation that names the containers to wrap, and no others, separated by commas.
	ContainersAnnotation = Group + "/containers"
	// SkipContainersAnnotation is a Pod's annotation that names containers to leave alone, separated by commas.
	SkipContainersAnnotation = Group + "/skip-containers"
	// FlagsAnnotation, with a container's name after it, is a Pod's annotation that holds flags of the init for it.
	FlagsAnnotation = Group + "/flags."
	// EntrypointAnnotation, with a container's name after it, is a Pod's annotation that says what the container's
	// image runs, as a JSON array. It counts where the container has no command, and is meant literally, as in an
	// image.
	EntrypointAnnotation = Group + "/entrypoint."
	// StatusAnnotation is the Pod's annotation that holds a Status as JSON.
	StatusAnnotation = Group + "/status"
	// VersionLabel is the Pod's label that holds the version of the init it was given, with "+" written as "_".
	VersionLabel = Group + "/version"
	// CABundleAnnotation is the MutatingWebhookConfiguration's annotation that keeps podinit from writing its caBundle:
	// CABundleExternal.
	CABundleAnnotation = Group + "/ca-bundle"
)

const (
	// RequiredPluginsAnnotation is NRI's: a Pod's annotation with a YAML list of the plugins without which its containers are
	// not created, for all containers (also with "/pod" behind it) or, with "/container." and a name behind it, for one. The
	// runtime's default validator reads it, if it is enabled (github.com/containerd/nri, pkg/plugin).
	RequiredPluginsAnnotation = "required-plugins.noderesource.dev"
	// NodePlugin is the name of podinit-node in it.
	NodePlugin = "podinit"
)

// CABundleExternal is the value of CABundleAnnotation: cert-manager or the user writes the caBundle.
const CABundleExternal = "external"

const (
	// SuspendConfigMap is the ConfigMap that suspends podinit for as long as it exists: the webhook where it is in the webhook's
	// namespace, the nodes where it is in podinit-node's.
	SuspendConfigMap = "podinit-suspend"
	// SuspendReasonKey is its key for the reason, which people read.
	SuspendReasonKey = "reason"
	// SuspendFlag is the flag of the webhook and of podinit-node that suspends them, without its dash.
	SuspendFlag = "suspend"
)

// Values of Inject.
const (
	InjectEnabled  = "enabled"
	InjectDisabled = "disabled"
)

// Disables says whether a value of Inject opts out: InjectDisabled, or a word that other injectors take for it ("false",
// "no", "off"), in capitals or not. To wrap a Pod against its author's evident will is worse than to read a value
// generously; to opt in takes the exact word.
func Disables(value string) bool {
	for _, word := range []string{InjectDisabled, "false", "no", "off"} {
		if strings.EqualFold(value, word) {
			return true
		}
	}
	return false
}
