package inject

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/reason"
)

// RuntimeContainer is a container as a node's container runtime knows it, immediately before it creates it. The runtime
// does not say more of the Pod than this: not in which list of the Pod the container is, nor anything about probes.
type RuntimeContainer struct {
	// PodLabels and PodAnnotations are the Pod's own.
	PodLabels, PodAnnotations map[string]string
	// RuntimeHandler is what the Pod's runtime class stands for; empty for the default.
	RuntimeHandler string
	// HostPID is set where the Pod is in the node's PID namespace.
	HostPID bool
	// ShareProcessNamespace is set where the container is in the Pod's own PID namespace, with its other containers.
	ShareProcessNamespace bool
	// PodMemoryLimit in bytes; 0 if there is none.
	PodMemoryLimit int64

	// Name of the container in the Pod.
	Name string
	// Args are the whole argv, with nothing left to expand.
	Args []string
	// MountPaths are where something is mounted.
	MountPaths []string
	// MemoryLimit in bytes; 0 if there is none.
	MemoryLimit int64
	// LocalhostProfile is set where the seccomp profile is one from the node's disk.
	LocalhostProfile bool
	// TerminationGracePeriodSeconds is the Pod's; nil if it is not known.
	TerminationGracePeriodSeconds *int64
	// PreStopHandler is the JSON of the container's preStop handler; empty if it has none.
	PreStopHandler string
	// TerminationMessagePath and TerminationMessagePolicy are the container's fields of that name.
	TerminationMessagePath, TerminationMessagePolicy string
}

// NewRuntimePod is the Pod of a container, as far as its runtime knows it, for DecideRuntime and for choosing a Profile.
func NewRuntimePod(c RuntimeContainer) *Pod {
	one := container{
		Name: c.Name, Command: c.Args, Resources: limited(c.MemoryLimit),
		TerminationMessagePath: c.TerminationMessagePath, TerminationMessagePolicy: c.TerminationMessagePolicy,
		ImagePullPolicy: "Never", // the node has the image, and its argv is known: nothing is to be looked up
	}
	for _, at := range c.MountPaths {
		one.VolumeMounts = append(one.VolumeMounts, volumeMount{MountPath: at})
	}
	if c.LocalhostProfile {
		one.SecurityContext.SeccompProfile = &securityProfile{Type: "Localhost"}
	}
	// A handler that cannot be read only leaves the grace period as long as the Pod's.
	_ = json.Unmarshal([]byte(c.PreStopHandler), &one.Lifecycle.PreStop)
	pod := &Pod{
		Metadata: &metadata{Labels: c.PodLabels, Annotations: c.PodAnnotations},
		Spec: &spec{
			RuntimeClassName: c.RuntimeHandler, HostPID: c.HostPID, ShareProcessNamespace: c.ShareProcessNamespace, Resources: limited(c.PodMemoryLimit),
			TerminationGracePeriodSeconds: c.TerminationGracePeriodSeconds,
		},
	}
	// The copier is the only container of which the list is known.
	if c.Name == CopierName {
		pod.Spec.InitContainers = []container{one}
	} else {
		pod.Spec.Containers = []container{one}
	}
	pod.prepare()
	return pod
}

// limited are resources with a memory limit, in bytes, or without.
func limited(memory int64) resources {
	if memory <= 0 {
		return resources{}
	}
	return resources{Limits: map[string]json.RawMessage{"memory": json.RawMessage(strconv.FormatInt(memory, 10))}}
}

// DecideRuntime decides about the one container of a Pod that NewRuntimePod has made, as NewPlan does about those of a
// Pod that is created. Where the container is wrapped, Command is its whole new argv.
//
// What starts the init already is left alone: a webhook has wrapped it, or its author.
func DecideRuntime(config Config, setting Setting, pod *Pod) (Decision, []reason.Ignored) {
	in := newInput(config, setting, pod)
	var d Decision
	if len(pod.Spec.InitContainers) > 0 {
		d.container = &pod.Spec.InitContainers[0]
	} else {
		d.container = &pod.Spec.Containers[0]
	}
	c := d.container
	d.Name, d.Skip = c.Name, reason.NewSkip(in.leavePodAlone(), "")
	if pod.unseen(d.Reason) || d.Reason == v1alpha1.ReasonSuspended || d.Reason == v1alpha1.ReasonAnnotationsTooLarge {
		return d, nil
	}
	var ignored []reason.Ignored
	in.choice, ignored = newChoice(pod, in.setting.Profile.SelectableByPods())
	// The Pod may well have containers of these names: this one is all that is known of it.
	ignored = slices.DeleteFunc(ignored, func(i reason.Ignored) bool { return i.Reason == v1alpha1.ReasonUnknownContainer })
	ignored = slices.Concat(setting.Ignored, unknownValues(setting, pod), ignored)
	switch {
	case d.Reason != "":
	case wrapped(c) || config.isCopier(c):
		d.Skip = reason.NewSkip(v1alpha1.ReasonAlreadyInit, "")
	case len(c.Command) == 0:
		d.Skip = reason.NewSkip(v1alpha1.ReasonNoProgram, "")
	default:
		if why := in.leftByList(c.Name); why != "" {
			d.Skip = reason.NewSkip(why, "")
		} else {
			d, _ = in.decide(c, nil)
		}
	}
	// No kubelet expands this argv, so what was escaped for it is as it was.
	for i := range max(len(d.Command)-len(c.Command), 0) {
		d.Command[i] = strings.ReplaceAll(d.Command[i], "$$", "$")
	}
	return d, ignored
}

// leftByList is why a webhook has left the container alone for the list of the Pod that it is in, which no runtime knows; ""
// if it has not. The Pod's status says it. Where the profile leaves Pods to the nodes, a status is from elsewhere.
//
// Anybody may have written the status. It can only keep a container from being wrapped, as podinit.dev/inject can.
func (in *input) leftByList(name string) v1alpha1.Reason {
	text, policy := in.pod.Metadata.Annotations[v1alpha1.StatusAnnotation], in.setting.Profile.Spec.Containers
	if text == "" || in.setting.Profile.ByNode() || in.choice.only[name] {
		return ""
	}
	var status v1alpha1.Status
	_ = json.Unmarshal([]byte(text), &status) // it may be anything
	switch reason := status.Containers[name].Reason; reason {
	case v1alpha1.ReasonSidecar:
		if !policy.Sidecars {
			return reason
		}
	case v1alpha1.ReasonInitContainer:
		if !policy.InitContainers {
			return reason
		}
	case v1alpha1.ReasonTektonSidecar:
		return reason
	}
	return ""
}
