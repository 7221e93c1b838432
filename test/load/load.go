// Package load creates pods all the time, for tests of what is done to podinit or to the cluster meanwhile, and counts what becomes
// of them: wrapped, unwrapped, failed.
package load

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/test/suite"
)

// Namespaces of the load: in one all pods are opted in, in the other each by its label, so both kinds of entry of the
// MutatingWebhookConfiguration are used.
const (
	OptedInNamespace = "load-namespace"
	PlainNamespace   = "load-pod"
)

// Counts are what became of the pods of a load.
type Counts struct {
	Created, Wrapped, Unwrapped, Failed int
	Slowest                             time.Duration
	// Versions of podinit by which pods were wrapped.
	Versions map[string]int
	// Problems are the first few of what went wrong, with the time into the load.
	Problems []string
	// Slow are pods that took longer than a second, and LastSlow is when the last of them was begun, into the load.
	Slow     int
	LastSlow time.Duration
	// Bare are the pods that were created without the init, by namespace and name, if the load keeps them, and LastBare is when the
	// last was begun.
	Bare     []string
	LastBare time.Duration
}

// Load creates pods all the time.
type Load struct {
	client  kubernetes.Interface
	keep    bool
	began   time.Time
	cancel  context.CancelFunc
	pods    sync.WaitGroup
	mu      sync.Mutex
	counted Counts
}

// Start begins to create pods, so many in a second: in bursts of a tenth as a ReplicaSet makes them and one by one in
// turn. Each is created when its time has come, however long the others take. They are dry runs, so admission is real and no node
// has to run them.
func Start(t *testing.T, client kubernetes.Interface, perSecond int) *Load {
	t.Helper()
	return start(t, &Load{client: client}, perSecond)
}

// StartKept is Start with pods that stay, behind a gate that keeps them from the scheduler.
func StartKept(t *testing.T, client kubernetes.Interface, perSecond int) *Load {
	t.Helper()
	return start(t, &Load{client: client, keep: true}, perSecond)
}

func start(t *testing.T, l *Load, perSecond int) *Load {
	t.Helper()
	// Not the test's context: to stop a load is not a failure.
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	l.began, l.cancel, l.counted.Versions = time.Now(), cancel, map[string]int{}
	l.pods.Go(func() {
		second := time.NewTicker(time.Second / 10)
		defer second.Stop()
		for tick, due := 0, 0; ; tick++ {
			select {
			case <-ctx.Done():
				return
			case <-second.C:
			}
			due += perSecond
			for i := 0; due >= 10; i++ {
				due -= 10
				l.pods.Go(func() { l.create(i) })
				if tick%2 == 0 {
					time.Sleep(5 * time.Millisecond) // one by one
				}
			}
		}
	})
	return l
}

func (l *Load) create(i int) {
	ctx, cancel := context.WithTimeout(context.Background(), suite.Patience)
	defer cancel()
	namespace, pod := OptedInNamespace, NewPod()
	if i%2 == 1 {
		namespace, pod.Labels = PlainNamespace, map[string]string{v1alpha1.Inject: v1alpha1.InjectEnabled}
	}
	options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	if l.keep {
		options.DryRun, pod.Spec.SchedulingGates = nil, []corev1.PodSchedulingGate{{Name: "podinit.dev/load"}}
	}
	began := time.Now()
	got, err := l.client.CoreV1().Pods(namespace).Create(ctx, pod, options)
	took, into := time.Since(began), began.Sub(l.began)

	l.mu.Lock()
	defer l.mu.Unlock()
	c := &l.counted
	c.Created++
	c.Slowest = max(c.Slowest, took)
	if took > time.Second {
		c.Slow++
		c.LastSlow = max(c.LastSlow, into)
	}
	problem := ""
	switch {
	case err != nil:
		c.Failed++
		problem = "failed: " + err.Error()
	case Wrapped(got):
		c.Wrapped++
		c.Versions[got.Labels[v1alpha1.VersionLabel]]++
	default:
		c.Unwrapped++
		c.LastBare = max(c.LastBare, into)
		problem = "unwrapped; status " + got.Annotations[v1alpha1.StatusAnnotation]
		if l.keep {
			c.Bare = append(c.Bare, got.Namespace+"/"+got.Name)
		}
	}
	if problem != "" && len(c.Problems) < 10 {
		c.Problems = append(c.Problems, fmt.Sprintf("%s %.1f s in, in %s after %d ms: %s",
			began.Format(time.TimeOnly), into.Seconds(), namespace, took.Milliseconds(), problem))
	}
}

// Into is how long the load has been going on.
func (l *Load) Into() time.Duration { return time.Since(l.began) }

// Stop ends the load and waits for what is under way.
func (l *Load) Stop() Counts {
	l.cancel()
	l.pods.Wait()
	return l.counted
}

// NewPod is a pod with a command, so nobody looks for its image.
func NewPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "load-"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "app", Image: "registry.example/app:v1", Command: []string{"/app"},
		}}},
	}
}

// Wrapped says whether a pod's first container starts with the init.
func Wrapped(pod *corev1.Pod) bool {
	command := pod.Spec.Containers[0].Command
	return len(command) > 0 && strings.HasPrefix(command[0], "/podinit/")
}

// Table is what every step cost.
type Table struct {
	text strings.Builder
	rows *tabwriter.Writer
}

// NewTable is logged with its title when the test ends.
func NewTable(t *testing.T, title string) *Table {
	t.Helper()
	table := &Table{}
	table.rows = tabwriter.NewWriter(&table.text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table.rows, "created\twrapped\tunwrapped\tfailed\tasked again\tslowest\tstep\t")
	t.Cleanup(func() {
		table.rows.Flush()
		t.Logf("%s:\n%s", title, table.text.String())
	})
	return table
}

// Add adds a step, in which so many calls of the webhook failed.
func (t *Table) Add(step string, c Counts, again int) {
	fmt.Fprintf(t.rows, "%d\t%d\t%d\t%d\t%d\t%d ms\t%s\t\n", c.Created, c.Wrapped, c.Unwrapped, c.Failed, again, c.Slowest.Milliseconds(), step)
}

// AskedAgain is how many calls of our webhooks have failed so far, by the apiserver's own count: pods that were asked for
// again or came through unwrapped.
func AskedAgain(t *testing.T, client kubernetes.Interface) int {
	t.Helper()
	text, err := client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "apiserver_admission_webhook_fail_open_count{") && strings.Contains(line, "podinit.dev") {
			n := 0
			if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' '):], &n); err != nil {
				t.Fatalf("the apiserver's metrics: %q: %v", line, err)
			}
			total += n
		}
	}
	return total
}

// MakeNamespaces makes the load's namespaces, deleted when the test ends.
func MakeNamespaces(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	for name, labels := range map[string]map[string]string{OptedInNamespace: {v1alpha1.Inject: v1alpha1.InjectEnabled}, PlainNamespace: nil} {
		// What an earlier run left goes first, and exists while it is going.
		if err := client.CoreV1().Namespaces().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		suite.Retry(t, "namespace "+name+" to be made", func(ctx context.Context) (bool, error) {
			_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{})
			return err == nil, err
		})
		t.Cleanup(func() {
			if err := client.CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
		suite.Retry(t, "the service account of namespace "+name, func(ctx context.Context) (bool, error) {
			_, err := client.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
			return err == nil, err
		})
	}
}
