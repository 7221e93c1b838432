package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/test/controlplane"
)

const (
	// replicas of the webhook. The one apiserver sends all pods to the first.
	replicas = 2
	// atOnce is how many objects are created at once.
	atOnce = 64
	// loadNamespace has the pods of which time is taken.
	loadNamespace = "load"
	// quiet is how long nothing is measured after much has been done.
	quiet = 5 * time.Second
)

// bench is a control plane with simulated nodes.
type bench struct {
	options
	*controlplane.ControlPlane
	client   *kubernetes.Clientset
	kwokd    *controlplane.Program
	progress io.Writer
	began    time.Time
	hooks    []*controlplane.Webhook
	installs *admissionregistrationv1.MutatingWebhookConfiguration
	// registry has no images: podinit check asks one.
	registry string
	// made are how many nodes and pods there are.
	made size
}

// result of one size of the cluster.
type result struct {
	size
	// filled is how fast the pods of the cluster were created, in a second, as many at once as can be.
	filled   float64
	start    started
	idle     [2]window // without the webhook, with it
	heard    heard
	load     [2]load // without the webhook, with it
	commands []command
}

// newBench starts the control plane and KWOK. close is to be called also after an error.
func newBench(ctx context.Context, o options, progress io.Writer) (*bench, error) {
	b := &bench{options: o, progress: progress, began: time.Now()}
	directory, err := os.MkdirTemp("", "podinit-scale-")
	if err != nil {
		return b, err
	}
	for _, program := range []*string{&b.programs, &b.webhook, &b.podinit, &b.kwok} {
		if *program, err = filepath.Abs(*program); err != nil {
			return b, err
		}
	}
	b.say("starting etcd and kube-apiserver")
	b.ControlPlane, err = controlplane.Start(ctx, controlplane.Options{
		Programs: b.programs, Webhook: b.webhook, Directory: directory, Niceness: []int{0}, Replicas: replicas,
		EtcdArguments:      []string{"--quota-backend-bytes", fmt.Sprint(int64(8) << 30), "--snapshot-count", "10000"},
		APIServerArguments: strings.Fields(o.apiserver),
	})
	if err != nil {
		return b, err
	}
	// The client is not what is measured: its requests are as cheap as they can be.
	config := b.RESTConfig(0, "admin")
	config.ContentConfig = rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf",
		AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json"}
	if b.client, err = kubernetes.NewForConfig(config); err != nil {
		return b, err
	}
	if b.installs, err = b.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, "zz-podinit",
		metav1.GetOptions{}); err != nil {
		return b, err
	}
	if err := b.startKWOK(); err != nil {
		return b, err
	}
	b.registry = emptyRegistry()
	return b, b.CreateNamespace(ctx, loadNamespace, v1alpha1.InjectEnabled)
}

// close ends what runs and removes what it has left.
func (b *bench) close() error {
	if b.ControlPlane == nil {
		return nil
	}
	err := b.Stop()
	return errors.Join(err, os.RemoveAll(b.File(".")))
}

