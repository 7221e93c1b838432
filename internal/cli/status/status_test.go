package status

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/reason"
)

// pod has a container for each name, wrapped or not, and a status unless that is empty.
func pod(name, status string, containers ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	for _, c := range containers {
		name, init, _ := strings.Cut(c, "=")
		container := corev1.Container{Name: name, Image: "r.example:5000/team/app:1", Command: []string{"app"}}
		if init != "" {
			container.Command = []string{init, "--", "app"}
			container.VolumeMounts = []corev1.VolumeMount{{Name: "podinit", MountPath: "/podinit", ReadOnly: true}}
		}
		p.Spec.Containers = append(p.Spec.Containers, container)
	}
	if status != "" {
		p.Annotations = map[string]string{v1alpha1.StatusAnnotation: status}
	}
	if strings.Contains(status, "wrapped") {
		p.Labels = map[string]string{v1alpha1.VersionLabel: "v1"}
	}
	return p
}

const wrappedStatus = `{"v":1,"version":"v1","containers":{"app":{"action":"wrapped","source":"command"}}}`

func TestLook(t *testing.T) {
	labelled := func(p *corev1.Pod, value string) *corev1.Pod {
		p.Labels = map[string]string{v1alpha1.Inject: value}
		return p
	}
	annotated := func(p *corev1.Pod, key, value string) *corev1.Pod {
		p.Annotations = map[string]string{key: value}
		return p
	}
	ended := pod("p", wrappedStatus, "app=/podinit/init")
	ended.Status.Phase = corev1.PodFailed
	anotherVersion := pod("p", wrappedStatus, "app=/podinit/init")
	anotherVersion.Labels[v1alpha1.VersionLabel] = "v2"
	noLabel := pod("p", wrappedStatus, "app=/podinit/init")
	noLabel.Labels = nil
	noStatus := pod("p", wrappedStatus, "app=/podinit/init")
	noStatus.Annotations = nil
	own := pod("p", "", "app=/podinit/init")
	own.Spec.Containers[0].VolumeMounts = nil
	windows := pod("p", "", "app")
	windows.Spec.OS = &corev1.PodOS{Name: corev1.Windows}
	for name, test := range map[string]struct {
		pod       *corev1.Pod
		namespace optIn
		want      string
	}{
		"wrapped":                    {pod("p", wrappedStatus, "app=/podinit/init"), yes, "wrapped v1"},
		"wrapped, not opted in":      {pod("p", wrappedStatus, "app=/podinit/init"), no, "wrapped v1"},
		"ended":                      {ended, yes, "none"},
		"partly":                     {pod("p", `{"containers":{"app":{"action":"wrapped"},"b":{"action":"skipped","reason":"no-command"}}}`, "app=/podinit/init", "b"), yes, "partly v1 no-command:b"},
		"routinely not all":          {pod("p", `{"containers":{"app":{"action":"wrapped"},"b":{"action":"skipped","reason":"sidecar"}}}`, "app=/podinit/init", "b"), yes, "wrapped v1 sidecar:b"},
		"no container":               {pod("p", `{"containers":{"app":{"action":"skipped","reason":"no-command"}}}`, "app"), yes, "left alone no-command:app"},
		"as a whole":                 {pod("p", `{"reason":"host-pid"}`, "app"), yes, "left alone host-pid:"},
		"an annotation ignored":      {pod("p", `{"ignored":["profile-missing"],"containers":{"app":{"action":"wrapped"}}}`, "app=/podinit/init"), yes, "wrapped v1 profile-missing:"},
		"forged":                     {pod("p", wrappedStatus, "app"), yes, "left alone not-as-the-status-says:app"},
		"the label changed":          {anotherVersion, yes, "wrapped v1 label-changed:"},
		"the label removed":          {noLabel, no, "wrapped v1 label-changed:"},
		"the status removed":         {noStatus, no, "wrapped v1 status-missing:"},
		"label and status removed":   {pod("p", "", "app=/podinit/init"), no, "wrapped unknown status-missing:"},
		"opted out afterwards":       {labelled(pod("p", "", "app=/podinit/init"), "disabled"), yes, "wrapped unknown status-missing:"},
		"not all in the status":      {pod("p", wrappedStatus, "app=/podinit/init", "b=/podinit/init"), yes, "wrapped v1 not-in-the-status:b"},
		"a reason in the status":     {pod("p", `{"reason":"host-pid"}`, "app=/podinit/init"), no, "wrapped not-in-the-status:app"},
		"an init of its own":         {own, no, "none"},
		"a container less":           {pod("p", `{"containers":{"app":{"action":"wrapped"},"gone":{"action":"wrapped"}}}`, "app=/podinit/init"), yes, "wrapped v1"},
		"made before":                {pod("p", "", "app"), yes, "without"},
		"garbage for a status":       {pod("p", "{", "app"), yes, "without"},
		"elsewhere":                  {pod("p", "", "app"), no, "none"},
		"who knows":                  {pod("p", "", "app"), unknown, "none"},
		"opts in, but nothing is":    {labelled(pod("p", "", "app"), "enabled"), no, "without"},
		"opts out":                   {labelled(pod("p", "", "app"), "disabled"), yes, "left alone opted-out:"},
		"opts out by annotation":     {annotated(pod("p", "", "app"), v1alpha1.Inject, "disabled"), yes, "left alone opted-out:"},
		"opts in where it is closed": {labelled(pod("p", "", "app"), "enabled"), closed, "left alone namespace-disabled:"},
		"in a closed namespace":      {pod("p", "", "app"), closed, "none"},
		"in kube-system":             {labelled(pod("p", "", "app"), "enabled"), never, "none"},
		"mirror":                     {annotated(pod("p", "", "app"), corev1.MirrorPodAnnotationKey, "x"), yes, "left alone mirror-pod:"},
		"windows":                    {windows, yes, "left alone windows:"},
	} {
		s := look(test.pod, test.namespace, nil)
		got := []string{map[state]string{none: "none", wrapped: "wrapped", partly: "partly", leftAlone: "left alone", without: "without"}[s.state]}
		if s.version != "" {
			got = append(got, s.version)
		}
		for _, w := range s.reasons {
			got = append(got, string(w.reason)+":"+w.container)
		}
		if got := strings.Join(got, " "); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestDigestIn(t *testing.T) {
	for imageID, want := range map[string]string{
		"docker.io/library/nginx@sha256:abc":    "sha256:abc",
		"docker-pullable://r:5000/a@sha256:abc": "sha256:abc",
		"docker://sha256:abc":                   "sha256:abc",
		"sha256:abc":                            "sha256:abc",
		"":                                      "",
		"r.example:5000/a":                      "",
		"nginx":                                 "",
	} {
		if got := digestIn(imageID); got != want {
			t.Errorf("digestIn(%q) = %q, want %q", imageID, got, want)
		}
	}
}

// running is a pod whose command was looked up from one digest, and that runs another.
func running(name, was, runs string) *corev1.Pod {
	p := pod(name, fmt.Sprintf(`{"containers":{"app":{"action":"wrapped","source":"registry","digest":%q}}}`, was), "app=/podinit/init")
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", ImageID: "r.example:5000/team/app@" + runs}}
	return p
}

// An index's digest and that of one of its platforms are one image; what cannot be asked is not claimed to differ.
func TestDrift(t *testing.T) {
	asked := 0
	digests := func(_ context.Context, reference string) ([]string, error) {
		asked++
		switch reference {
		case "r.example:5000/team/app@sha256:index":
			return []string{"sha256:index", "sha256:amd64", "sha256:config"}, nil
		}
		return nil, errors.New("it is not there any more")
	}
	b := NewBuilder("v1")
	for i, p := range []*corev1.Pod{
		running("same", "sha256:index", "sha256:index"),
		running("platform", "sha256:index", "sha256:amd64"),
		running("config", "sha256:index", "sha256:config"),
		running("other", "sha256:index", "sha256:other"),
		running("unknown", "sha256:gone", "sha256:other"),
		running("waiting", "sha256:gone", ""),
	} {
		if i == 5 {
			p.Status.ContainerStatuses[0].ImageID = ""
		}
		b.Pod(p, yes)
	}
	r := b.Report(t.Context(), digests)
	want := []Drift{{Pod: "shop/other", Container: "app", Image: "r.example:5000/team/app", LookedUp: "sha256:index", Running: "sha256:other"}}
	if diff := cmp.Diff(want, r.Drifted); diff != "" || r.Unsure != 1 || r.Totals.Drifted != 1 || asked != 2 {
		t.Errorf("%d not known, %d drifted, %d questions; (-want +got):\n%s", r.Unsure, r.Totals.Drifted, asked, diff)
	}
}

// What was seen at admission is shown as long as nothing shows that the right image runs.
func TestMayDrift(t *testing.T) {
	of := func(name, runs, drift string) *corev1.Pod {
		p := running(name, "sha256:index", runs)
		p.Annotations[v1alpha1.StatusAnnotation] = `{"containers":{"app":{"action":"wrapped","source":"registry","digest":"sha256:index","drift":` + drift + `}}}`
		return p
	}
	b := NewBuilder("v1")
	for _, p := range []*corev1.Pod{
		of("right", "sha256:index", `["node-image-differs","stale-lookup"]`),
		of("another", "sha256:other", `["node-image-differs"]`),
		of("both", "sha256:other", `["stale-lookup","node-image-differs"]`),
		of("forged", "sha256:other", `["nonsense","host-pid"]`),
	} {
		b.Pod(p, yes)
	}
	r := b.Report(t.Context(), func(context.Context, string) ([]string, error) { return nil, errors.New("not asked") })
	var got []string
	for _, reason := range r.MayDrift {
		got = append(got, fmt.Sprint(reason.Reason, " ", reason.Containers, " ", reason.Names))
	}
	if diff := cmp.Diff([]string{"node-image-differs 2 [shop/another shop/both]", "stale-lookup 1 [shop/both]"}, got); diff != "" || r.Totals.Wrapped != 4 || len(r.Reasons) > 0 {
		t.Errorf("%d wrapped, reasons %v; (-want +got):\n%s", r.Totals.Wrapped, r.Reasons, diff)
	}
	var out strings.Builder
	if err := r.print(&out, false, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"May run another image, as found at admission", "node-image-differs (2 containers in 2 pods): a node has", "pinDigest: OnLookup", "shop/another, shop/both"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// A registry that does not answer costs its time once, another one is asked nevertheless.
func TestDriftOfSilentRegistry(t *testing.T) {
	b := NewBuilder("v1")
	for i := range 3 {
		b.Pod(running(fmt.Sprint("dead-", i), fmt.Sprint("sha256:", i), "sha256:other"), yes)
	}
	elsewhere := running("elsewhere", "sha256:1", "sha256:other")
	elsewhere.Spec.Containers[0].Image = "alive.example/app"
	b.Pod(elsewhere, yes)
	var asked []string
	r := b.Report(t.Context(), func(_ context.Context, reference string) ([]string, error) {
		asked = append(asked, reference)
		if strings.HasPrefix(reference, "alive.example/") {
			return nil, nil
		}
		return nil, context.DeadlineExceeded
	})
	if len(asked) != 2 || r.Unsure != 3 || len(r.Drifted) != 1 {
		t.Errorf("asked %q; %d not known, %d drifted", asked, r.Unsure, len(r.Drifted))
	}
}

func TestReport(t *testing.T) {
	b := NewBuilder("v2+x")
	for i := range 12 {
		b.Pod(pod(fmt.Sprintf("old-%d", i), wrappedStatus, "app=/podinit/init"), yes)
	}
	current := pod("current", strings.Replace(wrappedStatus, `"v1","containers"`, `"v2+x","containers"`, 1), "app=/podinit/init")
	current.Labels[v1alpha1.VersionLabel] = "v2_x"
	b.Pod(current, yes)
	b.Pod(pod("two", `{"containers":{"a":{"action":"skipped","reason":"no-command"},"b":{"action":"skipped","reason":"no-command"}}}`, "a", "b"), yes)
	b.Pod(pod("before", "", "app"), yes)
	elsewhere := pod("other", "", "app")
	elsewhere.Namespace, elsewhere.Labels = "team", map[string]string{v1alpha1.Inject: "enabled"}
	b.Pod(elsewhere, no)
	b.Namespace("shop", "enabled")
	b.Namespace("empty", "enabled")
	b.Namespace("team", "")
	b.Namespace("not-shown", "")
	r := b.Report(t.Context(), func(context.Context, string) ([]string, error) { return nil, errors.New("no registry is asked") })
	r.NotRead = []string{"Something."}
	noCommand := reason.Of(v1alpha1.ReasonNoCommand)
	want := `NAMESPACE   INJECT    PODS   WRAPPED   PARTLY   LEFT ALONE   NO STATUS   WAITING   OUTDATED   DRIFTED
empty       enabled   0      0         0        0            0           0         0          0
shop        enabled   15     13        0        1            1           0         12         0
team        -         1      0         0        0            1           0         0          0
TOTAL       -         16     13        0        1            2           0         12         0

Stop signals of 17 containers: 13 delivered by podinit, 0 never received, 4 unknown.
    → Which, and why: podinit explain --summary, with the same -n or -A.

Left alone or ignored, and why
  no-command (2 containers in 1 pod): ` + noCommand.Because + `
    → ` + noCommand.Remedy + `
    shop/two

Without a status
  2 pods: created before they opted in, or while podinit was not available
    → Create them again, for example with kubectl rollout restart; if the new pods have no status either: podinit check.
    shop/before, team/other

Versions of the init
  v1: 12 pods, outdated: the webhook has v2_x
    shop/old-0, shop/old-1, shop/old-2, shop/old-3, shop/old-4, shop/old-5, shop/old-6, shop/old-7, shop/old-8, shop/old-9 and 2 more
  v2_x: 1 pod
    shop/current
    → They get the new version when they are created again, for example with kubectl rollout restart.

Not read
  Something.
`
	var out bytes.Buffer
	if err := r.print(&out, false, true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	out.Reset()
	if err := (Report{}).print(&out, false, false); err != nil || !strings.HasPrefix(out.String(), "No namespace or pod here has opted in.") {
		t.Errorf("of nothing: %q, %v", out.String(), err)
	}
}

// Containers are counted by whether their stop signal arrives as they are now; pods that have nothing to do with podinit are not.
func TestSignals(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	p := pod("p", "", "app")
	p.Spec.Containers = []corev1.Container{
		{Name: "wrapped", Command: []string{"/podinit/init", "--", "sleep", "60"}}, {Name: "never", Command: []string{"sleep", "60"}},
		{Name: "arrives", Command: []string{"tini", "--", "sleep", "60"}}, {Name: "image"}, {Name: "run", Command: []string{"/app"}},
	}
	p.Spec.InitContainers = []corev1.Container{{Name: "prepare", Command: []string{"sleep", "1"}}, {Name: "log", Command: []string{"sleep", "60"}, RestartPolicy: &always}}
	b := NewBuilder("v1")
	b.Pod(p, yes)
	b.Pod(pod("other", "", "app"), no)
	want := Signals{Containers: 6, WithPodinit: 1, NeverReceive: 2, Unknown: 2}
	if diff := cmp.Diff(want, b.Report(t.Context(), nil).Signals); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestSuspended: a report says first that podinit is suspended, and by what.
func TestSuspended(t *testing.T) {
	webhook := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "here", Name: "podinit-webhook", Labels: map[string]string{
			"app.kubernetes.io/name": "podinit", "app.kubernetes.io/component": "webhook", "app.kubernetes.io/version": "v1",
		}},
		Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "webhook", Args: []string{"-suspend=false"}}}}}},
	}
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "here", Name: "podinit-suspend", CreationTimestamp: metav1.Unix(0, 0)}}
	left := pod("a", `{"v":1,"version":"v1","reason":"suspended"}`, "app")
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{v1alpha1.Inject: "enabled"}}}
	for _, tt := range []struct {
		arg     string
		objects []runtime.Object
		want    []string
	}{
		{"-suspend=false", nil, nil},
		{"-suspend=false", []runtime.Object{configMap}, []string{"ConfigMap podinit-suspend in namespace here, since 1970-01-01T00:00:00Z"}},
		{"-suspend", nil, []string{"flag -suspend of Deployment podinit-webhook in namespace here"}},
		{"--suspend=true", nil, []string{"flag -suspend of Deployment podinit-webhook in namespace here"}},
	} {
		webhook.Spec.Template.Spec.Containers[0].Args[0] = tt.arg
		r, err := collect(t.Context(), fake.NewClientset(append(tt.objects, webhook.DeepCopy(), namespace, left)...), "", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, r.Suspended); diff != "" || r.Totals.LeftAlone != 1 {
			t.Errorf("%s: %d left alone; suspended by (-want +got):\n%s", tt.arg, r.Totals.LeftAlone, diff)
		}
		var out bytes.Buffer
		if err := r.print(&out, false, false); err != nil {
			t.Fatal(err)
		}
		if first := strings.HasPrefix(out.String(), "podinit is suspended by "); first != (tt.want != nil) {
			t.Errorf("%s: it prints\n%s", tt.arg, out.String())
		}
		if !strings.Contains(out.String(), "suspended (1 pod): an administrator had suspended podinit when the pod was created") {
			t.Errorf("the reason is not named:\n%s", out.String())
		}
	}
}

