package debianimage

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// mergedDirectories are links into /usr, as on every current Debian. Packages may still name files by the old path.
var mergedDirectories = []string{"bin", "lib", "lib64", "sbin"}

// unread is what only people read; no image has it.
var unread = []string{
	"usr/share/bug", "usr/share/doc", "usr/share/doc-base", "usr/share/info", "usr/share/lintian",
	"usr/share/locale", "usr/share/man",
}

// writeLayer writes the files of the .deb archives as one tar, in the order of the archives.
func writeLayer(ctx context.Context, to io.Writer, debs []string) error {
	layer := tar.NewWriter(to)
	written := map[string]bool{} // directories: nearly every package has /usr/share
	for _, directory := range mergedDirectories {
		target := "usr/" + directory
		written[target] = true
		for _, header := range []*tar.Header{
			{Typeflag: tar.TypeDir, Name: target + "/", Mode: 0o755, ModTime: epoch},
			{Typeflag: tar.TypeSymlink, Name: directory, Linkname: target, Mode: 0o777, ModTime: epoch},
		} {
			if err := layer.WriteHeader(header); err != nil {
				return fmt.Errorf("write %s into a layer: %w", header.Name, err)
			}
		}
	}
	for _, deb := range debs {
		if err := copyDeb(ctx, layer, deb, written); err != nil {
			return fmt.Errorf("unpack %s with dpkg-deb (delete the file if it is damaged; it is downloaded again): %w", deb, err)
		}
	}
	return layer.Close()
}

// copyDeb copies the files of one .deb archive.
func copyDeb(ctx context.Context, layer *tar.Writer, deb string, written map[string]bool) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends dpkg-deb when copying fails
	var complaint strings.Builder
	command := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	command.Stderr = &complaint
	output, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	defer func() {
		if waitErr := command.Wait(); err == nil && waitErr != nil {
			err = fmt.Errorf("%w: %s", waitErr, strings.TrimSpace(complaint.String()))
		}
	}()
	archive := tar.NewReader(output)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			// The blocks after the archive's end are read too, lest dpkg-deb dies of SIGPIPE.
			_, err := io.Copy(io.Discard, output)
			return err
		}
		if err != nil {
			return err
		}
		if err := copyEntry(layer, header, archive, written); err != nil {
			return fmt.Errorf("%s: %w", header.Name, err)
		}
	}
}

// copyEntry copies one file, under its place in a merged /usr.
func copyEntry(layer *tar.Writer, header *tar.Header, content io.Reader, written map[string]bool) error {
	name := merged(header.Name)
	if name == "" || slices.Contains(mergedDirectories, strings.TrimPrefix(path.Clean("/"+header.Name), "/")) || isUnread(name) {
		return nil
	}
	entry := &tar.Header{
		Typeflag: header.Typeflag,
		Name:     name,
		Linkname: header.Linkname,
		Size:     header.Size,
		Mode:     header.Mode,
		Uid:      header.Uid, Gid: header.Gid,
		Devmajor: header.Devmajor, Devminor: header.Devminor,
		ModTime: epoch,
	}
	switch header.Typeflag {
	case tar.TypeDir:
		if written[name] {
			return nil
		}
		written[name] = true
		entry.Name += "/"
	case tar.TypeLink:
		entry.Linkname = merged(header.Linkname)
	}
	if err := layer.WriteHeader(entry); err != nil {
		return err
	}
	_, err := io.Copy(layer, content)
	return err
}

// merged is a path of an archive or of a root file system, relative to the root and in a merged /usr; "" is the root.
func merged(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if first, _, below := strings.Cut(name, "/"); below && slices.Contains(mergedDirectories, first) {
		return "usr/" + name
	}
	return name
}

func isUnread(name string) bool {
	return slices.ContainsFunc(unread, func(directory string) bool {
		return name == directory || strings.HasPrefix(name, directory+"/")
	})
}
