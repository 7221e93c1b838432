package reason

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/podinit/podinit/api/v1alpha1"
)

// Skip is why a container or a Pod is not wrapped, or why a setting of theirs is ignored. The zero Skip skips nothing.
type Skip struct {
	// Reason is empty where nothing is skipped.
	Reason v1alpha1.Reason
	// Detail of Reason; may be empty.
	Detail string
	// Correctable is set where the Pod's author can correct what Reason says.
	Correctable bool
}

// NewSkip is the Skip for a reason, the zero Skip for none. The reason says whether the Pod's author can correct it.
func NewSkip(r v1alpha1.Reason, detail string) Skip {
	if r == "" {
		return Skip{}
	}
	return Skip{Reason: r, Detail: short(detail), Correctable: !Of(r).Transient}
}

// maxDetail bounds a detail, in bytes: it is logged with every container, and may name what a Pod's author has written.
const maxDetail = 500

func short(detail string) string {
	if len(detail) <= maxDetail {
		return detail
	}
	return strings.ToValidUTF8(detail[:maxDetail], "") + "…"
}

// Action is what is done to a container.
func (s Skip) Action() v1alpha1.Action {
	if s.Reason != "" {
		return v1alpha1.ActionSkipped
	}
	return v1alpha1.ActionWrapped
}

// Sentence is what happened, why, and what to do about it. It may repeat any text of a user's, and the apiserver drops a
// warning with a control character in it.
func (s Skip) Sentence(what string) string {
	e, detail := Of(s.Reason), ""
	if s.Detail != "" {
		detail = " (" + shortened(s.Detail) + ")"
	}
	return printable(strings.TrimSpace(fmt.Sprintf("podinit: %s because %s%s. %s", what, e.Because, detail, e.Remedy)))
}

// Ignored is a setting of a Pod or a Namespace that is not followed.
type Ignored struct {
	// Setting as it was written: key and value.
	Setting string
	// Skip is why it is ignored.
	Skip
}

// Warning is a sentence for the client that creates the Pod.
func (i Ignored) Warning() string { return i.Sentence(shortened(i.Setting) + " ignored") }

// QuotedName is a container's name for a line that people read.
func QuotedName(name string) string { return shortened(strconv.Quote(name)) }

// shortened is a text that may repeat what a user wrote, of any length, for a line that people read.
func shortened(text string) string {
	const limit = 200
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "..."
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
