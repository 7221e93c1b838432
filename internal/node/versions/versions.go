// Package versions keeps the init on a node's disk, for containers to mount.
//
// Each version has a directory of its own that never changes, since containers of any age may have it mounted. It comes
// by one rename, so it is there whole or not at all. A process that gives a version to containers holds a lock on a file beside
// it, which no container sees; what no plugin holds and no container uses may go.
package versions

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podinit/podinit/internal/initprogram"
)

const (
	// program is the init's name in the directory of a version.
	program = "init"
	// incoming and outgoing begin the names of directories that are on their way.
	incoming, outgoing = ".install-", ".remove-"
	// held ends the name of the file that is locked for a version. The directory itself is mounted into containers, and flock(2) asks
	// for no right to write: a container could keep its lock for ever.
	held = ".lock"
	// hashLength is how much of a file's hash is in a version's name, in hexadecimal digits.
	hashLength = 12
	// leftover is the age from which an unfinished directory belongs to a process that is gone.
	leftover = time.Hour
	// maxProgram bounds what is read of an init, in bytes.
	maxProgram = 64 << 20
)

// Version is one that is installed. It stays for as long as this process holds it.
type Version struct {
	// Directory of it, whose one file is the init.
	Directory string
	// lock is an open file, with a shared flock(2): the kernel drops that with the process, whatever way that ends.
	lock *os.File
	// file is what is installed; another or changed file is not.
	file fs.FileInfo
}

// Install puts an init into a directory of its own below root, unless it is there already, and runs it there. The name of
// that has the version and begins the hash of the file: equal files have equal names.
//
// An error says what is wrong with root, such as that it is read-only or noexec; nothing is then to be given to containers.
func Install(ctx context.Context, root, source, version string) (*Version, error) {
	if err := checkRoot(root); err != nil {
		return nil, err
	}
	hash, err := hashOf(source)
	if err != nil {
		return nil, fmt.Errorf("reading the init to install: %w", err)
	}
	directory := filepath.Join(root, name(version, hash))
	v, err := installAlone(root, directory, source, hash)
	if err != nil {
		return nil, err
	}
	if _, err := initprogram.Version(ctx, v.program()); err != nil {
		return nil, errors.Join(fmt.Errorf("running the installed init: %w", err), v.Release())
	}
	return v, nil
}

// installAlone puts the init into the directory and holds it, while no other process changes what is below root.
func installAlone(root, directory, source, hash string) (*Version, error) {
	unlock, err := lock(root)
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", root, err)
	}
	defer unlock()
	if err := put(root, directory, source, hash); err != nil {
		return nil, fmt.Errorf("installing the init in %s: %w", root, err)
	}
	v, err := hold(directory)
	if err != nil {
		return nil, fmt.Errorf("holding the init in %s: %w", directory, err)
	}
	return v, nil
}

// lock keeps other processes from installing and removing versions below root until unlock is called. Each does so for
// milliseconds, and the kernel drops the lock of a process that ends.
func lock(root string) (unlock func(), err error) {
	d, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(int(d.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return func() { _ = d.Close() }, nil
}

// checkRoot says what keeps programs below root from being run.
func checkRoot(root string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(root, &s); err != nil {
		return fmt.Errorf("the directory for the init, %s: %w", root, err)
	}
	return checkFlags(root, int64(s.Flags))
}

// checkFlags is checkRoot for the flags that statfs(2) gives.
func checkFlags(root string, flags int64) error {
	switch {
	case flags&unix.ST_NOEXEC != 0:
		return fmt.Errorf("the directory for the init, %s, is mounted noexec: choose a directory on another file system", root)
	case flags&unix.ST_RDONLY != 0:
		return fmt.Errorf("the directory for the init, %s, is mounted read-only: choose a writable directory", root)
	}
	return nil
}

func hashOf(file string) (hash string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, maxProgram+1))
	if err == nil && n > maxProgram {
		err = fmt.Errorf("%s has more than %d bytes", file, maxProgram)
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

// name of a version's directory: one word of a path, never a hidden one.
func name(version, hash string) string {
	version = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("-.+_", r):
			return r
		}
		return '_'
	}, version)
	if version == "" || version[0] == '.' {
		version = "_" + version
	}
	return version[:min(len(version), 100)] + "-" + hash[:hashLength]
}

