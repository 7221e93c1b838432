package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// DefaultProfile is the name of the InitProfile for every Pod for which none is named.
const DefaultProfile = "default"

// InitProfile says how Pods are wrapped. A Namespace or a Pod names its InitProfile in the annotation podinit.dev/profile.
// For all others, the InitProfile named "default" applies; if there is none, each field has its default. A change applies to
// new Pods.
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
//
// +kubebuilder:validation:XValidation:rule="!has(self.delivery) || self.delivery != 'Node' || !has(self.pinDigest) || self.pinDigest != 'OnLookup'",message="pinDigest: OnLookup has no effect with delivery: Node, which changes no pod"
// +kubebuilder:validation:XValidation:rule="!has(self.requireNode) || !self.requireNode || has(self.delivery) && self.delivery == 'Node'",message="requireNode: true requires delivery: Node"
// +kubebuilder:validation:XValidation:rule="!has(self.delivery) || self.delivery != 'Node' || !has(self.onProblem) || self.onProblem != 'Reject'",message="onProblem: Reject has no effect with delivery: Node: the nodes decide, when the pod is already admitted"
type InitProfileSpec struct {
	// Containers says which containers are wrapped besides the regular ones.
	//
	// +optional
	// +kubebuilder:default={}
	Containers ContainersSpec `json:"containers,omitempty"`

	// Exclude says which Pods are not changed.
	//
	// +optional
	// +kubebuilder:default={}
	Exclude ExcludeSpec `json:"exclude,omitempty"`

	// Init says how the init behaves.
	//
	// +optional
	// +kubebuilder:default={}
	Init InitSpec `json:"init,omitempty"`

	// PodsMayChoose lets Pods choose: to name this profile in their annotation, and where this profile would apply to name
	// another, to choose their containers (podinit.dev/containers, podinit.dev/skip-containers) and to give flags to the
	// init (podinit.dev/flags.NAME). If false, only a Namespace selects it, and these annotations of Pods are ignored.
	// A Pod can still opt out as a whole, with podinit.dev/inject: disabled. What it says about itself counts as ever:
	// its commands, podinit.dev/entrypoint.NAME, the names that containers.exclude goes by, and the owners and marks of
	// exclude.owners.
	//
	// +optional
	// +kubebuilder:default=true
	PodsMayChoose *bool `json:"podsMayChoose,omitempty"`

	// LocalhostProfiles wraps containers that run under a seccomp or AppArmor profile of type Localhost. Such a
	// profile was recorded for a program alone, and may deny what the init needs: clone, execve, clock_gettime, rt_sigtimedwait.
	//
	// +optional
	// +kubebuilder:default=false
	LocalhostProfiles bool `json:"localhostProfiles,omitempty"`

	// SharedProcessNamespaces wraps containers in Pods with shareProcessNamespace: true. PID 1 is the pause container
	// there, which reaps; the init is a subreaper, and what is left of it is the drain. Containers of such a Pod see each
	// other's processes, and the init is one more.
	//
	// +optional
	// +kubebuilder:default=false
	SharedProcessNamespaces bool `json:"sharedProcessNamespaces,omitempty"`

	// Delivery is how the init reaches the containers. InitContainer copies it into an emptyDir volume. ImageVolume
	// mounts its image, which takes Kubernetes 1.36 and containerd 2.1 or CRI-O 1.31 on every node, and for Pods with
	// hostUsers false containerd 2.3: where that is missing, Pods are refused or do not start. Auto takes ImageVolume
	// once every node can, and InitContainer until then. Node leaves Pods as they are: the container runtime of each node
	// puts the init in, which takes podinit-node on every node; without it, containers start without the init.
	//
	// +optional
	// +kubebuilder:default=InitContainer
	Delivery DeliveryPolicy `json:"delivery,omitempty"`

	// RequireNode keeps the containers of Pods with delivery Node from starting without the init. The webhook names podinit
	// among the NRI plugins that the Pod requires, in the annotation required-plugins.noderesource.dev: while podinit-node is
	// away, the container runtime refuses the containers, and the kubelet tries again. This takes the webhook, and on every
	// node the runtime's default validator of NRI; where that is not enabled, the annotation has no effect.
	//
	// +optional
	// +kubebuilder:default=false
	RequireNode bool `json:"requireNode,omitempty"`

	// OnProblem is what happens to a Pod that would otherwise be admitted with a warning of podinit that its author can
	// do something about: Skip admits it, Reject refuses it with that text. Reject cannot cover Pods that the apiserver
	// does not send or that no webhook answers for, nor those that podinit fails on or finds no usable profile for:
	// these are admitted unchanged. Nor does it refuse a Pod for what its author cannot correct, such as a registry
	// that is down, or for an image that a node holds.
	//
	// +optional
	// +kubebuilder:default=Skip
	OnProblem ProblemPolicy `json:"onProblem,omitempty"`

	// PinDigest says whether the image of a container whose command was looked up in the registry is pinned to the
	// digest that was found: Never, or OnLookup, which is recommended where tags are moved. The registry is then asked for
	// each Pod.
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

	// Exclude names containers that are skipped in every Pod: what other webhooks add, which cares for itself. A * stands
	// for any characters.
	//
	// +optional
	// +listType=set
	// +kubebuilder:default={"istio-proxy","istio-init","istio-validation","linkerd-proxy","linkerd-init","linkerd-network-validator","kuma-sidecar","kuma-init","kuma-validation","consul-dataplane*","consul-connect-inject-init*","envoy-sidecar*","consul-sidecar*","copy-consul-bin","queue-proxy","daprd","vault-agent","vault-agent-init","copy-vault-env","otc-container","opentelemetry-auto-instrumentation*","otel-agent-source-container-clone","otel-agent-attach-*","datadog-agent-injected"}
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	Exclude []string `json:"exclude,omitempty"`
}

