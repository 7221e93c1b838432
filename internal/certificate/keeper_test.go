package certificate

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMarkerDirectory(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	directory, err := markerDirectory()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(directory, "tls.crt")); err != nil {
		t.Error(err)
	}
	t.Setenv("TMPDIR", "/nowhere")
	if _, err := markerDirectory(); err == nil {
		t.Error("no error where there is no temporary directory")
	}
}
