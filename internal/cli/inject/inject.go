// Package inject is the command "podinit inject": it wraps manifests as admission would wrap the pods made of them.
package inject

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/exit"
	"github.com/podinit/podinit/internal/cli/files"
	"github.com/podinit/podinit/internal/cli/manifest"
	"github.com/podinit/podinit/internal/cli/output"
	"github.com/podinit/podinit/internal/cli/planner"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/reason"
	"github.com/podinit/podinit/webhook"
)

const about = `Wrap the pod templates in manifests, as admission would wrap the pods made of them.

The result goes to standard output. What is not changed keeps every byte, comments and layout too; documents without a
pod template pass through. Containers that are left alone are named on standard error, with why and what to do.
It is done as if the namespace had opted in; what pods say themselves counts (podinit.dev/inject: disabled, and the
other labels and annotations). Wrapping what is wrapped already changes nothing.

No cluster is needed or asked, but for profiles that --profile names and that are no files. What a container without a
command runs is looked up in its registry, with the credentials of docker login or podman login, unless --offline is
given; --image-config says it instead.

Pod templates are found in Pod, PodTemplate, ReplicationController, Deployment, ReplicaSet, StatefulSet, DaemonSet, Job,
CronJob and lists of them, and in DeploymentConfig (apps.openshift.io), Rollout (argoproj.io), JobSet (jobset.x-k8s.io),
LeaderWorkerSet (leaderworkerset.x-k8s.io) and ScaledJob (keda.sh).

Exit codes: 0 done; 1 --diff shows a difference, or a profile with onProblem Reject refuses a pod, and nothing is
printed; 2 the command line or a file is wrong; 3 a file, registry configuration or cluster cannot be read.
A container that is left alone is no error.`

const examples = `  # wrap what a chart makes, and apply it
  helm template web ./chart | podinit inject -f - | kubectl apply -f -

  # what would change? exit code 1 if anything would
  podinit inject -R -f manifests/ --diff

  # the same on a machine without network
  crane config nginx:1.27 >nginx.json
  podinit inject -f web.yaml --offline --profile profile.yaml --image-config nginx:1.27=nginx.json`

type command struct {
	files   files.Options
	planner planner.Options
	diff    bool
	streams genericiooptions.IOStreams

	injector  webhook.Injector
	namespace string
	style     output.Style
	// templates are those that were found; refused those whose Pods a profile refuses.
	templates, refused int
}

// NewCommand is "podinit inject".
func NewCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	c := &command{streams: streams, style: output.StyleFor(streams.ErrOut)}
	cmd := &cobra.Command{
		Use:               "inject -f FILE",
		Short:             "Wrap manifests, as admission would wrap the pods made of them",
		Long:              about,
		Args:              noArgs,
		Example:           examples,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.files.AddFlags(cmd)
	c.planner.AddFlags(cmd)
	cmd.Flags().BoolVar(&c.diff, "diff", false, "print a unified diff instead of the manifests; exit code 1 if there is a difference")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if len(c.files.Names) == 0 {
			return exit.With(exit.Usage, fmt.Errorf("name what to wrap: -f FILE, -f DIRECTORY, or -f - for the standard input; see '%s --help'", cmd.CommandPath()))
		}
		c.namespace = *flags.Namespace
		if c.injector, err = c.planner.New(cmd.Context(), flags, streams); err != nil {
			return err
		}
		return c.run(cmd.Context())
	}
	return cmd
}

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("name files with -f: -f %s", args[0])
	}
	return nil
}

// run reads everything before it prints anything: a pipeline must not apply half of it.
func (c *command) run(ctx context.Context) error {
	inputs, err := c.files.Read(c.streams.In)
	if err != nil {
		return err
	}
	var out strings.Builder
	different := false
	for _, input := range inputs {
		changed, err := c.file(ctx, input)
		if err != nil {
			return err
		}
		different = different || changed != input.Text
		if c.diff {
			out.WriteString(c.unified(input.Name, input.Text, changed))
		} else {
			join(&out, changed)
		}
	}
	if c.refused > 0 {
		return exit.With(exit.Found, errors.New("the profile says onProblem: Reject, so admission would refuse this; nothing is printed"))
	}
	if c.templates == 0 {
		c.say("note", "no pod template is in there, so nothing is changed")
	}
	if _, err := io.WriteString(c.streams.Out, out.String()); err != nil {
		return err
	}
	if c.diff && different {
		return exit.Silently(exit.Found)
	}
	return nil
}

// join puts a file after others, with a separator between them if it does not begin with one.
func join(out *strings.Builder, text string) {
	if out.Len() > 0 {
		if !strings.HasSuffix(out.String(), "\n") {
			out.WriteByte('\n')
		}
		if !strings.HasPrefix(text, "---") {
			out.WriteString("---\n")
		}
	}
	out.WriteString(strings.TrimPrefix(text, "\ufeff"))
}

