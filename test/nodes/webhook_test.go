package nodes

import (
	"context"
	"log"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/load"
	"github.com/podinit/podinit/test/suite"
)

// tail is how long a load goes on after a step.
const tail = time.Second

// installed applies the webhook and waits until it is rolled out, each replica on another node, and every node has the init image.
func installed(t *testing.T) []corev1.Pod {
	t.Helper()
	if err := running.ApplyWebhook(t.Context(), root, initImage, webhookImage, ""); err != nil {
		t.Fatal(err)
	}
	for _, object := range []string{"deployment/podinit-certificates", "deployment/" + deploymentName, "daemonset/podinit-prepull"} {
		kubectl(t, "", "-n", system, "rollout", "status", object, "--timeout="+suite.Patience.String())
	}
	pods := suite.Settled(t, client, 2)
	if pods[0].Spec.NodeName == pods[1].Spec.NodeName { // what an earlier test has drained is not spread again by itself
		kubectl(t, "", "-n", system, "rollout", "restart", "deployment/"+deploymentName)
		kubectl(t, "", "-n", system, "rollout", "status", "deployment/"+deploymentName, "--timeout="+suite.Patience.String())
		pods = suite.Settled(t, client, 2)
	}
	if pods[0].Spec.NodeName == pods[1].Spec.NodeName {
		t.Fatalf("both replicas are on node %s", pods[0].Spec.NodeName)
	}
	return pods
}

// uninstall removes the webhook.
func uninstall() {
	if _, err := running.RunKubectl(context.Background(), "", "delete", "--ignore-not-found", "-k", filepath.Join(root, "config", "default")); err != nil {
		log.Print(err)
	}
}

// TestSpread rolls the webhook out several times. Its replicas are on different nodes each time, and in different zones if nodes have any.
func TestSpread(t *testing.T) {
	installed(t)
	for _, zones := range [][]string{{"", "", ""}, {"a", "a", "b"}} {
		zoneOf := map[string]string{}
		for i, node := range running.Nodes {
			zoneOf[node.Name] = zones[i]
			label := corev1.LabelTopologyZone + "-"
			if zones[i] != "" {
				label = corev1.LabelTopologyZone + "=" + zones[i]
			}
			kubectl(t, "", "label", "node", node.Name, "--overwrite", label)
			t.Cleanup(func() { kubectl(t, "", "label", "node", node.Name, corev1.LabelTopologyZone+"-") })
		}
		for range 2 {
			kubectl(t, "", "-n", system, "rollout", "restart", "deployment/"+deploymentName)
			kubectl(t, "", "-n", system, "rollout", "status", "deployment/"+deploymentName, "--timeout="+suite.Patience.String())
			pods := suite.Settled(t, client, 2)
			a, b := pods[0].Spec.NodeName, pods[1].Spec.NodeName
			if a == b || zones[0] != "" && zoneOf[a] == zoneOf[b] {
				t.Errorf("of nodes in zones %v the replicas are on %s and %s", zones, a, b)
			}
		}
	}
}

// TestDrain drains nodes that have a replica, one after the other, under load. No pod fails and none is unwrapped, and the replicas
// stay apart as long as there is a node for each.
func TestDrain(t *testing.T) {
	pods := installed(t)
	load.MakeNamespaces(t, client)
	table := load.NewTable(t, "Pods created while nodes were drained")
	drained := map[string]bool{}
	t.Cleanup(func() {
		for node := range drained {
			kubectl(t, "", "uncordon", node)
		}
	})
	for _, apart := range []bool{true, false} {
		node := pods[0].Spec.NodeName
		t.Run(node, func(t *testing.T) {
			drained[node] = true
			before, creating := load.AskedAgain(t, client), load.Start(t, client, *rate)
			kubectl(t, "", "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout="+suite.Patience.String())
			pods = suite.Settled(t, client, 2)
			time.Sleep(tail)
			c := creating.Stop()
			table.Add("drain a node with a replica", c, load.AskedAgain(t, client)-before)
			if c.Failed > 0 || c.Unwrapped > 0 || c.Created == 0 {
				t.Errorf("of %d pods %d failed and %d are unwrapped:\n%q", c.Created, c.Failed, c.Unwrapped, c.Problems)
			}
			on := []string{pods[0].Spec.NodeName, pods[1].Spec.NodeName}
			if drained[on[0]] || drained[on[1]] || (on[0] != on[1]) != apart {
				t.Errorf("with %d nodes left the replicas are on %v", 3-len(drained), on)
			}
		})
	}
}

