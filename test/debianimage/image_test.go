package debianimage

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestBuildAndPush(t *testing.T) {
	cache := Cache{Directory: t.TempDir(), Progress: t.Output()}
	spec := Spec{
		Packages: []string{"bash"},
		Without:  []string{"libtinfo6"},
		Files: []File{
			{Path: "/app/run", Mode: 0o755, Content: "#!/bin/sh\n"},
			{Path: "/bin/ash", Mode: fs.ModeSymlink | 0o777, Content: "dash"},
			{Path: "/app/su", Mode: fs.ModeSetuid | 0o755},
			{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
			{Path: "/var/lib/app", Mode: fs.ModeDir | 0o700, UID: 1000},
		},
		Users:  []User{{Name: "app", ID: 1000}},
		Config: v1.Config{Entrypoint: []string{"/app/run"}, User: "1000", Env: []string{"LANG=C.UTF-8"}},
	}
	image, err := cache.Build(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}

	files := contents(t, image)
	for file, want := range map[string]string{
		"bin":              "link to usr/bin",
		"usr/bin/sh":       "link to dash",
		"usr/bin/ash":      "link to dash",
		"usr/bin/bash":     "file 755 of 0",
		"app/run":          "file 755 of 0",
		"app/su":           "file 4755 of 0",
		"tmp":              "directory 1777 of 0",
		"var/lib/app":      "directory 700 of 1000",
		"etc/passwd":       "file 644 of 0",
		"usr/share/doc":    "",
		"usr/share/man":    "",
		"usr/bin/dpkg":     "",
		"usr/lib/terminfo": "",
	} {
		if files[file] != want {
			t.Errorf("%s in the image: got %q, want %q", file, files[file], want)
		}
	}
	for file := range files {
		if strings.Contains(file, "libtinfo.so") {
			t.Errorf("the image has %s of a package that is to be left out", file)
		}
	}

	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := spec.Config
	want.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	if diff := cmp.Diff(want, config.Config); diff != "" {
		t.Errorf("config of the image (-want +got):\n%s", diff)
	}

	t.Run("a rebuild has the same digest", func(t *testing.T) {
		if err := os.RemoveAll(filepath.Join(cache.Directory, "layers")); err != nil {
			t.Fatal(err)
		}
		again, err := cache.Build(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := digest(t, again), digest(t, image); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})

	t.Run("another file gives another digest", func(t *testing.T) {
		other := spec
		other.Files = append([]File{{Path: "/app/more", Mode: 0o644}}, spec.Files...)
		changed, err := cache.Build(t.Context(), other)
		if err != nil {
			t.Fatal(err)
		}
		if digest(t, changed) == digest(t, image) {
			t.Errorf("got %s for both", digest(t, image))
		}
	})

	t.Run("a second push uploads nothing", func(t *testing.T) {
		var uploads atomic.Int32
		handler := registry.New(registry.Logger(log.New(t.Output(), "", 0)))
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				uploads.Add(1)
			}
			handler.ServeHTTP(w, r)
		}))
		defer server.Close()
		tag, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://")+"/app:1", name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		pushed, err := Push(t.Context(), tag, image)
		if err != nil {
			t.Fatal(err)
		}
		pulled, err := remote.Image(pushed)
		if err != nil {
			t.Fatalf("pull by the name that Push returned: %v", err)
		}
		if got, want := digest(t, pulled), digest(t, image); got != want {
			t.Errorf("pulled %s, pushed %s", got, want)
		}
		first := uploads.Load()
		if _, err := Push(t.Context(), tag, image); err != nil {
			t.Fatal(err)
		}
		if first != 3 || uploads.Load() != first {
			t.Errorf("uploads: got %d, then %d more; want two layers and a config, then none", first, uploads.Load()-first)
		}
	})

	t.Run("an unknown package is named", func(t *testing.T) {
		_, err := cache.Build(t.Context(), Spec{Packages: []string{"no-such-package"}})
		if err == nil || !strings.Contains(err.Error(), "Unable to locate package no-such-package") {
			t.Errorf("got %v", err)
		}
	})
}

func TestBuildWithoutApt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Cache{Directory: t.TempDir()}.Build(t.Context(), Spec{Packages: []string{"bash"}})
	want := "images are made of Debian packages, and this machine has no apt-get: run on Debian or Ubuntu, or in a container of one"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestFilesLayerRefuses(t *testing.T) {
	for _, file := range []File{
		{Path: "app/run"},
		{Path: "/"},
		{Path: "/dev/null", Mode: fs.ModeDevice},
	} {
		if _, err := filesLayer(Spec{Files: []File{file}}); err == nil {
			t.Errorf("file %q of mode %s: no error", file.Path, file.Mode)
		}
	}
}

func digest(t *testing.T, image v1.Image) v1.Hash {
	t.Helper()
	hash, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

// contents describes every file of an image.
func contents(t *testing.T, image v1.Image) map[string]string {
	t.Helper()
	stream := mutate.Extract(image)
	defer stream.Close()
	return describe(t, stream)
}

func describe(t *testing.T, stream io.Reader) map[string]string {
	t.Helper()
	files := map[string]string{}
	archive := tar.NewReader(stream)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if !header.ModTime.Equal(epoch) {
			t.Errorf("%s has the time %s, want %s", header.Name, header.ModTime, epoch)
		}
		files[strings.TrimSuffix(header.Name, "/")] = describeHeader(header)
	}
}
