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
		b.WriteString(style.Yellow("podinit is suspended") + " by " + by + ": new pods are admitted unchanged.\n\n")
	}
	if len(r.Namespaces) == 0 {
		b.WriteString("No namespace or pod here has opted in. To begin: kubectl label namespace NAME " + v1alpha1.Inject + "=" +
			v1alpha1.InjectEnabled + "\n")
	} else if err := r.table(&b, style); err != nil {
		return err
	}
	if s := r.Signals; s.Containers > 0 {
		fmt.Fprintf(&b, "\nStop signals of %s: %d delivered by podinit, %d never received, %d unknown.\n",
			output.Count(s.Containers, "container"), s.WithPodinit, s.NeverReceive, s.Unknown)
		if s.NeverReceive+s.Unknown > 0 {
			b.WriteString("    " + style.Faint("→") + " Which, and why: podinit explain --summary, with the same -n or -A.\n")
		}
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

	r.onNodes(&b, style, title, arrow, wide)
	if len(r.InitImage) > 0 {
		title("New pods are left alone")
		for _, i := range r.InitImage {
			fmt.Fprintf(&b, "  linux/%s: nodes cannot pull the init image, as pod %s shows: %s\n", i.Architecture, i.Pod, i.Message)
		}
		b.WriteString("    " + arrow + "Once they can, podinit wraps new pods again. See podinit check.\n")
	}
	if len(r.Waiting) > 0 {
		title("Waiting for the init image")
		for _, w := range r.Waiting {
			fmt.Fprintf(&b, "  %s in namespace %s, for %s: %s\n", output.Count(w.Count, "pod"), w.Namespace, w.Image, w.Message)
			more := ""
			if w.Count > len(w.Names) {
				more = fmt.Sprintf(" (and %d more, then)", w.Count-len(w.Names))
			}
			b.WriteString("    " + arrow + w.Delete + more + "\n")
		}
		b.WriteString("    " + arrow + "Or wait, if the image becomes available again. podinit check shows why nodes cannot pull it.\n")
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
		fmt.Fprintf(&b, "  %s: created before they opted in, or while podinit was not available\n", output.Count(r.WithoutStatus.Count, "pod"))
		b.WriteString("    " + arrow +
			"Create them again, for example with kubectl rollout restart; if the new pods have no status either: podinit check.\n")
		pods(r.WithoutStatus)
	}
	r.versions(title, &b, arrow, pods)
	if len(r.MayDrift) > 0 {
		title("May run another image, as found at admission")
		for _, reason := range r.MayDrift {
			fmt.Fprintf(&b, "  %s (%s): %s\n", emphasis(style, reason), howMany(reason), reason.Because)
			if reason.Remedy != "" {
				b.WriteString("    " + arrow + reason.Remedy + "\n")
			}
			pods(reason.Pods)
		}
	}
	if len(r.Drifted) > 0 {
		title("Drifted")
		for _, d := range r.Drifted {
			fmt.Fprintf(&b, "  %s, container %s: it has the command of %s@%s, and runs %s\n", d.Pod, d.Container, d.Image, d.LookedUp, d.Running)
		}
		b.WriteString("    " + arrow + "Create them again; pinDigest: OnLookup in the InitProfile prevents this.\n")
	}
	if r.Unsure > 0 {
		title("Not known")
		fmt.Fprintf(&b, "  %s: the running digest is not the one that was looked up; both may name the same image, and the registry could not "+
			"be asked\n", output.Count(r.Unsure, "container"))
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

// onNodes is what node mode does.
func (r Report) onNodes(b *strings.Builder, style output.Style, title func(string), arrow string, wide bool) {
	n := r.Nodes
	if n == nil {
		return
	}
	fmt.Fprintf(b, "\nNode mode: podinit-node %s is registered on %d of %s; %s wrapped by nodes here, in %s.\n",
		strings.Join(n.Versions, ", "), n.Registered, output.Count(n.Nodes, "node"), output.Count(n.Containers.Wrapped, "container"),
		output.Count(r.Totals.ByNode, "pod"))
	if len(n.Suspended) > 0 {
		b.WriteString(style.Yellow("podinit-node is suspended") + " on " + strings.Join(firstFew(n.Suspended), ", ") +
			": new containers are created unchanged.\n")
	}
	if len(n.NotRegistered) > 0 {
		title("Nodes that do not wrap")
		for i, p := range n.NotRegistered {
			if i == maxNames {
				fmt.Fprintf(b, "  and %d more\n", len(n.NotRegistered)-i)
				break
			}
			fmt.Fprintf(b, "  %s: %s\n", p.Node, p.Problem)
		}
		b.WriteString("    " + arrow + "Containers start there without the init. See podinit check.\n")
	}
	if n.Containers.Missed > 0 {
		title("Containers that run without the init though they opt in")
		fmt.Fprintf(b, "  %s: created while podinit-node could not wrap them, or before they opted in\n",
			output.Count(n.Containers.Missed, "container"))
		b.WriteString("    " + arrow + "Create their pods again, for example with kubectl rollout restart.\n")
		if wide {
			for _, m := range n.Missed {
				b.WriteString("    " + style.Faint(m.Pod+", container "+m.Container+", on node "+m.Node) + "\n")
			}
		}
	}
}

// firstFew are the first names of many.
func firstFew(names []string) []string {
	if len(names) > maxNames {
		return append(names[:maxNames:maxNames], fmt.Sprintf("%d more", len(names)-maxNames))
	}
	return names
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
	return output.Rows(w,
		[]string{"NAMESPACE", "INJECT", "PODS", "WRAPPED", "PARTLY", "LEFT ALONE", "NO STATUS", "WAITING", "OUTDATED", "DRIFTED"}, rows)
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
		fmt.Fprintf(b, "  %s: %s%s\n", v.Version, output.Count(v.Count, "pod"), said)
		pods(v.Pods)
	}
	if outdated {
		b.WriteString("    " + arrow + "They get the new version when they are created again, for example with kubectl rollout restart.\n")
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
		return output.Count(r.Containers, "container") + " in " + output.Count(r.Count, "pod")
	}
	return output.Count(r.Count, "pod")
}
