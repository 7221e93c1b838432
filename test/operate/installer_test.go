package operate

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/podinit/podinit/test/cluster"
)

// root of the repository.
const root = "../.."

// release is a version of podinit: its images, by digest.
type release struct {
	init, webhook string
}

// installer puts podinit on the cluster in one way.
type installer interface {
	// install installs a release or upgrades to it, and returns when it is rolled out.
	install(t *testing.T, r release)
	// uninstall removes everything.
	uninstall(t *testing.T)
}

// fromConfig installs from the directory config, by make.
type fromConfig struct{}

func (fromConfig) install(t *testing.T, r release) {
	t.Helper()
	run(t, "make", "-C", root, "deploy", "KUBECTL="+filepath.Join(running.Bin, "kubectl"), "INIT_IMAGE="+r.init, "WEBHOOK_IMAGE="+r.webhook)
}

func (fromConfig) uninstall(t *testing.T) {
	t.Helper()
	run(t, "make", "-C", root, "undeploy", "KUBECTL="+filepath.Join(running.Bin, "kubectl"))
}

// run runs a program with the cluster's kubeconfig. Its output is the test's.
func run(t *testing.T, program string, args ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), program, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, output)
	}
}

// current is the release that make images has built.
func current(t *testing.T) release {
	t.Helper()
	var references []string
	for _, target := range []string{"init", "webhook"} {
		image, err := tarball.ImageFromPath(filepath.Join(*images, target+".tar"), nil)
		if err != nil {
			t.Fatalf("%v; 'make images' writes it", err)
		}
		reference, err := cluster.Push(t.Context(), "podinit/"+target, image)
		if err != nil {
			t.Fatal(err)
		}
		references = append(references, reference)
	}
	return release{init: references[0], webhook: references[1]}
}

// next is a release of another version: the webhook is built anew, and laid over the current one in its image.
func next(t *testing.T, version string) release {
	t.Helper()
	program := filepath.Join(t.TempDir(), "podinit-webhook")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", program,
		"-ldflags", "-s -w -X github.com/podinit/podinit/internal/version.Version="+version, "./cmd/podinit-webhook")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH)
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, output)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	if err := w.WriteHeader(&tar.Header{Name: "podinit-webhook", Mode: 0o555, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(filepath.Join(*images, "webhook.tar"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if image, err = mutate.AppendLayers(image, layer); err != nil {
		t.Fatal(err)
	}
	r := current(t)
	if r.webhook, err = cluster.Push(t.Context(), "podinit/webhook", image); err != nil {
		t.Fatal(err)
	}
	return r
}
