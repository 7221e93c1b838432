package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/podinit/podinit/release/archive"
	"github.com/podinit/podinit/release/licence"
	"github.com/podinit/podinit/release/sbom"
)

// downloads is where the files of a release are found.
const downloads = "https://github.com/podinit/podinit/releases/download/"

// dist writes everything that a release has into a new directory.
func dist(o options, out io.Writer) error {
	if err := os.RemoveAll(o.output); err != nil {
		return err
	}
	if err := os.MkdirAll(o.output, 0o755); err != nil {
		return err
	}
	modules, err := licences(o)
	if err != nil {
		return err
	}
	var notices bytes.Buffer
	if err := licence.Write(&notices, modules); err != nil {
		return err
	}
	if err := o.write("THIRD_PARTY_LICENSES.txt", notices.Bytes()); err != nil {
		return err
	}
	names, err := images(o, "podinit-image-"+o.version+"-", io.Discard)
	if err != nil {
		return err
	}
	objects, err := manifests(".", names, o.version)
	if err != nil {
		return err
	}
	if err := o.write("install.yaml", objects); err != nil {
		return err
	}
	if err := o.configuration("config", names); err != nil {
		return err
	}
	if err := o.chart("charts/podinit", names); err != nil {
		return err
	}
	if err := o.commandLine(notices.Bytes()); err != nil {
		return err
	}
	if err := o.bill(modules); err != nil {
		return err
	}
	return o.checksums(out)
}

func (o options) write(file string, content []byte) error {
	return archive.Create(filepath.Join(o.output, file), func(to io.Writer) error {
		_, err := to.Write(content)
		return err
	})
}

// manifests is config/default with the images by digest, for kubectl apply. The label says the version, which a digest hides.
func manifests(root string, names map[string]string, version string) ([]byte, error) {
	// Kustomize reads from memory: nothing is written next to the sources.
	files := filesys.MakeFsInMemory()
	sources, err := archive.FromDirectory(filepath.Join(root, "config"))
	if err != nil {
		return nil, err
	}
	for _, source := range sources {
		content, err := os.ReadFile(source.Source)
		if err != nil {
			return nil, err
		}
		if source.Name == "deploy.yaml" {
			content = []byte(strings.NewReplacer("@INIT_IMAGE@", names["init"], "@WEBHOOK_IMAGE@", names["webhook"]).Replace(string(content)) +
				"labels: [{pairs: {app.kubernetes.io/version: \"" + version + "\"}}]\n")
			source.Name = "../bin/deploy/kustomization.yaml" // where "make deploy" has it, and its paths lead from
		}
		if err := files.WriteFile(path.Join("/config", source.Name), content); err != nil {
			return nil, err
		}
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, "/bin/deploy")
	if err != nil {
		return nil, fmt.Errorf("kustomize config/deploy.yaml: %w", err)
	}
	return resources.AsYaml()
}

// configuration packs the kustomizations in directory, with all images by digest.
func (o options) configuration(directory string, names map[string]string) error {
	files, err := archive.FromDirectory(directory)
	if err != nil {
		return fmt.Errorf("pack the kustomizations: %w", err)
	}
	files = slices.DeleteFunc(files, func(file archive.File) bool {
		return path.Ext(file.Name) == ".go" || file.Name == "deploy.yaml" // for programs, and for "make deploy"
	})
	found := map[string]bool{}
	for i, file := range files {
		content, err := os.ReadFile(file.Source)
		if err != nil {
			return err
		}
		text := string(content)
		for name, pinned := range names {
			latest := sourceRepository + "/" + name + ":latest"
			found[name] = found[name] || strings.Contains(text, latest)
			text = strings.ReplaceAll(text, latest, pinned)
		}
		files[i] = archive.File{Name: "config/" + file.Name, Content: []byte(strings.ReplaceAll(text, sourceRepository+"/", o.repository+"/"))}
	}
	for name := range names {
		if !found[name] {
			return fmt.Errorf("pack the kustomizations: none in %s names %s/%s:latest, in whose place the image of the release goes", directory, sourceRepository, name)
		}
	}
	name := "podinit-config-" + o.version + ".tar.gz"
	return archive.Create(filepath.Join(o.output, name), func(to io.Writer) error { return archive.WriteTarGzip(to, files, o.created) })
}

// sourceRepository is where the sources say that the images are.
const sourceRepository = "ghcr.io/podinit"

// chart packs the Helm chart in directory for this version, these images and their repository. "helm package" would do, but for the times
// of the files, which it takes over.
func (o options) chart(directory string, names map[string]string) error {
	files, err := archive.FromDirectory(directory)
	if err != nil {
		return fmt.Errorf("pack the chart: %w", err)
	}
	if files, err = kept(files, filepath.Join(directory, ".helmignore")); err != nil {
		return fmt.Errorf("pack the chart: %w", err)
	}
	for i, file := range files {
		content, err := os.ReadFile(file.Source)
		if err != nil {
			return err
		}
		switch file.Name {
		case "Chart.yaml":
			content, err = versioned(content, o.version, names)
		case "values.yaml":
			content, err = withRepository(content, o.repository)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file.Source, err)
		}
		files[i] = archive.File{Name: "podinit/" + file.Name, Content: content}
	}
	name := "podinit-" + strings.TrimPrefix(o.version, "v") + ".tgz"
	return archive.Create(filepath.Join(o.output, name), func(to io.Writer) error { return archive.WriteTarGzip(to, files, o.created) })
}

