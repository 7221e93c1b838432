package inject

import (
	"encoding/json"
	"path"
	"slices"

	"github.com/podinit/podinit/api/v1alpha1"
)

// program is what a container runs, in the words that its command and args are to have, without the init.
type program struct {
	command []string
	// args are those of the image; nil if the container's own stay.
	args   []string
	source v1alpha1.Source
}

// image is what an image runs.
type image struct {
	entrypoint, cmd []string
	source          v1alpha1.Source
}

// program finds out what a container runs, as container runtimes do (containerd's WithProcessArgs): with a command,
// what the image says does not count; without, the image's entrypoint is followed by the container's args, or by the
// image's cmd if there are none.
//
// What an image runs was written into the command by an earlier call, and is recognised by being the same.
func (p *Plan) program(c *container) (program, v1alpha1.Reason, string) {
	command, ok := unwrap(c.Command)
	if !ok {
		return program{}, v1alpha1.ReasonBrokenWrap, ""
	}
	own := program{command: command, source: v1alpha1.SourceCommand}
	wrapped := len(c.Command) > 0 && c.Command[0] == initPath
	if len(c.Command) > 0 && !wrapped {
		return own, "", ""
	}
	image, r, detail := p.image(c)
	entrypoint := escaped(image.entrypoint)
	switch {
	case wrapped && len(command)+len(c.Args) > 0:
		if image.source != "" && slices.Equal(command, entrypoint) {
			own.source = image.source
		}
		return own, "", ""
	case r != "":
		return program{}, r, detail
	case image.source == "" || wrapped:
		return program{}, v1alpha1.ReasonNoCommand, ""
	case p.replacedInPlace():
		return program{}, v1alpha1.ReasonInPlaceUpdate, ""
	}
	found := program{command: entrypoint, source: image.source}
	if len(c.Args) == 0 {
		found.args = escaped(image.cmd)
	}
	if len(found.command)+len(found.args)+len(c.Args) == 0 {
		return program{}, v1alpha1.ReasonNoCommand, ""
	}
	return found, "", ""
}

// image is what is known of a container's image: what the Pod's annotation says, else the profile.
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
		return image{entrypoint: words, source: v1alpha1.SourceAnnotation}, "", ""
	}
	if e := p.profile.entrypoint(c.Image); e != nil {
		found := image{entrypoint: e.Entrypoint, cmd: e.Cmd, source: v1alpha1.SourceProfile}
		if len(found.entrypoint) == 1 && found.entrypoint[0] == "" {
			found.entrypoint = nil // as containerd does
		}
		return found, "", ""
	}
	return image{}, "", ""
}

// replacedInPlace says whether the Pod's images may be replaced while it runs. A command cannot be.
func (p *Plan) replacedInPlace() bool {
	return slices.ContainsFunc(p.pod.Spec.ReadinessGates, func(g readinessGate) bool { return g.ConditionType == "InPlaceUpdateReady" })
}

// first is the first word of what a container runs, "" if it is none.
func (pr program) first(c *container) (word string) {
	switch {
	case len(pr.command) > 0:
		return pr.command[0]
	case len(pr.args) > 0:
		return pr.args[0]
	case len(c.Args) == 0 || json.Unmarshal(c.Args[0], &word) != nil:
		return ""
	}
	return word
}

// leaveProgramAlone says why a program that is started with this word is no business of ours, or "".
func leaveProgramAlone(program string) v1alpha1.Reason {
	switch path.Base(program) {
	case "tini", "tini-static", "dumb-init", "catatonit", "docker-init", "pid1", "podinit":
		return v1alpha1.ReasonAlreadyInit
	case "systemd", "init", "openrc-init", "runit", "runit-init", "my_init", "s6-svscan", "upstart":
		// /init is s6-overlay's, which refuses to run as anything but PID 1 (just-containers/s6-overlay#630).
		return v1alpha1.ReasonRequiresPID1
	}
	return ""
}
