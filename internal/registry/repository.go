package registry

import (
	"context"
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
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/imageconfig"
)

// maxPlatforms bounds how many configs of one index are read. Official images are made for up to ten.
const maxPlatforms = 16

// repository is an imageconfig.Repository: one repository, seen with one login.
type repository struct {
	name      name.Repository
	login     login
	transport http.RoundTripper
	breakers  *breakers
	// key tells the repository, and as whom and for which namespace it is seen, from every other.
	key string
	// namespace out of whose share of slots and bytes it is asked.
	namespace string
	now       func() time.Time

	// puller holds on to what the registry has said about how it wants to be asked.
	puller *remote.Puller
}

// Digest asks with HEAD, which registries do not bill. Where that gives no digest, the manifest itself does.
func (r *repository) Digest(ctx context.Context, ref imageconfig.Reference) (digest string, err error) {
	err = r.errand(ctx, func(ctx context.Context) error {
		asked := r.reference(ref)
		found, err := r.puller.Head(ctx, asked)
		if err == nil {
			digest = found.Digest.String()
			return nil
		}
		if !saysNoDigest(err) {
			return err
		}
		manifest, err := r.puller.Get(ctx, asked)
		if err != nil {
			return err
		}
		digest = manifest.Digest.String()
		return nil
	})
	return digest, err
}

// saysNoDigest says whether HEAD was answered without what it was sent for: by registries made of files, and some
// proxies.
func saysNoDigest(err error) bool {
	var answered *transport.Error
	return errors.As(err, &answered) && answered.StatusCode == http.StatusMethodNotAllowed ||
		strings.Contains(err.Error(), "response did not include") // remote exports no error for it
}

// Image reads a manifest, and the configs that it or its parts point to.
func (r *repository) Image(ctx context.Context, digest string, architectures []string) (image imageconfig.Image, err error) {
	image.Digest = digest
	err = r.errand(ctx, func(ctx context.Context) error {
		manifest, err := r.puller.Get(ctx, r.name.Digest(digest))
		if err != nil {
			return err
		}
		kind, err := kindOf(manifest.MediaType, manifest.Manifest)
		switch {
		case err != nil:
			return err
		case kind.IsImage():
			config, err := r.config(manifest)
			image.Configs = append(image.Configs, config)
			return err
		}
		parts, others, err := parseIndex(manifest.Manifest, architectures)
		if err != nil {
			return err
		}
		image.Configs = others
		for _, part := range parts {
			manifest, err := r.puller.Get(ctx, r.name.Digest(part.Digest.String()))
			if err != nil {
				return fmt.Errorf("reading the part for %s: %w", part.Platform, err)
			}
			if kind, err := kindOf(manifest.MediaType, manifest.Manifest); err != nil || !kind.IsImage() {
				continue // an artifact that has a platform
			}
			config, err := r.config(manifest)
			var failure *imageconfig.Failure
			if errors.As(err, &failure) && failure.Reason == v1alpha1.ReasonLookupUnsupported {
				continue
			}
			if err != nil {
				return err
			}
			if p := part.Platform; p != nil && p.OS != "" { // what containerd chooses by
				config.Platform = platformOf(part.Platform)
			}
			image.Configs = append(image.Configs, config)
		}
		return nil
	})
	if err != nil {
		return imageconfig.Image{}, err
	}
	return image, nil
}

// config reads the config that a manifest points to.
func (r *repository) config(manifest *remote.Descriptor) (imageconfig.Config, error) {
	parsed, err := v1.ParseManifest(strings.NewReader(string(manifest.Manifest)))
	if err != nil {
		return imageconfig.Config{}, err
	}
	if kind := parsed.Config.MediaType; !kind.IsConfig() {
		return imageconfig.Config{}, &imageconfig.Failure{Reason: v1alpha1.ReasonLookupUnsupported, Err: fmt.Errorf("its config is %.100q, which is no image's", kind)}
	}
	if parsed.Config.Size > maxConfigBlob {
		return imageconfig.Config{}, errTooLarge
	}
	manifest.MediaType = types.OCIManifestSchema1 // or Docker's: they read alike
	image, err := manifest.Image()
	if err != nil {
		return imageconfig.Config{}, err
	}
	raw, err := image.RawConfigFile()
	if err != nil {
		return imageconfig.Config{}, err
	}
	return imageconfig.Parse(raw)
}

