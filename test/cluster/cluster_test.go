package cluster

import (
	"context"
	"errors"
	"flag"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

var bin = flag.String("bin", "", "directory of the cluster's programs, as 'make cluster-programs' builds them")

// TestLifecycle walks one cluster through up, crashes of its nodes, up again and down. It stops a cluster that
// runs on the machine, since there is room for one.
func TestLifecycle(t *testing.T) {
	if *bin == "" {
		t.Fatal("no -bin given: run 'make test-cluster'")
	}
	bystander := exec.Command("sleep", "600")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := bystander.Process.Kill(); err != nil {
			t.Errorf("a process that is not the cluster's was ended: %v", err)
		}
		bystander.Wait()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := Down(t.Output()); err != nil {
		t.Fatal(err)
	}
	up := func(nodes int) *Cluster {
		t.Helper()
		c, err := Up(ctx, *bin, filepath.Join(*bin, "podinit-cluster"), nodes, t.Output())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}

	c := up(1)
	defer Down(t.Output())
	runPod(ctx, t, c)
	if diff := cmp.Diff(c, up(1)); diff != "" {
		t.Errorf("a second Up gave another cluster than the running one (-running +second):\n%s", diff)
	}

	t.Log("containerd crashes")
	if err := c.Restart(ctx, "containerd"); err != nil {
		t.Fatal(err)
	}
	runPod(ctx, t, c)

	t.Log("the control plane is restarted")
	if err := c.Restart(ctx, "kube-apiserver", "kube-controller-manager", "kube-scheduler"); err != nil {
		t.Fatal(err)
	}
	runPod(ctx, t, c)

	t.Log("two nodes more")
	c = up(3)
	if open, err := Open(); err != nil || len(open.Nodes) != 3 || !cmp.Equal(open, c) {
		t.Errorf("with three nodes Open gives %v and error %v, want %v", open, err, c)
	}
	askOthers(ctx, t, c, "three", c.Nodes...)
	t.Log("a further node crashes, and the other is replaced")
	if err := c.Crash("podinit-node-2"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(c.Nodes[1].PID, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the process of a node that crashed: %v, want %v", err, unix.ESRCH)
	}
	if err := c.Crash("podinit-node-2"); err == nil {
		t.Error("a node that does not run crashes again")
	}
	if err := c.Remove(ctx, "podinit-node-3"); err != nil {
		t.Fatal(err)
	}
	awaitNodes(ctx, t, c, corev1.ConditionTrue, corev1.ConditionTrue) // the crash is not noticed yet
	if err := c.Start(ctx, "podinit-node-3"); err != nil {
		t.Fatal(err)
	}
	askOthers(ctx, t, c, "replaced", c.Nodes[0], c.Nodes[2])
	awaitNodes(ctx, t, c, corev1.ConditionTrue, corev1.ConditionUnknown, corev1.ConditionTrue)
	c = up(3)
	awaitNodes(ctx, t, c, corev1.ConditionTrue, corev1.ConditionTrue, corev1.ConditionTrue)
	askOthers(ctx, t, c, "back", c.Nodes...)

	t.Log("the first node crashes")
	if err := unix.Kill(c.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for unix.Kill(c.PID, 0) == nil {
		time.Sleep(10 * time.Millisecond)
	}
	if _, err := Open(); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after a crash Open says %v, want %v", err, ErrNotRunning)
	}
	before := c.Nodes
	runPod(ctx, t, up(1))
	for _, node := range before {
		if err := unix.Kill(node.PID, 0); !errors.Is(err, unix.ESRCH) {
			t.Errorf("after the next Up the process of %s: %v, want %v", node.Name, err, unix.ESRCH)
		}
	}
	up(2)

	if err := Down(t.Output()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after Down, Open says %v, want %v", err, ErrNotRunning)
	}
	if _, err := net.InterfaceByName(hostVeth); err == nil {
		t.Errorf("after Down the network interface %s is still there", hostVeth)
	}
	dirs, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		for i := first; i <= maxNodes; i++ {
			if _, err := os.Stat(filepath.Join(dir, i.cgroup())); err == nil {
				t.Errorf("after Down the cgroup %s is still there", filepath.Join(dir, i.cgroup()))
			}
		}
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), Dir) {
		t.Errorf("after Down something is mounted below %s (%v)", Dir, err)
	}
}

