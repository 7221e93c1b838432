package status

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/canary"
	explaining "github.com/podinit/podinit/internal/cli/explain" // explain explains reasons here
	"github.com/podinit/podinit/internal/cli/nodes"
	"github.com/podinit/podinit/internal/cli/remoteimage"
	"github.com/podinit/podinit/internal/node/report"
)

// maxNames bounds how many pods are named for one thing; all are counted.
const maxNames = 10

// Report is what the command prints.
type Report struct {
	// Version of the webhook that is installed; empty if it is not known, and then no pod counts as outdated.
	Version string `json:"version,omitempty"`
	// Suspended says by what podinit is suspended, so that new pods are admitted unchanged; empty if it is not known to
	// be. Pods that were left alone for it have reason suspended.
	Suspended []string `json:"suspended,omitempty"`
	// InitImage is where nodes cannot pull the init image, so that new pods are left alone.
	InitImage []InitImage `json:"initImageUnavailable,omitempty"`
	// Nodes are those of node mode; absent where it is not installed or may not be read.
	Nodes *Nodes `json:"nodes,omitempty"`
	// Totals of all namespaces.
	Totals Counts `json:"totals"`
	// Signals are what is known of the containers of these pods, sidecars included.
	Signals Signals `json:"signals"`
	// Namespaces in which there is anything to say, sorted.
	Namespaces []Namespace `json:"namespaces"`
	// Reasons for which something is left alone or ignored, what happens most first.
	Reasons []Reason `json:"reasons,omitempty"`
	// Versions of the init in pods, sorted.
	Versions []Version `json:"versions,omitempty"`
	// WithoutStatus are pods that were made before they were opted in, or while the webhook was away.
	WithoutStatus Pods `json:"withoutStatus"`
	// Waiting are pods that wait for the init image, by namespace, sorted.
	Waiting []Waiting `json:"waiting,omitempty"`
	// MayDrift are the reasons for which containers may run another image than the one whose command they were given, as was
	// seen when they were admitted.
	MayDrift []Reason `json:"mayDrift,omitempty"`
	// Drifted are containers that run another image than the one whose command they were given.
	Drifted []Drift `json:"drifted,omitempty"`
	// Unsure is for how many containers the registry would have to be asked whether two digests are one image, and could
	// not.
	Unsure int `json:"unsure,omitempty"`
	// NotRead says what could not be read, and what is not known for that.
	NotRead []string `json:"notRead,omitempty"`
}

// Counts of pods that have not ended.
type Counts struct {
	// Pods that have a status, or should have one.
	Pods int `json:"pods"`
	// Wrapped as asked for; Partly, with a container left alone that was meant to be wrapped; LeftAlone as a whole;
	// WithoutStatus.
	Wrapped       int `json:"wrapped"`
	Partly        int `json:"partly"`
	LeftAlone     int `json:"leftAlone"`
	WithoutStatus int `json:"withoutStatus"`
	// Outdated have the init in another version than the webhook's.
	Outdated int `json:"outdated"`
	// Drifted have a container that runs another image than was looked up.
	Drifted int `json:"drifted"`
	// Waiting are wrapped, and wait for the init image, which their nodes cannot pull.
	Waiting int `json:"waiting"`
	// ByNode have a container that their node has wrapped; they count as Wrapped or Partly, too.
	ByNode int `json:"byNode,omitempty"`
}

// Nodes is what node mode does.
type Nodes struct {
	// Versions of podinit-node, sorted.
	Versions []string `json:"versions,omitempty"`
	// Nodes on which podinit-node runs or begins to, and those whose container runtime asks it about new containers.
	Nodes      int `json:"nodes"`
	Registered int `json:"registered"`
	// NotRegistered are the others, where containers start without the init, and why.
	NotRegistered []NodeProblem `json:"notRegistered,omitempty"`
	// Suspended are nodes on which every container is created unchanged.
	Suspended []string `json:"suspended,omitempty"`
	// Containers of the namespaces that are listed here.
	Containers report.Counts `json:"containers"`
	// Missed are containers that opt in and run without the init, the first of them.
	Missed []MissedContainer `json:"missed,omitempty"`
}

// NodeProblem is why a node does not wrap, or could not be asked.
type NodeProblem struct {
	Node    string `json:"node"`
	Problem string `json:"problem"`
}

