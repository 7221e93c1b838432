package operate

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/kubectl/pkg/util/podutils"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/debianimage"
	"github.com/podinit/podinit/test/load"
	"github.com/podinit/podinit/test/suite"
)

var nextKubernetes = flag.String("next", "", "`directory` of the next Kubernetes' programs; without it those that run are restarted")

// profileOfUpgrade has delivery Auto.
const profileOfUpgrade = `
apiVersion: podinit.dev/v1alpha1
kind: InitProfile
metadata: {name: default}
spec: {delivery: Auto}
`

// TestKubernetesUpgrade replaces the control plane, and then the node's kubelet and kube-proxy, as an upgrade of the cluster does.
// Podinit and a wrapped pod keep running, whatever is created is wrapped, the InitProfile holds, and its delivery Auto follows
// the versions.
func TestKubernetesUpgrade(t *testing.T) {
	how := fromConfig{}
	how.uninstall(t)
	how.install(t, current(t))
	defer how.uninstall(t)
	load.MakeNamespaces(t, client)
	apply(t, profileOfUpgrade)
	before := awaitDelivery(t)
	running := runShell(t, "before")
	webhooks := suite.Settled(t, client, 2)

	for _, part := range []struct {
		name     string
		programs []string
	}{
		{"control plane", []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"}},
		{"node", []string{"kube-proxy", "kubelet"}},
	} {
		pods := load.Start(t, client, *rate/5)
		replace(t, part.programs)
		after := awaitDelivery(t)
		time.Sleep(tail)
		c := pods.Stop()
		t.Logf("%s: delivery %s, before %s; of %d pods %d could not be created meanwhile, %d are unwrapped",
			part.name, after, before, c.Created, c.Failed, c.Unwrapped)
		if c.Wrapped == 0 || c.Unwrapped > 0 {
			t.Errorf("%s: of %d pods %d are wrapped and %d unwrapped:\n%q", part.name, c.Created, c.Wrapped, c.Unwrapped, c.Problems)
		}
		before = after
		runShell(t, "after-"+part.programs[0])
		now, err := client.CoreV1().Pods(load.OptedInNamespace).Get(t.Context(), running.Name, metav1.GetOptions{})
		if err != nil || now.Status.ContainerStatuses[0].ContainerID != running.Status.ContainerStatuses[0].ContainerID {
			t.Errorf("%s: the pod that was wrapped first does not run as it did: error %v, %+v", part.name, err, now.Status.ContainerStatuses)
		}
		for i, webhook := range suite.Settled(t, client, 2) {
			status, was := webhook.Status.ContainerStatuses[0], webhooks[i].Status.ContainerStatuses[0]
			if webhook.UID != webhooks[i].UID || status.RestartCount != was.RestartCount {
				t.Errorf("%s: webhook %s was started again: %+v", part.name, webhook.Name, status)
			}
		}
		if out, errOut, code := suite.Podinit("check", "-n", load.OptedInNamespace); code != 0 {
			t.Errorf("%s: podinit check: exit code %d\n%s%s", part.name, code, out, errOut)
		}
	}

	// A shell that waits for a program passes no signal on. The init ends both at once.
	began := time.Now()
	if err := client.CoreV1().Pods(load.OptedInNamespace).Delete(t.Context(), running.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	suite.Retry(t, "the pod that was wrapped first to end", func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().Pods(load.OptedInNamespace).Get(ctx, running.Name, metav1.GetOptions{})
		return err != nil && ctrlclient.IgnoreNotFound(err) == nil, ctrlclient.IgnoreNotFound(err)
	})
	if took := time.Since(began); took > time.Duration(shellGrace)*time.Second/2 {
		t.Errorf("the pod that was wrapped first took %s to end, of a grace period of %d s", took, shellGrace)
	}
}

// replace takes programs of -next, which the cluster has by links, and restarts those that run.
func replace(t *testing.T, programs []string) {
	t.Helper()
	if *nextKubernetes != "" {
		for _, name := range programs {
			link := filepath.Join(running.Bin, name)
			if _, err := os.Readlink(link); err != nil {
				t.Fatalf("%v; with -next the cluster's directory of programs has links", err)
			}
			if err := os.Remove(link); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(filepath.Join(*nextKubernetes, name), link); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), suite.Patience)
	defer cancel()
	if err := running.Restart(ctx, slices.DeleteFunc(programs, func(name string) bool { return name == "kubectl" })...); err != nil {
		t.Fatal(err)
	}
}

func apply(t *testing.T, object string) {
	t.Helper()
	if _, err := running.RunKubectl(t.Context(), object, "apply", "--server-side", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

// versionPatience is longer than the webhook's interval of asking for the apiserver's version, which is five minutes.
const versionPatience = 6 * time.Minute

// awaitDelivery waits until pods are delivered to as the versions of the apiserver and the kubelet have it, and returns how.
func awaitDelivery(t *testing.T) v1alpha1.Delivery {
	t.Helper()
	var last, want v1alpha1.Delivery
	ctx, cancel := context.WithTimeout(t.Context(), versionPatience)
	defer cancel()
	for inARow := 0; inARow < 8; time.Sleep(100 * time.Millisecond) {
		pod, err := client.CoreV1().Pods(load.OptedInNamespace).Create(ctx, load.NewPod(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if ctx.Err() != nil {
			t.Fatalf("pods are delivered to by %q, want %q; last error: %v", last, want, err)
		}
		if err != nil {
			inARow = 0
			continue
		}
		status := suite.Status(t, pod)
		last, want = status.Delivery, wantDelivery(ctx, t)
		if inARow++; last != want || status.Profile != "default" {
			inARow = 0
		}
	}
	return last
}

// wantDelivery is ImageVolume if both the apiserver and the kubelet are sure to have it.
func wantDelivery(ctx context.Context, t *testing.T) v1alpha1.Delivery {
	t.Helper()
	info, err := client.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	node, err := client.CoreV1().Nodes().Get(ctx, cluster.NodeName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, said := range []string{info.GitVersion, node.Status.NodeInfo.KubeletVersion} {
		if version.MustParseGeneric(said).LessThan(version.MustParseGeneric("1.36")) {
			return v1alpha1.DeliveryInitContainer
		}
	}
	return v1alpha1.DeliveryImageVolume
}

const shellGrace = 60

// runShell runs a pod whose shell waits for a program, and returns it when it is ready.
func runShell(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	cache, err := debianimage.UserCache(t.Output())
	if err != nil {
		t.Fatal(err)
	}
	shell, err := cache.Build(t.Context(), debianimage.Spec{Packages: []string{"coreutils"}, Config: v1.Config{User: "65532:65532"}})
	if err != nil {
		t.Fatal(err)
	}
	image, err := cluster.Push(t.Context(), "operate/shell", shell)
	if err != nil {
		t.Fatal(err)
	}
	pod := load.NewPod()
	pod.Name, pod.Spec.TerminationGracePeriodSeconds = name, new(int64(shellGrace))
	pod.Spec.Containers[0].Image, pod.Spec.Containers[0].Command = image, []string{"sh", "-c", "sleep infinity; true"}
	if pod, err = client.CoreV1().Pods(load.OptedInNamespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if !load.Wrapped(pod) {
		t.Fatalf("pod %s is not wrapped: %s", name, pod.Annotations[v1alpha1.StatusAnnotation])
	}
	suite.Retry(t, "pod "+name+" to be ready", func(ctx context.Context) (bool, error) {
		pod, err = client.CoreV1().Pods(load.OptedInNamespace).Get(ctx, name, metav1.GetOptions{})
		return err == nil && podutils.IsPodReady(pod), err
	})
	return pod
}
