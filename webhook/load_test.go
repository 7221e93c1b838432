package webhook_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/podinit/podinit/internal/admission"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/imageconfig/imageconfigtest"
	"github.com/podinit/podinit/webhook"
)

// manyContainers is a Pod that costs much: of so many containers, whose images are to be looked up.
func manyContainers(n int) string {
	var containers []string
	for i := range n {
		containers = append(containers, fmt.Sprintf(`{"name":"container-%d","image":"registry.example/team/application-%d:1.2.3","imagePullPolicy":"IfNotPresent","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}`, i, i))
	}
	return `{"metadata":{"generateName":"large-"},"spec":{"containers":[` + strings.Join(containers, ",") + `]}}`
}

// memoryDuring is the most memory that Go has from the system while do runs, in bytes above what it had before.
func memoryDuring(do func()) uint64 {
	read := func() uint64 {
		samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
		metrics.Read(samples)
		return samples[0].Value.Uint64() - samples[1].Value.Uint64()
	}
	runtime.GC()
	before, most := read(), uint64(0)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			most = max(most, read())
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	do()
	close(stop)
	<-stopped
	return most - min(before, most)
}

// largeLoad sends so many large Pods of one namespace at once, and tells what came of each. They wait until ctx is done,
// while with is run.
func largeLoad(ctx context.Context, t *testing.T, handler http.Handler, namespace string, pods int, with func()) (outcomes map[string]int) {
	body := reviewOf(manyContainers(1000), func(r map[string]any) { r["namespace"], r["dryRun"] = namespace, true })
	outcomes = map[string]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for range pods {
		all.Go(func() {
			outcome := admitOne(ctx, t, handler, body)
			mu.Lock()
			defer mu.Unlock()
			outcomes[outcome]++
		})
	}
	with()
	all.Wait()
	return outcomes
}

// admitOne says whether a Pod is patched, or the warning that tells why not.
func admitOne(ctx context.Context, t *testing.T, handler http.Handler, body string) string {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/?timeout=30s", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	var review struct {
		Response struct {
			Allowed  bool
			Patch    []byte
			Warnings []string
		}
	}
	if w.Code == http.StatusServiceUnavailable {
		return "busy"
	}
	switch err := json.Unmarshal(w.Body.Bytes(), &review); {
	case w.Code != http.StatusOK || err != nil || !review.Response.Allowed:
		t.Errorf("status %d, %.200s", w.Code, w.Body)
		return "refused"
	case review.Response.Patch != nil:
		return "patched"
	case len(review.Response.Warnings) == 0:
		return "left alone without a word"
	}
	return review.Response.Warnings[0]
}

// lookups that take so long, or until nobody waits any more.
func lookups(take time.Duration) imageconfig.Source {
	return imageconfigtest.Source{OnLookup: func(ctx context.Context, _ imageconfig.Query) (imageconfig.Found, error) {
		select {
		case <-time.After(take):
			return imageconfigtest.Runs("", "/app"), nil
		case <-ctx.Done():
			return imageconfig.Found{}, ctx.Err()
		}
	}}
}

func loaded(take time.Duration) *webhook.Handler {
	i := injector
	i.LookupTimeout, i.Images = time.Minute, lookups(take)
	return &webhook.Handler{Mutator: i, Metrics: webhook.NewMetrics(prometheus.NewRegistry()), Log: logr.Discard()}
}

// arrivals counts requests that a handler has read, or answered without that.
type arrivals struct {
	http.Handler
	sync.WaitGroup
}

func (a *arrivals) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	arrived := sync.OnceFunc(a.Done)
	defer arrived()
	r.Body = &arriving{r.Body, r.ContentLength, arrived}
	a.Handler.ServeHTTP(w, r)
}

// arriving is a body of which some bytes are still to come.
type arriving struct {
	io.ReadCloser
	left    int64
	arrived func()
}

func (a *arriving) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if a.left -= int64(n); a.left == 0 {
		a.arrived()
	}
	return n, err
}

