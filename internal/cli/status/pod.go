package status

import (
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/inject"
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
	// version of the init in it, as its label has it; empty if there is none.
	version string
	// reasons for which it, or containers of it, are left alone, and wishes ignored.
	reasons []why
	// images whose digests were looked up.
	images []lookedUp
}

// why is one reason.
type why struct {
	reason v1alpha1.Reason
	// container is empty where the reason is for the whole pod, or for a wish.
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
func look(pod *corev1.Pod, namespace optIn) seen {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || pod.DeletionTimestamp != nil {
		return seen{}
	}
	status, ok := statusOf(pod)
	if !ok {
		return unmarked(pod, namespace)
	}
	s := seen{version: pod.Labels[v1alpha1.VersionLabel]}
	if status.Reason != "" {
		s.state, s.reasons = leftAlone, []why{{reason: status.Reason}}
		return s
	}
	commands := commandsOf(pod)
	some, problem := false, false
	for _, name := range sorted(status.Containers) {
		container := status.Containers[name]
		command, there := commands[name]
		switch {
		case !there: // debug copies and the like drop containers
		case container.Action == v1alpha1.ActionWrapped && len(command) > 0 && command[0] == inject.InitPath:
			some = true
			if container.Digest != "" {
				s.images = append(s.images, imageOf(pod, name, container.Digest))
			}
		case container.Action == v1alpha1.ActionWrapped:
			problem = true
			s.reasons = append(s.reasons, why{undone, name})
		default:
			s.reasons = append(s.reasons, why{container.Reason, name})
			problem = problem || !reason.Of(container.Reason).Routine
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
	}
	return s
}

// undone is no reason of the webhook's: the status says wrapped, the container's command says otherwise.
const undone v1alpha1.Reason = "not-as-the-status-says"

// explain is reason.Of, and for undone.
func explain(r v1alpha1.Reason) reason.Explanation {
	if r == undone {
		return reason.Explanation{
			Because: "the status says that it is wrapped, but its command does not begin with " + inject.InitPath + ": another webhook has replaced it, or the status was written by hand",
			Remedy:  "See who changes the pod's command: kubectl get mutatingwebhookconfigurations.",
		}
	}
	return reason.Of(r)
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
	case said(v1alpha1.InjectDisabled):
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
			l.repository = repositoryOf(c.Image)
		}
	}
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if c.Name == container {
			l.runs = digestIn(c.ImageID)
		}
	}
	return l
}

// repositoryOf is an image's name without tag and digest.
func repositoryOf(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		image = image[:i]
	}
	return image
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
