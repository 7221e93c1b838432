package inject

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/reason"
)

// Setting is what holds for a Pod without being in it.
type Setting struct {
	// Namespace is the request's: the Pod's own field may still be empty.
	Namespace string
	// NamespaceInject is the namespace's label podinit.dev/inject, if it is known.
	NamespaceInject string
	// NamespaceMissing is set where the cluster seems to have no such namespace: no Pod can be created in it, so whoever
	// sends one is hardly an apiserver.
	NamespaceMissing bool
	// Selected is set where the apiserver has sent the Pod. It sends only those that have opted in, and knows that
	// better than we do: our NamespaceInject may be older than its own.
	Selected bool
	// Suspended leaves every Pod alone that would have been looked at, whatever its profile says of problems.
	Suspended bool
	// Profile that applies; nil means that every field of it has its default.
	Profile *Profile
	// ImageVolumes is what profiles with delivery Auto go by.
	ImageVolumes ImageVolumes
	// Ignored are the wishes that were ignored when Profile was chosen.
	Ignored []Ignored
	// Architectures of the cluster's Linux nodes, sorted; nil if they are not known.
	Architectures []string
	// Unavailable are the architectures whose nodes cannot pull the init image; nil if all can, or it is not known.
	Unavailable []string
	// Images are the answers to a plan's Lookups, by the name of the container. What is not answered is not known.
	Images map[string]LookedUp
}

// ImageVolumes says whether a cluster can mount images as volumes. The zero value means that this is not known.
type ImageVolumes struct {
	// Verdict is ReasonEveryNodeCan, or why not every node can.
	Verdict v1alpha1.Reason
	// VerdictInUserNamespaces is the same for Pods with hostUsers: false.
	VerdictInUserNamespaces v1alpha1.Reason
}

// For is the verdict for one Pod.
func (v ImageVolumes) For(pod *Pod) v1alpha1.Reason {
	verdict := v.Verdict
	if own := pod.Spec.HostUsers; own != nil && !*own {
		verdict = v.VerdictInUserNamespaces
	}
	if verdict == "" {
		verdict = v1alpha1.ReasonClusterUnknown
	}
	return verdict
}

// Ignored is a wish of a Pod or a Namespace that is not followed.
type Ignored struct {
	// Wish as it was written: key and value.
	Wish string
	// Reason why it is ignored.
	Reason v1alpha1.Reason
	// Detail of that reason; may be empty.
	Detail string
	// Correctable is set where the Pod's author wrote the wish, and can correct it.
	Correctable bool
}

// Warning is a sentence for whoever creates the Pod.
func (i Ignored) Warning() string { return warning(shortened(i.Wish)+" ignored", i.Reason, i.Detail) }

// warning is what happened, why, and what to do about it. It may repeat anything that somebody wrote, and the apiserver
// drops a warning with a control character in it.
func warning(what string, r v1alpha1.Reason, detail string) string {
	e := reason.Of(r)
	if detail != "" {
		detail = " (" + shortened(detail) + ")"
	}
	return printable(strings.TrimSpace(fmt.Sprintf("podinit: %s because %s%s. %s", what, e.Because, detail, e.Remedy)))
}

// printable is a text with a space for every control character, and U+FFFD for what is not UTF-8.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

// shortened is a text that may repeat what a user wrote, of any length, for a line that someone reads.
func shortened(text string) string {
	const limit = 200
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "..."
}