// put has the directory hold the init, if it does not yet.
func put(root, directory, source, hash string) (err error) {
	if usable(directory, hash) {
		return nil
	}
	if err := retire(directory); err != nil {
		return err
	}
	temporary, err := os.MkdirTemp(root, incoming)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temporary))
		}
	}()
	if err := copyProgram(filepath.Join(temporary, program), source); err != nil {
		return err
	}
	// Any user of any container starts the init.
	if err := os.Chmod(temporary, 0o755); err != nil {
		return err
	}
	if err := syncNames(temporary); err != nil {
		return err
	}
	if err := os.Rename(temporary, directory); err != nil {
		return err
	}
	return syncNames(root)
}

// usable says whether the directory has the init of that hash, for every user to start.
func usable(directory, hash string) bool {
	file := filepath.Join(directory, program)
	info, err := os.Lstat(file)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o555 != 0o555 {
		return false
	}
	outside, err := os.Stat(directory)
	if err != nil || outside.Mode().Perm()&0o555 != 0o555 {
		return false
	}
	found, err := hashOf(file)
	return err == nil && found == hash
}

func copyProgram(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.LimitReader(in, maxProgram))
	if err == nil {
		err = out.Chmod(0o555)
	}
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// syncNames makes the names in a directory outlast a crash.
func syncNames(directory string) error {
	d, err := os.Open(directory)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// hold locks a version against Collect, which locks its root as the caller does: there is nothing to wait for.
func hold(directory string) (*Version, error) {
	lock, err := os.OpenFile(directory+held, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	v := &Version{Directory: directory, lock: lock}
	fail := func(err error) (*Version, error) { return nil, errors.Join(err, lock.Close()) }
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return fail(err)
	}
	if v.file, err = os.Stat(v.program()); err != nil {
		return fail(err)
	}
	return v, nil
}

func (v *Version) program() string { return filepath.Join(v.Directory, program) }

// Name of the version's directory below its root.
func (v *Version) Name() string { return filepath.Base(v.Directory) }

// Check says why containers cannot be given this version now: it was removed or changed. It costs one stat.
func (v *Version) Check() error {
	now, err := os.Stat(v.program())
	switch {
	case err != nil:
		return err
	case !os.SameFile(v.file, now) || v.file.Size() != now.Size() || v.file.Mode() != now.Mode() || !v.file.ModTime().Equal(now.ModTime()):
		return fmt.Errorf("%s is not the file that was installed", v.program())
	}
	return nil
}

// Release lets others remove the version.
func (v *Version) Release() error { return v.lock.Close() }

// Collect removes the versions below root that no process holds and no container uses, and what processes that are gone
// have left unfinished. It returns the names of the versions that it has removed.
func Collect(root string, used func(name string) bool) (removed []string, err error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var failed []error
	for _, entry := range entries {
		directory := filepath.Join(root, entry.Name())
		if strings.HasPrefix(entry.Name(), incoming) || strings.HasPrefix(entry.Name(), outgoing) {
			if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > leftover {
				failed = append(failed, os.RemoveAll(directory))
			}
			continue
		}
		if !entry.IsDir() || !isVersion(directory) || used(entry.Name()) {
			continue
		}
		switch gone, err := collect(root, directory); {
		case err != nil:
			failed = append(failed, err)
		case gone:
			removed = append(removed, entry.Name())
		}
	}
	return removed, errors.Join(failed...)
}

// isVersion says whether a directory is one of ours: it has such a name, and the init and nothing else. Others are left alone, should
// root be a directory that is not podinit's.
func isVersion(directory string) bool {
	if !versionName.MatchString(filepath.Base(directory)) {
		return false
	}
	entries, err := os.ReadDir(directory)
	return err == nil && len(entries) == 1 && entries[0].Name() == program && entries[0].Type().IsRegular()
}

// versionName is what name makes.
var versionName = regexp.MustCompile(fmt.Sprintf(`^[^.].*-[0-9a-f]{%d}$`, hashLength))

// collect removes a version, unless a process holds it.
func collect(root, directory string) (gone bool, err error) {
	unlock, err := lock(root)
	if err != nil {
		return false, err
	}
	defer unlock()
	if _, err := os.Lstat(directory); errors.Is(err, fs.ErrNotExist) {
		return false, nil // another plugin was quicker
	}
	lock, err := os.OpenFile(directory+held, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return false, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return false, nil
		}
		return false, err
	}
	return true, errors.Join(retire(directory), os.Remove(directory+held))
}

// retire removes a directory, if there is one, so that no process sees a part of it.
func retire(directory string) error {
	aside, err := os.MkdirTemp(filepath.Dir(directory), outgoing)
	if err != nil {
		return err
	}
	if err := os.Rename(directory, filepath.Join(aside, "old")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, os.RemoveAll(aside))
	}
	return os.RemoveAll(aside)
}
