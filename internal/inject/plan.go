// Package inject decides which containers of a Pod get the init as PID 1, and writes the JSON patch that gives it.
//
// It is pure: the same Pod, namespace and Config give the same bytes, and nothing is read, awaited or remembered.
// Of the Pod it decodes only what it looks at; the patch is made of operations on the raw object, so fields that
// this code has never heard of survive. Everything of ours in the Pod is computed again on every call and replaced
// where it differs: calling twice changes nothing, and no marker that someone forged decides anything.
package inject

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/imageconfig"
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

// memoryFloor is the smallest memory limit, in bytes, under which a container still has room for the init.
var memoryFloor = resource.MustParse("16Mi")

// storageFloor is the smallest limit for ephemeral-storage, in bytes, under which a Pod has room for the volume of the
// init: the binary is 1.2 MiB, and a new one is there beside the old until it takes its place; what is left of it is for
// the Pod's own logs.
var storageFloor = resource.MustParse("8Mi")

// Config is what an installation of podinit decides for all its Pods.
type Config struct {
	// Image is the reference of the image that holds the init, as the copier pulls it.
	Image string
	// Version of the init in Image.
	Version string
	// ExcludedNamespaces are never touched.
	ExcludedNamespaces []string
}

// SystemNamespaces are those of what the cluster itself needs, which a webhook must not hold up: they are excluded unless
// somebody says otherwise, and the webhook's own besides.
var SystemNamespaces = []string{"kube-system", "kube-public", "kube-node-lease"}

// Plan is what is to be done to one Pod.
type Plan struct {
	// Reason is why the Pod as a whole is left alone; empty if its containers are looked at.
	Reason v1alpha1.Reason
	// Delivery is how the init reaches the containers that are wrapped, and DeliveryReason why it is that one, where the
	// profile leaves it open.
	Delivery       v1alpha1.Delivery
	DeliveryReason v1alpha1.Reason
	// Ignored are wishes of the Pod or its namespace that are not followed.
	Ignored []Ignored
	// Lookups are what the plan would want to know about images, whether Setting.Images says it or not.
	Lookups []Lookup
	// Containers has a decision for every container but the copier: first the initContainers, then the regular ones, in
	// the Pod's order. Each repeats Reason where that is set.
	Containers []Decision

	config  Config
	setting Setting
	profile *Profile
	choice  choice
	pod     *Pod
	// What is the same for every container, read once: a Pod may have long lists.
	pullSecrets   []string
	architectures []string
	// replacedInPlace is set where the Pod's images may be replaced while it runs. A command cannot be.
	replacedInPlace bool
	// storageLimitTooSmall is set where the volume of the init could have the Pod evicted.
	storageLimitTooSmall bool
	// references are the containers' images, taken apart, by their names.
	references map[string]reference
	// before is the status that the Pod came with, once somebody has asked for it.
	before *v1alpha1.Status
}

// Decision is what is to be done to one container.
type Decision struct {
	// Name of the container.
	Name string
	// Reason is why it is left alone; empty if it is wrapped.
	Reason v1alpha1.Reason
	// Detail of Reason; may be empty.
	Detail string
	// Transient is set where the Pod's author cannot correct what Reason says.
	Transient bool
	// Source is where the command that is wrapped came from.
	Source v1alpha1.Source
	// Digest of the image, where Source is the registry.
	Digest string
	// Image is the container's new image, pinned to Digest; empty if it keeps its own.
	Image string
	// Command is the container's whole new command, the init first; nil if it is left alone.
	Command []string
	// Args are the container's new args; nil if it keeps its own.
	Args []string

	container *container
	// list and index are where the container is in the Pod's spec.
	list  string
	index int
}

// Action is what is done to the container.
func (d Decision) Action() v1alpha1.Action {
	if d.Reason != "" {
		return v1alpha1.ActionSkipped
	}
	return v1alpha1.ActionWrapped
}

// So that a Pod full of mistakes makes no endless answer, so many are told of wishes that are ignored and of containers
// that are left alone.
const (
	maxIgnored   = 16
	maxLeftAlone = 16
)