// Pods that wait for the init image are counted, and named in a command that deletes them.
func TestWaiting(t *testing.T) {
	waits := func(namespace, name, reason string) *corev1.Pod {
		p := pod(name, wrappedStatus, "app=/podinit/init")
		p.Namespace = namespace
		p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "podinit-copy", Image: "r.example/init:1", State: corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "not\nfound"},
		}}}
		return p
	}
	b := NewBuilder("v1")
	for i := range 12 {
		b.Pod(waits("shop", fmt.Sprint("w", i), "ImagePullBackOff"), yes)
	}
	b.Pod(waits("shop", "starting", "PodInitializing"), yes)
	b.Pod(waits("team", "w", "ErrImagePull"), yes)
	own := pod("own-image", wrappedStatus, "app=/podinit/init") // it waits for an image of its own
	own.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}}}}
	b.Pod(own, yes)
	r := b.Report(t.Context(), nil)
	if r.Totals.Waiting != 13 || r.Totals.Wrapped != 15 || r.Namespaces[0].Waiting != 12 || r.Namespaces[1].Waiting != 1 {
		t.Errorf("counted %+v in %+v", r.Totals, r.Namespaces)
	}
	var out bytes.Buffer
	if err := r.print(&out, false, false); err != nil {
		t.Fatal(err)
	}
	want := `
Waiting for the init image
  12 pods in namespace shop, for r.example/init:1: ImagePullBackOff: not found
    → kubectl -n shop delete pod w0 w1 w2 w3 w4 w5 w6 w7 w8 w9 (and 2 more, then)
  1 pod in namespace team, for r.example/init:1: ErrImagePull: not found
    → kubectl -n team delete pod w
    → Or wait, if the image becomes available again. podinit check shows why nodes cannot pull it.
`
	if !strings.Contains(out.String(), want) {
		t.Errorf("printed:\n%s\nwant in it:\n%s", out.String(), want)
	}
}

