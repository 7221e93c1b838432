package explain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/cli/exit"
	"github.com/podinit/podinit/internal/cli/files"
	"github.com/podinit/podinit/internal/cli/manifest"
	"github.com/podinit/podinit/internal/cli/output"
	"github.com/podinit/podinit/internal/cli/pages"
	"github.com/podinit/podinit/internal/cli/planner"
	"github.com/podinit/podinit/internal/imageconfig"
)

const (
	// atOnce is how many pod templates are explained at once, each of which waits for its images.
	atOnce = 16
	// defaultLookupTime is how long all lookups together may take.
	defaultLookupTime = 30 * time.Second
	// requestTime is how long the apiserver may take for a page, unless --request-timeout says otherwise.
	requestTime = time.Minute
)

// surveyOptions are the flags of the summary.
type surveyOptions struct {
	// Summary prints it.
	Summary bool
	// AllNamespaces and Selector say of which pods.
	AllNamespaces bool
	Selector      string
	// LookupTime bounds all lookups together.
	LookupTime time.Duration
}

// AddFlags adds all of them.
func (o *surveyOptions) AddFlags(command *cobra.Command) {
	f := command.Flags()
	f.BoolVar(&o.Summary, "summary", false,
		"print one line for each container of every workload, and how many never receive their stop signal")
	f.BoolVarP(&o.AllNamespaces, "all-namespaces", "A", false, "with --summary: list the pods of all namespaces")
	f.StringVarP(&o.Selector, "selector", "l", "", "with --summary: only pods with these `labels`, such as app=web")
	f.DurationVar(&o.LookupTime, "lookup-time", defaultLookupTime,
		"with --summary: maximum time for all image lookups together; images not looked\nup by then are unknown")
}

// check says what does not go together. pods is set where it is about the cluster's pods.
func (o *surveyOptions) check(pods bool, format output.Format) error {
	switch {
	case !o.Summary && (o.AllNamespaces || o.Selector != ""):
		return errors.New("-A and -l require --summary")
	case !o.Summary && format == output.Wide:
		return errors.New("-o wide requires --summary; without it, choose one of table, json, yaml")
	case !pods && (o.AllNamespaces || o.Selector != ""):
		return errors.New("-A and -l select pods of the cluster: remove -f and the names of objects")
	case o.LookupTime <= 0:
		return errors.New("--lookup-time must be more than 0, such as 30s")
	}
	if _, err := labels.Parse(o.Selector); err != nil {
		return fmt.Errorf("--selector: %w", err)
	}
	return nil
}

// target is a pod template that is to be explained.
type target struct {
	workload string
	pods     int
	template manifest.Template
	// where it comes from, for errors.
	where string
}

// pods reports on the pods of the cluster. It takes lists alone: of pods, of Jobs if there are any, and what the webhook goes by.
func (e explainer) pods(
	ctx context.Context, flags *genericclioptions.ConfigFlags, o surveyOptions, plan planner.Options, errOut io.Writer, p *progress,
) (Report, error) {
	namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return Report{}, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	if o.AllNamespaces {
		namespace = metav1.NamespaceAll
	}
	config, err := flags.ToRESTConfig()
	if err != nil {
		return Report{}, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config = rest.CopyConfig(config)
	if config.Timeout == 0 {
		config.Timeout = requestTime
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return Report{}, fmt.Errorf("connecting to the cluster: %w", err)
	}
	if err := e.injector.FollowCluster(ctx, client, plan, namespace, errOut); err != nil {
		return Report{}, err
	}
	c, err := collect(ctx, client, namespace, o.Selector, p)
	if apierrors.IsForbidden(err) && o.AllNamespaces {
		return Report{}, fmt.Errorf("you may not list the pods of all namespaces; choose one namespace with -n instead of -A: %w", err)
	}
	if err != nil {
		return Report{}, err
	}
	var targets []target
	for _, group := range c.workloads() {
		targets = append(targets, target{
			workload: group.workload.String(), pods: group.pods, where: group.workload.namespace + "/" + group.workload.String(),
			template: manifest.Template{Object: manifest.Object{APIVersion: "v1", Kind: "Pod", Namespace: group.workload.namespace,
				Name: group.workload.name}, Pod: group.pod},
		})
	}
	return e.report(ctx, targets, c.pods, o, plan, p)
}

// collect reads the pods of a namespace, or of all if that is empty, a page at a time, and whose their Jobs are.
func collect(ctx context.Context, client kubernetes.Interface, namespace, selector string, p *progress) (*collection, error) {
	c := &collection{}
	read := 0
	err := pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		options.LabelSelector = selector
		p.show("reading pods: %d", read)
		list, err := client.CoreV1().Pods(namespace).List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			if err := c.add(&list.Items[i]); err != nil {
				return nil, err
			}
		}
		read += len(list.Items)
		return list, nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading pods: %w", err)
	}
	if !c.hasJobs() {
		return c, nil
	}
	err = pages.Each(func(options metav1.ListOptions) (metav1.ListInterface, error) {
		list, err := client.BatchV1().Jobs(namespace).List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			c.job(&list.Items[i])
		}
		return list, nil
	})
	if err != nil && !apierrors.IsForbidden(err) { // then Jobs stand for their CronJobs
		return nil, fmt.Errorf("reading Jobs: %w", err)
	}
	return c, nil
}

