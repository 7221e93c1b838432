// Package files reads what -f names, as kubectl does.
package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/resource"

	"github.com/podinit/podinit/internal/cli/exit"
)

// Most is how many bytes are read in all.
const Most = 64 << 20

// Options are the flags.
type Options struct {
	// Names of files and directories; - is the standard input.
	Names []string
	// Recursive reads the directories in directories too.
	Recursive bool
}

// AddFlags adds -f and -R.
func (o *Options) AddFlags(command *cobra.Command) {
	command.Flags().StringSliceVarP(&o.Names, "filename", "f", nil, "a `file`, a directory, or - for the standard input; may be repeated")
	command.Flags().BoolVarP(&o.Recursive, "recursive", "R", false, "with a directory, read its subdirectories too")
}

// File is one file.
type File struct {
	// Name as an error or a diff shows it.
	Name string
	Text string
}

// Read reads all files, in the order in which they are named, those of a directory in that of their names. It takes
// what kubectl takes from a directory: .json, .yaml and .yml. An error has its exit code.
func (o Options) Read(in io.Reader) ([]File, error) {
	var files []File
	left := Most
	read := func(name string, from io.Reader) error {
		text, err := io.ReadAll(io.LimitReader(from, int64(left)+1))
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		if left -= len(text); left < 0 {
			return exit.With(exit.Usage,
				fmt.Errorf("reading %s: the files have more than %d MiB together; read fewer files at a time", name, Most>>20))
		}
		files = append(files, File{Name: name, Text: string(text)})
		return nil
	}
	open := func(name string) error {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		return read(name, file)
	}
	if i := slices.Index(o.Names, "-"); i >= 0 && slices.Contains(o.Names[i+1:], "-") {
		return nil, exit.With(exit.Usage, errors.New("the standard input can be read only once: use - once"))
	}
	for _, name := range o.Names {
		if name == "-" {
			if err := read("standard input", in); err != nil {
				return nil, err
			}
			continue
		}
		if strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://") {
			return nil, exit.With(exit.Usage,
				fmt.Errorf("%s: download it yourself, so that you see what it is: curl -fsSL %s | ... -f -", name, name))
		}
		info, err := os.Stat(name)
		switch {
		case err != nil:
			return nil, err
		case !info.IsDir():
			err = open(name)
		default:
			err = o.walk(name, open)
		}
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

// walk opens the files in a directory, and fails if there is none to read.
func (o Options) walk(directory string, open func(name string) error) error {
	some := false
	root := filepath.Clean(directory) + string(filepath.Separator) // else a link to a directory is not followed
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != root && !o.Recursive:
			return filepath.SkipDir
		case entry.IsDir() || !slices.Contains(resource.FileExtensions, filepath.Ext(name)):
			return nil
		}
		if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() { // a link may lead anywhere
			return err
		}
		some = true
		return open(name)
	})
	if err == nil && !some {
		err = exit.With(exit.Usage, fmt.Errorf("%s: it has no file that ends in %s; -R reads its subdirectories too", directory,
			strings.Join(resource.FileExtensions, ", ")))
	}
	return err
}
