// Package inject decides which containers of a Pod get the init as PID 1, and writes the JSON patch that gives it.
//
// It is pure: the same Pod, namespace and Config give the same bytes, and nothing is read, awaited or remembered.
// Of the Pod it decodes only what it looks at; the patch is made of operations on the raw object, so fields that
// this code has never heard of survive. Everything of ours in the Pod is computed again on every call and replaced
// where it differs: calling twice changes nothing, and no marker that someone forged decides anything.
package inject

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/reason"
)

const (
	// copierName is the initContainer that installs the init.
	copierName = "podinit-copy"
	// volumeName is the volume that holds the init.
	volumeName = "podinit"
	// mountPath is where the volume is in every container that is wrapped, and in the copier.
	mountPath = "/podinit"
	// initPath is the init in a container.
	initPath = mountPath + "/init"
)

// memoryFloor is the smallest memory limit, in bytes, under which a container still has room for the init.
var memoryFloor = resource.MustParse("16Mi")

// Config is what an installation of podinit decides for all its Pods.
type Config struct {
	// Image is the reference of the image that holds the init, as the copier pulls it.
	Image string
	// Version of the init in Image.
	Version string
	// ExcludedNamespaces are never touched.
	ExcludedNamespaces []string
}

// Plan is what is to be done to one Pod.
type Plan struct {
	// Reason is why the Pod as a whole is left alone; empty if its containers are looked at.
	Reason v1alpha1.Reason
	// Containers has a decision for every regular container, in the Pod's order; each repeats Reason where that is set.
	Containers []Decision

	config Config
	pod    *Pod
}

// Decision is what is to be done to one container.
type Decision struct {
	// Name of the container.
	Name string
	// Reason is why it is left alone; empty if it is wrapped.
	Reason v1alpha1.Reason
	// Source is where the command that is wrapped came from.
	Source v1alpha1.Source
	// Command is the container's whole new command, the init first; nil if it is left alone.
	Command []string
}

// NewPlan decides about a Pod of the given namespace, which is the request's: the Pod's own may still be empty.
func NewPlan(config Config, namespace string, pod *Pod) *Plan {
	plan := &Plan{config: config, pod: pod}
	plan.Reason = plan.leavePodAlone(namespace)
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		d := Decision{Name: c.Name, Reason: plan.Reason}
		if plan.Reason == "" {
			d = plan.decide(c)
		}
		plan.Containers = append(plan.Containers, d)
	}
	return plan
}

// Wraps says whether any container is to be wrapped.
func (p *Plan) Wraps() bool {
	return slices.ContainsFunc(p.Containers, func(d Decision) bool { return d.Reason == "" })
}

// Status is what the status annotation says.
func (p *Plan) Status() v1alpha1.Status {
	status := v1alpha1.Status{V: v1alpha1.StatusVersion, Version: p.config.Version, Reason: p.Reason}
	if p.Reason != "" {
		return status
	}
	if p.Wraps() {
		status.Delivery = v1alpha1.DeliveryInitContainer
	}
	for _, d := range p.Containers {
		if status.Containers == nil {
			status.Containers = make(map[string]v1alpha1.ContainerStatus, len(p.Containers))
		}
		action := v1alpha1.ActionWrapped
		if d.Reason != "" {
			action = v1alpha1.ActionSkipped
		}
		status.Containers[d.Name] = v1alpha1.ContainerStatus{Action: action, Source: d.Source, Reason: d.Reason}
	}
	return status
}

// Warnings are sentences for whoever creates the Pod: what was left alone although it need not be.
func (p *Plan) Warnings() []string {
	var warnings []string
	warn := func(what string, r v1alpha1.Reason) {
		if e := reason.Of(r); r != "" && !e.Routine {
			warnings = append(warnings, strings.TrimSpace(fmt.Sprintf("podinit: %s left alone because %s. %s", what, e.Because, e.Remedy)))
		}
	}
	if mode, ok := p.unknownMode(); ok {
		warnings = append(warnings, fmt.Sprintf("podinit: %s: %q is not known and ignored. Use %s or %s.",
			v1alpha1.Inject, mode, v1alpha1.InjectEnabled, v1alpha1.InjectDisabled))
	}
	if p.Reason != "" {
		warn("pod", p.Reason)
		return warnings
	}
	for _, d := range p.Containers {
		warn(fmt.Sprintf("container %q", d.Name), d.Reason)
	}
	return warnings
}

func (p *Plan) unknownMode() (string, bool) {
	for _, m := range []map[string]string{p.pod.Metadata.Labels, p.pod.Metadata.Annotations} {
		if mode, ok := m[v1alpha1.Inject]; ok && mode != v1alpha1.InjectEnabled && mode != v1alpha1.InjectDisabled {
			return mode, true
		}
	}
	return "", false
}

// unseen are the reasons for which not even a status is written: such a Pod is none of ours.
var unseen = []v1alpha1.Reason{
	v1alpha1.ReasonMirrorPod, v1alpha1.ReasonOptedOut, v1alpha1.ReasonExcludedNamespace, v1alpha1.ReasonWindows,
}

