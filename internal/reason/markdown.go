package reason

import (
	"strings"
)

// Markdown is the page that documents all reasons.
func Markdown() string {
	var b strings.Builder
	b.WriteString(`# Reasons

<!-- Written by "make generate" from internal/reason. -->

Whatever podinit leaves alone, ignores or chooses by itself has a reason with a fixed name. The name is in the pod's
status annotation, in the metrics and in the webhook's log; the sentence is in the warning that whoever creates the pod
sees. Reasons marked *routine* are what is wanted or expected, and give no warning. Those marked *transient* the pod's author
cannot correct: a profile with ` + "`onProblem: Reject`" + ` admits such a pod with the warning.

<!-- run: cluster -->
` + "```sh" + `
kubectl run app --image=python:3.13 --labels=podinit.dev/inject=enabled --annotations=podinit.dev/skip-containers=app --command -- sleep 600
kubectl get pod app -o jsonpath='{.metadata.annotations.podinit\.dev/status}'
` + "```" + `

<!-- output -->
` + "```" + `
pod/app created
{"v":1,"version":"v…","containers":{"app":{"action":"skipped","reason":"not-chosen"}}}
` + "```" + `
`)
	for _, section := range []struct {
		kind         Kind
		title, intro string
	}{
		{Pod, "Pods left alone", "The status says `reason`. Pods that are none of podinit's get no status at all."},
		{Container, "Containers left alone", "The status says `containers.NAME.reason`; the pod's other containers are wrapped."},
		{Wish, "Wishes ignored", "The status says `ignored`; the pod is wrapped as if the wish were not there."},
		{Delivery, "Delivery chosen", "The status says `deliveryReason`, where the InitProfile says `delivery: Auto`. All but the first mean InitContainer."},
	} {
		b.WriteString("\n## " + section.title + "\n\n" + section.intro + "\n\n| reason | because | what to do |\n|---|---|---|\n")
		for _, e := range explanations {
			if e.Kind != section.kind {
				continue
			}
			name := "`" + string(e.reason) + "`"
			if e.Routine && e.Kind != Delivery {
				name += " *routine*"
			}
			if e.Transient {
				name += " *transient*"
			}
			b.WriteString("| " + name + " | " + cell(e.Because) + " | " + cell(e.Remedy) + " |\n")
		}
	}
	return b.String()
}

// cell is text in a table: outside of code, < would begin a tag.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(text)
}