// NewPlan decides about a Pod.
func NewPlan(config Config, setting Setting, pod *Pod) *Plan {
	plan := &Plan{config: config, setting: setting, profile: setting.Profile, pod: pod}
	if plan.profile == nil {
		plan.profile = defaultProfile
	}
	plan.Reason = plan.leavePodAlone(setting)
	if plan.Reason == v1alpha1.ReasonSuspended {
		plan.decideContainers() // each repeats the reason; no setting of the Pod is read, so none is warned about
		return plan
	}
	var ignored []Ignored
	if plan.Reason != v1alpha1.ReasonAnnotationsTooLarge {
		plan.choice, ignored = newChoice(pod, plan.profile.SelectableByPods())
	}
	if plan.Reason == "" {
		plan.readLists()
	}
	plan.Ignored = slices.Concat(setting.Ignored, unknownValues(setting, pod), ignored)
	plan.Ignored = plan.Ignored[:min(len(plan.Ignored), maxIgnored)]
	plan.Delivery, plan.DeliveryReason = plan.deliver(setting)
	if plan.Reason == "" && plan.Delivery == v1alpha1.DeliveryInitContainer {
		plan.storageLimitTooSmall = storageLimitTooSmall(pod.Spec, plan.isCopier)
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
	p.decideAll("initContainers", p.pod.Spec.InitContainers)
	p.decideAll("containers", p.pod.Spec.Containers)
	p.keepSELinuxLevel()
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
	status := v1alpha1.Status{V: v1alpha1.StatusVersion, Version: p.config.Version, Reason: p.Reason, Profile: p.profile.name}
	for _, i := range p.Ignored {
		if !slices.Contains(status.Ignored, i.Reason) {
			status.Ignored = append(status.Ignored, i.Reason)
		}
	}
	if p.Reason != "" {
		return status
	}
	if p.Wraps() {
		status.Delivery, status.DeliveryReason = p.Delivery, p.DeliveryReason
	}
	for _, d := range p.Containers {
		if status.Containers == nil {
			status.Containers = make(map[string]v1alpha1.ContainerStatus, len(p.Containers))
		}
		status.Containers[d.Name] = v1alpha1.ContainerStatus{Action: d.Action(), Source: d.Source, Digest: d.Digest, Reason: d.Reason}
	}
	return status
}

// Warnings are sentences for whoever creates the Pod: what was ignored, and what was left alone although it need not
// be.
func (p *Plan) Warnings() []string {
	return p.warnings(func(Ignored) bool { return true }, func(Decision) bool { return true })
}

// Refusals are why the Pod is to be refused, none if it is admitted. Only a profile with onProblem Reject refuses, and
// only for what the Pod's author can correct: never because a registry, the network or podinit itself fails. What is
// none of ours is never refused.
func (p *Plan) Refusals() []string {
	if p.profile.spec.OnProblem != v1alpha1.ProblemReject || p.Reason == v1alpha1.ReasonSuspended || slices.Contains(unseen, p.Reason) {
		return nil
	}
	refusals := p.warnings(func(i Ignored) bool { return i.Correctable }, func(d Decision) bool { return !d.Transient })
	if _, _, err := p.metadata(); errors.Is(err, ErrAnnotationsTooLarge) && len(refusals) == 0 {
		refusals = append(refusals, "podinit: pod left alone: "+err.Error())
	}
	return refusals
}

// warnings are those about the containers that were left alone, after those about what was ignored; of both, those that
// are to be told.
func (p *Plan) warnings(tellIgnored func(Ignored) bool, tell func(Decision) bool) []string {
	var warnings []string
	for _, i := range p.Ignored {
		if tellIgnored(i) {
			warnings = append(warnings, i.Warning())
		}
	}
	worth := func(r v1alpha1.Reason) bool { return r != "" && !reason.Of(r).Routine }
	if p.Reason != "" {
		if worth(p.Reason) && tell(Decision{Reason: p.Reason, Transient: reason.Of(p.Reason).Transient}) {
			warnings = append(warnings, warning("pod left alone", p.Reason, ""))
		}
		return warnings
	}
	leftAlone := 0
	for _, d := range p.Containers {
		if !worth(d.Reason) || !tell(d) {
			continue
		}
		if leftAlone++; leftAlone <= maxLeftAlone {
			warnings = append(warnings, warning(fmt.Sprintf("container %s left alone", shortened(strconv.Quote(d.Name))), d.Reason, d.Detail))
		}
	}
	if more := leftAlone - maxLeftAlone; more > 0 {
		warnings = append(warnings, fmt.Sprintf("podinit: and %d more containers left alone.", more))
	}
	return warnings
}

// unknownValues are values of podinit.dev/inject that mean nothing.
func unknownValues(setting Setting, pod *Pod) (ignored []Ignored) {
	for _, at := range []struct {
		where, value string
		correctable  bool
	}{
		{"the namespace's label", setting.NamespaceInject, false},
		{"the pod's label", pod.Metadata.Labels[v1alpha1.Inject], true},
		{"the pod's annotation", pod.Metadata.Annotations[v1alpha1.Inject], true},
	} {
		if at.value != "" && at.value != v1alpha1.InjectEnabled && at.value != v1alpha1.InjectDisabled {
			ignored = append(ignored, Ignored{
				Wish: fmt.Sprintf("%s %s: %q", at.where, v1alpha1.Inject, at.value), Reason: v1alpha1.ReasonUnknownValue, Correctable: at.correctable,
			})
		}
	}
	return ignored
}

// deliver chooses how the init reaches the containers.
func (p *Plan) deliver(setting Setting) (v1alpha1.Delivery, v1alpha1.Reason) {
	switch p.profile.spec.Delivery {
	case v1alpha1.DeliverByImageVolume:
		return v1alpha1.DeliveryImageVolume, ""
	case v1alpha1.DeliverAuto:
		verdict := setting.ImageVolumes.For(p.pod)
		if verdict == v1alpha1.ReasonEveryNodeCan {
			return v1alpha1.DeliveryImageVolume, verdict
		}
		return v1alpha1.DeliveryInitContainer, verdict
	}
	return v1alpha1.DeliveryInitContainer, ""
}

// unseen are the reasons for which not even a status is written: such a Pod is none of ours.
var unseen = []v1alpha1.Reason{
	v1alpha1.ReasonExcludedNamespace, v1alpha1.ReasonMirrorPod, v1alpha1.ReasonOptedOut, v1alpha1.ReasonNamespaceDisabled,
	v1alpha1.ReasonNotOptedIn, v1alpha1.ReasonWindows,
}

// leavePodAlone says why the Pod as a whole is left alone, in the order of precedence, or "".
// The webhook's configuration keeps most of these from being sent at all; here they hold for every caller.
func (p *Plan) leavePodAlone(setting Setting) v1alpha1.Reason {
	meta, spec := p.pod.Metadata, p.pod.Spec
	says := func(value string) bool {
		return meta.Labels[v1alpha1.Inject] == value || meta.Annotations[v1alpha1.Inject] == value
	}
	switch {
	case slices.Contains(p.config.ExcludedNamespaces, setting.Namespace):
		return v1alpha1.ReasonExcludedNamespace
	case has(meta.Annotations, "kubernetes.io/config.mirror"):
		return v1alpha1.ReasonMirrorPod
	case says(v1alpha1.InjectDisabled):
		return v1alpha1.ReasonOptedOut
	case setting.NamespaceInject == v1alpha1.InjectDisabled:
		return v1alpha1.ReasonNamespaceDisabled
	case !setting.Selected && setting.NamespaceInject != v1alpha1.InjectEnabled && !says(v1alpha1.InjectEnabled):
		return v1alpha1.ReasonNotOptedIn
	case p.windows():
		return v1alpha1.ReasonWindows
	case setting.Suspended:
		return v1alpha1.ReasonSuspended
	case measure(meta.Annotations) > maxAnnotations:
		return v1alpha1.ReasonAnnotationsTooLarge
	case len(spec.InitContainers)+len(spec.Containers) > maxContainers:
		return v1alpha1.ReasonTooManyContainers
	case p.containerNameTwice():
		return v1alpha1.ReasonDuplicateContainerName
	case wasm(spec.RuntimeClassName):
		return v1alpha1.ReasonWasm
	case spec.HostPID:
		return v1alpha1.ReasonHostPID
	case p.nameConflict():
		return v1alpha1.ReasonNameConflict
	case len(setting.Unavailable) > 0 && mayRunOn(spec, setting):
		return v1alpha1.ReasonInitImageUnavailable
	}
	return ""
}

// mayRunOn says whether the Pod may run on a node that cannot pull the init image: on one of such an architecture. Where
// the cluster's architectures are not known, it may unless it asks for others itself.
func mayRunOn(spec *spec, setting Setting) bool {
	all := architectures(spec, setting.Architectures)
	return all == nil || slices.ContainsFunc(setting.Unavailable, func(a string) bool { return slices.Contains(all, a) })
}

// maxContainers bounds what one Pod may cost. Kubernetes has no such limit, but etcd takes no object above 1.5 MiB.
const maxContainers = 1000

// containerNameTwice says whether two containers have one name. Webhooks see Pods before the apiserver validates them,
// and what is written for a container of a name would hold for any number of them.
func (p *Plan) containerNameTwice() bool {
	seen := map[string]bool{}
	for _, containers := range [][]container{p.pod.Spec.InitContainers, p.pod.Spec.Containers} {
		for i := range containers {
			name := containers[i].Name
			if seen[name] {
				return true
			}
			seen[name] = true
		}
	}
	return false
}

// windows says whether the Pod can only run on Windows. Its os says so for certain; older Pods say it to the scheduler.
func (p *Plan) windows() bool {
	spec := p.pod.Spec
	onlyWindows := func(r nodeSelectorRequirement) bool {
		return r.Key == "kubernetes.io/os" && r.Operator == "In" && len(r.Values) == 1 && r.Values[0] == "windows"
	}
	terms := spec.Affinity.NodeAffinity.Required.Terms
	return spec.OS.Name == "windows" || spec.NodeSelector["kubernetes.io/os"] == "windows" ||
		spec.SecurityContext.WindowsOptions != nil ||
		slices.ContainsFunc(spec.Containers, func(c container) bool { return c.SecurityContext.WindowsOptions != nil }) ||
		// Terms are alternatives, the expressions of one are not.
		len(terms) > 0 && !slices.ContainsFunc(terms, func(t nodeSelectorTerm) bool { return !slices.ContainsFunc(t.MatchExpressions, onlyWindows) })
}

// wasm says whether a runtime class runs WebAssembly, by the names that such classes have (runwasi's shims).
func wasm(runtimeClass string) bool {
	return slices.ContainsFunc(strings.FieldsFunc(runtimeClass, func(r rune) bool { return r == '-' || r == '.' }), func(word string) bool {
		switch word {
		case "spin", "slight", "wws", "lunatic":
			return true
		}
		return strings.HasPrefix(word, "wasm")
	})
}

func has(m map[string]string, key string) bool {
	_, ok := m[key]
	return ok
}

// measure is how many bytes the keys and values have together.
func measure(m map[string]string) (size int) {
	for key, value := range m {
		size += len(key) + len(value)
	}
	return size
}

// nameConflict says whether the Pod uses one of our names for something that is not ours.
func (p *Plan) nameConflict() bool {
	spec := p.pod.Spec
	copiers, volumes := 0, 0
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		if c.Name == CopierName {
			if copiers++; !p.isCopier(c) || copiers > 1 {
				return true
			}
		}
	}
	for _, v := range spec.Volumes {
		if v.Name == VolumeName {
			if volumes++; !p.isOurs(v) || volumes > 1 {
				return true
			}
		}
	}
	return slices.ContainsFunc(spec.Containers, func(c container) bool { return c.Name == CopierName })
}