// MissedContainer runs without the init though it opts in.
type MissedContainer struct {
	Node      string `json:"node"`
	Pod       string `json:"pod"`
	Container string `json:"container"`
}

// Signals counts containers by whether their stop signal reaches the program, as far as their commands show it.
type Signals struct {
	Containers int `json:"containers"`
	// WithPodinit start with its init: the signal reaches the program.
	WithPodinit int `json:"withPodinit"`
	// NeverReceive it without podinit; of Unknown ones only their image or their run shows it.
	NeverReceive int `json:"neverReceiveSignal"`
	Unknown      int `json:"unknown"`
}

// add counts the containers of a pod, without initContainers that end by themselves. onNode are those that its node reports.
func (s *Signals) add(pod *corev1.Pod, onNode map[string]report.Container) {
	for i, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		if i >= len(pod.Spec.Containers) && (c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways) {
			continue
		}
		s.Containers++
		now, hasInit := explaining.Now(pod, &c)
		switch {
		case hasInit || onNode[c.Name].State == report.Wrapped:
			s.WithPodinit++
		case now.SignalReachesProgram == explaining.No:
			s.NeverReceive++
		case now.SignalReachesProgram == explaining.Unknown:
			s.Unknown++
		}
	}
}

// Namespace is one with its counts.
type Namespace struct {
	Name string `json:"name"`
	// OptedIn is the label: enabled, disabled, or whatever it says; empty without one.
	OptedIn string `json:"optedIn,omitempty"`
	Counts
}

// Reason is one, and how often it counts.
type Reason struct {
	Reason v1alpha1.Reason `json:"reason"`
	// Routine reasons are what is wanted or expected.
	Routine bool `json:"routine,omitempty"`
	// Containers for which it counts; 0 where it is for pods as a whole.
	Containers int    `json:"containers,omitempty"`
	Because    string `json:"because"`
	Remedy     string `json:"remedy,omitempty"`
	Pods
}

// Pods are some that have something in common.
type Pods struct {
	Count int `json:"pods"`
	// Names of the first few, as namespace/name.
	Names []string `json:"names,omitempty"`
}

func (p *Pods) add(name string) {
	p.Count++
	if len(p.Names) < maxNames {
		p.Names = append(p.Names, name)
	}
}

// Version is one of the init.
type Version struct {
	Version  string `json:"version"`
	Outdated bool   `json:"outdated,omitempty"`
	Pods
}

// InitImage is an architecture whose nodes cannot pull the init image.
type InitImage struct {
	Architecture string `json:"architecture"`
	// Pod of podinit's own that shows it, as namespace/name, and the kubelet's message.
	Pod     string `json:"pod"`
	Message string `json:"message"`
}

// Waiting are pods of a namespace that wait for the init image.
type Waiting struct {
	Namespace string `json:"namespace"`
	Pods
	// Image that one of them waits for, and why: the kubelet's message.
	Image   string `json:"image"`
	Message string `json:"message"`
	// Delete is the command that deletes those that are named.
	Delete string `json:"delete"`
}

// Drift is a container that runs another image than the one whose command it was given.
type Drift struct {
	Pod       string `json:"pod"`
	Container string `json:"container"`
	// Image without its tag, the digest that was looked up, and that which runs.
	Image    string `json:"image"`
	LookedUp string `json:"lookedUp"`
	Running  string `json:"running"`
}

// Builder makes a Report of pods that it is shown one after the other. What it remembers is bounded by the namespaces,
// reasons and versions there are, and by the digests that differ.
type Builder struct {
	// version of the webhook as pods' labels have it.
	version    string
	namespaces map[string]*Namespace
	reasons    map[v1alpha1.Reason]*Reason
	drift      map[v1alpha1.Reason]*Reason
	versions   map[string]*Version
	without    Pods
	waiting    map[string]*Waiting
	differ     []Drift
	unsure     int
	signals    Signals
	onNodes    map[nodes.Key]report.Container
	nodes      *Nodes
}

