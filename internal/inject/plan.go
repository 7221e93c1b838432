// Package inject decides which containers of a Pod get the init as PID 1, and writes the JSON patch that gives it.
//
// It is pure: the same Pod, namespace and Config give the same bytes, and nothing is read, awaited or remembered.
// Of the Pod it decodes only what it looks at; the patch is made of operations on the raw object, so fields that
// this code has never heard of survive. Everything of ours in the Pod is computed again on every call and replaced
// where it differs: calling twice changes nothing, and no forged marker decides anything.
package inject

import (
	"slices"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/profile"
	"github.com/podinit/podinit/internal/reason"
)

const (
	// CopierName is the initContainer that installs the init.
	CopierName = "podinit-copy"
	// VolumeName is the volume that holds the init.
	VolumeName = "podinit"
	// MountPath is where the volume is in every container that is wrapped, and in the copier.
	MountPath = "/podinit"
	// InitPath is the init in a container.
	InitPath = MountPath + "/init"
)

// Plan is what is to be done to one Pod.
type Plan struct {
	// Skip is why the Pod as a whole is left alone; none if its containers are looked at.
	Skip reason.Skip
	// Delivery is how the init reaches the containers that are wrapped, and DeliveryReason why it is that one, where the
	// profile leaves it open.
	Delivery       v1alpha1.Delivery
	DeliveryReason v1alpha1.Reason
	// Ignored are settings of the Pod or its namespace that are not followed.
	Ignored []reason.Ignored
	// Lookups are what the plan would want to know about images, whether Setting.Images says it or not.
	Lookups []Lookup
	// Containers has a decision for every container but the copier: first the initContainers, then the regular ones, in
	// the Pod's order. Each repeats the Pod's Skip where there is one.
	Containers []Decision

	input
}

// input is what a plan is made from, and what follows from it for all containers alike.
type input struct {
	config  Config
	setting Setting // with a Profile
	pod     *Pod
	choice  choice
	// compares is what of the Pod its owner compares with what it made.
	compares v1alpha1.Comparison
	// architectures are those that the Pod can run on; nil if they are not known.
	architectures []string
	// storageLimitTooSmall is set where the volume of the init could have the Pod evicted.
	storageLimitTooSmall bool
	// references are the containers' images, taken apart, by their names.
	references map[string]reference
	// before is the status that the Pod came with; zero if no container came wrapped.
	before v1alpha1.Status
}

// newInput is that of a plan of which nothing of the Pod is read yet.
func newInput(config Config, setting Setting, pod *Pod) input {
	if setting.Profile == nil {
		setting.Profile = profile.Default()
	}
	return input{config: config, setting: setting, pod: pod, references: map[string]reference{}}
}

// NewPlan decides about a Pod.
func NewPlan(config Config, setting Setting, pod *Pod) *Plan {
	plan := &Plan{input: newInput(config, setting, pod)}
	plan.compares = pod.comparedBy(plan.setting.Profile.Spec.Exclude.Owners)
	plan.Skip = reason.NewSkip(plan.leavePodAlone(), "")
	if plan.leftToNode() {
		plan.Skip = reason.NewSkip(v1alpha1.ReasonLeftToNode, "")
	}
	if plan.Skip.Reason == v1alpha1.ReasonSuspended {
		plan.decideContainers() // each repeats the reason; no setting of the Pod is read, so none is warned about
		return plan
	}
	var ignored []reason.Ignored
	if plan.Skip.Reason != v1alpha1.ReasonAnnotationsTooLarge {
		plan.choice, ignored = newChoice(pod, plan.setting.Profile.SelectableByPods())
	}
	if plan.Skip.Reason == "" {
		plan.architectures, plan.before = pod.architectures(setting.Architectures), pod.before()
		ignored = append(ignored, plan.pinsNothing()...)
	}
	plan.Ignored = slices.Concat(setting.Ignored, unknownValues(setting, pod), unknownKeys(pod), ignored)
	plan.Ignored = plan.Ignored[:min(len(plan.Ignored), maxIgnored)]
	plan.Delivery, plan.DeliveryReason = plan.deliver()
	if plan.Skip.Reason == "" && plan.Delivery == v1alpha1.DeliveryInitContainer {
		plan.storageLimitTooSmall = pod.storageLimitTooSmall(config)
	}
	plan.decideContainers()
	return plan
}

