package brokeninstalls

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/exit"
	"github.com/podinit/podinit/internal/cli/status"
	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/suite"
)

// TestStatus makes a pod of every kind, and one that has really drifted: the tag was moved after the node had pulled
// it, so that the webhook finds one image and the node runs another.
func TestStatus(t *testing.T) {
	healthy(t)
	kubectl(t, "delete", "namespace", "check-status", "--ignore-not-found")
	kubectl(t, "create", "namespace", "check-status")
	defer kubectl(t, "delete", "namespace", "check-status", "--wait=false")
	run := func(name, image string, more ...string) (warnings string) {
		return kubectl(t, append([]string{"-n", "check-status", "run", name, "--image=" + image}, more...)...)
	}
	// drifts is what is said of a container that may run another image.
	drifts := func(name string) string {
		return fmt.Sprintf("container %q may run another image than its command was looked up from because a node has an image with another digest", name)
	}
	tag := cluster.Registry + "/check/moving:1"
	pushIndex(t, tag, "before")
	run("before", tag) // without a status; and with it, the node has the image
	kubectl(t, "-n", "check-status", "wait", "--for=condition=Ready", "pod/before", "--timeout=60s")
	pushIndex(t, tag, "after")
	lost := cluster.Registry + "/check/lost:1"
	pushIndex(t, lost, "lost")
	run("lost", lost)
	kubectl(t, "-n", "check-status", "wait", "--for=condition=Ready", "pod/lost", "--timeout=60s")
	kubectl(t, "-n", "check-status", "delete", "pod", "lost", "--grace-period=1")
	pushIndexOf(t, lost, func(config *v1.Config) { config.Entrypoint = []string{"/only-in-the-new-image"} })
	same := cluster.Registry + "/check/staying:1"
	pushIndex(t, same, "staying")

	// The webhook starts anew, and remembers no image.
	patch(t, "configmap", "podinit-registries", "merge", mustJSON(t, map[string]any{"data": map[string]string{
		"registries.yaml": fmt.Sprintf("registries: [{host: %q, plainHTTP: true}]", cluster.Registry),
	}}))
	kubectl(t, "-n", system, "rollout", "restart", "deployment", deployment)
	defer func() {
		install(t)
		kubectl(t, "-n", system, "rollout", "restart", "deployment", deployment)
		healthy(t)
	}()
	kubectl(t, "-n", system, "rollout", "status", "deployment", deployment)
	eventually(t, "the replicas of before to have ended", func() bool {
		pods, err := client.CoreV1().Pods(system).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=webhook"})
		return err == nil && len(pods.Items) == 2
	})
	healthy(t)

	kubectl(t, "label", "namespace", "check-status", "podinit.dev/inject=enabled")
	run("command", tag, "--command", "--", "/pause")
	if out := run("staying", same); strings.Contains(out, "may run another image") {
		t.Errorf("a tag that was not moved: %s", out)
	}
	// The kubelet reports its images with its status, every few seconds.
	eventually(t, "the webhook to know what the node holds", func() bool {
		return strings.Contains(run("asked", tag, "--dry-run=server"), drifts("asked"))
	})
	if out := run("drifted", tag); !strings.Contains(out, drifts("drifted")) {
		t.Errorf("no warning that the node holds another image: %s", out)
	}
	if out := run("always", tag, "--image-pull-policy=Always", "--dry-run=server"); strings.Contains(out, "may run another image") {
		t.Errorf("with imagePullPolicy Always: %s", out)
	}
	// Its program is only in the image that was looked up: it says which that is.
	run("lost", lost, "--restart=Never")
	eventually(t, "the container to say which image its command is from", func() bool {
		pod, err := client.CoreV1().Pods("check-status").Get(t.Context(), "lost", metav1.GetOptions{})
		if err != nil || len(pod.Status.ContainerStatuses) == 0 || pod.Status.ContainerStatuses[0].State.Terminated == nil {
			return false
		}
		ended := pod.Status.ContainerStatuses[0].State.Terminated
		digest := suite.Status(t, pod).Containers["lost"].Digest
		if want := "the command was looked up from image " + digest + ":"; ended.ExitCode != 127 || digest == "" || !strings.Contains(ended.Message, want) {
			t.Errorf("exit code %d, message %q; want 127, and %q in it", ended.ExitCode, ended.Message, want)
		}
		return true
	})
	kubectl(t, "-n", "check-status", "delete", "pod", "lost")
	run("opted-out", tag, "--labels=podinit.dev/inject=disabled")
	run("nowhere", "registry.invalid/app:1")
	kubectl(t, "-n", "check-status", "wait", "--for=condition=Ready", "pod/drifted", "pod/staying", "--timeout=60s")

	look := func(args ...string) status.Report {
		out, errOut, code := suite.Podinit(append([]string{"status", "-n", "check-status", "-o", "json"}, args...)...)
		var report status.Report
		if err := json.Unmarshal([]byte(out), &report); err != nil || code != exit.OK {
			t.Fatalf("exit code %d, output %q, errors %q: %v", code, out, errOut, err)
		}
		return report
	}
	report := look()
	want := status.Counts{Pods: 6, Wrapped: 3, LeftAlone: 2, WithoutStatus: 1, Drifted: 1}
	if diff := cmp.Diff(want, report.Totals); diff != "" {
		t.Errorf("totals (-want +got):\n%s\n%+v", diff, report)
	}
	if len(report.Drifted) != 1 || report.Drifted[0].Pod != "check-status/drifted" || report.Drifted[0].LookedUp == report.Drifted[0].Running || report.Unsure != 0 {
		t.Errorf("drifted: %+v, not known: %d", report.Drifted, report.Unsure)
	}
	if len(report.MayDrift) != 1 || report.MayDrift[0].Reason != v1alpha1.ReasonNodeImageDiffers || !slices.Equal(report.MayDrift[0].Names, []string{"check-status/drifted"}) {
		t.Errorf("may have drifted, as admission saw it: %+v", report.MayDrift)
	}
	if diff := cmp.Diff([]string{"check-status/before"}, report.WithoutStatus.Names); diff != "" {
		t.Errorf("without a status (-want +got):\n%s", diff)
	}
	// CRI-O says of a container which manifest it runs, and only the registry says that this is of the index that was looked up.
	unsure := 1
	if running.Runtime() == "crio" {
		unsure = 2
	}
	if report = look("--offline", "--installed-version=v99.0.0"); len(report.Drifted) != 0 || report.Unsure != unsure || report.Totals.Outdated != 3 {
		t.Errorf("offline: %+v", report)
	}
	for _, args := range [][]string{{"-A", "--wide"}, {"-n", "check-status", "--wide"}} {
		out, errOut, code := suite.Podinit(append([]string{"status"}, args...)...)
		for _, want := range []string{"NAMESPACE", "opted-out (", "check-status/before", "check-status/drifted, container drifted"} {
			if code != exit.OK || !strings.Contains(out, want) {
				t.Errorf("%v: exit code %d, no %q in:\n%s%s", args, code, want, out, errOut)
			}
		}
	}
	// Who may see the pods of one namespace and nothing else is told what is not known.
	kubectl(t, "-n", "check-status", "create", "role", "pods", "--verb=list", "--resource=pods")
	kubectl(t, "-n", "check-status", "create", "rolebinding", "pods", "--role=pods", "--user=somebody")
	want.WithoutStatus, want.LeftAlone, want.Pods = 0, 1, 4
	report = look("--as=somebody")
	if diff := cmp.Diff(want, report.Totals); diff != "" || len(report.NotRead) != 2 {
		t.Errorf("as somebody, not read: %q; totals (-want +got):\n%s", report.NotRead, diff)
	}
}

// pushIndex puts an image for two platforms into the registry, which does as the cluster's pause does and says word.
func pushIndex(t *testing.T, tag, word string) {
	t.Helper()
	pushIndexOf(t, tag, func(config *v1.Config) { config.Cmd = []string{word} })
}

// pushIndexOf pushes one of images whose config was changed.
func pushIndexOf(t *testing.T, tag string, change func(*v1.Config)) {
	t.Helper()
	base, err := name.ParseReference(cluster.PauseImage, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	pause, err := remote.Image(base)
	if err != nil {
		t.Fatal(err)
	}
	index := v1.ImageIndex(empty.Index)
	for _, architecture := range []string{"amd64", "arm64"} {
		config, err := pause.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		config = config.DeepCopy()
		config.Architecture = architecture
		change(&config.Config)
		config.Created = v1.Time{Time: time.Unix(0, 0)}
		image, err := mutate.ConfigFile(pause, config)
		if err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}}})
	}
	ref, err := name.ParseReference(tag, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
}
