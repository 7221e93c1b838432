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
	"sigs.k8s.io/yaml"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/rawjson"
)

// emptyDirLimit bounds the volume of the init. The binary is about 1 MiB; a copy under way needs twice that.
const emptyDirLimit = `"32Mi"`

// safeToEvictVolumes is where the cluster-autoscaler (1.28 and later, utils/drain) looks for volumes that are on the
// node's disk and may be lost. Without it, an emptyDir keeps a node from being scaled down.
const safeToEvictVolumes = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"

// volumesNotBackedUp is where Velero looks for volumes that it leaves out where it copies all others
// (defaultVolumesToFsBackup; pkg/util/podvolume). It splits the list without trimming.
const volumesNotBackedUp = "backup.velero.io/backup-volumes-excludes"

// defaultContainer names the container that kubectl takes where a command names none (kubectl.kubernetes.io in the list
// of well-known annotations). Without it kubectl says, for a Pod with a copier, which container it has taken.
const defaultContainer = "kubectl.kubernetes.io/default-container"

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

// set adds a member to an object, or an element before an array's index. Where the member exists it is replaced. Paths
// are JSON pointers (RFC 6901).
func (p *patch) set(path string, value any) { p.operation("add", path, value) }

func (p *patch) replace(path string, value any) { p.operation("replace", path, value) }

func (p *patch) remove(path string) { p.operation("remove", path, nil) }

