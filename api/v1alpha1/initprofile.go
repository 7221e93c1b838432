package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// DefaultProfile is the name of the InitProfile for every Pod for which none is named.
const DefaultProfile = "default"

// InitProfile says how Pods are wrapped. A Namespace or a Pod names one in its annotation podinit.dev/profile; for all
// others it is the one called "default", and without that, what is the default of each field. A change holds for Pods
// that are created from then on.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,categories=podinit
// +kubebuilder:printcolumn:name="Signals",type=string,JSONPath=`.spec.init.signalTarget`
// +kubebuilder:printcolumn:name="Linger",type=string,JSONPath=`.spec.init.linger`
// +kubebuilder:printcolumn:name="Grace",type=string,JSONPath=`.spec.init.grace`,priority=1
// +kubebuilder:printcolumn:name="Sidecars",type=boolean,JSONPath=`.spec.containers.sidecars`,priority=1
// +kubebuilder:printcolumn:name="Init containers",type=boolean,JSONPath=`.spec.containers.initContainers`,priority=1
// +kubebuilder:printcolumn:name="Delivery",type=string,JSONPath=`.spec.delivery`
// +kubebuilder:printcolumn:name="On problem",type=string,JSONPath=`.spec.onProblem`
// +kubebuilder:printcolumn:name="Pods may choose",type=boolean,JSONPath=`.spec.podsMayChoose`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type InitProfile struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	// +kubebuilder:default={}
	Spec InitProfileSpec `json:"spec,omitempty"`
}

// InitProfileList is a list of InitProfiles.
//
// +kubebuilder:object:root=true
type InitProfileList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []InitProfile `json:"items"`
}

// InitProfileSpec says how Pods are wrapped. The zero value of each field means its default.
type InitProfileSpec struct {
	// Containers says which containers are wrapped besides the regular ones.
	//
	// +optional
	// +kubebuilder:default={}
	Containers ContainersSpec `json:"containers,omitempty"`

	// Init says how the init behaves.
	//
	// +optional
	// +kubebuilder:default={}
	Init InitSpec `json:"init,omitempty"`

	// PodsMayChoose lets Pods choose: to name this profile in their annotation, and where this one would hold to name
	// another, to choose their containers (podinit.dev/containers, podinit.dev/skip-containers) and to give flags to the
	// init (podinit.dev/flags.NAME). If false, only a Namespace selects it, and these annotations of Pods are ignored.
	// A Pod can still opt out as a whole, with podinit.dev/inject: disabled. What it says about itself counts as ever:
	// its commands, podinit.dev/entrypoint.NAME, and the names that containers.exclude goes by.
	//
	// +optional
	// +kubebuilder:default=true
	PodsMayChoose *bool `json:"podsMayChoose,omitempty"`

	// LocalhostProfiles has containers wrapped that run under a seccomp or AppArmor profile of type Localhost. Such a
	// profile was recorded for a program alone, and may deny what the init needs: clone, execve, rt_sigtimedwait.
	//
	// +optional
	// +kubebuilder:default=false
	LocalhostProfiles bool `json:"localhostProfiles,omitempty"`

	// Delivery is how the init reaches the containers. InitContainer copies it into an emptyDir volume. ImageVolume
	// mounts its image, which takes Kubernetes 1.36 and containerd 2.1 or CRI-O 1.31 on every node: where that is
	// missing, Pods are refused or do not start. Auto takes ImageVolume once every node can, and InitContainer until
	// then.
	//
	// +optional
	// +kubebuilder:default=InitContainer
	Delivery DeliveryPolicy `json:"delivery,omitempty"`

	// OnProblem is what becomes of a Pod that would otherwise be admitted with a warning of podinit that its author can
	// do something about: Skip admits it, Reject refuses it with that text. Reject cannot cover Pods that the apiserver
	// does not send or that no webhook answers for, nor those that podinit fails on or finds no usable profile for:
	// these are admitted as they came. Nor does it refuse a Pod for what its author cannot correct, such as a registry
	// that is down.
	//
	// +optional
	// +kubebuilder:default=Skip
	OnProblem ProblemPolicy `json:"onProblem,omitempty"`

	// PinDigest says whether the image of a container whose command was looked up in the registry is pinned to the
	// digest that was found: Never, or OnLookup.
	//
	// +optional
	// +kubebuilder:default=Never
	PinDigest PinPolicy `json:"pinDigest,omitempty"`

	// Entrypoints say what images run, for containers without a command. The first that matches counts.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Entrypoints []ImageEntrypoint `json:"entrypoints,omitempty"`
}

// ContainersSpec says which containers are wrapped besides the regular ones. A Pod that names its containers in the
// annotation podinit.dev/containers is not bound by it, unless podsMayChoose is false.
type ContainersSpec struct {
	// Sidecars are initContainers with restartPolicy Always.
	//
	// +optional
	// +kubebuilder:default=false
	Sidecars bool `json:"sidecars,omitempty"`

	// InitContainers are those that run to their end before the Pod starts.
	//
	// +optional
	// +kubebuilder:default=false
	InitContainers bool `json:"initContainers,omitempty"`

	// Exclude names containers that are left alone in every Pod: what other webhooks add, which cares for itself.
	//
	// +optional
	// +listType=set
	// +kubebuilder:default={"istio-proxy","istio-init","istio-validation","linkerd-proxy","linkerd-init","linkerd-network-validator","daprd","vault-agent","vault-agent-init","datadog-agent-injected"}
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	Exclude []string `json:"exclude,omitempty"`
}

