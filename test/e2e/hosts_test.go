package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apitypes "k8s.io/apimachinery/pkg/types"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/suite"
)

// TestHostsDirectory has the node's own certs.d in the webhook, too. Both take the same image for each name: from a mirror
// with a path of its own, from the mirror of all others, and from the second of two mirrors, of which the first never answers.
func TestHostsDirectory(t *testing.T) {
	lookups(t)
	certs := filepath.Join(cluster.Dir, "etc", "certs.d")
	mirror := func(path string) string {
		return fmt.Sprintf("[host.\"http://%s/v2/e2e/%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n  override_path = true\n", cluster.Registry, path)
	}
	const nobody = "198.51.100.3:5000" // an address of the node's network that no machine has
	for host, text := range map[string]string{
		"mirrored.example": mirror("mirrored"),
		"dead.example":     fmt.Sprintf("[host.\"http://%s\"]\n", nobody) + mirror("second"),
		"_default":         mirror("others"),
	} {
		directory := filepath.Join(certs, host)
		t.Cleanup(func() { _ = os.RemoveAll(directory) })
		if err := os.MkdirAll(directory, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(directory, "hosts.toml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	readHosts(t, certs)

	tag := fmt.Sprint(time.Now().UnixNano())
	plain, wrapped := namespace(t, nil), namespace(t, optedIn())
	for image, at := range map[string]string{"mirrored.example/team/app": "mirrored", "other.example/team/app": "others", "dead.example/team/app": "second"} {
		t.Run(at, func(t *testing.T) {
			push(t, cluster.Registry+"/e2e/"+at+"/team/app:"+tag, shell(t, v1.Config{Entrypoint: []string{"echo", at}}, ""))
			image := image + ":" + tag
			var digests []string
			for _, ns := range []string{wrapped, plain} {
				created := create(t, ns, imagePod(at, image))
				if status := created.Annotations[v1alpha1.StatusAnnotation]; ns == wrapped {
					if s := statusOf(t, created); s.Source != v1alpha1.SourceRegistry {
						t.Fatalf("%s: %s", image, status)
					}
					digests = append(digests, statusOf(t, created).Digest)
				}
				ended := await(t, created, "has ended", func(pod *corev1.Pod) bool {
					return len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].State.Terminated != nil
				})
				_, digest, _ := strings.Cut(ended.Status.ContainerStatuses[0].ImageID, "@")
				digests = append(digests, digest)
				if log := logs(t, ended); log != at+"\n" {
					t.Errorf("%s wrote %q", image, log)
				}
			}
			if digests[0] != digests[1] || digests[0] != digests[2] {
				t.Errorf("%s: the webhook looked up, and the node ran wrapped and plain, %q", image, digests)
			}
		})
	}
}

// readHosts gives the webhook a directory of the node as its hostsDirectory, and nothing else to know of registries.
func readHosts(t *testing.T, directory string) {
	t.Helper()
	deployments := client.AppsV1().Deployments(system)
	patch := func(what any) {
		t.Helper()
		raw, err := json.Marshal(what)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := cleanupContext()
		defer cancel()
		if _, err := deployments.Patch(ctx, "podinit-webhook", apitypes.StrategicMergePatchType, raw, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if out, err := kubectl(ctx, "-n", system, "rollout", "status", "deployment/podinit-webhook", "--timeout=180s").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	template := func(volume, mount map[string]any) map[string]any {
		return map[string]any{"spec": map[string]any{"template": map[string]any{
			"metadata": map[string]any{"annotations": map[string]string{"podinit.dev/e2e": fmt.Sprint(time.Now().UnixNano())}},
			"spec": map[string]any{
				"volumes":    []any{volume},
				"containers": []any{map[string]any{"name": "webhook", "volumeMounts": []any{mount}}},
			},
		}}}
	}
	const at = "/etc/podinit/certs.d"
	configure := func(registries string) {
		t.Helper()
		raw, err := json.Marshal(map[string]any{"data": map[string]string{"registries.yaml": registries}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := cleanupContext()
		defer cancel()
		if _, err := client.CoreV1().ConfigMaps(system).Patch(ctx, "podinit-registries", apitypes.MergePatchType, raw,
			metav1.PatchOptions{FieldManager: "kubectl"}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		configure("{}\n") // without the directory no replica would start
		patch(template(map[string]any{"name": "certs", "$patch": "delete"}, map[string]any{"mountPath": at, "$patch": "delete"}))
		lookupsOnce = sync.Once{} // the next test sets up what it needs
	})
	// Pods of the restricted level have no hostPath.
	enforce := func(level string) {
		ctx, cancel := cleanupContext()
		defer cancel()
		label := fmt.Appendf(nil, `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":%q}}}`, level)
		if _, err := client.CoreV1().Namespaces().Patch(ctx, system, apitypes.MergePatchType, label, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { enforce("restricted") })
	enforce("privileged")
	configure("hostsDirectory: " + at + "\n")
	patch(template(map[string]any{"name": "certs", "hostPath": map[string]string{"path": directory, "type": "Directory"}},
		map[string]any{"name": "certs", "mountPath": at, "readOnly": true}))
	suite.Eventually(t, "replicas that have read the directory", func(ctx context.Context) (bool, error) {
		replicas, err := client.CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: suite.WebhookSelector})
		return err == nil && len(replicas.Items) == 2, err
	})
}
