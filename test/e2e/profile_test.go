package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/version"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/test/suite"
)

// profiles returns a client that knows InitProfiles.
func profiles(t *testing.T) ctrlclient.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := ctrlclient.New(config, ctrlclient.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// profile creates an InitProfile for one test and returns its name.
func profile(t *testing.T, spec v1alpha1.InitProfileSpec) string {
	t.Helper()
	c := profiles(t)
	p := &v1alpha1.InitProfile{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}, Spec: spec}
	if err := c.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if err := c.Delete(ctx, p); ctrlclient.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	})
	return p.Name
}

// withProfile makes a labelled namespace whose annotation names a profile of that spec.
func withProfile(t *testing.T, spec v1alpha1.InitProfileSpec) string {
	t.Helper()
	ns := namespace(t, optedIn())
	annotate(t, ns, v1alpha1.ProfileAnnotation, profile(t, spec))
	return ns
}

func annotate(t *testing.T, ns, key, value string) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, key, value)
	if _, err := client.CoreV1().Namespaces().Patch(t.Context(), ns, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

var dryRun = metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}

// admitted asks the apiserver, without creating anything, for the pod as it would be stored, until
// done says that it is as it should be: the webhook's replicas hear of a new profile each in its own time.
func admitted(t *testing.T, ns string, pod *corev1.Pod, what string, done func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var last *corev1.Pod
	var err error
	inARow := 0
	for began := time.Now(); inARow < 8; time.Sleep(20 * time.Millisecond) {
		if last, err = client.CoreV1().Pods(ns).Create(t.Context(), pod, dryRun); err == nil && done(last) {
			inARow++
			continue
		}
		inARow = 0
		if time.Since(began) > suite.Patience {
			t.Fatalf("%s: %v\ncommand %q, status %s", what, err, last.Spec.Containers[0].Command, last.Annotations[v1alpha1.StatusAnnotation])
		}
	}
	return last
}

func isWrapped(pod *corev1.Pod) bool {
	command := pod.Spec.Containers[0].Command
	return len(command) > 0 && command[0] == "/podinit/init"
}

// TestLeftToNode: the webhook changes nothing of a pod whose profile leaves it to its node, also where it would have to look
// something up.
func TestLeftToNode(t *testing.T) {
	ns := withProfile(t, v1alpha1.InitProfileSpec{Delivery: v1alpha1.DeliverByNode})
	pod := shellPod("app", "sleep", "1")
	pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "other", Image: "registry.example/other:1"})
	got := admitted(t, ns, pod, "a pod that is left to its node", func(p *corev1.Pod) bool {
		_, status := p.Annotations[v1alpha1.StatusAnnotation]
		return !isWrapped(p) && !status
	})
	if len(got.Annotations) > 0 || len(got.Spec.InitContainers) > 0 {
		t.Errorf("annotations %v, init containers %v", got.Annotations, got.Spec.InitContainers)
	}
}

// kubernetesVersion is the oldest version that the cluster's apiserver and kubelets say they have.
func kubernetesVersion(t *testing.T) *version.Version {
	t.Helper()
	info, err := client.Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	oldest := version.MustParseGeneric(info.GitVersion)
	nodes, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes.Items {
		if v := version.MustParseGeneric(node.Status.NodeInfo.KubeletVersion); v.LessThan(oldest) {
			oldest = v
		}
	}
	return oldest
}

// mountsImages tells whether the cluster mounts images as volumes, which Kubernetes does by default since 1.35.
func mountsImages(t *testing.T) bool {
	t.Helper()
	return kubernetesVersion(t).AtLeast(version.MustParseGeneric("1.35"))
}

// TestImageVolume has the init mounted straight from its image: the pod has no init container, and behaves as with one. On a
// cluster without image volumes it is refused or does not start, as docs/profiles.md says.
func TestImageVolume(t *testing.T) {
	ns := withProfile(t, v1alpha1.InitProfileSpec{Delivery: v1alpha1.DeliverByImageVolume})
	if mountsImages(t) {
		byImageVolume(t, ns)
		return
	}
	suite.Eventually(t, "a pod by the profile", func(ctx context.Context) (bool, error) {
		pod, err := client.CoreV1().Pods(ns).Create(ctx, shellPod("app", "sleep", "60"), metav1.CreateOptions{})
		if err != nil {
			return apierrors.IsInvalid(err) && strings.Contains(err.Error(), "spec.volumes"), nil
		}
		if len(pod.Spec.InitContainers) > 0 { // by a replica that does not know the profile yet
			return false, client.CoreV1().Pods(ns).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
		}
		suite.Eventually(t, "a warning that it cannot be started", func(ctx context.Context) (bool, error) {
			ofPod := metav1.ListOptions{FieldSelector: "type=Warning,involvedObject.uid=" + string(pod.UID)}
			warnings, err := client.CoreV1().Events(ns).List(ctx, ofPod)
			if err != nil || len(warnings.Items) == 0 {
				return false, err
			}
			t.Logf("%s: %s", warnings.Items[0].Reason, warnings.Items[0].Message)
			return true, nil
		})
		pod, err = client.CoreV1().Pods(ns).Get(ctx, pod.Name, metav1.GetOptions{})
		if err == nil && pod.Status.Phase == corev1.PodRunning {
			t.Errorf("it runs: %+v", pod.Status)
		}
		return true, err
	})
}

