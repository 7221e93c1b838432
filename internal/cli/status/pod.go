package status

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/nodes"
	"github.com/podinit/podinit/internal/cli/remoteimage"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/node/report"
	"github.com/podinit/podinit/internal/reason"
)

// state is what has become of a pod.
type state int

const (
	// none of podinit's business.
	none state = iota
	// wrapped, as much of it as was asked for.
	wrapped
	// partly wrapped: some container is left alone that its author may have wanted wrapped.
	partly
	// leftAlone as a whole.
	leftAlone
	// without a status though its namespace or itself has opted in: it was made before, or while the webhook was away.
	without
)

// seen is what a pod shows.
type seen struct {
	state state
	// version of the init in it, written as in its label; empty if there is none.
	version string
	// reasons for which it, or containers of it, are left alone, or annotations ignored.
	reasons []why
	// images whose digests were looked up.
	images []lookedUp
	// byNode is set where its node has wrapped a container.
	byNode bool
	// drift are the reasons for which containers of it may run another image than was looked up.
	drift []why
}

// why is one reason.
type why struct {
	reason v1alpha1.Reason
	// container is empty where the reason is for the whole pod, or for an annotation.
	container string
}

// lookedUp is an image that the registry was asked about, and what runs.
type lookedUp struct {
	container string
	// repository is the image's name without tag and digest.
	repository string
	// was is the digest that was looked up, runs that of the container's image; empty while none runs.
	was, runs string
}

// optIn is what is known about a namespace.
type optIn int

const (
	unknown optIn = iota
	no
	yes
	// closed to pods that opt in themselves.
	closed
	// never: podinit does not touch it.
	never
)

// look reads a pod. What its status says is held against its spec, where that can be: the status only informs.
//
// onNode are the containers that its node reports, by name; nil if none are known.
func look(pod *corev1.Pod, namespace optIn, onNode map[string]report.Container) seen {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || pod.DeletionTimestamp != nil {
		return seen{}
	}
	status, ok := statusOf(pod)
	started := startedByInit(pod)
	switch {
	case !ok && len(started) > 0 && namespace != never:
		return seen{state: wrapped, version: cmp.Or(pod.Labels[v1alpha1.VersionLabel], "unknown"), reasons: []why{{reason: lost}}}
	case len(onNode) > 0 && namespace != never && (!ok || status.Reason != "" && len(started) == 0):
		return lookOnNode(onNode)
	case !ok:
		return unmarked(pod, namespace)
	case status.Reason != "" && len(started) == 0:
		return seen{state: leftAlone, version: pod.Labels[v1alpha1.VersionLabel], reasons: []why{{reason: status.Reason}}}
	}
	s := seen{}
	s.version, s.reasons = versionOf(pod, status)
	commands := commandsOf(pod)
	some, problem := false, false
	for _, name := range sorted(status.Containers) {
		container := status.Containers[name]
		command, there := commands[name]
		switch {
		case !there: // debug copies and the like drop containers
		case container.Action == v1alpha1.ActionWrapped && len(command) > 0 && command[0] == inject.InitPath:
			some = true
			if container.Digest == "" {
				continue
			}
			image := imageOf(pod, name, container.Digest)
			s.images = append(s.images, image)
			for _, r := range container.Drift {
				if image.runs != image.was && reason.Of(r).Kind == reason.Drift {
					s.drift = append(s.drift, why{r, name})
				}
			}
		case onNode[name].State == report.Wrapped: // what the webhook could not, its node has wrapped
			some, s.byNode = true, true
			s.version = cmp.Or(s.version, versionOnNode(onNode[name]))
		case container.Action == v1alpha1.ActionWrapped:
			problem = true
			s.reasons = append(s.reasons, why{undone, name})
		default:
			s.reasons = append(s.reasons, why{container.Reason, name})
			problem = problem || !reason.Of(container.Reason).Routine
		}
	}
	for _, name := range started {
		if _, said := status.Containers[name]; !said {
			some = true
			s.reasons = append(s.reasons, why{unsaid, name})
		}
	}
	for _, r := range status.Ignored {
		s.reasons = append(s.reasons, why{reason: r})
	}
	switch {
	case some && problem:
		s.state = partly
	case some:
		s.state = wrapped
	default:
		s.state, s.version = leftAlone, ""
		s.reasons = slices.DeleteFunc(s.reasons, func(w why) bool { return w.reason == relabelled })
	}
	return s
}

// lookOnNode is what a pod's node says of it, where no webhook says anything.
func lookOnNode(onNode map[string]report.Container) seen {
	var s seen
	missed, problem := false, false
	for _, name := range sorted(onNode) {
		switch c := onNode[name]; c.State {
		case report.Wrapped:
			s.byNode, s.version = true, versionOnNode(c)
		case report.Missed:
			missed, problem = true, true
			s.reasons = append(s.reasons, why{missedByNode, name})
		case report.LeftAlone:
			s.reasons = append(s.reasons, why{c.Reason, name})
			problem = problem || !reason.Of(c.Reason).Routine
		}
	}
	switch {
	case s.byNode && problem:
		s.state = partly
	case s.byNode:
		s.state = wrapped
	case missed:
		s.state = without
	default:
		s.state = leftAlone
	}
	return s
}

// versionOnNode is the version of the init in a container that a node has wrapped, as labels write it.
func versionOnNode(c report.Container) string {
	return strings.ReplaceAll(nodes.InitVersion(c), "+", "_")
}

