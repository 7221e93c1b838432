// Command release makes what podinit is shipped as, from the programs that the Makefile has built:
//
//	release licences        may all that is linked be shipped?
//	release archives        archives of the container images, each for one architecture, for engines to load
//	release images          archives of the container images, each for all architectures
//	release push            the same images to a registry
//	release dist            everything: images, chart, manifests, the CLI, licences, bill of materials, checksums
//
// Equal sources make equal files, byte for byte, on every machine, with the same version of Go. What needs a time
// has that of the commit, which SOURCE_DATE_EPOCH names (https://reproducible-builds.org/specs/source-date-epoch/).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/podinit/podinit/release/image"
	"github.com/podinit/podinit/release/licence"
)

// options are the flags; the Makefile gives them.
type options struct {
	// version goes into files and labels, tag is the images'.
	version, tag string
	// architectures are those of the images, platforms those of the CLI.
	architectures []string
	platforms     []platform
	// binaries is the directory of the programs, output that of what is made.
	binaries, output string
	repository       string
	plainHTTP        bool
	// local is set for archives of nodes that get them without a registry.
	local bool
	// created is the time that everything has.
	created time.Time
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Getenv("SOURCE_DATE_EPOCH"), os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string, epoch string, out io.Writer) error {
	var o options
	flags := flag.NewFlagSet("release licences|archives|images|push|dist", flag.ContinueOnError)
	flags.StringVar(&o.version, "version", "", "`version`, as vX.Y.Z")
	flags.StringVar(&o.tag, "tag", "", "the images' `tag` (default: the version)")
	architectures := flags.String("architectures", "", "`architectures` of the images, separated by spaces")
	platforms := flags.String("platforms", "", "`platforms` of the CLI as OS/ARCHITECTURE, separated by spaces")
	flags.StringVar(&o.binaries, "binaries", "bin", "`directory` of the programs, at OS/ARCHITECTURE/PROGRAM")
	flags.StringVar(&o.repository, "repository", "", "`HOST/PATH` of the images")
	flags.BoolVar(&o.plainHTTP, "plain-http", false, "the registry is reached by plain HTTP")
	flags.BoolVar(&o.local, "local", false, "archives for nodes that no registry serves: each image has its name as a label, and an ID that no other image has")
	flags.StringVar(&o.output, "output", "", "`directory` to write to")
	if len(arguments) == 0 {
		flags.Usage()
		return flag.ErrHelp
	}
	if err := flags.Parse(arguments[1:]); err != nil {
		return flag.ErrHelp // which the flag set has explained
	}
	o.architectures = strings.Fields(*architectures)
	for _, word := range strings.Fields(*platforms) {
		system, architecture, ok := strings.Cut(word, "/")
		if !ok {
			return fmt.Errorf("platform %q: want OS/ARCHITECTURE, for example linux/amd64", word)
		}
		o.platforms = append(o.platforms, platform{system, architecture})
	}
	if o.tag == "" {
		o.tag = o.version
	}

	switch arguments[0] {
	case "licences":
		_, err := licences(o)
		return err
	case "archives", "images", "push", "dist":
	default:
		flags.Usage()
		return fmt.Errorf("there is no %q", arguments[0])
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH is %q: set it to the commit's time in seconds since 1970 (git log -1 --format=%%ct)", epoch)
	}
	o.created = time.Unix(seconds, 0).UTC()
	switch arguments[0] {
	case "archives":
		err = archives(o, out)
	case "images":
		_, err = images(o, "", out)
	case "push":
		err = push(ctx, o, out)
	case "dist":
		if err = checkVersion(o.version); err == nil {
			err = dist(o, out)
		}
	}
	return err
}

