package debianimage

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// An old package that names its files outside /usr, beside one that does not.
func TestWriteLayer(t *testing.T) {
	first := buildDeb(t, "first", func(root string) {
		write(t, filepath.Join(root, "bin/program"), 0o4755)
		if err := os.Link(filepath.Join(root, "bin/program"), filepath.Join(root, "bin/same")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("program", filepath.Join(root, "bin/soft")); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(root, "usr/share/doc/first/copyright"), 0o644)
	})
	second := buildDeb(t, "second", func(root string) {
		write(t, filepath.Join(root, "usr/bin/other"), 0o755)
		write(t, filepath.Join(root, "library"), 0o644) // begins as /lib does
	})

	var layer bytes.Buffer
	if err := writeLayer(t.Context(), &layer, []string{first, second}); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"bin": "link to usr/bin", "lib": "link to usr/lib", "lib64": "link to usr/lib64", "sbin": "link to usr/sbin",
		"usr": "directory 755 of 0", "usr/share": "directory 755 of 0",
		"usr/bin": "directory 755 of 0", "usr/lib": "directory 755 of 0",
		"usr/lib64": "directory 755 of 0", "usr/sbin": "directory 755 of 0",
		"usr/bin/program": "file 4755 of 0", "usr/bin/same": "same as usr/bin/program", "usr/bin/soft": "link to program",
		"usr/bin/other": "file 755 of 0", "library": "file 644 of 0",
	}
	if diff := cmp.Diff(want, describe(t, &layer)); diff != "" {
		t.Errorf("files of the layer (-want +got):\n%s", diff)
	}
}

func TestWriteLayerNamesTheBrokenArchive(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.deb")
	write(t, broken, 0o644)
	err := writeLayer(t.Context(), &bytes.Buffer{}, []string{broken})
	if err == nil || !strings.Contains(err.Error(), broken) || !strings.Contains(err.Error(), "not a Debian format archive") {
		t.Errorf("got %v, want an error with the file's name and dpkg-deb's reason", err)
	}
}

func describeHeader(header *tar.Header) string {
	switch header.Typeflag {
	case tar.TypeDir:
		return fmt.Sprintf("directory %o of %d", header.Mode, header.Uid)
	case tar.TypeReg:
		return fmt.Sprintf("file %o of %d", header.Mode, header.Uid)
	case tar.TypeSymlink:
		return "link to " + header.Linkname
	case tar.TypeLink:
		return "same as " + header.Linkname
	default:
		return fmt.Sprintf("type %q", header.Typeflag)
	}
}

func buildDeb(t *testing.T, name string, fill func(root string)) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), name)
	control := filepath.Join(root, "DEBIAN", "control")
	write(t, control, 0o644)
	text := fmt.Sprintf("Package: %s\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: a test\n", name)
	if err := os.WriteFile(control, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	fill(root)
	deb := root + ".deb"
	if output, err := exec.Command("dpkg-deb", "--root-owner-group", "--build", root, deb).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb --build: %v: %s", err, output)
	}
	return deb
}

func write(t *testing.T, file string, mode uint32) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("content\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// By number: os.FileMode has its own bit for set-user-ID.
	if output, err := exec.Command("chmod", fmt.Sprintf("%o", mode), file).CombinedOutput(); err != nil {
		t.Fatalf("chmod %o %s: %v: %s", mode, file, err, output)
	}
}
