// Package uninject is the command "podinit uninject": it takes out of manifests what podinit has put into them.
package uninject

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/manifest"
	"github.com/podinit/podinit/internal/cli/rewrite"
	"github.com/podinit/podinit/internal/inject"
)

const about = `Take out of the pod templates in manifests what podinit has put into them, at admission or by "podinit inject":
the init before each command, podinit-copy, the volume and its mounts, the status annotation and the version label.

The result goes to standard output. Unchanged parts keep every byte, with comments and layout; documents without a pod
template, and pod templates without anything of podinit, are copied. What the author wrote stays, as do podinit's labels
and annotations that choose something (podinit.dev/inject and the others).

A container that came without a command has none again, as its status annotation says. If that is missing, the container
keeps the command that podinit had looked up, and standard error says so.

Neither a cluster nor a registry is asked. Admission wraps the pods again where the namespace has opted in; to prevent
that, set the label podinit.dev/inject to disabled.

Pod templates are found where "podinit inject" finds them.

Exit codes: 0 done; 1 --diff shows a difference; 2 the command line or a file is wrong; 3 a file cannot be read.
A pod template that cannot be changed is not an error; standard error names it.`

const examples = `  # a manifest as it was before podinit
  podinit uninject -f wrapped.yaml >web.yaml

  # a Deployment as it was applied to the cluster
  kubectl apply view-last-applied deployment/web | podinit uninject -f - | kubectl apply -f -

  # is anything of podinit in these files? exit code 1 if there is
  podinit uninject -R -f manifests/ --diff`

type command struct {
	rewrite.Rewriter
}

// NewCommand is "podinit uninject".
func NewCommand(_ *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	c := &command{}
	c.Rewriter = rewrite.Rewriter{Template: c.template, After: "without podinit", Streams: streams}
	cmd := &cobra.Command{
		Use:               "uninject -f FILE",
		Short:             "Take podinit out of manifests",
		Long:              about,
		Args:              rewrite.NoArgs,
		Example:           examples,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.AddFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := c.Check(cmd); err != nil {
			return err
		}
		result, err := c.Rewrite(cmd.Context())
		if err != nil {
			return err
		}
		if !result.Different {
			c.Say("note", "the input contains nothing of podinit that can be taken out; nothing is changed")
		}
		return c.Print(result)
	}
	return cmd
}

// template is the patch that takes podinit out of the Pod of a template; nil if there is nothing of it.
func (c *command) template(_ context.Context, t manifest.Template) ([]byte, error) {
	pod, err := inject.Decode(t.Pod)
	if err != nil {
		return nil, err
	}
	undo := inject.NewUndo(pod)
	where := rewrite.Where(t)
	if name := undo.Unreadable; name != "" {
		c.Say("warning", fmt.Sprintf("%s: pod left alone: the command of container %q begins with the init, and its own program cannot be read "+
			"from it. Correct the command, or apply the manifest that the pod was made from", where, name))
	}
	for _, u := range undo.Containers {
		switch {
		case u.Unrecorded:
			c.Say("warning", fmt.Sprintf("%s: container %q keeps its command and args: the status annotation does not say whether podinit had "+
				"looked them up. If the container had none, remove them", where, u.Name))
		case slices.Contains(u.Removed, v1alpha1.FieldCommand):
			c.Say("note", fmt.Sprintf("%s: container %q has no command again: its image says what it runs", where, u.Name))
		}
	}
	return undo.Patch()
}