// semantic is a version as https://semver.org has it, with the v before it that Go wants. "+" is none of a tag's letters.
var semantic = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$`)

func checkVersion(version string) error {
	if !semantic.MatchString(version) {
		return fmt.Errorf("version %q is not a release's: use a version such as v1.2.3 or v1.2.3-rc.1 (make release VERSION=v1.2.3)", version)
	}
	if strings.HasSuffix(version, "-dirty") {
		return fmt.Errorf("version %q: the work tree has changes; commit them, so that others can build the same", version)
	}
	return nil
}

// platform is what a program is built for.
type platform struct{ os, architecture string }

func (p platform) String() string { return p.os + "/" + p.architecture }

// suffix ends the names of programs.
func (p platform) suffix() string {
	if p.os == "windows" {
		return ".exe"
	}
	return ""
}

// program is one of those that are shipped, by its package and its name.
type program struct{ packagePath, name string }

var programs = []program{{"./initbin", image.Init.Program}, {"./cmd/podinit-webhook", image.Webhook.Program}, {"./cmd/podinit-node", image.Node.Program}, {"./cmd/podinit", "podinit"}}

// builtFor lists the platforms that a program is built for.
func (o options) builtFor(p program) []platform {
	if p.name == "podinit" {
		return o.platforms
	}
	var platforms []platform
	for _, architecture := range o.architectures {
		platforms = append(platforms, platform{"linux", architecture})
	}
	return platforms
}

// binary is where the Makefile puts a program.
func (o options) binary(on platform, name string) string {
	return filepath.Join(o.binaries, on.os, on.architecture, name+on.suffix())
}

// licences lists the modules of all that is linked, if each may be shipped.
func licences(o options) ([]licence.Module, error) {
	var targets []licence.Target
	for _, p := range programs {
		for _, on := range o.builtFor(p) {
			targets = append(targets, licence.Target{Package: p.packagePath, OS: on.os, Architecture: on.architecture})
		}
	}
	modules, err := licence.Modules(targets)
	if err != nil {
		return nil, err
	}
	return modules, licence.Check(modules)
}

// images makes the images, writes an archive of each, and returns their names by tag and digest.
func images(o options, prefix string, out io.Writer) (names map[string]string, err error) {
	names = map[string]string{}
	for _, spec := range image.All {
		index, reference, err := o.image(spec)
		if err != nil {
			return nil, err
		}
		file := filepath.Join(o.output, prefix+spec.Name+".tar")
		if err := image.WriteArchive(file, index, reference, o.created); err != nil {
			return nil, err
		}
		if names[spec.Name], err = image.Pinned(index, reference); err != nil {
			return nil, err
		}
		fmt.Fprintf(out, "%s (%s)\n", names[spec.Name], file)
	}
	return names, nil
}

// archives writes an archive of each image for each architecture, at ARCHITECTURE/IMAGE.tar, and prints their names by tag
// and digest, and the files.
func archives(o options, out io.Writer) error {
	for _, spec := range image.All {
		reference, err := spec.Reference(o.repository, o.tag, o.plainHTTP)
		if err != nil {
			return err
		}
		for _, architecture := range o.architectures {
			img, err := spec.BuildOne(filepath.Join(o.binaries, "linux"), architecture, o.version, o.created)
			if err == nil && o.local {
				img, err = image.Named(img, reference)
			}
			if err != nil {
				return err
			}
			file := filepath.Join(o.output, architecture, spec.Name+".tar")
			if err := image.WriteImage(file, img, reference, o.created); err != nil {
				return err
			}
			pinned, err := image.Pinned(img, reference)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "%s (%s)\n", pinned, file)
		}
	}
	return nil
}

// push puts the images into a registry, and prints their names by tag and digest, one a line.
func push(ctx context.Context, o options, out io.Writer) error {
	for _, spec := range image.All {
		index, reference, err := o.image(spec)
		if err != nil {
			return err
		}
		pushed, err := image.Push(ctx, index, reference)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, pushed)
	}
	return nil
}

func (o options) image(spec image.Spec) (v1.ImageIndex, name.Tag, error) {
	reference, err := spec.Reference(o.repository, o.tag, o.plainHTTP)
	if err != nil {
		return nil, name.Tag{}, err
	}
	index, err := spec.Build(filepath.Join(o.binaries, "linux"), o.architectures, o.version, o.created)
	return index, reference, err
}
