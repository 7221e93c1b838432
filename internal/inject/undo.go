package inject

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/podinit/podinit/api/v1alpha1"
)

// Undo is what takes out of a Pod what podinit has put into it, at admission or by "podinit inject". What the author wrote
// stays, as do labels and annotations that choose something.
//
// What a container came without is in the Pod's status. Without a status, the command and the args that are there stay.
// A list or a map that podinit leaves empty goes, so that one that the author wrote empty goes too.
type Undo struct {
	// Containers that are wrapped, in the order of a Plan's.
	Containers []Unwrapped
	// Unreadable is a wrapped container whose own program cannot be read from its command: the Pod stays as it is.
	// Empty if there is none.
	Unreadable string

	pod *Pod
	// ours is set where the volume is podinit's, so that what mounts it is, too.
	ours bool
}

// Unwrapped is what becomes of one container.
type Unwrapped struct {
	Name string
	// Removed are the fields that the container has from its image again.
	Removed []v1alpha1.Field
	// Unrecorded is set where no status says whether the container came with its command.
	Unrecorded bool

	container *container
	// command is the container's own.
	command []string
	// image is the container's, without the digest that podinit added; empty if it has added none.
	image string
}

// NewUndo looks for what is podinit's in a Pod.
func NewUndo(pod *Pod) *Undo {
	u := &Undo{pod: pod}
	if pod.volume() < 0 || pod.nameConflict(Config{}) {
		return u
	}
	status := pod.status()
	for c := range pod.containers() {
		if !wrapped(c) || ourMount(c) < 0 {
			continue
		}
		unwrapped, ok := newUnwrapped(c, status.Containers[c.Name])
		if !ok {
			return &Undo{pod: pod, Unreadable: c.Name}
		}
		u.Containers = append(u.Containers, unwrapped)
	}
	u.ours = true
	return u
}

// newUnwrapped takes the init from before a command; not ok if what is left cannot be a container's command.
func newUnwrapped(c *container, status v1alpha1.ContainerStatus) (u Unwrapped, ok bool) {
	platforms, command, ok := unwrap(c.Command)
	added := func(f v1alpha1.Field) bool { return !c.late && slices.Contains(status.Added, f) }
	// Programs of platforms are an image's. With another webhook's program before each, no command says the same.
	several := haveWords(platforms)
	if !ok || several && !added(v1alpha1.FieldCommand) || !several && len(command) == 0 && (len(c.Args) == 0 || flagsInArgs(c)) {
		return Unwrapped{}, false
	}
	u = Unwrapped{Name: c.Name, container: c, command: command, Unrecorded: status.Action != v1alpha1.ActionWrapped}
	removed := map[v1alpha1.Field]bool{
		v1alpha1.FieldCommand: added(v1alpha1.FieldCommand),
		v1alpha1.FieldArgs:    added(v1alpha1.FieldArgs) && len(c.Args) > 0,
	}
	if slices.Contains(status.Added, v1alpha1.FieldImage) && status.Digest != "" {
		u.image, removed[v1alpha1.FieldImage] = strings.CutSuffix(c.Image, "@"+status.Digest)
	}
	for _, field := range []v1alpha1.Field{v1alpha1.FieldCommand, v1alpha1.FieldArgs, v1alpha1.FieldImage} {
		if removed[field] {
			u.Removed = append(u.Removed, field)
		}
	}
	return u, true
}

// Patch is the JSON patch that takes everything out, nil if there is nothing.
func (u *Undo) Patch() ([]byte, error) {
	if u.Unreadable != "" {
		return nil, nil
	}
	var ops patch
	for _, c := range u.Containers {
		ops.unwrap(c)
	}
	ops.lose("/metadata/labels", u.pod.Metadata.Labels, without(u.pod.Metadata.Labels, v1alpha1.VersionLabel))
	ops.lose("/metadata/annotations", u.pod.Metadata.Annotations, u.annotations())
	if u.ours {
		spec := u.pod.Spec
		for c := range u.pod.containers() {
			if c.Name != CopierName {
				ops.drop(c.path+"/volumeMounts", len(c.VolumeMounts), func(i int) bool { return c.VolumeMounts[i].Name == VolumeName })
			}
		}
		ops.drop("/spec/volumes", len(spec.Volumes), func(i int) bool { return spec.Volumes[i].Name == VolumeName })
		// Last, since it moves the other initContainers.
		ops.drop("/spec/initContainers", len(spec.InitContainers), func(i int) bool { return spec.InitContainers[i].Name == CopierName })
	}
	return ops.bytes()
}

// annotations are the Pod's own.
func (u *Undo) annotations() map[string]string {
	all := u.pod.Metadata.Annotations
	own := without(all, v1alpha1.StatusAnnotation)
	for key, list := range all {
		if key == v1alpha1.RequiredPluginsAnnotation || strings.HasPrefix(key, v1alpha1.RequiredPluginsAnnotation+"/") {
			if own[key] = notRequiring(list); own[key] == "" {
				delete(own, key)
			}
		}
	}
	if !u.ours {
		return own
	}
	for _, key := range []string{safeToEvictVolumes, volumesNotBackedUp} {
		if list, ok := all[key]; ok {
			if own[key] = unlisted(list, VolumeName); own[key] == "" {
				delete(own, key)
			}
		}
	}
	if name := u.pod.onlyContainer(Config{}); name != "" && all[defaultContainer] == name && len(u.Containers) > 0 && !u.pod.status().OwnDefaultContainer {
		delete(own, defaultContainer)
	}
	return own
}

// without is a copy of a map without one of its keys.
func without(m map[string]string, key string) map[string]string {
	copied := maps.Clone(m)
	delete(copied, key)
	return copied
}

// volume is the index of the volume that has our name, -1 if there is none.
func (p *Pod) volume() int {
	return slices.IndexFunc(p.Spec.Volumes, func(v volume) bool { return v.Name == VolumeName })
}

// unwrap gives a container its own command, args and image.
func (p *patch) unwrap(u Unwrapped) {
	c := u.container
	if len(u.command) == 0 || slices.Contains(u.Removed, v1alpha1.FieldCommand) {
		p.remove(c.path + "/command")
	} else {
		p.set(c.path+"/command", u.command)
	}
	switch {
	case slices.Contains(u.Removed, v1alpha1.FieldArgs), c.late && len(c.Args) == 0:
		p.remove(c.path + "/args")
	case c.late:
		p.set(c.path+"/args", c.Args)
	}
	if slices.Contains(u.Removed, v1alpha1.FieldImage) {
		p.replace(c.path+"/image", u.image)
	}
}

// lose makes less of a map, of which some keys are gone and some values are other ones.
func (p *patch) lose(path string, have, want map[string]string) {
	if len(want) == 0 && len(have) > 0 {
		p.remove(path)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(have)) {
		switch value, ok := want[key]; {
		case !ok:
			p.remove(path + "/" + escape.Replace(key))
		case value != have[key]:
			p.replace(path+"/"+escape.Replace(key), value)
		}
	}
}

// drop removes elements of a list of n, and the list if none is left.
func (p *patch) drop(path string, n int, ours func(i int) bool) {
	var indices []int
	for i := range n {
		if ours(i) {
			indices = append(indices, i)
		}
	}
	if len(indices) == n && n > 0 {
		p.remove(path)
		return
	}
	for _, i := range slices.Backward(indices) {
		p.remove(path + "/" + strconv.Itoa(i))
	}
}
