package e2e

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	componentresource "k8s.io/component-helpers/resource"

	"github.com/podinit/podinit/test/suite"
)

func amounts(cpu, memory, storage string) corev1.ResourceList {
	return corev1.ResourceList{
		"cpu": resource.MustParse(cpu), "memory": resource.MustParse(memory), "ephemeral-storage": resource.MustParse(storage),
	}
}

// classes are pods of each QoS class.
var classes = []struct {
	name      string
	resources corev1.ResourceRequirements
}{
	{"guaranteed", corev1.ResourceRequirements{Requests: amounts("20m", "32Mi", "64Mi"), Limits: amounts("20m", "32Mi", "64Mi")}},
	{"burstable", corev1.ResourceRequirements{Requests: amounts("20m", "32Mi", "64Mi"), Limits: amounts("40m", "64Mi", "128Mi")}},
	{"best-effort", corev1.ResourceRequirements{}},
}

// strictness is what a platform team puts into a namespace.
var strictness = []struct {
	name    string
	labels  map[string]string
	objects func(t *testing.T, namespace string)
}{
	{name: "nothing", objects: func(*testing.T, string) {}},
	{name: "restricted-pod-security", labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}, objects: func(*testing.T, string) {}},
	{name: "quota-on-everything", objects: quota},
	{name: "limit-range", objects: limitRange},
	{name: "all-of-them", labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}, objects: func(t *testing.T, namespace string) {
		quota(t, namespace)
		limitRange(t, namespace)
	}},
}

const quotaName = "everything"

func quota(t *testing.T, namespace string) {
	t.Helper()
	hard := corev1.ResourceList{"pods": resource.MustParse("10")}
	for name, amount := range amounts("1", "1Gi", "1Gi") {
		hard["requests."+name], hard["limits."+name] = amount, amount
	}
	_, err := client.CoreV1().ResourceQuotas(namespace).Create(t.Context(), &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: quotaName},
		Spec:       corev1.ResourceQuotaSpec{Hard: hard},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	suite.Eventually(t, "the quota to count", func(ctx context.Context) (bool, error) {
		return len(quotaUsed(t, namespace)) > 0, nil
	})
}

// quotaUsed is what the namespace's pods are charged, as text.
func quotaUsed(t *testing.T, namespace string) map[string]string {
	t.Helper()
	list, err := client.CoreV1().ResourceQuotas(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]string{}
	for _, q := range list.Items {
		for name, amount := range q.Status.Used {
			used[string(name)] = amount.String()
		}
	}
	return used
}

