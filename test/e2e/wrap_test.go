package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestOnlyWhatIsPromised creates the same Guaranteed pod in a plain and in a labelled namespace. Apart
// from what podinit promises to add, the apiserver must have stored the same.
func TestOnlyWhatIsPromised(t *testing.T) {
	pod := shellPod("reference", "/bin/sh", "-c", "exec sleep $(TIME)")
	pod.Annotations = map[string]string{"cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": "scratch"}
	grace := int64(45)
	pod.Spec.TerminationGracePeriodSeconds = &grace
	amount := corev1.ResourceList{"cpu": resource.MustParse("50m"), "memory": resource.MustParse("64Mi")}
	pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: amount, Limits: amount}
	pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "TIME", Value: "3600"}}
	pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "scratch", MountPath: "/scratch"}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}

	plain := create(t, namespace(t, nil), pod)
	wrapped := create(t, namespace(t, optedIn()), pod)

	// The status names the version and what was done to each container.
	var status struct {
		V          int
		Version    string
		Delivery   string
		Containers map[string]map[string]string
	}
	if err := json.Unmarshal([]byte(wrapped.Annotations["podinit.dev/status"]), &status); err != nil {
		t.Fatal(err)
	}
	wantContainers := map[string]map[string]string{"app": {"action": "wrapped", "source": "command"}}
	if status.V != 1 || status.Delivery != "InitContainer" || status.Version == "" {
		t.Errorf("status annotation: %+v", status)
	}
	if diff := cmp.Diff(wantContainers, status.Containers); diff != "" {
		t.Errorf("containers in the status annotation (-want +got):\n%s", diff)
	}
	if got, want := wrapped.Labels["podinit.dev/version"], strings.ReplaceAll(status.Version, "+", "_"); got != want {
		t.Errorf("label podinit.dev/version is %q, want %q", got, want)
	}

	// What podinit adds, put into the plain pod, makes the wrapped one.
	want := plain.DeepCopy()
	want.Labels = map[string]string{"podinit.dev/version": wrapped.Labels["podinit.dev/version"]}
	want.Annotations = map[string]string{
		"cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": "scratch,podinit",
		"backup.velero.io/backup-volumes-excludes":                     "podinit",
		"kubectl.kubernetes.io/default-container":                      "app",
		"podinit.dev/status":                                           wrapped.Annotations["podinit.dev/status"],
	}
	limit := resource.MustParse("32Mi")
	volume := corev1.Volume{Name: "podinit", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}}}
	want.Spec.Volumes = append(want.Spec.Volumes, volume)
	app := &want.Spec.Containers[0]
	app.Command = append([]string{"/podinit/init", "--grace=45s", "--termination-message=/dev/termination-log", "--"}, app.Command...)
	app.VolumeMounts = append(app.VolumeMounts, corev1.VolumeMount{Name: "podinit", MountPath: "/podinit", ReadOnly: true})
	if len(wrapped.Spec.InitContainers) != 1 {
		t.Fatalf("init containers: %+v", wrapped.Spec.InitContainers)
	}
	yes, no := true, false
	enough := corev1.ResourceList{"cpu": resource.MustParse("50m"), "memory": resource.MustParse("32Mi")}
	want.Spec.InitContainers = []corev1.Container{{
		Name:                     "podinit-copy",
		Image:                    wrapped.Spec.InitContainers[0].Image,
		ImagePullPolicy:          corev1.PullIfNotPresent,
		Command:                  []string{"/init", "copy", "/podinit/init"},
		WorkingDir:               "/",
		Resources:                corev1.ResourceRequirements{Requests: enough, Limits: enough},
		VolumeMounts:             []corev1.VolumeMount{{Name: "podinit", MountPath: "/podinit"}},
		TerminationMessagePath:   corev1.TerminationMessagePathDefault,
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: &no,
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			ReadOnlyRootFilesystem:   &yes,
			RunAsNonRoot:             &yes,
		},
	}}
	if !strings.Contains(want.Spec.InitContainers[0].Image, "@sha256:") {
		t.Errorf("the copier's image is not pinned by digest: %s", want.Spec.InitContainers[0].Image)
	}
	for _, p := range []*corev1.Pod{want, wrapped} {
		p.ObjectMeta = metav1.ObjectMeta{Labels: p.Labels, Annotations: p.Annotations}
		p.Status.StartTime = nil
		dropTokenVolume(p)
	}
	if diff := cmp.Diff(want, wrapped); diff != "" {
		t.Errorf("wrapped pod (-promised +stored):\n%s", diff)
	}
}

// dropTokenVolume removes the service account's volume, whose name the apiserver makes up for each pod.
func dropTokenVolume(pod *corev1.Pod) {
	const prefix = "kube-api-access-"
	keep := pod.Spec.Volumes[:0]
	for _, v := range pod.Spec.Volumes {
		if !strings.HasPrefix(v.Name, prefix) {
			keep = append(keep, v)
		}
	}
	pod.Spec.Volumes = keep
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			mounts := containers[i].VolumeMounts[:0]
			for _, m := range containers[i].VolumeMounts {
				if !strings.HasPrefix(m.Name, prefix) {
					mounts = append(mounts, m)
				}
			}
			containers[i].VolumeMounts = mounts
		}
	}
}

