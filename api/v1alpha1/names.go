// Package v1alpha1 holds what podinit writes into and reads from a cluster: the names of its labels and
// annotations, the status annotation and the reasons in it.
//
// +kubebuilder:object:generate=true
// +groupName=podinit.dev
package v1alpha1

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

// CABundleExternal is the value of CABundleAnnotation: cert-manager or the user writes the caBundle.
const CABundleExternal = "external"

const (
	// SuspendConfigMap is the ConfigMap in the webhook's namespace that suspends podinit for as long as it exists.
	SuspendConfigMap = "podinit-suspend"
	// SuspendReasonKey is its key that may say why, for people.
	SuspendReasonKey = "reason"
	// SuspendFlag is the webhook's flag that suspends podinit, without its dash.
	SuspendFlag = "suspend"
)

// Values of Inject.
const (
	InjectEnabled  = "enabled"
	InjectDisabled = "disabled"
)
