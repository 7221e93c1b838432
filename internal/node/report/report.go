// Package report is what podinit-node tells of the containers of its node, as JSON at Path of its metrics port: whom it wraps,
// whom not and why, and who runs without the init though it opts in. The command line reads it through the apiserver's proxy.
//
// It has names alone: no argv, no environment, no image, no annotation.
package report

import (
	"cmp"
	"slices"

	"github.com/podinit/podinit/api/v1alpha1"
)

const (
	// Path of the report. The query parameter NamespaceParameter restricts it to the containers of one namespace.
	Path = "/containers"
	// NamespaceParameter of Path.
	NamespaceParameter = "namespace"

	// MaxContainers bounds how many containers a Report lists; all are counted.
	MaxContainers = 2000
	// MaxRecent bounds how many decisions a Report has.
	MaxRecent = 100
)

// State of a container.
type State string

const (
	// Wrapped containers have the init from this node.
	Wrapped State = "wrapped"
	// LeftAlone containers have none, for the Reason: it is wanted so, or cannot be otherwise.
	LeftAlone State = "left-alone"
	// Missed containers opt in and run without the init: they were created while podinit-node could not wrap them, or before
	// they opted in.
	Missed State = "missed"
)

// Report of one node.
type Report struct {
	// Version of podinit-node.
	Version string `json:"version"`
	// Registered is set while the container runtime asks about new containers, and Problem why it does not.
	Registered bool   `json:"registered"`
	Problem    string `json:"problem,omitempty"`
	// Suspended is set while every container is created unchanged.
	Suspended bool `json:"suspended,omitempty"`
	// Counts of the containers that have not ended, of Pods that have opted in.
	Counts Counts `json:"counts"`
	// Containers are these: the missed ones first, then by name. Omitted is how many there are besides.
	Containers []Container `json:"containers"`
	Omitted    int         `json:"omitted,omitempty"`
	// Recent are the latest decisions, the newest first, also about containers that have ended.
	Recent []Container `json:"recent,omitempty"`
}

// Counts of containers by their State.
type Counts struct {
	Wrapped   int `json:"wrapped"`
	LeftAlone int `json:"leftAlone"`
	Missed    int `json:"missed"`
}

// Container is one.
type Container struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	// UID of the Pod, as its runtime knows it: of a static Pod, not the one that the apiserver has.
	UID   string `json:"uid,omitempty"`
	Name  string `json:"container"`
	State State  `json:"state"`
	// Reason why it is left alone, or missed if that is known.
	Reason v1alpha1.Reason `json:"reason,omitempty"`
	// Init is the directory of the init that it has, which begins with the version; empty if it has none from this node.
	Init string `json:"init,omitempty"`
}

// Set fills in the containers and counts them.
func (r *Report) Set(all []Container) {
	slices.SortFunc(all, func(a, b Container) int {
		return cmp.Or(-cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Pod, b.Pod),
			cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
	r.Counts = Counts{}
	for _, c := range all {
		switch c.State {
		case Wrapped:
			r.Counts.Wrapped++
		case LeftAlone:
			r.Counts.LeftAlone++
		case Missed:
			r.Counts.Missed++
		}
	}
	r.Containers = all[:min(len(all), MaxContainers)]
	r.Omitted = len(all) - len(r.Containers)
}

// rank puts missed containers first.
func rank(c Container) int {
	if c.State == Missed {
		return 1
	}
	return 0
}
