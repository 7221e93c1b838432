// Command managers says what a kubelet's own managers of topology, CPUs and memory do with pods. It reads Pods as JSON from
// standard input, one after the other, and for each writes a Verdict on a line for each topology policy and scope.
//
// Each pod finds an empty node with two NUMA nodes of 8 CPUs and 64 GiB and one free GPU, on the second; static policies
// for CPUs and memory.
//
// It is in the module that pins what the test cluster runs, whose k8s.io versions cannot be those of podinit.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/go-logr/logr"
	cadvisorapi "github.com/google/cadvisor/info/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	corev1 "k8s.io/kubernetes/pkg/apis/core/v1"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/cm/containermap"
	"k8s.io/kubernetes/pkg/kubelet/cm/cpumanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/memorymanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager/bitmask"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
	"k8s.io/utils/cpuset"
)

// Verdict is whether a pod is admitted under a policy, and what its containers then have for themselves.
type Verdict struct {
	Policy     string               `json:"policy"`
	Scope      string               `json:"scope"`
	Admitted   bool                 `json:"admitted"`
	Reason     string               `json:"reason,omitempty"`
	Containers map[string]Exclusive `json:"containers"`
}

// Exclusive is what a container has for itself.
type Exclusive struct {
	// CPUs is a list such as 1-4,8.
	CPUs string `json:"cpus,omitempty"`
	// Memory is that of the second NUMA node, and OtherMemory that of others, in bytes.
	Memory      uint64 `json:"memory,omitempty"`
	OtherMemory uint64 `json:"otherMemory,omitempty"`
}

const gpu = "nvidia.com/gpu"

// gpus stands for the device manager.
type gpus struct{}

func (gpus) GetTopologyHints(_ *v1.Pod, c *v1.Container) map[string][]topologymanager.TopologyHint {
	if q, ok := c.Resources.Limits[gpu]; !ok || q.IsZero() {
		return nil
	}
	second, _ := bitmask.NewBitMask(1)
	both, _ := bitmask.NewBitMask(0, 1)
	return map[string][]topologymanager.TopologyHint{gpu: {{NUMANodeAffinity: second, Preferred: true}, {NUMANodeAffinity: both}}}
}

func (g gpus) GetPodTopologyHints(pod *v1.Pod) map[string][]topologymanager.TopologyHint {
	for i := range pod.Spec.Containers {
		if hints := g.GetTopologyHints(pod, &pod.Spec.Containers[i]); hints != nil {
			return hints
		}
	}
	return nil
}

func (gpus) Allocate(*v1.Pod, *v1.Container) error { return nil }
func (gpus) AllocatePod(*v1.Pod) error             { return nil }

// sources are ready.
type sources struct{}

func (sources) AddSource(string) {}
func (sources) AllReady() bool   { return true }

type noStatuses struct{}

func (noStatuses) GetPodStatus(types.UID) (v1.PodStatus, bool) { return v1.PodStatus{}, false }

func main() {
	klog.SetLogger(logr.Discard())
	if err := judge(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func judge(in io.Reader, out io.Writer) error {
	pods, verdicts := json.NewDecoder(in), json.NewEncoder(out)
	for {
		pod := &v1.Pod{}
		switch err := pods.Decode(pod); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		pod.UID = "1"
		corev1.SetObjectDefaults_Pod(pod)
		for _, policy := range []string{"none", "best-effort", "restricted", "single-numa-node"} {
			for _, scope := range []string{"container", "pod"} {
				v, err := node(pod, policy, scope)
				if err == nil {
					err = verdicts.Encode(v)
				}
				if err != nil {
					return err
				}
			}
		}
	}
}

// node has a pod come to an empty node.
func node(pod *v1.Pod, policy, scope string) (Verdict, error) {
	machine := &cadvisorapi.MachineInfo{NumCores: 16, NumPhysicalCores: 16, NumSockets: 2, MemoryCapacity: 128 << 30}
	for n := range 2 {
		numa := cadvisorapi.Node{Id: n, Memory: 64 << 30}
		for c := range 8 {
			numa.Cores = append(numa.Cores, cadvisorapi.Core{Id: n*8 + c, Threads: []int{n*8 + c}, SocketID: n})
		}
		machine.Topology = append(machine.Topology, numa)
	}
	reserved := v1.ResourceList{v1.ResourceCPU: resource.MustParse("1"), v1.ResourceMemory: resource.MustParse("1Gi")}
	directory, err := os.MkdirTemp("", "managers")
	if err != nil {
		return Verdict{}, err
	}
	defer os.RemoveAll(directory)

	logger := logr.Discard()
	topology, err := topologymanager.NewManager(machine.Topology, policy, scope, nil)
	if err != nil {
		return Verdict{}, err
	}
	cpus, err := cpumanager.NewManager(logger, "static", nil, time.Hour, machine, cpuset.New(), reserved, directory, topology)
	if err != nil {
		return Verdict{}, err
	}
	memory, err := memorymanager.NewManager(logger, "Static", machine, reserved,
		[]kubeletconfig.MemoryReservation{{NumaNode: 0, Limits: v1.ResourceList{v1.ResourceMemory: reserved[v1.ResourceMemory]}}}, directory, topology)
	if err != nil {
		return Verdict{}, err
	}
	ctx, cancel := context.WithCancel(klog.NewContext(context.Background(), logger))
	defer cancel()
	active := func() []*v1.Pod { return []*v1.Pod{pod} }
	if err := cpus.Start(ctx, active, sources{}, noStatuses{}, nil, containermap.NewContainerMap()); err != nil {
		return Verdict{}, err
	}
	if err := memory.Start(ctx, active, sources{}, noStatuses{}, nil, containermap.NewContainerMap()); err != nil {
		return Verdict{}, err
	}
	for _, provider := range []topologymanager.HintProvider{cpus, memory, gpus{}} {
		topology.AddHintProvider(logger, provider)
	}

	result := topology.Admit(&lifecycle.PodAdmitAttributes{Pod: pod})
	v := Verdict{Policy: policy, Scope: scope, Admitted: result.Admit, Reason: result.Reason, Containers: map[string]Exclusive{}}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		has := Exclusive{CPUs: cpus.GetExclusiveCPUs(string(pod.UID), c.Name).String()}
		for _, block := range memory.GetMemory(string(pod.UID), c.Name) {
			if slices.Equal(block.NUMAAffinity, []int{1}) {
				has.Memory += block.Size
			} else {
				has.OtherMemory += block.Size
			}
		}
		v.Containers[c.Name] = has
	}
	return v, nil
}
