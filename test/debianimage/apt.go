package debianimage

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Cache keeps downloaded packages and the layers made of them. Several processes may use one at a time.
type Cache struct {
	// Directory is where it is. It may be deleted whenever nothing uses it.
	Directory string
	// Progress gets a line before each step that takes long.
	Progress io.Writer

	// architecture and suite are Debian's names, platform is Go's of the architecture; empty where they are the host's own.
	architecture, suite, platform string
	// updated is set when the lists of packages of another suite are today's. Who has the lock may use it.
	updated *bool
}

// architectures are Debian's names where they are not Go's.
var architectures = map[string]string{"arm": "armhf", "ppc64le": "ppc64el"}

// Other is the part of the cache for another architecture, by Go's name, and another suite of Debian, such as trixie. Its packages
// come from the mirror that the host's apt uses for Debian.
func (c Cache) Other(architecture, suite string) Cache {
	debian := cmp.Or(architectures[architecture], architecture)
	return Cache{filepath.Join(c.Directory, suite+"-"+debian), c.Progress, debian, suite, architecture, new(bool)}
}

// UserCache is the user's cache, in os.UserCacheDir, which all that builds images here shares.
func UserCache(progress io.Writer) (Cache, error) {
	directory, err := os.UserCacheDir()
	if err != nil {
		return Cache{}, fmt.Errorf("find a directory for the package cache: %w; set XDG_CACHE_HOME", err)
	}
	return Cache{Directory: filepath.Join(directory, "podinit", "image"), Progress: progress}, nil
}

// layout is part of a cached layer's name. It changes when the same packages make another layer.
const layout = "1"

// always are the packages in every image: the base directories, and /bin/sh.
var always = []string{"base-files", "dash"}

// forScripts are packages that others depend on for their maintainer scripts. No script runs, so apt is told
// that they are there already, unless the caller asks for one.
var forScripts = []string{"adduser", "debconf", "dpkg", "init-system-helpers", "usr-is-merged"}

// layer makes the layer of the packages and all they depend on, or takes it from the cache.
func (c Cache) layer(ctx context.Context, packages, without []string) (v1.Layer, error) {
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("images are made of Debian packages, and this machine has no %s: run on Debian or Ubuntu, or in a container of one", tool)
		}
	}
	unlock, err := c.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()

	packages = append(slices.Clone(always), packages...)
	slices.Sort(packages)
	packages = slices.Compact(packages)
	if err := c.writeStatus(packages, append(slices.Clone(forScripts), without...)); err != nil {
		return nil, err
	}
	if c.suite != "" && !*c.updated {
		if err := c.writeSources(ctx); err != nil {
			return nil, err
		}
		// Suites move, and who names one wants what is in it today.
		if err := c.update(ctx); err != nil {
			return nil, err
		}
		*c.updated = true
	}
	// The package lists at hand may be missing, or name versions that the mirror no longer has.
	file, err := c.layerFile(ctx, packages)
	if err != nil {
		if updateErr := c.update(ctx); updateErr != nil {
			return nil, errors.Join(err, updateErr)
		}
		if file, err = c.layerFile(ctx, packages); err != nil {
			return nil, err
		}
	}
	layer, err := tarball.LayerFromFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the cached layer %s (delete it if it is damaged): %w", file, err)
	}
	return layer, nil
}

// layerFile returns the compressed layer in the cache, and makes it when it is not there.
func (c Cache) layerFile(ctx context.Context, packages []string) (string, error) {
	debs, err := c.resolve(ctx, packages)
	if err != nil {
		return "", err
	}
	key := sha256.Sum256([]byte(layout + "\n" + strings.Join(debs, "\n")))
	file := filepath.Join(c.Directory, "layers", hex.EncodeToString(key[:])+".tar.gz")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	c.say("Downloading %d Debian packages and making a layer of them (once; seconds to a minute)", len(debs))
	if err := c.download(ctx, packages); err != nil {
		return "", err
	}
	for i, deb := range debs {
		debs[i] = filepath.Join(c.archives(), deb)
	}
	if err := replaceFile(file, func(to io.Writer) error {
		compressed, err := gzip.NewWriterLevel(to, gzip.BestSpeed)
		if err != nil {
			return err
		}
		return errors.Join(writeLayer(ctx, compressed, debs), compressed.Close())
	}); err != nil {
		return "", fmt.Errorf("make a layer of %s: %w", strings.Join(packages, ", "), err)
	}
	return file, nil
}

