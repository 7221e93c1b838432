package cluster

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	releaseimage "github.com/podinit/podinit/release/image"
	"github.com/podinit/podinit/test/debianimage"
)

// pushSandboxImage puts the image that holds a pod's namespaces into the cluster's registry; the
// usual one cannot be pulled without the internet.
func pushSandboxImage(ctx context.Context, bin string) error {
	l, err := programLayer(filepath.Join(bin, "pause"), "pause")
	if err != nil {
		return err
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config.Entrypoint = []string{"/pause"}
	file.Config.User = "65535:65535"
	if img, err = mutate.ConfigFile(img, file); err != nil {
		return err
	}
	_, err = Push(ctx, sandboxRepository, img)
	return err
}

// programLayer is a layer with one program.
func programLayer(path, name string) (v1.Layer, error) {
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	w.WriteHeader(&tar.Header{Name: name, Mode: 0o555, Size: int64(len(program))})
	w.Write(program)
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(layer.Bytes())), nil
	})
}

// Push puts image into the repository of the cluster's registry under the tag "latest" and returns
// the reference by digest, which is what pods should name.
func Push(ctx context.Context, repository string, img v1.Image) (string, error) {
	tag, err := name.NewTag(Registry+"/"+repository+":latest", name.Insecure)
	if err != nil {
		return "", err
	}
	digest, err := debianimage.Push(ctx, tag, img)
	return digest.String(), err
}

// podinitPrograms are those of podinit's own images: the file in the image, and how it is built.
var podinitPrograms = map[string]struct {
	file, flags string
	build       []string
}{
	"init":    {"init", "-s -w -E main.entry", []string{"-buildmode=exe", "github.com/podinit/podinit/initbin"}},
	"webhook": {"podinit-webhook", "-s -w", []string{"github.com/podinit/podinit/cmd/podinit-webhook"}},
	"node":    {"podinit-node", "-s -w", []string{"github.com/podinit/podinit/cmd/podinit-node"}},
}

// PushNext is PushBuilt with an image of another version: its program is built anew, and laid over the one in the archive.
func PushNext(ctx context.Context, archives, which, version string) (string, error) {
	dir, err := os.MkdirTemp("", "podinit-next-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	how := podinitPrograms[which]
	program := filepath.Join(dir, how.file)
	command := exec.CommandContext(ctx, "go", append([]string{"build", "-trimpath", "-buildvcs=false", "-o", program,
		"-ldflags", how.flags + " -X github.com/podinit/podinit/internal/version.Version=" + version}, how.build...)...)
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH)
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", command, err, output)
	}
	img, err := releaseimage.Open(filepath.Join(archives, which+".tar"))
	if err != nil {
		return "", fmt.Errorf("%w; 'make images' writes it", err)
	}
	layer, err := programLayer(program, how.file)
	if err != nil {
		return "", err
	}
	if img, err = mutate.AppendLayers(img, layer); err != nil {
		return "", err
	}
	return Push(ctx, "podinit/"+which, img)
}

// PushBuilt pushes one of podinit's own images, of the archives that 'make images' has written to a directory, as Push does.
func PushBuilt(ctx context.Context, archives, which string) (string, error) {
	img, err := releaseimage.Open(filepath.Join(archives, which+".tar"))
	if err != nil {
		return "", fmt.Errorf("%w; 'make images' writes it", err)
	}
	return Push(ctx, "podinit/"+which, img)
}
