// Package archive writes tar and zip archives that are the same, byte for byte, whenever and wherever they are made: the
// files are sorted, belong to root, and all have one time.
package archive

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"cmp"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// File is a regular file of an archive, or a symbolic link in it.
type File struct {
	// Name is the path in the archive, with slashes, not absolute.
	Name string
	// Executable files have mode 0755, others 0644.
	Executable bool
	// Content is the file's content. It is nil if Source or Link is set.
	Content []byte
	// Source is the file on disk that holds the content, for what is too large for memory.
	Source string
	// Link is where a symbolic link points.
	Link string
}

// FromDirectory lists the regular files below directory, by their paths in it. What is not a regular file is an error.
func FromDirectory(directory string) ([]File, error) {
	var files []File
	err := filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a regular file", path)
		}
		name, err := filepath.Rel(directory, path)
		if err != nil {
			return err
		}
		files = append(files, File{Name: filepath.ToSlash(name), Executable: info.Mode()&0o100 != 0, Source: path})
		return nil
	})
	return files, err
}

// WriteTar writes an uncompressed tar archive.
func WriteTar(to io.Writer, files []File, modified time.Time) error {
	w := tar.NewWriter(to)
	for _, file := range sorted(files) {
		header := &tar.Header{Name: file.Name, Mode: int64(file.mode()), ModTime: modified.UTC().Truncate(time.Second), Format: tar.FormatPAX}
		if file.Link != "" {
			header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, file.Link, 0o777
			if err := w.WriteHeader(header); err != nil {
				return fmt.Errorf("archive %s: %w", file.Name, err)
			}
			continue
		}
		if err := file.open(func(content io.Reader, size int64) error {
			header.Size = size
			if err := w.WriteHeader(header); err != nil {
				return err
			}
			_, err := io.Copy(w, content)
			return err
		}); err != nil {
			return fmt.Errorf("archive %s: %w", file.Name, err)
		}
	}
	return w.Close()
}

// WriteTarGzip writes a tar archive compressed with gzip, whose header names no file and no time.
func WriteTarGzip(to io.Writer, files []File, modified time.Time) error {
	compressed, err := gzip.NewWriterLevel(to, gzip.BestCompression)
	if err != nil {
		return err
	}
	return errors.Join(WriteTar(compressed, files, modified), compressed.Close())
}

// WriteZip writes a zip archive. It has no links: Windows, for which it is, seldom lets users make any.
func WriteZip(to io.Writer, files []File, modified time.Time) error {
	w := zip.NewWriter(to)
	w.RegisterCompressor(zip.Deflate, func(out io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(out, flate.BestCompression)
	})
	for _, file := range sorted(files) {
		if file.Link != "" {
			return fmt.Errorf("archive %s: a zip archive has no symbolic links here", file.Name)
		}
		header := &zip.FileHeader{Name: file.Name, Method: zip.Deflate, Modified: modified.UTC()}
		header.SetMode(file.mode())
		if err := file.open(func(content io.Reader, _ int64) error {
			entry, err := w.CreateHeader(header)
			if err == nil {
				_, err = io.Copy(entry, content)
			}
			return err
		}); err != nil {
			return fmt.Errorf("archive %s: %w", file.Name, err)
		}
	}
	return w.Close()
}

func (f File) mode() fs.FileMode {
	if f.Executable {
		return 0o755
	}
	return 0o644
}

// open calls read with the file's content and its size.
func (f File) open(read func(content io.Reader, size int64) error) (err error) {
	if f.Source == "" {
		return read(bytes.NewReader(f.Content), int64(len(f.Content)))
	}
	source, err := os.Open(f.Source)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	return read(source, info.Size())
}

func sorted(files []File) []File {
	return slices.SortedFunc(slices.Values(files), func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
}

// Create makes a file by write, replacing one that is there. A file that could not be written whole is removed.
func Create(file string, write func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	to, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := errors.Join(write(to), to.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", file, err), os.Remove(file))
	}
	return nil
}
