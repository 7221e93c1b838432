package inject

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/reason"
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

// image is what an image runs, and where that comes from.
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
func (s *subject) program() (program, reason.Skip) {
	platforms, command, ok := unwrap(s.Command)
	if !ok || len(command) == 0 && flagsInArgs(s.container) {
		return program{}, reason.NewSkip(v1alpha1.ReasonBrokenWrap, "")
	}
	if !haveWords(platforms) {
		platforms = nil
	}
	own := program{platforms: platforms, command: command, source: v1alpha1.SourceCommand}
	image, unknown := s.specifiedImage()
	if image.source == "" && unknown.Reason == "" {
		image, unknown = s.registryImage()
	}
	found, err := image.program(len(s.Args) > 0)
	switch {
	case len(command) > 0, len(platforms) > 0, wrapped(s.container) && len(s.Args) > 0:
		if before := s.image.before; before.Source != "" && image.source == "" {
			own.source, own.digest = before.Source, before.Digest
		} else if image.source != "" && own.begins(found) {
			own.source, own.digest = image.source, image.digest
		}
		return own, reason.Skip{}
	case unknown.Reason != "":
		return program{}, unknown
	case image.source == "" || wrapped(s.container):
		return program{}, reason.NewSkip(v1alpha1.ReasonNoCommand, "")
	case s.pod.replacedInPlace():
		return program{}, reason.NewSkip(v1alpha1.ReasonInPlaceUpdate, "")
	case err != nil:
		return program{}, reason.NewSkip(v1alpha1.ReasonNoProgram, "")
	}
	return found, reason.Skip{}
}

// wrapped says whether an earlier call has wrapped the container.
func wrapped(c *container) bool { return len(c.Command) > 0 && c.Command[0] == InitPath }

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

// specifiedImage is what the Pod's annotation says about a container's image, else the profile.
func (s *subject) specifiedImage() (image, reason.Skip) {
	if s.Image == "" {
		return image{}, reason.Skip{} // the Pod is not valid
	}
	if text, ok := s.pod.Metadata.Annotations[v1alpha1.EntrypointAnnotation+s.Name]; ok {
		var words []string
		if err := json.Unmarshal([]byte(text), &words); err != nil {
			return image{}, reason.NewSkip(v1alpha1.ReasonInvalidEntrypoint, err.Error())
		}
		if len(words) == 0 || words[0] == "" {
			return image{}, reason.NewSkip(v1alpha1.ReasonInvalidEntrypoint, "it names no program")
		}
		if len(words) > maxWords {
			return image{}, reason.NewSkip(v1alpha1.ReasonInvalidEntrypoint, tooManyWords)
		}
		return image{configs: []imageconfig.Config{{Entrypoint: words}}, source: v1alpha1.SourceAnnotation}, reason.Skip{}
	}
	if e := s.setting.Profile.Entrypoint(s.Image); e != nil {
		return image{configs: []imageconfig.Config{{Entrypoint: e.Entrypoint, Cmd: e.Cmd}}, source: v1alpha1.SourceProfile}, reason.Skip{}
	}
	return image{}, reason.Skip{}
}

// registryImage is what its registry says about a container's image, or why that is not known. In a Pod whose images
// are replaced in place it does not count.
func (s *subject) registryImage() (image, reason.Skip) {
	if s.pod.replacedInPlace() {
		return image{}, reason.NewSkip(v1alpha1.ReasonInPlaceUpdate, "")
	}
	if s.ImagePullPolicy == "Never" {
		return image{}, reason.NewSkip(v1alpha1.ReasonNeverPulled, "")
	}
	switch known := &s.image; {
	case errors.Is(known.invalid, imageconfig.ErrNameTooLong):
		return image{}, reason.NewSkip(v1alpha1.ReasonImageNameTooLong, "")
	case known.invalid != nil:
		return image{}, reason.NewSkip(v1alpha1.ReasonInvalidImage, known.invalid.Error())
	case known.failure != nil:
		return image{}, failedLookup(known.failure)
	case len(known.configs) > 0:
		return image{configs: known.configs, source: v1alpha1.SourceRegistry, digest: known.lookedUp.Image.Digest}, reason.Skip{}
	}
	return image{}, reason.Skip{}
}

// leaveAlone says why it is not wrapped in a container, on any platform, or "".
func (pr program) leaveAlone(c *container) v1alpha1.Reason {
	behind := slices.Concat(pr.command, pr.args)
	if pr.args == nil {
		for _, raw := range c.Args { // up to one that is not a string, which no valid Pod has
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