// TestPID1 runs a shell without a trap around a program, and looks from inside and outside.
func TestPID1(t *testing.T) {
	ns := namespace(t, map[string]string{
		"podinit.dev/inject":                 "enabled",
		"pod-security.kubernetes.io/enforce": "restricted",
	})
	pod := started(t, create(t, ns, shellPod("shell", "bash", "-c", `
trap 'echo told; exit 7' TERM
echo ready
while :; do sleep 0.1; done`)))

	ps := execute(t, pod, "ps", "-o", "pid,args", "-p", "1")
	if !strings.Contains(ps, "/podinit/init --grace=5s --termination-message=/dev/termination-log -- bash -c") {
		t.Errorf("PID 1 is not the init:\n%s", ps)
	}
	// The init can be run, and not be changed, by the container's user.
	if mode := execute(t, pod, "stat", "-c", "%a %u", "/podinit/init"); strings.Fields(mode)[0] != "555" {
		t.Errorf("/podinit/init has mode and owner %s, want mode 555", mode)
	}
	if mount := execute(t, pod, "grep", " /podinit ", "/proc/self/mounts"); !strings.Contains(mount, " ro,") {
		t.Errorf("/podinit is not mounted read-only: %s", mount)
	}

	// The trap's exit code comes out, and its words are in the log.
	code, log := stopAndRead(t, pod)
	if code != 7 || log != "ready\ntold\n" {
		t.Errorf("exit code %d and log %q, want 7 and %q", code, log, "ready\ntold\n")
	}
}

// stopAndRead deletes the pod as a user does, and returns the exit code of its container and its whole
// log. A finalizer keeps the object until both are read.
func stopAndRead(t *testing.T, pod *corev1.Pod) (code int32, log string) {
	t.Helper()
	pods := client.CoreV1().Pods(pod.Namespace)
	finalizers := func(list string) {
		t.Helper()
		patch := []byte(`{"metadata":{"finalizers":` + list + `}}`)
		if _, err := pods.Patch(t.Context(), pod.Name, "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	finalizers(`["podinit.dev/e2e"]`)
	stream, err := pods.GetLogs(pod.Name, &corev1.PodLogOptions{Follow: true}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	text := make(chan string)
	go func() {
		var b strings.Builder
		buffer := make([]byte, 4096)
		for {
			n, err := stream.Read(buffer)
			b.Write(buffer[:n])
			if err != nil {
				text <- b.String()
				return
			}
		}
	}()
	if err := pods.Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	last := await(t, pod, "has ended", func(pod *corev1.Pod) bool {
		return len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].State.Terminated != nil
	})
	log = <-text
	finalizers("null")
	return last.Status.ContainerStatuses[0].State.Terminated.ExitCode, log
}

// TestLeftAlone shows who is not wrapped, and that the status says why.
func TestLeftAlone(t *testing.T) {
	lookups(t)
	ns := namespace(t, optedIn())
	for _, tt := range []struct {
		name   string
		edit   func(*corev1.Pod)
		status string
	}{
		{"wrapped", func(*corev1.Pod) {}, `"action":"wrapped"`},
		{"no-program", func(p *corev1.Pod) { p.Spec.Containers[0].Command = nil }, `"reason":"no-program"`},
		{"label", func(p *corev1.Pod) { p.Labels = map[string]string{"podinit.dev/inject": "disabled"} }, ""},
		{"annotation", func(p *corev1.Pod) { p.Annotations = map[string]string{"podinit.dev/inject": "disabled"} }, ""},
		{"host-pid", func(p *corev1.Pod) { p.Spec.HostPID = true }, `"reason":"host-pid"`},
		{"shared-processes", func(p *corev1.Pod) { yes := true; p.Spec.ShareProcessNamespace = &yes }, `"reason":"shared-process-namespace"`},
		{"virt-launcher", func(p *corev1.Pod) { p.Labels = map[string]string{"kubevirt.io": "virt-launcher"} }, `"reason":"counts-on-pids"`},
		{"tekton-sidecar", func(p *corev1.Pod) { p.Labels = map[string]string{"tekton.dev/taskRun": "build"} }, `"reason":"tekton-sidecar"`},
		{"windows-label", func(p *corev1.Pod) {
			p.Spec.NodeSelector = map[string]string{"node.kubernetes.io/windows-build": "10.0.20348"}
		}, `"reason":"windows"`},
		{"windows", func(p *corev1.Pod) {
			p.Spec.OS = &corev1.PodOS{Name: corev1.Windows}
			p.Spec.SecurityContext.SeccompProfile = nil
			p.Spec.Containers[0].SecurityContext = nil
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pod := shellPod(tt.name, "sleep", "1")
			tt.edit(pod)
			created := admit(t, ns, pod)
			status := created.Annotations["podinit.dev/status"]
			if tt.status == "" && status != "" || !strings.Contains(status, tt.status) {
				t.Errorf("status is %q, want %q in it", status, tt.status)
			}
			wantWrapped := tt.name == "wrapped"
			if wrapped := strings.Join(created.Spec.Containers[0].Command, " ") != strings.Join(pod.Spec.Containers[0].Command, " "); wrapped != wantWrapped {
				t.Errorf("wrapped: %v, want %v; command %q", wrapped, wantWrapped, created.Spec.Containers[0].Command)
			}
		})
	}
}
