package main

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The demo's pods may run on any node, so each must have a podinit-node that is ready.
func TestNodesReady(t *testing.T) {
	for name, tt := range map[string]struct {
		status appsv1.DaemonSetStatus
		want   bool
	}{
		"all":                    {appsv1.DaemonSetStatus{ObservedGeneration: 2, DesiredNumberScheduled: 3, NumberReady: 3}, true},
		"one is not":             {appsv1.DaemonSetStatus{ObservedGeneration: 2, DesiredNumberScheduled: 3, NumberReady: 2}, false},
		"not looked at yet":      {appsv1.DaemonSetStatus{}, false},
		"of an earlier manifest": {appsv1.DaemonSetStatus{ObservedGeneration: 1, DesiredNumberScheduled: 3, NumberReady: 3}, false},
	} {
		d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Generation: 2}, Status: tt.status}
		if got := nodesReady(d); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
