package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/podinit/podinit/release/archive"
)

// WriteArchive writes a tar archive of an OCI image layout that holds the index under its name, REPOSITORY:TAG. containerd,
// podman, skopeo and Docker's containerd image store load it.
func WriteArchive(file string, index v1.ImageIndex, reference name.Tag, created time.Time) error {
	return writeLayout(file, created, func(to layout.Path) error { return to.AppendIndex(index, named(reference)) })
}

// WriteImage writes a tar archive of one image under its name. It is an OCI image layout, and has besides what "docker load"
// of every Docker engine reads, manifest.json, which names the same files.
func WriteImage(file string, image v1.Image, reference name.Tag, created time.Time) error {
	manifest, err := image.Manifest()
	if err != nil {
		return err
	}
	entry := dockerEntry{Config: blob(manifest.Config.Digest), RepoTags: []string{reference.String()}}
	for _, layer := range manifest.Layers {
		entry.Layers = append(entry.Layers, blob(layer.Digest))
	}
	entries, err := json.Marshal([]dockerEntry{entry})
	if err != nil {
		return err
	}
	return writeLayout(file, created, func(to layout.Path) error { return to.AppendImage(image, named(reference)) },
		archive.File{Name: "manifest.json", Content: entries})
}

// dockerEntry is an image in the manifest.json of "docker save".
type dockerEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// blob is the path of a part of an image in a layout.
func blob(digest v1.Hash) string { return "blobs/" + digest.Algorithm + "/" + digest.Hex }

func named(reference name.Tag) layout.Option {
	return layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": reference.TagStr(),
		"io.containerd.image.name":          reference.Name(),
	})
}

// writeLayout writes an archive of a layout that add has put something into, and of more files.
func writeLayout(file string, created time.Time, add func(layout.Path) error, more ...archive.File) (err error) {
	directory, err := os.MkdirTemp("", "podinit-image-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(directory)) }()
	written, err := layout.Write(directory, empty.Index)
	if err != nil {
		return err
	}
	if err := add(written); err != nil {
		return err
	}
	files, err := archive.FromDirectory(directory)
	if err != nil {
		return err
	}
	for i := range files {
		files[i].Executable = false // layout makes some so
	}
	return archive.Create(file, func(to io.Writer) error { return archive.WriteTar(to, append(files, more...), created) })
}

// Open reads the image of an archive that WriteImage has written. Its digest is the one that it was made with.
func Open(file string) (v1.Image, error) {
	image, err := open(file)
	if err != nil {
		return nil, fmt.Errorf("read the image archive %s: %w", file, err)
	}
	return image, nil
}

func open(file string) (v1.Image, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	stored := stored{files: map[string][]byte{}}
	for r := tar.NewReader(bytes.NewReader(content)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if stored.files[header.Name], err = io.ReadAll(r); err != nil {
			return nil, err
		}
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(stored.files["index.json"]))
	if err != nil {
		return nil, err
	}
	if len(index.Manifests) != 1 || !index.Manifests[0].MediaType.IsImage() {
		return nil, errors.New("it does not hold one image")
	}
	stored.descriptor = index.Manifests[0]
	if stored.manifest, err = v1.ParseManifest(bytes.NewReader(stored.blob(stored.descriptor.Digest))); err != nil {
		return nil, err
	}
	return partial.CompressedToImage(stored)
}

// stored is an image in the files of a layout; it is a partial.CompressedImageCore.
type stored struct {
	files      map[string][]byte
	descriptor v1.Descriptor
	manifest   *v1.Manifest
}

func (s stored) blob(digest v1.Hash) []byte { return s.files[blob(digest)] }

// MediaType is that of the manifest.
func (s stored) MediaType() (types.MediaType, error) { return s.descriptor.MediaType, nil }

// RawManifest is the manifest, as it was written.
func (s stored) RawManifest() ([]byte, error) { return s.blob(s.descriptor.Digest), nil }

// RawConfigFile is the config, as it was written.
func (s stored) RawConfigFile() ([]byte, error) { return s.blob(s.manifest.Config.Digest), nil }

// LayerByDigest is one of the layers.
func (s stored) LayerByDigest(digest v1.Hash) (partial.CompressedLayer, error) {
	for _, layer := range s.manifest.Layers {
		if layer.Digest == digest {
			return storedLayer{layer, s.blob(digest)}, nil
		}
	}
	return nil, fmt.Errorf("there is no layer %s", digest)
}

type storedLayer struct {
	descriptor v1.Descriptor
	content    []byte
}

func (l storedLayer) Digest() (v1.Hash, error)            { return l.descriptor.Digest, nil }
func (l storedLayer) Size() (int64, error)                { return l.descriptor.Size, nil }
func (l storedLayer) MediaType() (types.MediaType, error) { return l.descriptor.MediaType, nil }
func (l storedLayer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.content)), nil
}