// ExcludeSpec says which Pods are not changed.
type ExcludeSpec struct {
	// Owners compare the Pods that run with what they have made of them. One that finds an init container, a volume or a
	// command that is not its own deletes the Pod and makes it again, which is wrapped again. A list takes the place of
	// the default: operators of which this is known.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:default={{group: "jenkins.io", kind: "Jenkins", compares: "Pod"}, {group: "kafka.banzaicloud.io", kind: "KafkaCluster", compares: "Pod"}, {group: "nifi.konpyutaika.com", kind: "NifiCluster", compares: "Pod"}, {group: "opensearch.opster.io", kind: "OpenSearchCluster", compares: "Pod"}, {group: "opensearch.org", kind: "OpenSearchCluster", compares: "Pod"}, {group: "operators.coreos.com", kind: "CatalogSource", compares: "Pod"}, {group: "planetscale.com", compares: "Pod"}, {group: "workloads.kubeblocks.io", compares: "Pod"}, {group: "acid.zalan.do", kind: "postgresql", marks: {"application=spilo"}, compares: "Image"}, {group: "asdb.aerospike.com", kind: "AerospikeCluster", marks: {"aerospike.com/cr"}, compares: "Image"}, {group: "postgresql.cnpg.io", kind: "Cluster", compares: "Image"}}
	// +kubebuilder:validation:MaxItems=128
	Owners []ExcludedOwner `json:"owners,omitempty"`
}

// ExcludedOwner is the owner of Pods, whichever of the Pod's ownerReferences it is, or the owner of that owner where the Pod
// has its marks.
//
// +kubebuilder:validation:XValidation:rule="(has(self.group) && size(self.group) > 0) || (has(self.kind) && size(self.kind) > 0) || (has(self.marks) && size(self.marks) > 0)",message="group, kind or marks must say which owner it is"
type ExcludedOwner struct {
	// Group of the owner's API, without its version; empty for the core group, or where marks alone count.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern="^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"
	Group string `json:"group,omitempty"`

	// Kind of the owner; empty for every kind of the group.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^([A-Za-z][A-Za-z0-9]*)?$"
	Kind string `json:"kind,omitempty"`

	// Marks are labels or annotations, KEY or KEY=VALUE, of Pods that belong to such an owner by way of another, such as a
	// StatefulSet. A Pod that has all of them counts as the owner's.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:items:Pattern="^[^=]+(=.*)?$"
	Marks []string `json:"marks,omitempty"`

	// Compares is what of a Pod the owner compares: Pod, more than its images: such a Pod is left alone; or Image, its
	// images alone: such a Pod is wrapped, and pinDigest leaves its images as they are.
	//
	// +optional
	// +kubebuilder:default=Pod
	Compares Comparison `json:"compares,omitempty"`
}

// Comparison is what of a Pod its owner compares.
//
// +kubebuilder:validation:Enum=Pod;Image
type Comparison string

const (
	ComparesPod   Comparison = "Pod"
	ComparesImage Comparison = "Image"
)

// InitSpec says how the init behaves. Each field is one of its flags.
type InitSpec struct {
	// SignalTarget selects the processes that get the container's signals: Auto, the topmost processes that handle them;
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

	// Wait selects the processes that the container waits for: Main, the main process; All, every process, for programs that daemonize.
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

// ImageEntrypoint says what images run. It is used literally, as in an image: $ has no special meaning.
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

// SignalTarget selects the processes that get signals.
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

// Wait selects the processes that a container waits for.
//
// +kubebuilder:validation:Enum=Main;All
type Wait string

const (
	WaitMain Wait = "Main"
	WaitAll  Wait = "All"
)

// DeliveryPolicy is which Delivery a profile wants.
//
// +kubebuilder:validation:Enum=InitContainer;ImageVolume;Auto;Node
type DeliveryPolicy string

const (
	DeliverByInitContainer DeliveryPolicy = "InitContainer"
	DeliverByImageVolume   DeliveryPolicy = "ImageVolume"
	DeliverAuto            DeliveryPolicy = "Auto"
	DeliverByNode          DeliveryPolicy = "Node"
)

// ProblemPolicy is what happens to a Pod with a problem.
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
