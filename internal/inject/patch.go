package inject

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/rawjson"
)

// emptyDirLimit bounds the volume of the init. The binary is about 1 MiB; a copy under way needs twice that.
const emptyDirLimit = `"32Mi"`

// safeToEvictVolumes is where the cluster-autoscaler (1.28 and later, utils/drain) looks for volumes that are on the
// node's disk and may be lost. Without it, an emptyDir keeps a node from being scaled down.
const safeToEvictVolumes = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"

// maxAnnotations is what all annotations of an object may measure together, in bytes, keys and values
// (apimachinery, pkg/api/validation, TotalAnnotationSizeLimitB).
const maxAnnotations = 256 << 10

// ErrAnnotationsTooLarge is why a Pod has no patch whose annotations leave no room for the status.
var ErrAnnotationsTooLarge = errors.New("the pod's annotations are too large")

// usualPatch is what a patch for two or three containers measures, in bytes.
const usualPatch = 2 << 10

// patch is a JSON patch (RFC 6902) in the making; the first error stays.
type patch struct {
	raw bytes.Buffer
	err error
}

// set adds a member to an object, or an element before an array's index. Where the member exists it is replaced.
func (p *patch) set(value any, path ...string) { p.operation("add", value, path) }

func (p *patch) replace(value any, path ...string) { p.operation("replace", value, path) }

func (p *patch) remove(path ...string) { p.operation("remove", nil, path) }

// operation appends one step; value is nil if the operation has none.
func (p *patch) operation(op string, value any, path []string) {
	if p.raw.Len() == 0 {
		p.raw.Grow(usualPatch)
		p.raw.WriteByte('[')
	} else {
		p.raw.WriteByte(',')
	}
	p.raw.WriteString(`{"op":"` + op + `","path":`)
	p.raw.Write(rawjson.AppendString(p.raw.AvailableBuffer(), pointer(path)))
	if value != nil {
		p.raw.WriteString(`,"value":`)
		if err := encodeTo(&p.raw, value); err != nil && p.err == nil {
			p.err = err
		}
	}
	p.raw.WriteByte('}')
}

// bytes is the whole patch, nil if nothing is to be done.
func (p *patch) bytes() ([]byte, error) {
	if p.raw.Len() == 0 || p.err != nil {
		return nil, p.err
	}
	p.raw.WriteByte(']')
	return p.raw.Bytes(), nil
}

var escape = strings.NewReplacer("~", "~0", "/", "~1")

// pointer is the JSON pointer of a path (RFC 6901).
func pointer(path []string) string {
	var b strings.Builder
	for _, p := range path {
		b.WriteByte('/')
		_, _ = escape.WriteString(&b, p)
	}
	return b.String()
}

// encode is json.Marshal that leaves <, > and & as they are.
func encode(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	err := encodeTo(&b, v)
	return b.Bytes(), err
}

// encodeTo appends what encode returns.
func encodeTo(b *bytes.Buffer, v any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	if err == nil {
		b.Truncate(b.Len() - len("\n"))
	}
	return err
}

