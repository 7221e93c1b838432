package inject

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

var copierCommand = []string{"/init", "copy", InitPath}

// isCopier says whether an initContainer is a copier, of an earlier call or written by hand: it has the copier's name, and
// the copier's command, volume or image too. Whatever else it has, it is replaced. One that has only the name is the
// user's own.
func (c Config) isCopier(of *container) bool {
	return of.Name == CopierName && of.kind != regular && (len(of.Command) > 1 && slices.Equal(of.Command[:2], copierCommand[:2]) ||
		ourMount(of) >= 0 || c.Image != "" && sameRepository(of.Image, c.Image))
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

// copierSecurityContext satisfies Pod Security's restricted level where the Pod's own containers do.
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

	// mayAdd are capabilities that stay where the Pod's author or a webhook has added them.
	mayAdd []string
}

// newCopier is the copier of the plan's Pod.
func (p *Plan) newCopier() copier {
	existing := ""
	if i := p.pod.copier(); i >= 0 {
		existing = p.pod.Spec.InitContainers[i].Image
	}
	return copier{
		Name:    CopierName,
		Image:   p.config.initImage(existing),
		Command: copierCommand,
		// An image's working directory may be closed to the user that the cluster picks.
		WorkingDir:               "/",
		Resources:                copierResources(p.Containers, p.setting.LeastResources),
		VolumeMounts:             p.pod.copierMounts(),
		TerminationMessagePolicy: "FallbackToLogsOnError",
		ImagePullPolicy:          "IfNotPresent",
		SecurityContext:          p.newCopierSecurityContext(),
	}
}

// copier is the index of the initContainer that is the copier of an earlier call, -1 if there is none.
func (p *Pod) copier() int {
	return slices.IndexFunc(p.Spec.InitContainers, func(c container) bool { return c.Name == CopierName })
}

// sccAnnotation is where OpenShift's SCC plugin says which SecurityContextConstraints a Pod has passed. It has done so
// before a webhook sees the Pod.
const sccAnnotation = "openshift.io/scc"

// newCopierSecurityContext names a user only where the Pod does: OpenShift's restricted SCC assigns one from the namespace's
// range, and a policy that demands one finds it. Its SELinux options are those of the first container that is
// wrapped: the volume gets the label of the container that mounts it. So are the capabilities that it drops in addition to ALL,
// which a policy may want to see by their names.
func (p *Plan) newCopierSecurityContext() copierSecurityContext {
	pods, first := &p.pod.Spec.SecurityContext, &p.first().SecurityContext
	sc := copierSecurityContext{
		Capabilities:           capabilities{Drop: withAll(first.Capabilities.Drop)},
		ReadOnlyRootFilesystem: true,
		RunAsNonRoot:           true,
		SELinuxOptions:         first.SELinuxOptions,
	}
	sc.RunAsUser, sc.RunAsGroup = p.copierUser()
	// The Pod's profiles are inherited, but one that was recorded for its program is not for the copier.
	if profile := pods.SeccompProfile; profile == nil || profile.Type == "Localhost" {
		if !p.openShift() || anyProfile(p.Containers, profile == nil) {
			sc.SeccompProfile = &securityProfile{Type: "RuntimeDefault"}
		}
	}
	if p.openShift() {
		sc.mayAdd = first.Capabilities.Add
	}
	if profile := pods.AppArmorProfile; profile != nil && profile.Type == "Localhost" {
		sc.AppArmorProfile = &securityProfile{Type: "RuntimeDefault"}
	}
	return sc
}

// openShift says whether SecurityContextConstraints hold for the Pod. One without seccompProfiles, such as anyuid, admits no
// container that has a profile of its own; the next one that does may give the Pod's containers another user.
func (in *input) openShift() bool {
	return in.config.OpenShift || has(in.pod.Metadata.Annotations, sccAnnotation)
}

// anyProfile says whether one of a Pod's containers has a seccomp profile itself: RuntimeDefault, or one that was recorded for
// it. All have one at Pod Security's restricted level, if the Pod has none for them.
func anyProfile(containers []Decision, recorded bool) bool {
	return slices.ContainsFunc(containers, func(d Decision) bool {
		own := d.container.SecurityContext.SeccompProfile
		return own != nil && (own.Type == "RuntimeDefault" || recorded && own.Type == "Localhost")
	})
}

