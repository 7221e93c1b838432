package inject

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/quantity"
)

// memoryFloor is the smallest memory limit, in bytes, under which a container still has room for the init.
var memoryFloor = resource.MustParse("16Mi")

// storageFloor is the smallest limit for ephemeral-storage, in bytes, under which a Pod has room for the volume of the
// init: the binary is 1.2 MiB, and a new one is there with the old one until it replaces it; the rest of the limit is for the
// Pod's own logs.
var storageFloor = resource.MustParse("8Mi")

// unfit says why the init cannot be put into a container, whatever that runs, or "".
func (in *input) unfit(c *container) v1alpha1.Reason {
	switch {
	case mountConflict(c):
		return v1alpha1.ReasonMountConflict
	case !in.setting.Profile.Spec.LocalhostProfiles && in.pod.localhostProfile(c):
		return v1alpha1.ReasonLocalhostProfile
	case in.pod.memoryLimitTooSmall(c):
		return v1alpha1.ReasonMemoryLimitTooSmall
	case in.storageLimitTooSmall:
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
	for i := range p.Containers {
		if d := &p.Containers[i]; d.Reason == "" && p.pod.seLinuxLevel(d.container) != p.pod.seLinuxLevel(first) {
			*d = d.skipped(v1alpha1.ReasonSELinuxLevel)
		}
	}
}

// seLinuxLevel is the container's, or the Pod's where it has none.
func (p *Pod) seLinuxLevel(c *container) string {
	if own := cmp.Or(c.SecurityContext.SELinuxOptions, p.Spec.SecurityContext.SELinuxOptions); own != nil {
		return own.Level
	}
	return ""
}

// mountConflict says whether something of the container's own is mounted in the way of the init; a second mount of our
// volume too. The kubelet mounts a file at the path of the termination message, whatever its policy
// (pkg/kubelet/kuberuntime, makeMounts).
func mountConflict(c *container) bool {
	if c.TerminationMessagePath != "" && inTheWay(c.TerminationMessagePath) {
		return true
	}
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
	return path.Clean("/"+at) == "/" || hidden(at)
}

// hidden says whether the init's mount hides what the image has at a path.
func hidden(at string) bool {
	at = path.Clean("/" + at)
	return at == MountPath || strings.HasPrefix(at, MountPath+"/")
}

// localhostProfile says whether the container runs under a seccomp or AppArmor profile that was recorded for its
// program alone: it may deny the exec of the init, its clone, its clock_gettime or its rt_sigtimedwait.
func (p *Pod) localhostProfile(c *container) bool {
	localhost := func(own, pods *securityProfile) bool {
		profile := cmp.Or(own, pods)
		return profile != nil && profile.Type == "Localhost"
	}
	pods := &p.Spec.SecurityContext
	return localhost(c.SecurityContext.SeccompProfile, pods.SeccompProfile) ||
		localhost(c.SecurityContext.AppArmorProfile, pods.AppArmorProfile) ||
		strings.HasPrefix(p.Metadata.Annotations["container.apparmor.security.beta.kubernetes.io/"+c.Name], "localhost/")
}

// memoryLimitTooSmall says whether the container's limit, or the Pod's where it has none, is below the floor.
func (p *Pod) memoryLimitTooSmall(c *container) bool {
	limit, ok := quantity.Decode(c.Resources.Limits["memory"])
	if !ok {
		limit, ok = quantity.Decode(p.Spec.Resources.Limits["memory"])
	}
	return ok && limit.Cmp(memoryFloor) < 0
}

// storageLimitTooSmall says whether the Pod's limit for ephemeral-storage is below the floor. Its emptyDir volumes count
// against what the kubelet makes of its containers' limits: those that run together, or one that starts before them and
// has more; containers without a limit add nothing (pkg/kubelet/eviction, component-helpers/resource).
func (p *Pod) storageLimitTooSmall(config Config) bool {
	var together, largest resource.Quantity
	limited := false
	for c := range p.containers() {
		limit, ok := quantity.Decode(c.Resources.Limits["ephemeral-storage"])
		if !ok || config.isCopier(c) {
			continue
		}
		limited = true
		limit.Add(together)
		if c.kind != initContainer {
			together = limit
		}
		if limit.Cmp(largest) > 0 {
			largest = limit
		}
	}
	return limited && largest.Cmp(storageFloor) < 0
}

const (
	// maxPod is how large a Pod may become by a patch, in bytes of JSON. etcd takes 1.5 MiB (--max-request-bytes), to which
	// the apiserver adds managedFields after webhooks; a Pod above that could not be created any more.
	maxPod = 1 << 20
	// What a patch adds in addition to commands, in bytes, and more than it ever is: for the copier, the volume and the annotations
	// once, for a mount and a line of the status for each container.
	sizeOfPod, sizeOfContainer = 8 << 10, 512
)

// boundSize leaves the containers alone with which the Pod would become too large for etcd: those that come last.
func (p *Plan) boundSize() {
	left := maxPod - len(p.pod.raw) - sizeOfPod
	if roughSize(p.Containers) <= left {
		return
	}
	for i := range p.Containers {
		d := &p.Containers[i]
		if d.Reason != "" {
			continue
		}
		grows := sizeOfContainer + sizeOf(d.Command) + sizeOf(d.Args) - sizeOf(d.container.Command)
		if grows > left {
			*d = d.skipped(v1alpha1.ReasonPodTooLarge)
			continue
		}
		left -= grows
	}
}

// roughSize is at least what the patch adds.
func roughSize(containers []Decision) (size int) {
	const perByte, perWord = 6, 3 // a control character as \u001f; quotes and a comma
	for i := range containers {
		if d := &containers[i]; d.Reason == "" {
			size += sizeOfContainer
			for _, word := range d.Command {
				size += perByte*len(word) + perWord
			}
			for _, word := range d.Args {
				size += perByte*len(word) + perWord
			}
		}
	}
	return size
}

// sizeOf is how many bytes of JSON words are.
func sizeOf(words []string) int {
	raw, err := encode(words)
	if err != nil {
		return 0 // strings can always be encoded
	}
	return len(raw)
}
