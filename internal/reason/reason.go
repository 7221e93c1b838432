// Package reason explains every v1alpha1.Reason: why a container or a Pod was left alone, why a setting was ignored, why a
// container may run another image than was looked up, why a delivery was chosen, and what to do about it. Warnings, documentation and command line print these sentences and no
// others.
package reason

import "github.com/podinit/podinit/api/v1alpha1"

// Kind is what a reason is a reason for.
type Kind int

const (
	// Pod was left alone as a whole.
	Pod Kind = iota
	// Container was left alone.
	Container
	// Setting is a label or annotation of a Pod or a Namespace that was ignored.
	Setting
	// Drift: a wrapped container may run another image than the one that its command was looked up from.
	Drift
	// Delivery was chosen.
	Delivery
)

// Explanation of one reason.
type Explanation struct {
	Kind Kind
	// Because completes "left alone because ...", "ignored because ...", "may run another image because ..." or "chosen
	// because ..."; no full stop.
	Because string
	// Remedy is a sentence that says what to do if something else is wanted; empty if there is nothing to do.
	Remedy string
	// Routine is set where this is what the user wants or expects; it is not worth a warning.
	Routine bool
	// Transient is set where the Pod's author cannot correct it: the registry or the network fails, or a limit of
	// podinit's own is reached. onProblem Reject admits such a Pod.
	Transient bool
}

// Of returns the explanation of r; for a reason it does not know, one that only repeats its name.
func Of(r v1alpha1.Reason) Explanation {
	for i := range explanations {
		if explanations[i].reason == r {
			return explanations[i].Explanation
		}
	}
	return Explanation{Because: "of " + string(r)}
}

// All returns every reason that has an explanation, in the order of the documentation.
func All() []v1alpha1.Reason {
	all := make([]v1alpha1.Reason, len(explanations))
	for i, e := range explanations {
		all[i] = e.reason
	}
	return all
}

// wayOut is what always helps where an image does not say, or cannot be asked, what it runs.
const wayOut = "Set command (and args) in the pod, or annotation " + v1alpha1.EntrypointAnnotation + "<container>, or entrypoints in the InitProfile."

