package inject

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"github.com/podinit/podinit/internal/rawjson"
)

// Pod is what is looked at of a Pod. Everything else stays in the raw object and is never touched.
type Pod struct {
	Metadata *metadata `json:"metadata"`
	Spec     *spec     `json:"spec"`

	raw []byte
	// pullSecrets are the names in the Pod's imagePullSecrets.
	pullSecrets []string
}

type metadata struct {
	Name            string            `json:"name"`
	Labels          map[string]string `json:"labels"`
	Annotations     map[string]string `json:"annotations"`
	OwnerReferences []ownerReference  `json:"ownerReferences"`
}

type ownerReference struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	UID        string `json:"uid"`
	Controller bool   `json:"controller"`
}

type spec struct {
	OS struct {
		Name string `json:"name"`
	} `json:"os"`
	NodeSelector                  map[string]string `json:"nodeSelector"`
	Affinity                      affinity          `json:"affinity"`
	RuntimeClassName              string            `json:"runtimeClassName"`
	HostPID                       bool              `json:"hostPID"`
	ShareProcessNamespace         bool              `json:"shareProcessNamespace"`
	HostUsers                     *bool             `json:"hostUsers"`
	ReadinessGates                []readinessGate   `json:"readinessGates"`
	ImagePullSecrets              []localReference  `json:"imagePullSecrets"`
	Resources                     resources         `json:"resources"`
	TerminationGracePeriodSeconds *int64            `json:"terminationGracePeriodSeconds"`
	SecurityContext               securityContext   `json:"securityContext"`
	Volumes                       []volume          `json:"volumes"`
	InitContainers                []container       `json:"initContainers"`
	Containers                    []container       `json:"containers"`
}

type affinity struct {
	NodeAffinity struct {
		Required struct {
			Terms []nodeSelectorTerm `json:"nodeSelectorTerms"`
		} `json:"requiredDuringSchedulingIgnoredDuringExecution"`
	} `json:"nodeAffinity"`
}

type nodeSelectorTerm struct {
	MatchExpressions []nodeSelectorRequirement `json:"matchExpressions"`
}

type nodeSelectorRequirement struct {
	Key      string   `json:"key"`
	Operator string   `json:"operator"`
	Values   []string `json:"values"`
}

type readinessGate struct {
	ConditionType string `json:"conditionType"`
}

// localReference names something in the Pod's namespace.
type localReference struct {
	Name string `json:"name"`
}

// securityContext is what a Pod's and a container's have in common.
type securityContext struct {
	RunAsUser       *int64           `json:"runAsUser"`
	RunAsGroup      *int64           `json:"runAsGroup"`
	RunAsNonRoot    *bool            `json:"runAsNonRoot"`
	Privileged      bool             `json:"privileged"`
	Capabilities    capabilities     `json:"capabilities"`
	SELinuxOptions  *seLinuxOptions  `json:"seLinuxOptions"`
	SeccompProfile  *securityProfile `json:"seccompProfile"`
	AppArmorProfile *securityProfile `json:"appArmorProfile"`
	WindowsOptions  *presentOnly     `json:"windowsOptions"`
}

// capabilities of a container, by their names without CAP_.
type capabilities struct {
	Add  []string `json:"add,omitempty"`
	Drop []string `json:"drop,omitempty"`
}

type securityProfile struct {
	Type string `json:"type"`
}

type seLinuxOptions struct {
	User  string `json:"user,omitempty"`
	Role  string `json:"role,omitempty"`
	Type  string `json:"type,omitempty"`
	Level string `json:"level,omitempty"`
}

// presentOnly is an object of which only the presence matters.
type presentOnly struct{}

type volume struct {
	Name     string       `json:"name"`
	EmptyDir *emptyDir    `json:"emptyDir,omitempty"`
	Image    *imageVolume `json:"image,omitempty"`
}

type imageVolume struct {
	Reference  string `json:"reference,omitempty"`
	PullPolicy string `json:"pullPolicy,omitempty"`
}

type emptyDir struct {
	Medium    string          `json:"medium,omitempty"`
	SizeLimit json.RawMessage `json:"sizeLimit,omitempty"`
}

