// Package v1alpha1 holds what podinit writes into and reads from a cluster: the names of its labels and
// annotations, the status annotation and the reasons in it.
package v1alpha1

// Group is the API group, and the prefix of every label and annotation of podinit.
const Group = "podinit.dev"

// Labels and annotations.
const (
	// Inject is a Namespace's label and a Pod's label or annotation: InjectEnabled or InjectDisabled.
	Inject = Group + "/inject"
	// StatusAnnotation is the Pod's annotation that holds a Status as JSON.
	StatusAnnotation = Group + "/status"
	// VersionLabel is the Pod's label that holds the version of the init it was given, with "+" written as "_".
	VersionLabel = Group + "/version"
)

// Values of Inject.
const (
	InjectEnabled  = "enabled"
	InjectDisabled = "disabled"
)
