package cluster

import (
	"context"
	"errors"
	"flag"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

var bin = flag.String("bin", "", "directory of the cluster's programs, as 'make cluster-programs' builds them")

// TestLifecycle walks one cluster through up, a crash, up again and down. It stops a cluster that
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
	up := func() *Cluster {
		t.Helper()
		c, err := Up(ctx, *bin, filepath.Join(*bin, "podinit-cluster"), t.Output())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}

	c := up()
	defer Down(t.Output())
	runPod(ctx, t, c)
	if again := up(); *again != *c {
		t.Errorf("a second Up gave %v, want the running %v", again, c)
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

	t.Log("the node crashes")
	if err := unix.Kill(c.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for unix.Kill(c.PID, 0) == nil {
		time.Sleep(10 * time.Millisecond)
	}
	if _, err := Open(); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after a crash Open says %v, want %v", err, ErrNotRunning)
	}
	runPod(ctx, t, up())

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
		if _, err := os.Stat(filepath.Join(dir, cgroupRoot)); err == nil {
			t.Errorf("after Down the cgroup %s is still there", filepath.Join(dir, cgroupRoot))
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
				Image:           sandboxImage,
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