// copierUser is the user and the group that the copier names, nil where it names none. Where every container names a user,
// a policy may demand that, and the user is the first's that is wrapped; so it is with groups. The copier is never
// root: a Pod that says root for all its containers, or a first container that is, makes it the init image's user.
func (p *Plan) copierUser() (user, group *int64) {
	pods, first := &p.pod.Spec.SecurityContext, &p.first().SecurityContext
	noUser := func(d Decision) bool { return d.container.SecurityContext.RunAsUser == nil }
	noGroup := func(d Decision) bool { return d.container.SecurityContext.RunAsGroup == nil }
	everyUser := !slices.ContainsFunc(p.Containers, noUser)
	if !slices.ContainsFunc(p.Containers, noGroup) {
		group = first.RunAsGroup
	}
	id := int64(nonRoot)
	switch {
	case everyUser && *first.RunAsUser == 0, !everyUser && pods.RunAsUser != nil && *pods.RunAsUser == 0:
		return &id, &id
	case everyUser:
		return first.RunAsUser, group
	}
	return nil, group
}

// withAll is a list of capabilities with ALL in it, as Pod Security's restricted level demands.
func withAll(dropped []string) []string {
	if slices.Contains(dropped, "ALL") {
		return dropped
	}
	return append([]string{"ALL"}, dropped...)
}

// serviceAccountPath is where the ServiceAccount plugin mounts a token into every container
// (plugin/pkg/admission/serviceaccount, DefaultAPITokenMountPath).
const serviceAccountPath = "/var/run/secrets/kubernetes.io/serviceaccount"

// tokenVolume is what the name of the plugin's volume begins with (ServiceAccountVolumeName and a dash).
const tokenVolume = "kube-api-access-"

// copierMounts are our mount, the first, and the ServiceAccount plugin's where it has mounted a token into every container. The
// plugins run once more after a webhook has changed the Pod, and this one mounts the token into the copier, too. Where it has
// nothing to add, the apiserver does not call us for the Pod a second time.
func (p *Pod) copierMounts() []volumeMount {
	mounts := []volumeMount{{Name: VolumeName, MountPath: MountPath}}
	token := slices.IndexFunc(p.Spec.Volumes, func(v volume) bool { return strings.HasPrefix(v.Name, tokenVolume) })
	if token < 0 {
		return mounts
	}
	without := func(c container) bool {
		return c.Name != CopierName && !slices.ContainsFunc(c.VolumeMounts, func(m volumeMount) bool { return m.MountPath == serviceAccountPath })
	}
	if slices.ContainsFunc(p.Spec.InitContainers, without) || slices.ContainsFunc(p.Spec.Containers, without) {
		return mounts // it is turned off, and the volume is for one of them
	}
	return append(mounts, volumeMount{Name: p.Spec.Volumes[token].Name, MountPath: serviceAccountPath, ReadOnly: true})
}

// defaultTerminationMessagePath is the apiserver's default (TerminationMessagePathDefault).
const defaultTerminationMessagePath = "/dev/termination-log"

// keptSecurity are those of its securityContext.
var keptSecurity = []string{"runAsUser", "runAsGroup", "seLinuxOptions"}

// merge is the copier that takes the place of one that is there already, nil if that is the same. The one that is there
// may be the tenant's: its environment, or a volume mounted over /init, would choose what is installed for every
// container. So nothing of it stays but what Kubernetes' own plugins and defaults give to a container and what cannot
// change what it does: the token mount of the ServiceAccount plugin, imagePullPolicy Always of AlwaysPullImages, the user
// that OpenShift's SCC assigned, another reference of the same image (see Config.initImage), the capabilities that it or a
// policy dropped by name, and those that an SCC's defaultAddCapabilities gave to the Pod's containers too.
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
	if raw := theirs["capabilities"]; !isEmpty(raw) {
		var existing capabilities
		if err := json.Unmarshal(raw, &existing); err != nil {
			return nil, fmt.Errorf("reading the capabilities of initContainer %s: %w", CopierName, err)
		}
		sc.Capabilities = sc.Capabilities.merge(existing, sc.mayAdd)
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

// merge keeps the order of what is there already. All of that takes rights away, or is something that may be added.
func (c capabilities) merge(existing capabilities, mayAdd []string) capabilities {
	merged := capabilities{Drop: slices.Clip(existing.Drop)}
	for _, capability := range c.Drop {
		if !slices.Contains(merged.Drop, capability) {
			merged.Drop = append(merged.Drop, capability)
		}
	}
	for _, capability := range existing.Add {
		if slices.Contains(mayAdd, capability) {
			merged.Add = append(merged.Add, capability)
		}
	}
	return merged
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
