// Package explain is the command "podinit explain": it says who is PID 1 in a pod's containers, whether SIGTERM reaches
// the program, who reaps, and what the init would change.
package explain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/resource"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/internal/cli/exit"
	"github.com/podinit/podinit/internal/cli/files"
	"github.com/podinit/podinit/internal/cli/manifest"
	"github.com/podinit/podinit/internal/cli/output"
	"github.com/podinit/podinit/internal/cli/planner"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/reason"
	"github.com/podinit/podinit/webhook"
)

const about = `Say of every container who is PID 1, whether the stop signal reaches the program, who reaps orphans, what the init
would change, and why a container would be left alone and what to do about it.

It reads manifests with -f, or objects of the cluster by kind and name. Of a pod that exists it says what was done when
it was admitted; everything else is said as if its namespace had opted in. It looks at commands, not into images or
processes: what only a run can show is "unknown".

The stop signal is the container's lifecycle.stopSignal, or else its image's STOPSIGNAL, or else SIGTERM.

Exit codes: 0 explained; 2 the command line or a file is wrong; 3 a file, registry configuration or cluster cannot be
read.`

const examples = `  podinit explain -f web.yaml
  podinit explain deploy/web -n shop
  podinit explain pod/web-5d4f8 -o yaml`

// Explanation of one pod or pod template.
type Explanation struct {
	// Object that was looked at, as kind/name.
	Object    string `json:"object"`
	Namespace string `json:"namespace"`
	// Template is where in the object the pod template is, if it has several.
	Template string `json:"template,omitempty"`
	// GracePeriodSeconds from the stop signal to SIGKILL; a preStop hook is part of it.
	GracePeriodSeconds int64 `json:"gracePeriodSeconds"`
	// Admitted is what the status annotation of a pod that exists says; absent if there is none.
	Admitted *v1alpha1.Status `json:"admitted,omitempty"`
	// LeftAlone is why the pod as a whole would be left alone.
	LeftAlone  *LeftAlone  `json:"leftAlone,omitempty"`
	Containers []Container `json:"containers"`
}

// Container explains one container.
type Container struct {
	Name string `json:"name"`
	// Kind is container, sidecar or initContainer.
	Kind string `json:"kind"`
	// Runs are the words that it is started with, without the init; absent if they are not known. Variables are not
	// expanded.
	Runs []string `json:"runs,omitempty"`
	// Source of Runs: command, annotation, profile or registry.
	Source v1alpha1.Source `json:"source,omitempty"`
	// StopSignal that asks it to end.
	StopSignal string `json:"stopSignal"`
	// PreStop is set where a preStop hook runs before that signal.
	PreStop bool `json:"preStop,omitempty"`
	// HasInit is set where the command starts with podinit's init already.
	HasInit bool `json:"hasInit,omitempty"`
	// WithoutInit is how it is without podinit, and WithInit how it is, or would be, with it; absent if it is left alone.
	WithoutInit Situation  `json:"withoutInit"`
	WithInit    *Situation `json:"withInit,omitempty"`
	// Admitted is what the status annotation of a pod that exists says of it.
	Admitted *v1alpha1.ContainerStatus `json:"admitted,omitempty"`
	// LeftAlone is why the init would not be put in now.
	LeftAlone *LeftAlone `json:"leftAlone,omitempty"`
	// Notes are further things to know.
	Notes []string `json:"notes,omitempty"`
}

// Situation is what becomes of a container's stop signal and orphans.
type Situation struct {
	PID1 string `json:"pid1"`
	// SignalReachesProgram says whether the stop signal reaches the program.
	SignalReachesProgram Answer `json:"signalReachesProgram"`
	SignalWhy            string `json:"signalWhy"`
	OrphansReaped        Answer `json:"orphansReaped"`
	OrphansWhy           string `json:"orphansWhy"`
}

// LeftAlone is why, and the way out.
type LeftAlone struct {
	Reason  v1alpha1.Reason `json:"reason"`
	Because string          `json:"because"`
	Detail  string          `json:"detail,omitempty"`
	Remedy  string          `json:"remedy,omitempty"`
}