// TestAuto takes image volumes where every part of the cluster is sure to mount them, and the copier elsewhere, and says why.
func TestAuto(t *testing.T) {
	ns := withProfile(t, v1alpha1.InitProfileSpec{Delivery: v1alpha1.DeliverAuto})
	if kubernetesVersion(t).AtLeast(version.MustParseGeneric("1.36")) {
		byImageVolume(t, ns)
		return
	}
	pod := shellPod("app", "sleep", "60")
	admitted(t, ns, pod, "a pod with the copier", func(p *corev1.Pod) bool {
		return len(p.Spec.InitContainers) == 1 && strings.Contains(p.Annotations[v1alpha1.StatusAnnotation], `"deliveryReason"`)
	})
	running := started(t, create(t, ns, pod))
	s := suite.Status(t, running)
	if why := s.DeliveryReason; s.Delivery != v1alpha1.DeliveryInitContainer || why != v1alpha1.ReasonAPIServerTooOld && why != v1alpha1.ReasonKubeletTooOld {
		t.Errorf("status says %+v", s)
	}
}

// byImageVolume runs a pod, which must have no copier, until it has ended.
func byImageVolume(t *testing.T, ns string) {
	t.Helper()
	pod := shellPod("app", "bash", "-c", "trap 'echo told; exit 7' TERM; echo ready; while :; do sleep 0.1; done")
	admitted(t, ns, pod, "a pod without the copier", func(p *corev1.Pod) bool {
		return isWrapped(p) && len(p.Spec.InitContainers) == 0
	})
	running := started(t, create(t, ns, pod))
	found := false
	for _, v := range running.Spec.Volumes {
		found = found || v.Name == "podinit" && v.Image != nil && strings.Contains(v.Image.Reference, "@sha256:")
	}
	if !found {
		t.Errorf("no image volume: %+v", running.Spec.Volumes)
	}
	if _, ok := running.Annotations["cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"]; ok {
		t.Error("an annotation for the cluster-autoscaler names a volume that is not on the node's disk")
	}
	if s := suite.Status(t, running); s.Delivery != v1alpha1.DeliveryImageVolume {
		t.Errorf("status says %+v", s)
	}
	if ps := execute(t, running, "ps", "-o", "args", "-p", "1"); !strings.Contains(ps, "/podinit/init") {
		t.Errorf("PID 1 is not the init:\n%s", ps)
	}
	if code, log := stopAndRead(t, running); code != 7 || log != "ready\ntold\n" {
		t.Errorf("exit code %d and log %q", code, log)
	}
}

// TestProfileTakesEffect changes a profile; the next pod has what it says.
func TestProfileTakesEffect(t *testing.T) {
	ns := namespace(t, optedIn())
	name := profile(t, v1alpha1.InitProfileSpec{Init: v1alpha1.InitSpec{RewriteSignals: []string{"TERM:QUIT"}}})
	annotate(t, ns, v1alpha1.ProfileAnnotation, name)
	has := func(flag string) func(*corev1.Pod) bool {
		return func(p *corev1.Pod) bool {
			return strings.Contains(strings.Join(p.Spec.Containers[0].Command, " "), flag)
		}
	}
	pod := shellPod("app", "sleep", "1")
	admitted(t, ns, pod, "a pod with the profile's rewrite", has("--rewrite=SIGTERM:SIGQUIT"))

	c := profiles(t)
	p := &v1alpha1.InitProfile{}
	if err := c.Get(t.Context(), types.NamespacedName{Name: name}, p); err != nil {
		t.Fatal(err)
	}
	p.Spec.Init = v1alpha1.InitSpec{RemapExitCodes: []int32{143}}
	if err := c.Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	admitted(t, ns, pod, "a pod with the changed profile", has("143"))
}

