package versions

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// source writes an init that says a version.
func source(t *testing.T, version string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "init")
	if err := os.WriteFile(file, []byte("#!/bin/sh\necho podinit "+version+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func install(t *testing.T, root, file, version string) *Version {
	t.Helper()
	v, err := Install(t.Context(), root, file, version)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Release() })
	return v
}

// below are the names of all that is in a directory, without the locks of versions there.
func below(t *testing.T, root string) []string {
	t.Helper()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		if version, ok := strings.CutSuffix(e.Name(), held); !ok || !slices.Contains(names, version) {
			names = append(names, e.Name())
		}
	}
	return names
}

func unused(string) bool { return false }

func TestInstall(t *testing.T) {
	root, file := t.TempDir(), source(t, "v1.2.3")
	one := install(t, root, file, "v1.2.3")
	if err := one.Check(); err != nil {
		t.Errorf("right after it was installed: %v", err)
	}
	info, err := os.Stat(filepath.Join(one.Directory, "init"))
	if err != nil {
		t.Fatal(err)
	}
	outside, err := os.Stat(one.Directory)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o555 || outside.Mode().Perm() != 0o755 {
		t.Errorf("modes %v in %v, want 0555 in 0755", info.Mode(), outside.Mode())
	}
	if !strings.HasPrefix(one.Name(), "v1.2.3-") {
		t.Errorf("the directory is %s", one.Name())
	}
	two := install(t, root, file, "v1.2.3")
	again, err := os.Stat(filepath.Join(two.Directory, "init"))
	if err != nil {
		t.Fatal(err)
	}
	if one.Directory != two.Directory || !os.SameFile(info, again) {
		t.Error("an init that is there is installed again")
	}
	// The same version with other content, as between releases.
	other := install(t, root, source(t, "v1.2.3 "), "v1.2.3")
	if other.Directory == one.Directory {
		t.Error("another file has the same directory")
	}
	if diff := cmp.Diff(2, len(below(t, root))); diff != "" {
		t.Errorf("%v is left (-want +got):\n%s", below(t, root), diff)
	}
}

// What somebody has damaged is put right.
func TestRepair(t *testing.T) {
	for name, damage := range map[string]func(directory string) error{
		"removed":   func(d string) error { return os.RemoveAll(d) },
		"emptied":   func(d string) error { return os.Remove(filepath.Join(d, "init")) },
		"truncated": func(d string) error { return os.Truncate(filepath.Join(d, "init"), 3) },
		"mode":      func(d string) error { return os.Chmod(filepath.Join(d, "init"), 0o600) },
		"closed":    func(d string) error { return os.Chmod(d, 0o700) },
		"a link": func(d string) error {
			if err := os.Remove(filepath.Join(d, "init")); err != nil {
				return err
			}
			return os.Symlink("/bin/true", filepath.Join(d, "init"))
		},
		"a file instead": func(d string) error {
			if err := os.RemoveAll(d); err != nil {
				return err
			}
			return os.WriteFile(d, nil, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			root, file := t.TempDir(), source(t, "v1")
			v := install(t, root, file, "v1")
			if err := damage(v.Directory); err != nil {
				t.Fatal(err)
			}
			if name != "closed" { // the plugin itself can read everything
				if err := v.Check(); err == nil {
					t.Error("the damage is not seen")
				}
			}
			repaired := install(t, root, file, "v1")
			if err := repaired.Check(); err != nil {
				t.Error(err)
			}
			if repaired.Directory != v.Directory || !usable(v.Directory, mustHash(t, file)) {
				t.Errorf("%s is not as it should be", v.Directory)
			}
			if got := below(t, root); len(got) != 1 {
				t.Errorf("%v is left", got)
			}
		})
	}
}

