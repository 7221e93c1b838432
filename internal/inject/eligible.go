package inject

import (
	"slices"
	"strings"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/imageconfig"
	"k8s.io/apimachinery/pkg/util/validation"
)

// leavePodAlone says why the Pod as a whole is left alone, in the order of precedence, or "".
// The webhook's configuration keeps most of these from being sent at all; here they hold for every caller.
func (in *input) leavePodAlone() v1alpha1.Reason {
	meta, spec, setting := in.pod.Metadata, in.pod.Spec, &in.setting
	label, annotation := meta.Labels[v1alpha1.Inject], meta.Annotations[v1alpha1.Inject]
	switch {
	case slices.Contains(in.config.ExcludedNamespaces, setting.Namespace):
		return v1alpha1.ReasonExcludedNamespace
	case has(meta.Annotations, "kubernetes.io/config.mirror"):
		return v1alpha1.ReasonMirrorPod
	case v1alpha1.Disables(label) || v1alpha1.Disables(annotation):
		return v1alpha1.ReasonOptedOut
	case v1alpha1.Disables(setting.NamespaceInject):
		return v1alpha1.ReasonNamespaceDisabled
	case !setting.Selected && !slices.Contains([]string{setting.NamespaceInject, label, annotation}, v1alpha1.InjectEnabled):
		return v1alpha1.ReasonNotOptedIn
	case in.pod.windows():
		return v1alpha1.ReasonWindows
	case setting.Suspended:
		return v1alpha1.ReasonSuspended
	case measure(meta.Annotations) > maxAnnotations:
		return v1alpha1.ReasonAnnotationsTooLarge
	case len(spec.InitContainers)+len(spec.Containers) > maxContainers:
		return v1alpha1.ReasonTooManyContainers
	case in.pod.containerNameTwice():
		return v1alpha1.ReasonDuplicateContainerName
	case wasm(spec.RuntimeClassName):
		return v1alpha1.ReasonWasm
	case spec.HostPID:
		return v1alpha1.ReasonHostPID
	case in.pod.countsOnPIDs():
		return v1alpha1.ReasonCountsOnPIDs
	case in.compares == v1alpha1.ComparesPod:
		return v1alpha1.ReasonOwnerComparesPods
	case in.pod.nameConflict(in.config):
		return v1alpha1.ReasonNameConflict
	case len(setting.Unavailable) > 0 && in.pod.mayRunOn(setting.Unavailable, setting.Architectures):
		return v1alpha1.ReasonInitImageUnavailable
	}
	return ""
}

// mayRunOn says whether the Pod may run on a node of one of some architectures, in a cluster that has all these. Where
// those of the cluster are not known, it may unless it asks for others itself.
func (p *Pod) mayRunOn(some, all []string) bool {
	own := p.architectures(all)
	return own == nil || slices.ContainsFunc(some, func(a string) bool { return slices.Contains(own, a) })
}

// maxContainers bounds what one Pod may cost. Kubernetes has no such limit, but etcd takes no object above 1.5 MiB.
const maxContainers = 1000

// containerNameTwice says whether two containers have one name. Webhooks see Pods before the apiserver validates them,
// and what is written for a container of a name would hold for any number of them.
func (p *Pod) containerNameTwice() bool {
	seen := map[string]bool{}
	for c := range p.containers() {
		if seen[c.Name] {
			return true
		}
		seen[c.Name] = true
	}
	return false
}

// wasm says whether a runtime class runs WebAssembly, by the names that such classes have (runwasi's shims).
func wasm(runtimeClass string) bool {
	return slices.ContainsFunc(strings.FieldsFunc(runtimeClass, func(r rune) bool { return r == '-' || r == '.' }), func(word string) bool {
		switch word {
		case "spin", "slight", "wws", "lunatic":
			return true
		}
		return strings.HasPrefix(word, "wasm")
	})
}

// unseen says whether the Pod, left alone for a reason, gets not even a status: it has not opted in, and the apiserver
// does not send it. Of a Windows Pod it knows by os alone.
func (p *Pod) unseen(r v1alpha1.Reason) bool {
	return NotOptedIn(r) || r == v1alpha1.ReasonWindows && p.Spec.OS.Name == "windows"
}