// TestProfileValidation has the apiserver refuse what no init could do.
func TestProfileValidation(t *testing.T) {
	for name, spec := range map[string]v1alpha1.InitProfileSpec{
		"no signal":       {Init: v1alpha1.InitSpec{RewriteSignals: []string{"TERM:NONSENSE"}}},
		"no exit code":    {Init: v1alpha1.InitSpec{RemapExitCodes: []int32{256}}},
		"no delivery":     {Delivery: "ByPost"},
		"pins by node":    {Delivery: v1alpha1.DeliverByNode, PinDigest: v1alpha1.PinOnLookup},
		"rejects by node": {Delivery: v1alpha1.DeliverByNode, OnProblem: v1alpha1.ProblemReject},
		"requires node":   {RequireNode: true},
		"no grace":        {Init: v1alpha1.InitSpec{Grace: "soon"}},
		"no owner":        {Exclude: v1alpha1.ExcludeSpec{Owners: []v1alpha1.ExcludedOwner{{Compares: v1alpha1.ComparesPod}}}},
		"no comparison":   {Exclude: v1alpha1.ExcludeSpec{Owners: []v1alpha1.ExcludedOwner{{Kind: "X", Compares: "Name"}}}},
		"no group":        {Exclude: v1alpha1.ExcludeSpec{Owners: []v1alpha1.ExcludedOwner{{Group: "acme.example/v1"}}}},
		"no mark":         {Exclude: v1alpha1.ExcludeSpec{Owners: []v1alpha1.ExcludedOwner{{Marks: []string{"=x"}}}}},
		"negative linger": {Init: v1alpha1.InitSpec{Linger: &metav1.Duration{Duration: -time.Second}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := &v1alpha1.InitProfile{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}, Spec: spec}
			err := profiles(t).Create(t.Context(), p, ctrlclient.DryRunAll)
			if !apierrors.IsInvalid(err) {
				t.Errorf("want it refused as invalid, got %v", err)
			}
		})
	}
}

// TestOnProblemReject refuses a pod that cannot be wrapped, because the profile says so, and says what to do.
func TestOnProblemReject(t *testing.T) {
	ns := withProfile(t, v1alpha1.InitProfileSpec{OnProblem: v1alpha1.ProblemReject})
	good := shellPod("good", "sleep", "1")
	bad := shellPod("bad", "sleep", "1")
	bad.Spec.Volumes = []corev1.Volume{{Name: "mine", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	bad.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "mine", MountPath: "/podinit"}}
	suite.Eventually(t, "the pod to be refused by both replicas", func(ctx context.Context) (bool, error) {
		for range 8 {
			_, err := client.CoreV1().Pods(ns).Create(ctx, bad, dryRun)
			if err == nil {
				return false, nil
			}
			if message := err.Error(); !strings.Contains(message, "podinit") || !strings.Contains(message, "/podinit") {
				t.Fatalf("the refusal does not say why: %v", err)
			}
		}
		return true, nil
	})
	admitted(t, ns, good, "a pod that can be wrapped", isWrapped)
}

// TestPodsOptIn walks the whole opt-in surface: what the namespace says against what the pod says.
func TestPodsOptIn(t *testing.T) {
	const inject = v1alpha1.Inject
	for _, tt := range []struct {
		namespace               string // the label's value, "" for no label
		podLabel, podAnnotation string
		wrapped                 bool
	}{
		{"", "", "", false},
		{"", "enabled", "", true},
		{"", "", "enabled", true},
		{"", "enabled", "disabled", false},
		{"", "disabled", "enabled", false},
		{"enabled", "", "", true},
		{"enabled", "disabled", "", false},
		{"enabled", "", "disabled", false},
		{"enabled", "nonsense", "", true},
		{"disabled", "", "", false},
		{"disabled", "enabled", "", false},
		{"disabled", "", "enabled", false},
		{"nonsense", "", "", false},
		{"nonsense", "enabled", "", true},
	} {
		t.Run(fmt.Sprintf("namespace=%s,label=%s,annotation=%s", tt.namespace, tt.podLabel, tt.podAnnotation), func(t *testing.T) {
			t.Parallel()
			labels := map[string]string{}
			if tt.namespace != "" {
				labels[inject] = tt.namespace
			}
			ns := namespace(t, labels)
			pod := shellPod("app", "sleep", "1")
			if tt.podLabel != "" {
				pod.Labels = map[string]string{inject: tt.podLabel}
			}
			if tt.podAnnotation != "" {
				pod.Annotations = map[string]string{inject: tt.podAnnotation}
			}
			created := admit(t, ns, pod)
			if got := isWrapped(created); got != tt.wrapped {
				t.Errorf("wrapped: %v, want %v; status %q", got, tt.wrapped, created.Annotations[v1alpha1.StatusAnnotation])
			}
		})
	}
}

