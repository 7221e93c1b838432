package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	corev1 "k8s.io/api/core/v1"
)

// registryTime is how long a registry may take, in all.
const registryTime = 10 * time.Second

// errImageMissing is what a registry says that does not have the image.
var errImageMissing = errors.New("the registry does not have it")

// errImageUnauthorized is what it says to who may not read it.
var errImageUnauthorized = errors.New("the registry wants other credentials than this machine has")

// Platforms asks the registry for which platforms an image is made, as os/architecture. It uses the credentials of the
// user's docker config. A registry that speaks HTTP without TLS is asked so, but told no credentials.
func Platforms(ctx context.Context, image string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, registryTime)
	defer cancel()
	platforms, err := platforms(ctx, image, authn.DefaultKeychain)
	if errors.Is(err, http.ErrSchemeMismatch) || isPlainHTTP(err) {
		platforms, err = platformsOf(ctx, image, nil, name.Insecure)
	}
	return platforms, registryError(err)
}

func platforms(ctx context.Context, image string, keychain authn.Keychain) ([]string, error) {
	return platformsOf(ctx, image, []remote.Option{remote.WithAuthFromKeychain(keychain)})
}

func platformsOf(ctx context.Context, image string, options []remote.Option, how ...name.Option) ([]string, error) {
	ref, err := name.ParseReference(image, how...)
	if err != nil {
		return nil, err
	}
	descriptor, err := remote.Get(ref, append(options, remote.WithContext(ctx))...)
	if err != nil {
		return nil, err
	}
	if !descriptor.MediaType.IsIndex() {
		single, err := descriptor.Image()
		if err != nil {
			return nil, err
		}
		config, err := single.ConfigFile()
		if err != nil {
			return nil, err
		}
		return []string{config.OS + "/" + config.Architecture}, nil
	}
	index, err := descriptor.ImageIndex()
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, m := range manifest.Manifests {
		if p := m.Platform; p != nil && p.OS != "unknown" {
			all = append(all, plain(p))
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

func plain(p *v1.Platform) string { return p.OS + "/" + p.Architecture }

// isPlainHTTP says that a registry answered a TLS handshake with HTTP.
func isPlainHTTP(err error) bool {
	var record tls.RecordHeaderError
	return errors.As(err, &record) || err != nil && strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// registryError keeps of an answer what it means, and nothing that the registry has written.
func registryError(err error) error {
	var answer *transport.Error
	switch {
	case err == nil || !errors.As(err, &answer):
		return err
	case answer.StatusCode == http.StatusNotFound:
		return errImageMissing
	case answer.StatusCode == http.StatusUnauthorized, answer.StatusCode == http.StatusForbidden:
		return errImageUnauthorized
	}
	return fmt.Errorf("the registry answers %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
}

// holds says whether a node's list of images has one, by its digest or its tag.
func holds(images []corev1.ContainerImage, image string) bool {
	want, err := name.ParseReference(image)
	if err != nil {
		return false
	}
	for _, i := range images {
		for _, n := range i.Names {
			if have, err := name.ParseReference(n); err == nil && have.Name() == want.Name() {
				return true
			}
		}
	}
	return false
}
