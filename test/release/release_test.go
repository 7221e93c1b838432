// Package release tests what "make release" makes: that two builds of the same sources, in different directories, are the
// same byte for byte, and that what is in them works.
package release

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/podinit/podinit/release/image"
)

var (
	architectures = flag.String("architectures", "amd64 arm64", "architectures of the images")
	platforms     = flag.String("platforms", "linux/amd64 linux/arm64 windows/amd64", "platforms of the CLI")
	helm          = flag.String("helm", "helm", "the program helm")
	cold          = flag.Bool("cold", false, "compile everything twice, each time with an empty cache (half an hour)")
)

const (
	version    = "v9.8.7-test.1"
	epoch      = "1767323045" // 2026-01-02T03:04:05Z
	repository = "registry.example/podinit"
)

func TestRelease(t *testing.T) {
	sources := repositoryRoot(t)
	first, second := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "another", "directory")
	// What may differ from one machine to the next does.
	build(t, sources, first, "umask 022; export TZ=UTC LC_ALL=C")
	build(t, sources, second, "umask 077; export TZ=Asia/Tokyo LC_ALL=C.UTF-8 USER=somebody; sleep 1.1")
	dist := filepath.Join(first, "dist")

	t.Run("reproducible", func(t *testing.T) {
		one, two := contents(t, dist), contents(t, filepath.Join(second, "dist"))
		if diff := cmp.Diff(slices.Sorted(maps.Keys(one)), slices.Sorted(maps.Keys(two))); diff != "" {
			t.Fatalf("files (-first +second):\n%s", diff)
		}
		for name := range one {
			if !bytes.Equal(one[name], two[name]) {
				t.Errorf("%s differs between two builds", name)
			}
		}
	})

	t.Run("checksums", func(t *testing.T) {
		output := runIn(t, dist, "sha256sum", "--check", "--strict", "checksums.txt")
		// Every file but the list itself.
		if listed, files := strings.Count(output, ": OK\n"), len(contents(t, dist)); listed != files-1 {
			t.Errorf("%d files are listed, want %d:\n%s", listed, files-1, output)
		}
	})

	names := map[string]string{}
	for _, made := range []struct{ name, program string }{{"init", "init"}, {"webhook", "podinit-webhook"}, {"node", "podinit-node"}} {
		t.Run("image "+made.name, func(t *testing.T) {
			index, digest := openArchive(t, filepath.Join(dist, "podinit-image-"+version+"-"+made.name+".tar"))
			names[made.name] = repository + "/" + made.name + ":" + version + "@" + digest
			manifest, err := index.IndexManifest()
			if err != nil {
				t.Fatal(err)
			}
			var platforms []string
			for _, m := range manifest.Manifests {
				platforms = append(platforms, m.Platform.Architecture)
				t.Run(m.Platform.String(), func(t *testing.T) {
					img, err := index.Image(m.Digest)
					if err != nil {
						t.Fatal(err)
					}
					testImage(t, first, img, *m.Platform, made.name, made.program)
				})
			}
			if diff := cmp.Diff(slices.Sorted(slices.Values(strings.Fields(*architectures))), platforms); diff != "" {
				t.Errorf("architectures (-want +got):\n%s", diff)
			}
		})
	}

	// "make images" makes, in either directory, the images that the release has for this architecture.
	t.Run("make images", func(t *testing.T) {
		engines := t.TempDir() // that do not work
		for _, engine := range []string{"docker", "buildah"} {
			if err := os.Symlink("/bin/false", filepath.Join(engines, engine)); err != nil {
				t.Fatal(err)
			}
		}
		for _, directory := range []string{first, second} {
			runIn(t, directory, "bash", "-c", fmt.Sprintf("PATH=%s:$PATH; make images VERSION=%s SOURCE_DATE_EPOCH=%s IMAGE_REPOSITORY=%s", engines, version, epoch, repository))
			for _, name := range []string{"init", "webhook", "node"} {
				made, err := image.Open(filepath.Join(directory, "bin", "images", runtime.GOARCH, name+".tar"))
				if err != nil {
					t.Fatal(err)
				}
				got, err := made.Digest()
				if err != nil {
					t.Fatal(err)
				}
				index, _ := openArchive(t, filepath.Join(dist, "podinit-image-"+version+"-"+name+".tar"))
				manifest, err := index.IndexManifest()
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range manifest.Manifests {
					if m.Platform.Architecture == runtime.GOARCH && m.Digest != got {
						t.Errorf("%s: make images makes %s, the release has %s", name, got, m.Digest)
					}
				}
			}
		}
	})

	// Node mode has a kustomization of its own.
	byWebhook := maps.Clone(names)
	delete(byWebhook, "node")
	t.Run("manifests", func(t *testing.T) {
		var deployment string
		for _, document := range strings.Split(string(read(t, dist, "install.yaml")), "\n---\n") {
			if strings.Contains(document, "kind: Deployment\n") && strings.Contains(document, "name: podinit-webhook\n") {
				deployment = document
			}
			if strings.Contains(document, "kind: Deployment\n") && !strings.Contains(document, "image: "+names["webhook"]+"\n") {
				t.Errorf("a Deployment runs another image than %s:\n%s", names["webhook"], document)
			}
		}
		var object struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct{ Template corev1.PodTemplateSpec }
		}
		if err := yaml.Unmarshal([]byte(deployment), &object); err != nil {
			t.Fatal(err)
		}
		container := object.Spec.Template.Spec.Containers[0]
		got := map[string]string{"webhook": container.Image}
		for _, variable := range container.Env {
			if variable.Name == "PODINIT_INIT_IMAGE" {
				got["init"] = variable.Value
			}
		}
		if copier := object.Spec.Template.Spec.InitContainers[0].Image; copier != got["init"] {
			t.Errorf("the initContainer has image %s, pods get %s", copier, got["init"])
		}
		if diff := cmp.Diff(byWebhook, got); diff != "" {
			t.Errorf("images (-of the archives +of the manifests):\n%s", diff)
		}
		if got := object.Metadata.Labels["app.kubernetes.io/version"]; got != version {
			t.Errorf("the Deployment's label says version %q, want %s", got, version)
		}
	})

	t.Run("chart", func(t *testing.T) {
		chart := "podinit-" + strings.TrimPrefix(version, "v") + ".tgz"
		runIn(t, dist, *helm, "lint", "--strict", chart)
		rendered := runIn(t, dist, *helm, "template", "--kube-version", "1.36.0", "podinit", chart)
		for _, name := range byWebhook {
			if !strings.Contains(rendered, `"`+name+`"`) {
				t.Errorf("what the chart makes does not have %s", name)
			}
		}
		// A tag that a user names is not that of the release, and its digest neither.
		if rendered := runIn(t, dist, *helm, "template", "--kube-version", "1.36.0", "--set=images.init.tag=mine", "podinit", chart); !strings.Contains(rendered, "/init:mine\"") {
			t.Error("with a tag among the values the init image is not the one of that tag")
		}
	})

	t.Run("kustomizations", func(t *testing.T) {
		directory := t.TempDir()
		runIn(t, directory, "tar", "-xzf", filepath.Join(dist, "podinit-config-"+version+".tar.gz"))
		file := filepath.Join(directory, "kustomization.yaml")
		for _, c := range []struct {
			content string
			times   map[string]int
		}{
			// The init image is in the webhook's environment and its initContainer, and in the DaemonSet.
			{"resources: [config/default]\ncomponents: [config/prepull]\n", map[string]int{names["webhook"]: 2, names["init"]: 3}},
			{"resources: [config/node]\n", map[string]int{names["node"]: 1, names["init"]: 1}},
		} {
			if err := os.WriteFile(file, []byte(c.content), 0o644); err != nil {
				t.Fatal(err)
			}
			made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), directory)
			if err != nil {
				t.Fatal(err)
			}
			text, err := made.AsYaml()
			if err != nil {
				t.Fatal(err)
			}
			for name, times := range c.times {
				if got := strings.Count(string(text), ": "+name+"\n"); got != times {
					t.Errorf("%q names %s %d times, want %d", c.content, name, got, times)
				}
			}
		}
	})

	for _, platform := range strings.Fields(*platforms) {
		t.Run("CLI "+platform, func(t *testing.T) { testCLI(t, dist, platform) })
	}

	t.Run("bill of materials", func(t *testing.T) {
		var bill struct {
			Metadata   struct{ Component struct{ Version string } }
			Components []struct{ Name, Version string }
		}
		if err := json.Unmarshal(read(t, dist, "podinit-"+version+"-sbom.cdx.json"), &bill); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, c := range bill.Components {
			got[c.Name] = c.Version
		}
		for _, name := range []string{"init", "podinit-webhook", "podinit-node", "podinit"} {
			if got[name] != version {
				t.Errorf("%s has version %q, want %s", name, got[name], version)
			}
		}
		if got["std"] != runtime.Version() || got["sigs.k8s.io/controller-runtime"] == "" {
			t.Errorf("std is %q, controller-runtime %q; want %s and a version", got["std"], got["sigs.k8s.io/controller-runtime"], runtime.Version())
		}
	})

	t.Run("licences", func(t *testing.T) {
		text := string(read(t, dist, "THIRD_PARTY_LICENSES.txt"))
		for _, want := range []string{"std " + runtime.Version(), "sigs.k8s.io/controller-runtime v", "Copyright 2009 The Go Authors"} {
			if !strings.Contains(text, want) {
				t.Errorf("THIRD_PARTY_LICENSES.txt does not have %q", want)
			}
		}
	})
}