// isOurs says whether a volume of our name is ours: it mounts our image, or is of a kind that we make and something in
// the Pod uses it as only we do, a copier or a container that starts the init.
func (p *Plan) isOurs(v volume) bool {
	if v.Image != nil && sameRepository(v.Image.Reference, p.config.Image) {
		return true
	}
	if v.EmptyDir == nil && v.Image == nil {
		return false
	}
	spec := p.pod.Spec
	copies := func(c container) bool { return p.isCopier(&c) }
	starts := func(c container) bool { return wrapped(&c) }
	return slices.ContainsFunc(spec.InitContainers, copies) || slices.ContainsFunc(spec.InitContainers, starts) || slices.ContainsFunc(spec.Containers, starts)
}

// sameRepository says whether two references are of one repository, whatever their tags and digests.
func sameRepository(a, b string) bool {
	if a == b {
		return true
	}
	x, errX := imageconfig.ParseReference(a)
	y, errY := imageconfig.ParseReference(b)
	return errX == nil && errY == nil && x.Registry == y.Registry && x.Repository == y.Repository
}

func (p *Plan) decideAll(list string, containers []container) {
	for i := range containers {
		c := &containers[i]
		if list == "initContainers" && p.isCopier(c) {
			continue
		}
		d := Decision{Name: c.Name, Reason: p.Reason, container: c, list: list, index: i}
		if p.Reason == "" {
			p.decide(&d)
		}
		p.Containers = append(p.Containers, d)
	}
}

