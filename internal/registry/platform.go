package registry

import (
	"encoding/json"
	"slices"
	"sort"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/podinit/podinit/internal/imageconfig"
)

const (
	// maxPlatforms bounds how many configs of one index are read. Official images are made for up to ten.
	maxPlatforms = 16
	// maxParts bounds how many parts an index may have. Each is compared with each kind of node.
	maxParts = 1024
	// maxDepth bounds how deep indexes may stand in indexes.
	maxDepth = 4
	// maxPlatform bounds each word of a platform, in bytes. Those that there are have about ten.
	maxPlatform = 64
	// maxTree bounds what is kept of all manifests and configs of an image while the next one is read, in bytes.
	maxTree = 512 << 10
	// descriptorOverhead is what a descriptor with a platform takes besides its words, in bytes, on 64 bits.
	descriptorOverhead = 216
)

// platform is what is read of the platform of an index's part: the version of its system, which only Windows compares,
// and the names of its features may be large.
type platform struct {
	OS           string            `json:"os"`
	Architecture string            `json:"architecture"`
	Variant      string            `json:"variant"`
	OSFeatures   []json.RawMessage `json:"os.features"`
}

// tooLong says whether a platform is one that no node has, by the length of its words alone.
func (p *platform) tooLong() bool {
	return p != nil && max(len(p.OS), len(p.Architecture), len(p.Variant)) > maxPlatform
}

// kept is a platform as containerd compares it. Nodes of Linux have no features: any keeps a part from them.
func (p *platform) kept() *ocispec.Platform {
	if p == nil {
		return nil
	}
	kept := &ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
	if len(p.OSFeatures) > 0 {
		kept.OSFeatures = someFeature
	}
	return kept
}

var someFeature = []string{"some"}

// nodePlatforms are the kinds of nodes that may run an image: those of these architectures, in Go's names, or without any
// all for which an index has a part that they can run.
func nodePlatforms(index ocispec.Index, architectures []string) []ocispec.Platform {
	if len(architectures) == 0 {
		architectures = architecturesOf(index)
	}
	var all []ocispec.Platform
	for _, architecture := range architectures {
		variants := []string{""}
		if architecture == "arm" { // which of them the init finds out
			variants = []string{"v5", "v6", "v7"}
		}
		for _, variant := range variants {
			all = append(all, ocispec.Platform{OS: "linux", Architecture: architecture, Variant: variant})
		}
	}
	return all
}

// architecturesOf are the architectures of nodes that can run some part of an index.
func architecturesOf(index ocispec.Index) []string {
	seen := map[string]bool{}
	for _, part := range index.Manifests {
		if part.Platform == nil { // an index in an index, or one part that says it itself
			seen["amd64"], seen["arm64"] = true, true
			continue
		}
		p := platforms.Normalize(*part.Platform)
		if p.OS != "linux" || p.Architecture == "" {
			continue
		}
		seen[p.Architecture] = true
		switch p.Architecture { // what a 64-bit machine runs besides
		case "386":
			seen["amd64"] = true
		case "arm":
			seen["arm64"] = true
		}
	}
	var all []string
	for architecture := range seen {
		all = append(all, architecture)
	}
	slices.Sort(all)
	return all
}

// pick is the part of an index that containerd takes on a node (images.Manifest).
func pick(index ocispec.Index, node platforms.MatchComparer) (ocispec.Descriptor, bool) {
	var fit []ocispec.Descriptor
	for _, part := range index.Manifests {
		if part.Platform == nil || node.Match(*part.Platform) {
			fit = append(fit, part)
		}
	}
	if len(fit) == 0 {
		return ocispec.Descriptor{}, false
	}
	sort.SliceStable(fit, func(i, j int) bool {
		switch {
		case fit[i].Platform == nil:
			return false
		case fit[j].Platform == nil:
			return true
		}
		return node.Less(*fit[i].Platform, *fit[j].Platform)
	})
	return fit[0], true
}

// others are the platforms of an index that no node of Linux runs, to say what the image is made for. Attestations
// (BuildKit's unknown/unknown) are none.
func others(index ocispec.Index) []imageconfig.Config {
	var all []imageconfig.Config
	for _, part := range index.Manifests {
		if part.Platform == nil || part.Platform.OS == "" || part.Platform.OS == "unknown" {
			continue
		}
		p := platforms.Normalize(*part.Platform)
		config := imageconfig.Config{Platform: imageconfig.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}}
		if p.OS == "linux" || len(all) == maxPlatforms ||
			slices.ContainsFunc(all, func(c imageconfig.Config) bool { return c.Platform == config.Platform }) {
			continue
		}
		all = append(all, config)
	}
	return all
}