// NewCommand is "podinit explain".
func NewCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var read files.Options
	var plan planner.Options
	cmd := &cobra.Command{
		Use:     "explain (-f FILE | KIND/NAME...)",
		Short:   "Who is PID 1, does SIGTERM reach the program, and what would the init change",
		Long:    about,
		Example: examples,

		ValidArgsFunction: cobra.NoFileCompletions,
	}
	read.AddFlags(cmd)
	plan.AddFlags(cmd)
	format := output.AddFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (len(args) == 0) == (len(read.Names) == 0) {
			return exit.With(exit.Usage, fmt.Errorf("name either files with -f, or objects of the cluster such as deploy/web; see '%s --help'", cmd.CommandPath()))
		}
		if plan.Offline && len(args) > 0 {
			return exit.With(exit.Usage, errors.New("--offline asks no cluster: save the object to a file, and name that with -f"))
		}
		e := explainer{}
		var err error
		if e.injector, err = plan.New(cmd.Context(), flags, streams); err != nil {
			return err
		}
		inputs, err := read.Read(streams.In)
		if len(args) > 0 {
			inputs, err = objects(flags, args)
		}
		if err != nil {
			return err
		}
		e.namespace = *flags.Namespace
		explanations := []Explanation{}
		for _, input := range inputs {
			more, err := e.file(cmd.Context(), input)
			if err != nil {
				return exit.With(exit.Usage, fmt.Errorf("%s: %w", input.Name, err))
			}
			explanations = append(explanations, more...)
		}
		if len(explanations) == 0 {
			return exit.With(exit.Usage, errors.New("no pod template is in there"))
		}
		if *format != output.Table {
			return format.Print(streams.Out, explanations)
		}
		return table(streams.Out, explanations)
	}
	return cmd
}

// objects reads objects from the cluster, as they are there.
func objects(flags *genericclioptions.ConfigFlags, args []string) ([]files.File, error) {
	namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	infos, err := resource.NewBuilder(flags).Unstructured().NamespaceParam(namespace).DefaultNamespace().
		ResourceTypeOrNameArgs(true, args...).Latest().Flatten().Do().Infos()
	if err != nil {
		return nil, fmt.Errorf("reading %s from namespace %s: %w", strings.Join(args, " "), namespace, err)
	}
	var inputs []files.File
	for _, info := range infos {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(info.Object)
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(content)
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, files.File{Name: info.ObjectName(), Text: string(text)})
	}
	return inputs, nil
}

type explainer struct {
	injector  webhook.Injector
	namespace string
}

func (e explainer) file(ctx context.Context, input files.File) (all []Explanation, err error) {
	documents, err := manifest.Read(input.Text)
	if err != nil {
		return nil, err
	}
	for _, d := range documents {
		for _, template := range d.Templates {
			explanation, err := e.template(ctx, template)
			if err != nil {
				return nil, fmt.Errorf("the document that begins on line %d: %s: %w", d.Line, template.Object, err)
			}
			all = append(all, explanation)
		}
	}
	return all, nil
}

func (e explainer) template(ctx context.Context, t manifest.Template) (Explanation, error) {
	namespace := t.Object.Namespace
	for _, other := range []string{e.namespace, "default"} {
		if namespace == "" {
			namespace = other
		}
	}
	var pod corev1.Pod
	if err := json.Unmarshal(t.Pod, &pod); err != nil {
		return Explanation{}, manifest.Mistyped(fmt.Errorf("reading the pod template: %w", err))
	}
	plan, _, err := e.injector.Plan(ctx, webhook.Request{Namespace: namespace, Object: t.Pod})
	if err != nil {
		return Explanation{}, err
	}
	if ctx.Err() != nil {
		return Explanation{}, ctx.Err() // else it would say that registries do not answer
	}
	x := Explanation{Object: t.Object.String(), Namespace: namespace, GracePeriodSeconds: 30, Containers: []Container{}}
	if strings.Contains(t.At, "[") {
		x.Template = t.At
	}
	if grace := pod.Spec.TerminationGracePeriodSeconds; grace != nil {
		x.GracePeriodSeconds = *grace
	}
	if text := pod.Annotations[v1alpha1.StatusAnnotation]; text != "" {
		var status v1alpha1.Status
		if json.Unmarshal([]byte(text), &status) == nil {
			x.Admitted = &status
		}
	}
	if plan.Reason != "" {
		x.LeftAlone = leftAlone(plan.Reason, "")
	}
	images := e.images(ctx, plan, &pod, namespace)
	for _, kind := range []struct {
		name string
		list []corev1.Container
	}{{"initContainer", pod.Spec.InitContainers}, {"container", pod.Spec.Containers}} {
		for i := range kind.list {
			c := &kind.list[i]
			j := slices.IndexFunc(plan.Containers, func(d inject.Decision) bool { return d.Name == c.Name })
			if j < 0 {
				continue // the copier
			}
			name := kind.name
			if name == "initContainer" && c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
				name = "sidecar"
			}
			container := explain(&pod, c, name, plan.Containers[j], images[c.Name])
			if x.Admitted != nil {
				if status, ok := x.Admitted.Containers[c.Name]; ok {
					container.Admitted = &status
				}
			}
			x.Containers = append(x.Containers, container)
		}
	}
	return x, nil
}