// resolve returns the file names of the .deb archives of the packages and of all they depend on, sorted.
func (c Cache) resolve(ctx context.Context, packages []string) ([]string, error) {
	// apt does not list what it has already: it is shown an empty folder.
	empty := filepath.Join(c.Directory, "apt", "nothing")
	if err := os.MkdirAll(filepath.Join(empty, "partial"), 0o755); err != nil {
		return nil, fmt.Errorf("prepare the package cache: %w", err)
	}
	arguments := append([]string{"-o", "Dir::Cache::archives=" + empty, "--print-uris", "install"}, packages...)
	output, err := c.apt(ctx, arguments...)
	if err != nil {
		return nil, fmt.Errorf("find the Debian packages %s: %w", strings.Join(packages, ", "), err)
	}
	return parseURIs(output)
}

// parseURIs reads the lines of apt-get --print-uris: 'address' file size hash.
func parseURIs(output string) ([]string, error) {
	var debs []string
	lines := bufio.NewScanner(strings.NewReader(output))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 || !strings.HasPrefix(fields[0], "'") || !strings.HasSuffix(fields[1], ".deb") {
			continue
		}
		if fields[1] != filepath.Base(fields[1]) {
			return nil, fmt.Errorf("apt-get --print-uris names a file with a path: %q", fields[1])
		}
		debs = append(debs, fields[1])
	}
	if len(debs) == 0 {
		return nil, fmt.Errorf("apt-get --print-uris names no package file in %q", output)
	}
	slices.Sort(debs)
	return debs, nil
}

func (c Cache) download(ctx context.Context, packages []string) error {
	if err := os.MkdirAll(filepath.Join(c.archives(), "partial"), 0o755); err != nil {
		return fmt.Errorf("prepare the package cache: %w", err)
	}
	arguments := append([]string{"-o", "Dir::Cache::archives=" + c.archives(), "--download-only", "install"}, packages...)
	if _, err := c.apt(ctx, arguments...); err != nil {
		return fmt.Errorf("download the Debian packages %s: %w", strings.Join(packages, ", "), err)
	}
	return nil
}

// update fetches package lists of our own; the host's stay as they are.
func (c Cache) update(ctx context.Context) error {
	c.say("Fetching lists of Debian packages")
	if err := os.MkdirAll(filepath.Join(c.lists(), "partial"), 0o755); err != nil {
		return fmt.Errorf("prepare the package cache: %w", err)
	}
	if _, err := c.apt(ctx, "update"); err != nil {
		return fmt.Errorf("fetch lists of Debian packages (is the network there, and does apt-get update work?): %w", err)
	}
	return nil
}

