package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/flowcontrol"
)

// window is what happened between two moments.
type window struct {
	took time.Duration
	// processor time of the apiserver, of etcd, of KWOK, and of the first and the last replica of the webhook.
	apiserver, etcd, kwok, first, last time.Duration
	// memory of the first replica at the end, and the most that it has had, in bytes.
	memory, peak int64
	// statuses and leases are how many of nodes were written, pods how many pods were created.
	statuses, leases, pods float64
	// calls of the webhook and their time in all, as the apiserver counts them, and how many of them took at most 5 and 25 ms, which
	// are the first bounds that its metric has.
	calls, callTime, within5, within25 float64
}

// cores are how many processors one keeps busy.
func (w window) cores(t time.Duration) float64 { return t.Seconds() / w.took.Seconds() }

// window is what happens while do does.
func (b *bench) window(ctx context.Context, do func()) (w window, err error) {
	before, err := b.look(ctx)
	if err != nil {
		return w, err
	}
	do()
	if w, err = b.look(ctx); err != nil {
		return w, err
	}
	for _, d := range []struct{ now, before *time.Duration }{
		{&w.took, &before.took}, {&w.apiserver, &before.apiserver}, {&w.etcd, &before.etcd}, {&w.kwok, &before.kwok}, {&w.first, &before.first},
		{&w.last, &before.last},
	} {
		*d.now -= *d.before
	}
	for _, d := range []struct{ now, before *float64 }{
		{&w.statuses, &before.statuses}, {&w.leases, &before.leases}, {&w.pods, &before.pods}, {&w.calls, &before.calls},
		{&w.callTime, &before.callTime}, {&w.within5, &before.within5}, {&w.within25, &before.within25},
	} {
		*d.now -= *d.before
	}
	return w, ctx.Err()
}

// look reads what counts from the beginning on.
func (b *bench) look(ctx context.Context) (w window, err error) {
	w.took = time.Since(b.began)
	pids := map[*time.Duration]int{&w.apiserver: b.APIServerPrograms[0].PID, &w.etcd: b.Etcd.PID, &w.kwok: b.kwokd.PID}
	if len(b.hooks) > 0 {
		pids[&w.first], pids[&w.last] = b.hooks[0].PID, b.hooks[len(b.hooks)-1].PID
		w.memory, w.peak = b.hooks[0].Used(), b.hooks[0].Peak()
	}
	for t, pid := range pids {
		if *t, err = processorTime(pid); err != nil {
			return w, err
		}
	}
	text, err := b.client.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return w, err
	}
	const requests, calls = "apiserver_request_total", "apiserver_admission_webhook_admission_duration_seconds"
	families, err := parse(string(text), requests, calls)
	if err != nil {
		return w, err
	}
	for _, m := range families[requests].GetMetric() {
		is := labels(m)
		switch n := m.GetCounter().GetValue(); {
		case is["resource"] == "nodes" && is["subresource"] == "status":
			w.statuses += n
		case is["resource"] == "leases" && is["verb"] == "PUT":
			w.leases += n
		case is["resource"] == "pods" && is["verb"] == "POST" && is["subresource"] == "" && is["code"] == "201":
			w.pods += n
		}
	}
	for _, m := range families[calls].GetMetric() {
		h := m.GetHistogram()
		w.calls += float64(h.GetSampleCount())
		w.callTime += h.GetSampleSum()
		for _, bucket := range h.GetBucket() {
			switch bucket.GetUpperBound() {
			case 0.005:
				w.within5 += float64(bucket.GetCumulativeCount())
			case 0.025:
				w.within25 += float64(bucket.GetCumulativeCount())
			}
		}
	}
	return w, nil
}

// parse reads some families of metrics. The apiserver has megabytes of others.
func parse(text string, names ...string) (map[string]*dto.MetricFamily, error) {
	var wanted strings.Builder
	for line := range strings.Lines(text) {
		if slices.ContainsFunc(names, func(name string) bool {
			return strings.HasPrefix(line, name) || strings.HasPrefix(line, "# TYPE "+name+" ")
		}) {
			wanted.WriteString(line)
		}
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(strings.NewReader(wanted.String()))
}

func labels(m *dto.Metric) map[string]string {
	all := map[string]string{}
	for _, l := range m.GetLabel() {
		all[l.GetName()] = l.GetValue()
	}
	return all
}

// processorTime of a process until now (proc_pid_stat(5)), which counts in hundredths of a second.
func processorTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:])) // from the third on
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, errors.Join(err1, err2)
}

// heard is what a replica asks the apiserver for.
type heard struct {
	// requests since its start: lists, watches and others.
	requests float64
	// heap that is in use, in bytes.
	heap float64
}

