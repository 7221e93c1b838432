package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCopy(t *testing.T) {
	want, err := os.ReadFile(initPath)
	if err != nil {
		t.Fatal(err)
	}
	check := func(t *testing.T, directory string) {
		t.Helper()
		path := filepath.Join(directory, "init")
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s is not the init: %d bytes, want %d, %v", path, len(got), len(want), err)
		}
		if info, _ := os.Stat(path); info.Mode() != 0o555 {
			t.Errorf("mode %v, want 0555", info.Mode())
		}
		if files, _ := os.ReadDir(directory); len(files) != 1 {
			t.Errorf("%d files are there, want 1: %v", len(files), files)
		}
		if out, err := exec.Command(path, "version").CombinedOutput(); err != nil {
			t.Errorf("the copy does not run: %v %s", err, out)
		}
	}

	t.Run("new", func(t *testing.T) {
		directory := t.TempDir()
		if out, err := exec.Command(initPath, "copy", directory+"/init").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		check(t, directory)
	})
	t.Run("over an older one that runs", func(t *testing.T) {
		directory := t.TempDir()
		if out, err := exec.Command("cp", "/bin/sleep", directory+"/init").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		old := exec.Command(directory+"/init", "30")
		if err := old.Start(); err != nil {
			t.Fatal(err)
		}
		defer old.Wait()
		defer old.Process.Kill()
		if out, err := exec.Command(initPath, "copy", directory+"/init").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		check(t, directory)
	})
	t.Run("many at once", func(t *testing.T) {
		directory := t.TempDir()
		var copies sync.WaitGroup
		for range 8 {
			copies.Go(func() {
				if out, err := exec.Command(initPath, "copy", directory+"/init").CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
		copies.Wait()
		check(t, directory)
	})
	t.Run("relative", func(t *testing.T) {
		cmd := exec.Command(initPath, "copy", "init")
		cmd.Dir = t.TempDir()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		check(t, cmd.Dir)
	})
}

func TestCopyProblems(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare, destination, want string
	}{
		"noexec": {"mount -t tmpfs -o noexec none /mnt", "/mnt/init",
			"podinit: cannot install /mnt/init: the volume is mounted noexec because the node's /var/lib/kubelet is; " +
				"remount it with exec, or deliver the init as an image volume\n"},
		"full": {"mount -t tmpfs -o size=64k none /mnt", "/mnt/init",
			"podinit: cannot write /mnt/init: the volume is full; the init needs 2 MiB\n"},
		"read-only": {"mount -t tmpfs -o ro none /mnt", "/mnt/init",
			"podinit: cannot create a file next to /mnt/init: the volume is mounted read-only; the copier needs it writable, and only the other containers read-only\n"},
		"no directory": {"mount -t tmpfs none /mnt", "/mnt/no/init",
			"podinit: cannot examine the directory of /mnt/no/init: no such directory; mount the volume there\n"},
		"a trailing slash": {"mount -t tmpfs none /mnt && mkdir /mnt/d", "/mnt/d/",
			"podinit: cannot write /mnt/d/: it is a directory; name the file in it, as in /podinit/init\nd\n"},
		"no /proc": {"mount -t tmpfs none /mnt && mount -t tmpfs none /proc", "/mnt/init",
			"podinit: cannot open /proc/self/exe: /proc is missing; mount it\n"},
		"a directory": {"mount -t tmpfs none /mnt && mkdir /mnt/d", "/mnt/d",
			"podinit: cannot rename a temporary file to /mnt/d: it is a directory; name the file in it, as in /podinit/init\nd\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c := script(t, tt.prepare+" && "+initPath+" copy "+tt.destination+"; code=$?; ls -A /mnt; exit $code")
			if code := c.run(); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if diff := cmp.Diff(tt.want, c.output.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