func (p *Plan) decide(d *Decision) {
	c := d.container
	if d.Reason = p.leaveOut(c, kindOf(c, d.list)); d.Reason != "" {
		return
	}
	unfit := p.unfit(c)
	if unfit == "" {
		p.lookUp(c)
	}
	var program program
	if program, d.Reason, d.Detail = p.program(c); d.Reason != "" {
		failure := p.setting.Images[c.Name].Failure
		d.Transient = reason.Of(d.Reason).Transient || failure != nil && failure.Reason == d.Reason && failure.Transient
		return
	}
	options, stopSignals, err := p.initOptions(c)
	switch {
	case err != nil:
		d.Reason, d.Detail = v1alpha1.ReasonInvalidFlags, err.Error()
	case unfit != "":
		d.Reason = unfit
	default:
		d.Reason = program.leaveAlone(c)
	}
	if d.Reason == "" {
		d.Source, d.Digest = program.source, program.digest
		d.Command = wrap(options, withStopSignals(program.platforms, stopSignals), program.command)
		d.Args = program.args
		d.Image = p.pin(d)
	}
}

// unfit says why the init cannot be put into a container, whatever that runs, or "".
func (p *Plan) unfit(c *container) v1alpha1.Reason {
	switch {
	case mountConflict(c):
		return v1alpha1.ReasonMountConflict
	case !p.profile.spec.LocalhostProfiles && p.localhostProfile(c):
		return v1alpha1.ReasonLocalhostProfile
	case p.memoryLimitTooSmall(c):
		return v1alpha1.ReasonMemoryLimitTooSmall
	case p.storageLimitTooSmall:
		return v1alpha1.ReasonStorageLimitTooSmall
	}
	return ""
}

