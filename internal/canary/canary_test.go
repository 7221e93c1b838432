package canary_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/internal/canary"
)

const image = "r.example/init:1"

// prepull is a Pod of the DaemonSet.
func prepull(state corev1.ContainerState, change func(*corev1.Pod)) *corev1.Pod {
	yes := true
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "podinit-system", Name: "podinit-prepull-x", UID: "u", CreationTimestamp: metav1.NewTime(at(1)), Labels: map[string]string{"a": "b"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: canary.DaemonSet, Controller: &yes}},
		},
		Spec: corev1.PodSpec{NodeName: "amd64-1", Containers: []corev1.Container{{Name: "init", Image: image, Args: []string{"pause"}}, {Name: "mesh", Image: "r.example/mesh:1"}}},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
			{Name: "mesh", State: waiting("ImagePullBackOff")}, {Name: "init", State: state},
		}},
	}
	if change != nil {
		change(pod)
	}
	return pod
}

// replica is a Pod of the webhook.
func replica(state corev1.ContainerState) *corev1.Pod {
	return prepull(state, func(pod *corev1.Pod) {
		pod.OwnerReferences[0].Kind, pod.OwnerReferences[0].Name = "ReplicaSet", canary.Deployment+"-7d4"
		pod.Spec.InitContainers, pod.Spec.Containers = pod.Spec.Containers, nil
		pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses = pod.Status.ContainerStatuses, nil
	})
}

func waiting(reason string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "m"}}
}

func running(seconds int) corev1.ContainerState {
	return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(at(seconds))}}
}

func terminated(seconds int) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{StartedAt: metav1.NewTime(at(seconds))}}
}

func TestOf(t *testing.T) {
	canaryIn := func(state canary.State, started time.Time, reason string) *canary.Canary {
		c := &canary.Canary{Name: "podinit-prepull-x", UID: "u", Node: "amd64-1", Created: at(1), State: state, Started: started, Reason: reason}
		if reason != "" {
			c.Message = "m"
		}
		return c
	}
	now := metav1.NewTime(at(9))
	for name, c := range map[string]struct {
		pod  *corev1.Pod
		want *canary.Canary
	}{
		"runs":                 {pod: prepull(running(5), nil), want: canaryIn(canary.Running, at(5), "")},
		"waits":                {pod: prepull(waiting("ErrImagePull"), nil), want: canaryIn(canary.Waiting, time.Time{}, "ErrImagePull")},
		"invalid name":         {pod: prepull(waiting("InvalidImageName"), nil), want: canaryIn(canary.Waiting, time.Time{}, "InvalidImageName")},
		"is being created":     {pod: prepull(waiting("ContainerCreating"), nil), want: canaryIn(canary.Unknown, time.Time{}, "")},
		"cannot be configured": {pod: prepull(waiting("CreateContainerConfigError"), nil), want: canaryIn(canary.Unknown, time.Time{}, "")},
		"crashes": {pod: prepull(waiting("CrashLoopBackOff"), func(pod *corev1.Pod) { pod.Status.ContainerStatuses[1].LastTerminationState = terminated(6) }),
			want: canaryIn(canary.Ended, at(6), "")},
		"has lost the image": {pod: prepull(waiting("ImagePullBackOff"), func(pod *corev1.Pod) { pod.Status.ContainerStatuses[1].LastTerminationState = terminated(6) }),
			want: canaryIn(canary.Waiting, time.Time{}, "ImagePullBackOff")},
		"replica, has copied":               {pod: replica(terminated(5)), want: canaryIn(canary.Ended, at(5), "")},
		"replica, waits":                    {pod: replica(waiting("ImagePullBackOff")), want: canaryIn(canary.Waiting, time.Time{}, "ImagePullBackOff")},
		"another image":                     {pod: prepull(waiting("ErrImagePull"), func(pod *corev1.Pod) { pod.Spec.Containers[0].Image = "r.example/init:2" })},
		"is going":                          {pod: prepull(waiting("ErrImagePull"), func(pod *corev1.Pod) { pod.DeletionTimestamp = &now })},
		"on no node":                        {pod: prepull(waiting("ErrImagePull"), func(pod *corev1.Pod) { pod.Spec.NodeName = "" })},
		"no owner":                          {pod: prepull(waiting("ErrImagePull"), func(pod *corev1.Pod) { pod.OwnerReferences = nil })},
		"an owner that does not control it": {pod: prepull(waiting("ErrImagePull"), func(pod *corev1.Pod) { pod.OwnerReferences[0].Controller = nil })},
		"another DaemonSet":                 {pod: prepull(waiting("ErrImagePull"), func(pod *corev1.Pod) { pod.OwnerReferences[0].Name = "other" })},
		"another kind": {pod: prepull(waiting("ErrImagePull"), func(pod *corev1.Pod) {
			pod.OwnerReferences[0].APIVersion, pod.OwnerReferences[0].Kind = "example.com/v1", "DaemonSet"
		})},
	} {
		t.Run(name, func(t *testing.T) {
			trimmed, err := canary.Trim(c.pod)
			if err != nil {
				t.Fatal(err)
			}
			for _, pod := range []*corev1.Pod{c.pod, trimmed.(*corev1.Pod)} {
				got, ok := canary.Of(pod, image)
				if ok != (c.want != nil) {
					t.Fatalf("a canary: %v", ok)
				}
				if c.want != nil {
					if diff := cmp.Diff(*c.want, got); diff != "" {
						t.Errorf("(-want +got):\n%s", diff)
					}
				}
			}
		})
	}
}

