// Package node decides about a container that a node's runtime is about to create, and writes what the runtime is to
// change. It is the pure core of node mode: a Pod and a container as the Node Resource Interface (NRI) describes them go
// in, an argv and a mount come out. The rules are those of package inject; package plugin does the I/O.
//
// What NRI says is in github.com/containerd/nri/pkg/api. The Pod's annotations and labels are the Pod's own. The
// container's annotations are the kubelet's (k8s.io/kubernetes, pkg/kubelet/kuberuntime/labels.go). The argv is resolved:
// it is what the image, command and args come to, with every $(NAME) expanded.
package node

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/nri/pkg/api"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/reason"
)

// Annotations by which the kubelet tells the runtime of a container.
const (
	terminationMessagePath   = "io.kubernetes.container.terminationMessagePath"
	terminationMessagePolicy = "io.kubernetes.container.terminationMessagePolicy"
	preStopHandler           = "io.kubernetes.container.preStopHandler"
	terminationGracePeriod   = "io.kubernetes.pod.terminationGracePeriod"
)

// Decider decides about containers.
type Decider struct {
	// Config of this installation; Image is not used.
	Config inject.Config
	// Setting says from memory what holds for the Pods of a namespace without being in them.
	Setting func(namespace string, pod *inject.Pod) inject.Setting
}

// Verdict is what is done to one container.
type Verdict struct {
	// Skip is why it is left alone; none if it is wrapped.
	reason.Skip
	// Args are its whole new argv, the init first; nil if it is left alone.
	Args []string
	// Ignored are requests of the Pod or its namespace that are not followed.
	Ignored []reason.Ignored
	// Required is set where the container must not start without the init.
	Required bool
}

// Decide decides about one container of a Pod. Neither is changed; either may lack any field.
func (d Decider) Decide(pod *api.PodSandbox, container *api.Container) Verdict {
	described := describe(pod, container)
	p := inject.NewRuntimePod(described)
	setting := d.Setting(pod.GetNamespace(), p)
	decision, ignored := inject.DecideRuntime(d.Config, setting, p)
	if _, foreign := pidNamespace(pod, container); decision.Reason == "" && foreign {
		return Verdict{Skip: reason.NewSkip(v1alpha1.ReasonPIDNamespace, ""), Ignored: ignored}
	}
	return Verdict{Skip: decision.Skip, Args: decision.Command, Ignored: ignored, Required: setting.Profile.RequiresNode()}
}

// Required says whether the profile demands the init for a container of a Pod.
func (d Decider) Required(pod *api.PodSandbox, container *api.Container) bool {
	return d.Setting(pod.GetNamespace(), inject.NewRuntimePod(describe(pod, container))).Profile.RequiresNode()
}

// describe is a container in the terms of package inject.
func describe(pod *api.PodSandbox, container *api.Container) inject.RuntimeContainer {
	annotations := container.GetAnnotations()
	shared, _ := pidNamespace(pod, container)
	c := inject.RuntimeContainer{
		PodLabels: pod.GetLabels(), PodAnnotations: pod.GetAnnotations(),
		RuntimeHandler: pod.GetRuntimeHandler(), HostPID: hostPIDs(pod), ShareProcessNamespace: shared,
		PodMemoryLimit: pod.GetLinux().GetPodResources().GetMemory().GetLimit().GetValue(),
		Name:           container.GetName(), Args: container.GetArgs(),
		MemoryLimit:              container.GetLinux().GetResources().GetMemory().GetLimit().GetValue(),
		LocalhostProfile:         container.GetLinux().GetSeccompProfile().GetProfileType() == api.SecurityProfile_LOCALHOST,
		PreStopHandler:           annotations[preStopHandler],
		TerminationMessagePath:   annotations[terminationMessagePath],
		TerminationMessagePolicy: annotations[terminationMessagePolicy],
	}
	for _, mount := range container.GetMounts() {
		c.MountPaths = append(c.MountPaths, mount.GetDestination())
	}
	if seconds, err := strconv.ParseInt(annotations[terminationGracePeriod], 10, 64); err == nil {
		c.TerminationGracePeriodSeconds = &seconds
	}
	return c
}

const typePID = "pid"

// hostPIDs says whether a Pod is in the node's PID namespace: its sandbox then has namespaces, and none of that type.
func hostPIDs(pod *api.PodSandbox) bool {
	namespaces := pod.GetLinux().GetNamespaces()
	return len(namespaces) > 0 && !slices.ContainsFunc(namespaces, func(n *api.LinuxNamespace) bool { return n.GetType() == typePID })
}

// pidNamespace says whether a container is in the PID namespace of its Pod's sandbox, as all are with shareProcessNamespace, or in
// that of another container, as an ephemeral container with a target is: its own PID 1 is then the child of another process. One that
// has a namespace of its own names no path.
func pidNamespace(pod *api.PodSandbox, container *api.Container) (shared, foreign bool) {
	for _, n := range container.GetLinux().GetNamespaces() {
		if n.GetType() == typePID && n.GetPath() != "" {
			shared = n.GetPath() == fmt.Sprintf("/proc/%d/ns/pid", pod.GetPid())
			return shared, !shared
		}
	}
	return false, false
}

// Adjustment is what the runtime is to change for a Verdict: nil for a container that is left alone. directory holds the
// init, on the node.
//
// The argv takes the place of what an earlier plugin has made of it, which is what was decided about. The mount is
// read-only; a remount by the runtime that this implies also makes it private.
func (v Verdict) Adjustment(directory string) *api.ContainerAdjustment {
	if v.Reason != "" {
		return nil
	}
	adjustment := &api.ContainerAdjustment{}
	adjustment.UpdateArgs(v.Args)
	adjustment.AddMount(&api.Mount{
		Destination: inject.MountPath, Type: "bind", Source: directory, Options: []string{"bind", "ro", "nosuid", "nodev", "rprivate"},
	})
	return adjustment
}

// Uses says which of the directories directly below root a container has the init from; "" if none.
func Uses(container *api.Container, root string) string {
	for _, mount := range container.GetMounts() {
		if path.Clean(mount.GetDestination()) != inject.MountPath {
			continue
		}
		below, err := filepath.Rel(root, mount.GetSource())
		if err != nil || below == "." || strings.HasPrefix(below, "..") || strings.Contains(below, "/") {
			return ""
		}
		return below
	}
	return ""
}