// leavePodAlone says why the Pod as a whole is left alone, in the order of precedence, or "".
// The webhook's configuration keeps most of these from being sent at all; here they hold for every caller.
func (p *Plan) leavePodAlone(namespace string) v1alpha1.Reason {
	meta, spec := p.pod.Metadata, p.pod.Spec
	switch {
	case slices.Contains(p.config.ExcludedNamespaces, namespace):
		return v1alpha1.ReasonExcludedNamespace
	case has(meta.Annotations, "kubernetes.io/config.mirror"):
		return v1alpha1.ReasonMirrorPod
	case meta.Labels[v1alpha1.Inject] == v1alpha1.InjectDisabled, meta.Annotations[v1alpha1.Inject] == v1alpha1.InjectDisabled:
		return v1alpha1.ReasonOptedOut
	case spec.OS.Name == "windows", spec.NodeSelector["kubernetes.io/os"] == "windows", spec.SecurityContext.WindowsOptions != nil:
		return v1alpha1.ReasonWindows
	case spec.HostPID:
		return v1alpha1.ReasonHostPID
	case p.nameConflict():
		return v1alpha1.ReasonNameConflict
	}
	return ""
}

func has(m map[string]string, key string) bool {
	_, ok := m[key]
	return ok
}

// nameConflict says whether the Pod uses one of our names for something that is not ours.
func (p *Plan) nameConflict() bool {
	spec := p.pod.Spec
	copiers, volumes := 0, 0
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		if c.Name == copierName {
			if copiers++; !slices.Equal(c.Command, copierCommand) || copiers > 1 {
				return true
			}
		}
	}
	for _, v := range spec.Volumes {
		if v.Name == volumeName {
			if volumes++; v.EmptyDir == nil || volumes > 1 {
				return true
			}
		}
	}
	for _, containers := range [][]container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			for _, m := range containers[i].VolumeMounts {
				if m.Name == volumeName && m.MountPath != mountPath {
					return true
				}
			}
		}
	}
	return slices.ContainsFunc(spec.Containers, func(c container) bool { return c.Name == copierName })
}

func (p *Plan) decide(c *container) Decision {
	d := Decision{Name: c.Name}
	command, ok := unwrap(c.Command)
	switch {
	case !ok:
		d.Reason = v1alpha1.ReasonBrokenWrap
	case len(c.Command) == 0, len(command)+len(c.Args) == 0:
		d.Reason = v1alpha1.ReasonNoCommand
	case mountConflict(c):
		d.Reason = v1alpha1.ReasonMountConflict
	case p.localhostProfile(c):
		d.Reason = v1alpha1.ReasonLocalhostProfile
	case memoryLimitTooSmall(c):
		d.Reason = v1alpha1.ReasonMemoryLimitTooSmall
	case len(command) > 0:
		d.Reason = leaveProgramAlone(command[0])
	}
	if d.Reason == "" {
		d.Source = v1alpha1.SourceCommand
		d.Command = wrap(p.pod, c, command)
	}
	return d
}

// mountConflict says whether something of the container's own is mounted at, above or below our path. A volume
// above it might be read-only, and then the runtime cannot make our mount point.
func mountConflict(c *container) bool {
	conflict := func(at string) bool {
		at = path.Clean("/" + at)
		return at == "/" || at == mountPath || strings.HasPrefix(at, mountPath+"/")
	}
	return slices.ContainsFunc(c.VolumeMounts, func(m volumeMount) bool { return m.Name != volumeName && conflict(m.MountPath) }) ||
		slices.ContainsFunc(c.VolumeDevices, func(d volumeDevice) bool { return conflict(d.DevicePath) })
}

// localhostProfile says whether the container runs under a seccomp or AppArmor profile that was recorded for its
// program alone: it may deny the exec of the init, its clone or its rt_sigtimedwait.
func (p *Plan) localhostProfile(c *container) bool {
	localhost := func(own, pods *profile) bool {
		if own == nil {
			own = pods
		}
		return own != nil && own.Type == "Localhost"
	}
	pods := &p.pod.Spec.SecurityContext
	return localhost(c.SecurityContext.SeccompProfile, pods.SeccompProfile) ||
		localhost(c.SecurityContext.AppArmorProfile, pods.AppArmorProfile) ||
		strings.HasPrefix(p.pod.Metadata.Annotations["container.apparmor.security.beta.kubernetes.io/"+c.Name], "localhost/")
}

func memoryLimitTooSmall(c *container) bool {
	limit, ok := quantity(c.Resources.Limits["memory"])
	return ok && limit.Cmp(memoryFloor) < 0
}

// leaveProgramAlone says why a program that is started with this first word is no business of ours, or "".
func leaveProgramAlone(program string) v1alpha1.Reason {
	switch path.Base(program) {
	case "tini", "tini-static", "dumb-init", "catatonit", "docker-init", "pid1", "podinit":
		return v1alpha1.ReasonAlreadyInit
	case "systemd", "init", "openrc-init", "runit", "runit-init", "my_init", "s6-svscan", "upstart":
		// /init is s6-overlay's, which refuses to run as anything but PID 1 (just-containers/s6-overlay#630).
		return v1alpha1.ReasonRequiresPID1
	}
	return ""
}