// InitSpec says how the init behaves. Each field is one of its flags.
type InitSpec struct {
	// SignalTarget is who gets the signals that the container is sent: Auto, the topmost processes that handle them;
	// Main, the main process alone; Group, its process group; All, every process.
	//
	// +optional
	// +kubebuilder:default=Auto
	SignalTarget SignalTarget `json:"signalTarget,omitempty"`

	// RewriteSignals turn one signal into another on its way, such as TERM:QUIT; 0 drops it.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=32
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^(SIG)?(HUP|INT|QUIT|ILL|TRAP|ABRT|BUS|FPE|USR1|SEGV|USR2|PIPE|ALRM|TERM|STKFLT|CONT|TSTP|TTIN|TTOU|URG|XCPU|XFSZ|VTALRM|PROF|WINCH|IO|PWR|SYS|RTMIN([+]([0-9]|[12][0-9]|30))?|RTMAX(-([0-9]|[12][0-9]|30))?):(0|(SIG)?(HUP|INT|QUIT|ILL|TRAP|ABRT|BUS|FPE|KILL|USR1|SEGV|USR2|PIPE|ALRM|TERM|STKFLT|CONT|STOP|TSTP|TTIN|TTOU|URG|XCPU|XFSZ|VTALRM|PROF|WINCH|IO|PWR|SYS|RTMIN([+]([0-9]|[12][0-9]|30))?|RTMAX(-([0-9]|[12][0-9]|30))?))$')",message="must be a rewrite such as TERM:QUIT, or TERM:0 to drop the signal; KILL and STOP cannot be rewritten"
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a.split(':')[0].replace('SIG', '') == b.split(':')[0].replace('SIG', '')))",message="a signal can be rewritten only once"
	RewriteSignals []string `json:"rewriteSignals,omitempty"`

	// RemapExitCodes are exit codes of the main process that become 0.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=255
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=255
	RemapExitCodes []int32 `json:"remapExitCodes,omitempty"`

	// Linger is how long what the main process leaves behind may take to end, once that has ended by itself.
	//
	// +optional
	// +kubebuilder:default="5s"
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) <= duration('24h')",message="must be a duration of at most 24h such as 5s or 1m30s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	Linger *metav1.Duration `json:"linger,omitempty"`

	// Grace is the time between the stop signal and SIGKILL: FromPod, the longest that the kubelet may give to the
	// Pod at hand; or a duration, where something else ends Pods earlier.
	//
	// +optional
	// +kubebuilder:default=FromPod
	// +kubebuilder:validation:XValidation:rule="self == 'FromPod' || (self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) <= duration('8760h'))",message="must be FromPod or a duration of at most 8760h such as 45s"
	// +kubebuilder:validation:MaxLength=32
	Grace string `json:"grace,omitempty"`

	// Wait is for whom the container lives: Main, the main process; All, every process, for programs that daemonize.
	//
	// +optional
	// +kubebuilder:default=Main
	Wait Wait `json:"wait,omitempty"`

	// Verbosity is how much the init writes to standard error: 0 nothing but problems, 1 what it does, 2 each signal
	// and process.
	//
	// +optional
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2
	Verbosity int32 `json:"verbosity,omitempty"`
}

// ImageEntrypoint says what images run. It is meant literally, as in an image: $ has no meaning in it.
//
// +kubebuilder:validation:XValidation:rule="has(self.entrypoint) && size(self.entrypoint) > 0 || has(self.cmd) && size(self.cmd) > 0",message="entrypoint or cmd must say what the image runs"
type ImageEntrypoint struct {
	// Image as containers name it. A * stands for any characters, slashes too; without one it must be the same.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Image string `json:"image"`

	// Entrypoint is the image's ENTRYPOINT.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Entrypoint []string `json:"entrypoint,omitempty"`

	// Cmd is the image's CMD. A container's args take its place.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Cmd []string `json:"cmd,omitempty"`
}

// SignalTarget is who gets signals.
//
// +kubebuilder:validation:Enum=Auto;Main;Group;All
type SignalTarget string

const (
	SignalTargetAuto  SignalTarget = "Auto"
	SignalTargetMain  SignalTarget = "Main"
	SignalTargetGroup SignalTarget = "Group"
	SignalTargetAll   SignalTarget = "All"
)

// GraceFromPod is the Grace that is the Pod's own.
const GraceFromPod = "FromPod"

// Wait is for whom a container lives.
//
// +kubebuilder:validation:Enum=Main;All
type Wait string

const (
	WaitMain Wait = "Main"
	WaitAll  Wait = "All"
)

// DeliveryPolicy is which Delivery a profile wants.
//
// +kubebuilder:validation:Enum=InitContainer;ImageVolume;Auto
type DeliveryPolicy string

const (
	DeliverByInitContainer DeliveryPolicy = "InitContainer"
	DeliverByImageVolume   DeliveryPolicy = "ImageVolume"
	DeliverAuto            DeliveryPolicy = "Auto"
)

// ProblemPolicy is what becomes of a Pod that something is wrong with.
//
// +kubebuilder:validation:Enum=Skip;Reject
type ProblemPolicy string

const (
	ProblemSkip   ProblemPolicy = "Skip"
	ProblemReject ProblemPolicy = "Reject"
)

// PinPolicy is when an image is pinned to its digest.
//
// +kubebuilder:validation:Enum=Never;OnLookup
type PinPolicy string

const (
	PinNever    PinPolicy = "Never"
	PinOnLookup PinPolicy = "OnLookup"
)