// Patch is the JSON patch that carries the plan out, nil if the Pod is as it should be. An error means that the Pod
// must be admitted as it came: the patch would not make a valid Pod of a valid one.
//
// What could make it invalid is looked at without applying it. That our names and mount path are free, or ours, was
// asked when the plan was made (nameConflict, mountConflict); that metadata and spec are there, when the Pod was
// decoded; what is left are the sizes and values of annotations and label.
func (p *Plan) Patch() ([]byte, error) {
	if slices.Contains(unseen, p.Reason) || p.Reason == v1alpha1.ReasonAnnotationsTooLarge {
		return nil, nil // a status would not fit either
	}
	if p.Reason == v1alpha1.ReasonSuspended {
		return p.patchSuspended()
	}
	annotations, labels, err := p.metadata()
	if err != nil {
		return nil, err
	}
	var ops patch
	ops.merge(p.pod.Metadata.Annotations, annotations, "metadata", "annotations")
	if p.Wraps() {
		ops.merge(p.pod.Metadata.Labels, labels, "metadata", "labels")
		for _, d := range p.Containers {
			ours := -1
			if d.Reason == "" {
				ours = ops.container(d)
			}
			ops.readOnly(d, ours)
		}
		ops.volume(p.pod.Spec.Volumes, p.volume())
		// Last, since it moves the other initContainers.
		if p.Delivery == v1alpha1.DeliveryInitContainer {
			ops.copier(newCopier(p.config, p.pod, p.first()), p.pod)
		} else {
			ops.noCopier(p.pod)
		}
	} else if has(p.pod.Metadata.Labels, v1alpha1.VersionLabel) {
		ops.remove("metadata", "labels", v1alpha1.VersionLabel) // it would say that the Pod has an init
	}
	raw, err := ops.bytes()
	if err != nil {
		return nil, fmt.Errorf("writing the patch: %w", err)
	}
	return raw, nil
}

// patchSuspended adds the status to a Pod that has none and has room for it. A Pod that comes with one may be wrapped
// already, as by a template wrapped offline, and keeps what it has.
func (p *Plan) patchSuspended() ([]byte, error) {
	if has(p.pod.Metadata.Annotations, v1alpha1.StatusAnnotation) {
		return nil, nil
	}
	annotations, _, err := p.metadata()
	if errors.Is(err, ErrAnnotationsTooLarge) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ops patch
	ops.merge(p.pod.Metadata.Annotations, annotations, "metadata", "annotations")
	return ops.bytes()
}

// metadata is which annotations and labels the Pod gets, checked against what the apiserver would refuse.
func (p *Plan) metadata() (annotations, labels map[string]string, err error) {
	status, err := encode(p.Status())
	if err != nil {
		return nil, nil, fmt.Errorf("writing the status annotation: %w", err)
	}
	annotations = map[string]string{v1alpha1.StatusAnnotation: string(status)}
	if list := p.pod.Metadata.Annotations[safeToEvictVolumes]; p.Wraps() && p.Delivery == v1alpha1.DeliveryInitContainer {
		annotations[safeToEvictVolumes] = listed(list, VolumeName)
	} else if p.Wraps() && list != "" {
		annotations[safeToEvictVolumes] = unlisted(list, VolumeName)
	}
	if size := measure(p.pod.Metadata.Annotations) + measure(annotations); size > maxAnnotations {
		return nil, nil, fmt.Errorf("%w: they would measure %d bytes with the status, and Kubernetes allows %d; shorten them", ErrAnnotationsTooLarge, size, maxAnnotations)
	}
	version := strings.ReplaceAll(p.config.Version, "+", "_")
	if problems := content.IsLabelValue(version); len(problems) > 0 {
		return nil, nil, fmt.Errorf("the init's version %q cannot be the value of label %s: %s", version, v1alpha1.VersionLabel, problems[0])
	}
	return annotations, map[string]string{v1alpha1.VersionLabel: version}, nil
}

// listed is a comma-separated list with name in it. The cluster-autoscaler splits it without trimming.
func listed(list, name string) string {
	switch {
	case list == "":
		return name
	case slices.Contains(strings.Split(list, ","), name):
		return list
	}
	return list + "," + name
}

// unlisted is a comma-separated list without name.
func unlisted(list, name string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(list, ","), func(word string) bool { return word == name }), ",")
}

// merge sets the members of want that differ from what is there, and removes what is to be empty.
func (p *patch) merge(have, want map[string]string, path ...string) {
	if len(have) == 0 {
		p.set(want, path...)
		return
	}
	keys := make([]string, 0, len(want))
	for key := range want {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		switch value, ok := have[key]; {
		case ok && value == want[key]:
		case ok && want[key] == "":
			p.remove(append(slices.Clip(path), key)...)
		default:
			p.set(want[key], append(slices.Clip(path), key)...)
		}
	}
}

