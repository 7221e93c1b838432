package remoteimage_test

import (
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/podinit/podinit/internal/cli/remoteimage"
	"github.com/podinit/podinit/internal/registry/registrytest"
)

// made is an image of an architecture.
func made(t *testing.T, architecture string) v1.Image {
	t.Helper()
	config, err := empty.Image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", architecture
	made, err := mutate.ConfigFile(empty.Image, config)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func digestOf(t *testing.T, of interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	digest, err := of.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func TestImages(t *testing.T) {
	server := httptest.NewServer(registrytest.New())
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	arm, amd := made(t, "arm64"), made(t, "amd64")
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}},
		mutate.IndexAddendum{Add: amd, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: made(t, "x"), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}}})
	for where, what := range map[string]remote.Taggable{"/single:1": arm, "/index:1": index} {
		ref, err := name.ParseReference(host + where)
		if err != nil {
			t.Fatal(err)
		}
		if i, ok := what.(v1.ImageIndex); ok {
			err = remote.WriteIndex(ref, i)
		} else {
			err = remote.Write(ref, what.(v1.Image))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for reference, want := range map[string][]string{"/single:1": {"linux/arm64"}, "/index:1": {"linux/amd64", "linux/arm64"}} {
		got, err := remoteimage.Platforms(t.Context(), host+reference)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: error %v, (-want +got):\n%s", reference, err, diff)
		}
	}
	config, err := arm.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	for reference, want := range map[string][]string{"/single:1": {digestOf(t, arm), config.String()}, "/index:1": {digestOf(t, index), digestOf(t, arm), digestOf(t, amd), config.String()}} {
		got, err := remoteimage.Digests(t.Context(), host+reference)
		if err != nil {
			t.Errorf("%s: %v", reference, err)
		}
		for _, digest := range want {
			if !slices.Contains(got, digest) {
				t.Errorf("%s: no %s among %v", reference, digest, got)
			}
		}
	}
	if _, err := remoteimage.Platforms(t.Context(), host+"/nosuch:1"); !errors.Is(err, remoteimage.ErrMissing) {
		t.Errorf("of an image that is not there: %v", err)
	}
	if _, err := remoteimage.Digests(t.Context(), "!"); err == nil {
		t.Error("no error for what is no reference")
	}
}

func TestRepository(t *testing.T) {
	for reference, want := range map[string]string{
		"nginx": "nginx", "nginx:1": "nginx", "r:5000/a": "r:5000/a", "r:5000/a:1@sha256:abc": "r:5000/a", "r/a@sha256:abc": "r/a",
	} {
		if got := remoteimage.Repository(reference); got != want {
			t.Errorf("Repository(%q) = %q, want %q", reference, got, want)
		}
	}
}
