package archive

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var commitTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// entry is what a reader of an archive sees of a file.
type entry struct {
	Name, Content, Link string
	Mode                fs.FileMode
	Modified            time.Time
}

func TestTarGzip(t *testing.T) {
	var written bytes.Buffer
	files := append(filesOnDisk(t), File{Name: "alias", Link: "program"})
	if err := WriteTarGzip(&written, files, commitTime); err != nil {
		t.Fatal(err)
	}
	unzipped, err := gzip.NewReader(&written)
	if err != nil {
		t.Fatal(err)
	}
	if !unzipped.ModTime.IsZero() || unzipped.Name != "" {
		t.Errorf("the gzip header has time %v and name %q, want none", unzipped.ModTime, unzipped.Name)
	}
	var got []entry
	for r := tar.NewReader(unzipped); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.Gid != 0 || header.Uname != "" || header.Gname != "" {
			t.Errorf("%s belongs to %d:%d (%s:%s), want nobody's name", header.Name, header.Uid, header.Gid, header.Uname, header.Gname)
		}
		got = append(got, entry{header.Name, string(content), header.Linkname, header.FileInfo().Mode().Perm(), header.ModTime.UTC()})
	}
	want := []entry{
		{"a/text", "some text", "", 0o644, commitTime},
		{"alias", "", "program", 0o777, commitTime},
		{"program", "#!", "", 0o755, commitTime},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestZip(t *testing.T) {
	var written bytes.Buffer
	if err := WriteZip(&written, filesOnDisk(t), commitTime); err != nil {
		t.Fatal(err)
	}
	r, err := zip.NewReader(bytes.NewReader(written.Bytes()), int64(written.Len()))
	if err != nil {
		t.Fatal(err)
	}
	var got []entry
	for _, file := range r.File {
		opened, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(opened)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, entry{file.Name, string(content), "", file.Mode().Perm(), file.Modified.UTC()})
	}
	want := []entry{{"a/text", "some text", "", 0o644, commitTime}, {"program", "#!", "", 0o755, commitTime}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if err := WriteZip(io.Discard, []File{{Name: "alias", Link: "program"}}, commitTime); err == nil {
		t.Error("a symbolic link was put into a zip archive")
	}
}

// What differs from one machine to the next leaves no trace: times, the order in which files are found, who owns them.
func TestSameBytes(t *testing.T) {
	for name, write := range map[string]func(io.Writer, []File, time.Time) error{
		"tar": WriteTar, "tar.gz": WriteTarGzip, "zip": WriteZip,
	} {
		t.Run(name, func(t *testing.T) {
			var one, two bytes.Buffer
			files := filesOnDisk(t)
			if err := write(&one, files, commitTime); err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				if err := os.Chtimes(file.Source, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
					t.Fatal(err)
				}
			}
			files[0], files[1] = files[1], files[0]
			if err := write(&two, files, commitTime.In(time.FixedZone("elsewhere", 3600))); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(one.Bytes(), two.Bytes()) {
				t.Error("two archives of the same files differ")
			}
		})
	}
}

func TestFromDirectoryRefuses(t *testing.T) {
	directory := t.TempDir()
	if err := os.Symlink("nowhere", filepath.Join(directory, "link")); err != nil {
		t.Fatal(err)
	}
	if files, err := FromDirectory(directory); err == nil {
		t.Errorf("got %v of a directory with a link in it, want an error", files)
	}
}

// filesOnDisk are two files of a new directory.
func filesOnDisk(t *testing.T) []File {
	t.Helper()
	directory := t.TempDir()
	if err := os.Mkdir(filepath.Join(directory, "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(directory, "a", "text"), []byte("some text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(directory, "program"), []byte("#!"), 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := FromDirectory(directory)
	if err != nil {
		t.Fatal(err)
	}
	return files
}
