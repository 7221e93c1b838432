package check

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/podinit/podinit/internal/cli/output"
)

var titles = map[string]string{
	kubernetesCategory: "Kubernetes", installationCategory: "Installation", webhookCategory: "Webhook", certificateCategory: "Certificate",
	imageCategory: "Init image", nodeModeCategory: "Node mode", namespacesCategory: "Namespaces", admissionCategory: "Admission",
}

func symbol(s Status, style output.Style) string {
	switch s {
	case Passed:
		return style.Green("✓")
	case Warning:
		return style.Yellow("‼")
	case Failed:
		return style.Red("×")
	}
	return style.Faint("–")
}

// print writes the results as a person reads them: what passed in a line, what did not with what is so and what to do.
func (report Report) print(w io.Writer, style output.Style) error {
	var b strings.Builder
	category := ""
	for _, r := range report.Results {
		if r.Category != category {
			if category != "" {
				b.WriteByte('\n')
			}
			category = r.Category
			b.WriteString(style.Bold(titles[category]) + "\n" + strings.Repeat("-", len(titles[category])) + "\n")
		}
		line := r.Text
		if r.Status != Passed {
			line = r.Name + ": " + line
		}
		fmt.Fprintf(&b, "%s %s\n", symbol(r.Status, style), line)
		for _, p := range r.Problems {
			found := p.Found
			if p.Status == NotChecked {
				found = "not checked: " + found
			}
			fmt.Fprintf(&b, "    %s\n", found)
			if p.Hint != "" {
				fmt.Fprintf(&b, "    %s %s\n", style.Faint("→"), p.Hint)
			}
		}
	}
	if category != "" {
		b.WriteByte('\n')
	}
	b.WriteString(report.summary(style) + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// short writes one line for each check that does not pass.
func (report Report) short(w io.Writer, style output.Style) error {
	var b strings.Builder
	for _, r := range report.problemsOnly().Results {
		worst := slices.IndexFunc(r.Problems, func(p Problem) bool { return p.Status == r.Status })
		text := r.Problems[worst].Found
		if r.Status == NotChecked {
			text = "not checked: " + text
		}
		if more := len(r.Problems) - 1; more > 0 {
			text += fmt.Sprintf(" (and %d more)", more)
		}
		fmt.Fprintf(&b, "%s %s: %s\n", symbol(r.Status, style), r.Name, strings.Join(strings.Fields(text), " "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (report Report) summary(style output.Style) string {
	said := fmt.Sprintf("%d passed, %s, %d failed, %d not checked", report.Passed, output.Count(report.Warnings, "warning"), report.Failed,
		report.NotChecked)
	switch {
	case report.Failed > 0:
		return style.Red("×") + " " + said
	case report.Warnings > 0:
		return style.Yellow("‼") + " " + said
	case report.NotChecked > 0:
		return symbol(NotChecked, style) + " " + said
	}
	return style.Green("✓") + " " + said
}