// kindOf is what a manifest is. Registries made of files say it wrongly, so the manifest itself is asked before it is
// given up.
func kindOf(said types.MediaType, manifest []byte) (types.MediaType, error) {
	said, _, _ = cutMediaType(said)
	for _, kind := range []types.MediaType{said, ownKind(manifest)} {
		switch {
		case kind == types.DockerManifestSchema1 || kind == types.DockerManifestSchema1Signed:
			return "", remote.ErrSchema1
		case kind.IsImage() || kind.IsIndex():
			return kind, nil
		}
	}
	return "", &imageconfig.Failure{Reason: v1alpha1.ReasonLookupInvalid, Err: fmt.Errorf("its content type is %.100q, which is no manifest's", said)}
}

func cutMediaType(kind types.MediaType) (types.MediaType, string, bool) {
	before, after, ok := strings.Cut(string(kind), ";")
	return types.MediaType(strings.TrimSpace(before)), after, ok
}

func ownKind(manifest []byte) types.MediaType {
	parsed, err := v1.ParseManifest(strings.NewReader(string(manifest)))
	if err != nil {
		return ""
	}
	return parsed.MediaType
}

// parseIndex is which parts of an index are for these architectures, or for any if there are none, on Linux. others
// are the platforms that are not read; attestations (BuildKit's unknown/unknown) are not even among those.
func parseIndex(raw []byte, architectures []string) (parts []v1.Descriptor, others []imageconfig.Config, err error) {
	index, err := v1.ParseIndexManifest(strings.NewReader(string(raw)))
	if err != nil {
		return nil, nil, err
	}
	seen := map[imageconfig.Platform]bool{}
	for _, part := range index.Manifests {
		if !part.MediaType.IsImage() {
			continue // an index in an index, or an artifact
		}
		if p := part.Platform; p != nil && p.OS != "" {
			platform := platformOf(p)
			switch {
			case seen[platform] || platform.OS == "unknown":
				continue
			case platform.OS != "linux" || len(architectures) > 0 && !slices.Contains(architectures, platform.Architecture):
				if len(others) < maxPlatforms && platform.OS != "linux" {
					others = append(others, imageconfig.Config{Platform: platform})
				}
				continue
			}
			seen[platform] = true
		}
		if parts = append(parts, part); len(parts) > maxPlatforms {
			return nil, nil, errTooLarge
		}
	}
	return parts, others, nil
}

func platformOf(p *v1.Platform) imageconfig.Platform {
	return imageconfig.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
}

func (r *repository) reference(ref imageconfig.Reference) name.Reference {
	if ref.Digest != "" {
		return r.name.Digest(ref.Digest)
	}
	return r.name.Tag(ref.Tag)
}

// errand does something at the registry, unless it is known to be down.
func (r *repository) errand(ctx context.Context, do func(context.Context) error) error {
	host := r.name.RegistryStr()
	visit, err := r.breakers.enter(ctx, host, r.key, r.namespace)
	if err != nil {
		return failureOf(err)
	}
	defer visit.leave()

	if r.puller == nil {
		auth := authn.Anonymous
		if !r.login.empty() {
			auth = authn.FromConfig(authn.AuthConfig(r.login))
		}
		// Who waits for us has no time for a second try; the cache makes it.
		r.puller, err = remote.NewPuller(remote.WithAuth(auth), remote.WithTransport(r.transport), remote.WithUserAgent("podinit"),
			remote.WithRetryBackoff(remote.Backoff{Steps: 1}), remote.WithRetryStatusCodes())
		if err != nil {
			return failureOf(err)
		}
	}
	seen := &observed{now: r.now, host: host, namespace: r.namespace}
	err = do(context.WithValue(ctx, observedKey{}, seen))
	if err == nil {
		visit.hostAnswered()
		visit.repositoryAnswered()
		return nil
	}
	failure := *failureOf(err)
	failure.Registry, failure.RetryAfter = dockerHub(host), time.Duration(seen.after.Load())
	accident, ofHost := down(&failure), seen.hostFailed.Load()
	switch {
	case accident && ofHost:
		visit.hostFailed(failure.Reason)
	case seen.answered.Load():
		visit.hostAnswered()
	}
	switch {
	case !accident:
		visit.repositoryAnswered()
	case !ofHost:
		visit.repositoryFailed(failure.Reason)
	}
	return &failure
}

// down says whether a failure is an accident, of the host or of the repository: asking again soon is of no use.
func down(f *imageconfig.Failure) bool {
	switch f.Reason {
	case v1alpha1.ReasonLookupTimeout, v1alpha1.ReasonLookupUnreachable, v1alpha1.ReasonLookupTLS:
		return true
	}
	return f.Reason == v1alpha1.ReasonLookupFailed
}