// kept are the files that a .helmignore leaves, of whose patterns those for names alone are understood.
func kept(files []archive.File, helmignore string) ([]archive.File, error) {
	text, err := os.ReadFile(helmignore)
	if err != nil {
		return nil, err
	}
	for _, pattern := range strings.Fields(string(text)) {
		if _, err := path.Match(pattern, ""); err != nil || strings.ContainsAny(pattern, "/!#") {
			return nil, fmt.Errorf("%s: the pattern %q is not understood here: write one for the names of files", helmignore, pattern)
		}
		files = slices.DeleteFunc(files, func(file archive.File) bool {
			matches, _ := path.Match(pattern, path.Base(file.Name)) // the pattern is good
			return matches
		})
	}
	return files, nil
}

// versioned is Chart.yaml with the version of the release: Helm's own without the v, the programs' with it. Annotations have the
// digests of its images, which the chart's templates read: a digest among the values would win over a tag that a user names.
func versioned(chart []byte, version string, names map[string]string) ([]byte, error) {
	var fields map[string]any
	if err := yaml.Unmarshal(chart, &fields); err != nil {
		return nil, err
	}
	fields["version"], fields["appVersion"] = strings.TrimPrefix(version, "v"), version
	annotations, _ := fields["annotations"].(map[string]any)
	if annotations == nil {
		annotations = map[string]any{}
	}
	for name, pinned := range names {
		_, digest, ok := strings.Cut(pinned, "@")
		if !ok {
			return nil, fmt.Errorf("image %s has no digest", pinned)
		}
		annotations["podinit.dev/digest."+name] = digest
	}
	fields["annotations"] = annotations
	return yaml.Marshal(fields)
}

// withRepository is values.yaml, comments and all, with the repository that the images are pushed to.
func withRepository(values []byte, repository string) ([]byte, error) {
	const line = "\n  registry: " + sourceRepository + "\n"
	if strings.Count(string(values), line) != 1 {
		return nil, fmt.Errorf("want exactly one line %q, to put %s there", strings.TrimSpace(line), repository)
	}
	return []byte(strings.Replace(string(values), line, "\n  registry: "+repository+"\n", 1)), nil
}

// commandLine packs the CLI for each platform, under both its names, and writes krew's manifest of it.
func (o options) commandLine(notices []byte) error {
	krew := plugin(o.version)
	for _, on := range o.platforms {
		name := fmt.Sprintf("podinit_%s_%s_%s", o.version, on.os, on.architecture)
		binary := o.binary(on, "podinit")
		files := []archive.File{
			{Name: "podinit" + on.suffix(), Executable: true, Source: binary},
			{Name: "LICENSE", Source: "LICENSE"},
			{Name: "THIRD_PARTY_LICENSES.txt", Content: notices},
		}
		write := archive.WriteTarGzip
		if on.os == "windows" {
			name, write = name+".zip", archive.WriteZip
			files = append(files, archive.File{Name: "kubectl-podinit" + on.suffix(), Executable: true, Source: binary})
		} else {
			name += ".tar.gz"
			files = append(files, archive.File{Name: "kubectl-podinit", Link: "podinit"})
		}
		file := filepath.Join(o.output, name)
		if err := archive.Create(file, func(to io.Writer) error { return write(to, files, o.created) }); err != nil {
			return err
		}
		digest, err := sum(file)
		if err != nil {
			return err
		}
		krew.Spec.Platforms = append(krew.Spec.Platforms, pluginPlatform{
			Selector: selector{map[string]string{"os": on.os, "arch": on.architecture}},
			URI:      downloads + o.version + "/" + name, SHA256: digest, Bin: "podinit" + on.suffix(),
		})
	}
	content, err := yaml.Marshal(krew)
	if err != nil {
		return err
	}
	return o.write("krew.yaml", content)
}

// bill writes the software bill of materials.
func (o options) bill(modules []licence.Module) error {
	identifiers := map[string][]string{}
	for _, m := range modules {
		identifiers[m.Path] = m.Licences
	}
	var parts []sbom.Program
	for _, p := range programs {
		part := sbom.Program{Name: p.name}
		for _, on := range o.builtFor(p) {
			part.Files = append(part.Files, o.binary(on, p.name))
		}
		parts = append(parts, part)
	}
	return archive.Create(filepath.Join(o.output, "podinit-"+o.version+"-sbom.cdx.json"), func(to io.Writer) error {
		return sbom.Write(to, o.version, o.created, parts, func(module string) []string { return identifiers[module] })
	})
}

// checksums writes the SHA-256 of every file, as sha256sum -c reads it, and prints them.
func (o options) checksums(out io.Writer) error {
	files, err := archive.FromDirectory(o.output)
	if err != nil {
		return err
	}
	var sums bytes.Buffer
	for _, file := range files { // sorted, as directories are walked
		digest, err := sum(file.Source)
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%s  %s\n", digest, file.Name)
	}
	if _, err := out.Write(sums.Bytes()); err != nil {
		return err
	}
	return o.write("checksums.txt", sums.Bytes())
}

func sum(file string) (string, error) {
	opened, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer opened.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, opened); err != nil {
		return "", fmt.Errorf("read %s: %w", file, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