// 240 Pods of 1000 containers at once cost time, and not the process: what they take is far below the chart's memory
// limit of 256 MiB, of which the cache may have 40. What is more than a namespace may have under way is admitted at once,
// and so is what has no turn in time: here the time is over when some were decided about after all have arrived.
func TestManyLargePods(t *testing.T) {
	const pods, enough = 240, 60
	handler := loaded(0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var decided atomic.Int64
	inner := handler.Mutator
	handler.Mutator = mutatorFunc(func(ctx context.Context, r admission.Request) (admission.Answer, error) {
		defer decided.Add(1)
		return inner.Mutate(ctx, r)
	})
	arrive := &arrivals{Handler: handler}
	arrive.Add(pods)
	took := memoryDuring(func() {
		outcomes := largeLoad(ctx, t, arrive, "evil", pods, func() {
			arrive.Wait()
			before := decided.Load()
			eventually(t, "some to be decided about", func() bool { return decided.Load() >= before+enough })
			cancel()
		})
		t.Logf("%v", outcomes)
		if outcomes["patched"] == 0 {
			t.Error("none is patched")
		}
	})
	t.Logf("%d MiB", took>>20)
	if took > 160<<20 {
		t.Errorf("they took %d MiB", took>>20)
	}
}

// While the registries of one namespace's large Pods hang, the usual Pods of another are decided about.
func TestLargePodsKeepNobody(t *testing.T) {
	good, evil := loaded(time.Millisecond).Mutator, loaded(time.Hour).Mutator.(admission.Planner)
	evil.LookupTimeout = time.Hour
	handler := loaded(0)
	handler.Mutator = mutatorFunc(func(ctx context.Context, r admission.Request) (admission.Answer, error) {
		if r.Namespace == "good" {
			return good.Mutate(ctx, r)
		}
		return evil.Mutate(ctx, r)
	})
	took := memoryDuring(func() {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		outcomes := largeLoad(ctx, t, handler, "evil", 240, func() {
			usual := reviewOf(manyContainers(3), func(r map[string]any) { r["namespace"] = "good" })
			for range 100 {
				if outcome := admitOne(t.Context(), t, handler, usual); outcome != "patched" {
					t.Errorf("a usual pod of another namespace: %s", outcome)
				}
				time.Sleep(10 * time.Millisecond)
			}
			cancel()
		})
		if outcomes["patched"] > 0 {
			t.Errorf("large pods: %v, and their registries hang", outcomes)
		}
	})
	if took > 160<<20 {
		t.Errorf("they took %d MiB", took>>20)
	}
}

// While a large Pod of one namespace is decided about, one of another has a turn, with two processors too. While large Pods
// have all turns, reviews are still read.
func TestSlowDecisionsKeepNobody(t *testing.T) { synctest.Test(t, slowDecisionsKeepNobody) }

func slowDecisionsKeepNobody(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	handler := loaded(0)
	inner := handler.Mutator
	handler.Mutator = mutatorFunc(func(ctx context.Context, r admission.Request) (admission.Answer, error) {
		if strings.HasPrefix(r.Namespace, "slow") {
			<-ctx.Done()
		}
		return inner.Mutate(ctx, r)
	})
	large := manyContainers(1000)
	in := func(namespace string) func(map[string]any) {
		return func(r map[string]any) { r["namespace"] = namespace }
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	slow := func(namespace string) {
		all.Go(func() { admitOne(ctx, t, handler, reviewOf(large, in(namespace))) })
		synctest.Wait()
	}
	slow("slow-a")
	if outcome := admitOne(t.Context(), t, handler, reviewOf(large, in("good"))); outcome != "patched" {
		t.Errorf("a large pod of another namespace: %s", outcome)
	}
	slow("slow-b")
	inLargeReview := reviewOf(pod, in("good"), func(r map[string]any) { r["options"] = strings.Repeat("x", 64<<10) })
	if outcome := admitOne(t.Context(), t, handler, inLargeReview); outcome != "patched" {
		t.Errorf("a usual pod in a large review: %s", outcome)
	}
	cancel()
	all.Wait()
}

// Clients that promise large bodies and send nothing of them take no room from others.
func TestPromisesTakeNoRoom(t *testing.T) {
	server, _ := serve(t, injector)
	address := strings.TrimPrefix(server.URL, "https://")
	for range 50 {
		connection, err := tls.Dial("tcp", address, server.Client().Transport.(*http.Transport).TLSClientConfig)
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		if _, err := fmt.Fprintf(connection, "POST /?timeout=30s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{", webhook.MaxBody); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(100 * time.Millisecond) // they have all arrived, or what follows is only easier
	large := reviewOf(pod, func(r map[string]any) { r["options"] = strings.Repeat("x", 2<<20) })
	status, body := post(t, server, "/?timeout=5s", large)
	if r := admitted(t, status, body); r.Patch == nil {
		t.Errorf("warnings %q", r.Warnings)
	}
}
