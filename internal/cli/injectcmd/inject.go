// Package injectcmd is the command "podinit inject": it wraps manifests as admission would wrap the pods made of them.
package injectcmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/admission"
	"github.com/podinit/podinit/internal/cli/complete"
	"github.com/podinit/podinit/internal/cli/exit"
	"github.com/podinit/podinit/internal/cli/manifest"
	"github.com/podinit/podinit/internal/cli/planner"
	"github.com/podinit/podinit/internal/cli/rewrite"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/reason"
)

const about = `Wrap the pod templates in manifests, as admission would wrap the pods made of them.

The result goes to standard output. Unchanged parts keep every byte, with comments and layout; documents without a pod
template are copied. Standard error names the containers that are left alone, with the reason and what to do.
The command assumes that the namespace has opted in; the pods' own labels and annotations count (podinit.dev/inject:
disabled, and the others). A wrapped manifest does not change when it is wrapped again.

No cluster is needed. If the kubeconfig names a cluster that answers within 3 seconds, the init image and the registry
configuration are those of its webhook, unless --init-image and --registry-config are set; a note on standard error says
which are used. If --profile is not a file, it is the name of an InitProfile in that cluster. For a container without a
command, the registry is asked what the image runs, with the credentials of docker login or podman login; --image-config
sets it instead. --offline asks neither cluster nor registry, and reports what it assumes.

Pod templates are found in Pod, PodTemplate, ReplicationController, Deployment, ReplicaSet, StatefulSet, DaemonSet, Job,
CronJob and lists of them, and in DeploymentConfig (apps.openshift.io), Rollout (argoproj.io), JobSet (jobset.x-k8s.io),
LeaderWorkerSet (leaderworkerset.x-k8s.io) and ScaledJob (keda.sh). Tekton and Argo Workflows make pods of other objects,
which are not changed; standard error names them, since admission wraps their pods.

Exit codes: 0 done; 1 --diff shows a difference, or a profile with onProblem Reject refuses a pod, and nothing is
printed; 2 the command line or a file is wrong; 3 a file, registry configuration or cluster cannot be read.
A container that is left alone is not an error.`

const examples = `  # wrap what a chart makes, and apply it
  helm template web ./chart | podinit inject -f - | kubectl apply -f -

  # what would change? exit code 1 if anything would
  podinit inject -R -f manifests/ --diff

  # the same on a machine without network
  crane config nginx:1.27 >nginx.json
  podinit inject -f web.yaml --offline --profile profile.yaml --image-config nginx:1.27=nginx.json`

type command struct {
	rewrite.Rewriter
	planner planner.Options

	injector  planner.Injector
	namespace string
	// refused are how many templates there are whose Pods a profile refuses.
	refused int
}

// NewCommand is "podinit inject".
func NewCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	c := &command{}
	c.Rewriter = rewrite.Rewriter{Template: c.template, Untouched: c.untouched, After: "with podinit", Streams: streams}
	cmd := &cobra.Command{
		Use:               "inject -f FILE",
		Short:             "Wrap manifests, as admission would wrap the pods made of them",
		Long:              about,
		Args:              rewrite.NoArgs,
		Example:           examples,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.AddFlags(cmd)
	c.planner.AddFlags(cmd)
	complete.Profiles(cmd, flags)
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if err := c.Check(cmd); err != nil {
			return err
		}
		c.namespace = *flags.Namespace
		if c.injector, err = c.planner.New(cmd.Context(), flags, streams); err != nil {
			return err
		}
		defer c.injector.Close()
		return c.run(cmd.Context())
	}
	return cmd
}

func (c *command) run(ctx context.Context) error {
	result, err := c.Rewrite(ctx)
	if err != nil {
		return err
	}
	if c.refused > 0 {
		return exit.With(exit.Found, errors.New("the profile says onProblem: Reject, so admission would refuse this; nothing is printed"))
	}
	if result.Templates == 0 {
		c.Say("note", "the input contains no pod template; nothing is changed")
	}
	return c.Print(result)
}

// untouched says what happens to the Pods of objects that are not changed.
func (c *command) untouched(d *manifest.Document) {
	for _, o := range d.Unknown {
		c.Say("note", fmt.Sprintf("%s (%s) has a pod template that podinit cannot change; its pods are wrapped at admission", o, o.APIVersion))
	}
	for _, o := range d.Controlled {
		c.Say("note", fmt.Sprintf("%s (%s) has no pod template: %s makes its pods, and they are wrapped at admission", o, o.APIVersion,
			o.Controller))
	}
}

// template is the patch with which admission would change the Pod of a template; nil if it stays as it is.
func (c *command) template(ctx context.Context, t manifest.Template) ([]byte, error) {
	namespace := t.Object.Namespace
	if namespace == "" {
		namespace = c.namespace
	}
	if namespace == "" {
		namespace = "default"
	}
	planned, err := c.injector.Plan(ctx, admission.Request{Namespace: namespace, Object: t.Pod})
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	for _, i := range planned.Plan.Ignored {
		if i.Reason == v1alpha1.ReasonProfileMissing && i.Correctable {
			return nil, fmt.Errorf("%s: add that InitProfile with --profile, after the namespace's own", i.Setting)
		}
	}
	where := rewrite.Where(t)
	c.report(where, planned.Plan)
	answer, err := planned.Answer()
	if errors.Is(err, inject.ErrAnnotationsTooLarge) {
		c.Say("warning", where+": pod left alone: "+err.Error())
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(answer.Refusals) > 0 {
		c.refused++
		for _, refusal := range answer.Refusals {
			c.Say("error", where+": "+strings.TrimPrefix(refusal, "podinit: "))
		}
	}
	return answer.Patch, nil
}

// report says what was left alone, and why.
func (c *command) report(where string, plan *inject.Plan) {
	for _, warning := range plan.Warnings() {
		c.Say("warning", where+": "+strings.TrimPrefix(warning, "podinit: "))
	}
	// What is as the user wants it gets a note, not a warning.
	routine := func(what string, r v1alpha1.Reason) {
		if e := reason.Of(r); r != "" && e.Routine {
			c.Say("note", strings.TrimSpace(fmt.Sprintf("%s: %s left alone because %s. %s", where, what, e.Because, e.Remedy)))
		}
	}
	if plan.Skip.Reason != "" {
		routine("pod", plan.Skip.Reason)
		return
	}
	for _, d := range plan.Containers {
		routine(fmt.Sprintf("container %q", d.Name), d.Reason)
	}
}
