package image

import (
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

var created = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestBuild(t *testing.T) {
	index, err := Init.Build(binaries(t, 0o755), []string{"arm", "amd64"}, "v1.2.3", created)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if manifest.MediaType != types.OCIImageIndex {
		t.Errorf("the index is %s", manifest.MediaType)
	}
	var platforms []string
	for _, m := range manifest.Manifests {
		platforms = append(platforms, m.Platform.String())
		img, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if got := config.Platform().String(); got != m.Platform.String() {
			t.Errorf("the image for %s says that it is for %s", m.Platform, got)
		}
		want := v1.Config{Entrypoint: []string{"/init"}, User: "65532:65532", Env: []string{path}, Labels: Init.labels("v1.2.3")}
		if diff := cmp.Diff(want, config.Config); diff != "" {
			t.Errorf("config (-want +got):\n%s", diff)
		}
		if !config.Created.Equal(created) {
			t.Errorf("made at %v, want %v", config.Created, created)
		}
	}
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm/v7"}, platforms); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
}

// Neither the order of architectures nor the file modes of a stricter umask nor a time zone shows.
func TestSameBytes(t *testing.T) {
	write := func(mode os.FileMode, architectures []string, created time.Time) []byte {
		index, err := Webhook.Build(binaries(t, mode), architectures, "v1.2.3", created)
		if err != nil {
			t.Fatal(err)
		}
		reference, err := Webhook.Reference("registry.example/podinit", "v1.2.3", false)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "new", "webhook.tar")
		if err := WriteArchive(file, index, reference, created); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	one := write(0o755, []string{"amd64", "arm"}, created)
	two := write(0o700, []string{"arm", "amd64"}, created.In(time.FixedZone("elsewhere", 3600)))
	if !bytes.Equal(one, two) {
		t.Error("two archives of the same programs differ")
	}
	if !bytes.Contains(one, []byte(`"registry.example/podinit/webhook:v1.2.3"`)) {
		t.Error("the archive does not have the image's name")
	}
}

// An archive of one image is the image that the index of all architectures has, and what "docker load" reads of it has the
// same files and config.
func TestWriteImage(t *testing.T) {
	programs := binaries(t, 0o755)
	index, err := Init.Build(programs, []string{"amd64", "arm"}, "v1.2.3", created)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	img, err := Init.BuildOne(programs, "amd64", "v1.2.3", created)
	if err != nil {
		t.Fatal(err)
	}
	reference, err := Init.Reference("registry.example/podinit", "v1.2.3", false)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "amd64", "init.tar")
	if err := WriteImage(file, img, reference, created); err != nil {
		t.Fatal(err)
	}
	opened, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(opened); err != nil {
		t.Error(err)
	}
	if got, err := opened.Digest(); err != nil || got != manifest.Manifests[0].Digest {
		t.Errorf("the archive has %s (%v), the index %s", got, err, manifest.Manifests[0].Digest)
	}
	tag, err := name.NewTag("registry.example/podinit/init:v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	docker, err := tarball.ImageFromPath(file, &tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(docker); err != nil {
		t.Error(err)
	}
	got, err := docker.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	if want, err := img.ConfigName(); err != nil || got != want {
		t.Errorf("docker loads image %s, want %s (%v)", got, want, err)
	}

	// What is no such archive says so.
	if err := WriteArchive(file, index, reference, created); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{file, filepath.Join(t.TempDir(), "none.tar")} {
		if _, err := Open(wrong); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("opening %s: %v", wrong, err)
		}
	}
}

// A kubelet that has pulled an image under one name does not run it under another without a registry, so an image that is
// loaded must be another one. Its programs are the same.
func TestNamed(t *testing.T) {
	built, err := Init.BuildOne(binaries(t, 0o755), "amd64", "v1.2.3", created)
	if err != nil {
		t.Fatal(err)
	}
	ids, layers := map[v1.Hash]bool{}, map[v1.Hash]bool{}
	for _, repository := range []string{"registry.example/podinit", "localhost/podinit"} {
		reference, err := Init.Reference(repository, "v1.2.3", false)
		if err != nil {
			t.Fatal(err)
		}
		img, err := Named(built, reference)
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := img.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		ids[manifest.Config.Digest], layers[manifest.Layers[0].Digest] = true, true
	}
	if len(ids) != 2 || len(layers) != 1 {
		t.Errorf("two names give %d images of %d programs, want 2 of 1", len(ids), len(layers))
	}
}

func TestPush(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	index, err := Init.Build(binaries(t, 0o755), []string{"amd64", "arm"}, "v1.2.3", created)
	if err != nil {
		t.Fatal(err)
	}
	reference, err := Init.Reference(strings.TrimPrefix(server.URL, "http://")+"/podinit/", "v1.2.3", true)
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := Push(t.Context(), index, reference)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if want := reference.String() + "@" + digest.String(); pushed != want {
		t.Errorf("pushed %s, want %s", pushed, want)
	}
	got, err := remote.Index(reference)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(got); err != nil {
		t.Error(err)
	}

	server.Close()
	if _, err := Push(t.Context(), index, reference); err == nil || !strings.Contains(err.Error(), "docker login") {
		t.Errorf("with the registry down: %v, want what to do", err)
	}
}

// binaries is a directory of programs that cannot run, for two architectures.
func binaries(t *testing.T, mode os.FileMode) string {
	t.Helper()
	directory := t.TempDir()
	for _, architecture := range []string{"amd64", "arm"} {
		for _, program := range []string{"init", "podinit-webhook", "podinit-node"} {
			file := filepath.Join(directory, architecture, program)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(program+" for "+architecture), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	return directory
}