func limitRange(t *testing.T, namespace string) {
	t.Helper()
	_, err := client.CoreV1().LimitRanges(namespace).Create(t.Context(), &corev1.LimitRange{
		ObjectMeta: metav1.ObjectMeta{Name: "bounds"},
		Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{
			{
				Type: corev1.LimitTypeContainer,
				Min:  amounts("10m", "24Mi", "32Mi"), Max: amounts("50m", "96Mi", "256Mi"),
				DefaultRequest: amounts("15m", "28Mi", "48Mi"), Default: amounts("30m", "56Mi", "96Mi"),
				MaxLimitRequestRatio: amounts("2", "2", "2"),
			},
			{Type: corev1.LimitTypePod, Max: amounts("60m", "128Mi", "256Mi")},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSameAsWithout runs pods of every QoS class in namespaces of every strictness, each once without
// and once with podinit: what the scheduler, the quota and the kubelet see is the same.
func TestSameAsWithout(t *testing.T) {
	for _, s := range strictness {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			labels := optedIn()
			for key, value := range s.labels {
				labels[key] = value
			}
			plain, opted := namespace(t, s.labels), namespace(t, labels)
			s.objects(t, plain)
			s.objects(t, opted)
			for _, class := range classes {
				pod := shellPod(class.name, "sleep", "600")
				pod.Spec.Containers[0].Resources = class.resources
				without, err := client.CoreV1().Pods(plain).Create(t.Context(), pod, metav1.CreateOptions{})
				if err != nil {
					// Such a pod has no place in such a namespace, so podinit must not make one for it either.
					if _, err := client.CoreV1().Pods(opted).Create(t.Context(), pod, metav1.CreateOptions{}); err == nil {
						t.Errorf("%s: refused without podinit, accepted with it", class.name)
					}
					continue
				}
				with := create(t, opted, pod)
				if diff := cmp.Diff(footprint(without), footprint(with)); diff != "" {
					t.Errorf("%s (-without +with):\n%s", class.name, diff)
				}
				without, with = started(t, without), started(t, with)
				if diff := cmp.Diff(footprint(without), footprint(with)); diff != "" {
					t.Errorf("%s, running (-without +with):\n%s", class.name, diff)
				}
				if command := with.Spec.Containers[0].Command[0]; command != "/podinit/init" {
					t.Errorf("%s: runs %s, so nothing was compared", class.name, command)
				}
			}
			if diff := cmp.Diff(quotaUsed(t, plain), quotaUsed(t, opted)); diff != "" {
				t.Errorf("charged to the quota (-without +with):\n%s", diff)
			}
		})
	}
}

// footprint is what a pod costs, as the scheduler and the quota reckon it.
func footprint(pod *corev1.Pod) map[string]string {
	seen := map[string]string{"class": string(pod.Status.QOSClass)}
	for name, amount := range componentresource.PodRequests(pod, componentresource.PodResourcesOptions{}) {
		seen["request "+string(name)] = amount.String()
	}
	for name, amount := range componentresource.PodLimits(pod, componentresource.PodResourcesOptions{}) {
		seen["limit "+string(name)] = amount.String()
	}
	return seen
}

// TestJobWithSidecar runs a Job whose pod has a native sidecar that never ends by itself. The Job
// completes, without podinit and with it.
func TestJobWithSidecar(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	template := shellPod("", "bash", "-c", "sleep 1; echo done").Spec
	sidecar := *template.Containers[0].DeepCopy()
	sidecar.Name, sidecar.Command, sidecar.RestartPolicy = "sidecar", []string{"sleep", "infinity"}, &always
	template.InitContainers = []corev1.Container{sidecar}
	for _, labels := range []map[string]string{nil, optedIn()} {
		ns := namespace(t, labels)
		_, err := client.BatchV1().Jobs(ns).Create(t.Context(), &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Name: "job"},
			Spec:       batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: template}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		suite.Eventually(t, "the Job to complete", func(ctx context.Context) (bool, error) {
			job, err := client.BatchV1().Jobs(ns).Get(ctx, "job", metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			if job.Status.Failed > 0 {
				t.Fatalf("a pod of the Job failed: %+v", job.Status)
			}
			return job.Status.Succeeded == 1, nil
		})
		pods, err := client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(pods.Items) != 1 {
			t.Fatalf("%d pods, want 1", len(pods.Items))
		}
		pod := pods.Items[0]
		if log := logs(t, &pod); log != "done\n" {
			t.Errorf("the job's log is %q", log)
		}
		wantInits, wantFirst := 1, "sidecar"
		if labels != nil {
			wantInits, wantFirst = 2, "podinit-copy"
		}
		if inits := pod.Spec.InitContainers; len(inits) != wantInits || inits[0].Name != wantFirst {
			t.Errorf("init containers: %d, the first %q; want %d, %q", len(inits), inits[0].Name, wantInits, wantFirst)
		}
	}
}

// TestStatefulSetRolled rolls a StatefulSet from one revision to the next. Every pod of both is wrapped
// and the rollout ends as it does without podinit.
func TestStatefulSetRolled(t *testing.T) {
	for _, labels := range []map[string]string{nil, optedIn()} {
		ns := namespace(t, labels)
		replicas := int32(2)
		pod := shellPod("", "bash", "-c", "while :; do sleep 0.2; done")
		pod.Labels = map[string]string{"app": "db"}
		pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
		set, err := client.AppsV1().StatefulSets(ns).Create(t.Context(), &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Name: "db"},
			Spec: appsv1.StatefulSetSpec{
				Replicas: &replicas, ServiceName: "db",
				Selector: &metav1.LabelSelector{MatchLabels: pod.Labels},
				Template: corev1.PodTemplateSpec{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		rolledOut := func() {
			t.Helper()
			suite.Eventually(t, "the StatefulSet to be rolled out", func(ctx context.Context) (bool, error) {
				set, err = client.AppsV1().StatefulSets(ns).Get(ctx, "db", metav1.GetOptions{})
				return err == nil && set.Status.ObservedGeneration == set.Generation &&
					set.Status.UpdatedReplicas == replicas && set.Status.ReadyReplicas == replicas &&
					set.Status.CurrentRevision == set.Status.UpdateRevision, err
			})
		}
		rolledOut()
		first := set.Status.CurrentRevision
		revise := []byte(`[{"op": "add", "path": "/spec/template/spec/containers/0/env", "value": [{"name": "REVISION", "value": "2"}]}]`)
		if set, err = client.AppsV1().StatefulSets(ns).Patch(t.Context(), "db", types.JSONPatchType, revise, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		rolledOut()
		if set.Status.CurrentRevision == first {
			t.Error("the revision is still the first")
		}
		pods, err := client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "app=db"})
		if err != nil {
			t.Fatal(err)
		}
		for _, pod := range pods.Items {
			if wrapped := pod.Spec.Containers[0].Command[0] == "/podinit/init"; wrapped != (labels != nil) {
				t.Errorf("pod %s: wrapped %v with labels %v", pod.Name, wrapped, labels)
			}
		}
		if got := set.Spec.Template.Spec.Containers[0].Command[0]; strings.HasPrefix(got, "/podinit") {
			t.Error("the StatefulSet's template was changed")
		}
	}
}
