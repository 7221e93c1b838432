package webhook

import (
	"fmt"
	"strings"

	"github.com/go-logr/logr"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/admission"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/rawjson"
	"github.com/podinit/podinit/internal/reason"
)

// maxNamed bounds how many containers a line of the log names. The apiserver has not validated their names yet, so each is
// shortened.
const maxNamed = 16

// notNamed is how many of so many containers a line of the log does not name.
func notNamed(containers int) int { return max(0, containers-maxNamed) }

// containerLine is the decision about a container in the log.
type containerLine struct {
	Name   string            `json:"name"`
	Action v1alpha1.Action   `json:"action"`
	Reason v1alpha1.Reason   `json:"reason,omitempty"`
	Source v1alpha1.Source   `json:"source,omitempty"`
	Drift  []v1alpha1.Reason `json:"drift,omitempty"`
}

func containerLines(decisions []inject.Decision) (lines []containerLine) {
	for _, d := range decisions[:min(len(decisions), maxNamed)] {
		lines = append(lines, containerLine{Name: shorten(d.Name, maxName), Action: d.Action(), Reason: d.Reason, Source: d.Source, Drift: d.Drift})
	}
	return lines
}

func reasonsOf(ignored []reason.Ignored) (reasons []v1alpha1.Reason) {
	for _, i := range ignored {
		reasons = append(reasons, i.Reason)
	}
	return reasons
}

// lookupLine is a lookup in the log.
type lookupLine struct {
	Container string   `json:"container"`
	Outcome   string   `json:"outcome"`
	Seconds   float64  `json:"seconds"`
	Failure   string   `json:"failure,omitempty"`
	Ignored   []string `json:"ignored,omitempty"`
}

// maxIgnored bounds how many credentials that could not be used are named in a line of the log, whatever number of
// containers they were looked at for. Others are counted.
const maxIgnored = 32

func lookupLines(lookups []admission.Lookup) []lookupLine {
	lookups = lookups[:min(len(lookups), maxNamed)]
	left := maxIgnored
	lines := make([]lookupLine, len(lookups))
	for i, l := range lookups {
		lines[i] = lookupLine{Container: shorten(l.Container, maxName), Outcome: l.Outcome, Seconds: l.Took.Seconds()}
		if l.Failure != nil {
			lines[i].Failure = shorten(l.Failure.Error(), maxText)
		}
		named := min(left, len(l.Ignored))
		left -= named
		for _, err := range l.Ignored[:named] {
			lines[i].Ignored = append(lines[i].Ignored, shorten(err.Error(), maxText))
		}
		if more := len(l.Ignored) - named; more > 0 {
			lines[i].Ignored = append(lines[i].Ignored, fmt.Sprintf("and %d more", more))
		}
	}
	return lines
}

// logDrift names the containers that may run another image than the one that their commands were looked up from.
func (h *Handler) logDrift(in *reviewRequest, containers []inject.Decision) {
	var drifting []inject.Decision
	for _, c := range containers {
		if len(c.Drift) > 0 {
			drifting = append(drifting, c)
		}
	}
	if len(drifting) == 0 {
		return
	}
	if dropped, ok := h.drift.next(); ok {
		h.logOf(in).Info("containers may run another image than their commands were looked up from", "containers", containerLines(drifting),
			"notNamed", notNamed(len(drifting)), "notLogged", dropped)
	}
}

// logOf names the request in every line. A Pod that a controller makes has no name yet, so that is told apart by what
// its name will begin with and by its owner.
func (h *Handler) logOf(in *reviewRequest) logr.Logger {
	log := h.Log.WithValues("uid", shorten(in.UID, maxName), "namespace", shorten(in.Namespace, maxName))
	if in.Name != "" {
		return log.WithValues("name", shorten(in.Name, maxName))
	}
	object, err := unnamedDecoder.Decode(in.Object)
	if err != nil {
		return log
	}
	log = log.WithValues("generateName", shorten(object.Metadata.GenerateName, maxName))
	for _, owner := range object.Metadata.OwnerReferences {
		if owner.Controller {
			return log.WithValues("owner", shorten(owner.Kind, maxName)+"/"+shorten(owner.Name, maxName))
		}
	}
	return log
}

// unnamed is what tells a Pod without a name apart.
type unnamed struct {
	Metadata struct {
		GenerateName    string `json:"generateName"`
		OwnerReferences []struct {
			Kind       string `json:"kind"`
			Name       string `json:"name"`
			Controller bool   `json:"controller"`
		} `json:"ownerReferences"`
	} `json:"metadata"`
}

var unnamedDecoder = rawjson.For[unnamed]()

// shorten cuts a text of a client's to so many bytes, between characters.
func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