// OnNodes takes in what the nodes report. It comes before the pods.
func (b *Builder) OnNodes(all []nodes.Node) {
	b.nodes, b.onNodes = &Nodes{Nodes: len(all)}, nodes.Containers(all)
	versions := map[string]bool{}
	for _, n := range all {
		if n.Ready {
			b.nodes.Registered++
		} else {
			b.nodes.NotRegistered = append(b.nodes.NotRegistered, NodeProblem{n.Name, oneLine(n.Problem)})
		}
		if n.Report == nil {
			continue
		}
		versions[n.Report.Version] = true
		if n.Report.Suspended {
			b.nodes.Suspended = append(b.nodes.Suspended, n.Name)
		}
		b.nodes.Containers.Wrapped += n.Report.Counts.Wrapped
		b.nodes.Containers.LeftAlone += n.Report.Counts.LeftAlone
		b.nodes.Containers.Missed += n.Report.Counts.Missed
		for _, c := range n.Report.Containers {
			if c.State == report.Missed && len(b.nodes.Missed) < maxNames {
				b.nodes.Missed = append(b.nodes.Missed, MissedContainer{n.Name, c.Namespace + "/" + c.Pod, c.Name})
			}
		}
	}
	b.nodes.Versions = sorted(versions)
	if b.version == "" && len(b.nodes.Versions) == 1 {
		b.version = strings.ReplaceAll(b.nodes.Versions[0], "+", "_")
	}
}

// onNode are the containers of a pod that its node reports, by name. Of a static pod the node has another UID.
func (b *Builder) onNode(pod *corev1.Pod) map[string]report.Container {
	if len(b.onNodes) == 0 {
		return nil
	}
	_, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]
	found := map[string]report.Container{}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		r, ok := b.onNodes[nodes.Key{Namespace: pod.Namespace, Pod: pod.Name, Container: c.Name}]
		if ok && (mirror || r.UID == "" || r.UID == string(pod.UID)) {
			found[c.Name] = r
		}
	}
	return found
}

// NewBuilder makes one for the version of the webhook; empty if it is not known.
func NewBuilder(version string) *Builder {
	return &Builder{
		version:    strings.ReplaceAll(version, "+", "_"),
		namespaces: map[string]*Namespace{}, reasons: map[v1alpha1.Reason]*Reason{}, drift: map[v1alpha1.Reason]*Reason{},
		versions: map[string]*Version{}, waiting: map[string]*Waiting{},
	}
}

// maxDiffer bounds how many containers' digests are held against their registries.
const maxDiffer = 1000

// Namespace says what a namespace's label is. Namespaces that have opted in are shown even if they are empty.
func (b *Builder) Namespace(name, label string) {
	if label == v1alpha1.InjectEnabled {
		b.of(name)
	}
	if n, ok := b.namespaces[name]; ok {
		n.OptedIn = label
	}
}

func (b *Builder) of(namespace string) *Namespace {
	n, ok := b.namespaces[namespace]
	if !ok {
		n = &Namespace{Name: namespace}
		b.namespaces[namespace] = n
	}
	return n
}

// Pod takes a pod in.
func (b *Builder) Pod(pod *corev1.Pod, namespace optIn) {
	onNode := b.onNode(pod)
	s := look(pod, namespace, onNode)
	if s.state == none {
		return
	}
	name := pod.Namespace + "/" + pod.Name
	counts := &b.of(pod.Namespace).Counts
	counts.Pods++
	b.signals.add(pod, onNode)
	if s.byNode {
		counts.ByNode++
	}
	switch s.state {
	case wrapped:
		counts.Wrapped++
	case partly:
		counts.Partly++
	case leftAlone:
		counts.LeftAlone++
	case without:
		counts.WithoutStatus++
		b.without.add(name)
	}
	if wait, ok := canary.Waits(pod); ok {
		counts.Waiting++
		w := b.waiting[pod.Namespace]
		if w == nil {
			w = &Waiting{Namespace: pod.Namespace, Image: wait.Image, Message: wait.Reason + ": " + oneLine(wait.Message),
				Delete: "kubectl -n " + pod.Namespace + " delete pod"}
			b.waiting[pod.Namespace] = w
		}
		if w.add(name); len(w.Names) == w.Count {
			w.Delete += " " + pod.Name
		}
	}
	because(b.reasons, s.reasons, name)
	because(b.drift, s.drift, name)
	if s.version != "" {
		v, ok := b.versions[s.version]
		if !ok {
			v = &Version{Version: s.version, Outdated: b.version != "" && s.version != b.version}
			b.versions[s.version] = v
		}
		v.add(name)
		if v.Outdated {
			counts.Outdated++
		}
	}
	for _, i := range s.images {
		switch {
		case i.runs == "" || i.runs == i.was:
		case len(b.differ) == maxDiffer:
			b.unsure++
		default:
			b.differ = append(b.differ, Drift{Pod: name, Container: i.container, Image: i.repository, LookedUp: i.was, Running: i.runs})
		}
	}
}

