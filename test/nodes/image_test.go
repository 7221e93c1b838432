package nodes

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/test/load"
	"github.com/podinit/podinit/test/suite"
)

// TestPrepull takes a new node in, and then the init image's registry away. Pods start on all nodes, the new one too. A node that is
// newer than that lacks the image: its pod waits, and podinit check and podinit status name them, and no other.
func TestPrepull(t *testing.T) {
	installed(t)
	namespace := namespaceOf(t)
	replaceNode(t, last)
	kubectl(t, "", "-n", system, "rollout", "status", "daemonset/podinit-prepull", "--timeout="+suite.Patience.String())
	refusing(t, everybody)
	for i, node := range running.Nodes {
		pod := newPod(t, fmt.Sprintf("on-node-%d", i+1), on(node.Name))
		if !load.Wrapped(pod) {
			t.Fatalf("the pod for node %s is not wrapped: %s", node.Name, pod.Annotations[v1alpha1.StatusAnnotation])
		}
		awaitReady(t, pod.Name)
	}
	finds(t, nil)

	// A pod that is bound to a node may outlive it, if another node takes its name soon.
	kubectl(t, "", "-n", namespace, "delete", "pods", "--all")
	replaceNode(t, last)
	if pod := newPod(t, "waits", on(last)); !load.Wrapped(pod) {
		t.Fatalf("one node of three lacks the init image, and a pod is not wrapped: %s", pod.Annotations[v1alpha1.StatusAnnotation])
	}
	finds(t, map[string][]string{
		"init-image-nodes": {"these nodes do not have it yet, and this machine cannot ask the registry: " + last},
		"init-image-pulls": {"pod " + namespace + "/waits on node " + last + " waits for " + initImage + ": *"},
	})
	if report := statusOf(t, namespace); report.Totals.Waiting != 1 || len(report.Waiting) != 1 || report.Waiting[0].Image != initImage {
		t.Errorf("podinit status counts %+v, and of waiting pods %+v; want one that waits for %s", report.Totals, report.Waiting, initImage)
	}
	newPod(t, "elsewhere", on(running.Nodes[1].Name))
	awaitReady(t, "elsewhere")

	refused.Store(nil)
	awaitReady(t, "waits")
	finds(t, nil)
}

// TestArchitecture has a node of another architecture than the init image. Podinit check names it; and once it cannot pull the image,
// pods that may run there are left alone, and those that may not are wrapped.
func TestArchitecture(t *testing.T) {
	installed(t)
	namespaceOf(t)
	pretend(t, last, "architecture", "arm64")
	notMade := initImage + " is not made for linux/arm64 (nodes: " + last + ")"
	finds(t, map[string][]string{"init-image-registry": {notMade}})
	if pod := admitted(t, nil); !load.Wrapped(pod) {
		t.Errorf("every node has the image, and a pod is not wrapped: %s", pod.Annotations[v1alpha1.StatusAnnotation])
	}

	refusing(t, address(last))
	replaceNode(t, last)
	finds(t, map[string][]string{
		"init-image-registry": {notMade},
		"init-image-nodes":    {"these nodes do not have it, and the registry does not have it for them: " + last},
		"init-image-breaker":  {"new pods for linux/arm64 are left alone: pod podinit-prepull-* on node " + last + ": *"},
		"dry-run-pod":         {"*"},
	})
	for name, test := range map[string]struct {
		selector map[string]string
		wrapped  bool
	}{
		"anywhere": {nil, false},
		"there":    {map[string]string{corev1.LabelArchStable: "arm64"}, false},
		"here":     {map[string]string{corev1.LabelArchStable: "amd64"}, true},
	} {
		pod := admitted(t, test.selector)
		if load.Wrapped(pod) != test.wrapped {
			t.Errorf("pod %s: wrapped %v, want %v: %s", name, !test.wrapped, test.wrapped, pod.Annotations[v1alpha1.StatusAnnotation])
		}
		if status := suite.Status(t, pod); !test.wrapped && status.Reason != v1alpha1.ReasonInitImageUnavailable {
			t.Errorf("pod %s: the reason is %q, want %q", name, status.Reason, v1alpha1.ReasonInitImageUnavailable)
		}
	}
	newPod(t, "here", map[string]string{corev1.LabelArchStable: "amd64"})
	awaitReady(t, "here")

	refused.Store(nil)
	kubectl(t, "", "-n", system, "delete", "pods", "-l", prepullSelector, "--field-selector=spec.nodeName="+last)
	finds(t, map[string][]string{"init-image-registry": {notMade}})
}

