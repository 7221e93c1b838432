package reason

import (
	"strings"
)

// Markdown is the page that documents all reasons.
func Markdown() string {
	var b strings.Builder
	b.WriteString(`# Reasons

<!-- Written by "make generate" from internal/reason. -->

Everything that podinit leaves alone, ignores or chooses has a reason with a fixed name. The name is in the pod's status
annotation, in the metrics and in the webhook's log; the sentence is in the warning that the client that creates the pod gets.
If the pod's author can correct it, an [Event](tenants.md#when-the-pod-is-created) about the pod's owner has both.
Reasons marked *routine* are wanted or expected, and give no warning. Reasons marked *transient* cannot be corrected by the
pod's author: a profile with ` + "`onProblem: Reject`" + ` admits such a pod with the warning.

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
		{Pod, "Pods left alone", "The reason is in the status, under `reason`. Pods that podinit has nothing to do with get no status."},
		{Container, "Containers left alone", "The reason is in the status, under `containers.NAME.reason`; the pod's other containers are wrapped."},
		{Setting, "Settings ignored", "The reason is in the status, under `ignored`; the pod is wrapped as if the label or annotation were not there."},
		{Drift, "Containers that may run another image", "The reason is in the status, under `containers.NAME.drift`; the container is wrapped, with a warning, and also with `onProblem: Reject`. See [which image runs](lookup.md#which-image-runs)."},
		{Delivery, "Delivery chosen", "The reason is in the status, under `deliveryReason`, if the InitProfile has `delivery: Auto`. The first means ImageVolume, all others InitContainer."},
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
