package inject

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"
)

var copierCommand = []string{"/init", "copy", InitPath}

// isCopier says whether an initContainer is a copier, of an earlier call or written by hand: it has the copier's name, and
// the copier's command, volume or image too. Whatever else it has, it is replaced. One that has only the name is the
// user's own.
func (p *Plan) isCopier(c *container) bool {
	return c.Name == CopierName && (len(c.Command) > 1 && slices.Equal(c.Command[:2], copierCommand[:2]) ||
		ourMount(c) >= 0 || sameRepository(c.Image, p.config.Image))
}

// nonRoot is the copier's user where the Pod's own default is root. It is the one that the init's image names.
const nonRoot = 65532

// copier is the initContainer that installs the init, with the fields that are ours.
type copier struct {
	Name                     string                `json:"name"`
	Image                    string                `json:"image"`
	Command                  []string              `json:"command"`
	WorkingDir               string                `json:"workingDir"`
	Resources                *resources            `json:"resources,omitempty"`
	VolumeMounts             []volumeMount         `json:"volumeMounts"`
	TerminationMessagePolicy string                `json:"terminationMessagePolicy"`
	ImagePullPolicy          string                `json:"imagePullPolicy"`
	SecurityContext          copierSecurityContext `json:"securityContext"`
}

// copierSecurityContext satisfies Pod Security's restricted level.
type copierSecurityContext struct {
	AllowPrivilegeEscalation bool             `json:"allowPrivilegeEscalation"`
	Capabilities             capabilities     `json:"capabilities"`
	ReadOnlyRootFilesystem   bool             `json:"readOnlyRootFilesystem"`
	RunAsNonRoot             bool             `json:"runAsNonRoot"`
	RunAsUser                *int64           `json:"runAsUser,omitempty"`
	RunAsGroup               *int64           `json:"runAsGroup,omitempty"`
	SELinuxOptions           *seLinuxOptions  `json:"seLinuxOptions,omitempty"`
	SeccompProfile           *securityProfile `json:"seccompProfile,omitempty"`
	AppArmorProfile          *securityProfile `json:"appArmorProfile,omitempty"`
}

type capabilities struct {
	Drop []string `json:"drop"`
}

// newCopier is the copier of a Pod for the containers that are wrapped, of which first is the first.
func newCopier(config Config, pod *Pod, first *container) copier {
	return copier{
		Name:    CopierName,
		Image:   config.Image,
		Command: copierCommand,
		// An image's working directory may be closed to the user that the cluster picks.
		WorkingDir:               "/",
		Resources:                copierResources(pod.Spec.Containers),
		VolumeMounts:             []volumeMount{{Name: VolumeName, MountPath: MountPath}},
		TerminationMessagePolicy: "FallbackToLogsOnError",
		ImagePullPolicy:          "IfNotPresent",
		SecurityContext:          newCopierSecurityContext(&pod.Spec.SecurityContext, &first.SecurityContext),
	}
}

// newCopierSecurityContext names no user, since OpenShift's restricted SCC assigns one from the namespace's range;
// only where the Pod says root it must, or the kubelet refuses runAsNonRoot. Its SELinux options are those of the first
// container that is wrapped: the volume gets the label of who mounts it.
func newCopierSecurityContext(pods, first *securityContext) copierSecurityContext {
	sc := copierSecurityContext{
		Capabilities:           capabilities{Drop: []string{"ALL"}},
		ReadOnlyRootFilesystem: true,
		RunAsNonRoot:           true,
		SELinuxOptions:         first.SELinuxOptions,
	}
	if u := pods.RunAsUser; u != nil && *u == 0 {
		id := int64(nonRoot)
		sc.RunAsUser, sc.RunAsGroup = &id, &id
	}
	// The Pod's profiles are inherited, but one that was recorded for its program is not for the copier.
	if p := pods.SeccompProfile; p == nil || p.Type == "Localhost" {
		sc.SeccompProfile = &securityProfile{Type: "RuntimeDefault"}
	}
	if p := pods.AppArmorProfile; p != nil && p.Type == "Localhost" {
		sc.AppArmorProfile = &securityProfile{Type: "RuntimeDefault"}
	}
	return sc
}

