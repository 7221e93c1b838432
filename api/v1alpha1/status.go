package v1alpha1

// StatusVersion is the version of Status that this code writes.
const StatusVersion = 1

// Status says what was done to a Pod, as JSON in its StatusAnnotation. It informs; nothing is decided by it.
type Status struct {
	// V is the version of this schema.
	V int `json:"v"`
	// Version of the init, as "init --version" prints it.
	Version string `json:"version"`
	// Delivery is how the init reaches the containers; empty if none is wrapped.
	Delivery Delivery `json:"delivery,omitempty"`
	// Reason is why the whole Pod was left alone; Containers is then empty.
	Reason Reason `json:"reason,omitempty"`
	// Containers by name.
	Containers map[string]ContainerStatus `json:"containers,omitempty"`
}

// ContainerStatus says what was done to one container.
type ContainerStatus struct {
	Action Action `json:"action"`
	// Source is where the wrapped command came from.
	Source Source `json:"source,omitempty"`
	// Reason is why the container was skipped.
	Reason Reason `json:"reason,omitempty"`
}

// Delivery is how the init reaches a container.
type Delivery string

// DeliveryInitContainer copies the init into an emptyDir volume with an initContainer.
const DeliveryInitContainer Delivery = "InitContainer"

// Action is what was done to a container.
type Action string

const (
	ActionWrapped Action = "wrapped"
	ActionSkipped Action = "skipped"
)

// Source is where the command of a wrapped container came from.
type Source string

// SourceCommand is the container's own command in the Pod.
const SourceCommand Source = "command"

// Reason is why a container or a Pod was left alone. Package internal/reason has each one's sentence and way out.
type Reason string

// Reasons that concern a Pod as a whole.
const (
	ReasonMirrorPod         Reason = "mirror-pod"
	ReasonOptedOut          Reason = "opted-out"
	ReasonExcludedNamespace Reason = "excluded-namespace"
	ReasonWindows           Reason = "windows"
	ReasonHostPID           Reason = "host-pid"
	ReasonNameConflict      Reason = "name-conflict"
)

// Reasons that concern one container.
const (
	ReasonNoCommand           Reason = "no-command"
	ReasonAlreadyInit         Reason = "already-init"
	ReasonRequiresPID1        Reason = "requires-pid-1"
	ReasonMountConflict       Reason = "mount-conflict"
	ReasonLocalhostProfile    Reason = "localhost-profile"
	ReasonMemoryLimitTooSmall Reason = "memory-limit-too-small"
	ReasonBrokenWrap          Reason = "broken-wrap"
)