// There is a canary on each node, and a replica keeps all of them: of each no more than it looks at.
func TestTrim(t *testing.T) {
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Message: "long", ContainerID: "c", StartedAt: metav1.Unix(7, 0)}}
	full := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "podinit-system", Name: "p", UID: "u", Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"}},
		Spec:       corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "init", Image: image, Args: []string{"pause"}}, {Name: "other"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "other"}, {
			Name: "init", Image: image, ImageID: "i", State: running(9), LastTerminationState: ended, AllocatedResources: corev1.ResourceList{"cpu": {}},
		}}},
	}
	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "podinit-system", Name: "p", UID: "u"},
		Spec:       corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "init", Image: image}}},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "init", State: running(9), LastTerminationState: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{StartedAt: metav1.Unix(7, 0)},
		}}}},
	}
	for range 2 { // a second time changes nothing
		trimmed, err := canary.Trim(full)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(any(want), trimmed); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		full = trimmed.(*corev1.Pod)
	}
}

func TestWaits(t *testing.T) {
	copier := func(state corev1.ContainerState) *corev1.Pod {
		return &corev1.Pod{
			Spec:   corev1.PodSpec{InitContainers: []corev1.Container{{Name: "setup", Image: "r.example/app:1"}, {Name: "podinit-copy", Image: image}}},
			Status: corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{{Name: "podinit-copy", Image: "sha256:4711", State: state}}},
		}
	}
	mounts := func(message string) *corev1.Pod {
		return &corev1.Pod{
			Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "podinit", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: image}}}}},
			Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "app", Image: "r.example/app:1", State: corev1.ContainerState{
				Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: message},
			}}}},
		}
	}
	for name, c := range map[string]struct {
		pod  *corev1.Pod
		want bool
	}{
		"copier":                        {copier(waiting("ImagePullBackOff")), true},
		"copier starts":                 {copier(waiting("PodInitializing")), false},
		"copier runs":                   {copier(running(1)), false},
		"image volume":                  {mounts(`Back-off pulling image "` + image + `"`), true},
		"the container's own image":     {mounts(`Back-off pulling image "r.example/app:1"`), false},
		"without anything of podinit's": {&corev1.Pod{}, false},
	} {
		got, ok := canary.Waits(c.pod)
		if ok != c.want || ok && got.Image != image {
			t.Errorf("%s: %v, %+v", name, ok, got)
		}
	}
}
