// Package unpullable shows that an init image that nodes cannot pull strands no pod: on a real cluster, the one of package
// cluster, with images that 'make images' has built, and a registry of its own that can lose an image and be away.
// 'make test-init-image' does all of that.
package unpullable

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	releaseimage "github.com/podinit/podinit/release/image"
	"github.com/podinit/podinit/test/cluster"
	"github.com/podinit/podinit/test/suite"
)

const (
	root   = "../.."
	system = "podinit-system"
)

var (
	images = flag.String("images", "../../bin/images/amd64", "`directory` of the archives that make images writes")

	running *cluster.Cluster
	client  *kubernetes.Clientset
	// webhookImage is in the cluster's own registry, by digest.
	webhookImage string
	// ours is the registry of the init images.
	ours *flakyRegistry
)

func TestMain(m *testing.M) { suite.Main(m, "test-init-image", run) }

func run(m *testing.M) (int, error) {
	ctx := context.Background()
	var err error
	if running, client, err = suite.Open(); err != nil {
		return 0, err
	}
	if webhookImage, err = cluster.PushBuilt(ctx, *images, "webhook"); err != nil {
		return 0, err
	}
	if ours, err = newRegistry(); err != nil {
		return 0, err
	}
	defer ours.Close()
	for _, version := range []string{"v1", "v2", "arm64"} {
		if err := ours.push(version); err != nil {
			return 0, err
		}
	}
	defer func() {
		if _, err := running.RunKubectl(ctx, "", "delete", "--ignore-not-found", "-k", filepath.Join(root, "config", "default")); err != nil {
			log.Print(err)
		}
	}()
	return m.Run(), nil
}

// flakyRegistry holds the init images.
type flakyRegistry struct {
	*cluster.ImageRegistry
	// away has all connections closed without an answer.
	away atomic.Bool
}

func newRegistry() (r *flakyRegistry, err error) {
	r = &flakyRegistry{}
	r.ImageRegistry, err = cluster.NewImageRegistry(func(http.ResponseWriter, *http.Request) bool {
		if r.away.Load() {
			panic(http.ErrAbortHandler)
		}
		return false
	})
	return r, err
}

// image is the reference of a version of the init image.
func (r *flakyRegistry) image(version string) string { return r.Address + "/podinit/init:" + version }

// push makes an init image of what make images has built: v1 and v2 differ in a label alone; arm64 has the same under
// another architecture's name.
func (r *flakyRegistry) push(version string) error {
	init, err := releaseimage.Open(filepath.Join(*images, "init.tar"))
	if err != nil {
		return fmt.Errorf("%w; 'make images' writes it", err)
	}
	file, err := init.ConfigFile()
	if err != nil {
		return err
	}
	file = file.DeepCopy()
	file.Config.Labels = map[string]string{"test": version}
	if version == "arm64" {
		file.Architecture = "arm64"
	}
	if init, err = mutate.ConfigFile(init, file); err != nil {
		return err
	}
	reference, err := name.ParseReference(r.image(version), name.Insecure)
	if err != nil {
		return err
	}
	return remote.WriteIndex(reference, mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: init, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: file.Architecture}},
	}))
}

// lose deletes a version.
func (r *flakyRegistry) lose(t *testing.T, version string) {
	t.Helper()
	reference, err := name.ParseReference(r.image(version), name.Insecure)
	if err == nil {
		err = remote.Delete(reference)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// apply applies podinit with an init image, as "make deploy" does, and with config/prepull. It does not wait.
func apply(t *testing.T, image string) error {
	t.Helper()
	return running.ApplyWebhook(t.Context(), root, image, webhookImage, fmt.Sprintf(`
- target: {kind: Deployment, name: podinit-webhook}
  patch: |-
    - {op: replace, path: /spec/progressDeadlineSeconds, value: %d}
    - {op: replace, path: /spec/template/spec/terminationGracePeriodSeconds, value: 12}
`, deadline))
}

// deadline is how long a rollout may stand still, in seconds: shorter than what is shipped, not to wait for that.
const deadline = 15

// installed applies an image and waits until all of podinit runs with it.
func installed(t *testing.T, image string) {
	t.Helper()
	if err := apply(t, image); err != nil {
		t.Fatal(err)
	}
	rolledOut(t)
}

func rolledOut(t *testing.T) {
	t.Helper()
	// A rollout whose deadline is over counts as failed until it is complete, so its status is asked again.
	suite.Eventually(t, "the rollout", func(ctx context.Context) (bool, error) {
		for _, what := range []string{"deployment/podinit-certificates", "daemonset/podinit-prepull", "deployment/podinit-webhook"} {
			status := running.Kubectl(ctx, "-n", system, "rollout", "status", what, "--timeout=30s")
			if _ = status.Run(); !status.ProcessState.Success() {
				return false, nil
			}
		}
		return true, nil
	})
}

// replicas are the webhook's pods that are not going.
func replicas(ctx context.Context, t *testing.T) (pods []corev1.Pod) {
	t.Helper()
	list, err := client.CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=webhook"})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			pods = append(pods, pod)
		}
	}
	return pods
}
