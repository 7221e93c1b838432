package inject

import (
	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/reason"
)

// Decision is what is to be done to one container.
type Decision struct {
	// Name of the container.
	Name string
	// Skip is why it is left alone; none if it is wrapped.
	reason.Skip
	// Source is where the command that is wrapped came from.
	Source v1alpha1.Source
	// Digest of the image, where Source is the registry.
	Digest string
	// Added are the fields that the container came without, to this call or to an earlier one; see ContainerStatus.
	Added []v1alpha1.Field
	// Drift are the reasons for which the container may run another image than the one with Digest.
	Drift []v1alpha1.Reason
	// Image is the container's new image, pinned to Digest; empty if it keeps its own.
	Image string
	// Command is the container's whole new command, the init first; nil if it is left alone.
	Command []string
	// Args are the container's new args; nil if it keeps its own.
	Args []string

	container *container
}

// skipped is the decision with the container left alone after all.
func (d Decision) skipped(r v1alpha1.Reason) Decision {
	return Decision{Name: d.Name, Skip: reason.NewSkip(r, ""), container: d.container}
}

// subject is a container that is decided about, with what is known about its image.
type subject struct {
	*container
	*input
	image knownImage
}

// decide decides about a container of a Pod that is not left alone as a whole. What its image should be asked for a better
// decision it appends to lookups.
func (in *input) decide(c *container, lookups []Lookup) (Decision, []Lookup) {
	d := Decision{Name: c.Name, Skip: reason.NewSkip(in.leaveOut(c), ""), container: c}
	if d.Reason != "" {
		return d, lookups
	}
	s := &subject{container: c, input: in, image: in.known(c)}
	unfit := in.unfit(c)
	if unfit == "" {
		lookups = s.appendLookup(lookups)
	}
	var program program
	if program, d.Skip = s.program(); d.Reason != "" {
		return d, lookups
	}
	options, stopSignals, err := s.initOptions()
	switch {
	case err != nil:
		d.Skip = reason.NewSkip(v1alpha1.ReasonInvalidFlags, err.Error())
	case unfit != "":
		d.Skip = reason.NewSkip(unfit, "")
	default:
		switch d.Skip = reason.NewSkip(program.leaveAlone(c), ""); {
		case d.Reason != "":
		case s.hides(program):
			d.Skip = reason.NewSkip(v1alpha1.ReasonMountConflict, "")
		case s.mayNotSignal():
			d.Skip = reason.NewSkip(v1alpha1.ReasonNoKillCapability, "")
		}
	}
	if d.Reason != "" {
		return d, lookups
	}
	d.Source, d.Digest = program.source, program.digest
	if d.Source == v1alpha1.SourceRegistry && !s.image.Pinned() {
		if d.Image = s.pinnedImage(); d.Image == "" {
			d.Drift = s.image.drift(s.alwaysPulled())
		}
	}
	if d.Image == "" && !s.image.Pinned() {
		options.LookupDigest = d.Digest // what cannot be started says it, as the node may have another image by then
	}
	d.Added = s.added(d, program)
	d.Command = wrap(options, withStopSignals(program.platforms, stopSignals), program.command)
	d.Args = program.args
	return d, lookups
}
