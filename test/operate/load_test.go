package operate

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/api/v1alpha1"
)

// Namespaces of the load: in one all pods are opted in, in the other each by its label, so both kinds of entry of the
// MutatingWebhookConfiguration are used.
const (
	optedInNamespace = "operate-namespace"
	plainNamespace   = "operate-pod"
)

// counts are what became of the pods of a load.
type counts struct {
	created, wrapped, unwrapped, failed int
	slowest                             time.Duration
	// versions of podinit by which pods were wrapped.
	versions map[string]int
	// problems are the first few of what went wrong, with the time into the load.
	problems []string
}

// load creates pods all the time. They are dry runs, so admission is real and no node has to run them.
type load struct {
	began   time.Time
	cancel  context.CancelFunc
	pods    sync.WaitGroup
	mu      sync.Mutex
	counted counts
}

// startLoad begins to create pods, so many in a second: in bursts of a tenth as a ReplicaSet makes them and one by one in
// turn. Each is created when its time has come, however long the others take.
func startLoad(t *testing.T, perSecond int) *load {
	t.Helper()
	// Not the test's context: a load that is stopped is no load that failed.
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	l := &load{began: time.Now(), cancel: cancel, counted: counts{versions: map[string]int{}}}
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

func (l *load) create(i int) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	namespace, pod := optedInNamespace, newPod()
	if i%2 == 1 {
		namespace, pod.Labels = plainNamespace, map[string]string{v1alpha1.Inject: v1alpha1.InjectEnabled}
	}
	began := time.Now()
	got, err := client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	took := time.Since(began)

	l.mu.Lock()
	defer l.mu.Unlock()
	c := &l.counted
	c.created++
	c.slowest = max(c.slowest, took)
	problem := ""
	switch {
	case err != nil:
		c.failed++
		problem = "failed: " + err.Error()
	case wrapped(got):
		c.wrapped++
		c.versions[got.Labels[v1alpha1.VersionLabel]]++
	default:
		c.unwrapped++
		problem = "unwrapped; status " + got.Annotations[v1alpha1.StatusAnnotation]
	}
	if problem != "" && len(c.problems) < 10 {
		c.problems = append(c.problems, fmt.Sprintf("%s %.1f s in, in %s after %d ms: %s",
			began.Format(time.TimeOnly), began.Sub(l.began).Seconds(), namespace, took.Milliseconds(), problem))
	}
}

// stop ends the load and waits for what is under way.
func (l *load) stop() counts {
	l.cancel()
	l.pods.Wait()
	return l.counted
}

// newPod is a pod with a command, so nobody looks for its image.
func newPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "load-"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "app", Image: "registry.example/app:v1", Command: []string{"/app"},
		}}},
	}
}

func wrapped(pod *corev1.Pod) bool {
	command := pod.Spec.Containers[0].Command
	return len(command) > 0 && strings.HasPrefix(command[0], "/podinit/")
}

// table is what every step cost.
type table struct {
	text strings.Builder
	rows *tabwriter.Writer
}

func newTable(t *testing.T, title string) *table {
	table := &table{}
	table.rows = tabwriter.NewWriter(&table.text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table.rows, "created\twrapped\tunwrapped\tfailed\tasked again\tslowest\tstep\t")
	t.Cleanup(func() {
		table.rows.Flush()
		t.Logf("%s:\n%s", title, table.text.String())
	})
	return table
}

func (t *table) add(step string, c counts, again int) {
	fmt.Fprintf(t.rows, "%d\t%d\t%d\t%d\t%d\t%d ms\t%s\t\n", c.created, c.wrapped, c.unwrapped, c.failed, again, c.slowest.Milliseconds(), step)
}

// askedAgain is how many calls of our webhooks have failed so far, by the apiserver's own count: pods that were asked for
// again or came through unwrapped.
func askedAgain(t *testing.T) int {
	t.Helper()
	text, err := client.RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
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
