package planner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"sigs.k8s.io/yaml"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/output"
	"github.com/podinit/podinit/internal/imageconfig"
)

// source knows what the user has said about images, and asks registries about the others.
type source struct {
	given map[string]imageconfig.Image // by the reference's shortest name
	// registries are asked about the others; nil if they are not to be, and why says so.
	registries imageconfig.Source
	why        error
	// progress gets a line that says which registry the command waits for.
	progress io.Writer
}

// patience is how long a registry may take before progress gets that line.
const patience = time.Second

var (
	errOffline   = errors.New("--offline does not ask registries; set what an image runs with --image-config")
	errNoLookups = errors.New("the cluster's webhook does not ask registries (-lookups=false); set what an image runs with --image-config")
)

// Lookup is an imageconfig.Source.
func (s *source) Lookup(ctx context.Context, q imageconfig.Query) (imageconfig.Found, error) {
	if image, ok := s.given[q.Reference.String()]; ok {
		return imageconfig.Found{Image: image, From: imageconfig.FromRegistry}, nil
	}
	if s.registries == nil {
		return imageconfig.Found{}, &imageconfig.Failure{Reason: v1alpha1.ReasonNoCommand, Err: s.why}
	}
	slow := time.AfterFunc(patience, func() { fmt.Fprintf(s.progress, "asking %s what %s runs ...\n", q.Reference.Registry, q.Reference) })
	defer slow.Stop()
	return s.registries.Lookup(ctx, q)
}

// Known is an imageconfig.Source. Whether admission knows the image of a container that has a command depends on what
// it was asked before; what the user says counts.
func (s *source) Known(ctx context.Context, q imageconfig.Query) (imageconfig.Found, bool) {
	image, ok := s.given[q.Reference.String()]
	return imageconfig.Found{Image: image, From: imageconfig.FromRegistry}, ok
}

// readImages reads what --image-config names.
func readImages(args []string) (map[string]imageconfig.Image, error) {
	given := map[string]imageconfig.Image{}
	for _, arg := range args {
		image, path, one := strings.Cut(arg, "=")
		if !one {
			if err := readMap(given, arg); err != nil {
				return nil, err
			}
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("--image-config %s: %w", arg, err)
		}
		var configs []imageconfig.Config
		var digest string
		if info.IsDir() {
			configs, digest, err = readLayout(path)
		} else {
			var raw []byte
			if raw, err = readFile(path); err == nil {
				configs, err = parseOne(raw)
			}
		}
		if err == nil {
			err = give(given, image, digest, configs)
		}
		if err != nil {
			return nil, fmt.Errorf("--image-config %s: %w", arg, err)
		}
	}
	return given, nil
}

func parseOne(raw []byte) ([]imageconfig.Config, error) {
	config, err := imageconfig.Parse(raw)
	return []imageconfig.Config{config}, err
}

// readMap reads a file that maps images to image configs, in YAML or JSON.
func readMap(given map[string]imageconfig.Image, file string) error {
	text, err := readFile(file)
	if err != nil {
		return fmt.Errorf("--image-config %s: %w", file, err)
	}
	var all map[string]json.RawMessage
	if err := yaml.UnmarshalStrict(text, &all); err != nil {
		return fmt.Errorf("--image-config %s: reading a map from images to image configs: %w", file, err)
	}
	for image, raw := range all {
		configs, err := parseOne(raw)
		if err == nil {
			err = give(given, image, "", configs)
		}
		if err != nil {
			return fmt.Errorf("--image-config %s: %s: %w; write an image config with its image, as IMAGE=%s", file, image, err, file)
		}
	}
	return nil
}

// give says what an image runs: by its name, and where that ends in a digest, by its name with and without that.
func give(given map[string]imageconfig.Image, image, digest string, configs []imageconfig.Config) error {
	if err := imageconfig.CheckName(image); err != nil {
		return err
	}
	names := []string{image}
	if base, own, ok := strings.Cut(image, "@"); ok {
		digest = own
		if _, err := name.NewTag(base, name.WithDefaultTag("")); err == nil && strings.LastIndex(base, ":") > strings.LastIndex(base, "/") {
			names = append(names, base)
		}
	}
	for _, each := range names {
		reference, err := imageconfig.ParseReference(each)
		if err != nil {
			return err
		}
		given[reference.String()] = imageconfig.Image{Digest: digest, Configs: configs}
	}
	return nil
}

// readLayout reads the image in a directory with an OCI layout.
func readLayout(directory string) (configs []imageconfig.Config, digest string, err error) {
	index, err := layout.ImageIndexFromPath(directory)
	if err != nil {
		return nil, "", err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, "", err
	}
	if len(manifest.Manifests) != 1 {
		return nil, "", fmt.Errorf("the layout has %s, and must have one", output.Count(len(manifest.Manifests), "image"))
	}
	digest = manifest.Manifests[0].Digest.String()
	configs, err = readIndex(index, maxNesting)
	if err == nil && len(configs) == 0 {
		err = errors.New("the layout has no image for any platform")
	}
	return configs, digest, err
}

// maxNesting bounds how deep indexes are in one another.
const maxNesting = 4

func readIndex(index v1.ImageIndex, depth int) (configs []imageconfig.Config, err error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, d := range manifest.Manifests {
		switch {
		case d.Platform != nil && d.Platform.OS == "unknown": // attestations
		case d.MediaType.IsIndex() && depth > 0:
			inner, err := index.ImageIndex(d.Digest)
			if err != nil {
				return nil, err
			}
			more, err := readIndex(inner, depth-1)
			if err != nil {
				return nil, err
			}
			configs = append(configs, more...)
		case d.MediaType.IsImage():
			image, err := index.Image(d.Digest)
			if err != nil {
				return nil, err
			}
			raw, err := image.RawConfigFile()
			if err != nil {
				return nil, err
			}
			config, err := imageconfig.Parse(raw)
			if err != nil {
				return nil, err
			}
			configs = append(configs, config)
		}
	}
	return configs, nil
}
