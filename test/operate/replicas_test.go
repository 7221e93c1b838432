package operate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/test/suite"
)

// replicas lists the webhook's pods, those that are ending too.
func replicas(ctx context.Context) ([]corev1.Pod, error) {
	list, err := client.CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: webhookSelector})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// settled waits until there are so many replicas, all ready and none about to end, and all of them endpoints.
func settled(t *testing.T, want int) []corev1.Pod {
	t.Helper()
	var pods []corev1.Pod
	suite.Retry(t, fmt.Sprintf("%d ready replicas and no other", want), func(ctx context.Context) (bool, error) {
		var err error
		if pods, err = replicas(ctx); err != nil || len(pods) != want {
			return false, err
		}
		for _, pod := range pods {
			if pod.DeletionTimestamp != nil || !ready(&pod) {
				return false, nil
			}
		}
		slices, err := client.DiscoveryV1().EndpointSlices(system).List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=podinit-webhook"})
		if err != nil {
			return false, err
		}
		endpoints := 0
		for _, slice := range slices.Items {
			for _, endpoint := range slice.Endpoints {
				if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready {
					endpoints++
				}
			}
		}
		return endpoints == want, nil
	})
	return pods
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// evict evicts a pod through the API as kubectl drain does: while the PodDisruptionBudget forbids it, it tries again.
func evict(ctx context.Context, pod *corev1.Pod) error {
	for {
		err := client.PolicyV1().Evictions(pod.Namespace).Evict(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}})
		if !apierrors.IsTooManyRequests(err) {
			return ignoreNotFound(err)
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

// metric reads one of a replica's metrics, without labels.
func metric(ctx context.Context, pod *corev1.Pod, name string) (float64, error) {
	text, err := client.CoreV1().Pods(pod.Namespace).ProxyGet("http", pod.Name, "8080", "metrics", nil).DoRaw(ctx)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("pod %s has no metric %s", pod.Name, name)
}