// build makes a release of the sources, as they are in the work tree, in a directory of its own.
func build(t *testing.T, sources, directory, setting string) {
	t.Helper()
	if err := os.MkdirAll(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	runIn(t, sources, "bash", "-c", fmt.Sprintf("set -o pipefail; git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- --create | tar --extract --no-same-permissions --directory=%q", directory))
	if *cold {
		setting += "; export GOCACHE=" + filepath.Join(t.TempDir(), "cache")
	}
	runIn(t, directory, "bash", "-c", setting+fmt.Sprintf("; make release VERSION=%s SOURCE_DATE_EPOCH=%s IMAGE_REPOSITORY=%s ARCHITECTURES=%q PLATFORMS=%q",
		version, epoch, repository, *architectures, *platforms))
}

// testImage compares an image with the one that the Dockerfile makes, and runs it.
func testImage(t *testing.T, sources string, img v1.Image, platform v1.Platform, target, program string) {
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Architecture != platform.Architecture || config.OS != "linux" || config.Created.UTC().Format("20060102150405") != "20260102030405" {
		t.Errorf("the image is for %s/%s, of %v", config.OS, config.Architecture, config.Created)
	}

	// As Docker or buildah makes it.
	layoutOfDockerfile := t.TempDir()
	tag := "podinit-test-release:" + target + "-" + platform.Architecture
	runIn(t, sources, "buildah", "bud", "--quiet", "--isolation", "chroot", "--identity-label=false", "--platform", "linux/"+platform.Architecture,
		"--build-arg", "TARGETARCH="+platform.Architecture, "--build-arg", "VERSION="+version, "--target", target, "--tag", tag, ".")
	t.Cleanup(func() { runIn(t, sources, "buildah", "rmi", "--force", tag) })
	runIn(t, sources, "buildah", "push", "--quiet", tag, "oci:"+layoutOfDockerfile+":image")
	index, err := layout.ImageIndexFromPath(layoutOfDockerfile)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	other, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	otherConfig, err := other.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(otherConfig.Config, config.Config); diff != "" {
		t.Errorf("config (-of the Dockerfile +of the release):\n%s", diff)
	}
	if otherConfig.Architecture != config.Architecture || otherConfig.OS != config.OS {
		t.Errorf("the Dockerfile's is for %s/%s", otherConfig.OS, otherConfig.Architecture)
	}
	files := filesOf(t, img)
	if diff := cmp.Diff(filesOf(t, other), files); diff != "" {
		t.Errorf("files (-of the Dockerfile +of the release):\n%s", diff)
	}
	if _, ok := files[program]; !ok || len(files) != 1 {
		t.Errorf("the image has %v, want only %s", files, program)
	}

	// Run from the image, with nothing else in its root.
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	extract(t, img, root)
	switch {
	case target == "init" && platform.Architecture == runtime.GOARCH:
		if got := strings.TrimSpace(runIn(t, root, "chroot", "--userspec=65532:65532", root, "/"+program, "version")); got != "podinit "+version {
			t.Errorf("init version prints %q, want %s", got, version)
		}
	case target == "init":
		if got := strings.TrimSpace(runIn(t, root, emulator(platform.Architecture), filepath.Join(root, program), "version")); got != "podinit "+version {
			t.Errorf("init version prints %q under the emulator, want %s", got, version)
		}
	default:
		content, err := os.ReadFile(filepath.Join(root, program))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(content, []byte(version)) {
			t.Errorf("%s is not stamped with %s", program, version)
		}
		if platform.Architecture == runtime.GOARCH {
			command := exec.Command("chroot", "--userspec=65532:65532", root, "/"+program, "-h")
			if output, _ := command.CombinedOutput(); !strings.Contains(string(output), "-init-") {
				t.Errorf("%s -h prints %q", program, output)
			}
		}
	}
}

// testCLI unpacks an archive of the CLI and runs both of its names, where that can be.
func testCLI(t *testing.T, dist, platform string) {
	system, architecture, _ := strings.Cut(platform, "/")
	directory := t.TempDir()
	archive := filepath.Join(dist, "podinit_"+version+"_"+system+"_"+architecture)
	suffix := ""
	if system == "windows" {
		suffix = ".exe"
		runIn(t, directory, "python3", "-m", "zipfile", "--extract", archive+".zip", ".")
	} else {
		runIn(t, directory, "tar", "--extract", "--gzip", "--file", archive+".tar.gz")
	}
	var want []string
	for name := range contents(t, directory) {
		want = append(want, name)
	}
	slices.Sort(want)
	if diff := cmp.Diff([]string{"LICENSE", "THIRD_PARTY_LICENSES.txt", "kubectl-podinit" + suffix, "podinit" + suffix}, want); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for _, name := range []string{"podinit", "kubectl-podinit"} {
		file := filepath.Join(directory, name+suffix)
		if system == runtime.GOOS && architecture == runtime.GOARCH {
			if output := runIn(t, directory, file, "version", "--client"); !strings.Contains(output, version) {
				t.Errorf("%s version prints %q, want %s in it", name, output, version)
			}
			continue
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(content, []byte(version)) {
			t.Errorf("%s is not stamped with %s", name, version)
		}
	}

	// krew finds the archive by its name, and holds it against the sum.
	var plugin struct {
		Spec struct {
			Version   string
			Platforms []struct {
				URI, SHA256, Bin string
				Selector         struct{ MatchLabels map[string]string }
			}
		}
	}
	if err := yaml.Unmarshal(read(t, dist, "krew.yaml"), &plugin); err != nil {
		t.Fatal(err)
	}
	for _, p := range plugin.Spec.Platforms {
		if p.Selector.MatchLabels["os"] != system || p.Selector.MatchLabels["arch"] != architecture {
			continue
		}
		sums := string(read(t, dist, "checksums.txt"))
		if name := p.URI[strings.LastIndex(p.URI, "/")+1:]; !strings.Contains(sums, p.SHA256+"  "+name+"\n") || p.Bin != "podinit"+suffix {
			t.Errorf("krew.yaml has %+v, which checksums.txt does not", p)
		}
		return
	}
	t.Errorf("krew.yaml does not have %s", platform)
}

func emulator(architecture string) string {
	name, ok := map[string]string{"arm64": "aarch64", "amd64": "x86_64"}[architecture]
	if !ok {
		name = architecture
	}
	return "qemu-" + name
}

// openArchive unpacks an OCI archive and returns its one index, and that index's digest.
func openArchive(t *testing.T, file string) (v1.ImageIndex, string) {
	t.Helper()
	directory := t.TempDir()
	runIn(t, directory, "tar", "--extract", "--file", file)
	all, err := layout.ImageIndexFromPath(directory)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := all.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 {
		t.Fatalf("%s holds %d images, want one index", file, len(manifest.Manifests))
	}
	index, err := all.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return index, manifest.Manifests[0].Digest.String()
}

// file is what matters of one in an image.
type file struct {
	Mode     fs.FileMode
	UID, GID int
	SHA256   string
}

func filesOf(t *testing.T, img v1.Image) map[string]file {
	t.Helper()
	files := map[string]file{}
	walk(t, mutate.Extract(img), func(header *tar.Header, content io.Reader) error {
		sum := sha256.New()
		_, err := io.Copy(sum, content)
		files[strings.TrimPrefix(header.Name, "/")] = file{header.FileInfo().Mode(), header.Uid, header.Gid, hex.EncodeToString(sum.Sum(nil))}
		return err
	})
	return files
}

func extract(t *testing.T, img v1.Image, root string) {
	t.Helper()
	walk(t, mutate.Extract(img), func(header *tar.Header, content io.Reader) error {
		to, err := os.OpenFile(filepath.Join(root, header.Name), os.O_CREATE|os.O_WRONLY, header.FileInfo().Mode().Perm())
		if err != nil {
			return err
		}
		_, err = io.Copy(to, content)
		return errors.Join(err, to.Close())
	})
}

func walk(t *testing.T, archive io.ReadCloser, visit func(*tar.Header, io.Reader) error) {
	t.Helper()
	defer archive.Close()
	for r := tar.NewReader(archive); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err == nil && header.Typeflag == tar.TypeReg {
			err = visit(header, r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// contents are the files of a directory; symbolic links are followed.
func contents(t *testing.T, directory string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, entry := range entries {
		if files[entry.Name()], err = os.ReadFile(filepath.Join(directory, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func read(t *testing.T, directory, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(directory, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func runIn(t *testing.T, directory, name string, arguments ...string) string {
	t.Helper()
	command := exec.Command(name, arguments...)
	command.Dir = directory
	var complaint bytes.Buffer
	command.Stderr = &complaint
	output, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", command, err, output, complaint.Bytes())
	}
	return string(output)
}

func repositoryRoot(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}
