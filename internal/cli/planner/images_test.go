package planner

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/imageconfig"
)

// An image of two platforms as "crane pull --format=oci" leaves it.
func TestLayout(t *testing.T) {
	index := v1.ImageIndex(empty.Index)
	for _, architecture := range []string{"amd64", "arm64"} {
		image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: architecture, Config: v1.Config{Entrypoint: []string{"/" + architecture}}})
		if err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}}})
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.AppendIndex(index); err != nil {
		t.Fatal(err)
	}
	given, err := readImages([]string{"registry.example/app:1=" + dir})
	if err != nil {
		t.Fatal(err)
	}
	image := given["registry.example/app:1"]
	configs, failure := image.On([]string{"arm64"})
	if failure != nil || image.Digest != digest.String() || len(configs) != 1 || cmp.Diff([]string{"/arm64"}, configs[0].Entrypoint) != "" {
		t.Errorf("%+v, %v, want digest %s", image, failure, digest)
	}
	if err := path.AppendIndex(empty.Index); err != nil {
		t.Fatal(err)
	}
	if _, err := readImages([]string{"x=" + dir}); err == nil || !strings.Contains(err.Error(), "2 images") {
		t.Errorf("a layout of two images: %v", err)
	}
}

func TestReadImages(t *testing.T) {
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	file := filepath.Join(t.TempDir(), "map.yaml")
	if err := os.WriteFile(file, []byte("nginx: {config: {Cmd: [nginx]}}\nregistry.example/a:1@"+digest+": {config: {Cmd: [a]}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	given, err := readImages([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"index.docker.io/library/nginx:latest": "", "registry.example/a:1": digest, "registry.example/a@" + digest: digest,
	} {
		if image, ok := given[name]; !ok || image.Digest != want {
			t.Errorf("%s: %+v, %v", name, image, ok)
		}
	}
	for _, arg := range []string{"nowhere.yaml", "nginx=nowhere.json", "UPPER=" + file, "testdata"} {
		if _, err := readImages([]string{arg}); err == nil || !strings.Contains(err.Error(), "--image-config "+arg) {
			t.Errorf("%s: %v", arg, err)
		}
	}
}

// Offline, no registry is asked about images that are not given.
func TestOffline(t *testing.T) {
	s := &source{why: errOffline, given: map[string]imageconfig.Image{"registry.example/a:1": {Digest: "d"}}}
	query := func(tag string) imageconfig.Query {
		return imageconfig.Query{Reference: imageconfig.Reference{Registry: "registry.example", Repository: "a", Tag: tag}}
	}
	if found, err := s.Lookup(context.Background(), query("1")); err != nil || found.Image.Digest != "d" {
		t.Errorf("%+v, %v", found, err)
	}
	if _, ok := s.Known(context.Background(), query("1")); !ok {
		t.Error("what is given is known")
	}
	_, err := s.Lookup(context.Background(), query("2"))
	var failure *imageconfig.Failure
	if !errors.As(err, &failure) || failure.Reason != v1alpha1.ReasonNoCommand {
		t.Errorf("%v", err)
	}
}
