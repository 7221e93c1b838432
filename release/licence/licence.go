// Package licence finds under what licences a program's parts come, and whether each may be shipped.
package licence

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// Allowed are the licences of what podinit may link: those that ask for no more than that their text is shipped along.
// The names are SPDX identifiers.
var Allowed = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "CC0-1.0", "Unlicense", "Zlib"}

// Module is a Go module whose code is in a program, or Go's own library.
type Module struct {
	// Path and Version are as in go.mod; Go's own library is "std" with the version of Go.
	Path, Version string
	// Licences are the SPDX identifiers of what was found, sorted. A module may have several, for several directories.
	Licences []string
	// Files are the licences' and notices' texts.
	Files []File
}

// File is a licence or a notice.
type File struct {
	// Path is the file's path in its module.
	Path string
	Text []byte
}

// Target is a program on the platform that it is built for.
type Target struct{ Package, OS, Architecture string }

// Modules lists the modules of the targets and of all they import, less the main module, whose licence is the repository's
// own. "go list" runs in the current directory.
func Modules(targets []Target) ([]Module, error) {
	all := map[string]module{}
	for _, target := range targets {
		if err := list(all, target); err != nil {
			return nil, err
		}
	}
	// Nested licences of Go's own library are those of golang.org/x that it holds, and the same.
	output, err := exec.Command("go", "env", "GOVERSION", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("ask go for its version: %w", err)
	}
	version, root, _ := strings.Cut(strings.TrimSpace(string(output)), "\n")
	all["std"] = module{version, root, map[string]bool{root: true}}

	var modules []Module
	for path, found := range all {
		m := Module{Path: path, Version: found.version}
		for directory := range found.directories {
			if err := m.collect(found.root, directory); err != nil {
				return nil, fmt.Errorf("licences of %s %s: %w", m.Path, m.Version, err)
			}
		}
		if err := m.classify(); err != nil {
			return nil, err
		}
		modules = append(modules, m)
	}
	slices.SortFunc(modules, func(a, b Module) int { return cmp.Compare(a.Path, b.Path) })
	return modules, nil
}

// module is what "go list" says of one.
type module struct {
	version, root string
	// directories are those of the packages that are used.
	directories map[string]bool
}

// list adds what one target imports.
func list(modules map[string]module, target Target) error {
	command := exec.Command("go", "list", "-deps", "-json=Dir,Standard,Module", target.Package)
	command.Env = append(os.Environ(), "GOOS="+target.OS, "GOARCH="+target.Architecture)
	var complaint bytes.Buffer
	command.Stderr = &complaint
	output, err := command.Output()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", command, err, bytes.TrimSpace(complaint.Bytes()))
	}
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var p struct {
			Dir      string
			Standard bool
			Module   *struct {
				Path, Version, Dir string
				Main               bool
				Replace            *struct{ Path, Version, Dir string }
			}
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read what %s prints: %w", command, err)
		}
		switch {
		case p.Standard:
		case p.Module == nil:
			return fmt.Errorf("%s belongs to no module", p.Dir)
		case p.Module.Main:
		case p.Module.Replace != nil:
			add(modules, p.Module.Replace.Path, p.Module.Replace.Version, p.Module.Replace.Dir, p.Dir)
		default:
			add(modules, p.Module.Path, p.Module.Version, p.Module.Dir, p.Dir)
		}
	}
}

func add(modules map[string]module, path, version, root, directory string) {
	if _, ok := modules[path]; !ok {
		modules[path] = module{version, root, map[string]bool{}}
	}
	modules[path].directories[directory] = true
}

// licenceFile matches the names that people give to licences; noticeFile those of what the Apache licence calls NOTICE.
var (
	licenceFile = regexp.MustCompile(`(?i)^(un)?licen[cs]e|^copying|^patents`)
	noticeFile  = regexp.MustCompile(`(?i)^notices?(\.(md|txt))?$`)
)

// collect adds the licences and notices of a package: those in its directory and in each above it, up to the module's root.
func (m *Module) collect(root, directory string) error {
	for {
		entries, err := os.ReadDir(directory)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if !entry.Type().IsRegular() || strings.HasSuffix(entry.Name(), ".go") ||
				!licenceFile.MatchString(entry.Name()) && !noticeFile.MatchString(entry.Name()) {
				continue
			}
			path, err := filepath.Rel(root, filepath.Join(directory, entry.Name()))
			if err != nil {
				return err
			}
			path = filepath.ToSlash(path)
			if slices.ContainsFunc(m.Files, func(f File) bool { return f.Path == path }) {
				continue
			}
			text, err := fs.ReadFile(os.DirFS(root), path)
			if err != nil {
				return err
			}
			m.Files = append(m.Files, File{path, text})
		}
		if directory == root {
			return nil
		}
		if directory = filepath.Dir(directory); len(directory) < len(root) {
			return fmt.Errorf("a package of the module is not below its directory %s", root)
		}
	}
}

// covered is how much of a licence's file must be known text, in percent. The rest are names and years.
const covered = 75

// classify says which licences the files hold. A module without one, and a text that is not a known licence, is an error.
func (m *Module) classify() error {
	slices.SortFunc(m.Files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	found := map[string]bool{}
	for _, file := range m.Files {
		name := file.Path[strings.LastIndex(file.Path, "/")+1:]
		// Go's grant of patents takes nothing away, and documentation is not linked.
		if noticeFile.MatchString(name) || strings.EqualFold(name, "PATENTS") || strings.EqualFold(name, "LICENSE.docs") {
			continue
		}
		coverage := licensecheck.Scan(file.Text)
		if coverage.Percent < covered {
			return fmt.Errorf("%s %s: %s is %.0f %% the text of known licences, want %d %%: read it, and if it may be shipped, teach release/licence about it",
				m.Path, m.Version, file.Path, coverage.Percent, covered)
		}
		for _, match := range coverage.Match {
			found[match.ID] = true
		}
	}
	if len(found) == 0 {
		return fmt.Errorf("%s %s has no licence: no file LICENSE or COPYING above its packages", m.Path, m.Version)
	}
	m.Licences = slices.Sorted(maps.Keys(found))
	return nil
}

// Check returns an error that names every module with a licence that is not allowed.
func Check(modules []Module) error {
	var problems []error
	for _, m := range modules {
		for _, licence := range m.Licences {
			if !slices.Contains(Allowed, licence) {
				problems = append(problems, fmt.Errorf("%s %s is under %s: only %s may be linked; do without the module, or argue for its licence in release/licence",
					m.Path, m.Version, licence, strings.Join(Allowed, ", ")))
			}
		}
	}
	return errors.Join(problems...)
}

// Write prints the texts of all licences and notices, as those licences ask for where binaries are passed on.
func Write(to io.Writer, modules []Module) error {
	var text bytes.Buffer
	text.WriteString("podinit is under the Apache License 2.0. Its programs contain code of others, whose licences and notices follow.\n")
	rule := strings.Repeat("=", 80)
	for _, m := range modules {
		for _, file := range m.Files {
			fmt.Fprintf(&text, "\n%s\n%s %s: %s (%s)\n%s\n\n%s\n", rule, m.Path, m.Version, file.Path, strings.Join(m.Licences, ", "), rule, bytes.TrimSpace(file.Text))
		}
	}
	_, err := to.Write(text.Bytes())
	return err
}
