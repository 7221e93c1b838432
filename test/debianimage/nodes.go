package debianimage

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	releaseimage "github.com/podinit/podinit/release/image"
)

// Nodes says how an image gets to the nodes of a cluster: through a registry, or by a command.
type Nodes struct {
	// Push is HOST/NAME:TAG, the name by which the nodes pull it; PlainHTTP is set where that registry speaks plain HTTP.
	Push      string
	PlainHTTP bool
	// Load is a command that loads an archive, whose path is its last argument, into every node.
	Load string
}

// AddFlags adds a flag for each field.
func (n *Nodes) AddFlags(flags *flag.FlagSet) {
	flags.StringVar(&n.Push, "push", "", "`HOST/NAME:TAG` to push the image of the pods to, by the name the cluster pulls it by")
	flags.BoolVar(&n.PlainHTTP, "plain-http", false, "the registry of -push is reached by plain HTTP")
	flags.StringVar(&n.Load, "load", "", "`command` that loads an archive, whose path is its last argument, into every node, instead of -push")
}

// Put has an image get to the nodes, and returns the name that a pod has for it: by digest if it was pushed, and else with a
// tag that is the content's, so that nodes never run an earlier image. What is part of that tag's name.
func (n Nodes) Put(ctx context.Context, image v1.Image, what string, progress io.Writer) (string, error) {
	switch {
	case (n.Push == "") == (n.Load == ""):
		return "", errors.New("one of -push and -load is required")
	case n.Load != "":
		return load(ctx, image, n.Load, what, progress)
	}
	var options []name.Option
	if n.PlainHTTP {
		options = append(options, name.Insecure)
	}
	to, err := name.NewTag(n.Push, options...)
	if err != nil {
		return "", fmt.Errorf("-push %s: %w; give HOST/NAME:TAG", n.Push, err)
	}
	fmt.Fprintf(progress, "Pushing the image of the pods to %s\n", to)
	pushed, err := Push(ctx, to, image)
	if err != nil {
		return "", err
	}
	return pushed.String(), nil
}

func load(ctx context.Context, image v1.Image, command, what string, progress io.Writer) (string, error) {
	digest, err := image.Digest()
	if err != nil {
		return "", err
	}
	as, err := name.NewTag("localhost/podinit/" + what + ":" + digest.Hex[:12])
	if err != nil {
		return "", err
	}
	named, err := releaseimage.Named(image, as)
	if err != nil {
		return "", err
	}
	directory, err := os.MkdirTemp("", "podinit-"+what+"-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(directory)
	archive := filepath.Join(directory, what+".tar")
	if err := tarball.WriteToFile(archive, as, named); err != nil {
		return "", fmt.Errorf("write an archive of the image of the pods: %w", err)
	}
	words := append(strings.Fields(command), archive)
	fmt.Fprintf(progress, "Loading the image of the pods into the nodes: %s\n", strings.Join(words, " "))
	load := exec.CommandContext(ctx, words[0], words[1:]...)
	load.Stdout, load.Stderr = progress, progress
	if err := load.Run(); err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(words, " "), err)
	}
	return as.String(), nil
}
