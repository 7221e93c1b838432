package inject

import (
	"encoding/json"
	"path"
	"slices"
	"strings"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/imageconfig"
)

// program is what a container runs, in the words that its command and args are to have, without the init.
type program struct {
	command []string
	// args are those of the image; nil if the container's own stay.
	args   []string
	source v1alpha1.Source
	// digest of the image, if its registry has said what it runs.
	digest string
}

// image is what an image runs, and who says so.
type image struct {
	config imageconfig.Config
	source v1alpha1.Source
	digest string
}

// program finds out what a container runs. With a command, what the image says does not count.
//
// What an image runs may have been written into the command by an earlier call. A command that is the same as the
// image's is therefore taken for it, so that the next call says what this one does.
func (p *Plan) program(c *container) (program, v1alpha1.Reason, string) {
	command, ok := unwrap(c.Command)
	if !ok {
		return program{}, v1alpha1.ReasonBrokenWrap, ""
	}
	own := program{command: command, source: v1alpha1.SourceCommand}
	image, r, detail := p.image(c)
	if image.source == "" && r == "" {
		image, r, detail = p.registryImage(c)
	}
	found := program{source: image.source, digest: image.digest}
	var err error
	found.command, found.args, err = image.config.Process(len(c.Args) > 0)
	switch {
	case len(command) > 0, wrapped(c) && len(c.Args) > 0:
		if before, ok := p.askedBefore(c); ok && image.source == "" {
			own.source, own.digest = before.Source, before.Digest
		} else if image.source != "" && slices.Equal(command, found.command) {
			own.source, own.digest = image.source, image.digest
		}
		return own, "", ""
	case r != "":
		return program{}, r, detail
	case image.source == "" || wrapped(c):
		return program{}, v1alpha1.ReasonNoCommand, ""
	case p.replacedInPlace:
		return program{}, v1alpha1.ReasonInPlaceUpdate, ""
	case err != nil:
		return program{}, v1alpha1.ReasonNoProgram, ""
	}
	return found, "", ""
}

// image is what the Pod's annotation says about a container's image, else the profile.
func (p *Plan) image(c *container) (image, v1alpha1.Reason, string) {
	if c.Image == "" {
		return image{}, "", "" // no Pod that is valid
	}
	if text, ok := p.pod.Metadata.Annotations[v1alpha1.EntrypointAnnotation+c.Name]; ok {
		var words []string
		if err := json.Unmarshal([]byte(text), &words); err != nil {
			return image{}, v1alpha1.ReasonInvalidEntrypoint, err.Error()
		}
		if len(words) == 0 || words[0] == "" {
			return image{}, v1alpha1.ReasonInvalidEntrypoint, "it names no program"
		}
		if len(words) > maxWords {
			return image{}, v1alpha1.ReasonInvalidEntrypoint, tooManyWords
		}
		return image{config: imageconfig.Config{Entrypoint: words}, source: v1alpha1.SourceAnnotation}, "", ""
	}
	if e := p.profile.entrypoint(c.Image); e != nil {
		return image{config: imageconfig.Config{Entrypoint: e.Entrypoint, Cmd: e.Cmd}, source: v1alpha1.SourceProfile}, "", ""
	}
	return image{}, "", ""
}

// registryImage is what its registry says about a container's image, or why that is not known. In a Pod whose images
// are replaced in place it does not count.
func (p *Plan) registryImage(c *container) (image, v1alpha1.Reason, string) {
	if p.replacedInPlace {
		return image{}, v1alpha1.ReasonInPlaceUpdate, ""
	}
	if c.ImagePullPolicy == "Never" {
		return image{}, v1alpha1.ReasonNeverPulled, ""
	}
	if _, err := imageconfig.ParseReference(c.Image); err != nil {
		return image{}, v1alpha1.ReasonInvalidImage, err.Error()
	}
	config, digest, failure, ok := p.lookedUp(c)
	switch {
	case ok:
		return image{config: config, source: v1alpha1.SourceRegistry, digest: digest}, "", ""
	case failure != nil:
		return image{}, failure.Reason, failure.Error()
	}
	return image{}, "", ""
}

// words are what a container runs, word by word. They end at one that is no string, which no valid Pod has.
func (pr program) words(c *container) []string {
	words := slices.Concat(pr.command, pr.args)
	if pr.args != nil {
		return words
	}
	for _, raw := range c.Args {
		var word string
		if json.Unmarshal(raw, &word) != nil {
			break
		}
		words = append(words, word)
	}
	return words
}

// leaveProgramAlone says why a program that is started with these words is no business of ours, or "".
//
// env and busybox are looked through. Of other programs it is not known whether they start another, but an entrypoint
// runs the words after it, or after --: so an init that must be PID 1 counts there too, by its path, and systemd.
func leaveProgramAlone(words []string) v1alpha1.Reason {
	words = behindWrappers(words)
	if len(words) == 0 {
		return ""
	}
	switch path.Base(words[0]) {
	case "tini", "tini-static", "dumb-init", "catatonit", "docker-init", "pid1", "podinit":
		return v1alpha1.ReasonAlreadyInit
	case "systemd", "init", "openrc-init", "runit", "runit-init", "my_init", "s6-svscan", "upstart":
		// /init is s6-overlay's, which refuses to run as anything but PID 1 (just-containers/s6-overlay#630).
		return v1alpha1.ReasonRequiresPID1
	}
	for i, word := range words[1:] {
		if previous := words[i]; i > 0 && previous != "--" {
			continue // an argument that may mean anything
		}
		switch word {
		case "/sbin/init", "/usr/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd", "systemd", "/init":
			return v1alpha1.ReasonRequiresPID1
		}
	}
	return ""
}

// behindWrappers is a command without programs before it that only start it: env, with its variables and its flags
// without a value, and busybox.
func behindWrappers(words []string) []string {
	for len(words) > 0 {
		switch path.Base(words[0]) {
		case "env":
			words = words[1:]
			for len(words) > 0 && (strings.HasPrefix(words[0], "-") || strings.Contains(words[0], "=")) {
				words = words[1:]
			}
		case "busybox":
			words = words[1:]
		default:
			return words
		}
	}
	return nil
}
