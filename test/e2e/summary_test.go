package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/explain"
	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/suite"
)

// TestSummaryAgrees summarizes a namespace that has not opted in. Then it does, and admission does to every container what the
// summary says.
func TestSummaryAgrees(t *testing.T) {
	lookups(t)
	ns := namespace(t, nil)
	image := push(t, cluster.Registry+"/e2e/summary:1", shell(t, v1.Config{Entrypoint: []string{"sleep", "60"}}, ""))
	yes, always := true, corev1.ContainerRestartPolicyAlways

	// pod is one that no node takes: nothing of it has to run.
	pod := func(name string, change func(*corev1.Pod)) *corev1.Pod {
		p := shellPod(name, "sleep", "60")
		p.Labels, p.Spec.NodeSelector = map[string]string{"summary": ns}, map[string]string{"e2e/none": "none"}
		if change != nil {
			change(p)
		}
		return p
	}
	second := func(p *corev1.Pod, name string, command ...string) {
		c := *p.Spec.Containers[0].DeepCopy()
		c.Name, c.Command = name, command
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
	template := func(app string, change func(*corev1.Pod)) corev1.PodTemplateSpec {
		p := pod("", change)
		p.Labels["app"] = app
		p.Spec.RestartPolicy = corev1.RestartPolicyAlways
		return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: p.Labels}, Spec: p.Spec}
	}
	two := int32(2)
	selector := func(app string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
	}
	if _, err := client.AppsV1().Deployments(ns).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{Replicas: &two, Selector: selector("web"), Template: template("web", func(p *corev1.Pod) {
			second(p, "shell", "sh", "-c", "while :; do sleep 1; done")
			second(p, "istio-proxy", "sleep", "60")
		})},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.AppsV1().StatefulSets(ns).Create(t.Context(), &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: appsv1.StatefulSetSpec{
			Replicas: &two, Selector: selector("db"), PodManagementPolicy: appsv1.ParallelPodManagement, Template: template("db", func(p *corev1.Pod) {
				p.Spec.Containers[0].Image, p.Spec.Containers[0].Command = image, nil
			}),
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	jobTemplate := template("backup", nil)
	jobTemplate.Spec.RestartPolicy = corev1.RestartPolicyNever
	jobs := batchv1.JobSpec{Template: jobTemplate}
	cron, err := client.BatchV1().CronJobs(ns).Create(t.Context(), &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Name: "backup"},
		Spec:       batchv1.CronJobSpec{Schedule: "0 0 1 1 *", Suspend: &yes, JobTemplate: batchv1.JobTemplateSpec{Spec: jobs}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.BatchV1().Jobs(ns).Create(t.Context(), &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "backup-now", OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(cron, batchv1.SchemeGroupVersion.WithKind("CronJob"))}},
		Spec:       jobs,
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*corev1.Pod){
		"plain":     nil,
		"opted-out": func(p *corev1.Pod) { p.Labels[v1alpha1.Inject] = v1alpha1.InjectDisabled },
		"tini":      func(p *corev1.Pod) { p.Spec.Containers[0].Command = []string{"tini", "--", "sleep", "60"} },
		"chosen": func(p *corev1.Pod) {
			second(p, "other", "sleep", "60")
			p.Annotations = map[string]string{v1alpha1.SkipContainersAnnotation: "other"}
		},
		"shared":  func(p *corev1.Pod) { p.Spec.ShareProcessNamespace = &yes },
		"hostpid": func(p *corev1.Pod) { p.Spec.HostPID = true },
		"small": func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("8Mi")}
		},
		"sidecar": func(p *corev1.Pod) {
			c := *p.Spec.Containers[0].DeepCopy()
			c.Name, c.RestartPolicy = "log", &always
			before := *p.Spec.Containers[0].DeepCopy()
			before.Name = "prepare"
			p.Spec.InitContainers = []corev1.Container{before, c}
		},
		"missing": func(p *corev1.Pod) {
			p.Spec.Containers[0].Image, p.Spec.Containers[0].Command = cluster.Registry+"/e2e/summary-missing:1", nil
		},
	} {
		create(t, ns, pod(name, change))
	}
	var pods []corev1.Pod
	suite.Eventually(t, "the controllers' pods", func(ctx context.Context) (bool, error) {
		list, err := client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
		if err == nil {
			pods = list.Items
		}
		return len(pods) == 9+2+2+1, err
	})

	rows := summary(t, ns, "-A", "-l", "summary="+ns)
	if web, ok := rows["deployment/web shell"]; !ok || web.Pods != 2 || web.Verdict != explain.GainsSignal {
		t.Errorf("the Deployment's shell: %+v", web)
	}
	if db := rows["statefulset/db app"]; db.Pods != 2 || db.PID1 != "sleep" || db.Action != v1alpha1.ActionWrapped {
		t.Errorf("the StatefulSet's image: %+v", db)
	}
	if _, ok := rows["cronjob/backup app"]; !ok {
		t.Errorf("the CronJob is missing in %v", rows)
	}
	if missing := rows["pod/missing app"]; missing.Verdict != explain.UnknownVerdict || missing.Unknown == nil {
		t.Errorf("an image that is not there: %+v", missing)
	}

	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q}}}`, v1alpha1.Inject, v1alpha1.InjectEnabled)
	if _, err := client.CoreV1().Namespaces().Patch(t.Context(), ns, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	admitted(t, ns, pod("probe", nil), "the namespace has opted in", isWrapped)
	compared := 0
	for i := range pods {
		before := &pods[i]
		again := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: before.Name + "-again", Labels: before.Labels, Annotations: before.Annotations, OwnerReferences: before.OwnerReferences},
			Spec:       *before.Spec.DeepCopy(),
		}
		for j := range again.OwnerReferences { // who may set it depends on the cluster
			again.OwnerReferences[j].BlockOwnerDeletion = nil
		}
		created := admit(t, ns, again)
		var s v1alpha1.Status // none for a pod that the apiserver does not send to the webhook
		if text := created.Annotations[v1alpha1.StatusAnnotation]; text != "" {
			s = suite.Status(t, created)
		}
		workload := "pod/" + before.Name
		for _, made := range before.OwnerReferences {
			workload = map[string]string{"ReplicaSet": "deployment/web", "StatefulSet": "statefulset/db", "Job": "cronjob/backup"}[made.Kind]
		}
		containers := slices.Clone(before.Spec.Containers)
		for _, c := range before.Spec.InitContainers {
			if c.RestartPolicy != nil {
				containers = append(containers, c)
			}
		}
		for _, c := range containers {
			row, ok := rows[workload+" "+c.Name]
			if !ok {
				t.Errorf("%s, container %s is not in the summary", workload, c.Name)
				continue
			}
			compared++
			want := s.Containers[c.Name]
			if want.Action == "" {
				want = v1alpha1.ContainerStatus{Action: v1alpha1.ActionSkipped, Reason: s.Reason}
			}
			if got := row.Action; got != want.Action {
				t.Errorf("%s, container %s: the summary says %s (%+v), admission %+v", workload, c.Name, got, row.LeftAlone, want)
			}
			if want.Reason != "" && (row.LeftAlone == nil || row.LeftAlone.Reason != want.Reason) {
				t.Errorf("%s, container %s: the summary says %+v, admission %s", workload, c.Name, row.LeftAlone, want.Reason)
			}
		}
	}
	if compared < 20 {
		t.Errorf("%d containers were compared", compared)
	}

	create(t, ns, pod("wrapped", nil))
	if row := summary(t, ns, "-n", ns)["pod/wrapped app"]; row.Verdict != explain.HasPodinit || row.PID1 != "podinit" || row.SignalReachesProgram != explain.Yes {
		t.Errorf("a wrapped pod: %+v", row)
	}
}

// summary are the lines of the summary, by workload and container.
func summary(t *testing.T, ns string, args ...string) map[string]explain.Row {
	t.Helper()
	out, told, code := podinit(t, "", append([]string{"explain", "--summary", "-o", "json"}, args...)...)
	var r explain.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v: %s", code, err, told)
	}
	rows := map[string]explain.Row{}
	for _, row := range r.Containers {
		key := row.Workload + " " + row.Container
		if _, twice := rows[key]; twice || row.Namespace != ns || strings.Contains(row.Kind, "initContainer") {
			t.Errorf("%s is one too many: %+v", key, row)
		}
		rows[key] = row
	}
	return rows
}
