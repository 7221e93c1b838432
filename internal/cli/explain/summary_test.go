package explain

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/api/v1alpha1"
)

func TestVerdict(t *testing.T) {
	situation := func(reaches, reaped Answer) Situation {
		return Situation{PID1: "x, and more", SignalReachesProgram: reaches, OrphansReaped: reaped}
	}
	with := situation(Yes, Yes)
	killed := situation(No, Yes)
	runs := []string{"x"}
	alone := &LeftAlone{Reason: v1alpha1.ReasonSidecar}
	for _, test := range []struct {
		name      string
		container Container
		want      Verdict
		changes   string
		reapedBy  string
	}{
		{"never receives it", Container{Runs: runs, StopSignal: "SIGTERM", WithoutInit: situation(No, Yes), WithInit: &with}, GainsSignal, "SIGTERM reaches it", "x"},
		{"never receives it, left alone", Container{Runs: runs, WithoutInit: situation(No, No), LeftAlone: alone}, NotWrapped, "", "nobody"},
		{"may receive it", Container{Runs: runs, StopSignal: "SIGQUIT", WithoutInit: situation(Unknown, Unknown), WithInit: &with}, MayGain, "SIGQUIT reaches it, orphans are reaped", "unknown"},
		{"orphans", Container{Runs: runs, WithoutInit: situation(Yes, No), WithInit: &with}, GainsReaping, "orphans are reaped", "nobody"},
		{"is fine", Container{Runs: runs, WithoutInit: with, WithInit: &with}, NothingToGain, "", "x"},
		{"is fine, left alone", Container{Runs: runs, WithoutInit: with, LeftAlone: alone}, NothingToGain, "", "x"},
		{"SIGKILL", Container{Runs: runs, StopSignal: kill, WithoutInit: killed, WithInit: &killed}, NothingToGain, "", "x"},
		{"SIGKILL and orphans", Container{Runs: runs, StopSignal: kill, WithoutInit: situation(No, No), WithInit: &killed}, GainsReaping, "orphans are reaped", "nobody"},
		{"not known what it runs", Container{WithoutInit: situation(Unknown, Unknown), LeftAlone: alone}, UnknownVerdict, "", "unknown"},
		{"wrapped", Container{Runs: runs, HasInit: true, WithoutInit: situation(No, No), WithInit: &with}, HasPodinit, "", "x"},
		{"wrapped, and would be left alone now", Container{Runs: runs, HasInit: true, WithoutInit: situation(No, No), LeftAlone: alone}, HasPodinit, "", "podinit"},
	} {
		t.Run(test.name, func(t *testing.T) {
			rows, _ := rowsOf(Explanation{Containers: []Container{test.container}}, "deployment/x", 1)
			r := rows[0]
			if r.Verdict != test.want || r.ReapedBy != test.reapedBy {
				t.Errorf("verdict %s, reaped by %q, want %s and %q", r.Verdict, r.ReapedBy, test.want, test.reapedBy)
			}
			if (test.container.WithInit == nil) != (r.Action == v1alpha1.ActionSkipped) || (test.container.LeftAlone != nil) != (r.LeftAlone != nil) {
				t.Errorf("action %s, left alone %v", r.Action, r.LeftAlone)
			}
			if r.Verdict != NothingToGain && r.Changes != test.changes {
				t.Errorf("changes %q, want %q", r.Changes, test.changes)
			}
			if (r.Unknown != nil) != (test.want == UnknownVerdict) {
				t.Errorf("unknown because %v", r.Unknown)
			}
		})
	}
}

// A pod that is left alone as a whole has none of its containers wrapped.
func TestPodLeftAlone(t *testing.T) {
	with := Situation{SignalReachesProgram: Yes, OrphansReaped: Yes}
	c := Container{Runs: []string{"x"}, WithoutInit: Situation{SignalReachesProgram: No, OrphansReaped: Yes}, WithInit: &with}
	rows, _ := rowsOf(Explanation{LeftAlone: &LeftAlone{Reason: v1alpha1.ReasonOptedOut}, Containers: []Container{c}}, "pod/x", 1)
	if r := rows[0]; r.Action != v1alpha1.ActionSkipped || r.Verdict != NotWrapped || r.LeftAlone.Reason != v1alpha1.ReasonOptedOut || r.Changes != "" {
		t.Errorf("%+v", r)
	}
}