// TestWrappedSidecar wraps a Job's native sidecar too, by a profile. The sidecar, a shell that does not
// pass SIGTERM on, no longer needs the whole grace period, and the Job completes.
func TestWrappedSidecar(t *testing.T) {
	ns := withProfile(t, v1alpha1.InitProfileSpec{Containers: v1alpha1.ContainersSpec{Sidecars: true}})
	always := corev1.ContainerRestartPolicyAlways
	pod := shellPod("probe", "bash", "-c", "sleep 1; echo done")
	sidecar := *pod.Spec.Containers[0].DeepCopy()
	sidecar.Name, sidecar.RestartPolicy = "sidecar", &always
	sidecar.Command = []string{"bash", "-c", "sleep infinity; true"}
	pod.Spec.InitContainers = []corev1.Container{sidecar}
	admitted(t, ns, pod, "a pod whose sidecar is wrapped", func(p *corev1.Pod) bool {
		return len(p.Spec.InitContainers) == 2 && p.Spec.InitContainers[0].Name == "podinit-copy" &&
			p.Spec.InitContainers[1].Command[0] == "/podinit/init"
	})
	_, err := client.BatchV1().Jobs(ns).Create(t.Context(), &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "job"},
		Spec:       batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: pod.Spec}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	suite.Eventually(t, "the Job to complete", func(ctx context.Context) (bool, error) {
		job, err := client.BatchV1().Jobs(ns).Get(ctx, "job", metav1.GetOptions{})
		return err == nil && job.Status.Succeeded == 1, err
	})
}

// TestDebugCopy copies a wrapped pod with another command, as kubectl debug --copy-to does. The copy,
// which has everything of ours already, is wrapped once, around its new command.
func TestDebugCopy(t *testing.T) {
	ns := namespace(t, optedIn())
	create(t, ns, shellPod("app", "bash", "-c", "while :; do sleep 0.2; done"))
	command := kubectl(t.Context(), "debug", "-n", ns, "app", "--copy-to=copy", "--container=app", "--share-processes=false",
		"--", "sleep", "infinity")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	copied, err := client.CoreV1().Pods(ns).Get(t.Context(), "copy", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(copied.Spec.Containers[0].Command, " "); !strings.HasPrefix(got, "/podinit/init ") ||
		!strings.HasSuffix(got, " -- sleep infinity") || strings.Count(got, "/podinit/init") != 1 {
		t.Errorf("the copy runs %q", got)
	}
	if len(copied.Spec.InitContainers) != 1 {
		t.Errorf("the copy has %d init containers", len(copied.Spec.InitContainers))
	}
	started(t, copied)
}

// TestWithoutProfiles takes the CustomResourceDefinition away. Pods are wrapped as by default, at once
// and when the webhook starts anew; when it is back, profiles count again.
func TestWithoutProfiles(t *testing.T) {
	spec := v1alpha1.InitProfileSpec{Init: v1alpha1.InitSpec{RewriteSignals: []string{"TERM:QUIT"}}}
	name := profile(t, spec)
	ns := namespace(t, optedIn())
	annotate(t, ns, v1alpha1.ProfileAnnotation, name)
	pod := shellPod("app", "sleep", "1")
	rewrites := func(p *corev1.Pod) bool {
		return strings.Contains(strings.Join(p.Spec.Containers[0].Command, " "), "--rewrite=SIGTERM:SIGQUIT")
	}
	byProfile := func(p *corev1.Pod) bool { return isWrapped(p) && rewrites(p) }
	byDefault := func(p *corev1.Pod) bool { return isWrapped(p) && !rewrites(p) }
	admitted(t, ns, pod, "a pod by the profile", byProfile)

	run := func(args ...string) []byte {
		t.Helper()
		out, err := kubectl(t.Context(), args...).Output()
		if err != nil {
			t.Fatalf("kubectl %q: %v", args, err)
		}
		return out
	}
	definition := run("get", "crd", "initprofiles.podinit.dev", "-o", "json")
	restore := func(ctx context.Context) error {
		apply := kubectl(ctx, "apply", "--server-side", "--force-conflicts", "-f", "-")
		apply.Stdin = strings.NewReader(stripped(t, definition))
		if out, err := apply.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if err := restore(ctx); err != nil {
			t.Error(err)
		}
	})
	run("delete", "crd", "initprofiles.podinit.dev")
	admitted(t, ns, pod, "a pod by default, without the definition", byDefault)
	run("-n", system, "rollout", "restart", "deployment/podinit-webhook")
	run("-n", system, "rollout", "status", "deployment/podinit-webhook", "--timeout=120s")
	admitted(t, ns, pod, "a pod by default, after a restart", byDefault)

	if err := restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	var again string
	suite.Eventually(t, "the definition to be served", func(ctx context.Context) (bool, error) {
		p := &v1alpha1.InitProfile{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
		err := profiles(t).Create(ctx, p)
		again = p.Name
		return err == nil, nil
	})
	if again != name {
		t.Fatalf("the profile is now %q", again)
	}
	admitted(t, ns, pod, "a pod by the profile again", byProfile)
}

// stripped is an object without what the apiserver wrote into it.
func stripped(t *testing.T, text []byte) string {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	metadata := object["metadata"].(map[string]any)
	for _, field := range []string{"uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"} {
		delete(metadata, field)
	}
	delete(object, "status")
	out, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
