package check

import (
	"fmt"
	"io"
	"strings"

	"github.com/podinit/podinit/internal/cli/output"
)

var titles = map[string]string{
	kubernetesCategory: "Kubernetes", installationCategory: "Installation", webhookCategory: "Webhook", certificateCategory: "Certificate",
	imageCategory: "Init image", namespacesCategory: "Namespaces", admissionCategory: "Admission",
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
	b.WriteByte('\n')
	b.WriteString(report.summary(style) + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (report Report) summary(style output.Style) string {
	said := fmt.Sprintf("%d passed, %d warnings, %d failed, %d not checked", report.Passed, report.Warnings, report.Failed, report.NotChecked)
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
