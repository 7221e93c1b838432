// Package explain is the command "podinit explain": it says which program is PID 1 in a pod's containers, whether
// SIGTERM reaches the program, which process reaps, and what the init would change.
package explain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/resource"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/initbin/options"
	"github.com/podinit/podinit/internal/admission"
	"github.com/podinit/podinit/internal/cli/complete"
	"github.com/podinit/podinit/internal/cli/exit"
	"github.com/podinit/podinit/internal/cli/files"
	"github.com/podinit/podinit/internal/cli/manifest"
	"github.com/podinit/podinit/internal/cli/nodes"
	"github.com/podinit/podinit/internal/cli/output"
	"github.com/podinit/podinit/internal/cli/planner"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/node/report"
	"github.com/podinit/podinit/internal/program"
	"github.com/podinit/podinit/internal/reason"
)

const about = `Show for every container which process is PID 1, whether the stop signal reaches the program, which process reaps
orphans, what the init would change, and why a container would be left alone and what to do about it.

It reads manifests with -f, or objects of the cluster by kind and name. For an existing pod it shows what was done at
admission, and whether its owner accepts a wrapped pod. For everything else it assumes that the namespace has opted in. It
looks at commands, not into images or processes: what only a run can show is "unknown".

It looks up what images run as the cluster's webhook does, with the webhook's registry configuration and your own
credentials, if the cluster answers within 3 seconds; a note on standard error says what is used. --registry-config
overrides it.

--summary prints one line for each container of every workload, the worst first, and how many containers never receive
their stop signal. It reads the cluster's pods (-A for all namespaces, -l for a selection), with or without podinit, or
manifests with -f. Equal pods of one workload count as one. It lists pods and what else podinit decides by, and asks the
registry once for each image; all lookups together take at most --lookup-time.

The stop signal is the container's lifecycle.stopSignal, or else its image's STOPSIGNAL, or else SIGTERM.

Exit codes: 0 explained; 2 the command line or a file is wrong; 3 a file, registry configuration or cluster cannot be
read.`

