package operate

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubectl/pkg/util/podutils"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/test/load"
	"github.com/podinit/podinit/test/suite"
)

// tail is how long the load goes on after a step: longer than a connection or an endpoint of the past lives.
const tail = time.Second

// TestOperate takes an installation through its life under a load of pod creations. Not one pod fails in any step. In
// those in which the webhook is meant to be up not one is unwrapped, but for a few when a process is killed.
func TestOperate(t *testing.T) {
	t.Run("config", func(t *testing.T) { operate(t, fromConfig{}) })
	if *helm != "" {
		t.Run("chart", func(t *testing.T) { operate(t, fromChart{*helm}) })
	}
}

func operate(t *testing.T, how installer) {
	now, later := current(t), next(t, "v9.9.9-next")
	fromConfig{}.uninstall(t) // whatever is there, and what Helm leaves
	load.MakeNamespaces(t, client)
	table := load.NewTable(t, "Pods created while the webhook was operated")
	// step does something under load. No pod fails, and so many at most are unwrapped.
	const any = math.MaxInt
	step := func(name string, unwrapped int, do func(t *testing.T)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			before, pods := load.AskedAgain(t, client), load.Start(t, client, *rate)
			do(t)
			time.Sleep(tail)
			c := pods.Stop()
			table.Add(name, c, load.AskedAgain(t, client)-before)
			if c.Failed > 0 || c.Unwrapped > unwrapped || c.Created == 0 {
				t.Errorf("of %d pods %d failed and %d are unwrapped:\n%q", c.Created, c.Failed, c.Unwrapped, c.Problems)
			}
			if len(c.Versions) > 0 {
				t.Logf("wrapped by version: %v", c.Versions)
			}
		})
	}

	step("install", any, func(t *testing.T) { how.install(t, now) })
	step("use", 0, func(t *testing.T) { suite.Settled(t, client, 2) })
	step("upgrade from webhooks that kept their certificate", 0, func(t *testing.T) {
		before := expiry(t)
		withoutKeeper(t)
		how.install(t, now)
		suite.Settled(t, client, 2)
		keeperReady(t)
		if after := expiry(t); after != before {
			t.Errorf("the certificate was made anew: it ended at %.0f, and ends at %.0f", before, after)
		}
	})
	step("upgrade", 0, func(t *testing.T) {
		how.install(t, later)
		suite.Settled(t, client, 2)
	})
	t.Run("upgraded", func(t *testing.T) {
		pods := load.Start(t, client, *rate)
		time.Sleep(time.Second)
		if c := pods.Stop(); len(c.Versions) != 1 || c.Versions["v9.9.9-next"] == 0 {
			t.Errorf("after the upgrade pods are wrapped by %v", c.Versions)
		}
	})
	step("roll back", 0, func(t *testing.T) {
		how.install(t, now)
		suite.Settled(t, client, 2)
	})
	step("drain: each replica evicted", 0, func(t *testing.T) {
		var evictions errgroup.Group
		ctx, cancel := context.WithTimeout(t.Context(), suite.Patience)
		defer cancel()
		for _, pod := range suite.Settled(t, client, 2) {
			evictions.Go(func() error { return evict(ctx, &pod) })
		}
		if err := evictions.Wait(); err != nil {
			t.Fatal(err)
		}
		suite.Settled(t, client, 2)
	})
	step("scale to 3 and back to 2", 0, func(t *testing.T) {
		scale(t, 3)
		suite.Settled(t, client, 3)
		scale(t, 2)
		suite.Settled(t, client, 2)
	})
	step("delete a replica", 0, func(t *testing.T) { deleteReplica(t, metav1.DeleteOptions{}) })
	step("delete a replica by force", 0, func(t *testing.T) {
		for range *rounds {
			none := int64(0)
			deleteReplica(t, metav1.DeleteOptions{GracePeriodSeconds: &none})
		}
	})
	// Until the node has noticed, half of the connections made are refused, and a quarter twice.
	step("kill a replica's process", *rate/5**rounds, func(t *testing.T) {
		for i := range *rounds {
			victim := suite.Settled(t, client, 2)[i%2]
			if err := kill(&victim); err != nil {
				t.Fatal(err)
			}
			suite.Retry(t, "the replica to be started again", func(ctx context.Context) (bool, error) {
				pod, err := client.CoreV1().Pods(system).Get(ctx, victim.Name, metav1.GetOptions{})
				return err == nil && pod.Status.ContainerStatuses[0].RestartCount > victim.Status.ContainerStatuses[0].RestartCount, err
			})
			suite.Settled(t, client, 2)
		}
	})
	step("renew the certificate while what keeps it is started", 0, func(t *testing.T) {
		for range *rounds {
			none := int64(0)
			if err := client.CoreV1().Pods(system).DeleteCollection(t.Context(), metav1.DeleteOptions{GracePeriodSeconds: &none}, metav1.ListOptions{LabelSelector: keeperSelector}); err != nil {
				t.Fatal(err)
			}
			renew(t, `{"data":{"tls.crt":null,"tls.key":null}}`)
			keeperReady(t)
		}
	})
	step("renew the certificate", 0, func(t *testing.T) {
		for range *rounds {
			renew(t, `{"data":{"tls.crt":null,"tls.key":null}}`)
		}
	})
	step("renew its authority", 0, func(t *testing.T) {
		for range *rounds {
			renew(t, `{"data":null}`)
		}
	})
	step("start a replica without a certificate", 0, startWithoutCertificate)
	step("uninstall", any, how.uninstall)
}