// These are no reasons of the webhook's. Labels and annotations can be changed while a pod runs, its commands and volumes
// cannot.
const (
	// undone: the status says wrapped, the container's command says otherwise.
	undone v1alpha1.Reason = "not-as-the-status-says"
	// unsaid: the container's command starts the init, the status does not name the container.
	unsaid v1alpha1.Reason = "not-in-the-status"
	// lost: a container's command starts the init, and there is no status.
	lost v1alpha1.Reason = "status-missing"
	// missedByNode: the node reports that it runs without the init though it opts in.
	missedByNode v1alpha1.Reason = "missed-by-node"
	// relabelled: the label has another version than the status.
	relabelled v1alpha1.Reason = "label-changed"
)

// explain is reason.Of, and for the reasons above.
func explain(r v1alpha1.Reason) reason.Explanation {
	const remedy = "Create the pod again, for example with kubectl rollout restart, and see which accounts may change it."
	switch r {
	case missedByNode:
		return reason.Explanation{
			Because: "it runs without the init: it was created while podinit-node could not wrap it, or before it opted in",
			Remedy:  "Create the pod again, for example with kubectl rollout restart; podinit check names nodes on which podinit-node is away.",
		}
	case unsaid:
		return reason.Explanation{
			Because: "its command begins with " + inject.InitPath + ", but the annotation " + v1alpha1.StatusAnnotation +
				" does not name it: the annotation was changed",
			Remedy: remedy,
		}
	case lost:
		return reason.Explanation{
			Because: "its commands begin with " + inject.InitPath + ", but the annotation " + v1alpha1.StatusAnnotation +
				" is missing or cannot be read: it was changed",
			Remedy: remedy,
		}
	case relabelled:
		return reason.Explanation{
			Because: "the label " + v1alpha1.VersionLabel + " was changed: the status has another version, and that one counts here",
			Remedy:  remedy,
		}
	case undone:
		return reason.Explanation{
			Because: "the status says that it is wrapped, but its command does not begin with " + inject.InitPath +
				": another webhook has replaced it, or the status was written by hand",
			Remedy: "See which webhook changes the pod's command: kubectl get mutatingwebhookconfigurations.",
		}
	}
	return reason.Of(r)
}

// startedByInit are the containers whose commands start the init from our volume, which no label or annotation hides.
func startedByInit(pod *corev1.Pod) (names []string) {
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if len(c.Command) > 0 && c.Command[0] == inject.InitPath && slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
			return m.Name == inject.VolumeName && m.MountPath == inject.MountPath
		}) {
			names = append(names, c.Name)
		}
	}
	return names
}

// versionOf is the version of the init in a wrapped pod. The status says it; the label repeats it.
func versionOf(pod *corev1.Pod, status v1alpha1.Status) (version string, reasons []why) {
	label := pod.Labels[v1alpha1.VersionLabel]
	version = strings.ReplaceAll(status.Version, "+", "_")
	switch version {
	case "":
		return label, nil
	case label:
		return version, nil
	}
	return version, []why{{reason: relabelled}}
}

// unmarked is a pod that podinit has written nothing into.
func unmarked(pod *corev1.Pod, namespace optIn) seen {
	said := func(value string) bool {
		return pod.Labels[v1alpha1.Inject] == value || pod.Annotations[v1alpha1.Inject] == value
	}
	_, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]
	alone := func(r v1alpha1.Reason) seen { return seen{state: leftAlone, reasons: []why{{reason: r}}} }
	wants := namespace == yes || said(v1alpha1.InjectEnabled)
	switch {
	case namespace == never || !wants:
		return seen{}
	case namespace == closed:
		return alone(v1alpha1.ReasonNamespaceDisabled)
	case v1alpha1.Disables(pod.Labels[v1alpha1.Inject]) || v1alpha1.Disables(pod.Annotations[v1alpha1.Inject]):
		return alone(v1alpha1.ReasonOptedOut)
	case mirror:
		return alone(v1alpha1.ReasonMirrorPod)
	case pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows:
		return alone(v1alpha1.ReasonWindows)
	}
	return seen{state: without}
}

func statusOf(pod *corev1.Pod) (v1alpha1.Status, bool) {
	var status v1alpha1.Status
	text, ok := pod.Annotations[v1alpha1.StatusAnnotation]
	if !ok || json.Unmarshal([]byte(text), &status) != nil {
		return v1alpha1.Status{}, false
	}
	return status, true
}

// commandsOf are the commands of all containers, by name.
func commandsOf(pod *corev1.Pod) map[string][]string {
	commands := map[string][]string{}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		commands[c.Name] = c.Command
	}
	return commands
}

func imageOf(pod *corev1.Pod, container, digest string) lookedUp {
	l := lookedUp{container: container, was: digest}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if c.Name == container {
			l.repository = remoteimage.Repository(c.Image)
		}
	}
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if c.Name == container {
			l.runs = digestIn(c.ImageID)
		}
	}
	return l
}

// digestIn is the digest in an imageID: repository@sha256:..., docker-pullable://repository@sha256:..., or sha256:...
// alone, which is then that of the image's config. Empty if there is none.
func digestIn(imageID string) string {
	if i := strings.LastIndexByte(imageID, '@'); i >= 0 {
		imageID = imageID[i+1:]
	}
	if i := strings.Index(imageID, "://"); i >= 0 {
		imageID = imageID[i+len("://"):]
	}
	if algorithm, hex, ok := strings.Cut(imageID, ":"); !ok || algorithm == "" || hex == "" || strings.Contains(hex, "/") {
		return ""
	}
	return imageID
}
