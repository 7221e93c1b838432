// Package debianimage makes container images from Debian packages, for the demo and for the test suites: PostgreSQL,
// nginx, Python and bash exactly as the distribution ships them.
//
// It asks apt for the packages and all they depend on, with the host's own apt configuration, and writes their
// files straight into a layer. Nothing is installed on the host, no maintainer script runs, and root is not needed.
// Equal packages and files make an equal digest.
package debianimage

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"
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
)

// Spec says what is in an image.
type Spec struct {
	// Packages are Debian packages by name. What they depend on comes with them, what they recommend does not.
	// Packages that Debian calls essential are not anyone's dependency: name coreutils, bash, grep or sed where
	// a script needs them. dash (for /bin/sh) and base-files are in every image.
	Packages []string
	// Without are packages to leave out, with all that only they need, although others depend on them:
	// libllvm14 is 120 MB of PostgreSQL's 340, and only its just-in-time compiler opens it.
	Without []string
	// Files are added on top of the packages, and replace theirs.
	Files []File
	// Users are added to root and nobody in /etc/passwd and /etc/group. Packages do not add theirs, since that is
	// a maintainer script's work.
	Users []User
	// Config is what the image runs. PATH is set where Env has none.
	Config v1.Config
}

// File is a regular file, a directory or a symbolic link.
type File struct {
	// Path is absolute. Directories above it are made where they are missing.
	Path string
	// Mode holds the permissions, with fs.ModeSetuid, fs.ModeSetgid and fs.ModeSticky, and fs.ModeDir or fs.ModeSymlink for what is
	// not a regular file.
	Mode fs.FileMode
	// Content is a regular file's content, or a symbolic link's target.
	Content string
	// UID owns the file, with the group of the same number.
	UID int
}

// User is a user with a group of the same name and number.
type User struct {
	Name string
	ID   int
}

// Build makes the image. The first build of a list of packages downloads them (seconds to a minute);
// later ones take the layer from the cache and only ask apt, without network, whether it still is the right one.
func (c Cache) Build(ctx context.Context, spec Spec) (v1.Image, error) {
	packages, err := c.layer(ctx, spec.Packages, spec.Without)
	if err != nil {
		return nil, err
	}
	files, err := filesLayer(spec)
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, packages, files)
	if err != nil {
		return nil, fmt.Errorf("put the layers of the image together: %w", err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the config of the new image: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", cmp.Or(c.platform, runtime.GOARCH)
	config.Config = spec.Config
	if !slices.ContainsFunc(spec.Config.Env, func(variable string) bool { return strings.HasPrefix(variable, "PATH=") }) {
		config.Config.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, spec.Config.Env...)
	}
	return mutate.ConfigFile(image, config)
}

// Push uploads what the registry does not have yet and returns the image's name by digest, for use in a pod.
// A registry that speaks plain HTTP is one whose reference was parsed with name.Insecure.
func Push(ctx context.Context, to name.Reference, image v1.Image) (name.Digest, error) {
	digest, err := image.Digest()
	if err != nil {
		return name.Digest{}, fmt.Errorf("compute the digest of %s: %w", to, err)
	}
	if err := remote.Write(to, image, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return name.Digest{}, fmt.Errorf("push %s (does the registry run, and may you write there?): %w", to, err)
	}
	return to.Context().Digest(digest.String()), nil
}

// filesLayer holds the files that no package has: the caller's, and what maintainer scripts would have made.
func filesLayer(spec Spec) (v1.Layer, error) {
	passwd := "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
	group := "root:x:0:\nnogroup:x:65534:\n"
	for _, user := range spec.Users {
		passwd += fmt.Sprintf("%s:x:%d:%d::/nonexistent:/bin/sh\n", user.Name, user.ID, user.ID)
		group += fmt.Sprintf("%s:x:%d:\n", user.Name, user.ID)
	}
	files := append([]File{
		{Path: "/etc/passwd", Mode: 0o644, Content: passwd},
		{Path: "/etc/group", Mode: 0o644, Content: group},
		{Path: "/etc/nsswitch.conf", Mode: 0o644, Content: "hosts: files dns\n"},
	}, spec.Files...)
	slices.SortStableFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })

	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	for _, file := range files {
		if !path.IsAbs(file.Path) || path.Clean(file.Path) == "/" {
			return nil, fmt.Errorf("file %q for an image: the path must be absolute and not the root", file.Path)
		}
		header := &tar.Header{
			Name: merged(file.Path),
			Mode: int64(file.Mode.Perm()),
			Uid:  file.UID, Gid: file.UID,
			ModTime: epoch,
		}
		for mode, bit := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
			if file.Mode&mode != 0 {
				header.Mode |= bit
			}
		}
		switch file.Mode.Type() {
		case fs.ModeDir:
			header.Typeflag, header.Name = tar.TypeDir, header.Name+"/"
		case fs.ModeSymlink:
			header.Typeflag, header.Linkname = tar.TypeSymlink, file.Content
		case 0:
			header.Typeflag, header.Size = tar.TypeReg, int64(len(file.Content))
		default:
			return nil, fmt.Errorf("file %s for an image: mode %s is not a regular file, directory or symbolic link", file.Path, file.Mode)
		}
		if err := archive.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("write %s into a layer: %w", file.Path, err)
		}
		if header.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(archive, file.Content); err != nil {
				return nil, fmt.Errorf("write %s into a layer: %w", file.Path, err)
			}
		}
	}
	if err := archive.Close(); err != nil {
		return nil, fmt.Errorf("finish a layer of %d files: %w", len(files), err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buffer.Bytes())), nil }
	layer, err := tarball.LayerFromOpener(open, tarball.WithCompressionLevel(gzip.BestSpeed))
	if err != nil {
		return nil, fmt.Errorf("make a layer of %d files: %w", len(files), err)
	}
	return layer, nil
}

// epoch is every file's time, so that equal files make equal digests.
var epoch = time.Unix(0, 0)
