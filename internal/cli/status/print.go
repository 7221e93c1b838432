package status

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/output"
)

// print writes a report as a person reads it; wide names pods.
func (r Report) print(w io.Writer, style output.Style, wide bool) error {
	var b strings.Builder
	for _, by := range r.Suspended {
		b.WriteString(style.Yellow("podinit is suspended") + " by " + by + ": new pods are admitted as they come.\n\n")
	}
	if len(r.Namespaces) == 0 {
		b.WriteString("Nothing here has opted in. To begin: kubectl label namespace NAME " + v1alpha1.Inject + "=" + v1alpha1.InjectEnabled + "\n")
	} else if err := r.table(&b, style); err != nil {
		return err
	}
	pods := func(p Pods) {
		if wide && len(p.Names) > 0 {
			more := ""
			if p.Count > len(p.Names) {
				more = fmt.Sprintf(" and %d more", p.Count-len(p.Names))
			}
			b.WriteString("    " + style.Faint(strings.Join(p.Names, ", ")+more) + "\n")
		}
	}
	title := func(text string) { b.WriteString("\n" + style.Bold(text) + "\n") }
	arrow := style.Faint("→") + " "

	if len(r.InitImage) > 0 {
		title("New pods are left alone")
		for _, i := range r.InitImage {
			fmt.Fprintf(&b, "  linux/%s: nodes cannot pull the init image, as pod %s shows: %s\n", i.Architecture, i.Pod, i.Message)
		}
		b.WriteString("    " + arrow + "Once they can, pods are wrapped again by themselves. See podinit check.\n")
	}
	if len(r.Waiting) > 0 {
		title("Waiting for the init image")
		for _, w := range r.Waiting {
			fmt.Fprintf(&b, "  %s in namespace %s, for %s: %s\n", count(w.Count, "pod"), w.Namespace, w.Image, w.Message)
			more := ""
			if w.Count > len(w.Names) {
				more = fmt.Sprintf(" (and %d more, then)", w.Count-len(w.Names))
			}
			b.WriteString("    " + arrow + w.Delete + more + "\n")
		}
		b.WriteString("    " + arrow + "Or wait, if the image comes back under that name. What keeps nodes from pulling it: podinit check.\n")
	}
	if len(r.Reasons) > 0 {
		title("Left alone or ignored, and why")
		for _, reason := range r.Reasons {
			fmt.Fprintf(&b, "  %s (%s): %s\n", emphasis(style, reason), howMany(reason), reason.Because)
			if reason.Remedy != "" && !reason.Routine {
				b.WriteString("    " + arrow + reason.Remedy + "\n")
			}
			pods(reason.Pods)
		}
	}
	if r.WithoutStatus.Count > 0 {
		title("Without a status")
		fmt.Fprintf(&b, "  %s: made before they were opted in, or while the webhook was away\n", count(r.WithoutStatus.Count, "pod"))
		b.WriteString("    " + arrow + "Make them anew, such as with kubectl rollout restart; if new ones have none either: podinit check.\n")
		pods(r.WithoutStatus)
	}
	r.versions(title, &b, arrow, pods)
	if len(r.Drifted) > 0 {
		title("Drifted")
		for _, d := range r.Drifted {
			fmt.Fprintf(&b, "  %s, container %s: it was given the command of %s@%s, and runs %s\n", d.Pod, d.Container, d.Image, d.LookedUp, d.Running)
		}
		b.WriteString("    " + arrow + "Make them anew; pinDigest: OnLookup in the InitProfile keeps the two together.\n")
	}
	if r.Unsure > 0 {
		title("Not known")
		fmt.Fprintf(&b, "  %s: another digest was looked up than runs, which may be two names of one image; the registry could not be asked\n", count(r.Unsure, "container"))
	}
	for i, text := range r.NotRead {
		if i == 0 {
			title("Not read")
		}
		b.WriteString("  " + text + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Report) table(w io.Writer, style output.Style) error {
	row := func(name, optedIn string, c Counts) []string {
		cells := []string{name, optedIn}
		for i, n := range []int{c.Pods, c.Wrapped, c.Partly, c.LeftAlone, c.WithoutStatus, c.Waiting, c.Outdated, c.Drifted} {
			cell := strconv.Itoa(n)
			switch {
			case n > 0 && i == 1:
				cell = style.Green(cell)
			case n > 0 && i > 1 && i != 3:
				cell = style.Yellow(cell)
			}
			cells = append(cells, cell)
		}
		return cells
	}
	var rows [][]string
	for _, n := range r.Namespaces {
		said := n.OptedIn
		if said == "" {
			said = "-"
		}
		rows = append(rows, row(n.Name, said, n.Counts))
	}
	if len(r.Namespaces) > 1 {
		rows = append(rows, row("TOTAL", "", r.Totals))
		rows[len(rows)-1][1] = "-"
	}
	return output.Rows(w, []string{"NAMESPACE", "INJECT", "PODS", "WRAPPED", "PARTLY", "LEFT ALONE", "NO STATUS", "WAITING", "OUTDATED", "DRIFTED"}, rows)
}

// versions are worth a word if there are several, or one that is not the webhook's.
func (r Report) versions(title func(string), b *strings.Builder, arrow string, pods func(Pods)) {
	outdated := false
	for _, v := range r.Versions {
		outdated = outdated || v.Outdated
	}
	if !outdated && len(r.Versions) < 2 {
		return
	}
	title("Versions of the init")
	for _, v := range r.Versions {
		said := ""
		if v.Outdated {
			said = ", outdated: the webhook has " + r.Version
		}
		fmt.Fprintf(b, "  %s: %s%s\n", v.Version, count(v.Count, "pod"), said)
		pods(v.Pods)
	}
	if outdated {
		b.WriteString("    " + arrow + "They get the new one when they are made anew, such as with kubectl rollout restart.\n")
	}
}

func emphasis(style output.Style, r Reason) string {
	if r.Routine {
		return string(r.Reason)
	}
	return style.Yellow(string(r.Reason))
}

func howMany(r Reason) string {
	if r.Containers > 0 {
		return count(r.Containers, "container") + " in " + count(r.Count, "pod")
	}
	return count(r.Count, "pod")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
