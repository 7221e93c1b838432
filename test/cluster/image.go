package cluster

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
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
	program, err := os.ReadFile(filepath.Join(bin, "pause"))
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	w.WriteHeader(&tar.Header{Name: "pause", Mode: 0o555, Size: int64(len(program))})
	w.Write(program)
	if err := w.Close(); err != nil {
		return err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(layer.Bytes())), nil
	})
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

// PushBuilt pushes one of podinit's own images, of the archives that 'make images' has written to a directory, as Push does.
func PushBuilt(ctx context.Context, archives, which string) (string, error) {
	img, err := releaseimage.Open(filepath.Join(archives, which+".tar"))
	if err != nil {
		return "", fmt.Errorf("%w; 'make images' writes it", err)
	}
	return Push(ctx, "podinit/"+which, img)
}