// images are what is known about the containers' images, also of those that are left alone: one config, or one for each
// platform if they differ.
func (e explainer) images(ctx context.Context, plan *inject.Plan, pod *corev1.Pod, namespace string) map[string][]imageconfig.Config {
	known := map[string][]imageconfig.Config{}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		q := imageconfig.Query{Namespace: namespace}
		if i := slices.IndexFunc(plan.Lookups, func(l inject.Lookup) bool { return l.Container == c.Name }); i >= 0 {
			q = plan.Lookups[i].Query
		} else if reference, err := imageconfig.ParseReference(c.Image); err == nil {
			q.Reference = reference
		} else {
			continue
		}
		var found imageconfig.Found
		if len(c.Command) > 0 {
			found, _ = e.injector.Images.Known(ctx, q)
		} else if looked, err := e.injector.Images.Lookup(ctx, q); err == nil { // what the plan has asked is remembered
			found = looked
		}
		if configs, failure := found.Image.On(q.Architectures); failure == nil {
			known[c.Name] = configs
		}
	}
	return known
}

func leftAlone(r v1alpha1.Reason, detail string) *LeftAlone {
	e := reason.Of(r)
	return &LeftAlone{Reason: r, Because: e.Because, Detail: detail, Remedy: e.Remedy}
}

// explain explains one container; images is empty if nothing is known about its image. If it runs something else on each
// platform, the first is explained.
func explain(pod *corev1.Pod, c *corev1.Container, kind string, d inject.Decision, images []imageconfig.Config) Container {
	x := Container{Name: c.Name, Kind: kind, Source: d.Source, StopSignal: "SIGTERM"}
	var image imageconfig.Config
	if len(images) > 0 {
		image = images[0]
	}
	if len(images) > 1 {
		x.Notes = append(x.Notes, fmt.Sprintf("The image runs something else, or stops by another signal, on each of %d platforms. This is about %s.", len(images), image.Platform))
	}
	x.HasInit = len(c.Command) > 0 && c.Command[0] == inject.InitPath
	x.Runs, x.Source = words(c, d, image)

	given := ""
	if c.Lifecycle != nil {
		if c.Lifecycle.StopSignal != nil {
			given = string(*c.Lifecycle.StopSignal)
		}
		x.PreStop = c.Lifecycle.PreStop != nil
	}
	switch {
	case given != "":
		x.StopSignal = given
	case image.StopSignal != "":
		x.StopSignal = image.StopSignal
		x.Notes = append(x.Notes, "The image asks for "+image.StopSignal+" as its stop signal; containerd and CRI-O honour that.")
	case len(image.Entrypoint)+len(image.Cmd) == 0:
		x.Notes = append(x.Notes, "The stop signal is SIGTERM unless the image names another, which is not known here.")
	}
	switch n, ok := options.ParseSignal(x.StopSignal); {
	case ok && n == 15:
		x.StopSignal = "SIGTERM"
	case ok && n == 9:
		x.StopSignal = kill
	}

	f := facts{signal: x.StopSignal}
	switch {
	case pod.Spec.HostPID:
		f.shared = "the node's init"
	case pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace:
		f.shared = "pause"
	}
	without := unknown("")
	if len(x.Runs) > 0 {
		without = situationOf(x.Runs, f)
	}
	x.WithoutInit = without.public()

	if d.Reason == "" {
		with := withInit(x.Runs, f).public()
		x.WithInit = &with
	} else {
		x.LeftAlone = leftAlone(d.Reason, d.Detail)
	}
	if x.HasInit || x.WithInit != nil {
		x.Notes = append(x.Notes, commandLineNotes(c)...)
	}
	if x.PreStop {
		x.Notes = append(x.Notes, "Its preStop hook runs before the stop signal; the time that takes is taken from the grace period.")
	}
	if grace := pod.Spec.TerminationGracePeriodSeconds; grace != nil && *grace == 0 {
		x.Notes = append(x.Notes, "The grace period is 0: it is killed at once, and no signal matters.")
	}
	if len(x.Runs) > 0 && strings.Contains(strings.Join(x.Runs, " "), "$(") {
		x.Notes = append(x.Notes, "Variables in its command are not expanded here.")
	}
	return x
}

