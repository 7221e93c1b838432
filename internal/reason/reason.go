// Package reason explains every v1alpha1.Reason: why a container or a Pod was left alone, and what to do about it.
// Warnings, documentation and command line print these sentences and no others.
package reason

import "github.com/podinit/podinit/api/v1alpha1"

// Explanation of one reason.
type Explanation struct {
	// Because completes "left alone because ..."; no full stop.
	Because string
	// Remedy is a sentence that says what to do if wrapping is wanted; empty if there is nothing to do.
	Remedy string
	// Routine is set where leaving alone is what the user wants or expects; it is not worth a warning.
	Routine bool
}

// Of returns the explanation of r; for a reason it does not know, one that only repeats its name.
func Of(r v1alpha1.Reason) Explanation {
	if e, ok := explanations[r]; ok {
		return e
	}
	return Explanation{Because: "of " + string(r)}
}

// All returns every reason that has an explanation, in the order of the documentation.
func All() []v1alpha1.Reason {
	return append([]v1alpha1.Reason(nil), order...)
}

var order = []v1alpha1.Reason{
	v1alpha1.ReasonMirrorPod,
	v1alpha1.ReasonOptedOut,
	v1alpha1.ReasonExcludedNamespace,
	v1alpha1.ReasonWindows,
	v1alpha1.ReasonHostPID,
	v1alpha1.ReasonNameConflict,
	v1alpha1.ReasonNoCommand,
	v1alpha1.ReasonAlreadyInit,
	v1alpha1.ReasonRequiresPID1,
	v1alpha1.ReasonMountConflict,
	v1alpha1.ReasonLocalhostProfile,
	v1alpha1.ReasonMemoryLimitTooSmall,
	v1alpha1.ReasonBrokenWrap,
}

var explanations = map[v1alpha1.Reason]Explanation{
	v1alpha1.ReasonMirrorPod: {
		Because: "it mirrors a static pod: the kubelet runs what its own file says, a change here would only be a lie",
		Remedy:  "Put the init into the static pod's manifest on the node.",
		Routine: true,
	},
	v1alpha1.ReasonOptedOut: {
		Because: v1alpha1.Inject + " is " + v1alpha1.InjectDisabled + " on the pod",
		Remedy:  "Remove that label or annotation.",
		Routine: true,
	},
	v1alpha1.ReasonExcludedNamespace: {
		Because: "its namespace is one that podinit never touches",
		Remedy:  "Run the pod in another namespace.",
		Routine: true,
	},
	v1alpha1.ReasonWindows: {
		Because: "it runs on Windows, which has no PID 1",
		Routine: true,
	},
	v1alpha1.ReasonHostPID: {
		Because: "hostPID is true: PID 1 is the node's own",
		Remedy:  "Remove hostPID if the pod does not need it.",
	},
	v1alpha1.ReasonNameConflict: {
		Because: "it uses the volume name podinit or the container name podinit-copy for something of its own",
		Remedy:  "Rename that volume or container.",
	},
	v1alpha1.ReasonNoCommand: {
		Because: "it has no command, so only its image says what it runs",
		Remedy:  "Set command (and args) in the pod.",
	},
	v1alpha1.ReasonAlreadyInit: {
		Because: "its command starts an init already",
		Remedy:  "Remove that init from the command.",
		Routine: true,
	},
	v1alpha1.ReasonRequiresPID1: {
		Because: "its command starts a program that must be PID 1 itself",
		Routine: true,
	},
	v1alpha1.ReasonMountConflict: {
		Because: "it mounts something of its own at, above or below /podinit",
		Remedy:  "Mount that elsewhere.",
	},
	v1alpha1.ReasonLocalhostProfile: {
		Because: "it runs under a Localhost seccomp or AppArmor profile, which may not allow the init's system calls",
		Remedy:  "Use RuntimeDefault.",
	},
	v1alpha1.ReasonMemoryLimitTooSmall: {
		Because: "its memory limit leaves no room for the init",
		Remedy:  "Set a memory limit of at least 16Mi.",
	},
	v1alpha1.ReasonBrokenWrap: {
		Because: "its command starts with /podinit/init but does not say where the program begins",
		Remedy:  "Write -- before the program, or remove /podinit/init from the command.",
	},
}