func TestInitContainersAreLeftOut(t *testing.T) {
	wrapped := Situation{SignalReachesProgram: Yes, OrphansReaped: Yes}
	x := Explanation{Containers: []Container{{Name: "a", Kind: "initContainer"}, {Name: "b", Kind: "initContainer", WithInit: &wrapped}, {Name: "c", Kind: "sidecar"}}}
	rows, leftOut := rowsOf(x, "deployment/x", 1)
	if len(rows) != 2 || leftOut != 1 || rows[0].Container != "b" {
		t.Errorf("%d left out of %+v", leftOut, rows)
	}
}

func TestReportOrder(t *testing.T) {
	row := func(name string, v Verdict, reaches Answer, pods int, grace int64) Row {
		return Row{Namespace: "n", Workload: "deployment/" + name, Container: "c", Verdict: v, Situation: Situation{SignalReachesProgram: reaches}, Pods: pods, GracePeriodSeconds: grace, StopSignal: "SIGTERM"}
	}
	r := newReport([]Row{
		row("fine", NothingToGain, Yes, 90, 30), row("wrapped", HasPodinit, Yes, 90, 30), row("orphans", GainsReaping, Yes, 90, 30),
		row("unknown", UnknownVerdict, Unknown, 90, 30), row("may", MayGain, Unknown, 90, 30), row("alone", NotWrapped, No, 90, 30),
		row("few", GainsSignal, No, 2, 30), row("slow", GainsSignal, No, 2, 300), row("many", GainsSignal, No, 10, 30),
		row("asleep", GainsSignal, No, 0, 30),
	}, 500, 0)
	var order []string
	for _, row := range r.Containers {
		order = append(order, strings.TrimPrefix(row.Workload, "deployment/"))
	}
	if diff := cmp.Diff([]string{"slow", "many", "few", "asleep", "alone", "may", "unknown", "orphans", "wrapped", "fine"}, order); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, want := r.sentences()[0], "5 of 10 containers never receive SIGTERM; podinit would deliver it to 4 of them."; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// What a merge joins says the same; what differs stays.
func TestMerge(t *testing.T) {
	a := Row{Namespace: "n", Workload: "deployment/a", Container: "c", Runs: []string{"x", "y"}, Pods: 2}
	b, c, d := a, a, a
	b.Pods = 3
	c.Runs = []string{"x y"}
	d.LeftAlone = &LeftAlone{Reason: v1alpha1.ReasonOptedOut}
	merged := merge([]Row{a, c, b, d})
	if len(merged) != 3 || merged[0].Pods != 5 || merged[1].Pods != 2 {
		t.Errorf("merged into %+v", merged)
	}
}

func owned(kind, name string) []metav1.OwnerReference {
	yes := true
	return []metav1.OwnerReference{{APIVersion: "x/v1", Kind: kind, Name: name, Controller: &yes}}
}

func TestWorkloadOf(t *testing.T) {
	for name, test := range map[string]struct {
		owners []metav1.OwnerReference
		labels map[string]string
		want   string
	}{
		"nothing":                   {want: "pod/p"},
		"a node":                    {owners: owned("Node", "n"), want: "pod/p"},
		"a Deployment":              {owners: owned("ReplicaSet", "web-7d4"), labels: map[string]string{"pod-template-hash": "7d4"}, want: "deployment/web"},
		"a Rollout":                 {owners: owned("ReplicaSet", "web-7d4"), labels: map[string]string{"rollouts-pod-template-hash": "7d4"}, want: "rollout/web"},
		"a ReplicaSet alone":        {owners: owned("ReplicaSet", "web-7d4"), want: "replicaset/web-7d4"},
		"a label of something else": {owners: owned("ReplicaSet", "web-7d4"), labels: map[string]string{"pod-template-hash": "999"}, want: "replicaset/web-7d4"},
		"a StatefulSet":             {owners: owned("StatefulSet", "db"), want: "statefulset/db"},
		"an operator":               {owners: owned("Database", "main"), want: "database/main"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", Labels: test.labels, OwnerReferences: test.owners}}
			if got := workloadOf(pod); got.String() != test.want || got.namespace != "ns" {
				t.Errorf("%s in %s, want %s", got, got.namespace, test.want)
			}
		})
	}
}

