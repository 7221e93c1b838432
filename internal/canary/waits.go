package canary

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/podinit/podinit/internal/inject"
)

// Wait is what a wrapped Pod shows that waits for the init image.
type Wait struct {
	// Image that it was given.
	Image string
	// Reason and Message are the kubelet's.
	Reason, Message string
}

// Waits says whether a Pod, of any user, waits for the init image because its node cannot pull it: its copier does, or a
// container that has the image as a volume.
func Waits(pod *corev1.Pod) (Wait, bool) {
	for _, s := range pod.Status.InitContainerStatuses {
		if s.Name == inject.CopierName && CannotPull(s.State) {
			// If the copier has run before, the status has the runtime's name of the image, such as its ID.
			image := s.Image
			if i := slices.IndexFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == s.Name }); i >= 0 {
				image = pod.Spec.InitContainers[i].Image
			}
			return Wait{Image: image, Reason: s.State.Waiting.Reason, Message: s.State.Waiting.Message}, true
		}
	}
	i := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == inject.VolumeName && v.Image != nil })
	if i < 0 {
		return Wait{}, false
	}
	// The kubelet says the same of a container's own image; its message names the one that is meant.
	image := pod.Spec.Volumes[i].Image.Reference
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if CannotPull(s.State) && image != "" && strings.Contains(s.State.Waiting.Message, image) {
			return Wait{Image: image, Reason: s.State.Waiting.Reason, Message: s.State.Waiting.Message}, true
		}
	}
	return Wait{}, false
}
