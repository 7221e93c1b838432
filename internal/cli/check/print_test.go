package check

import (
	"strings"
	"testing"

	"github.com/podinit/podinit/internal/cli/output"
)

func some() Report {
	warned := Result{Category: webhookCategory, Name: "replicas", Status: Passed, Text: "they are all of the same version"}
	warned.warn("Do this.", "two\nversions")
	failed := Result{Category: webhookCategory, Name: "service", Status: Passed, Text: "the Service has the port"}
	failed.skip("", "not seen")
	failed.fail("Do that.", "it has 444")
	unread := Result{Category: imageCategory, Name: "init-image", Status: Passed, Text: "there is one"}
	unread.skip("", "it may not be read")
	return newReport([]Result{{Category: kubernetesCategory, Name: "crd", Status: Passed, Text: "it is there"}, warned, failed, unread})
}

// One line for each check that does not pass, and nothing for those that do.
func TestShort(t *testing.T) {
	var b strings.Builder
	if err := some().short(&b, output.Style(false)); err != nil {
		t.Fatal(err)
	}
	if want := "‼ replicas: two versions\n× service: it has 444 (and 1 more)\n– init-image: not checked: it may not be read\n"; b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	b.Reset()
	green := newReport([]Result{{Category: kubernetesCategory, Name: "crd", Status: Passed}})
	if err := green.short(&b, output.Style(false)); err != nil || b.String() != "" {
		t.Errorf("%v, %q", err, b.String())
	}
}

func TestProblemsOnly(t *testing.T) {
	var b strings.Builder
	report := some().problemsOnly()
	if err := report.print(&b, output.Style(false)); err != nil {
		t.Fatal(err)
	}
	if text := b.String(); strings.Contains(text, "it is there") || !strings.HasPrefix(text, "Webhook\n") || !strings.Contains(text, "    → Do that.\n") ||
		!strings.HasSuffix(text, "\n\n× 1 passed, 1 warning, 1 failed, 1 not checked\n") {
		t.Errorf("got\n%s", text)
	}
	b.Reset()
	if err := (Report{Passed: 2}).print(&b, output.Style(false)); err != nil || b.String() != "✓ 2 passed, 0 warnings, 0 failed, 0 not checked\n" {
		t.Errorf("%v, %q", err, b.String())
	}
}