// Pods of one template count as one, whatever the cluster has written into each; a pod that admission may decide about otherwise
// does not.
func TestCollection(t *testing.T) {
	n := 0
	pod := func(change func(*corev1.Pod)) *corev1.Pod {
		n++
		name := fmt.Sprint("p-", n)
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "ns", Name: name, UID: "1", OwnerReferences: owned("StatefulSet", "db"), Annotations: map[string]string{"cni.example/address": name},
				Labels: map[string]string{"app": "db", "statefulset.kubernetes.io/pod-name": name},
			},
			Spec: corev1.PodSpec{
				NodeName: "node-" + name, Hostname: name,
				Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
					NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: "In", Values: []string{name}}}}},
				}}},
				Containers: []corev1.Container{{Name: "c", Image: "i", VolumeMounts: []corev1.VolumeMount{{Name: "kube-api-access-" + name}, {Name: "data"}}}},
				Volumes: []corev1.Volume{{Name: "kube-api-access-" + name}, {Name: "data", VolumeSource: corev1.VolumeSource{
					PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-" + name},
				}}},
			},
			Status: corev1.PodStatus{PodIP: name, Phase: corev1.PodRunning},
		}
		change(p)
		return p
	}
	same := func(*corev1.Pod) {}
	for name, test := range map[string]struct {
		change         func(*corev1.Pod)
		groups, counts int
	}{
		"alike":                         {same, 1, 3},
		"another command":               {func(p *corev1.Pod) { p.Spec.Containers[0].Command = []string{"x"} }, 2, 3},
		"opted out":                     {func(p *corev1.Pod) { p.Labels[v1alpha1.Inject] = "disabled" }, 2, 3},
		"another profile":               {func(p *corev1.Pod) { p.Annotations[v1alpha1.ProfileAnnotation] = "x" }, 2, 3},
		"another owner":                 {func(p *corev1.Pod) { p.OwnerReferences = owned("StatefulSet", "other") }, 2, 3},
		"another namespace":             {func(p *corev1.Pod) { p.Namespace = "other" }, 2, 3},
		"a node's mirror":               {func(p *corev1.Pod) { p.Annotations[corev1.MirrorPodAnnotationKey] = "x" }, 2, 3},
		"another node's":                {func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"kubernetes.io/arch": "arm64"} }, 2, 3},
		"ended":                         {func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, 1, 2},
		"being deleted":                 {func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }, 1, 2},
		"an ended Job's":                {func(p *corev1.Pod) { p.Status.Phase, p.OwnerReferences = corev1.PodSucceeded, owned("Job", "once") }, 1, 2},
		"an ended CronJob's":            {func(p *corev1.Pod) { p.Status.Phase, p.OwnerReferences = corev1.PodSucceeded, owned("Job", "backup-1") }, 2, 2},
		"a running Job's":               {func(p *corev1.Pod) { p.OwnerReferences = owned("Job", "once") }, 2, 3},
		"more than a service account's": {func(p *corev1.Pod) { p.Spec.Volumes[1].PersistentVolumeClaim = nil }, 2, 3},
	} {
		t.Run(name, func(t *testing.T) {
			c := &collection{}
			for _, p := range []*corev1.Pod{pod(same), pod(same), pod(test.change)} {
				before := p.DeepCopy()
				if err := c.add(p); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(before, p); diff != "" {
					t.Errorf("it has changed the pod:\n%s", diff)
				}
			}
			c.job(&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "backup-1", OwnerReferences: owned("CronJob", "backup")}})
			c.job(&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "once"}})
			groups := c.workloads()
			if len(groups) != test.groups || c.pods != test.counts {
				t.Errorf("%d groups of %d pods, want %d of %d", len(groups), c.pods, test.groups, test.counts)
			}
			if name == "an ended CronJob's" && groups[1].workload.String() != "cronjob/backup" {
				t.Errorf("it is of %s", groups[1].workload)
			}
			for _, group := range groups {
				var p corev1.Pod
				if err := json.Unmarshal(group.pod, &p); err != nil || p.Kind != "Pod" || p.Status.PodIP != "" {
					t.Errorf("%v: %s", err, group.pod)
				}
			}
		})
	}
}