// apt runs apt-get with the host's configuration, and returns what it prints. It sees a system on which nothing
// is installed but what is to be left out, and touches nothing outside the cache.
func (c Cache) apt(ctx context.Context, arguments ...string) (string, error) {
	options := []string{
		"-q", "-q", "-y", "--no-install-recommends",
		"-o", "Dir::Cache=" + filepath.Join(c.Directory, "apt"),
		"-o", "Dir::State::status=" + c.status(),
		"-o", "Dir::State::extended_states=" + filepath.Join(c.Directory, "apt", "extended_states"),
		// The cache may be where apt's own user cannot look.
		"-o", "APT::Sandbox::User=",
	}
	if c.suite != "" {
		options = append(options, "-o", "Dir::Etc::sourcelist="+c.sources(), "-o", "Dir::Etc::sourceparts=/dev/null",
			"-o", "APT::Architecture="+c.architecture, "-o", "APT::Architectures="+c.architecture)
	}
	if _, err := os.Stat(c.lists()); err == nil {
		options = append(options, "-o", "Dir::State::lists="+c.lists())
	}
	var output, complaint strings.Builder
	command := exec.CommandContext(ctx, "apt-get", append(options, arguments...)...)
	command.Env = append(os.Environ(), "LC_ALL=C")
	command.Stdout, command.Stderr = &output, &complaint
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("apt-get: %w: %s", err, strings.TrimSpace(complaint.String()))
	}
	return output.String(), nil
}

// writeStatus writes the list of installed packages that apt is shown.
func (c Cache) writeStatus(packages, without []string) error {
	var status strings.Builder
	for _, name := range without {
		if !slices.Contains(packages, name) {
			fmt.Fprintf(&status, "Package: %s\nStatus: install ok installed\nArchitecture: all\nMulti-Arch: foreign\nVersion: 999\n\n", name)
		}
	}
	if err := os.MkdirAll(filepath.Dir(c.status()), 0o755); err != nil {
		return fmt.Errorf("prepare the package cache: %w", err)
	}
	if err := os.WriteFile(c.status(), []byte(status.String()), 0o644); err != nil {
		return fmt.Errorf("prepare the package cache: %w", err)
	}
	return nil
}

// writeSources writes the list of the one suite.
func (c Cache) writeSources(ctx context.Context) error {
	// Without lists of its own, apt-get names the host's mirror.
	output, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI)",
		"Created-By: Packages", "Origin: Debian", "Label: Debian").Output()
	if err != nil {
		return fmt.Errorf("ask apt-get for a mirror of Debian: %w", err)
	}
	mirror, _, _ := strings.Cut(string(output), "\n")
	if mirror == "" {
		return fmt.Errorf("packages of Debian's %s are needed, and apt here has no mirror of Debian (/etc/apt/sources.list.d)", c.suite)
	}
	const keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
	line := fmt.Sprintf("deb [arch=%s signed-by=%s] %s %s main\n", c.architecture, keys, mirror, c.suite)
	if err := os.MkdirAll(filepath.Dir(c.sources()), 0o755); err != nil {
		return fmt.Errorf("prepare the package cache: %w", err)
	}
	if err := os.WriteFile(c.sources(), []byte(line), 0o644); err != nil {
		return fmt.Errorf("prepare the package cache: %w", err)
	}
	return nil
}

func (c Cache) sources() string  { return filepath.Join(c.Directory, "apt", "sources.list") }
func (c Cache) archives() string { return filepath.Join(c.Directory, "apt", "archives") }
func (c Cache) lists() string    { return filepath.Join(c.Directory, "apt", "lists") }
func (c Cache) status() string   { return filepath.Join(c.Directory, "apt", "status") }

// lock waits until no other process uses the cache.
func (c Cache) lock() (unlock func(), err error) {
	if err := os.MkdirAll(c.Directory, 0o755); err != nil {
		return nil, fmt.Errorf("prepare the package cache: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(c.Directory, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the package cache: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the package cache %s: %w", file.Name(), err), file.Close())
	}
	return func() { _ = file.Close() }, nil
}

func (c Cache) say(format string, arguments ...any) {
	if c.Progress != nil {
		_, _ = fmt.Fprintf(c.Progress, format+"\n", arguments...)
	}
}

// replaceFile writes a file that is there whole or not at all.
func replaceFile(file string, write func(io.Writer) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(file), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if removeErr := os.Remove(temporary.Name()); removeErr != nil && !errors.Is(removeErr, fs.ErrNotExist) {
			err = errors.Join(err, removeErr)
		}
	}()
	if err := errors.Join(write(temporary), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), file)
}