// It says so while new pods are left alone for want of the init image.
func TestInitImage(t *testing.T) {
	yes := true
	own := func(name, kind, owner string, state corev1.ContainerState, conditions ...corev1.PodCondition) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "podinit-system", Name: name, UID: types.UID(name)}}
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: owner, Controller: &yes}}
		p.Spec.NodeName, p.Status.Conditions = "n", conditions
		containers, statuses := []corev1.Container{{Name: "init", Image: "r/init:1"}}, []corev1.ContainerStatus{{Name: "init", State: state}}
		if kind == "DaemonSet" {
			p.Spec.Containers, p.Status.ContainerStatuses = containers, statuses
		} else {
			p.Spec.InitContainers, p.Status.InitContainerStatuses = containers, statuses
		}
		return p
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{Architecture: "arm64"}}}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
	waits := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "not found"}}
	runs := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	isReady := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue}
	replica := own("w", "ReplicaSet", "podinit-webhook-1", ended, isReady)

	got := initImage(t.Context(), fake.NewClientset(node, replica, own("p", "DaemonSet", "podinit-prepull", waits)), "podinit-system")
	if diff := cmp.Diff([]InitImage{{"arm64", "podinit-system/p", "ErrImagePull: not found"}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var out bytes.Buffer
	if err := (Report{InitImage: got}).print(&out, false, false); err != nil || !strings.Contains(out.String(), "linux/arm64: nodes cannot pull the init image, as pod podinit-system/p shows: ErrImagePull: not found") {
		t.Errorf("printed %q, %v", out.String(), err)
	}
	for name, objects := range map[string][]runtime.Object{
		"it runs":                         {node, replica, own("p", "DaemonSet", "podinit-prepull", runs)},
		"a rollout that has not come far": {node, own("w", "ReplicaSet", "podinit-webhook-1", waits)},
	} {
		client := fake.NewClientset(objects...)
		if got := initImage(t.Context(), client, "podinit-system"); len(got) > 0 {
			t.Errorf("%s: %+v", name, got)
		}
		// Of thousands of nodes none is read for that.
		for _, action := range client.Actions() {
			if action.GetResource().Resource == "nodes" {
				t.Errorf("%s: nodes are read", name)
			}
		}
	}
}

// TestCollect: namespaces of podinit and of the cluster itself do not count, whatever their labels say.
func TestCollect(t *testing.T) {
	namespace := func(name, label string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{v1alpha1.Inject: label}}}
	}
	system := pod("system", "", "app")
	system.Namespace = "kube-system"
	client := fake.NewClientset(namespace("shop", "enabled"), namespace("kube-system", "enabled"), pod("a", "", "app"), pod("b", wrappedStatus, "app=/podinit/init"), system)
	r, err := collect(t.Context(), client, "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []Namespace{{Name: "shop", OptedIn: "enabled", Counts: Counts{Pods: 2, Wrapped: 1, WithoutStatus: 1}}}
	if diff := cmp.Diff(want, r.Namespaces); diff != "" || len(r.NotRead) != 1 {
		t.Errorf("not read: %v; (-want +got):\n%s", r.NotRead, diff)
	}
	r, err = collect(t.Context(), client, "shop", "v2", nil)
	if diff := cmp.Diff(1, r.Totals.Outdated); err != nil || diff != "" || len(r.NotRead) != 0 {
		t.Errorf("error %v, not read: %v; outdated (-want +got):\n%s", err, r.NotRead, diff)
	}
}

