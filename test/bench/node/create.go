package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/podinit/podinit/api/v1alpha1"
)

// warmUp is how many containers of each kind are created before time counts, whenever podinit-node was taken away or brought back.
const warmUp = 10

// sandbox is that of a pod that runs, in which containers are created as the kubelet does.
type sandbox struct {
	id     string
	config *cri.PodSandboxConfig
	// image by the runtime's name for it.
	image string
}

// measureCreate creates containers in a pod that does not opt in and in one that the node wraps, while podinit-node is away and
// while it is there, several times each. In each block the first series is without podinit-node.
func (b *bench) measureCreate(ctx context.Context, blocks, creates int) (all [][]series, own answers, err error) {
	// The socket is in the node's mount namespace.
	connection, err := grpc.NewClient(fmt.Sprintf("unix:///proc/%d/root/run/containerd/containerd.sock", b.node.PID), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, err
	}
	defer connection.Close()
	runtime := cri.NewRuntimeServiceClient(connection)
	var bare, optedIn sandbox
	for delivery, s := range map[v1alpha1.DeliveryPolicy]*sandbox{"": &bare, v1alpha1.DeliverByNode: &optedIn} {
		namespace, err := b.namespace(ctx, delivery)
		if err != nil {
			return nil, nil, err
		}
		if *s, err = b.sandbox(ctx, runtime, namespace); err != nil {
			return nil, nil, err
		}
	}
	own = answers{}
	for range blocks {
		without, left, wrapped := series{name: "without podinit-node"}, series{name: "with it, not opted in"}, series{name: "with it, wrapped"}
		for _, there := range []bool{false, true} {
			if err := b.setPlugin(ctx, there); err != nil {
				return nil, nil, err
			}
			for _, s := range []sandbox{bare, optedIn} {
				is, err := s.wraps(ctx, runtime)
				if err != nil {
					return nil, nil, err
				}
				if in := s.id == optedIn.id; is != (there && in) {
					return nil, nil, fmt.Errorf("podinit-node is there: %v, the pod opts in: %v, and its container is wrapped: %v", there, in, is)
				}
			}
			// The first ones after a change are slower, in either state.
			for range warmUp {
				for _, s := range []sandbox{bare, optedIn} {
					if _, err := s.create(ctx, runtime); err != nil {
						return nil, nil, err
					}
				}
			}
			for range creates {
				// Both pods take turns, so that neither has the better moments.
				ofBare, err := bare.create(ctx, runtime)
				if err != nil {
					return nil, nil, err
				}
				ofOptedIn, err := optedIn.create(ctx, runtime)
				if err != nil {
					return nil, nil, err
				}
				if there {
					left.times, wrapped.times = append(left.times, ofBare), append(wrapped.times, ofOptedIn)
				} else {
					without.times = append(without.times, ofBare, ofOptedIn)
				}
			}
		}
		all = append(all, []series{without, left, wrapped})
		m, err := b.metric(ctx, "podinit_node_create_duration_seconds") // of this block: podinit-node has just been started
		if err != nil {
			return nil, nil, err
		}
		own.add(m.GetHistogram())
	}
	return all, own, nil
}

// sandbox runs a pod and finds its sandbox.
func (b *bench) sandbox(ctx context.Context, runtime cri.RuntimeServiceClient, namespace string) (s sandbox, err error) {
	if _, err := b.client.CoreV1().Pods(namespace).Create(ctx, pod("stays", 1), metav1.CreateOptions{}); err != nil {
		return s, err
	}
	p, err := b.awaitReady(ctx, namespace, "stays")
	if err != nil {
		return s, err
	}
	of := map[string]string{"io.kubernetes.pod.uid": string(p.UID)}
	sandboxes, err := runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{Filter: &cri.PodSandboxFilter{LabelSelector: of}})
	if err != nil {
		return s, err
	}
	containers, err := runtime.ListContainers(ctx, &cri.ListContainersRequest{Filter: &cri.ContainerFilter{LabelSelector: of}})
	if err != nil {
		return s, err
	}
	if len(sandboxes.Items) != 1 || len(containers.Containers) != 1 {
		return s, fmt.Errorf("pod %s/%s has %d sandboxes and %d containers, want one of each", namespace, p.Name, len(sandboxes.Items), len(containers.Containers))
	}
	found := sandboxes.Items[0]
	return sandbox{id: found.Id, image: containers.Containers[0].ImageRef, config: &cri.PodSandboxConfig{
		Metadata: found.Metadata, Labels: found.Labels, Annotations: found.Annotations, Linux: &cri.LinuxPodSandboxConfig{},
	}}, nil
}

// request for a container, with the labels and annotations that the kubelet gives to one.
func (s sandbox) request() *cri.CreateContainerRequest {
	labels := map[string]string{"io.kubernetes.container.name": "bench"}
	for key, value := range s.config.Labels {
		labels[key] = value
	}
	return &cri.CreateContainerRequest{PodSandboxId: s.id, SandboxConfig: s.config, Config: &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "bench"},
		Image:    &cri.ImageSpec{Image: s.image},
		Command:  []string{"/pause"},
		Labels:   labels,
		Annotations: map[string]string{
			"io.kubernetes.container.restartCount":             "0",
			"io.kubernetes.container.terminationMessagePath":   "/dev/termination-log",
			"io.kubernetes.container.terminationMessagePolicy": "File",
			"io.kubernetes.pod.terminationGracePeriod":         "30",
		},
		Linux: &cri.LinuxContainerConfig{Resources: &cri.LinuxContainerResources{}, SecurityContext: &cri.LinuxContainerSecurityContext{
			NamespaceOptions: &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER},
		}},
	}}
}

// create says how long the runtime takes to create a container, which is removed again and never started.
func (s sandbox) create(ctx context.Context, runtime cri.RuntimeServiceClient) (took time.Duration, err error) {
	request := s.request()
	began := time.Now()
	made, err := runtime.CreateContainer(ctx, request)
	took = time.Since(began)
	if err != nil {
		return 0, err
	}
	_, err = runtime.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: made.ContainerId})
	return took, err
}

// wraps says whether a container that is created now would run the init.
func (s sandbox) wraps(ctx context.Context, runtime cri.RuntimeServiceClient) (bool, error) {
	made, err := runtime.CreateContainer(ctx, s.request())
	if err != nil {
		return false, err
	}
	status, err := runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: made.ContainerId, Verbose: true})
	if err != nil {
		return false, err
	}
	if _, err := runtime.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: made.ContainerId}); err != nil {
		return false, err
	}
	var info struct {
		RuntimeSpec struct {
			Process struct {
				Args []string `json:"args"`
			} `json:"process"`
		} `json:"runtimeSpec"`
	}
	if err := json.Unmarshal([]byte(status.Info["info"]), &info); err != nil {
		return false, fmt.Errorf("what the runtime says of a container: %w", err)
	}
	args := info.RuntimeSpec.Process.Args
	if len(args) == 0 {
		return false, errors.New("the runtime does not say what a container runs")
	}
	return args[0] == "/podinit/init", nil
}