func mustHash(t *testing.T, file string) string {
	t.Helper()
	hash, err := hashOf(file)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func TestInstallFails(t *testing.T) {
	file := source(t, "v1")
	broken := filepath.Join(t.TempDir(), "init")
	if err := os.WriteFile(broken, []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "init")
	if err := os.WriteFile(other, []byte("#!/bin/sh\necho tini version 0.19.0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	full := t.TempDir()
	for name, tt := range map[string]struct{ root, file, want string }{
		"no directory":   {"/no/such/directory", file, "/no/such/directory: no such file"},
		"no init":        {full, "/no/such/init", "/no/such/init: no such file"},
		"another binary": {full, other, "not podinit's init"},
		"does not run":   {full, broken, "running the installed init"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Install(t.Context(), tt.root, tt.file, "v1")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
	if _, err := Collect(full, unused); err != nil {
		t.Fatal(err)
	}
	if got := below(t, full); len(got) != 0 {
		t.Errorf("%v is left of what failed", got)
	}
}

// The real thing is in test/nodemode, since a mount needs root.
func TestCheckFlags(t *testing.T) {
	for flags, want := range map[int64]string{
		0: "", unix.ST_NOSUID | unix.ST_NODEV: "", unix.ST_NOEXEC: "noexec: choose", unix.ST_RDONLY: "read-only: choose",
		unix.ST_NOEXEC | unix.ST_RELATIME: "noexec: choose",
	} {
		err := checkFlags("/d", flags)
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("flags %#x: %v, want %q", flags, err, want)
		}
	}
}

func TestName(t *testing.T) {
	const hash = "0123456789abcdef"
	for version, want := range map[string]string{
		"v1.2.3": "v1.2.3-0123456789ab", "v1.2.3-5-gabc+dirty": "v1.2.3-5-gabc+dirty-0123456789ab",
		"": "_-0123456789ab", "..": "_..-0123456789ab", "../../etc": "_.._.._etc-0123456789ab", "a b/ü": "a_b__-0123456789ab",
	} {
		if got := name(version, hash); got != want {
			t.Errorf("%q: %q, want %q", version, got, want)
		}
	}
	if got := name(strings.Repeat("v", 1000), hash); len(got) > 255 {
		t.Errorf("a name of %d bytes", len(got))
	}
}

func TestCollect(t *testing.T) {
	root := t.TempDir()
	held := install(t, root, source(t, "held"), "held")
	used := install(t, root, source(t, "used"), "used")
	free := install(t, root, source(t, "free"), "free")
	for _, v := range []*Version{used, free} {
		if err := v.Release(); err != nil {
			t.Fatal(err)
		}
	}
	// What is not ours stays, and what another process is about to install.
	for _, name := range []string{"somebody/else", ".install-now", ".remove-old"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-2 * leftover)
	if err := os.Chtimes(filepath.Join(root, ".remove-old"), old, old); err != nil {
		t.Fatal(err)
	}
	removed, err := Collect(root, func(name string) bool { return name == used.Name() })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{free.Name()}, removed); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{".install-now", held.Name(), "somebody", used.Name()}, below(t, root)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	if err := held.Check(); err != nil {
		t.Error(err)
	}
	if err := held.Release(); err != nil {
		t.Fatal(err)
	}
	if removed, err := Collect(root, unused); err != nil || len(removed) != 2 {
		t.Errorf("removed %v, %v, when nobody holds or uses anything", removed, err)
	}
	if _, err := Collect("/no/such/directory", unused); !os.IsNotExist(err) {
		t.Errorf("without a directory: %v", err)
	}
}

// Installing and collecting at once: whoever holds a version has it whole.
func TestRace(t *testing.T) {
	root, file := t.TempDir(), source(t, "v1")
	var all sync.WaitGroup
	failed := make(chan error, 64)
	for range 4 {
		all.Go(func() {
			for range 8 {
				v, err := Install(t.Context(), root, file, "v1")
				if err != nil {
					failed <- err
					continue
				}
				if err := v.Check(); err != nil {
					failed <- fmt.Errorf("held: %w", err)
				}
				if err := v.Release(); err != nil {
					failed <- err
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	for {
		select {
		case err := <-failed:
			t.Error(err)
		case <-done:
			if t.Failed() {
				return
			}
			if names := below(t, root); len(names) > 1 {
				t.Errorf("%v is left", names)
			}
			return
		default:
			if _, err := Collect(root, unused); err != nil && !os.IsNotExist(err) {
				t.Error(err)
			}
		}
	}
}

// A container has the directory of its version mounted and may lock it, as anybody may who can open it: flock(2) asks for no right
// to write. That keeps no plugin from giving the version to containers.
func TestLockedByContainer(t *testing.T) {
	root, file := t.TempDir(), source(t, "v1")
	one := install(t, root, file, "v1")
	container, err := os.Open(one.Directory)
	if err != nil {
		t.Fatal(err)
	}
	defer container.Close()
	if err := one.Release(); err != nil { // the plugin has ended
		t.Fatal(err)
	}
	if err := unix.Flock(int(container.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	installed := make(chan error, 1)
	go func() {
		v, err := Install(t.Context(), root, file, "v1")
		if err == nil {
			err = v.Release()
		}
		installed <- err
	}()
	select {
	case err := <-installed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(3 * time.Second):
		t.Error("a container keeps the next plugin from installing the init")
		_ = unix.Flock(int(container.Fd()), unix.LOCK_UN)
		<-installed
	}
}

// What is not ours stays, whatever its name begins with and however old it is.
func TestCollectForeign(t *testing.T) {
	root := t.TempDir()
	old := time.Now().Add(-2 * leftover)
	for _, name := range []string{".ssh/authorized_keys", ".cache/index", "tini/init"} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Dir(file), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Collect(root, unused); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".ssh/authorized_keys", ".cache/index", "tini/init"} {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Errorf("what is not podinit's is removed: %v", err)
		}
	}
}
