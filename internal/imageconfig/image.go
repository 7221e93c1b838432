package imageconfig

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/podinit/podinit/api/v1alpha1"
)

// Image is what a reference stands for.
type Image struct {
	// Digest of its manifest, or of its index if it is made for several platforms.
	Digest string
	// Configs, one for every platform that matters.
	Configs []Config
}

// On is the config that holds on whichever of these architectures the Pod is scheduled; without any, on all that the
// image is made for. If there is none, the reason says why.
//
// An image that is no index is what the reference stands for everywhere, whatever architecture it names.
func (i Image) On(architectures []string) (Config, *Failure) {
	var fit []Config
	for _, c := range i.Configs {
		switch {
		case c.Platform.OS != "linux" && c.Platform.OS != "":
		case len(i.Configs) > 1 && len(architectures) > 0 && !slices.Contains(architectures, c.Platform.Architecture):
		default:
			fit = append(fit, c)
		}
	}
	if len(fit) == 0 {
		return Config{}, &Failure{Reason: v1alpha1.ReasonImageNotLinux, Err: fmt.Errorf("it is made for %s", i.platforms())}
	}
	for _, c := range fit[1:] {
		if !slices.Equal(c.Entrypoint, fit[0].Entrypoint) || !slices.Equal(c.Cmd, fit[0].Cmd) || c.StopSignal != fit[0].StopSignal {
			return Config{}, &Failure{Reason: v1alpha1.ReasonPlatformsDiffer, Err: fmt.Errorf("%s runs %q, %s runs %q",
				fit[0].Platform, slices.Concat(fit[0].Entrypoint, fit[0].Cmd), c.Platform, slices.Concat(c.Entrypoint, c.Cmd))}
		}
	}
	return fit[0], nil
}

func (i Image) platforms() string {
	var all []string
	for _, c := range i.Configs {
		all = append(all, c.Platform.String())
	}
	if len(all) == 0 {
		return "no platform of this cluster"
	}
	return strings.Join(all, ", ")
}

func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

func (i Image) size() int {
	n := len(i.Digest)
	for _, c := range i.Configs {
		n += c.size() + configOverhead
	}
	return n
}

// Reference is the name of an image, taken apart.
type Reference struct {
	// Registry is the host, with its port if it names one; index.docker.io if the name has none.
	Registry string
	// Repository within the registry.
	Repository string
	// Tag is empty only if there is a Digest, which then counts alone.
	Tag, Digest string
}

// ParseReference takes the name of an image apart as it stands in a container.
func ParseReference(image string) (Reference, error) {
	// Container runtimes take localhost for a registry (distribution/reference), package name for a user of Docker Hub.
	if path, ok := strings.CutPrefix(image, "localhost/"); ok {
		image = "localhost:443/" + path
	}
	parsed, err := name.ParseReference(image)
	if err != nil {
		return Reference{}, fmt.Errorf("reading the image's name: %w", err)
	}
	ref := Reference{Registry: parsed.Context().RegistryStr(), Repository: parsed.Context().RepositoryStr()}
	if digest, ok := parsed.(name.Digest); ok {
		ref.Digest = digest.DigestStr()
	} else {
		ref.Tag = parsed.Identifier()
	}
	return ref, nil
}

// Name is the repository with its registry.
func (r Reference) Name() string { return r.Registry + "/" + r.Repository }

// Pinned says whether the reference names content, not something that may change.
func (r Reference) Pinned() bool { return r.Digest != "" }

// Identifier is the digest, or else the tag.
func (r Reference) Identifier() string {
	if r.Digest != "" {
		return r.Digest
	}
	return r.Tag
}

// String is the shortest name that stands for the same.
func (r Reference) String() string {
	if r.Digest != "" {
		return r.Name() + "@" + r.Digest
	}
	return r.Name() + ":" + r.Tag
}
