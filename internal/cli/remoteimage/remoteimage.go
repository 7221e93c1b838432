// Package remoteimage asks registries about images, from where the command line runs: with the credentials of the user's
// docker config, and nothing of the cluster's.
package remoteimage

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/podinit/podinit/internal/imageconfig"
)

const (
	// registryTime is how long a registry may take, in all.
	registryTime = 10 * time.Second
	// maxPlatforms bounds how many manifests of an index are read.
	maxPlatforms = 32
)

// ErrMissing is what a registry says that does not have the image.
var ErrMissing = errors.New("the registry does not have it")

// ErrUnauthorized is what it says to clients that may not read the image.
var ErrUnauthorized = errors.New("the registry rejected this machine's credentials")

// Silent says that a registry gave no answer, so that asking it for another image would take as long.
func Silent(err error) bool {
	var network net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network)
}

// Registry is the host that an image is asked from; empty if the reference is not valid.
func Registry(reference string) string {
	ref, err := parse(reference)
	if err != nil {
		return ""
	}
	return ref.Context().RegistryStr()
}

// parse takes a reference apart if it is short enough.
func parse(reference string, how ...name.Option) (name.Reference, error) {
	if err := imageconfig.CheckName(reference); err != nil {
		return nil, err
	}
	return name.ParseReference(reference, how...)
}

// Platforms are those that an image is made for, as os/architecture, sorted.
func Platforms(ctx context.Context, reference string) ([]string, error) {
	return ask(ctx, reference, func(ref name.Reference, options []remote.Option) ([]string, error) {
		descriptor, err := remote.Get(ref, options...)
		if err != nil {
			return nil, err
		}
		if !descriptor.MediaType.IsIndex() {
			config, err := configOf(descriptor)
			if err != nil {
				return nil, err
			}
			return []string{config.OS + "/" + config.Architecture}, nil
		}
		manifests, err := linux(descriptor)
		if err != nil {
			return nil, err
		}
		var all []string
		for _, m := range manifests {
			all = append(all, m.Platform.OS+"/"+m.Platform.Architecture)
		}
		slices.Sort(all)
		return slices.Compact(all), nil
	})
}

// Digests are all by which a container runtime may name the image that a reference stands for: that of its index, of
// each platform's manifest, and of each one's config.
func Digests(ctx context.Context, reference string) ([]string, error) {
	return ask(ctx, reference, func(ref name.Reference, options []remote.Option) ([]string, error) {
		descriptor, err := remote.Get(ref, options...)
		if err != nil {
			return nil, err
		}
		all := []string{descriptor.Digest.String()}
		if !descriptor.MediaType.IsIndex() {
			single, err := descriptor.Image()
			if err != nil {
				return nil, err
			}
			config, err := single.ConfigName()
			return append(all, config.String()), err
		}
		manifests, err := linux(descriptor)
		if err != nil {
			return nil, err
		}
		for _, m := range manifests {
			all = append(all, m.Digest.String())
			single, err := remote.Image(ref.Context().Digest(m.Digest.String()), options...)
			if err != nil {
				return nil, err
			}
			config, err := single.ConfigName()
			if err != nil {
				return nil, err
			}
			all = append(all, config.String())
		}
		return all, nil
	})
}

// ask sends requests by TLS with the user's credentials. A registry that speaks HTTP without TLS is asked by HTTP, and gets no
// credentials.
func ask(ctx context.Context, reference string, do func(name.Reference, []remote.Option) ([]string, error)) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, registryTime)
	defer cancel()
	try := func(options []remote.Option, how ...name.Option) ([]string, error) {
		ref, err := parse(reference, how...)
		if err != nil {
			return nil, err
		}
		return do(ref, append(options, remote.WithContext(ctx)))
	}
	answer, err := try([]remote.Option{remote.WithAuthFromKeychain(authn.DefaultKeychain)})
	if isPlainHTTP(err) {
		answer, err = try(nil, name.Insecure)
	}
	return answer, meaning(err)
}

func configOf(descriptor *remote.Descriptor) (*v1.ConfigFile, error) {
	single, err := descriptor.Image()
	if err != nil {
		return nil, err
	}
	return single.ConfigFile()
}

// linux are the manifests of an index that containers on Linux are made of.
func linux(descriptor *remote.Descriptor) ([]v1.Descriptor, error) {
	index, err := descriptor.ImageIndex()
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var all []v1.Descriptor
	for _, m := range manifest.Manifests {
		if m.Platform != nil && m.Platform.OS == "linux" {
			all = append(all, m)
		}
	}
	if len(all) > maxPlatforms {
		return nil, fmt.Errorf("its index has more than %d manifests", maxPlatforms)
	}
	return all, nil
}

// isPlainHTTP says that a registry answered a TLS handshake with HTTP.
func isPlainHTTP(err error) bool {
	var record tls.RecordHeaderError
	return errors.As(err, &record) || err != nil && strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// meaning keeps of an answer what it means, and nothing that the registry has written.
func meaning(err error) error {
	var answer *transport.Error
	switch {
	case err == nil || !errors.As(err, &answer):
		return err
	case answer.StatusCode == http.StatusNotFound:
		return ErrMissing
	case answer.StatusCode == http.StatusUnauthorized, answer.StatusCode == http.StatusForbidden:
		return ErrUnauthorized
	}
	return fmt.Errorf("the registry answers %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
}

// Repository is an image's name without tag and digest.
func Repository(reference string) string {
	reference, _, _ = strings.Cut(reference, "@")
	if i := strings.LastIndexByte(reference, ':'); i > strings.LastIndexByte(reference, '/') {
		reference = reference[:i]
	}
	return reference
}
