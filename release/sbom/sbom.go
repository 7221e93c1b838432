// Package sbom lists what is in podinit's programs, as a CycloneDX software bill of materials. What is in a program is
// read from the program itself, where the Go linker wrote it.
package sbom

import (
	"cmp"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
)

// Program is one of podinit's programs.
type Program struct {
	// Name is what it is called, without a suffix.
	Name string
	// Files are its binaries, for one platform each.
	Files []string
}

// Licences names a module's licences by their SPDX identifiers.
type Licences func(module string) []string

// Write prints the bill of materials of a release: the programs, the modules that each is linked from, and Go's library.
// It has no serial number, and its time is created, so that it is the same whenever it is made.
func Write(to io.Writer, version string, created time.Time, programs []Program, licences Licences) error {
	modules := map[string]cyclonedx.Component{}
	release := cyclonedx.Component{
		BOMRef: "podinit@" + version, Type: cyclonedx.ComponentTypeApplication, Name: "podinit", Version: version,
		Licenses: choices([]string{"Apache-2.0"}), PackageURL: "pkg:golang/github.com/podinit/podinit@" + version,
	}
	var (
		components   []cyclonedx.Component
		parts        []string
		dependencies []cyclonedx.Dependency
	)
	for _, program := range programs {
		component := cyclonedx.Component{
			BOMRef: "program/" + program.Name, Type: cyclonedx.ComponentTypeApplication, Name: program.Name, Version: version,
			Licenses: choices([]string{"Apache-2.0"}),
		}
		linked := map[string]bool{}
		for _, file := range program.Files {
			info, err := buildinfo.ReadFile(file)
			if err != nil {
				return fmt.Errorf("read what %s was linked from: %w; build it with the go command", file, err)
			}
			for _, m := range append(info.Deps, standardLibrary(info)) {
				if m.Replace != nil {
					m = m.Replace
				}
				found, err := library(m, licences)
				if err != nil {
					return fmt.Errorf("module %s in %s: %w", m.Path, file, err)
				}
				modules[found.BOMRef], linked[found.BOMRef] = found, true
			}
		}
		components = append(components, component)
		parts = append(parts, component.BOMRef)
		dependencies = append(dependencies, dependency(component.BOMRef, slices.Sorted(maps.Keys(linked))))
	}
	libraries := slices.SortedFunc(maps.Values(modules), func(a, b cyclonedx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) })
	components = append(components, libraries...)
	dependencies = append([]cyclonedx.Dependency{dependency(release.BOMRef, parts)}, dependencies...)

	bom := cyclonedx.NewBOM()
	bom.Metadata = &cyclonedx.Metadata{Timestamp: created.UTC().Format(time.RFC3339), Component: &release}
	bom.Components, bom.Dependencies = &components, &dependencies
	return cyclonedx.NewBOMEncoder(to, cyclonedx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cyclonedx.SpecVersion1_6)
}

// standardLibrary is Go's own, which build information does not name among the modules.
func standardLibrary(info *buildinfo.BuildInfo) *debug.Module {
	return &debug.Module{Path: "std", Version: info.GoVersion}
}

func library(m *debug.Module, licences Licences) (cyclonedx.Component, error) {
	component := cyclonedx.Component{
		Type: cyclonedx.ComponentTypeLibrary, Name: m.Path, Version: m.Version,
		PackageURL: "pkg:golang/" + m.Path + "@" + strings.ReplaceAll(m.Version, "+", "%2B"), Licenses: choices(licences(m.Path)),
	}
	component.BOMRef = component.PackageURL
	if m.Sum != "" {
		// go.sum's hash, of the list of the module's files and their hashes.
		sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:"))
		if err != nil {
			return component, fmt.Errorf("sum %q: %w", m.Sum, err)
		}
		component.Hashes = &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: hex.EncodeToString(sum)}}
	}
	return component, nil
}

func choices(identifiers []string) *cyclonedx.Licenses {
	var licences cyclonedx.Licenses
	for _, identifier := range identifiers {
		licences = append(licences, cyclonedx.LicenseChoice{License: &cyclonedx.License{ID: identifier}})
	}
	if licences == nil {
		return nil
	}
	return &licences
}

func dependency(from string, on []string) cyclonedx.Dependency {
	return cyclonedx.Dependency{Ref: from, Dependencies: &on}
}
