// Package image makes podinit's container images, as the Dockerfile makes them: a static program, a user that is not root,
// and labels. It needs no engine, and equal programs make an equal digest. Everything that this repository ships, tests or
// tries comes from here.
package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/podinit/podinit/release/archive"
)

// Spec is one of the images: all of it but the version, the time and the program itself.
type Spec struct {
	// Name is the last word of the image's repository.
	Name string
	// Program is the name of the binary, in bin/linux/ARCH and at the root of the image. It is the entrypoint.
	Program string
	// Title and Description are labels for people that look at a registry.
	Title, Description string
}

// Init, Webhook and Node are the images. The Dockerfile has the same; a test compares.
var (
	Init = Spec{Name: "init", Program: "init", Title: "podinit init",
		Description: "The init that podinit copies into pods: PID 1 that forwards signals, reaps, and waits."}
	Webhook = Spec{Name: "webhook", Program: "podinit-webhook", Title: "podinit webhook",
		Description: "The admission webhook that gives every pod a real PID 1."}
	Node = Spec{Name: "node", Program: "podinit-node", Title: "podinit node",
		Description: "The plugin of a node's container runtime that gives every container a real PID 1."}
)

// All are all of them.
var All = []Spec{Init, Webhook, Node}

// user is numeric, so that the kubelet can tell that it is not root.
const user = "65532:65532"

// path is what Docker and buildah set where a Dockerfile sets none.
const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// variants are what the Makefile compiles for, where an architecture has several that differ in the registry's eyes.
var variants = map[string]string{"arm": "v7"}

// Build makes an index of one image per architecture, of the programs at binaries/ARCH/PROGRAM.
func (s Spec) Build(binaries string, architectures []string, version string, created time.Time) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, architecture := range slices.Sorted(slices.Values(architectures)) {
		image, err := s.BuildOne(binaries, architecture, version, created)
		if err != nil {
			return nil, err
		}
		platform := platformOf(architecture)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &platform}})
	}
	return index, nil
}

// BuildOne makes the image of one architecture, the one that Build has in its index.
func (s Spec) BuildOne(binaries, architecture, version string, created time.Time) (v1.Image, error) {
	platform := platformOf(architecture)
	image, err := s.build(filepath.Join(binaries, architecture, s.Program), platform, version, created)
	if err != nil {
		return nil, fmt.Errorf("make the image %s for %s: %w", s.Name, platform, err)
	}
	return image, nil
}

func platformOf(architecture string) v1.Platform {
	return v1.Platform{OS: "linux", Architecture: architecture, Variant: variants[architecture]}
}

func (s Spec) build(program string, platform v1.Platform, version string, created time.Time) (v1.Image, error) {
	var content bytes.Buffer
	if err := archive.WriteTar(&content, []archive.File{{Name: s.Program, Executable: true, Source: program}}, created); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	created = created.UTC()
	image, err := mutate.Append(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON),
		mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: created}, CreatedBy: "COPY " + s.Program + " /"}})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = platform.OS, platform.Architecture, platform.Variant
	config.Created = v1.Time{Time: created}
	config.Config = v1.Config{Entrypoint: []string{"/" + s.Program}, User: user, Env: []string{path}, Labels: s.labels(version)}
	return mutate.ConfigFile(image, config)
}

// labels are those of the OCI image specification.
func (s Spec) labels(version string) map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       s.Title,
		"org.opencontainers.image.description": s.Description,
		"org.opencontainers.image.source":      "https://github.com/podinit/podinit",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     version,
	}
}

// Named is the image with its own name as a label, so that the same programs under two names are two images.
//
// An image that is loaded into a node needs that. From Kubernetes 1.35, a kubelet that has pulled an image under one name asks
// the registry before it runs the same image under another name, although the node has it (KEP-2535), and no registry has an
// image that was only loaded.
func Named(image v1.Image, reference name.Tag) (v1.Image, error) {
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	if config.Config.Labels == nil {
		config.Config.Labels = map[string]string{}
	}
	config.Config.Labels["org.opencontainers.image.ref.name"] = reference.String()
	return mutate.ConfigFile(image, config)
}

// Push uploads what the registry does not have yet, with the user's credentials as "docker login" keeps them, and returns
// the name that pods should use: with the tag for people and the digest for the node.
func Push(ctx context.Context, index v1.ImageIndex, to name.Tag) (string, error) {
	if err := remote.WriteIndex(to, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return "", fmt.Errorf("push %s: %w; log in with \"docker login %s\", and see that the repository exists and is yours", to, err, to.RegistryStr())
	}
	return Pinned(index, to)
}

// Pinned is the name of an index, or of an image, by tag and digest.
func Pinned(index interface{ Digest() (v1.Hash, error) }, reference name.Tag) (string, error) {
	digest, err := index.Digest()
	if err != nil {
		return "", err
	}
	return reference.String() + "@" + digest.String(), nil
}

// Reference is the image's name in a repository. A registry that is reached by plain HTTP must be said to be one.
func (s Spec) Reference(repository, tag string, plainHTTP bool) (name.Tag, error) {
	var options []name.Option
	if plainHTTP {
		options = append(options, name.Insecure)
	}
	if repository == "" {
		return name.Tag{}, errors.New("the images need an image repository, HOST/PATH, for example registry.example/podinit")
	}
	reference, err := name.NewTag(strings.TrimSuffix(repository, "/")+"/"+s.Name+":"+tag, options...)
	if err != nil {
		return name.Tag{}, fmt.Errorf("image repository %q, tag %q: %w; give HOST/PATH without a tag, for example registry.example/podinit", repository, tag, err)
	}
	return reference, nil
}
