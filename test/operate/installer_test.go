package operate

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	releaseimage "github.com/podinit/podinit/release/image"
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

// fromChart installs from the directory charts, by Helm.
type fromChart struct{ helm string }

func (c fromChart) install(t *testing.T, r release) {
	t.Helper()
	args := []string{"upgrade", "--install", "podinit", filepath.Join(root, "charts", "podinit"), "--namespace", system, "--create-namespace",
		"--wait", "--timeout", patience.String(), "--set", "images.registry=" + cluster.Registry + "/podinit"}
	for name, reference := range map[string]string{"init": r.init, "webhook": r.webhook} {
		_, digest, _ := strings.Cut(reference, "@")
		args = append(args, "--set", "images."+name+".digest="+digest)
	}
	run(t, c.helm, args...)
}

func (c fromChart) uninstall(t *testing.T) {
	t.Helper()
	run(t, c.helm, "uninstall", "podinit", "--namespace", system, "--ignore-not-found", "--wait")
	// Helm leaves the CustomResourceDefinition and the namespace.
	run(t, filepath.Join(running.Bin, "kubectl"), "delete", "namespace", system, "--ignore-not-found")
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
		reference, err := cluster.PushBuilt(t.Context(), *images, target)
		if err != nil {
			t.Fatal(err)
		}
		references = append(references, reference)
	}
	return release{init: references[0], webhook: references[1]}
}

// next is a release of another version: the programs are built anew, and laid over the current ones in their images.
func next(t *testing.T, version string) release {
	t.Helper()
	return release{
		init:    rebuilt(t, "init", "init", "-buildmode=exe", "-ldflags", "-s -w -E main.entry "+versionFlag+version, "./initbin"),
		webhook: rebuilt(t, "webhook", "podinit-webhook", "-ldflags", "-s -w "+versionFlag+version, "./cmd/podinit-webhook"),
	}
}

const versionFlag = "-X github.com/podinit/podinit/internal/version.Version="

// rebuilt is an image with its program built anew.
func rebuilt(t *testing.T, target, file string, build ...string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), file)
	command := exec.CommandContext(t.Context(), "go", append([]string{"build", "-trimpath", "-buildvcs=false", "-o", program}, build...)...)
	command.Dir = root
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, output)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	if err := w.WriteHeader(&tar.Header{Name: file, Mode: 0o555, Size: int64(len(content))}); err != nil {
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
	image, err := releaseimage.Open(filepath.Join(*images, target+".tar"))
	if err != nil {
		t.Fatal(err)
	}
	if image, err = mutate.AppendLayers(image, layer); err != nil {
		t.Fatal(err)
	}
	reference, err := cluster.Push(t.Context(), "podinit/"+target, image)
	if err != nil {
		t.Fatal(err)
	}
	return reference
}