// TestVersions has a node whose kubelet, and then its container runtime, cannot mount image volumes. Delivery Auto then copies the init on
// all nodes, and podinit check names the node to those who want image volumes.
func TestVersions(t *testing.T) {
	installed(t)
	namespaceOf(t)
	profile(t, v1alpha1.DeliverAuto)
	t.Cleanup(func() { kubectl(t, "", "delete", "--ignore-not-found", "initprofile", "default") })
	delivered(t, v1alpha1.DeliveryImageVolume, v1alpha1.ReasonEveryNodeCan)
	for _, test := range []struct {
		field, value string
		reason       v1alpha1.Reason
	}{
		{"kubeletVersion", "v1.35.4", v1alpha1.ReasonKubeletTooOld},
		{"containerRuntimeVersion", "containerd://2.0.9", v1alpha1.ReasonRuntimeTooOld},
	} {
		t.Run(test.field, func(t *testing.T) {
			pretend(t, last, test.field, test.value)
			delivered(t, v1alpha1.DeliveryInitContainer, test.reason)
			finds(t, nil)
			profile(t, v1alpha1.DeliverByImageVolume)
			finds(t, map[string][]string{"image-volumes": {"InitProfile default has delivery ImageVolume, but * (nodes: " + last + ")"}})
			profile(t, v1alpha1.DeliverAuto)
		})
		delivered(t, v1alpha1.DeliveryImageVolume, v1alpha1.ReasonEveryNodeCan)
	}
}

// profile makes the InitProfile default with a delivery.
func profile(t *testing.T, delivery v1alpha1.DeliveryPolicy) {
	t.Helper()
	kubectl(t, fmt.Sprintf("apiVersion: podinit.dev/v1alpha1\nkind: InitProfile\nmetadata: {name: default}\nspec: {delivery: %s}\n", delivery),
		"apply", "--server-side", "-f", "-")
}

// delivered waits until the webhooks choose a delivery, both of them.
func delivered(t *testing.T, want v1alpha1.Delivery, why v1alpha1.Reason) {
	t.Helper()
	inARow := 0
	suite.Retry(t, fmt.Sprintf("delivery %s, because %s", want, why), func(ctx context.Context) (bool, error) {
		pod, err := client.CoreV1().Pods(namespaceOf(t)).Create(ctx, load.NewPod(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return false, err
		}
		if inARow++; !load.Wrapped(pod) {
			inARow = 0
		} else if status := suite.Status(t, pod); status.Delivery != want || status.DeliveryReason != why {
			inARow = 0
		}
		return inARow == 8, nil
	})
}

// admitted is a pod as the apiserver would create it.
func admitted(t *testing.T, nodeSelector map[string]string) *corev1.Pod {
	t.Helper()
	pod := load.NewPod()
	pod.Spec.NodeSelector = nodeSelector
	pod, err := client.CoreV1().Pods(namespaceOf(t)).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// policy has the apiserver write something else into a node than its kubelet says.
const policy = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: %[1]s}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [nodes, nodes/status]}
  matchConditions:
  - {name: node, expression: "object.metadata.name == '%[2]s'"}
  mutations:
  - patchType: JSONPatch
    jsonPatch:
      expression: '[%[3]s]'
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: %[1]s}
spec: {policyName: %[1]s}
`

// pretend has a node say something else of itself than it is, until the test ends: what runs there stays what it is. An architecture is in
// labels, too.
func pretend(t *testing.T, node, field, value string) {
	t.Helper()
	said := func(n *corev1.Node) string {
		return map[string]string{
			"architecture": n.Status.NodeInfo.Architecture, "kubeletVersion": n.Status.NodeInfo.KubeletVersion,
			"containerRuntimeVersion": n.Status.NodeInfo.ContainerRuntimeVersion,
		}[field]
	}
	truth, err := client.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	name := "nodes-" + strings.ToLower(field)
	paths, labels := []string{"/status/nodeInfo/" + field}, []string{}
	if field == "architecture" {
		labels = []string{"beta.kubernetes.io/arch", corev1.LabelArchStable}
	}
	for _, label := range labels { // which the kubelet writes again and again, too
		paths = append(paths, "/metadata/labels/"+strings.ReplaceAll(label, "/", "~1"))
	}
	for i, path := range paths {
		paths[i] = fmt.Sprintf("JSONPatch{op: \"add\", path: %q, value: %q}", path, value)
	}
	objects := fmt.Sprintf(policy, name, node, strings.Join(paths, ", "))
	kubectl(t, objects, "apply", "-f", "-")
	t.Cleanup(func() {
		kubectl(t, objects, "delete", "-f", "-")
		for _, label := range labels {
			kubectl(t, "", "label", "node", node, "--overwrite", label+"="+truth.Labels[label])
		}
		ctx, cancel := context.WithTimeout(context.Background(), suite.Patience)
		defer cancel()
		for { // until the kubelet has put it right
			now, err := client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
			if err == nil && said(now) == said(truth) {
				return
			}
			if ctx.Err() != nil {
				t.Fatalf("node %s still has %s %s", node, field, value)
			}
			time.Sleep(200 * time.Millisecond)
		}
	})
	suite.Retry(t, "the policy to change what the node says", func(ctx context.Context) (bool, error) {
		patch := fmt.Appendf(nil, `{"status":{"nodeInfo":{%q:"unlike all"}}}`, field)
		now, err := client.CoreV1().Nodes().Patch(ctx, node, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		return err == nil && said(now) == value, err
	})
}
