package explain

import (
	"fmt"
	"io"
	"strings"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/nodes"
	"github.com/podinit/podinit/internal/cli/output"
	"github.com/podinit/podinit/internal/node/report"
	"github.com/podinit/podinit/internal/reason"
)

// table prints a table for each pod, and what is behind it.
func table(w io.Writer, all []Explanation) error {
	style := output.StyleFor(w)
	for i, x := range all {
		var b strings.Builder
		if i > 0 {
			b.WriteByte('\n')
		}
		title := x.Object
		if x.Template != "" {
			title += ", " + x.Template
		}
		fmt.Fprintf(&b, "%s in namespace %s, grace period %d s\n", style.Bold(title), x.Namespace, x.GracePeriodSeconds)
		if s := x.Admitted; s != nil {
			fmt.Fprintf(&b, "Its status annotation says that podinit %s has admitted it", s.Version)
			if s.Reason != "" {
				fmt.Fprintf(&b, " and left it alone (%s)", s.Reason)
			}
			b.WriteString(".\n")
		}
		if o := x.Owner; o != nil && o.Note != "" {
			fmt.Fprintf(&b, "Its owner is %s. %s\n", o, o.Note)
		}
		if l := x.LeftAlone; l != nil {
			fmt.Fprintf(&b, "The pod is left alone because %s. %s\n", l.Because, l.Remedy)
		}
		if x.Delivery == v1alpha1.DeliveryNode {
			b.WriteString("The container runtime of its node puts the init in (delivery: Node in the InitProfile); the pod itself is not changed.\n")
		}
		if n := x.Node; n != nil && !n.Registered {
			fmt.Fprintf(&b, "On its node, %s, new containers start without the init: %s.\n", n.Name, n.Problem)
		}
		b.WriteByte('\n')
		var rows [][]string
		for _, c := range x.Containers {
			would := "left alone"
			switch {
			case c.HasInit:
				would = "has it already"
			case c.WithInit != nil && c.WithInit.SignalReachesProgram == c.WithoutInit.SignalReachesProgram &&
				c.WithInit.OrphansReaped == c.WithoutInit.OrphansReaped:
				would = "no difference seen"
			case c.WithInit != nil:
				would = changes(c)
			}
			rows = append(rows, []string{c.Name, c.WithoutInit.PID1, coloured(style, c.WithoutInit.SignalReachesProgram),
				coloured(style, c.WithoutInit.OrphansReaped), would})
		}
		if err := output.Rows(&b, []string{"CONTAINER", "PID 1 WITHOUT PODINIT", "STOP SIGNAL REACHES PROGRAM", "ORPHANS REAPED", "WITH PODINIT"},
			rows); err != nil {
			return err
		}
		for _, c := range x.Containers {
			details(&b, style, c)
		}
		if _, err := io.WriteString(w, b.String()); err != nil {
			return err
		}
	}
	return nil
}

// changes is what the init would change, in a few words.
func changes(c Container) string {
	var all []string
	if c.WithoutInit.SignalReachesProgram != Yes && c.WithInit.SignalReachesProgram == Yes { // SIGKILL reaches no process's handler
		all = append(all, c.StopSignal+" reaches it")
	}
	if c.WithoutInit.OrphansReaped != Yes {
		all = append(all, "orphans are reaped")
	}
	return strings.Join(all, ", ")
}

func details(b *strings.Builder, style output.Style, c Container) {
	fmt.Fprintf(b, "\n%s (%s)\n", style.Bold(c.Name), c.Kind)
	line := func(what, text string) { fmt.Fprintf(b, "  %-14s %s\n", what+":", text) }
	if len(c.Runs) > 0 {
		line("runs", fmt.Sprintf("%s  (from its %s)", shown(c.Runs), sources[string(c.Source)]))
	} else {
		line("runs", "not known: it has no command, so it runs what its image says")
	}
	line(c.StopSignal, c.WithoutInit.SignalWhy)
	line("orphans", c.WithoutInit.OrphansWhy)
	if a := c.Admitted; a != nil && a.Action == v1alpha1.ActionSkipped {
		line("admitted", "left alone because "+reason.Of(a.Reason).Because)
	}
	if n := c.OnNode; n != nil {
		switch n.State {
		case report.Wrapped:
			line("node", "its node has put the init in, version "+nodes.InitVersion(*n))
		case report.Missed:
			line("node", "it runs without the init: it was created while podinit-node could not wrap it, or before it opted in. Create the pod "+
				"again.")
		case report.LeftAlone:
			e := reason.Of(n.Reason)
			line("node", strings.TrimSpace("left alone because "+e.Because+". "+e.Remedy))
		}
	}
	switch {
	case c.LeftAlone != nil && c.OnNode != nil && c.OnNode.State == report.Wrapped: // said already
	case c.LeftAlone != nil:
		text := "left alone because " + c.LeftAlone.Because
		if c.LeftAlone.Detail != "" {
			text += " (" + c.LeftAlone.Detail + ")"
		}
		line("podinit", strings.TrimSpace(text+". "+c.LeftAlone.Remedy))
	case c.HasInit:
		line("podinit", "it has the init already. "+c.WithInit.SignalWhy+"; "+c.WithInit.OrphansWhy)
	case c.byNode:
		line("podinit", "would be put in by the node. "+c.WithInit.SignalWhy+"; "+c.WithInit.OrphansWhy)
	default:
		line("podinit", "would be put in. "+c.WithInit.SignalWhy+"; "+c.WithInit.OrphansWhy)
	}
	for _, note := range c.Notes {
		line("note", note)
	}
}

// sources are where a command comes from, in words.
var sources = map[string]string{"command": "command", "annotation": "annotation", "profile": "profile", "registry": "image", "": "command"}

// shown are words as a person reads them, cut where they are long.
func shown(words []string) string {
	const most = 100
	var b strings.Builder
	for i, word := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		if word == "" || strings.ContainsAny(word, " \t\n\"'\\") {
			word = fmt.Sprintf("%q", word)
		}
		b.WriteString(word)
		if b.Len() > most {
			return strings.ToValidUTF8(b.String()[:most], "") + "..."
		}
	}
	return b.String()
}