const examples = `  podinit explain -f web.yaml
  podinit explain deploy/web -n shop
  podinit explain pod/web-5d4f8 -o yaml

  # Which workloads would gain?
  podinit explain -A --summary
  helm template shop ./shop | podinit explain -f - --summary`

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
	// Node is that of a pod that runs, as far as its podinit-node says what it has done; absent where that is not known.
	Node *Node `json:"node,omitempty"`
	// Owner has made it; absent if nothing has.
	Owner *Owner `json:"owner,omitempty"`
	// Delivery is Node where the InitProfile leaves the pod to the nodes, whose container runtimes put the init in; else absent.
	Delivery v1alpha1.Delivery `json:"delivery,omitempty"`
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
	// HasInit is set where the command starts with podinit's init already, or its node has put that in.
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

	// OnNode is what its node has done with it: wrapped, left-alone or missed; absent if that is not known.
	OnNode *report.Container `json:"onNode,omitempty"`

	// unread is why its image could not be looked up; nil if it was, or need not be.
	unread *LeftAlone
	// byNode is set where the node would put the init in.
	byNode bool
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
		Use:     "explain (-f FILE | KIND/NAME... | --summary)",
		Short:   "Show which process is PID 1, whether SIGTERM reaches the program, and what the init would change",
		Long:    about,
		Example: examples,

		ValidArgsFunction: complete.Objects(flags),
	}
	read.AddFlags(cmd)
	plan.AddFlags(cmd)
	complete.Profiles(cmd, flags)
	format := output.AddWideFlag(cmd)
	var survey surveyOptions
	survey.AddFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		pods := survey.Summary && len(args) == 0 && len(read.Names) == 0
		if err := survey.check(pods, *format); err != nil {
			return exit.With(exit.Usage, err)
		}
		if !pods && (len(args) == 0) == (len(read.Names) == 0) {
			return exit.With(exit.Usage,
				fmt.Errorf("name either files with -f, or objects of the cluster such as deploy/web; see '%s --help'", cmd.CommandPath()))
		}
		if plan.Offline && len(read.Names) == 0 {
			return exit.With(exit.Usage, errors.New("--offline does not ask the cluster: save the object to a file, and read it with -f"))
		}
		plan.Quiet = survey.Summary // it has a progress of its own
		e := explainer{now: time.Now()}
		var err error
		if e.injector, err = plan.New(cmd.Context(), flags, streams); err != nil {
			return err
		}
		defer e.injector.Close()
		progress := newProgress(streams.ErrOut)
		defer progress.clear()
		if pods {
			report, err := e.pods(cmd.Context(), flags, survey, plan, streams.ErrOut, progress)
			if err != nil {
				return err
			}
			progress.clear()
			return report.print(streams.Out, *format)
		}
		inputs, err := read.Read(streams.In)
		if len(args) > 0 {
			inputs, err = objects(flags, args)
			e.node = askNode(flags)
		}
		if err != nil {
			return err
		}
		e.namespace = *flags.Namespace
		if survey.Summary {
			report, err := e.manifests(cmd.Context(), inputs, survey, plan, streams.ErrOut, progress)
			if err != nil {
				return err
			}
			progress.clear()
			return report.print(streams.Out, *format)
		}
		explanations := []Explanation{}
		for _, input := range inputs {
			more, err := e.file(cmd.Context(), input)
			if err != nil {
				return exit.With(exit.Usage, fmt.Errorf("%s: %w", input.Name, err))
			}
			explanations = append(explanations, more...)
		}
		if len(explanations) == 0 {
			return exit.With(exit.Usage, errors.New("the input contains no pod template"))
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
	injector  planner.Injector
	namespace string
	now       time.Time
	// node asks the node of a pod what it has done; nil if no cluster is asked.
	node func(context.Context, *corev1.Pod) *nodes.Node
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
	planned, err := e.injector.Plan(ctx, admission.Request{Namespace: namespace, Object: t.Pod})
	if err != nil {
		return Explanation{}, err
	}
	if ctx.Err() != nil {
		return Explanation{}, ctx.Err() // else it would say that registries do not answer
	}
	plan := planned.Plan
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
	switch plan.Skip.Reason {
	case "":
	case v1alpha1.ReasonLeftToNode:
		x.Delivery = v1alpha1.DeliveryNode
	default:
		x.LeftAlone = leftAlone(plan.Skip.Reason, plan.Skip.Detail)
	}
	images, unread := e.images(ctx, plan, &pod, namespace)
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
			container.unread = unread[c.Name]
			if x.Admitted != nil {
				if status, ok := x.Admitted.Containers[c.Name]; ok {
					container.Admitted = &status
					container.Notes = append(container.Notes, driftNotes(status.Drift)...)
				}
			}
			x.Containers = append(x.Containers, container)
		}
	}
	if t.At == "" { // a Pod, not a template
		e.onNode(ctx, &pod, &x)
		hasInit := slices.ContainsFunc(x.Containers, func(c Container) bool { return c.HasInit })
		x.Owner = ownerOf(&pod, plan.OwnerCompares(), hasInit, e.now)
	}
	return x, nil
}

// driftNotes say why a container may run another image than the one that its command was looked up from. Anybody may have
// written the status, so only what is such a reason is repeated.
func driftNotes(drift []v1alpha1.Reason) (notes []string) {
	for _, r := range slices.Compact(slices.Sorted(slices.Values(drift))) {
		if e := reason.Of(r); e.Kind == reason.Drift {
			notes = append(notes,
				"Found at admission: it may run another image than the one that its command was looked up from: "+e.Because+". "+e.Remedy)
		}
	}
	return notes
}