// With is the plan that NewPlan makes if the Setting has these Images.
func (p *Plan) With(images map[string]LookedUp) *Plan {
	next := *p
	next.setting.Images = images
	next.Lookups, next.Containers = nil, nil
	next.decideContainers()
	return &next
}

func (p *Plan) decideContainers() {
	if p.Skip.Reason == "" && windowsImage(p.setting.Images) {
		p.Skip = reason.NewSkip(v1alpha1.ReasonWindows, "")
	}
	for c := range p.pod.containers() {
		if p.config.isCopier(c) {
			continue
		}
		d := Decision{Name: c.Name, Skip: p.Skip, container: c}
		if p.Skip.Reason == v1alpha1.ReasonLeftToNode {
			d = p.decideForNode(c)
		} else if p.Skip.Reason == "" {
			d, p.Lookups = p.decide(c, p.Lookups)
		}
		p.Containers = append(p.Containers, d)
	}
	p.keepSELinuxLevel()
	p.boundSize()
}

// leftToNode says whether the nodes decide about the Pod. What keeps the webhook from changing it, such as an owner that
// compares, keeps no node from wrapping its containers.
func (p *Plan) leftToNode() bool {
	if !p.setting.Profile.ByNode() {
		return false
	}
	switch p.Skip.Reason {
	case "", v1alpha1.ReasonOwnerComparesPods, v1alpha1.ReasonNameConflict, v1alpha1.ReasonInitImageUnavailable:
		return true
	}
	return false
}

// decideForNode is what the node will decide about a container, as far as the Pod shows it: why it will be left alone, or
// else ReasonLeftToNode. Nothing is looked up, as the node knows what the image runs.
func (in *input) decideForNode(c *container) Decision {
	d, _ := in.decide(c, nil)
	switch d.Reason {
	case v1alpha1.ReasonNotChosen, v1alpha1.ReasonExcludedByProfile, v1alpha1.ReasonAlreadyInit, v1alpha1.ReasonRequiresPID1,
		v1alpha1.ReasonMountConflict, v1alpha1.ReasonInvalidFlags, v1alpha1.ReasonMemoryLimitTooSmall:
		return Decision{Name: c.Name, Skip: d.Skip, container: c}
	}
	return d.skipped(v1alpha1.ReasonLeftToNode)
}

// Wraps says whether any container is to be wrapped.
func (p *Plan) Wraps() bool { return p.first() != nil }

// first is the first container that is wrapped, nil if none is.
func (p *Plan) first() *container {
	for i := range p.Containers {
		if p.Containers[i].Reason == "" {
			return p.Containers[i].container
		}
	}
	return nil
}

// Status is what the status annotation says.
func (p *Plan) Status() v1alpha1.Status {
	status := v1alpha1.Status{
		V: v1alpha1.StatusVersion, Version: p.config.Version, Reason: p.Skip.Reason, Profile: p.setting.Profile.Name(),
	}
	for _, i := range p.Ignored {
		if !slices.Contains(status.Ignored, i.Reason) {
			status.Ignored = append(status.Ignored, i.Reason)
		}
	}
	if p.Skip.Reason != "" {
		return status
	}
	if p.Wraps() {
		status.Delivery, status.DeliveryReason = p.Delivery, p.DeliveryReason
		status.OwnDefaultContainer = p.ownDefaultContainer()
	}
	for _, d := range p.Containers {
		if status.Containers == nil {
			status.Containers = make(map[string]v1alpha1.ContainerStatus, len(p.Containers))
		}
		status.Containers[d.Name] = v1alpha1.ContainerStatus{
			Action: d.Action(), Source: d.Source, Digest: d.Digest, Added: d.Added, Reason: d.Reason, Drift: d.Drift,
		}
	}
	return status
}

// OwnerCompares says what of the Pod its owner compares with what it made, according to the profile; "" if nothing.
func (p *Plan) OwnerCompares() v1alpha1.Comparison { return p.compares }