// keepSELinuxLevel leaves alone what has another SELinux level than the first container that is wrapped: a runtime
// relabels a volume for each container that mounts it, and the last one wins. An image is not relabelled.
func (p *Plan) keepSELinuxLevel() {
	first := p.first()
	if first == nil || p.Delivery == v1alpha1.DeliveryImageVolume {
		return
	}
	level := func(c *container) string {
		own := c.SecurityContext.SELinuxOptions
		if own == nil {
			own = p.pod.Spec.SecurityContext.SELinuxOptions
		}
		if own == nil {
			return ""
		}
		return own.Level
	}
	for i := range p.Containers {
		if d := &p.Containers[i]; d.Reason == "" && level(d.container) != level(first) {
			*d = Decision{Name: d.Name, Reason: v1alpha1.ReasonSELinuxLevel, container: d.container, list: d.list, index: d.index}
		}
	}
}

// mountConflict says whether something of the container's own is mounted in the way of the init; a second mount of our
// volume too.
func mountConflict(c *container) bool {
	ours := ourMount(c)
	for i := range c.VolumeMounts {
		if i != ours && inTheWay(c.VolumeMounts[i].MountPath) {
			return true
		}
	}
	return slices.ContainsFunc(c.VolumeDevices, func(d volumeDevice) bool { return inTheWay(d.DevicePath) })
}

// ourMount is which of the container's mounts has our volume where the init is, -1 if none has.
func ourMount(c *container) int {
	return slices.IndexFunc(c.VolumeMounts, func(m volumeMount) bool {
		return m.Name == VolumeName && path.Clean("/"+m.MountPath) == MountPath
	})
}

// inTheWay says whether a path is ours, or above or below it. A volume above it might be read-only, and then the
// runtime cannot make our mount point.
func inTheWay(at string) bool {
	at = path.Clean("/" + at)
	return at == "/" || at == MountPath || strings.HasPrefix(at, MountPath+"/")
}

// localhostProfile says whether the container runs under a seccomp or AppArmor profile that was recorded for its
// program alone: it may deny the exec of the init, its clone or its rt_sigtimedwait.
func (p *Plan) localhostProfile(c *container) bool {
	localhost := func(own, pods *securityProfile) bool {
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

// memoryLimitTooSmall says whether the container's limit, or the Pod's where it has none, is below the floor.
func (p *Plan) memoryLimitTooSmall(c *container) bool {
	limit, ok := quantity(c.Resources.Limits["memory"])
	if !ok {
		limit, ok = quantity(p.pod.Spec.Resources.Limits["memory"])
	}
	return ok && limit.Cmp(memoryFloor) < 0
}

// storageLimitTooSmall says whether a Pod's limit for ephemeral-storage is below the floor. Its emptyDir volumes count
// against what the kubelet makes of its containers' limits: those that run together, or one that starts before them and
// has more; containers without a limit add nothing (pkg/kubelet/eviction, component-helpers/resource).
func storageLimitTooSmall(spec *spec, isCopier func(*container) bool) bool {
	var together, largest resource.Quantity
	limited := false
	add := func(list string, containers []container) {
		for i := range containers {
			c := &containers[i]
			limit, ok := quantity(c.Resources.Limits["ephemeral-storage"])
			if !ok || list == "initContainers" && isCopier(c) {
				continue
			}
			limited = true
			limit.Add(together)
			if kindOf(c, list) != initContainer {
				together = limit
			}
			if limit.Cmp(largest) > 0 {
				largest = limit
			}
		}
	}
	add("initContainers", spec.InitContainers)
	add("containers", spec.Containers)
	return limited && largest.Cmp(storageFloor) < 0
}