// explanations in the order in which the API declares the reasons.
var explanations = [...]struct {
	reason v1alpha1.Reason
	Explanation
}{
	{v1alpha1.ReasonExcludedNamespace, Explanation{
		Kind:    Pod,
		Because: "its namespace is one that podinit never touches",
		Remedy:  "Run the pod in another namespace.",
		Routine: true,
	}},
	{v1alpha1.ReasonMirrorPod, Explanation{
		Kind:    Pod,
		Because: "it mirrors a static pod: the kubelet runs the pod of its own file, so a change here has no effect",
		Remedy:  "Put the init into the static pod's manifest on the node.",
		Routine: true,
	}},
	{v1alpha1.ReasonOptedOut, Explanation{
		Kind:    Pod,
		Because: v1alpha1.Inject + " is " + v1alpha1.InjectDisabled + " on the pod",
		Remedy:  "Remove that label or annotation.",
		Routine: true,
	}},
	{v1alpha1.ReasonNamespaceDisabled, Explanation{
		Kind:    Pod,
		Because: v1alpha1.Inject + " is " + v1alpha1.InjectDisabled + " on the namespace, which closes it to pods that opt in",
		Remedy:  "Remove that label.",
		Routine: true,
	}},
	{v1alpha1.ReasonNotOptedIn, Explanation{
		Kind:    Pod,
		Because: "neither the pod nor its namespace has opted in",
		Remedy:  "Label the namespace, or the pod, with " + v1alpha1.Inject + "=" + v1alpha1.InjectEnabled + ".",
		Routine: true,
	}},
	{v1alpha1.ReasonWindows, Explanation{
		Kind:    Pod,
		Because: "it runs on Windows, which has no PID 1",
		Routine: true,
	}},
	{v1alpha1.ReasonAnnotationsTooLarge, Explanation{
		Kind:    Pod,
		Because: "its annotations are larger than the 256 KiB that Kubernetes allows",
		Remedy:  "Shorten them.",
	}},
	{v1alpha1.ReasonTooManyContainers, Explanation{
		Kind:    Pod,
		Because: "it has more than 1000 containers",
		Remedy:  "Use several pods.",
	}},
	{v1alpha1.ReasonDuplicateContainerName, Explanation{
		Kind:    Pod,
		Because: "two of its containers have the same name, which Kubernetes does not allow",
		Remedy:  "Give each a name of its own.",
	}},
	{v1alpha1.ReasonWasm, Explanation{
		Kind:    Pod,
		Because: "its runtime class runs WebAssembly, which has no processes",
		Routine: true,
	}},
	{v1alpha1.ReasonHostPID, Explanation{
		Kind:    Pod,
		Because: "hostPID is true: PID 1 is the node's own",
		Remedy:  "Remove hostPID if the pod does not need it.",
	}},
	{v1alpha1.ReasonCountsOnPIDs, Explanation{
		Kind:    Pod,
		Because: "another program finds its processes by PID or by parent: Katib's metrics collector, KubeVirt's virt-handler",
		Routine: true,
	}},
	{v1alpha1.ReasonOwnerComparesPods, Explanation{
		Kind:    Pod,
		Because: "its owner compares live pods with its own template, and would replace a changed pod again and again",
		Remedy:  "Nothing is wrong with the pod. Change exclude.owners in the profile if its owner does not do that.",
		Routine: true,
	}},
	{v1alpha1.ReasonNameConflict, Explanation{
		Kind:    Pod,
		Because: "it has a volume named podinit or a container named podinit-copy that podinit did not add",
		Remedy:  "Rename that volume or container.",
	}},
	{v1alpha1.ReasonSuspended, Explanation{
		Kind:      Pod,
		Because:   "an administrator had suspended podinit when the pod was created",
		Remedy:    "Create the pod again after podinit is resumed; podinit check says whether it is.",
		Routine:   true,
		Transient: true,
	}},
	{v1alpha1.ReasonInitImageUnavailable, Explanation{
		Kind:      Pod,
		Because:   "nodes cannot pull podinit's own image, and the pod would wait for it",
		Remedy:    "Nothing is wrong with the pod. podinit check says why nodes cannot pull the image; when they can, create the pod again, for example with kubectl rollout restart.",
		Transient: true,
	}},
	{v1alpha1.ReasonLeftToNode, Explanation{
		Kind:    Pod,
		Because: "the InitProfile has delivery Node: the container runtime of its node puts the init into its containers",
		Remedy:  "See what the nodes do: podinit status, or podinit explain pod/NAME.",
		Routine: true,
	}},
	{v1alpha1.ReasonNotChosen, Explanation{
		Kind:    Container,
		Because: "the pod's annotations " + v1alpha1.ContainersAnnotation + " and " + v1alpha1.SkipContainersAnnotation + " leave it out",
		Remedy:  "Change these annotations.",
		Routine: true,
	}},
	{v1alpha1.ReasonExcludedByProfile, Explanation{
		Kind:    Container,
		Because: "the profile excludes containers of its name",
		Remedy:  "Name it in the pod's annotation " + v1alpha1.ContainersAnnotation + ", or remove it from the profile's list.",
		Routine: true,
	}},
	{v1alpha1.ReasonSidecar, Explanation{
		Kind:    Container,
		Because: "it is a sidecar (an initContainer with restartPolicy Always), and the profile does not include those",
		Remedy:  "Set containers.sidecars in the profile, or name it in the pod's annotation " + v1alpha1.ContainersAnnotation + ".",
		Routine: true,
	}},
	{v1alpha1.ReasonInitContainer, Explanation{
		Kind:    Container,
		Because: "it is an initContainer, and the profile does not include those",
		Remedy:  "Set containers.initContainers in the profile, or name it in the pod's annotation " + v1alpha1.ContainersAnnotation + ".",
		Routine: true,
	}},
	{v1alpha1.ReasonTektonSidecar, Explanation{
		Kind:    Container,
		Because: "Tekton stops it by giving it another image, which ends at once but would not have the command that podinit writes",
		Remedy:  "Name it in the pod's annotation " + v1alpha1.ContainersAnnotation + ".",
		Routine: true,
	}},
	{v1alpha1.ReasonSharedProcesses, Explanation{
		Kind:    Container,
		Because: "the pod's containers share their processes (shareProcessNamespace): they may find each other's by PID, and PID 1 is the pause container, which reaps",
		Remedy:  "Set sharedProcessNamespaces in the profile, or name it in the pod's annotation " + v1alpha1.ContainersAnnotation + ".",
		Routine: true,
	}},
	{v1alpha1.ReasonNoCommand, Explanation{
		Kind:    Container,
		Because: "it has no command, so only its image says what it runs",
		Remedy:  wayOut,
	}},
	{v1alpha1.ReasonInvalidEntrypoint, Explanation{
		Kind:    Container,
		Because: "its annotation " + v1alpha1.EntrypointAnnotation + "<container> is not a JSON array of strings",
		Remedy:  `Write it such as ["/bin/app", "--serve"].`,
	}},
	{v1alpha1.ReasonInvalidImage, Explanation{
		Kind:    Container,
		Because: "its image's name is not valid",
		Remedy:  "Correct the name.",
	}},
	{v1alpha1.ReasonImageNameTooLong, Explanation{
		Kind:    Container,
		Because: "its image's name is longer than 1 KiB",
		Remedy:  "Shorten the name.",
	}},
	{v1alpha1.ReasonNeverPulled, Explanation{
		Kind:    Container,
		Because: "it has no command, and its imagePullPolicy is Never: only the node has the image",
		Remedy:  wayOut,
	}},
	{v1alpha1.ReasonNoProgram, Explanation{
		Kind:    Container,
		Because: "neither it nor its image says what to run",
		Remedy:  wayOut,
	}},
	{v1alpha1.ReasonImageNotLinux, Explanation{
		Kind:    Container,
		Because: "its image is for another system than Linux, or for none of the cluster's architectures",
		Remedy:  wayOut,
	}},
	{v1alpha1.ReasonPlatformsDiffer, Explanation{
		Kind:    Container,
		Because: "its image runs another command on each architecture of the nodes that the pod could run on, and together these commands are too long for a pod",
		Remedy:  "Choose one with nodeSelector kubernetes.io/arch. Or: " + wayOut,
	}},
	{v1alpha1.ReasonLookupOff, Explanation{
		Kind:    Container,
		Because: "it has no command, and the registry configuration turns lookups off for its registry",
		Remedy:  wayOut,
	}},
	{v1alpha1.ReasonLookupUnauthorized, Explanation{
		Kind:    Container,
		Because: "it has no command, and its registry denies the pod access to the image",
		Remedy:  "Correct the pod's imagePullSecrets. Or: " + wayOut,
	}},
	{v1alpha1.ReasonLookupNotFound, Explanation{
		Kind:    Container,
		Because: "it has no command, and its registry does not have the image, or hides it from this pod",
		Remedy:  "Correct the image's name or the pod's imagePullSecrets. Or: " + wayOut,
	}},
	{v1alpha1.ReasonLookupForbidden, Explanation{
		Kind:    Container,
		Because: "it has no command, and its registry is at an address that podinit does not connect to",
		Remedy:  "Give the registry an entry with privateNetworks in the registry configuration; behind a proxy an entry is enough. Link-local addresses and metadata services are never connected to. Or: " + wayOut,
	}},
	{v1alpha1.ReasonLookupUnsupported, Explanation{
		Kind:    Container,
		Because: "it has no command, and its image is in a format that podinit does not read",
		Remedy:  wayOut,
	}},
	{v1alpha1.ReasonLookupTooLarge, Explanation{
		Kind:      Container,
		Because:   "it has no command, and its image's manifest or config is larger than podinit reads",
		Remedy:    wayOut,
		Transient: true,
	}},
	{v1alpha1.ReasonLookupInvalid, Explanation{
		Kind:      Container,
		Because:   "it has no command, and its image's manifest or config is not valid",
		Remedy:    "Push the image again. Or: " + wayOut,
		Transient: true,
	}},
	{v1alpha1.ReasonLookupTimeout, Explanation{
		Kind:      Container,
		Because:   "it has no command, and its registry has not answered before admission timed out",
		Remedy:    "Create the pod again: podinit still waits for the answer. Or: " + wayOut,
		Transient: true,
	}},
	{v1alpha1.ReasonLookupUnreachable, Explanation{
		Kind:      Container,
		Because:   "it has no command, and its registry cannot be reached",
		Remedy:    "Check that the webhook can connect to the registry. Or: " + wayOut,
		Transient: true,
	}},
	{v1alpha1.ReasonLookupTLS, Explanation{
		Kind:      Container,
		Because:   "it has no command, and the TLS connection to its registry failed",
		Remedy:    "Set the registry's CA in the registry configuration. Or: " + wayOut,
		Transient: true,
	}},
	{v1alpha1.ReasonLookupPlainHTTP, Explanation{
		Kind:    Container,
		Because: "it has no command, and its registry speaks plain HTTP, which podinit uses only for registries with plainHTTP: true",
		Remedy: "Ask the cluster's administrator to set plainHTTP: true for the registry in the registry configuration (ConfigMap podinit-registries, or registries.config of the chart; " +
			"docs/lookup.md). Or: " + wayOut,
		Transient: true,
	}},
	{v1alpha1.ReasonLookupRateLimited, Explanation{
		Kind:      Container,
		Because:   "it has no command, and its registry limits the rate of requests",
		Remedy:    "Wait, or give the pod an imagePullSecret with a higher limit. Or: " + wayOut,
		Transient: true,
	}},
	{v1alpha1.ReasonLookupFailed, Explanation{
		Kind:      Container,
		Because:   "it has no command, and its registry has answered with an error",
		Remedy:    "Create the pod again when the registry works. Or: " + wayOut,
		Transient: true,
	}},
	{v1alpha1.ReasonInvalidFlags, Explanation{
		Kind:    Container,
		Because: "its annotation " + v1alpha1.FlagsAnnotation + "<container> cannot be read as flags of the init",
		Remedy:  "Correct the flags; init --help lists them.",
	}},
	{v1alpha1.ReasonInPlaceUpdate, Explanation{
		Kind:    Container,
		Because: "it has no command, and the pod's images are replaced in place (OpenKruise's InPlaceUpdateReady): it would keep the command of the first image",
		Remedy:  "Set command (and args) in the pod.",
	}},
	{v1alpha1.ReasonAlreadyInit, Explanation{
		Kind:    Container,
		Because: "its command starts an init already",
		Remedy:  "Remove that init from the command.",
		Routine: true,
	}},
	{v1alpha1.ReasonRequiresPID1, Explanation{
		Kind:    Container,
		Because: "its command starts a program that must be PID 1 itself, such as systemd, or passes one to another program as an argument, as in [entrypoint, /sbin/init]",
		Routine: true,
	}},
	{v1alpha1.ReasonMountConflict, Explanation{
		Kind:    Container,
		Because: "it mounts a volume of its own or its termination message at, above or below /podinit, or its working directory or program is there",
		Remedy:  "Put that elsewhere.",
	}},
	{v1alpha1.ReasonLocalhostProfile, Explanation{
		Kind:    Container,
		Because: "it runs under a Localhost seccomp or AppArmor profile, which may not allow the init's system calls",
		Remedy:  "Use RuntimeDefault, or allow execve, clone, clock_gettime and rt_sigtimedwait there and set localhostProfiles in the InitProfile.",
	}},
	{v1alpha1.ReasonNoKillCapability, Explanation{
		Kind:    Container,
		Because: "it has the capability SETUID and not KILL, so the init could not send signals to a program that changes its user",
		Remedy:  "Add KILL to its capabilities; or set runAsUser or runAsNonRoot if its program does not start as root.",
	}},
	{v1alpha1.ReasonSELinuxLevel, Explanation{
		Kind:    Container,
		Because: "its SELinux level differs from that of the first wrapped container, and a volume can have only one level",
		Remedy:  "Give them the same level, or use delivery ImageVolume.",
	}},
	{v1alpha1.ReasonMemoryLimitTooSmall, Explanation{
		Kind:    Container,
		Because: "its memory limit leaves no room for the init",
		Remedy:  "Set a memory limit of at least 16Mi.",
	}},
	{v1alpha1.ReasonStorageLimitTooSmall, Explanation{
		Kind:    Container,
		Because: "the pod's limits for ephemeral-storage leave no room for the init's volume, and the kubelet would evict the pod",
		Remedy:  "Set limits of at least 8Mi together, or use delivery ImageVolume.",
	}},
	{v1alpha1.ReasonBrokenWrap, Explanation{
		Kind:    Container,
		Because: "its command starts with /podinit/init but does not say where the program begins",
		Remedy:  "Write -- before the program, or remove /podinit/init from the command.",
	}},
	{v1alpha1.ReasonPodTooLarge, Explanation{
		Kind:    Container,
		Because: "with its new command the pod would be larger than 1 MiB, and etcd might refuse it",
		Remedy:  "Shorten commands, environment or annotations of the pod, or use several pods.",
	}},
	{v1alpha1.ReasonPIDNamespace, Explanation{
		Kind:    Container,
		Because: "it runs in another container's PID namespace, as a debug container with a target does (node mode)",
		Routine: true,
	}},
	{v1alpha1.ReasonInitNotInstalled, Explanation{
		Kind:      Container,
		Because:   "the init is missing on the node (node mode)",
		Remedy:    "See the log of podinit-node on that node; then create the pod again.",
		Transient: true,
	}},
	{v1alpha1.ReasonUnknownValue, Explanation{
		Kind:    Setting,
		Because: "it is neither enabled nor disabled",
		Remedy:  "Use one of these.",
	}},
	{v1alpha1.ReasonUnknownContainer, Explanation{
		Kind:    Setting,
		Because: "the pod has no container of that name",
		Remedy:  "Correct the name, or remove it.",
	}},
	{v1alpha1.ReasonUnknownKey, Explanation{
		Kind:    Setting,
		Because: "podinit has no such key",
		Remedy:  "Correct the key, or remove it; docs/reference/annotations.md lists all.",
	}},
	{v1alpha1.ReasonProfileMissing, Explanation{
		Kind:    Setting,
		Because: "there is no InitProfile of that name",
		Remedy:  "Create it, or correct the name; kubectl get initprofiles lists them.",
	}},
	{v1alpha1.ReasonProfileInvalid, Explanation{
		Kind:    Setting,
		Because: "the InitProfile is not valid",
		Remedy:  "Correct it with kubectl edit initprofile.",
	}},
	{v1alpha1.ReasonProfileUnread, Explanation{
		Kind:    Setting,
		Because: "InitProfiles cannot be read, or are not read yet",
		Remedy:  "Check that the CustomResourceDefinition is installed and that the webhook may list InitProfiles; the webhook's log says more.",
	}},
	{v1alpha1.ReasonProfileNotForPods, Explanation{
		Kind:    Setting,
		Because: "only namespaces may select that InitProfile (podsMayChoose is false there)",
		Remedy:  "Annotate the namespace instead of the pod.",
	}},
	{v1alpha1.ReasonProfileFixed, Explanation{
		Kind:    Setting,
		Because: "the InitProfile of the namespace does not let pods choose (podsMayChoose is false there)",
		Remedy:  "Remove the annotation from the pod; the namespace's annotation " + v1alpha1.ProfileAnnotation + " and that InitProfile decide.",
	}},
	{v1alpha1.ReasonNamespaceUnread, Explanation{
		Kind:    Setting,
		Because: "the namespace cannot be read",
		Remedy:  "Check that the webhook may get namespaces; its log says more.",
	}},
	{v1alpha1.ReasonOwnerComparesImages, Explanation{
		Kind:    Setting,
		Because: "the pod's owner compares the images of live pods with its own template, and would replace a changed pod again and again",
		Remedy:  "Set the digest where the owner takes the image from, or change exclude.owners in the profile if its owner does not do that.",
	}},
	{v1alpha1.ReasonStaleLookup, Explanation{
		Kind:    Drift,
		Because: "the registry does not answer, so the command is from its last answer; the tag may have moved since",
		Remedy:  "Create the pod again when the registry answers, or name the image by its digest.",
	}},
	{v1alpha1.ReasonNodeImageDiffers, Explanation{
		Kind:    Drift,
		Because: "a node has an image with another digest under that tag, and would run it without asking the registry",
		Remedy:  "Pin the image: pinDigest: OnLookup in the InitProfile, or its digest in the pod. Or set imagePullPolicy: Always.",
	}},
	{v1alpha1.ReasonEveryNodeCan, Explanation{
		Kind:    Delivery,
		Because: "the apiserver and every Linux node can mount images as volumes",
		Routine: true,
	}},
	{v1alpha1.ReasonAPIServerTooOld, Explanation{
		Kind:    Delivery,
		Because: "the apiserver is older than 1.36",
		Remedy:  "Upgrade Kubernetes.",
		Routine: true,
	}},
	{v1alpha1.ReasonKubeletTooOld, Explanation{
		Kind:    Delivery,
		Because: "a Linux node's kubelet is older than 1.36",
		Remedy:  "Upgrade that node.",
		Routine: true,
	}},
	{v1alpha1.ReasonRuntimeTooOld, Explanation{
		Kind:    Delivery,
		Because: "a Linux node's container runtime is older than containerd 2.1 or CRI-O 1.31",
		Remedy:  "Upgrade that node.",
		Routine: true,
	}},
	{v1alpha1.ReasonRuntimeUnknown, Explanation{
		Kind:    Delivery,
		Because: "a Linux node's container runtime is neither containerd nor CRI-O, or does not report its version",
		Remedy:  "Set delivery ImageVolume in the profile if that runtime can mount images.",
		Routine: true,
	}},
	{v1alpha1.ReasonUserNamespaceTooOld, Explanation{
		Kind:    Delivery,
		Because: "hostUsers is false, and a Linux node's containerd is older than 2.3",
		Remedy:  "Upgrade that node.",
		Routine: true,
	}},
	{v1alpha1.ReasonUserNamespaceUnsupported, Explanation{
		Kind:    Delivery,
		Because: "hostUsers is false, and a Linux node has CRI-O, which cannot mount images in user namespaces",
		Routine: true,
	}},
	{v1alpha1.ReasonClusterUnknown, Explanation{
		Kind:    Delivery,
		Because: "the nodes or the apiserver's version cannot be read, or are not read yet",
		Remedy:  "Check that the webhook may list nodes; its log says more.",
		Routine: true,
	}},
}
