package inject

import (
	"encoding/json"
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/imageconfig"
)

// program is what a container runs, in the words that its command and args are to have, without the init.
type program struct {
	// platforms begin it, each its own, where that is not the same on all.
	platforms []platform
	command   []string
	// args are those of the image; nil if the container's own stay.
	args   []string
	source v1alpha1.Source
	// digest of the image, if its registry has said what it runs.
	digest string
}

// image is what an image runs, and who says so.
type image struct {
	// configs are one, or one for each platform if they differ.
	configs []imageconfig.Config
	source  v1alpha1.Source
	digest  string
}

// program finds out what a container runs. With a command, what the image says does not count.
//
// What an image runs may have been written into the command by an earlier call. A command that is the same as the
// image's is therefore taken for it, so that the next call says what this one does.
func (p *Plan) program(c *container) (program, v1alpha1.Reason, string) {
	platforms, command, ok := unwrap(c.Command)
	if !ok || len(command) == 0 && flagsInArgs(c) {
		return program{}, v1alpha1.ReasonBrokenWrap, ""
	}
	if !haveWords(platforms) {
		platforms = nil
	}
	own := program{platforms: platforms, command: command, source: v1alpha1.SourceCommand}
	image, r, detail := p.image(c)
	if image.source == "" && r == "" {
		image, r, detail = p.registryImage(c)
	}
	found, err := image.program(len(c.Args) > 0)
	switch {
	case len(command) > 0, len(platforms) > 0, wrapped(c) && len(c.Args) > 0:
		if before, ok := p.askedBefore(c); ok && image.source == "" {
			own.source, own.digest = before.Source, before.Digest
		} else if image.source != "" && own.begins(found) {
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

// flagsInArgs says whether a command of nothing but the init and flags leaves it to the args to go on with flags.
func flagsInArgs(c *container) bool {
	if !wrapped(c) || c.Command[len(c.Command)-1] == "--" || len(c.Args) == 0 {
		return false
	}
	var word string
	return json.Unmarshal(c.Args[0], &word) == nil && strings.HasPrefix(word, "-")
}

// program is what the image runs in a container, with args of its own or without.
func (i image) program(ownArgs bool) (program, error) {
	found := program{source: i.source, digest: i.digest}
	nothing, same := imageconfig.ErrNoProgram, true
	for n, config := range i.configs {
		command, args, err := config.Process(ownArgs)
		if len(i.configs) == 1 {
			found.command, found.args = command, args
			return found, err
		}
		if err == nil {
			nothing = nil
		}
		if n == 0 {
			found.command, found.args = command, args
		}
		same = same && slices.Equal(command, found.command) && slices.Equal(args, found.args)
		found.platforms = append(found.platforms, platform{name: config.Platform.String(), words: slices.Concat(command, args)})
	}
	if same {
		found.platforms = nil
	} else {
		found.command, found.args = nil, nil
	}
	return found, nothing
}

// begins says whether two programs are the same but for their args.
func (pr program) begins(other program) bool {
	return slices.Equal(pr.command, other.command) &&
		slices.EqualFunc(pr.platforms, other.platforms, func(a, b platform) bool { return a.name == b.name && slices.Equal(a.words, b.words) })
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
		return image{configs: []imageconfig.Config{{Entrypoint: words}}, source: v1alpha1.SourceAnnotation}, "", ""
	}
	if e := p.profile.entrypoint(c.Image); e != nil {
		return image{configs: []imageconfig.Config{{Entrypoint: e.Entrypoint, Cmd: e.Cmd}}, source: v1alpha1.SourceProfile}, "", ""
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
	switch _, err := p.reference(c); {
	case errors.Is(err, imageconfig.ErrNameTooLong):
		return image{}, v1alpha1.ReasonImageNameTooLong, ""
	case err != nil:
		return image{}, v1alpha1.ReasonInvalidImage, err.Error()
	}
	configs, digest, failure, ok := p.lookedUp(c)
	switch {
	case ok:
		return image{configs: configs, source: v1alpha1.SourceRegistry, digest: digest}, "", ""
	case failure != nil:
		return image{}, failure.Reason, failure.Error()
	}
	return image{}, "", ""
}

// leaveAlone says why it is no business of ours in a container, on whichever platform, or "".
func (pr program) leaveAlone(c *container) v1alpha1.Reason {
	behind := slices.Concat(pr.command, pr.args)
	if pr.args == nil {
		for _, raw := range c.Args { // up to one that is no string, which no valid Pod has
			var word string
			if json.Unmarshal(raw, &word) != nil {
				break
			}
			behind = append(behind, word)
		}
	}
	for _, p := range pr.platforms {
		if r := leaveProgramAlone(slices.Concat(p.words, behind)); r != "" {
			return r
		}
	}
	if len(pr.platforms) > 0 {
		return ""
	}
	return leaveProgramAlone(behind)
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