// manifests reports on the pod templates in files.
func (e explainer) manifests(
	ctx context.Context, inputs []files.File, o surveyOptions, plan planner.Options, errOut io.Writer, p *progress,
) (Report, error) {
	var targets []target
	for _, input := range inputs {
		documents, err := manifest.Read(input.Text)
		if err != nil {
			return Report{}, exit.With(exit.Usage, fmt.Errorf("%s: %w", input.Name, err))
		}
		for _, d := range documents {
			for _, template := range d.Templates {
				targets = append(targets, target{
					workload: template.Object.String(), template: template,
					where: fmt.Sprintf("%s: the document that begins on line %d: %s", input.Name, d.Line, template.Object),
				})
			}
			for _, unknown := range d.Unknown {
				fmt.Fprintf(errOut, "%s %s (%s) has a pod template that is not summarized: podinit does not know this kind\n",
					output.StyleFor(errOut).Faint("note:"), unknown, unknown.APIVersion)
			}
			for _, o := range d.Controlled {
				fmt.Fprintf(errOut, "%s %s (%s) has no pod template and is not summarized: %s makes its pods\n", output.StyleFor(errOut).Faint("note:"),
					o, o.APIVersion, o.Controller)
			}
		}
	}
	if len(targets) == 0 {
		return Report{}, exit.With(exit.Usage, errors.New("the input contains no pod template"))
	}
	return e.report(ctx, targets, 0, o, plan, p)
}

// report explains all targets, some at once.
func (e explainer) report(
	ctx context.Context, targets []target, pods int, o surveyOptions, plan planner.Options, p *progress,
) (Report, error) {
	e.injector.Images = &once{
		Source: e.injector.Images, until: time.Now().Add(o.LookupTime), budget: o.LookupTime,
		byNamespace: plan.RegistryConfig != "", // its credentials may be for some namespaces
		answers:     map[string]*answer{},
	}
	var mu sync.Mutex
	done := 0
	explanations := make([]Explanation, len(targets))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := range targets {
		group.Go(func() (err error) {
			explanations[i], err = e.template(groupCtx, targets[i].template)
			if err != nil && groupCtx.Err() == nil {
				err = exit.With(exit.Usage, fmt.Errorf("%s: %w", targets[i].where, err))
			}
			mu.Lock()
			defer mu.Unlock()
			done++
			p.show("looking at pod templates and their images: %d of %d", done, len(targets))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return Report{}, err
	}
	var rows []Row
	leftOut := 0
	for i, x := range explanations {
		more, out := rowsOf(x, targets[i].workload, targets[i].pods)
		rows = append(rows, more...)
		leftOut += out
	}
	return newReport(merge(rows), pods, leftOut), ctx.Err()
}

// once asks a source once for each image, until its time is over.
type once struct {
	imageconfig.Source
	until       time.Time
	budget      time.Duration
	byNamespace bool

	mu      sync.Mutex
	answers map[string]*answer
}

type answer struct {
	done  chan struct{}
	found imageconfig.Found
	err   error
}

// Lookup is an imageconfig.Source.
func (o *once) Lookup(ctx context.Context, q imageconfig.Query) (imageconfig.Found, error) {
	key := q.Reference.String() + " " + strings.Join(q.Architectures, ",")
	if o.byNamespace {
		key += " " + q.Namespace
	}
	o.mu.Lock()
	a := o.answers[key]
	first := a == nil
	if first {
		a = &answer{done: make(chan struct{})}
		o.answers[key] = a
	}
	o.mu.Unlock()
	if first {
		a.found, a.err = o.ask(ctx, q)
		close(a.done)
	}
	select {
	case <-a.done:
		return a.found, a.err
	case <-ctx.Done():
		return imageconfig.Found{}, ctx.Err()
	}
}

func (o *once) ask(ctx context.Context, q imageconfig.Query) (imageconfig.Found, error) {
	over := &imageconfig.Failure{Reason: v1alpha1.ReasonLookupTimeout,
		Err: fmt.Errorf("all lookups together took %s; allow more time with --lookup-time", o.budget)}
	if !time.Now().Before(o.until) {
		return imageconfig.Found{}, over
	}
	q.Pod = nil // it is of the pod that asks first
	ctx, cancel := context.WithDeadline(ctx, o.until)
	defer cancel()
	found, err := o.Source.Lookup(ctx, q)
	if err != nil && !time.Now().Before(o.until) {
		return imageconfig.Found{}, over
	}
	return found, err
}
