package nodes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/internal/cli/status"
	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/suite"
)

const nodeSystem = "podinit-node"

// TestNodeMode has podinit-node on every node, takes it from one, and then has another version of it there. Podinit check and
// podinit status name that node and no other.
func TestNodeMode(t *testing.T) {
	uninstall()
	deployNodeMode(t, clusterInitImage, nodeImage)
	t.Cleanup(func() { kubectl(t, "", "delete", "--ignore-not-found", "-k", filepath.Join(root, "config", "node")) })
	kubectl(t, "", "-n", nodeSystem, "rollout", "status", "daemonset/podinit-node", "--timeout="+suite.Patience.String())
	namespace := namespaceOf(t)
	for i, node := range running.Nodes {
		name := fmt.Sprintf("on-node-%d", i+1)
		newPod(t, name, on(node.Name))
		awaitReady(t, name)
	}
	finds(t, nil)
	report := statusOf(t, namespace)
	if report.Nodes == nil || report.Nodes.Nodes != 3 || report.Nodes.Registered != 3 || report.Totals.ByNode != 3 || report.Totals.Wrapped != 3 {
		t.Fatalf("with a pod on each node podinit status says %+v and of the nodes %+v", report.Totals, report.Nodes)
	}
	for i := range running.Nodes { // the nodes share the machine's disk: each has a directory of its own there
		directory := cluster.InitDirectory
		if i > 0 {
			directory = filepath.Join(cluster.Dir, fmt.Sprintf("node-%d", i+1), "podinit")
		}
		if versions, err := os.ReadDir(directory); err != nil || len(versions) == 0 {
			t.Errorf("node %d has the inits %v (%v)", i+1, versions, err)
		}
	}

	t.Log("one node has no podinit-node")
	kubectl(t, "", "-n", nodeSystem, "create", "quota", "two", "--hard=pods=2")
	takeAway(t)
	newPod(t, "missed", on(last))
	awaitReady(t, "missed")
	finds(t, map[string][]string{
		"node-plugin":   {"node " + last + ": no pod of podinit-node: containers start there without the init"},
		"node-versions": {"the last change of DaemonSet podinit-node is not rolled out: 2 of 3 pods updated"},
	})
	if got := statusOf(t, namespace).Nodes; got.Nodes != 3 || got.Registered != 2 || len(got.NotRegistered) != 1 ||
		got.NotRegistered[0] != (status.NodeProblem{Node: last, Problem: "no pod of podinit-node"}) {
		t.Errorf("podinit status says of the nodes %+v", got)
	}

	t.Log("it is back")
	kubectl(t, "", "-n", nodeSystem, "delete", "quota", "two")
	// The DaemonSet's controller waits longer after each failure, but not after a change.
	kubectl(t, "", "-n", nodeSystem, "annotate", "daemonset", "podinit-node", "test=back", "--overwrite")
	without := "container app of pod " + namespace + "/missed on node " + last + " opts in and runs without the init: *"
	finds(t, map[string][]string{"node-containers": {without}})
	if got := statusOf(t, namespace).Nodes; got.Registered != 3 || len(got.Missed) != 1 ||
		got.Missed[0] != (status.MissedContainer{Node: last, Pod: namespace + "/missed", Container: "app"}) {
		t.Errorf("podinit status says of the nodes %+v", got)
	}
	kubectl(t, "", "-n", namespace, "delete", "pod", "missed")
	finds(t, nil)

	t.Log("one node has another version")
	const version = "v9.9.9-next"
	var next [2]string
	for i, which := range []string{"init", "node"} {
		var err error
		if next[i], err = cluster.PushNext(t.Context(), *images, which, version); err != nil {
			t.Fatal(err)
		}
	}
	deployNodeMode(t, next[0], next[1], "{op: replace, path: /spec/updateStrategy, value: {type: OnDelete}}")
	takeAway(t)
	finds(t, map[string][]string{"node-versions": {
		fmt.Sprintf("nodes have different versions: * on %s, %s; %s on %s", running.Nodes[0].Name, running.Nodes[1].Name, version, last),
	}})
}

// deployNodeMode applies config/node with these images and patches of the DaemonSet.
func deployNodeMode(t *testing.T, init, node string, patches ...string) {
	t.Helper()
	if err := running.ApplyNodeMode(t.Context(), root, init, node, patches...); err != nil {
		t.Fatal(err)
	}
}

// takeAway deletes podinit-node's pod on the last node, and waits until it is gone.
func takeAway(t *testing.T) {
	t.Helper()
	options := metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=node", FieldSelector: "spec.nodeName=" + last}
	pods, err := client.CoreV1().Pods(nodeSystem).List(t.Context(), options)
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("podinit-node has %v on node %s: %v", pods, last, err)
	}
	before := pods.Items[0]
	if err := client.CoreV1().Pods(nodeSystem).Delete(t.Context(), before.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	suite.Retry(t, "podinit-node's pod to go", func(ctx context.Context) (bool, error) {
		pods, err := client.CoreV1().Pods(nodeSystem).List(ctx, options)
		if err != nil {
			return false, err
		}
		return !slices.ContainsFunc(pods.Items, func(pod corev1.Pod) bool { return pod.UID == before.UID }), nil
	})
}
