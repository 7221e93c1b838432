package imageconfig

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/distribution/reference"
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

// On are the configs that hold on these architectures, or without any on all that the image is made for: one if they run
// the same, else one for each platform. If there is none, the reason says why. The result may be i's own.
//
// An image that is not an index is what the reference stands for everywhere, whatever architecture it names.
func (i Image) On(architectures []string) ([]Config, *Failure) {
	if len(i.Configs) == 1 && i.Configs[0].forLinux() {
		return i.Configs, nil
	}
	var fit []Config
	size, differ := 0, false
	for _, c := range i.Configs {
		switch {
		case !c.forLinux():
		case len(i.Configs) > 1 && (!c.Platform.plain() || len(architectures) > 0 && !slices.Contains(architectures, c.Platform.Architecture)):
		case slices.ContainsFunc(fit, func(f Config) bool { return f.Platform == c.Platform }): // the first counts, as for runtimes
		default:
			fit = append(fit, c)
			size += c.Size()
			differ = differ || !c.runsAs(fit[0])
		}
	}
	switch {
	case len(fit) == 0:
		return nil, &Failure{Reason: v1alpha1.ReasonImageNotLinux, Err: fmt.Errorf("it is made for %s", i.platforms())}
	case !differ:
		return fit[:1], nil
	case size > maxWords:
		return nil, &Failure{Reason: v1alpha1.ReasonPlatformsDiffer, Err: fmt.Errorf("its commands for %d platforms have %d bytes together, more than %d", len(fit), size, maxWords)}
	}
	return fit, nil
}

// forLinux says whether c may be for Linux: an image that is not an index need not say it.
func (c Config) forLinux() bool { return c.Platform.OS == "linux" || c.Platform.OS == "" }

// runsAs says whether c is run, and stopped, as d is.
func (c Config) runsAs(d Config) bool {
	return slices.Equal(c.Entrypoint, d.Entrypoint) && slices.Equal(c.Cmd, d.Cmd) && c.StopSignal == d.StopSignal
}

// plain says whether p is complete and names what can be: another cannot be run, and would have to be written into a Pod.
func (p Platform) plain() bool {
	plain := func(word string) bool {
		return len(word) <= 32 && !strings.ContainsFunc(word, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
		})
	}
	return p.OS != "" && p.Architecture != "" && plain(p.Architecture) && plain(p.Variant)
}

func (i Image) platforms() string {
	var all []string
	for _, c := range i.Configs {
		all = append(all, c.Platform.String())
	}
	if len(all) == 0 {
		return "not for a platform of this cluster"
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
		n += c.Size() + configOverhead
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

// maxName bounds the name of an image, in bytes. Registries take repositories of 255 bytes, hosts have 253, tags 128
// and digests 135.
const maxName = 1 << 10

// ErrNameTooLong is what CheckName says of a name above its bound.
var ErrNameTooLong = fmt.Errorf("the image's name is longer than %d bytes", maxName)

// CheckName says whether the name of an image is short enough to be read. Every reader of one asks this first: names come
// from Pods, where they may be of megabytes.
func CheckName(image string) error {
	if len(image) > maxName {
		return ErrNameTooLong
	}
	return nil
}

// ParseReference takes the name of an image apart as it stands in a container.
func ParseReference(image string) (Reference, error) {
	if err := CheckName(image); err != nil {
		return Reference{}, err
	}
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

// CheckPullable says what keeps the name of an image from being pulled, in words for its author; nil if nothing does. It
// is for images that an administrator names, the init's: the apiserver refuses a Pod whose image has white space around
// its name, and the kubelet waits with InvalidImageName for what distribution/reference cannot read, which is stricter
// than ParseReference.
func CheckPullable(image string) error {
	switch {
	case image == "":
		return errors.New("invalid image reference: it is empty")
	case strings.TrimSpace(image) != image:
		return fmt.Errorf("invalid image reference %q: remove the space or line break at its beginning or end", short(image))
	case strings.ContainsFunc(image, unicode.IsSpace):
		return fmt.Errorf("invalid image reference %q: it contains a space or line break", short(image))
	}
	if err := CheckName(image); err != nil {
		return fmt.Errorf("invalid image reference: %w", err)
	}
	if _, err := reference.ParseNormalizedNamed(image); err != nil {
		return fmt.Errorf("invalid image reference %q: want registry/repository:tag or registry/repository@sha256:...: %w", image, err)
	}
	if _, err := ParseReference(image); err != nil {
		return fmt.Errorf("invalid image reference %q: %w", image, err)
	}
	return nil
}

// short is the beginning of a long name.
func short(image string) string {
	const most = 200
	if len(image) <= most {
		return image
	}
	return strings.ToValidUTF8(image[:most], "") + "..."
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
		return r.Registry + "/" + r.Repository + "@" + r.Digest
	}
	return r.Registry + "/" + r.Repository + ":" + r.Tag
}