type container struct {
	Name                     string            `json:"name"`
	Image                    string            `json:"image"`
	ImagePullPolicy          string            `json:"imagePullPolicy"`
	RestartPolicy            string            `json:"restartPolicy"`
	Command                  []string          `json:"command"`
	Args                     []json.RawMessage `json:"args"`
	WorkingDir               string            `json:"workingDir"`
	Resources                resources         `json:"resources"`
	VolumeMounts             []volumeMount     `json:"volumeMounts"`
	VolumeDevices            []volumeDevice    `json:"volumeDevices"`
	SecurityContext          securityContext   `json:"securityContext"`
	LivenessProbe            probe             `json:"livenessProbe"`
	StartupProbe             probe             `json:"startupProbe"`
	TerminationMessagePath   string            `json:"terminationMessagePath"`
	TerminationMessagePolicy string            `json:"terminationMessagePolicy"`
	Lifecycle                lifecycle         `json:"lifecycle"`

	kind kind
	// path is where the container is in the Pod, as a JSON pointer.
	path string
	// late is set where Command and Args are not as the Pod has them: initFirst.
	late bool
}

// kind is what a container is to its Pod.
type kind int

const (
	regular kind = iota
	// sidecar is an initContainer with restartPolicy Always (KEP-753).
	sidecar
	initContainer
)

type lifecycle struct {
	StopSignal string `json:"stopSignal"`
	PreStop    struct {
		Sleep struct {
			Seconds int64 `json:"seconds"`
		} `json:"sleep"`
		Exec struct {
			Command []string `json:"command"`
		} `json:"exec"`
	} `json:"preStop"`
}

// resources are quantities as they were written, so that they can be repeated verbatim.
type resources struct {
	Requests map[string]json.RawMessage `json:"requests,omitempty"`
	Limits   map[string]json.RawMessage `json:"limits,omitempty"`
}

type volumeMount struct {
	Name             string `json:"name"`
	MountPath        string `json:"mountPath"`
	ReadOnly         bool   `json:"readOnly,omitempty"`
	SubPath          string `json:"subPath,omitempty"`
	SubPathExpr      string `json:"subPathExpr,omitempty"`
	MountPropagation string `json:"mountPropagation,omitempty"`
}

type volumeDevice struct {
	DevicePath string `json:"devicePath"`
}

type probe struct {
	TerminationGracePeriodSeconds *int64 `json:"terminationGracePeriodSeconds"`
}

var decoder = rawjson.For[Pod]()

// Decode reads a Pod's JSON, which it keeps; the caller does not change it afterwards. Field names are matched as
// the apiserver does, by case, and a field that is there twice is an error: the patch could mean the other one.
func Decode(raw []byte) (*Pod, error) {
	pod, err := decoder.Decode(raw)
	if err != nil {
		return nil, fmt.Errorf("reading the object as a v1 Pod: %w", err)
	}
	if pod.Metadata == nil || pod.Spec == nil {
		return nil, errors.New("reading the object as a v1 Pod: it has no metadata or no spec")
	}
	pod.raw = raw
	pod.prepare()
	return pod, nil
}

// prepare sets what follows from the fields that were decoded.
func (p *Pod) prepare() {
	for _, s := range p.Spec.ImagePullSecrets {
		p.pullSecrets = append(p.pullSecrets, s.Name)
	}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		if c.kind, c.path = initContainer, "/spec/initContainers/"+strconv.Itoa(i); c.RestartPolicy == "Always" {
			c.kind = sidecar
		}
	}
	for i := range p.Spec.Containers {
		p.Spec.Containers[i].path = "/spec/containers/" + strconv.Itoa(i)
	}
	for c := range p.containers() {
		c.initFirst()
	}
}

// containers are the Pod's initContainers, then its regular ones.
func (p *Pod) containers() iter.Seq[*container] {
	return func(yield func(*container) bool) {
		for _, containers := range [...][]container{p.Spec.InitContainers, p.Spec.Containers} {
			for i := range containers {
				if !yield(&containers[i]) {
					return
				}
			}
		}
	}
}

// anyContainer says whether something holds for one of the Pod's containers and initContainers.
func (p *Pod) anyContainer(holds func(*container) bool) bool {
	for c := range p.containers() {
		if holds(c) {
			return true
		}
	}
	return false
}

// rawPod is a Pod's initContainers with all their fields.
type rawPod struct {
	Spec struct {
		InitContainers []map[string]json.RawMessage `json:"initContainers"`
	} `json:"spec"`
}

var rawDecoder = rawjson.For[rawPod]()

// rawInitContainer is the i-th initContainer with all its fields.
func (p *Pod) rawInitContainer(i int) (map[string]json.RawMessage, error) {
	pod, err := rawDecoder.Decode(p.raw)
	if err != nil {
		return nil, fmt.Errorf("reading initContainers[%d]: %w", i, err)
	}
	return pod.Spec.InitContainers[i], nil
}