// Whose very many Jobs are is found, too: a look at all pods for each took 100 s.
func TestManyJobs(t *testing.T) {
	const jobs = 40_000
	c := &collection{}
	owned := func(kind, name string) []metav1.OwnerReference {
		yes := true
		return []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: kind, Name: name, Controller: &yes}}
	}
	for i := range jobs {
		err := c.add(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: fmt.Sprint("p", i), OwnerReferences: owned("Job", fmt.Sprint("backup-", i))}})
		if err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	for i := range jobs {
		c.job(&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: fmt.Sprint("backup-", i), OwnerReferences: owned("CronJob", "backup")}})
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	for _, group := range c.workloads() {
		if group.workload.String() != "cronjob/backup" {
			t.Fatalf("a pod is of %s", group.workload)
		}
	}
}

func TestSentences(t *testing.T) {
	row := func(v Verdict, reaches Answer, signal string) Row {
		return Row{Verdict: v, Situation: Situation{SignalReachesProgram: reaches}, StopSignal: signal}
	}
	unknown := row(UnknownVerdict, Unknown, "SIGTERM")
	unknown.Unknown = &LeftAlone{Reason: v1alpha1.ReasonLookupTimeout}
	for name, test := range map[string]struct {
		rows []Row
		want []string
	}{
		"nothing": {nil, []string{"0 of 0 containers never receive SIGTERM."}},
		"all gain": {[]Row{row(GainsSignal, No, "SIGTERM"), row(NothingToGain, Yes, "SIGQUIT")},
			[]string{"1 of 2 containers never receives SIGTERM; podinit would deliver it.", "1 has nothing to gain."}},
		"another signal": {[]Row{row(GainsSignal, No, "SIGQUIT"), row(NotWrapped, No, "SIGTERM"), row(HasPodinit, Yes, "SIGTERM")},
			[]string{"2 of 3 containers never receive their stop signal; podinit would deliver it to 1 of them.", "1 could gain, but podinit would leave it alone; -o wide has the reason.", "1 has podinit already."}},
		"unknown": {[]Row{unknown, unknown, row(MayGain, Unknown, "SIGTERM")},
			[]string{"0 of 3 containers never receive SIGTERM.", "1 may or may not receive it, depending on its program or script; with podinit it does.", "2 unknown: what runs in the image is not known (lookup-timeout: 2)."}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, newReport(slices.Clone(test.rows), 0, 0).sentences()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestProgress(t *testing.T) {
	var b strings.Builder
	p := &progress{w: &b}
	p.show("%d of %d", 1, 2)
	p.show("%d of %d", 2, 2) // too soon
	p.shown = p.shown.Add(-time.Second)
	p.show("again")
	p.clear()
	p.clear()
	if want := "\r\x1b[K1 of 2\r\x1b[Kagain\r\x1b[K"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
	silent := newProgress(&b)
	silent.show("x")
	silent.clear()
	if strings.Contains(b.String(), "x") {
		t.Error("it wrote to something that is not a terminal")
	}
}