// copied are the resources that the copier repeats. Extended resources and huge pages are not: it needs none.
var copied = []string{"cpu", "memory", "ephemeral-storage"}

// copierResources are those of one regular container, verbatim. An initContainer counts for the Pod's QoS class, so it
// has requests and limits where the others do, and no more than one of them, so that the Pod's sum, its quota charge
// and its place on a node stay as they were (pkg/apis/core/v1/helper/qos, component-helpers/resource). The one
// whose memory limit is enough goes before one whose is not; then the one that names the most resources, so that a quota
// that wants all is content; then the one with the smallest memory limit that is enough; then the first.
func copierResources(containers []container) *resources {
	var best *container
	for i := range containers {
		if c := &containers[i]; best == nil || better(c, best) {
			best = c
		}
	}
	if best == nil {
		return nil
	}
	requests, limits := pick(best.Resources.Requests), pick(best.Resources.Limits)
	if requests == nil && limits == nil {
		return nil
	}
	return &resources{Requests: requests, Limits: limits}
}

// better says whether a's resources suit the copier better than b's.
func better(a, b *container) bool {
	la, aLimited := quantity(a.Resources.Limits["memory"])
	lb, bLimited := quantity(b.Resources.Limits["memory"])
	aSmall, bSmall := aLimited && la.Cmp(memoryFloor) < 0, bLimited && lb.Cmp(memoryFloor) < 0
	na := countPicked(a.Resources.Requests) + countPicked(a.Resources.Limits)
	nb := countPicked(b.Resources.Requests) + countPicked(b.Resources.Limits)
	switch {
	case aSmall != bSmall:
		return bSmall
	case na != nb:
		return na > nb
	case aSmall:
		return la.Cmp(lb) > 0
	case aLimited && bLimited:
		return la.Cmp(lb) < 0
	}
	return aLimited && !bLimited
}

func pick(from map[string]json.RawMessage) map[string]json.RawMessage {
	var picked map[string]json.RawMessage
	for _, name := range copied {
		if q, ok := from[name]; ok {
			if picked == nil {
				picked = make(map[string]json.RawMessage, len(copied))
			}
			picked[name] = q
		}
	}
	return picked
}

// countPicked is how many pick would pick.
func countPicked(from map[string]json.RawMessage) (n int) {
	for _, name := range copied {
		if _, ok := from[name]; ok {
			n++
		}
	}
	return n
}

// quantity reads a quantity, not ok if there is none or it is none.
func quantity(raw json.RawMessage) (q resource.Quantity, ok bool) {
	if len(raw) == 0 || string(raw) == "null" {
		return q, false
	}
	return q, json.Unmarshal(raw, &q) == nil
}

// serviceAccountPath is where the ServiceAccount plugin mounts a token into every container
// (plugin/pkg/admission/serviceaccount, DefaultAPITokenMountPath).
const serviceAccountPath = "/var/run/secrets/kubernetes.io/serviceaccount"

// defaultTerminationMessagePath is the apiserver's default (TerminationMessagePathDefault).
const defaultTerminationMessagePath = "/dev/termination-log"

// keptSecurity are those of its securityContext.
var keptSecurity = []string{"runAsUser", "runAsGroup", "seLinuxOptions"}