// say reports progress.
func (b *bench) say(format string, values ...any) {
	fmt.Fprintf(b.progress, "%4.0f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, values...))
}

// startKWOK starts KWOK with its own Stages, a few of which it goes through at once, and of which that for the status of nodes
// comes as often as the options say.
func (b *bench) startKWOK() error {
	files, err := filepath.Glob(filepath.Join(b.stages, "*.yaml"))
	if err != nil || len(files) == 0 {
		return errors.Join(err, fmt.Errorf("there are no Stages in %s", b.stages))
	}
	all := `apiVersion: config.kwok.x-k8s.io/v1alpha1
kind: KwokConfiguration
metadata: {name: kwok}
options: {podPlayStageParallelism: 16, nodePlayStageParallelism: 16, nodeLeaseParallelism: 16}
`
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var stage map[string]any
		if err := yaml.Unmarshal(text, &stage); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		spec, _ := stage["spec"].(map[string]any)
		if spec["delay"] != nil { // from half of the time to one and a half
			spec["delay"] = map[string]any{
				"durationMilliseconds": b.status.Milliseconds() / 2, "jitterDurationMilliseconds": b.status.Milliseconds() * 3 / 2,
			}
		}
		if text, err = yaml.Marshal(stage); err != nil {
			return err
		}
		all += "---\n" + string(text)
	}
	err = errors.Join(b.Write("stages.yaml", all), b.WriteKubeconfig("kwok-kubeconfig", "https://"+b.APIServers[0], "admintoken"))
	if err != nil {
		return err
	}
	b.kwokd, err = b.Run(0, b.kwok, "--kubeconfig", b.File("kwok-kubeconfig"), "--config", b.File("stages.yaml"), "--manage-all-nodes",
		"--node-lease-duration-seconds", fmt.Sprint(int(b.lease.Seconds())), "--v", "ERROR")
	return err
}

// measure has the cluster grow to a size, and measures there.
func (b *bench) measure(ctx context.Context, s size) (r result, err error) {
	r.size = s
	if err := b.addNodes(ctx, s.nodes); err != nil {
		return r, fmt.Errorf("creating nodes: %w", err)
	}
	if len(b.hooks) == 0 {
		if _, err := b.startHooks(ctx); err != nil {
			return r, err
		}
	}
	if r.filled, err = b.addPods(ctx, s.pods); err != nil {
		return r, fmt.Errorf("creating pods: %w", err)
	}
	r.size = b.made
	if err := b.stopHooks(); err != nil {
		return r, err
	}
	b.say("idle without the webhook")
	time.Sleep(quiet)
	if r.idle[0], err = b.window(ctx, func() { time.Sleep(b.idle) }); err != nil {
		return r, err
	}
	b.say("starting the webhook, and idle with it")
	if r.start, err = b.startHooks(ctx); err != nil {
		return r, err
	}
	time.Sleep(quiet)
	if r.idle[1], err = b.window(ctx, func() { time.Sleep(b.idle) }); err != nil {
		return r, err
	}
	if r.heard, err = b.heardOf(r.idle[1]); err != nil {
		return r, err
	}
	if r.load, err = b.measureLoad(ctx); err != nil {
		return r, fmt.Errorf("creating pods at a rate: %w", err)
	}
	r.commands, err = b.measureCommands(ctx, r.idle[1])
	return r, errors.Join(err, ctx.Err())
}

// started is what the start of a replica takes.
type started struct {
	// ready is the time until the last of the replicas is, that start at once.
	ready time.Duration
	// peak of memory, the most of the replicas, in bytes.
	peak int64
}

// startHooks starts all replicas.
func (b *bench) startHooks(ctx context.Context) (s started, err error) {
	began := time.Now()
	b.hooks = make([]*controlplane.Webhook, replicas)
	err = parallel(ctx, 0, replicas-1, func(_ context.Context, i int) (err error) {
		b.hooks[i], err = b.StartWebhook(ctx, i)
		return err
	})
	s.ready = time.Since(began)
	if err != nil {
		return s, err
	}
	time.Sleep(quiet) // nodes are listed after readiness
	for _, hook := range b.hooks {
		s.peak = max(s.peak, hook.Peak())
	}
	return s, nil
}

// stopHooks ends all replicas; an error if one has ended by itself.
func (b *bench) stopHooks() (err error) {
	for i, hook := range b.hooks {
		if _, stopped := hook.Stop(); stopped != nil {
			err = errors.Join(err, fmt.Errorf("replica %d: %w:\n%s", i, stopped, hook.Tail()))
		}
	}
	b.hooks = nil
	return err
}

// parallel calls do with the numbers from first to last, some at once, until one fails.
func parallel(ctx context.Context, first, last int, do func(context.Context, int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := first; i <= last && ctx.Err() == nil; i++ {
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}