// words are what a container is started with, without the init; of several platforms', those of the first.
func words(c *corev1.Container, d inject.Decision, image imageconfig.Config) ([]string, v1alpha1.Source) {
	switch {
	case len(c.Command) > 0 && c.Command[0] == inject.InitPath:
		return slices.Concat(behindInit(c.Command), c.Args), d.Source
	case len(c.Command) > 0:
		return slices.Concat(c.Command, c.Args), v1alpha1.SourceCommand
	case d.Source == v1alpha1.SourceAnnotation || d.Source == v1alpha1.SourceProfile:
		args := c.Args
		if d.Args != nil {
			args = d.Args
		}
		return slices.Concat(behindInit(d.Command), args), d.Source
	}
	command, args, err := image.Process(len(c.Args) > 0)
	if err != nil || len(image.Entrypoint)+len(image.Cmd) == 0 {
		return nil, ""
	}
	words := slices.Concat(command, args)
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], "$$", "$") // they are escaped for a pod
	}
	return append(words, c.Args...), v1alpha1.SourceRegistry
}

// behindInit is the program that a command with the init starts: the words behind "--", and before them those of the
// first platform, if there are any. Nil if it cannot be read.
func behindInit(command []string) (program []string) {
	i := slices.IndexFunc(command, func(word string) bool { return word == "--" || options.IsPlatform(word) })
	if i < 0 {
		return nil
	}
	words := command[i:]
	for first := true; len(words) > 0 && options.IsPlatform(words[0]); first = false {
		_, rest, _ := strings.Cut(words[0], ":")
		count, _, _ := strings.Cut(rest, ":")
		n, err := strconv.Atoi(count)
		if err != nil || n < 0 || n >= len(words) {
			return nil
		}
		if first {
			program = words[1 : 1+n]
		}
		words = words[1+n:]
	}
	if len(words) > 0 {
		words = words[1:] // --
	}
	return slices.Concat(program, words)
}

func (s situation) public() Situation {
	return Situation{PID1: s.pid1, SignalReachesProgram: s.reaches, SignalWhy: s.reachesWhy, OrphansReaped: s.reaped, OrphansWhy: s.reapedWhy}
}

// withInit is the situation with the init before the words.
func withInit(words []string, f facts) situation {
	s := situation{
		pid1: "podinit", reaped: Yes, reapedWhy: "podinit reaps whatever it is left with",
		reaches:    Yes,
		reachesWhy: "podinit passes " + f.signal + " to the program, which is no longer PID 1: it ends it even without a handler",
	}
	if f.shared != "" {
		s.pid1 = f.shared + "; podinit is the container's first process"
		s.reapedWhy = "podinit is a subreaper: it reaps what its container leaves"
	}
	words = behindEnv(words)
	if f.signal == kill {
		s.reaches, s.reachesWhy = killed.reaches, killed.reachesWhy
	} else if script, ok := scriptOf(words); ok && replaces(words[0], script) != Yes || !ok && isScript(words) {
		s.reachesWhy = "podinit passes " + f.signal + " to the shell, and to the program that it waits for if the shell does not handle it, and waits for both"
	}
	return s
}