// merge is the copier that takes the place of one that is there already, nil if that is the same. The one that is there
// may be the tenant's: its environment, or a volume mounted over /init, would choose what is installed for every
// container. So nothing of it stays but what Kubernetes' own plugins and defaults give to a container and what cannot
// change what it does: the token mount of the ServiceAccount plugin, imagePullPolicy Always of AlwaysPullImages, the user
// that OpenShift's SCC assigned.
func (c copier) merge(existing map[string]json.RawMessage) (json.RawMessage, error) {
	ours, err := fields(c)
	if err != nil {
		return nil, err
	}
	merged := make(map[string]json.RawMessage, len(ours)+1)
	if raw, ok := existing["resources"]; ok && ours["resources"] == nil && isEmpty(raw) {
		merged["resources"] = raw
	}
	if raw := existing["terminationMessagePath"]; string(raw) == strconv.Quote(defaultTerminationMessagePath) {
		merged["terminationMessagePath"] = raw
	}
	for name, value := range ours {
		switch name {
		case "imagePullPolicy":
			if merged[name] = value; string(existing[name]) == `"Always"` {
				merged[name] = existing[name]
			}
		case "securityContext":
			if merged[name], err = c.SecurityContext.merge(existing[name]); err != nil {
				return nil, err
			}
		case "volumeMounts":
			if merged[name], err = mergeMounts(existing[name], c.VolumeMounts[0]); err != nil {
				return nil, err
			}
		default:
			merged[name] = value
		}
	}
	same, err := equal(existing, merged)
	if err != nil || same {
		return nil, err
	}
	return json.Marshal(merged)
}

func (sc copierSecurityContext) merge(existing json.RawMessage) (json.RawMessage, error) {
	var theirs map[string]json.RawMessage
	if !isEmpty(existing) {
		if err := json.Unmarshal(existing, &theirs); err != nil {
			return nil, fmt.Errorf("reading the securityContext of initContainer %s: %w", CopierName, err)
		}
	}
	merged := only(theirs, keptSecurity)
	if string(merged["runAsUser"]) == "0" {
		delete(merged, "runAsUser") // with runAsNonRoot the kubelet would refuse it
	}
	ours, err := fields(sc)
	if err != nil {
		return nil, err
	}
	for name, value := range ours {
		merged[name] = value
	}
	return json.Marshal(merged)
}

// mergeMounts is our mount and that of the ServiceAccount plugin, in the order in which they are.
func mergeMounts(existing json.RawMessage, ours volumeMount) (json.RawMessage, error) {
	var mounts []volumeMount
	if !isEmpty(existing) {
		if err := json.Unmarshal(existing, &mounts); err != nil {
			return nil, fmt.Errorf("reading the volumeMounts of initContainer %s: %w", CopierName, err)
		}
	}
	merged, done, token := []volumeMount{}, false, false
	for _, m := range mounts {
		switch {
		case m.Name == VolumeName && !done:
			merged, done = append(merged, ours), true
		case m.Name != VolumeName && m.MountPath == serviceAccountPath && !token:
			merged, token = append(merged, volumeMount{Name: m.Name, MountPath: serviceAccountPath, ReadOnly: true}), true
		}
	}
	if !done {
		merged = append(merged, ours)
	}
	return json.Marshal(merged)
}

// only are those members of an object that have these names.
func only(object map[string]json.RawMessage, names []string) map[string]json.RawMessage {
	members := make(map[string]json.RawMessage, len(names))
	for _, name := range names {
		if value, ok := object[name]; ok {
			members[name] = value
		}
	}
	return members
}

func fields(v any) (map[string]json.RawMessage, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var m map[string]json.RawMessage
	return m, json.Unmarshal(raw, &m)
}

func isEmpty(raw json.RawMessage) bool {
	switch string(raw) {
	case "", "null", "{}", "[]", `""`:
		return true
	}
	return false
}

// equal says whether two objects mean the same JSON.
func equal(a, b map[string]json.RawMessage) (bool, error) {
	if len(a) != len(b) {
		return false, nil
	}
	for name := range a {
		var x, y any
		if err := json.Unmarshal(a[name], &x); err != nil {
			return false, err
		}
		if b[name] == nil {
			return false, nil
		}
		if err := json.Unmarshal(b[name], &y); err != nil {
			return false, err
		}
		if !reflect.DeepEqual(x, y) {
			return false, nil
		}
	}
	return true, nil
}
