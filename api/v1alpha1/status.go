package v1alpha1

// StatusVersion is the version of Status that this code writes.
const StatusVersion = 1

// Status says what podinit did to a Pod, as JSON in its StatusAnnotation. It informs, and says what
// "podinit uninject" takes out; how a Pod is wrapped does not depend on it.
type Status struct {
	// V is the version of this schema.
	V int `json:"v"`
	// Version of the init, as "init --version" prints it.
	Version string `json:"version"`
	// Delivery is how the init reaches the containers; empty if none is wrapped.
	Delivery Delivery `json:"delivery,omitempty"`
	// DeliveryReason is why that delivery was chosen, if the profile has delivery Auto.
	DeliveryReason Reason `json:"deliveryReason,omitempty"`
	// Profile is the name of the InitProfile that applied; empty if none did.
	Profile string `json:"profile,omitempty"`
	// Reason is why the whole Pod was left alone; Containers is then empty.
	Reason Reason `json:"reason,omitempty"`
	// Ignored are the reasons why labels or annotations of the Pod or its Namespace were ignored.
	Ignored []Reason `json:"ignored,omitempty"`
	// OwnDefaultContainer is set where the Pod came with the annotation kubectl.kubernetes.io/default-container, so that
	// "podinit uninject" keeps it.
	OwnDefaultContainer bool `json:"ownDefaultContainer,omitempty"`
	// Containers by name.
	Containers map[string]ContainerStatus `json:"containers,omitempty"`
}

// ContainerStatus says what was done to one container.
type ContainerStatus struct {
	Action Action `json:"action"`
	// Source is where the wrapped command came from.
	Source Source `json:"source,omitempty"`
	// Digest of the image whose command was looked up: of its index, if it is for several platforms.
	Digest string `json:"digest,omitempty"`
	// Added are the fields that the wrapped container came without, and has from its image: command and args; and image, if
	// podinit has added Digest to it.
	Added []Field `json:"added,omitempty"`
	// Reason is why the container was skipped.
	Reason Reason `json:"reason,omitempty"`
	// Drift are the reasons why the wrapped container may run another image than the one with Digest.
	Drift []Reason `json:"drift,omitempty"`
}

// Delivery is how the init reaches a container.
type Delivery string

const (
	// DeliveryInitContainer copies the init into an emptyDir volume with an initContainer.
	DeliveryInitContainer Delivery = "InitContainer"
	// DeliveryImageVolume mounts the image that holds the init (KEP-4639).
	DeliveryImageVolume Delivery = "ImageVolume"
	// DeliveryNode is what each node's container runtime does, with podinit-node. No Pod has it in its status.
	DeliveryNode Delivery = "Node"
)

// Action is what was done to a container.
type Action string

const (
	ActionWrapped Action = "wrapped"
	ActionSkipped Action = "skipped"
)

// Source is where the command of a wrapped container came from.
type Source string

const (
	// SourceCommand is the container's own command in the Pod.
	SourceCommand Source = "command"
	// SourceAnnotation is the Pod's EntrypointAnnotation.
	SourceAnnotation Source = "annotation"
	// SourceProfile is an entrypoint in the InitProfile.
	SourceProfile Source = "profile"
	// SourceRegistry is the image's config in its registry.
	SourceRegistry Source = "registry"
)

// Field is a field of a container.
type Field string

const (
	FieldCommand Field = "command"
	FieldArgs    Field = "args"
	FieldImage   Field = "image"
)

// Reason is why a container or a Pod was left alone, why a setting was ignored, why a container may run
// another image than was looked up, or why a delivery was chosen. Package internal/reason has each one's sentence and way out.
type Reason string

// Reasons that concern a Pod as a whole.
const (
	ReasonExcludedNamespace      Reason = "excluded-namespace"
	ReasonMirrorPod              Reason = "mirror-pod"
	ReasonOptedOut               Reason = "opted-out"
	ReasonNamespaceDisabled      Reason = "namespace-disabled"
	ReasonNotOptedIn             Reason = "not-opted-in"
	ReasonWindows                Reason = "windows"
	ReasonAnnotationsTooLarge    Reason = "annotations-too-large"
	ReasonTooManyContainers      Reason = "too-many-containers"
	ReasonDuplicateContainerName Reason = "duplicate-container-name"
	ReasonWasm                   Reason = "wasm"
	ReasonHostPID                Reason = "host-pid"
	ReasonCountsOnPIDs           Reason = "counts-on-pids"
	ReasonOwnerComparesPods      Reason = "owner-compares-pods"
	ReasonNameConflict           Reason = "name-conflict"
	ReasonSuspended              Reason = "suspended"
	ReasonInitImageUnavailable   Reason = "init-image-unavailable"
	ReasonLeftToNode             Reason = "left-to-node"
)