// TestLoss ends the node whose replica the apiserver has its connections to, with all that runs on it, under load, and starts it again. No
// creation fails. Pods that are created without the init are counted by podinit status, and there are none any more once Kubernetes has
// noticed.
func TestLoss(t *testing.T) {
	// Both replicas are to be on nodes that may crash.
	kubectl(t, "", "cordon", running.Nodes[0].Name)
	t.Cleanup(func() { kubectl(t, "", "uncordon", running.Nodes[0].Name) })
	kubectl(t, "", "-n", system, "delete", "pods", "-l", suite.WebhookSelector, "--ignore-not-found")
	pods := installed(t)
	load.MakeNamespaces(t, client)
	before, creating := load.AskedAgain(t, client), load.StartKept(t, client, *rate)
	was := reviews(t, pods)
	time.Sleep(5 * time.Second)
	now := reviews(t, pods)
	victim := pods[0]
	if now[1]-was[1] > now[0]-was[0] {
		victim = pods[1]
	}
	node := victim.Spec.NodeName
	crashed := time.Now()
	if err := running.Crash(node); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), suite.Patience)
		defer cancel()
		if err := running.Start(ctx, node); err != nil {
			t.Error(err)
		}
	})
	lost := creating.Into()
	suite.Retry(t, "the replica to be no endpoint any more", func(ctx context.Context) (bool, error) {
		ready, err := suite.Endpoints(ctx, client)
		return err == nil && !slices.Contains(ready, victim.Name), err
	})
	noticed := creating.Into()
	time.Sleep(2 * maxDelay)
	again := load.AskedAgain(t, client) - before
	c := creating.Stop()
	load.NewTable(t, "Pods created while a node was lost").Add("lose a node", c, again)
	t.Logf("Kubernetes noticed after %.1f s; %d pods took longer than a second, the last of them begun %.1f s after the loss; the last unwrapped one was begun %.1f s after it",
		(noticed - lost).Seconds(), c.Slow, (c.LastSlow - lost).Seconds(), (c.LastBare - lost).Seconds())
	if c.Failed > 0 || c.Wrapped == 0 {
		t.Errorf("of %d pods %d failed:\n%q", c.Created, c.Failed, c.Problems)
	}
	if c.Slow == 0 {
		t.Error("no pod was slow: the lost replica was not called")
	}
	if c.Slowest > maxDelay {
		t.Errorf("a pod took %s to be created, longer than both timeouts", c.Slowest)
	}
	if until := noticed + maxDelay; c.LastSlow > until || c.LastBare > until {
		t.Errorf("after Kubernetes had noticed, at %s, a pod was slow at %s, or unwrapped at %s", noticed, c.LastSlow, c.LastBare)
	}
	bare := map[string][]string{}
	for _, pod := range c.Bare {
		namespace, _, _ := strings.Cut(pod, "/")
		bare[namespace] = append(bare[namespace], pod)
	}
	for _, namespace := range []string{load.OptedInNamespace, load.PlainNamespace} {
		report := statusOf(t, namespace)
		if report.Totals.WithoutStatus != len(bare[namespace]) || report.Totals.Wrapped+report.Totals.WithoutStatus != report.Totals.Pods {
			t.Errorf("podinit status of namespace %s counts %+v, want %d without a status", namespace, report.Totals, len(bare[namespace]))
		}
		for _, name := range report.WithoutStatus.Names {
			if !slices.Contains(bare[namespace], name) {
				t.Errorf("podinit status names %s, which was wrapped", name)
			}
		}
	}

	creating = load.Start(t, client, *rate)
	time.Sleep(3 * time.Second)
	if c := creating.Stop(); c.Failed > 0 || c.Unwrapped > 0 || c.Slow > 0 {
		t.Errorf("with one replica left, of %d pods %d failed, %d are unwrapped and %d were slow: %q", c.Created, c.Failed, c.Unwrapped, c.Slow, c.Problems)
	}
	suite.Retry(t, "another replica", func(ctx context.Context) (bool, error) {
		ready, err := suite.Endpoints(ctx, client)
		return err == nil && len(ready) == 2, err
	})
	t.Logf("another replica was ready %.0f s after the loss", time.Since(crashed).Seconds())
}

// reviews are how many reviews each replica has answered.
func reviews(t *testing.T, pods []corev1.Pod) (counts []int) {
	t.Helper()
	for _, pod := range pods {
		families, err := cluster.Metrics(t.Context(), client, pod.Namespace, pod.Name)
		if err != nil {
			t.Fatal(err)
		}
		counts = append(counts, int(cluster.Sum(families["podinit_admission_requests_total"])))
	}
	return counts
}

// maxDelay is the webhook's both timeouts, and what a busy machine adds.
const maxDelay = 5*time.Second + 3*time.Second + 2*time.Second