// operation appends one step; value is nil if the operation has none.
func (p *patch) operation(op, path string, value any) {
	if p.raw.Len() == 0 {
		p.raw.Grow(usualPatch)
		p.raw.WriteByte('[')
	} else {
		p.raw.WriteByte(',')
	}
	p.raw.WriteString(`{"op":"` + op + `","path":`)
	p.raw.Write(rawjson.AppendString(p.raw.AvailableBuffer(), path))
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

// escape is for a key in a JSON pointer.
var escape = strings.NewReplacer("~", "~0", "/", "~1")

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
// must be admitted unchanged: the patch would not make a valid Pod of a valid one.
//
// What could make it invalid is looked at without applying it. That our names and mount path are free, or ours, was
// asked when the plan was made (nameConflict, mountConflict); that metadata and spec are there, when the Pod was
// decoded; what is left are the sizes and values of annotations and label.
func (p *Plan) Patch() ([]byte, error) {
	if p.pod.unseen(p.Skip.Reason) || p.Skip.Reason == v1alpha1.ReasonAnnotationsTooLarge {
		return nil, nil // a status would not fit either
	}
	if p.setting.Profile.ByNode() {
		return p.patchRequired()
	}
	if p.Skip.Reason == v1alpha1.ReasonSuspended {
		return p.patchSuspended()
	}
	annotations, labels, err := p.metadata()
	if err != nil {
		return nil, err
	}
	var ops patch
	ops.merge("/metadata/annotations", p.pod.Metadata.Annotations, annotations)
	if p.Wraps() {
		ops.merge("/metadata/labels", p.pod.Metadata.Labels, labels)
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
			ops.copier(p.newCopier(), p.pod)
		} else {
			ops.noCopier(p.pod)
		}
	} else if has(p.pod.Metadata.Labels, v1alpha1.VersionLabel) {
		ops.remove("/metadata/labels/" + escape.Replace(v1alpha1.VersionLabel)) // it would say that the Pod has an init
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
	ops.merge("/metadata/annotations", p.pod.Metadata.Annotations, annotations)
	return ops.bytes()
}

// patchRequired names podinit among the NRI plugins that the Pod requires, if the profile wants that and the nodes wrap it.
// Otherwise the Pod stays what its author wrote.
//
// A list for one container replaces the one for the Pod, so podinit is added there, too. A list that
// cannot be read stays: the runtime refuses the container for it, and says so.
func (p *Plan) patchRequired() ([]byte, error) {
	if p.Skip.Reason != v1alpha1.ReasonLeftToNode || !p.setting.Profile.RequiresNode() {
		return nil, nil
	}
	const key = v1alpha1.RequiredPluginsAnnotation
	own, want := p.pod.Metadata.Annotations, map[string]string{}
	ofPod := key
	if has(own, key+"/pod") {
		ofPod = key + "/pod"
	}
	want[ofPod] = requiring(own[ofPod])
	for name, value := range own {
		if strings.HasPrefix(name, key+"/container.") {
			want[name] = requiring(value)
		}
	}
	if size := measureMerged(own, want); size > maxAnnotations {
		return nil, fmt.Errorf("%w: they would have %d bytes with %s, and Kubernetes allows %d; shorten them", ErrAnnotationsTooLarge, size, key, maxAnnotations)
	}
	var ops patch
	ops.merge("/metadata/annotations", own, want)
	return ops.bytes()
}

// requiring is a YAML list of NRI plugins with podinit in it.
func requiring(list string) string {
	var plugins []string
	if err := yaml.Unmarshal([]byte(list), &plugins); err != nil || slices.Contains(plugins, v1alpha1.NodePlugin) {
		return list
	}
	text, err := encode(append(plugins, v1alpha1.NodePlugin))
	if err != nil {
		return list
	}
	return string(text)
}

// notRequiring is a YAML list of NRI plugins without podinit, "" if no other is in it.
func notRequiring(list string) string {
	var plugins []string
	if err := yaml.Unmarshal([]byte(list), &plugins); err != nil || !slices.Contains(plugins, v1alpha1.NodePlugin) {
		return list
	}
	plugins = slices.DeleteFunc(plugins, func(plugin string) bool { return plugin == v1alpha1.NodePlugin })
	if len(plugins) == 0 {
		return ""
	}
	text, err := encode(plugins)
	if err != nil {
		return list
	}
	return string(text)
}

// metadata is which annotations and labels the Pod gets, checked against what the apiserver would refuse.
func (p *Plan) metadata() (annotations, labels map[string]string, err error) {
	status, err := encode(p.Status())
	if err != nil {
		return nil, nil, fmt.Errorf("writing the status annotation: %w", err)
	}
	annotations = map[string]string{v1alpha1.StatusAnnotation: string(status)}
	own := p.pod.Metadata.Annotations
	if p.Wraps() {
		annotations[volumesNotBackedUp] = listed(own[volumesNotBackedUp], VolumeName)
		if list := own[safeToEvictVolumes]; p.Delivery == v1alpha1.DeliveryInitContainer {
			annotations[safeToEvictVolumes] = listed(list, VolumeName)
			if name := p.pod.onlyContainer(p.config); name != "" && !has(own, defaultContainer) {
				annotations[defaultContainer] = name
			}
		} else if list != "" {
			annotations[safeToEvictVolumes] = unlisted(list, VolumeName)
		}
	}
	if size := measureMerged(own, annotations); size > maxAnnotations {
		return nil, nil, fmt.Errorf("%w: they would have %d bytes with the status, and Kubernetes allows %d; shorten them",
			ErrAnnotationsTooLarge, size, maxAnnotations)
	}
	version := strings.ReplaceAll(p.config.Version, "+", "_")
	if problems := content.IsLabelValue(version); len(problems) > 0 {
		return nil, nil, fmt.Errorf("the init's version %q cannot be the value of label %s: %s",
			version, v1alpha1.VersionLabel, problems[0])
	}
	return annotations, map[string]string{v1alpha1.VersionLabel: version}, nil
}

// ownDefaultContainer says whether the annotation that names the Pod's only container is its author's. A Pod that an earlier
// call has wrapped says it in its status.
func (p *Plan) ownDefaultContainer() bool {
	if p.pod.anyContainer(wrapped) {
		return p.before.OwnDefaultContainer
	}
	name := p.pod.onlyContainer(p.config)
	return name != "" && p.pod.Metadata.Annotations[defaultContainer] == name
}

// onlyContainer is the name of the Pod's container if it has only one, without the copier; else "".
func (p *Pod) onlyContainer(config Config) string {
	others := func(c container) bool { return !config.isCopier(&c) }
	if len(p.Spec.Containers) != 1 || slices.ContainsFunc(p.Spec.InitContainers, others) {
		return ""
	}
	return p.Spec.Containers[0].Name
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
func (p *patch) merge(path string, have, want map[string]string) {
	if len(have) == 0 {
		p.set(path, want)
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
			p.remove(path + "/" + escape.Replace(key))
		default:
			p.set(path+"/"+escape.Replace(key), want[key])
		}
	}
}

// volume is the volume that holds the init.
func (p *Plan) volume() volume {
	if p.Delivery == v1alpha1.DeliveryImageVolume {
		image := &imageVolume{Reference: p.config.Image, PullPolicy: "IfNotPresent"}
		if i := slices.IndexFunc(p.pod.Spec.Volumes, func(v volume) bool { return v.Name == VolumeName && v.Image != nil }); i >= 0 {
			existing := p.pod.Spec.Volumes[i].Image
			image.Reference = p.config.initImage(existing.Reference)
			// The AlwaysPullImages plugin has said so between two calls, and refuses the Pod if it is not left at that.
			if existing.PullPolicy == "Always" {
				image.PullPolicy = "Always"
			}
		}
		return volume{Name: VolumeName, Image: image}
	}
	return volume{Name: VolumeName, EmptyDir: &emptyDir{SizeLimit: json.RawMessage(emptyDirLimit)}}
}

func (p *patch) volume(volumes []volume, ours volume) {
	i := slices.IndexFunc(volumes, func(v volume) bool { return v.Name == VolumeName })
	switch {
	case len(volumes) == 0:
		p.set("/spec/volumes", []volume{ours})
	case i < 0:
		p.set("/spec/volumes/-", ours)
	case !reflect.DeepEqual(volumes[i], ours):
		p.replace("/spec/volumes/"+strconv.Itoa(i), ours)
	}
}

// noCopier removes a copier of an earlier call.
func (p *patch) noCopier(pod *Pod) {
	if i := pod.copier(); i >= 0 {
		p.remove(pod.Spec.InitContainers[i].path)
	}
}

// copier puts the copier before all other initContainers, since those may be wrapped too.
func (p *patch) copier(ours copier, pod *Pod) {
	const first = "/spec/initContainers/0"
	i := pod.copier()
	switch {
	case len(pod.Spec.InitContainers) == 0:
		p.set("/spec/initContainers", []copier{ours})
		return
	case i < 0:
		p.set(first, ours)
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
		p.remove(pod.Spec.InitContainers[i].path)
		p.set(first, merged)
	case merged != nil:
		p.replace(first, merged)
	}
}

// container wraps one, and returns which of its mounts it has replaced, -1 if none.
func (p *patch) container(d Decision) int {
	c := d.container
	if c.late || !slices.Equal(c.Command, d.Command) {
		p.set(c.path+"/command", d.Command)
	}
	if d.Image != "" {
		p.replace(c.path+"/image", d.Image)
	}
	switch {
	case d.Args != nil:
		p.set(c.path+"/args", d.Args)
	case c.late && len(c.Args) == 0:
		p.remove(c.path + "/args")
	case c.late:
		p.set(c.path+"/args", c.Args)
	}
	ours := volumeMount{Name: VolumeName, MountPath: MountPath, ReadOnly: true}
	i := ourMount(c)
	switch {
	case len(c.VolumeMounts) == 0:
		p.set(c.path+"/volumeMounts", []volumeMount{ours})
	case i < 0:
		p.set(c.path+"/volumeMounts/-", ours)
	case c.VolumeMounts[i] != ours:
		p.replace(c.path+"/volumeMounts/"+strconv.Itoa(i), ours)
	}
	return i
}

// readOnly makes every mount of our volume in a container read-only but the one that is ours: what one container writes
// there, under whatever path, the others would run.
func (p *patch) readOnly(d Decision, ours int) {
	for i, m := range d.container.VolumeMounts {
		if m.Name == VolumeName && !m.ReadOnly && i != ours {
			p.set(d.container.path+"/volumeMounts/"+strconv.Itoa(i)+"/readOnly", true)
		}
	}
}

// has says whether a Pod has a label or an annotation.
func has(m map[string]string, key string) bool {
	_, ok := m[key]
	return ok
}

// measure is how many bytes the keys and values have together.
func measure(m map[string]string) (size int) {
	for key, value := range m {
		size += len(key) + len(value)
	}
	return size
}

// measureMerged is how many bytes the keys and values of have would have together when merge has set those of want. An
// earlier call may have set them already.
func measureMerged(have, want map[string]string) int {
	size := measure(have) + measure(want)
	for key, value := range want {
		if before, ok := have[key]; ok {
			size -= len(key) + len(before)
			if value == "" {
				size -= len(key) // it is removed
			}
		}
	}
	return size
}
