// Package imageconfigtest has an imageconfig.Source for tests.
package imageconfigtest

import (
	"context"
	"strings"

	"github.com/podinit/podinit/internal/imageconfig"
)

// Source is made of functions.
type Source struct {
	// OnLookup is Lookup.
	OnLookup func(context.Context, imageconfig.Query) (imageconfig.Found, error)
	// OnKnown is Known; without it nothing is known.
	OnKnown func(imageconfig.Query) (imageconfig.Found, bool)
}

// Lookup is an imageconfig.Source's.
func (s Source) Lookup(ctx context.Context, q imageconfig.Query) (imageconfig.Found, error) {
	return s.OnLookup(ctx, q)
}

// Known is an imageconfig.Source's.
func (s Source) Known(_ context.Context, q imageconfig.Query) (imageconfig.Found, bool) {
	if s.OnKnown == nil {
		return imageconfig.Found{}, false
	}
	return s.OnKnown(q)
}

// Digest of every image that Runs makes.
var Digest = "sha256:" + strings.Repeat("0a", 32)

// Runs is an image for Linux with that stop signal and entrypoint, found in the cache.
func Runs(stopSignal string, entrypoint ...string) imageconfig.Found {
	return imageconfig.Found{From: imageconfig.FromCache, Image: imageconfig.Image{
		Digest:  Digest,
		Configs: []imageconfig.Config{{Platform: imageconfig.Platform{OS: "linux"}, Entrypoint: entrypoint, StopSignal: stopSignal}},
	}}
}