// runPod runs one plain pod, which needs every part of the cluster, until it has been ready and is gone.
func runPod(ctx context.Context, t *testing.T, c *Cluster) {
	t.Helper()
	config, err := c.RESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	pods := client.CoreV1().Pods("default")
	grace := int64(2)
	pod, err := pods.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "plain"},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name:            "pause",
				Image:           PauseImage,
				SecurityContext: &corev1.SecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	err = wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		pod, err = pods.Get(ctx, pod.Name, metav1.GetOptions{})
		return err == nil && len(pod.Status.ContainerStatuses) == 1 && pod.Status.ContainerStatuses[0].Ready, err
	})
	if err != nil {
		t.Fatalf("the pod is not ready: %v\nstatus: %+v", err, pod.Status)
	}
	if err := pods.Delete(ctx, pod.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	err = wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		list, err := pods.List(ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == 0, err
	})
	if err != nil {
		t.Fatalf("the pod does not go: %v", err)
	}
}

// awaitNodes waits until the nodes' conditions Ready are these, in the order of their names.
func awaitNodes(ctx context.Context, t *testing.T, c *Cluster, want ...corev1.ConditionStatus) {
	t.Helper()
	client, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	var got []corev1.ConditionStatus
	err = wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		got = nil
		for _, node := range list.Items { // sorted by name
			for _, condition := range node.Status.Conditions {
				if condition.Type == corev1.NodeReady {
					got = append(got, condition.Status)
				}
			}
		}
		return slices.Equal(got, want), nil
	})
	if err != nil {
		t.Fatalf("the nodes are ready: %v, want %v (%v)", got, want, err)
	}
}

// askOthers runs a pod on each of some nodes, and another on each that asks all of those by their Services.
func askOthers(ctx context.Context, t *testing.T, c *Cluster, namespace string, nodes ...Node) {
	t.Helper()
	client, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	until := func(what string, done func(context.Context) (bool, error)) {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, done); err != nil {
			t.Fatalf("namespace %s: waiting for %s: %v", namespace, what, err)
		}
	}
	until("its service account", func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, nil
	})
	pods := client.CoreV1().Pods(namespace)
	run := func(name, node string, args ...string) {
		t.Helper()
		grace := int64(0)
		_, err := pods.Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"name": name}},
			Spec: corev1.PodSpec{
				NodeSelector:                  map[string]string{corev1.LabelHostname: node},
				RestartPolicy:                 corev1.RestartPolicyOnFailure,
				TerminationGracePeriodSeconds: &grace,
				Containers:                    []corev1.Container{{Name: "pause", Image: PauseImage, Args: args}},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	var services []string
	want := ""
	for _, node := range nodes {
		name := "answers-on-" + node.Name
		run(name, node.Name, "answer", ":8080")
		service, err := client.CoreV1().Services(namespace).Create(ctx, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.ServiceSpec{Selector: map[string]string{"name": name}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		services = append(services, net.JoinHostPort(service.Spec.ClusterIP, "80"))
		want += name + "\n"
	}
	for _, node := range nodes {
		run("asks-on-"+node.Name, node.Name, append([]string{"ask"}, services...)...)
	}
	for _, node := range nodes {
		name := "asks-on-" + node.Name
		until("pod "+name+" to have its answers", func(ctx context.Context) (bool, error) {
			pod, err := pods.Get(ctx, name, metav1.GetOptions{})
			return err == nil && pod.Status.Phase == corev1.PodSucceeded && pod.Spec.NodeName == node.Name, err
		})
		got, err := pods.GetLogs(name, &corev1.PodLogOptions{}).DoRaw(ctx)
		if err != nil || string(got) != want {
			t.Errorf("pod %s has the answers %q, want %q (%v)", name, got, want, err)
		}
	}
	if err := client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// runPod counts pods, and Remove would leave those of a node behind.
	until("its pods to go", func(ctx context.Context) (bool, error) {
		list, err := pods.List(ctx, metav1.ListOptions{})
		return err == nil && len(list.Items) == 0, err
	})
}
