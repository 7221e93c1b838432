package inject

import (
	"slices"
	"strings"

	"github.com/podinit/podinit/internal/imageconfig"
)

// windows says whether the Pod can only run on Windows. Its os says so for certain; others say it to the scheduler, or by
// a runtime class or an option that only Windows has.
func (p *Pod) windows() bool {
	spec := p.Spec
	for key, value := range spec.NodeSelector {
		if windowsLabel(key, value) {
			return true
		}
	}
	other := func(t nodeSelectorTerm) bool { return !slices.ContainsFunc(t.MatchExpressions, onlyWindows) }
	ofWindows := func(c *container) bool {
		return c.SecurityContext.WindowsOptions != nil || strings.HasPrefix(c.Image, windowsBaseImages)
	}
	terms := spec.Affinity.NodeAffinity.Required.Terms
	return spec.OS.Name == "windows" || windowsRuntimeClass(spec.RuntimeClassName) ||
		spec.SecurityContext.WindowsOptions != nil || p.anyContainer(ofWindows) ||
		// Terms are alternatives, the expressions of one are not.
		len(terms) > 0 && !slices.ContainsFunc(terms, other)
}

// windowsBaseImages is where Microsoft publishes Windows itself as images, and nothing else.
const windowsBaseImages = "mcr.microsoft.com/windows/"

// windowsLabel says whether only Windows nodes have this label: those of Kubernetes (kubelets still set the beta one), of
// AKS, GKE and Rancher.
func windowsLabel(key, value string) bool {
	switch key {
	case "kubernetes.io/os", "beta.kubernetes.io/os", "cattle.io/os":
		return value == "windows"
	case windowsBuild:
		return true
	case "kubernetes.azure.com/os-sku":
		return strings.HasPrefix(value, "Windows")
	case "cloud.google.com/gke-os-distribution":
		return strings.HasPrefix(value, "windows")
	}
	return false
}

// windowsBuild is the label of Windows nodes that holds their version; no other node has it.
const windowsBuild = "node.kubernetes.io/windows-build"

// onlyWindows says whether only Windows nodes meet a requirement.
func onlyWindows(r nodeSelectorRequirement) bool {
	switch r.Operator {
	case "In":
		return len(r.Values) > 0 && !slices.ContainsFunc(r.Values, func(value string) bool { return !windowsLabel(r.Key, value) })
	case "Exists", "Gt", "Lt":
		return r.Key == windowsBuild
	case "NotIn":
		return (r.Key == "kubernetes.io/os" || r.Key == "beta.kubernetes.io/os") && slices.Contains(r.Values, "linux")
	}
	return false
}

// windowsRuntimeClass says whether a runtime class is one of Windows, by the names that such classes have: windows-2022 as
// in Kubernetes' documentation, or that of containerd's handler, runhcs-wcow-process.
func windowsRuntimeClass(name string) bool {
	words := strings.Split(name, "-")
	return strings.HasPrefix(name, "windows") || slices.Contains(words, "runhcs") || slices.Contains(words, "wcow")
}

// windowsImage says whether one of a Pod's images is known to be made for Windows alone. Then all its containers run on
// Windows, and the copier could not.
func windowsImage(images map[string]LookedUp) bool {
	other := func(c imageconfig.Config) bool { return c.Platform.OS != "windows" }
	for _, found := range images {
		configs := found.Image.Configs
		if found.Failure == nil && len(configs) > 0 && !slices.ContainsFunc(configs, other) {
			return true
		}
	}
	return false
}