// NotOptedIn says whether what is left alone for a reason is none of podinit's: its Pod or namespace has not opted in, or
// cannot.
func NotOptedIn(r v1alpha1.Reason) bool {
	switch r {
	case v1alpha1.ReasonExcludedNamespace, v1alpha1.ReasonMirrorPod, v1alpha1.ReasonOptedOut, v1alpha1.ReasonNamespaceDisabled,
		v1alpha1.ReasonNotOptedIn:
		return true
	}
	return false
}

// maxArchitectures bounds what a Pod says about the node label for architectures, of which Kubernetes runs on six.
const maxArchitectures = 64

// architectures are those on which the Pod can run: what it asks for itself, or else all that there are; nil if that is
// not known. Webhooks see a Pod before it is validated: a value that no label has selects no node, and more than
// maxArchitectures of them are taken for any.
func (p *Pod) architectures(all []string) []string {
	const label = "kubernetes.io/arch"
	var own []string
	if selected := p.Spec.NodeSelector[label]; selected != "" {
		own = []string{selected}
	} else {
		for _, term := range p.Spec.Affinity.NodeAffinity.Required.Terms {
			i := slices.IndexFunc(term.MatchExpressions, func(r nodeSelectorRequirement) bool { return r.Key == label && r.Operator == "In" })
			if i < 0 {
				return all // terms are alternatives, and this one leaves it open
			}
			if own = append(own, term.MatchExpressions[i].Values...); len(own) > maxArchitectures {
				return all
			}
		}
	}
	own = slices.DeleteFunc(own, func(value string) bool { return value == "" || len(validation.IsValidLabelValue(value)) > 0 })
	if len(own) == 0 {
		return all
	}
	slices.Sort(own)
	return slices.Compact(own)
}

// nameConflict says whether the Pod uses one of our names for something that is not ours.
func (p *Pod) nameConflict(config Config) bool {
	spec := p.Spec
	copiers, volumes := 0, 0
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		if c.Name == CopierName {
			if copiers++; !config.isCopier(c) || copiers > 1 {
				return true
			}
		}
	}
	for _, v := range spec.Volumes {
		if v.Name == VolumeName {
			if volumes++; !p.isOurs(v, config) || volumes > 1 {
				return true
			}
		}
	}
	return slices.ContainsFunc(spec.Containers, func(c container) bool { return c.Name == CopierName })
}

// isOurs says whether a volume of our name is ours: it mounts our image, or is of a kind that we make and something in
// the Pod uses it as only we do, a copier or a container that starts the init.
func (p *Pod) isOurs(v volume, config Config) bool {
	if v.Image != nil && sameRepository(v.Image.Reference, config.Image) {
		return true
	}
	if v.EmptyDir == nil && v.Image == nil {
		return false
	}
	return p.anyContainer(func(c *container) bool { return config.isCopier(c) || wrapped(c) })
}

// sameRepository says whether two references are of one repository, whatever their tags and digests.
func sameRepository(a, b string) bool {
	if a == b {
		return true
	}
	x, errX := imageconfig.ParseReference(a)
	y, errY := imageconfig.ParseReference(b)
	return errX == nil && errY == nil && x.Registry == y.Registry && x.Repository == y.Repository
}

// leaveOut says why a container is not even looked at, or "". A Pod that names its containers chooses freely among
// them; otherwise the profile says what is wrapped.
func (in *input) leaveOut(c *container) v1alpha1.Reason {
	policy := in.setting.Profile.Spec.Containers
	switch {
	case in.choice.skipped[c.Name]:
		return v1alpha1.ReasonNotChosen
	case in.choice.only[c.Name]:
		return ""
	case in.choice.only != nil:
		return v1alpha1.ReasonNotChosen
	case in.setting.Profile.Excludes(c.Name):
		return v1alpha1.ReasonExcludedByProfile
	case in.pod.Spec.ShareProcessNamespace && !in.setting.Profile.Spec.SharedProcessNamespaces && !wrapped(c):
		// A container that comes wrapped stays so: kubectl debug --copy-to shares the processes of what it copies.
		return v1alpha1.ReasonSharedProcesses
	case in.setting.Profile.ByNode():
		return "" // a runtime does not know the lists of a Pod
	case c.kind == regular && in.pod.tektonSidecar(c):
		return v1alpha1.ReasonTektonSidecar
	case c.kind == sidecar && !policy.Sidecars:
		return v1alpha1.ReasonSidecar
	case c.kind == initContainer && !policy.InitContainers:
		return v1alpha1.ReasonInitContainer
	}
	return ""
}
