// Package canary finds out whether nodes can pull the init image, from Pods of podinit's own that need the same image:
// those of the DaemonSet podinit-prepull on every node, and the initContainers of the webhook. Where they cannot, no Pod
// is to get the image: it would wait for it, perhaps forever.
//
// Only Pods in podinit's own namespace count, and of those only the ones that the DaemonSet or a ReplicaSet of the
// webhook controls, so other users' Pods, labels or images change no decision.
package canary

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// DaemonSet is the one that holds the init image on every node.
	DaemonSet = "podinit-prepull"
	// Deployment is the webhook's.
	Deployment = "podinit-webhook"
	// InitContainer is the container of both that has the init image: an initContainer of the webhook, the only container
	// of the DaemonSet.
	InitContainer = "init"
)

// State is what a canary shows about its image.
type State int

const (
	// Unknown: the container has not been started yet, for a reason that says nothing about the image.
	Unknown State = iota
	// Ended: the container has run. The node had the image then, and may have deleted it since.
	Ended
	// Waiting: the node has tried to pull the image and could not.
	Waiting
	// Running: the container runs, so the node has the image.
	Running
)

// Canary is a Pod that needs the init image.
type Canary struct {
	// Name and UID of the Pod.
	Name, UID string
	// Node that it is on.
	Node string
	// Created is when the Pod was.
	Created time.Time
	State   State
	// Started is when the container was last, if State is Running or Ended.
	Started time.Time
	// Reason and Message are the kubelet's, if State is Waiting.
	Reason, Message string
}

// waiting are the reasons for which a container waits when its image cannot be pulled or used (kubelet, pkg/kubelet/images
// and the CRI's errors).
var waiting = []string{
	"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable", "SignatureValidationFailed", "ImageInspectError",
}

// CannotPull says whether a container waits because its image cannot be pulled or used.
func CannotPull(state corev1.ContainerState) bool {
	return state.Waiting != nil && slices.Contains(waiting, state.Waiting.Reason)
}

// Of reads a Pod of podinit's own namespace; not ok if it is not a canary of the image, is on no node yet, or is going.
func Of(pod *corev1.Pod, image string) (Canary, bool) {
	if pod.DeletionTimestamp != nil || pod.Spec.NodeName == "" {
		return Canary{}, false
	}
	containers, statuses := containersOf(pod)
	if !slices.ContainsFunc(containers, func(c corev1.Container) bool { return c.Name == InitContainer && c.Image == image }) {
		return Canary{}, false
	}
	c := Canary{Name: pod.Name, UID: string(pod.UID), Node: pod.Spec.NodeName, Created: pod.CreationTimestamp.Time}
	for _, s := range statuses {
		if s.Name != InitContainer {
			continue
		}
		switch {
		case CannotPull(s.State):
			c.State, c.Reason, c.Message = Waiting, s.State.Waiting.Reason, s.State.Waiting.Message
		case s.State.Running != nil:
			c.State, c.Started = Running, s.State.Running.StartedAt.Time
		case s.State.Terminated != nil:
			c.State, c.Started = Ended, s.State.Terminated.StartedAt.Time
		case s.LastTerminationState.Terminated != nil:
			c.State, c.Started = Ended, s.LastTerminationState.Terminated.StartedAt.Time
		}
	}
	return c, true
}

// containersOf are the Pod's containers of which one may have the init image, and their statuses; none if the Pod is not
// podinit's.
func containersOf(pod *corev1.Pod) ([]corev1.Container, []corev1.ContainerStatus) {
	owner := metav1.GetControllerOfNoCopy(pod)
	switch {
	case owner == nil || !strings.HasPrefix(owner.APIVersion, "apps/"):
	case owner.Kind == "DaemonSet" && owner.Name == DaemonSet:
		return pod.Spec.Containers, pod.Status.ContainerStatuses
	case owner.Kind == "ReplicaSet" && strings.HasPrefix(owner.Name, Deployment+"-"):
		return pod.Spec.InitContainers, pod.Status.InitContainerStatuses
	}
	return nil, nil
}

// Trim is a cache's transform for Pods: it keeps what this package looks at.
func Trim(object any) (any, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return object, nil
	}
	keep := func(containers []corev1.Container) (kept []corev1.Container) {
		for _, c := range containers {
			if c.Name == InitContainer {
				kept = append(kept, corev1.Container{Name: c.Name, Image: c.Image})
			}
		}
		return kept
	}
	started := func(s corev1.ContainerState) corev1.ContainerState {
		if s.Terminated != nil {
			s.Terminated = &corev1.ContainerStateTerminated{StartedAt: s.Terminated.StartedAt}
		}
		return s
	}
	keepStatus := func(statuses []corev1.ContainerStatus) (kept []corev1.ContainerStatus) {
		for _, s := range statuses {
			if s.Name == InitContainer {
				kept = append(kept, corev1.ContainerStatus{
					Name: s.Name, State: started(s.State), LastTerminationState: started(s.LastTerminationState),
				})
			}
		}
		return kept
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
			CreationTimestamp: pod.CreationTimestamp, DeletionTimestamp: pod.DeletionTimestamp, OwnerReferences: pod.OwnerReferences,
		},
		Spec: corev1.PodSpec{NodeName: pod.Spec.NodeName, InitContainers: keep(pod.Spec.InitContainers), Containers: keep(pod.Spec.Containers)},
		Status: corev1.PodStatus{
			InitContainerStatuses: keepStatus(pod.Status.InitContainerStatuses), ContainerStatuses: keepStatus(pod.Status.ContainerStatuses),
		},
	}, nil
}