// images are what is known about the containers' images, also of those that are left alone: one config, or one for each
// platform if they differ. unread says of those that had to be looked up why they could not be.
func (e explainer) images(
	ctx context.Context, plan *inject.Plan, pod *corev1.Pod, namespace string,
) (known map[string][]imageconfig.Config, unread map[string]*LeftAlone) {
	known, unread = map[string][]imageconfig.Config{}, map[string]*LeftAlone{}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		q := imageconfig.Query{Namespace: namespace}
		if i := slices.IndexFunc(plan.Lookups, func(l inject.Lookup) bool { return l.Container == c.Name }); i >= 0 {
			q = plan.Lookups[i].Query
		} else if reference, err := imageconfig.ParseReference(c.Image); err == nil {
			q.Reference = reference
		} else {
			if len(c.Command) == 0 {
				unread[c.Name] = leftAlone(v1alpha1.ReasonInvalidImage, err.Error())
			}
			continue
		}
		var found imageconfig.Found
		var failure *imageconfig.Failure
		if len(c.Command) > 0 {
			found, _ = e.injector.Images.Known(ctx, q)
		} else if looked, err := e.injector.Images.Lookup(ctx, q); err == nil { // what the plan has asked is remembered
			found = looked
		} else {
			failure = imageconfig.FailureOf(err)
		}
		if failure == nil {
			known[c.Name], failure = found.Image.On(q.Architectures)
		}
		if failure != nil {
			delete(known, c.Name)
			if len(c.Command) == 0 {
				unread[c.Name] = leftAlone(failure.Reason, failure.Error())
			}
		}
	}
	return known, unread
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
		x.Notes = append(x.Notes,
			fmt.Sprintf("The image's command or stop signal differs between its %d platforms. This is about %s.", len(images), image.Platform))
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
		x.Notes = append(x.Notes, "The stop signal is SIGTERM unless the image sets another; the image's is not known here.")
	}
	switch n, ok := options.ParseSignal(x.StopSignal); {
	case ok && n == 15:
		x.StopSignal = "SIGTERM"
	case ok && n == 9:
		x.StopSignal = kill
	}

	f := factsOf(pod, x.StopSignal)
	without := unknown("")
	if len(x.Runs) > 0 {
		without = situationOf(x.Runs, f)
	}
	x.WithoutInit = without.public()

	x.byNode = d.Reason == v1alpha1.ReasonLeftToNode
	if d.Reason == "" || x.byNode {
		with := withInit(x.Runs, f).public()
		x.WithInit = &with
	} else {
		x.LeftAlone = leftAlone(d.Reason, d.Detail)
	}
	if x.HasInit || x.WithInit != nil {
		x.Notes = append(x.Notes, commandLineNotes(c)...)
	}
	if x.PreStop {
		x.Notes = append(x.Notes, "Its preStop hook runs before the stop signal, and takes its time from the grace period.")
	}
	if grace := pod.Spec.TerminationGracePeriodSeconds; grace != nil && *grace == 0 {
		x.Notes = append(x.Notes, "The grace period is 0: it is killed at once, without a stop signal.")
	}
	if len(x.Runs) > 0 && strings.Contains(strings.Join(x.Runs, " "), "$(") {
		x.Notes = append(x.Notes, "Variables in its command are not expanded here.")
	}
	return x
}

// factsOf are those about a pod whose container has this stop signal.
func factsOf(pod *corev1.Pod, signal string) facts {
	f := facts{signal: signal}
	switch {
	case pod.Spec.HostPID:
		f.shared = "the node's init"
	case pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace:
		f.shared = "pause"
	}
	return f
}

// Now is the situation of a container of a pod that exists, by its command alone: nothing is looked up. hasInit is set where
// that starts podinit's init.
func Now(pod *corev1.Pod, c *corev1.Container) (s Situation, hasInit bool) {
	x := explain(pod, c, "container", inject.Decision{}, nil)
	if x.HasInit {
		return *x.WithInit, true
	}
	return x.WithoutInit, false
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
		pid1: "podinit", reaped: Yes, reapedWhy: "podinit reaps all orphans",
		reaches:    Yes,
		reachesWhy: "podinit forwards " + f.signal + " to the program, which is no longer PID 1: the signal ends it even without a handler",
	}
	if f.shared != "" {
		s.pid1 = f.shared + "; podinit is the container's first process"
		s.reapedWhy = "podinit is a subreaper: it reaps its container's orphans"
	}
	words = program.Behind(words)
	if f.signal == kill {
		s.reaches, s.reachesWhy = killed.reaches, killed.reachesWhy
	} else if script, ok := program.ScriptOf(words); ok && (script.Ending() == program.Stays || mayEndOtherwise(script)) ||
		!ok && isScript(words) {
		s.reachesWhy = "podinit forwards " + f.signal +
			" to the shell or, if the shell does not handle it, to the program that the shell waits for; podinit waits for both"
	}
	return s
}
