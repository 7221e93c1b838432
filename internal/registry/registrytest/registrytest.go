// Package registrytest has an image registry in memory for tests, and puts images into it.
package registrytest

import (
	"io"
	"log"
	"net/http"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// New returns a registry that logs nothing.
func New() http.Handler { return registry.New(registry.Logger(log.New(io.Discard, "", 0))) }

// Push puts an image for Linux on amd64 that runs entrypoint under a reference, and returns it. The registry is asked by plain
// HTTP if it does not speak TLS.
func Push(t testing.TB, reference string, entrypoint []string, options ...remote.Option) v1.Image {
	t.Helper()
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: "linux", Architecture: "amd64", Config: v1.Config{Entrypoint: entrypoint},
	})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image, options...); err != nil {
		t.Fatal(err)
	}
	return image
}