// withoutKeeper makes of an installation what a version leaves whose webhooks kept their certificate themselves: the Secret and
// the caBundle are written, and nothing else is there to write them.
func withoutKeeper(t *testing.T) {
	t.Helper()
	run(t, filepath.Join(running.Bin, "kubectl"), "-n", system, "delete", "deployment,serviceaccount,role,rolebinding", keeperName, "--wait")
	run(t, filepath.Join(running.Bin, "kubectl"), "delete", "clusterrole,clusterrolebinding", keeperName)
}

// keeperReady waits until what keeps the certificate is.
func keeperReady(t *testing.T) {
	t.Helper()
	suite.Retry(t, "Deployment "+keeperName+" to be ready", func(ctx context.Context) (bool, error) {
		d, err := client.AppsV1().Deployments(system).Get(ctx, keeperName, metav1.GetOptions{})
		return err == nil && d.Status.ReadyReplicas == 1 && d.Status.UpdatedReplicas == 1 && d.Status.Replicas == 1, err
	})
}

// deleteReplica deletes one of two replicas and waits for another in its place.
func deleteReplica(t *testing.T, options metav1.DeleteOptions) {
	t.Helper()
	victim := suite.Settled(t, client, 2)[0]
	if err := client.CoreV1().Pods(system).Delete(t.Context(), victim.Name, options); err != nil {
		t.Fatal(err)
	}
	suite.Retry(t, "the replica to be gone", func(ctx context.Context) (bool, error) {
		pod, err := client.CoreV1().Pods(system).Get(ctx, victim.Name, metav1.GetOptions{})
		return err != nil && ctrlclient.IgnoreNotFound(err) == nil || err == nil && pod.UID != victim.UID, ctrlclient.IgnoreNotFound(err)
	})
	suite.Settled(t, client, 2)
}

// renew takes something out of the certificate's Secret, and waits until every replica serves another certificate.
func renew(t *testing.T, change string) {
	t.Helper()
	before := expiry(t)
	time.Sleep(time.Second) // certificates end at whole seconds
	if _, err := client.CoreV1().Secrets(system).Patch(t.Context(), secretName, types.MergePatchType, []byte(change), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	suite.Retry(t, "every replica to serve the certificate in the Secret", func(ctx context.Context) (bool, error) {
		now := expiry(t)
		pods, err := replicas(ctx)
		if err != nil || now == 0 || now == before {
			return false, err
		}
		for _, pod := range pods {
			if served, err := metric(ctx, &pod, "podinit_certificate_expiry_seconds"); err != nil || served != now {
				return false, err
			}
		}
		return true, nil
	})
}

// startWithoutCertificate starts a replica that finds no certificate and may make none. It is not ready, so the other one,
// which still has its own, gets all the pods. When it may, it is.
func startWithoutCertificate(t *testing.T) {
	pods := suite.Settled(t, client, 2)
	t.Run("not ready", func(t *testing.T) {
		for _, r := range rules(t) {
			for i, rule := range r.get(t) {
				if rule.Resources[0] == "secrets" && slices.Contains(rule.Verbs, "update") {
					r.without(t, i, "update")
				}
			}
		}
		if _, err := client.CoreV1().Secrets(system).Patch(t.Context(), secretName, types.MergePatchType, []byte(`{"data":null}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := client.CoreV1().Pods(system).Delete(t.Context(), pods[0].Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		var fresh *corev1.Pod
		suite.Retry(t, "a new replica to say that it has no certificate", func(ctx context.Context) (bool, error) {
			now, err := replicas(ctx)
			for _, pod := range now {
				if pod.Name == pods[0].Name || pod.Name == pods[1].Name || pod.Status.Phase != corev1.PodRunning {
					continue
				}
				fresh = &pod
				text, _ := client.CoreV1().Pods(system).ProxyGet("http", pod.Name, "8081", "readyz", nil).DoRaw(ctx)
				return strings.Contains(string(text), "[-]certificate failed"), nil
			}
			return false, err
		})
		for range 20 {
			pod, err := client.CoreV1().Pods(system).Get(t.Context(), fresh.Name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if podutils.IsPodReady(pod) {
				t.Fatal("it is ready nevertheless")
			}
			time.Sleep(200 * time.Millisecond)
		}
	})
	suite.Settled(t, client, 2)
}

// expiry is when the certificate in the Secret ends, in seconds since 1970; 0 if there is none.
func expiry(t *testing.T) float64 {
	t.Helper()
	secret, err := client.CoreV1().Secrets(system).Get(t.Context(), secretName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(secret.Data[corev1.TLSCertKey])
	if block == nil {
		return 0
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return float64(certificate.NotAfter.Unix())
}
