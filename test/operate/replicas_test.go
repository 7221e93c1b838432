package operate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/suite"
)

// replicas lists the webhook's pods, those that are ending too.
func replicas(ctx context.Context) ([]corev1.Pod, error) {
	list, err := client.CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: suite.WebhookSelector})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// evict evicts a pod through the API as kubectl drain does: while the PodDisruptionBudget forbids it, it tries again.
func evict(ctx context.Context, pod *corev1.Pod) error {
	for {
		err := client.PolicyV1().Evictions(pod.Namespace).Evict(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}})
		if !apierrors.IsTooManyRequests(err) {
			return ctrlclient.IgnoreNotFound(err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("evicting %s: %w", pod.Name, err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// kill ends the webhook in a pod by SIGKILL, as the kernel does when memory runs out.
func kill(pod *corev1.Pod) error {
	processes, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return err
	}
	for _, name := range processes {
		cgroup, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(cgroup, []byte(pod.UID)) {
			continue // it may have ended
		}
		directory := filepath.Dir(name)
		command, err := os.ReadFile(filepath.Join(directory, "cmdline"))
		if err != nil || !bytes.HasPrefix(command, []byte("/podinit-webhook\x00")) {
			continue // the sandbox's
		}
		pid, err := strconv.Atoi(filepath.Base(directory))
		if err != nil {
			return err
		}
		return unix.Kill(pid, unix.SIGKILL)
	}
	return errors.New("no process of pod " + pod.Name + " is seen on this machine")
}

// scale sets how many replicas there shall be.
func scale(t *testing.T, count int32) {
	t.Helper()
	_, err := client.AppsV1().Deployments(system).UpdateScale(t.Context(), deploymentName, &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: deploymentName}, Spec: autoscalingv1.ScaleSpec{Replicas: count},
	}, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// metric reads one of a replica's metrics.
func metric(ctx context.Context, pod *corev1.Pod, name string) (float64, error) {
	families, err := cluster.Metrics(ctx, client, pod.Namespace, pod.Name)
	return cluster.Sum(families[name]), err
}