// A node that has no pod of podinit-node is named, as far as nodes may be read.
func TestNodesWithoutPlugin(t *testing.T) {
	labels := map[string]string{"app.kubernetes.io/name": "podinit", "app.kubernetes.io/component": "node"}
	plugin := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "podinit-node", Name: "podinit-node", Labels: labels}}
	plugin.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	plugin.Spec.Template.Spec.NodeSelector = map[string]string{"kubernetes.io/os": "linux"}
	node := func(name, os string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/os": os}}}
	}
	client := fake.NewClientset(plugin, node("a", "linux"), node("b", "windows"))
	r, err := collect(t.Context(), client, "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &Nodes{Nodes: 1, NotRegistered: []NodeProblem{{Node: "a", Problem: "no pod of podinit-node"}}}
	if diff := cmp.Diff(want, r.Nodes); diff != "" || len(r.NotRead) != 0 {
		t.Errorf("not read: %v; nodes (-want +got):\n%s", r.NotRead, diff)
	}
	client.PrependReactor("list", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "", nil)
	})
	r, err = collect(t.Context(), client, "", "", nil)
	if err != nil || r.Nodes.Nodes != 0 || len(r.NotRead) != 1 || !strings.Contains(r.NotRead[0], "which have no pod of podinit-node") {
		t.Errorf("where nodes may not be read: error %v, nodes %+v, not read: %q", err, r.Nodes, r.NotRead)
	}
}