// because counts reasons: containers for each, pods once.
func because(reasons map[v1alpha1.Reason]*Reason, all []why, pod string) {
	counted := map[v1alpha1.Reason]bool{}
	for _, w := range all {
		r, ok := reasons[w.reason]
		if !ok {
			e := explain(w.reason)
			r = &Reason{Reason: w.reason, Routine: e.Routine, Because: e.Because, Remedy: e.Remedy}
			reasons[w.reason] = r
		}
		if w.container != "" {
			r.Containers++
		}
		if !counted[w.reason] {
			counted[w.reason] = true
			r.add(pod)
		}
	}
}

// Digests are all names of one image, given one of them; an error if they cannot be known.
type Digests func(ctx context.Context, reference string) ([]string, error)

// Report asks digests where two differ that may be of one image: an index and one platform's manifest of it. Only what
// is known to be another image has drifted. A registry that does not answer is not asked again: each time takes as long.
func (b *Builder) Report(ctx context.Context, digests Digests) Report {
	r := Report{Version: b.version, WithoutStatus: b.without, Unsure: b.unsure, Signals: b.signals, Nodes: b.nodes, Namespaces: []Namespace{}}
	type answer struct {
		digests []string
		err     error
	}
	asked := map[string]answer{}
	dead := map[string]error{} // by registry
	drifted := map[string]bool{}
	for _, d := range b.differ {
		reference := d.Image + "@" + d.LookedUp
		known, ok := asked[reference]
		if !ok {
			host := remoteimage.Registry(d.Image)
			if known.err = dead[host]; known.err == nil {
				known.digests, known.err = digests(ctx, reference)
			}
			if remoteimage.Silent(known.err) {
				dead[host] = known.err
			}
			asked[reference] = known
		}
		switch {
		case known.err != nil:
			r.Unsure++
		case slices.Contains(known.digests, d.Running):
		default:
			r.Drifted = append(r.Drifted, d)
			if !drifted[d.Pod] {
				drifted[d.Pod] = true
				namespace, _, _ := strings.Cut(d.Pod, "/")
				b.of(namespace).Drifted++
			}
		}
	}
	for _, name := range sorted(b.namespaces) {
		n := *b.namespaces[name]
		r.Namespaces = append(r.Namespaces, n)
		r.Totals.add(n.Counts)
	}
	for _, name := range sorted(b.waiting) {
		r.Waiting = append(r.Waiting, *b.waiting[name])
	}
	r.Reasons, r.MayDrift = inOrder(b.reasons), inOrder(b.drift)
	for _, version := range sorted(b.versions) {
		r.Versions = append(r.Versions, *b.versions[version])
	}
	return r
}

// inOrder are reasons, what is routine last, and before that what happens most first.
func inOrder(reasons map[v1alpha1.Reason]*Reason) (all []Reason) {
	for _, reason := range reasons {
		all = append(all, *reason)
	}
	slices.SortFunc(all, func(a, b Reason) int {
		return cmp.Or(boolCompare(a.Routine, b.Routine), -cmp.Compare(a.Count, b.Count), cmp.Compare(a.Reason, b.Reason))
	})
	return all
}

func (c *Counts) add(other Counts) {
	c.Pods += other.Pods
	c.Wrapped += other.Wrapped
	c.Partly += other.Partly
	c.LeftAlone += other.LeftAlone
	c.WithoutStatus += other.WithoutStatus
	c.Outdated += other.Outdated
	c.Drifted += other.Drifted
	c.Waiting += other.Waiting
	c.ByNode += other.ByNode
}

// oneLine is a kubelet's message for a line that a person reads.
func oneLine(message string) string {
	const most = 300 // bytes
	message = strings.Join(strings.Fields(message), " ")
	if len(message) > most {
		message = strings.ToValidUTF8(message[:most], "") + " ..."
	}
	return message
}

// boolCompare puts false first.
func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