// heardOf reads the metrics of the first replica.
func (b *bench) heardOf(window) (h heard, err error) {
	response, err := http.Get(b.hooks[0].Metrics)
	if err != nil {
		return h, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(bufio.NewReader(response.Body))
	if err != nil {
		return h, err
	}
	families, err := parse(string(text), "rest_client_requests_total", "go_memstats_heap_inuse_bytes")
	if err != nil {
		return h, err
	}
	for _, m := range families["rest_client_requests_total"].GetMetric() {
		h.requests += m.GetCounter().GetValue()
	}
	for _, m := range families["go_memstats_heap_inuse_bytes"].GetMetric() {
		h.heap = m.GetGauge().GetValue()
	}
	return h, nil
}

// load is what pods that are created at a rate wait for and cost.
type load struct {
	window
	// waits of the client, for each pod.
	waits []time.Duration
	// unwrapped pods that should have been wrapped.
	unwrapped int
}

// rounds is how often the webhook is taken away and brought back while pods are created.
const rounds = 3

// measureLoad creates pods at the rate, without the webhook and with it by turns, and deletes them.
func (b *bench) measureLoad(ctx context.Context) (all [2]load, err error) {
	b.say("creating pods at a rate of %.0f a second, with and without the webhook by turns", b.rate)
	n := 0
	for range rounds {
		for i, change := range []func(context.Context) error{b.uninstall, b.install} {
			if err := change(ctx); err != nil {
				return all, err
			}
			l, err := b.createAtRate(ctx, &n, b.options.load/rounds, i == 1)
			if err != nil {
				return all, err
			}
			all[i].add(l)
		}
	}
	for _, l := range all {
		slices.Sort(l.waits)
	}
	return all, b.clear(ctx, n)
}

// add joins what was measured in two rounds.
func (l *load) add(other load) {
	l.waits, l.unwrapped = append(l.waits, other.waits...), l.unwrapped+other.unwrapped
	w, o := &l.window, other.window
	w.took, w.apiserver, w.etcd, w.kwok, w.first, w.last = w.took+o.took, w.apiserver+o.apiserver, w.etcd+o.etcd, w.kwok+o.kwok,
		w.first+o.first, w.last+o.last
	w.memory, w.peak = o.memory, o.peak
	w.pods, w.calls, w.callTime, w.within5, w.within25 = w.pods+o.pods, w.calls+o.calls, w.callTime+o.callTime, w.within5+o.within5,
		w.within25+o.within25
}

// percentile of the waits, which are sorted.
func (l load) percentile(p int) time.Duration { return l.waits[(len(l.waits)*p+99)/100-1] }

// createAtRate creates pods for a while, with the number that comes after n, and no more at once than atOnce: what the apiserver
// does not manage makes the rate less.
func (b *bench) createAtRate(ctx context.Context, n *int, during time.Duration, wrapped bool) (l load, err error) {
	var mu sync.Mutex
	limiter := flowcontrol.NewTokenBucketRateLimiter(float32(b.rate), 1)
	first := *n + 1
	*n += int(during.Seconds() * b.rate)
	var created error
	l.window, err = b.window(ctx, func() {
		created = parallel(ctx, first, *n, func(ctx context.Context, i int) error {
			limiter.Accept()
			began := time.Now()
			is, err := b.create(ctx, loadNamespace, i)
			took := time.Since(began)
			mu.Lock()
			defer mu.Unlock()
			l.waits = append(l.waits, took)
			if wrapped && !is {
				l.unwrapped++
			}
			if err == nil && !wrapped && is {
				err = errors.New("a pod is wrapped although the webhook is not installed")
			}
			return err
		})
	})
	return l, errors.Join(err, created)
}

// install brings the webhook configuration back, uninstall takes it away. Both leave the apiserver the time
// to notice.
func (b *bench) install(ctx context.Context) error {
	configuration := b.installs.DeepCopy()
	configuration.ResourceVersion, configuration.UID = "", ""
	err := b.Create(ctx, configuration)
	time.Sleep(time.Second)
	return err
}

func (b *bench) uninstall(ctx context.Context) error {
	err := b.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(ctx, b.installs.Name, metav1.DeleteOptions{})
	time.Sleep(time.Second)
	return err
}

// clear deletes the pods of which time was taken, that have the numbers from 1 on.
func (b *bench) clear(ctx context.Context, last int) error {
	b.say("deleting them")
	now := int64(0)
	return parallel(ctx, 1, last, func(ctx context.Context, i int) error {
		return b.client.CoreV1().Pods(loadNamespace).Delete(ctx, b.pod(loadNamespace, i).Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
	})
}