// Reasons that concern one container.
const (
	ReasonNotChosen            Reason = "not-chosen"
	ReasonExcludedByProfile    Reason = "excluded-by-profile"
	ReasonSidecar              Reason = "sidecar"
	ReasonInitContainer        Reason = "init-container"
	ReasonTektonSidecar        Reason = "tekton-sidecar"
	ReasonSharedProcesses      Reason = "shared-process-namespace"
	ReasonNoCommand            Reason = "no-command"
	ReasonInvalidEntrypoint    Reason = "invalid-entrypoint"
	ReasonInvalidImage         Reason = "invalid-image"
	ReasonImageNameTooLong     Reason = "image-name-too-long"
	ReasonNeverPulled          Reason = "never-pulled"
	ReasonNoProgram            Reason = "no-program"
	ReasonImageNotLinux        Reason = "image-not-linux"
	ReasonPlatformsDiffer      Reason = "platforms-differ"
	ReasonLookupOff            Reason = "lookup-off"
	ReasonLookupUnauthorized   Reason = "lookup-unauthorized"
	ReasonLookupNotFound       Reason = "lookup-not-found"
	ReasonLookupForbidden      Reason = "lookup-forbidden-address"
	ReasonLookupUnsupported    Reason = "lookup-unsupported"
	ReasonLookupTooLarge       Reason = "lookup-too-large"
	ReasonLookupInvalid        Reason = "lookup-invalid"
	ReasonLookupTimeout        Reason = "lookup-timeout"
	ReasonLookupUnreachable    Reason = "lookup-unreachable"
	ReasonLookupTLS            Reason = "lookup-tls"
	ReasonLookupPlainHTTP      Reason = "lookup-plain-http"
	ReasonLookupRateLimited    Reason = "lookup-rate-limited"
	ReasonLookupFailed         Reason = "lookup-failed"
	ReasonInvalidFlags         Reason = "invalid-flags"
	ReasonInPlaceUpdate        Reason = "in-place-update"
	ReasonAlreadyInit          Reason = "already-init"
	ReasonRequiresPID1         Reason = "requires-pid-1"
	ReasonMountConflict        Reason = "mount-conflict"
	ReasonLocalhostProfile     Reason = "localhost-profile"
	ReasonNoKillCapability     Reason = "no-kill-capability"
	ReasonSELinuxLevel         Reason = "selinux-level"
	ReasonMemoryLimitTooSmall  Reason = "memory-limit-too-small"
	ReasonStorageLimitTooSmall Reason = "storage-limit-too-small"
	ReasonBrokenWrap           Reason = "broken-wrap"
	ReasonPodTooLarge          Reason = "pod-too-large"
	ReasonPIDNamespace         Reason = "pid-namespace"
	ReasonInitNotInstalled     Reason = "init-not-installed"
)

// Reasons why a label or annotation was ignored.
const (
	ReasonUnknownValue        Reason = "unknown-value"
	ReasonUnknownContainer    Reason = "unknown-container"
	ReasonUnknownKey          Reason = "unknown-key"
	ReasonProfileMissing      Reason = "profile-missing"
	ReasonProfileInvalid      Reason = "profile-invalid"
	ReasonProfileUnread       Reason = "profile-unread"
	ReasonProfileNotForPods   Reason = "profile-not-for-pods"
	ReasonProfileFixed        Reason = "profile-fixed"
	ReasonNamespaceUnread     Reason = "namespace-unread"
	ReasonOwnerComparesImages Reason = "owner-compares-images"
)

// Reasons for which a wrapped container may run another image than the one that its command was looked up from.
const (
	ReasonStaleLookup      Reason = "stale-lookup"
	ReasonNodeImageDiffers Reason = "node-image-differs"
)

// Reasons for a delivery, where the profile says Auto. All but the first are for InitContainer.
const (
	ReasonEveryNodeCan             Reason = "every-node-can"
	ReasonAPIServerTooOld          Reason = "apiserver-too-old"
	ReasonKubeletTooOld            Reason = "kubelet-too-old"
	ReasonRuntimeTooOld            Reason = "runtime-too-old"
	ReasonRuntimeUnknown           Reason = "runtime-unknown"
	ReasonUserNamespaceTooOld      Reason = "user-namespace-too-old"
	ReasonUserNamespaceUnsupported Reason = "user-namespace-unsupported"
	ReasonClusterUnknown           Reason = "cluster-unknown"
)