// volume is the volume that holds the init.
func (p *Plan) volume() volume {
	if p.Delivery == v1alpha1.DeliveryImageVolume {
		image := &imageVolume{Reference: p.config.Image, PullPolicy: "IfNotPresent"}
		// The AlwaysPullImages plugin has said so between two calls, and refuses the Pod if it is not left at that.
		if slices.ContainsFunc(p.pod.Spec.Volumes, func(v volume) bool {
			return v.Name == VolumeName && v.Image != nil && v.Image.PullPolicy == "Always"
		}) {
			image.PullPolicy = "Always"
		}
		return volume{Name: VolumeName, Image: image}
	}
	return volume{Name: VolumeName, EmptyDir: &emptyDir{SizeLimit: json.RawMessage(emptyDirLimit)}}
}

func (p *patch) volume(volumes []volume, ours volume) {
	i := slices.IndexFunc(volumes, func(v volume) bool { return v.Name == VolumeName })
	switch {
	case len(volumes) == 0:
		p.set([]volume{ours}, "spec", "volumes")
	case i < 0:
		p.set(ours, "spec", "volumes", "-")
	case !reflect.DeepEqual(volumes[i], ours):
		p.replace(ours, "spec", "volumes", strconv.Itoa(i))
	}
}

// noCopier removes a copier of an earlier call.
func (p *patch) noCopier(pod *Pod) {
	if i := slices.IndexFunc(pod.Spec.InitContainers, func(c container) bool { return c.Name == CopierName }); i >= 0 {
		p.remove("spec", "initContainers", strconv.Itoa(i))
	}
}

// copier puts the copier before all other initContainers, since those may be wrapped too.
func (p *patch) copier(ours copier, pod *Pod) {
	containers := pod.Spec.InitContainers
	i := slices.IndexFunc(containers, func(c container) bool { return c.Name == CopierName })
	if len(containers) == 0 {
		p.set([]copier{ours}, "spec", "initContainers")
		return
	}
	if i < 0 {
		p.set(ours, "spec", "initContainers", "0")
		return
	}
	existing, err := pod.rawInitContainer(i)
	if err != nil {
		p.err = err
		return
	}
	merged, err := ours.merge(existing)
	if err != nil {
		p.err = err
		return
	}
	switch {
	case i > 0:
		if merged == nil {
			merged, p.err = encode(existing)
		}
		p.remove("spec", "initContainers", strconv.Itoa(i))
		p.set(merged, "spec", "initContainers", "0")
	case merged != nil:
		p.replace(merged, "spec", "initContainers", "0")
	}
}

// container wraps one, and returns which of its mounts it has replaced, -1 if none.
func (p *patch) container(d Decision) int {
	c, index := d.container, strconv.Itoa(d.index)
	if !slices.Equal(c.Command, d.Command) {
		p.set(d.Command, "spec", d.list, index, "command")
	}
	if d.Image != "" {
		p.replace(d.Image, "spec", d.list, index, "image")
	}
	if d.Args != nil {
		p.set(d.Args, "spec", d.list, index, "args")
	}
	ours := volumeMount{Name: VolumeName, MountPath: MountPath, ReadOnly: true}
	i := ourMount(c)
	switch {
	case len(c.VolumeMounts) == 0:
		p.set([]volumeMount{ours}, "spec", d.list, index, "volumeMounts")
	case i < 0:
		p.set(ours, "spec", d.list, index, "volumeMounts", "-")
	case c.VolumeMounts[i] != ours:
		p.replace(ours, "spec", d.list, index, "volumeMounts", strconv.Itoa(i))
	}
	return i
}

// readOnly makes every mount of our volume in a container read-only but the one that is ours: what one container writes
// there, under whatever path, the others would run.
func (p *patch) readOnly(d Decision, ours int) {
	for i, m := range d.container.VolumeMounts {
		if m.Name == VolumeName && !m.ReadOnly && i != ours {
			p.set(true, "spec", d.list, strconv.Itoa(d.index), "volumeMounts", strconv.Itoa(i), "readOnly")
		}
	}
}
