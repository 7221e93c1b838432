package inject

import (
	"encoding/json"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/imageconfig"
)

// knownImage is what is known about a container's image, apart from what the Pod's annotations and the profile say.
type knownImage struct {
	reference
	// lookedUp is what its registry says; answered is not set where there is no such answer.
	lookedUp LookedUp
	answered bool
	// configs are those of the answer, one for each platform if they differ; none if the Pod cannot run it, or nothing is
	// known. failure says why, if it was looked up.
	configs []imageconfig.Config
	failure *imageconfig.Failure
	// before is what the status says of a wrapped container whose command an earlier call had from the registry; else zero.
	// That call may have been another replica's, which knows what this one does not. It is repeated, and decides nothing
	// but that the registry is asked again.
	before v1alpha1.ContainerStatus
}

// reference is an image's name, taken apart, or why it is not valid.
type reference struct {
	imageconfig.Reference
	invalid error
}

// known is what is known about the image of a container.
func (in *input) known(c *container) knownImage {
	i := knownImage{reference: in.reference(c.Image), lookedUp: in.setting.Images[c.Name]}
	_, asked := in.setting.Images[c.Name]
	if i.failure = i.lookedUp.Failure; asked && i.failure == nil {
		i.answered = true
		i.configs, i.failure = i.lookedUp.Image.On(in.architectures)
	}
	if s := in.before.Containers[c.Name]; wrapped(c) && s.Source == v1alpha1.SourceRegistry {
		if _, err := v1.NewHash(s.Digest); err == nil {
			i.before = s
		}
	}
	return i
}

// noImage is the reference of a container that names no image, as a container runtime's does not.
var noImage = parsed("")

func parsed(image string) (r reference) {
	r.Reference, r.invalid = imageconfig.ParseReference(image)
	return r
}

// reference of an image. Each name is taken apart once.
func (in *input) reference(image string) reference {
	if image == "" {
		return noImage
	}
	if err := imageconfig.CheckName(image); err != nil {
		return reference{invalid: err} // not even as a key
	}
	r, ok := in.references[image]
	if !ok {
		r = parsed(image)
		in.references[image] = r
	}
	return r
}

// drift is why the container may run another image than the one that its command was looked up from. What another replica
// has said of it is repeated where this one does not know. An image that is pulled each time is the registry's.
func (i *knownImage) drift(alwaysPulled bool) (reasons []v1alpha1.Reason) {
	stale, differs := i.lookedUp.Stale, i.lookedUp.NodesDiffer && !alwaysPulled
	if !i.answered {
		stale = slices.Contains(i.before.Drift, v1alpha1.ReasonStaleLookup)
		differs = slices.Contains(i.before.Drift, v1alpha1.ReasonNodeImageDiffers)
	}
	if stale {
		reasons = append(reasons, v1alpha1.ReasonStaleLookup)
	}
	if differs {
		reasons = append(reasons, v1alpha1.ReasonNodeImageDiffers)
	}
	return reasons
}

// alwaysPulled says whether the node asks the registry for the image each time. Without an imagePullPolicy, as offline, the
// apiserver's default holds (pkg/apis/core/v1/defaults.go).
func (s *subject) alwaysPulled() bool {
	if s.ImagePullPolicy == "" {
		return s.image.invalid == nil && s.image.Tag == "latest"
	}
	return s.ImagePullPolicy == "Always"
}

// pinnedImage is the container's image with the digest that was looked up, so that no node runs another; "" if it is to
// stay as it is. The tag stays, for people and policies to read.
func (s *subject) pinnedImage() string {
	digest := s.image.lookedUp.Image.Digest
	if !s.setting.Profile.Pins() || s.compares == v1alpha1.ComparesImage || len(s.image.configs) == 0 || digest == "" {
		return ""
	}
	return s.Image + "@" + digest
}

// added are the fields that the container has from its image. What an earlier call has added is repeated, as long as the rest
// of what that call says still holds, and no webhook has put a program of its own before the image's.
func (s *subject) added(d Decision, program program) (fields []v1alpha1.Field) {
	var before []v1alpha1.Field
	if status := s.before.Containers[s.Name]; wrapped(s.container) && status.Source == d.Source && status.Digest == d.Digest {
		before = status.Added
	}
	for _, f := range []struct {
		name       v1alpha1.Field
		now, still bool
	}{
		{v1alpha1.FieldCommand, len(s.Command) == 0, !s.late},
		{v1alpha1.FieldArgs, program.args != nil, !s.late && len(s.Args) > 0},
		{v1alpha1.FieldImage, d.Image != "", s.image.Pinned()},
	} {
		if f.now || f.still && slices.Contains(before, f.name) {
			fields = append(fields, f.name)
		}
	}
	return fields
}

// before is the status that the Pod came with, if an earlier call has wrapped any container.
func (p *Pod) before() v1alpha1.Status {
	if !p.anyContainer(wrapped) {
		return v1alpha1.Status{}
	}
	return p.status()
}

// status is what the Pod's status annotation says; zero if that cannot be read: it may be anything.
func (p *Pod) status() (status v1alpha1.Status) {
	if json.Unmarshal([]byte(p.Metadata.Annotations[v1alpha1.StatusAnnotation]), &status) != nil {
		return v1alpha1.Status{}
	}
	return status
}