func (c *command) unified(name, before, after string) string {
	diff := udiff.Unified(name, name+" with podinit", before, after)
	style := output.StyleFor(c.streams.Out)
	if !bool(style) || diff == "" {
		return diff
	}
	lines := strings.SplitAfter(diff, "\n")
	for i, line := range lines {
		switch text := strings.TrimSuffix(line, "\n"); {
		case strings.HasPrefix(line, "---"), strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "@@"):
			lines[i] = style.Bold(text) + line[len(text):]
		case strings.HasPrefix(line, "+"):
			lines[i] = style.Green(text) + line[len(text):]
		case strings.HasPrefix(line, "-"):
			lines[i] = style.Red(text) + line[len(text):]
		}
	}
	return strings.Join(lines, "")
}

// file is a file's text with its pod templates wrapped.
func (c *command) file(ctx context.Context, input files.File) (string, error) {
	documents, err := manifest.Read(input.Text)
	if err != nil {
		return "", exit.With(exit.Usage, fmt.Errorf("%s: %w", input.Name, err))
	}
	var out strings.Builder
	for _, d := range documents {
		pods := map[int][]byte{}
		for i, template := range d.Templates {
			pod, err := c.template(ctx, template)
			if err != nil {
				return "", exit.With(exit.Usage, fmt.Errorf("%s: the document that begins on line %d: %s: %w", input.Name, d.Line, template.Object, err))
			}
			if pod != nil {
				pods[i] = pod
			}
		}
		for _, stranger := range d.Strangers {
			c.say("note", fmt.Sprintf("%s (%s) has a pod template that podinit does not know how to change; its pods are wrapped when they are admitted", stranger, stranger.APIVersion))
		}
		text, lossy, err := d.With(pods)
		if err != nil {
			return "", fmt.Errorf("%s: the document that begins on line %d: %w", input.Name, d.Line, err)
		}
		if lossy {
			c.say("note", fmt.Sprintf("%s: the document that begins on line %d is written anew: an anchor was in the way, or a way of writing that cannot be changed in place", input.Name, d.Line))
		}
		out.WriteString(text)
	}
	return out.String(), nil
}

// template is the Pod of a template as admission would leave it; nil if it stays as it is.
func (c *command) template(ctx context.Context, t manifest.Template) ([]byte, error) {
	c.templates++
	namespace := t.Object.Namespace
	if namespace == "" {
		namespace = c.namespace
	}
	if namespace == "" {
		namespace = "default"
	}
	plan, _, err := c.injector.Plan(ctx, webhook.Request{Namespace: namespace, Object: t.Pod})
	if err != nil {
		return nil, manifest.Mistyped(err)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	for _, i := range plan.Ignored {
		if i.Reason == v1alpha1.ReasonProfileMissing && i.Correctable {
			return nil, fmt.Errorf("%s: give that InitProfile with --profile, after the one that holds in the namespace", i.Wish)
		}
	}
	where := t.Object.String()
	if strings.Contains(t.At, "[") {
		where += ", " + t.At
	}
	c.tell(where, plan)
	if refusals := plan.Refusals(); len(refusals) > 0 {
		c.refused++
		for _, refusal := range refusals {
			c.say("error", where+": "+strings.TrimPrefix(refusal, "podinit: "))
		}
		return nil, nil
	}
	patch, err := plan.Patch()
	if errors.Is(err, inject.ErrAnnotationsTooLarge) {
		c.say("warning", where+": pod left alone: "+err.Error())
		return nil, nil
	}
	if err != nil || patch == nil {
		return nil, err
	}
	// With the library that the apiserver uses.
	decoded, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return nil, err
	}
	return decoded.Apply(t.Pod)
}

// tell says what was left alone, and why.
func (c *command) tell(where string, plan *inject.Plan) {
	for _, warning := range plan.Warnings() {
		c.say("warning", where+": "+strings.TrimPrefix(warning, "podinit: "))
	}
	// What is as the user wants it is no warning, but to be seen.
	routine := func(what string, r v1alpha1.Reason) {
		if e := reason.Of(r); r != "" && e.Routine {
			c.say("note", strings.TrimSpace(fmt.Sprintf("%s: %s left alone because %s. %s", where, what, e.Because, e.Remedy)))
		}
	}
	if plan.Reason != "" {
		routine("pod", plan.Reason)
		return
	}
	for _, d := range plan.Containers {
		routine(fmt.Sprintf("container %q", d.Name), d.Reason)
	}
}

func (c *command) say(level, text string) {
	colour := map[string]func(string) string{"note": c.style.Faint, "warning": c.style.Yellow, "error": c.style.Red}[level]
	fmt.Fprintf(c.streams.ErrOut, "%s %s\n", colour(level+":"), text)
}
