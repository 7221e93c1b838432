package inject

import (
	"slices"
	"strings"
)

// countsOnPIDs says whether a program other than the Pod's own finds those by PID or parent, and would find the init:
//
//   - Katib's metrics collector takes the first process whose parent is 0 for the trial's, and expects the file that the
//     trial's shell names after its own PID (pkg/metricscollector/v1beta1/common/pns.go).
//   - KubeVirt's virt-handler looks for virt-launcher's and for the processes below it (pkg/virt-handler/isolation), and
//     for those of the Pods that hotplug its disks.
func (p *Pod) countsOnPIDs() bool {
	switch p.Metadata.Labels["kubevirt.io"] {
	case "virt-launcher", "hotplug-disk":
		return true
	}
	return slices.ContainsFunc(p.Spec.Containers, func(c container) bool { return c.Name == "metrics-logger-and-collector" })
}

// tektonSidecar says whether Tekton stops a regular container by giving it the image nop: any of a TaskRun's Pod that is
// not a step (tektoncd/pipeline, pkg/pod/entrypoint.go, StopSidecars).
func (p *Pod) tektonSidecar(c *container) bool {
	return has(p.Metadata.Labels, "tekton.dev/taskRun") && !strings.HasPrefix(c.Name, "step-")
}
