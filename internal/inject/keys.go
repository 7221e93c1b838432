package inject

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/internal/reason"
)

// keyKind is one of the two kinds of keys that a Pod has.
type keyKind struct {
	// name of the kind, and of one key
	name, one string
	// keys that podinit reads; those of prefixes have a container's name after them.
	keys, prefixes []string
}

var (
	annotationKeys = keyKind{"annotation", "an annotation", []string{
		v1alpha1.Inject, v1alpha1.ProfileAnnotation, v1alpha1.ContainersAnnotation, v1alpha1.SkipContainersAnnotation, v1alpha1.StatusAnnotation,
	}, []string{v1alpha1.FlagsAnnotation, v1alpha1.EntrypointAnnotation}}
	labelKeys = keyKind{"label", "a label", []string{v1alpha1.Inject, v1alpha1.VersionLabel}, nil}
)

func (p keyKind) has(key string) bool {
	return slices.Contains(p.keys, key) || slices.ContainsFunc(p.prefixes, func(prefix string) bool {
		return strings.HasPrefix(key, prefix)
	})
}

// unknownKeys are the Pod's labels and annotations that begin as podinit's do and are not among them: most likely mistyped.
func unknownKeys(pod *Pod) []reason.Ignored {
	return slices.Concat(annotationKeys.unknown(pod.Metadata.Annotations, labelKeys), labelKeys.unknown(pod.Metadata.Labels, annotationKeys))
}

func (p keyKind) unknown(have map[string]string, other keyKind) (ignored []reason.Ignored) {
	var keys []string
	for key := range have {
		if strings.HasPrefix(key, v1alpha1.Group+"/") && !p.has(key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys[:min(len(keys), maxIgnored)] {
		ignored = append(ignored, reason.Ignored{Setting: p.name + " " + key, Skip: reason.NewSkip(v1alpha1.ReasonUnknownKey, p.suggest(key, other))})
	}
	return ignored
}

// suggest says what may have been meant by a key: what counts elsewhere, a flag of the init, or the key that is spelled
// most alike. It is empty if nothing comes near.
func (p keyKind) suggest(key string, other keyKind) string {
	const maxName = 64 // of a key, as Kubernetes bounds it; a longer one is not compared
	name, container, _ := strings.Cut(strings.TrimPrefix(key, v1alpha1.Group+"/"), ".")
	switch {
	case other.has(key):
		return "it counts only as " + other.one
	case len(name) > maxName:
		return ""
	}
	best, distance := "", 1+len(name)/3
	for _, known := range slices.Concat(p.keys, p.prefixes) {
		bare := strings.TrimSuffix(strings.TrimPrefix(known, v1alpha1.Group+"/"), ".")
		if d := editDistance(name, bare); d <= distance {
			best, distance = known, d-1
		}
	}
	switch {
	case strings.HasSuffix(best, "."):
		if container == "" {
			container = "<container>"
		}
		return fmt.Sprintf("did you mean %s%s?", best, container)
	case best != "":
		return fmt.Sprintf("did you mean %s?", best)
	case options.IsFlag(name):
		if container == "" {
			container = "<container>"
		}
		return fmt.Sprintf("did you mean %s%s: --%s=...?", v1alpha1.FlagsAnnotation, container, name)
	}
	return ""
}

// unknownValues are values of podinit.dev/inject that mean nothing.
func unknownValues(setting Setting, pod *Pod) (ignored []reason.Ignored) {
	for _, at := range []struct {
		where, value string
		correctable  bool
	}{
		{"the namespace's label", setting.NamespaceInject, false},
		{"the pod's label", pod.Metadata.Labels[v1alpha1.Inject], true},
		{"the pod's annotation", pod.Metadata.Annotations[v1alpha1.Inject], true},
	} {
		if at.value != "" && at.value != v1alpha1.InjectEnabled && !v1alpha1.Disables(at.value) {
			ignored = append(ignored, reason.Ignored{
				Setting: fmt.Sprintf("%s %s: %q", at.where, v1alpha1.Inject, at.value),
				Skip:    reason.Skip{Reason: v1alpha1.ReasonUnknownValue, Correctable: at.correctable},
			})
		}
	}
	return ignored
}

// editDistance is how many letters must be inserted, removed or replaced to make b of a (Levenshtein). It is a dozen
// lines; the modules that have it bring more than them.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
