package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/admission"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/imageconfig/imageconfigtest"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/jsonpatch"
	"github.com/podinit/podinit/internal/profile"
	"github.com/podinit/podinit/webhook"
)

const pod = `{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"app-"},"spec":{"containers":[{"name":"app","image":"r/app:1","command":["app"]}]}}`

var injector = admission.Planner{Config: inject.Config{
	Image: "registry.example/podinit/init:v1.2.3", Version: "v1.2.3", ExcludedNamespaces: []string{"podinit-system"},
}}

// mutatorFunc is a Mutator made of a function.
type mutatorFunc func(context.Context, admission.Request) (admission.Answer, error)

func (f mutatorFunc) Mutate(ctx context.Context, r admission.Request) (admission.Answer, error) {
	return f(ctx, r)
}

// serve starts the handler behind TLS, as the apiserver finds it.
func serve(t *testing.T, m webhook.Mutator) (*httptest.Server, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	server := httptest.NewTLSServer(&webhook.Handler{Mutator: m, Metrics: webhook.NewMetrics(registry), Log: testr.New(t)})
	t.Cleanup(server.Close)
	return server, registry
}

// reviewOf is the AdmissionReview that an apiserver sends for the creation of a Pod.
func reviewOf(object string, change ...func(request map[string]any)) string {
	request := map[string]any{
		"uid":       "0a1b",
		"kind":      map[string]any{"group": "", "version": "v1", "kind": "Pod"},
		"resource":  map[string]any{"group": "", "version": "v1", "resource": "pods"},
		"namespace": "team-a",
		"operation": "CREATE",
		"userInfo":  map[string]any{"username": "someone"},
		"object":    json.RawMessage(object),
		"oldObject": nil,
		"dryRun":    false,
	}
	for _, c := range change {
		c(request)
	}
	raw, err := json.Marshal(map[string]any{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func post(t *testing.T, server *httptest.Server, query, body string) (int, []byte) {
	t.Helper()
	response, err := server.Client().Post(server.URL+query, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	out, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, out
}

// admitted is the response in an answer, which must be a review of v1 that allows.
func admitted(t *testing.T, status int, body []byte) *admissionv1.AdmissionResponse {
	t.Helper()
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); status != http.StatusOK || err != nil || review.Response == nil {
		t.Fatalf("status %d, body %s, error %v; want an AdmissionReview with a response", status, body, err)
	}
	if got, want := review.APIVersion+" "+review.Kind, "admission.k8s.io/v1 AdmissionReview"; got != want {
		t.Errorf("answer is a %q, want %q", got, want)
	}
	if r := review.Response; !r.Allowed || r.UID != "0a1b" {
		t.Errorf("allowed %v, uid %q; want true and the request's uid", r.Allowed, r.UID)
	}
	return review.Response
}

func TestPatch(t *testing.T) {
	for name, dryRun := range map[string]bool{"create": false, "dry run": true} {
		t.Run(name, func(t *testing.T) {
			server, registry := serve(t, injector)
			status, body := post(t, server, "/?timeout=5s", reviewOf(pod, func(r map[string]any) { r["dryRun"] = dryRun }))
			response := admitted(t, status, body)
			if response.PatchType == nil || *response.PatchType != admissionv1.PatchTypeJSONPatch {
				t.Fatalf("patch type %v, want JSONPatch", response.PatchType)
			}
			patched, err := jsonpatch.Apply([]byte(pod), response.Patch)
			if err != nil {
				t.Fatal(err)
			}
			var got corev1.Pod
			if err := json.Unmarshal(patched, &got); err != nil {
				t.Fatal(err)
			}
			want := []string{"/podinit/init", "--grace=30s", "--termination-message=/dev/termination-log", "--", "app"}
			if diff := cmp.Diff(want, got.Spec.Containers[0].Command); diff != "" {
				t.Errorf("command (-want +got):\n%s", diff)
			}
			expectCounters(t, registry, "podinit_containers_total", map[string]float64{"wrapped  command": 1})
			expectOutcome(t, registry, "patched")
		})
	}
}

// Whatever is in the answer, the apiserver can read it.
func TestAnswerIsJSON(t *testing.T) {
	const uid = "\"\\\n<&>\u2028é"
	warnings := []string{"", "a \"b\"\n", "<é>"}
	for name, c := range map[string]struct {
		answer admission.Answer
		want   admissionv1.AdmissionResponse
	}{
		"patched": {
			answer: admission.Answer{Patch: []byte("[\xff\x00]"), Warnings: warnings},
			want:   admissionv1.AdmissionResponse{Allowed: true, Patch: []byte("[\xff\x00]"), PatchType: new(admissionv1.PatchTypeJSONPatch), Warnings: warnings},
		},
		"unchanged": {want: admissionv1.AdmissionResponse{Allowed: true}},
		"refused": {
			answer: admission.Answer{Refusals: []string{"\"because\"\n"}, Warnings: warnings[1:2]},
			want: admissionv1.AdmissionResponse{Warnings: warnings[1:2], Result: &metav1.Status{
				Status: metav1.StatusFailure, Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden, Message: "\"because\"\n",
			}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			server, _ := serve(t, mutatorFunc(func(context.Context, admission.Request) (admission.Answer, error) { return c.answer, nil }))
			_, body := post(t, server, "/", reviewOf(pod, func(r map[string]any) { r["uid"] = uid }))
			var got admissionv1.AdmissionReview
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatalf("%v: %s", err, body)
			}
			c.want.UID = uid
			if diff := cmp.Diff(admissionv1.AdmissionReview{
				TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Response: &c.want,
			}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The review's namespace counts, not the Pod's own, which is empty.
func TestNamespaceOfTheRequest(t *testing.T) {
	server, registry := serve(t, injector)
	status, body := post(t, server, "/", reviewOf(pod, func(r map[string]any) { r["namespace"] = "podinit-system" }))
	if r := admitted(t, status, body); r.Patch != nil {
		t.Errorf("patch %s for an excluded namespace", r.Patch)
	}
	expectOutcome(t, registry, "unchanged")
}

func TestUnpatched(t *testing.T) {
	object := func(o string) string { return reviewOf(o) }
	for name, c := range map[string]struct {
		body, warning, outcome string
		mutator                webhook.Mutator
	}{
		"a deployment": {
			body: reviewOf(`{"kind":"Deployment"}`, func(r map[string]any) {
				r["resource"] = map[string]any{"group": "apps", "version": "v1", "resource": "deployments"}
			}),
			warning: "was sent CREATE of deployments.apps", outcome: "not-ours",
		},
		"an update": {
			body:    reviewOf(pod, func(r map[string]any) { r["operation"] = "UPDATE" }),
			warning: "was sent UPDATE of pods", outcome: "not-ours",
		},
		"a deletion": {
			body:    reviewOf(`null`, func(r map[string]any) { r["operation"], r["oldObject"] = "DELETE", json.RawMessage(pod) }),
			warning: "was sent DELETE of pods", outcome: "not-ours",
		},
		"a connection": {
			body:    reviewOf(`{"kind":"PodExecOptions"}`, func(r map[string]any) { r["operation"], r["subResource"] = "CONNECT", "exec" }),
			warning: "was sent CONNECT of pods/exec", outcome: "not-ours",
		},
		"a subresource": {
			body:    reviewOf(pod, func(r map[string]any) { r["subResource"] = "ephemeralcontainers" }),
			warning: "was sent CREATE of pods/ephemeralcontainers", outcome: "not-ours",
		},
		"an update of a subresource": {
			body:    reviewOf(pod, func(r map[string]any) { r["operation"], r["subResource"] = "UPDATE", "resize" }),
			warning: "was sent UPDATE of pods/resize", outcome: "not-ours",
		},
		"another group's pods": {
			body: reviewOf(pod, func(r map[string]any) {
				r["resource"] = map[string]any{"group": "metrics.k8s.io", "version": "v1", "resource": "pods"}
			}),
			warning: "was sent CREATE of pods.metrics.k8s.io", outcome: "not-ours",
		},
		"null fields": {
			body: reviewOf(pod, func(r map[string]any) {
				for _, field := range []string{"kind", "resource", "subResource", "namespace", "name", "operation", "userInfo", "dryRun"} {
					r[field] = nil
				}
			}),
			warning: "was sent  of ", outcome: "not-ours",
		},
		"no fields": {
			body: `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"0a1b"}}`, warning: "was sent  of ", outcome: "not-ours",
		},
		"absent object":     {body: reviewOf(pod, func(r map[string]any) { delete(r, "object") }), warning: "reading the object as a v1 Pod", outcome: "failed"},
		"no object":         {body: object(`null`), warning: "no metadata or no spec", outcome: "failed"},
		"a list":            {body: object(`[]`), warning: "reading the object as a v1 Pod", outcome: "failed"},
		"another kind":      {body: object(`{"kind":"ConfigMap","metadata":{},"data":{}}`), warning: "no metadata or no spec", outcome: "failed"},
		"a pod of nonsense": {body: object(`{"metadata":{},"spec":{"containers":{"name":7}}}`), warning: "reading the object as a v1 Pod", outcome: "failed"},
		"an error": {
			body: object(pod), warning: "pod left alone: out of paper", outcome: "failed",
			mutator: mutatorFunc(func(context.Context, admission.Request) (admission.Answer, error) {
				return admission.Answer{Patch: []byte(`[]`)}, errors.New("out of paper")
			}),
		},
		"a panic": {
			body: object(pod), warning: "internal error", outcome: "panic",
			mutator: mutatorFunc(func(context.Context, admission.Request) (admission.Answer, error) { panic("at the disco") }),
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.mutator == nil {
				c.mutator = injector
			}
			server, registry := serve(t, c.mutator)
			status, body := post(t, server, "/?timeout=5s", c.body)
			r := admitted(t, status, body)
			if r.Patch != nil || r.PatchType != nil {
				t.Errorf("patch %s of type %v, want none", r.Patch, r.PatchType)
			}
			if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], c.warning) || strings.Contains(r.Warnings[0], "\n") {
				t.Errorf("warnings %q, want one line that says %q", r.Warnings, c.warning)
			}
			expectOutcome(t, registry, c.outcome)

			// The server lives.
			if status, _ := post(t, server, "/", "{"); status != http.StatusBadRequest {
				t.Errorf("afterwards: status %d, want 400", status)
			}
		})
	}
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		handler := &webhook.Handler{Metrics: webhook.NewMetrics(registry), Log: testr.New(t), Mutator: mutatorFunc(func(ctx context.Context, _ admission.Request) (admission.Answer, error) {
			<-ctx.Done()
			return admission.Answer{Patch: []byte(`[]`)}, nil
		})}
		request := httptest.NewRequest(http.MethodPost, "/?timeout=700ms", strings.NewReader(reviewOf(pod)))
		request.Header.Set("Content-Type", "application/json")
		answer := httptest.NewRecorder()
		start := time.Now()
		handler.ServeHTTP(answer, request)
		if took := time.Since(start); took > 650*time.Millisecond {
			t.Errorf("answered after %v, and the apiserver waits 700 ms", took)
		}
		if r := admitted(t, answer.Code, answer.Body.Bytes()); r.Patch != nil {
			t.Errorf("patch %s after the deadline", r.Patch)
		}
		expectOutcome(t, registry, "timeout")
	})
}

func TestNoReview(t *testing.T) {
	for name, c := range map[string]struct {
		method, contentType, body string
		status                    int
		want                      string
	}{
		"garbage":         {body: "\x00\xff{", status: 400, want: "as an AdmissionReview"},
		"empty":           {body: "", status: 400, want: "as an AdmissionReview"},
		"truncated":       {body: reviewOf(pod)[:200], status: 400, want: "as an AdmissionReview"},
		"two documents":   {body: reviewOf(pod) + reviewOf(pod), status: 400, want: "as an AdmissionReview"},
		"null":            {body: "null", status: 400, want: "send an AdmissionReview of admission.k8s.io/v1"},
		"v1beta1":         {body: strings.Replace(reviewOf(pod), "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1), status: 400, want: "send an AdmissionReview of admission.k8s.io/v1"},
		"a pod":           {body: pod, status: 400, want: `the body is a "Pod" of "v1"`},
		"no request":      {body: `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`, status: 400, want: "has no request"},
		"a null request":  {body: `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":null}`, status: 400, want: "has no request"},
		"a null uid":      {body: reviewOf(pod, func(r map[string]any) { r["uid"] = nil }), status: 400, want: "no uid"},
		"no uid":          {body: reviewOf(pod, func(r map[string]any) { delete(r, "uid") }), status: 400, want: "no uid"},
		"10 MiB":          {body: reviewOf(`"` + strings.Repeat("x", 10<<20) + `"`), status: 413, want: "larger than 8388608 bytes"},
		"GET":             {method: http.MethodGet, status: 405, want: "by POST"},
		"no content type": {contentType: "text/plain", body: reviewOf(pod), status: 415, want: "send application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			server, registry := serve(t, injector)
			method, contentType := http.MethodPost, "application/json; charset=utf-8"
			if c.method != "" {
				method = c.method
			}
			if c.contentType != "" {
				contentType = c.contentType
			}
			request, err := http.NewRequest(method, server.URL, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", contentType)
			response, err := server.Client().Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != c.status || !strings.Contains(string(body), c.want) {
				t.Errorf("status %d, %q; want %d and a text that says %q", response.StatusCode, body, c.status, c.want)
			}
			expectOutcome(t, registry, "unreadable")

			// The server lives.
			status, answer := post(t, server, "/", reviewOf(pod))
			if r := admitted(t, status, answer); r.Patch == nil {
				t.Error("afterwards: a pod is not patched")
			}
		})
	}
}

// The apiserver's timeout counts, up to the longest that it can have, less the time for the answer.
func TestTimeout(t *testing.T) {
	for query, want := range map[string]time.Duration{
		"":               9500 * time.Millisecond,
		"?timeout=5s":    4500 * time.Millisecond,
		"?timeout=600ms": 300 * time.Millisecond,
		"?timeout=30s":   29500 * time.Millisecond,
		"?timeout=60s":   29500 * time.Millisecond,
		"?timeout=9000h": 29500 * time.Millisecond,
		"?timeout=-1s":   9500 * time.Millisecond,
		"?timeout=soon":  9500 * time.Millisecond,
	} {
		var deadline time.Time
		server, _ := serve(t, mutatorFunc(func(ctx context.Context, _ admission.Request) (admission.Answer, error) {
			deadline, _ = ctx.Deadline()
			return admission.Answer{}, nil
		}))
		before := time.Now()
		post(t, server, "/"+query, reviewOf(pod))
		if deadline.Sub(before) < want || time.Until(deadline) > want {
			t.Errorf("%q: the deadline is %v from the start, want %v", query, deadline.Sub(before), want)
		}
	}
}

// Bodies together take no more than a fixed amount of memory, and large ones no more than a part of it: what comes when
// that is taken is refused, small ones are still served, and what comes afterwards is served.
func TestBodiesAreBounded(t *testing.T) {
	started, finish := make(chan struct{}, 1000), make(chan struct{})
	server, registry := serve(t, mutatorFunc(func(context.Context, admission.Request) (admission.Answer, error) {
		started <- struct{}{}
		<-finish
		return admission.Answer{}, nil
	}))
	send := func(body string) int {
		response, err := server.Client().Post(server.URL+"/?timeout=30s", "application/json", strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return 0
		}
		defer response.Body.Close()
		if text, err := io.ReadAll(response.Body); err != nil || response.StatusCode == http.StatusServiceUnavailable && !strings.Contains(string(text), "at once") {
			t.Errorf("status %d, %q, %v", response.StatusCode, text, err)
		}
		return response.StatusCode
	}
	// of is a review of so many bytes.
	of := func(size int) string {
		padded := func(by int) string {
			return reviewOf(pod, func(r map[string]any) { r["options"] = strings.Repeat("x", by) })
		}
		return padded(size - len(padded(0)))
	}
	const small, smalls = 256 << 10, 16 << 20
	var all sync.WaitGroup
	fill := func(body string, times int) {
		for range times {
			all.Go(func() {
				if status := send(body); status != http.StatusOK {
					t.Errorf("status %d for %d bytes before memory is used up", status, len(body))
				}
			})
			<-started
		}
	}
	fill(of(webhook.MaxBody), (webhook.MaxBodies-smalls)/webhook.MaxBody)
	if status := send(of(small + 1)); status != http.StatusServiceUnavailable {
		t.Errorf("status %d for a large review when memory for those is used up, want 503", status)
	}
	expectOutcome(t, registry, "busy")
	fill(of(small), smalls/small)
	if status := send(reviewOf(pod)); status != http.StatusServiceUnavailable {
		t.Errorf("status %d when memory is used up, want 503", status)
	}
	close(finish)
	all.Wait()
	for _, size := range []int{small, webhook.MaxBody} {
		if status := send(of(size)); status != http.StatusOK {
			t.Errorf("status %d for %d bytes afterwards, want 200", status, size)
		}
	}
}

// A body whose length is not said is refused before any of it is read.
func TestBodiesSayTheirLength(t *testing.T) {
	server, registry := serve(t, injector)
	response, err := server.Client().Post(server.URL, "application/json", io.MultiReader(strings.NewReader(reviewOf(pod)))) // hides the length
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusLengthRequired || !strings.Contains(string(text), "Content-Length") {
		t.Errorf("status %d, %q, %v; want 411 and what to do", response.StatusCode, text, err)
	}
	expectOutcome(t, registry, "unreadable")
}

// The log has no line for each of a flood of bad requests, and says how many it left out.
func TestLogOfBadRequestsIsBounded(t *testing.T) { synctest.Test(t, logOfBadRequestsIsBounded) }

func logOfBadRequestsIsBounded(t *testing.T) {
	var lines []string
	var mu sync.Mutex
	log := funcr.New(func(_, line string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, line)
	}, funcr.Options{})
	handler := &webhook.Handler{Mutator: injector, Metrics: webhook.NewMetrics(prometheus.NewRegistry()), Log: log}
	flood := func(body string) {
		for range 1000 {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			handler.ServeHTTP(httptest.NewRecorder(), r)
		}
	}
	flood("no JSON")
	flood(reviewOf(pod, func(r map[string]any) { r["operation"] = "DELETE" }))
	if len(lines) < 2 || len(lines) > 100 {
		t.Errorf("%d lines for 2000 bad requests, want some", len(lines))
	}
	time.Sleep(1100 * time.Millisecond)
	lines = nil
	flood("no JSON")
	if len(lines) == 0 || !strings.Contains(lines[0], `"notLogged"=9`) {
		t.Errorf("after a second: %q, want a line that says how many were left out", lines)
	}
}

// A burst of usual reviews is far from the bound, even if all of them wait for something.
func TestBurstOfReviews(t *testing.T) {
	const burst = 100
	var arrived sync.WaitGroup
	arrived.Add(burst)
	server, _ := serve(t, mutatorFunc(func(context.Context, admission.Request) (admission.Answer, error) {
		arrived.Done()
		arrived.Wait()
		return admission.Answer{}, nil
	}))
	body := reviewOf(pod, func(r map[string]any) { r["options"] = strings.Repeat("x", 20<<10) })
	var all sync.WaitGroup
	for range burst {
		all.Go(func() {
			response, err := server.Client().Post(server.URL+"/?timeout=30s", "application/json", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				arrived.Done()
				return
			}
			defer response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Errorf("status %d", response.StatusCode)
				arrived.Done()
			}
		})
	}
	all.Wait()
}

// The log tells Pods apart that have no name yet, and is not filled by whoever sends long ones.
func TestLogNamesThePod(t *testing.T) {
	long := strings.Repeat("é", 1<<20)
	for name, c := range map[string]struct {
		body string
		want []string
		not  string
	}{
		"a name": {
			body: reviewOf(pod, func(r map[string]any) { r["name"] = "app-1" }),
			want: []string{`"namespace"="team-a"`, `"name"="app-1"`}, not: "generateName",
		},
		"no name": {
			body: reviewOf(`{"metadata":{"generateName":"app-7d9f-","ownerReferences":[{"kind":"Other","name":"x"},{"kind":"ReplicaSet","name":"app-7d9f","controller":true}]}}`),
			want: []string{`"generateName"="app-7d9f-"`, `"owner"="ReplicaSet/app-7d9f"`}, not: "Other",
		},
		"no owner":   {body: reviewOf(pod), want: []string{`"generateName"="app-"`}, not: "owner"},
		"no object":  {body: reviewOf(`7`), want: []string{`"namespace"="team-a"`}, not: "generateName"},
		"long names": {body: reviewOf(pod, func(r map[string]any) { r["namespace"], r["name"] = long, long }), want: []string{"é…"}, not: long[:600]},
		"a long owner": {
			body: reviewOf(`{"metadata":{"generateName":"` + long + `","ownerReferences":[{"kind":"a","name":"b","controller":true}]}}`),
			want: []string{"é…", `"owner"="a/b"`}, not: long[:600],
		},
		"a long operation": {body: reviewOf(pod, func(r map[string]any) { r["operation"] = long }), want: []string{"é…"}, not: long[:2000]},
		"a long kind":      {body: `{"kind":"` + long + `"}`, want: []string{"é…", `"outcome"="unreadable"`}, not: long[:2000]},
	} {
		t.Run(name, func(t *testing.T) {
			var lines strings.Builder
			send := fuzzed(mutatorFunc(func(context.Context, admission.Request) (admission.Answer, error) {
				return admission.Answer{}, errors.New("out of paper")
			}), funcr.New(func(prefix, args string) { lines.WriteString(args + "\n") }, funcr.Options{}))
			if w := send([]byte(c.body)); w.Body.Len() > 4<<10 {
				t.Errorf("an answer of %d bytes", w.Body.Len())
			}
			for _, want := range c.want {
				if !strings.Contains(lines.String(), want) {
					t.Errorf("no %s in %.2000s", want, lines.String())
				}
			}
			if strings.Contains(lines.String(), c.not) {
				t.Errorf("%.20s in %.2000s", c.not, lines.String())
			}
		})
	}
}

// However many containers a Pod has, and however long their names are, a line of the log is not.
func TestLogNamesSomeContainers(t *testing.T) {
	for count, want := range map[int]string{16: `"notNamed"=0`, 1000: `"notNamed"=984`} {
		var answer admission.Answer
		for range count {
			name := strings.Repeat("a", 60_000)
			answer.Containers = append(answer.Containers, inject.Decision{Name: name, Source: v1alpha1.SourceRegistry, Drift: []v1alpha1.Reason{v1alpha1.ReasonStaleLookup}})
			answer.Lookups = append(answer.Lookups, admission.Lookup{Container: name, Outcome: "cache"})
		}
		lines := map[string]string{}
		send := fuzzed(mutatorFunc(func(context.Context, admission.Request) (admission.Answer, error) { return answer, nil }),
			funcr.New(func(_, args string) {
				message, _, _ := strings.Cut(args, " \"uid\"")
				lines[message] = args
			}, funcr.Options{Verbosity: 1}))
		send([]byte(reviewOf(pod)))
		if len(lines) != 2 {
			t.Fatalf("%d lines, want one about the answer and one about the drift", len(lines))
		}
		for message, line := range lines {
			if len(line) > 16<<10 || !strings.Contains(line, want) || strings.Count(line, `"action"`) != 16 {
				t.Errorf("%d containers: %s: %d bytes, want 16 containers in at most 16 KiB, and %s", count, message, len(line), want)
			}
		}
	}
}

// A body that stops half-way is given up, though it never ends.
func TestSlowBody(t *testing.T) {
	server, _ := serve(t, injector)
	body, feed := io.Pipe()
	defer feed.Close()
	go func() { _, _ = feed.Write([]byte(`{"apiVersion":`)) }()
	request, err := http.NewRequest(http.MethodPost, server.URL+"/?timeout=700ms", body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.ContentLength = 1000
	response, err := server.Client().Do(request)
	if err != nil {
		return // the connection was closed: as good as a status
	}
	response.Body.Close()
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d, want 400", response.StatusCode)
	}
}

func expectOutcome(t *testing.T, registry *prometheus.Registry, outcome string) {
	t.Helper()
	expectCounters(t, registry, "podinit_admission_requests_total", map[string]float64{outcome: 1})
}

// expectCounters compares what has been counted under a name, by the values of the labels.
func expectCounters(t *testing.T, registry *prometheus.Registry, name string, want map[string]float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if n := m.GetCounter().GetValue(); f.GetName() == name && n > 0 {
				var values []string
				for _, l := range m.GetLabel() {
					values = append(values, l.GetValue())
				}
				got[strings.Join(values, " ")] = n
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// fuzzed is a handler without a server, and what it answers to a body.
func fuzzed(m webhook.Mutator, log logr.Logger) func(body []byte) *httptest.ResponseRecorder {
	handler := &webhook.Handler{Mutator: m, Metrics: webhook.NewMetrics(prometheus.NewRegistry()), Log: log}
	return func(body []byte) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/?timeout=30s", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
}

// goldenPods are those of the injection's golden cases.
func goldenPods(f *testing.F) (pods [][]byte) {
	files, err := filepath.Glob("../internal/inject/testdata/*/pod.yaml")
	if err != nil || len(files) == 0 {
		f.Fatalf("no golden cases found: %v", err)
	}
	for _, file := range files {
		in, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		raw, err := yaml.YAMLToJSON(in)
		if err != nil {
			f.Fatal(err)
		}
		pods = append(pods, raw)
	}
	return pods
}

// FuzzObject sends whatever is JSON as the object of a review: it is always admitted, and a patch always applies, to
// something that is not changed again, and that the apiserver takes if it took what it was made of.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{
		pod, `{}`, `null`, `{"metadata":{},"spec":{}}`, `{"metadata":{},"spec":{"containers":[null,{"command":["x"]}]}}`,
		`{"metadata":{"annotations":{"podinit.dev/status":"x"}},"spec":{"initContainers":[{"name":"podinit-copy","command":["/init","copy","/podinit/init"],"securityContext":null,"volumeMounts":[null]}],"containers":[{"name":"a","command":["/podinit/init","--","/bin/a"],"volumeMounts":[{"name":"podinit","mountPath":"/podinit"}]}],"volumes":[{"name":"podinit","emptyDir":{}}]}}`,
		"{ \"metadata\" : {\"annotations\":null},\r\n\t\"spec\":{\"c\\u006fntainers\":[{\"name\":\"\\ud800\xff\",\"command\":[\"\\u0024(X)\"]}]}}",
		`{"metadata":{"annotations":{"podinit.dev/containers":"a,b,,","podinit.dev/flags.a":"-v --grace","podinit.dev/entrypoint.b":"[\"$x\"]","podinit.dev/entrypoint.":"[\"x\"]"}},"spec":{"initContainers":[{"name":"b","image":"x","restartPolicy":"Always"},null],"containers":[{"name":"a","command":["x"],"image":"y"},{"name":"c","image":"z","args":[7]}]}}`,
		`{"metadata":{},"spec":{"containers":[{"name":"a","command":["/podinit/init","-v","--platform=linux/amd64:1:SIGINT","x","--platform=linux/arm64:0","--","--"],"args":["--platform=y:1"],"image":"z"},{"name":"b","image":"z"}]}}`,
		`{"metadata":{"annotations":{"cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes":",podinit,"}},"spec":{"hostUsers":false,"affinity":{"nodeAffinity":null},"containers":[{"name":"a","image":"x","securityContext":{"seLinuxOptions":{"level":"s0"}}}],"volumes":[{"name":"podinit","image":{}}]}}`,
	} {
		f.Add([]byte(seed))
	}
	for _, raw := range goldenPods(f) {
		f.Add(raw)
	}
	type handler = func(body []byte) *httptest.ResponseRecorder
	handlers := []handler{fuzzed(injector, logr.Discard()), fuzzed(withProfile(f, v1alpha1.InitProfileSpec{
		Containers:  v1alpha1.ContainersSpec{Sidecars: true, InitContainers: true},
		Delivery:    v1alpha1.DeliverByImageVolume,
		Entrypoints: []v1alpha1.ImageEntrypoint{{Image: "x*", Entrypoint: []string{"$entry"}}, {Image: "*", Cmd: []string{"cmd", "$"}}},
	}), logr.Discard())}
	pinning := withProfile(f, v1alpha1.InitProfileSpec{Containers: v1alpha1.ContainersSpec{Sidecars: true}, PinDigest: v1alpha1.PinOnLookup})
	pinning.LookupTimeout, pinning.Images = time.Minute, imageconfigtest.Source{
		OnLookup: func(context.Context, imageconfig.Query) (imageconfig.Found, error) {
			return imageconfigtest.Runs("SIGQUIT", "$entry"), nil
		},
		OnKnown: func(imageconfig.Query) (imageconfig.Found, bool) {
			return imageconfigtest.Runs("SIGQUIT", "$entry"), true
		},
	}
	differing := injector
	differing.LookupTimeout, differing.Images = time.Minute, imageconfigtest.Source{
		OnLookup: func(context.Context, imageconfig.Query) (imageconfig.Found, error) {
			found, other := imageconfigtest.Runs("SIGQUIT", "$entry"), imageconfigtest.Runs("SIGINT", "--", "--platform=linux/amd64:1")
			found.Image.Configs = append(found.Image.Configs, other.Image.Configs...)
			found.Image.Configs[0].Platform = imageconfig.Platform{OS: "linux", Architecture: "amd64"}
			found.Image.Configs[1].Platform = imageconfig.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
			return found, nil
		},
	}
	failing := injector
	failing.LookupTimeout, failing.Images = time.Minute, imageconfigtest.Source{
		OnLookup: func(context.Context, imageconfig.Query) (imageconfig.Found, error) {
			return imageconfig.Found{}, io.EOF
		},
	}
	handlers = append(handlers, fuzzed(pinning, logr.Discard()), fuzzed(differing, logr.Discard()), fuzzed(failing, logr.Discard()))
	// As it is: an apiserver's encoder need not write as ours does.
	head, tail, _ := strings.Cut(reviewOf(`"the object"`), `"the object"`)
	ask := func(t *testing.T, send handler, object []byte) []byte {
		w := send(slices.Concat([]byte(head), object, []byte(tail)))
		return admitted(t, w.Code, w.Body.Bytes()).Patch
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		if !json.Valid(object) {
			return
		}
		refused := refusals(object)
		for _, send := range handlers {
			raw := ask(t, send, object)
			if raw == nil {
				continue
			}
			patched, err := jsonpatch.Apply(object, raw)
			if err != nil {
				t.Fatalf("applying %s to %s: %v", raw, object, err)
			}
			if len(refused) == 0 {
				if problems := refusals(patched); len(problems) > 0 {
					t.Errorf("%s\nis good, and became %s\nwhich is refused: %q", object, patched, problems)
				}
			}
			if again := ask(t, send, patched); again != nil {
				t.Errorf("%s\nbecame %s\nand is patched again: %s", object, patched, again)
			}
		}
	})
}

// FuzzReview sends whatever there is as the body: what the apiserver's decoder takes for a review of v1 with a uid is
// answered with its uid and admitted, anything else is a bad request.
func FuzzReview(f *testing.F) {
	for _, body := range []string{
		reviewOf(pod), reviewOf(`null`), reviewOf(pod, func(r map[string]any) { r["operation"] = "UPDATE" }),
		``, `null`, `[]`, `{}`, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"\u0000\"x"}}`,
		`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","uid":"2"}}`,
		`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","dryRun":null,"object":}}`,
		strings.Replace(reviewOf(pod), "AdmissionReview", "admissionreview", 1),
	} {
		f.Add([]byte(body))
	}
	send := fuzzed(injector, logr.Discard())
	f.Fuzz(func(t *testing.T, body []byte) {
		w := send(body)
		// Only what the handler looks at: of the rest it is none of our business whether it is of the right type.
		var in struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Request    struct {
				UID      string `json:"uid"`
				Resource struct {
					Group    string `json:"group"`
					Resource string `json:"resource"`
				} `json:"resource"`
				SubResource string          `json:"subResource"`
				Namespace   string          `json:"namespace"`
				Name        string          `json:"name"`
				Operation   string          `json:"operation"`
				DryRun      bool            `json:"dryRun"`
				Object      json.RawMessage `json:"object"`
			} `json:"request"`
		}
		strict, err := kjson.UnmarshalStrict(body, &in, kjson.DisallowDuplicateFields)
		if err != nil || len(strict) > 0 || in.APIVersion != "admission.k8s.io/v1" || in.Kind != "AdmissionReview" || in.Request.UID == "" {
			if w.Code != http.StatusBadRequest {
				t.Errorf("status %d for %q", w.Code, body)
			}
			return
		}
		var out admissionv1.AdmissionReview
		if err := json.Unmarshal(w.Body.Bytes(), &out); w.Code != http.StatusOK || err != nil || out.Response == nil {
			t.Fatalf("status %d, %v for %q: %s", w.Code, err, body, w.Body)
		}
		if !out.Response.Allowed || string(out.Response.UID) != in.Request.UID {
			t.Errorf("allowed %v, uid %q for %q", out.Response.Allowed, out.Response.UID, body)
		}
	})
}

// withProfile is the injector where that profile applies.
func withProfile(t testing.TB, spec v1alpha1.InitProfileSpec) admission.Planner {
	t.Helper()
	p, err := profile.New("team", spec)
	if err != nil {
		t.Fatal(err)
	}
	i := injector
	i.Setting = func(_ context.Context, namespace string, _ *inject.Pod) inject.Setting {
		return inject.Setting{Namespace: namespace, Selected: true, Profile: p}
	}
	return i
}

// Only a profile with onProblem Reject refuses, and says why.
func TestRefusal(t *testing.T) {
	rejects := withProfile(t, v1alpha1.InitProfileSpec{OnProblem: v1alpha1.ProblemReject})
	unknown := strings.Replace(pod, `"command":["app"]`, `"args":["app"]`, 1)
	long := strings.Replace(pod, `"generateName":"app-"`, `"annotations":{"a":"`+strings.Repeat("x", 256<<10-1)+`"}`, 1)
	mistaken := strings.Replace(pod, `"generateName":"app-"`, `"annotations":{"podinit.dev/skip-containers":"nobody"}`, 1)
	for name, c := range map[string]struct{ object, message string }{
		"a container that cannot be wrapped": {unknown, `container "app" left alone because it has no command`},
		"a mistake in an annotation":         {mistaken, `podinit.dev/skip-containers: "nobody" ignored`},
		"no patch":                           {long, "shorten them"},
	} {
		t.Run(name, func(t *testing.T) {
			server, registry := serve(t, rejects)
			_, body := post(t, server, "/", reviewOf(c.object))
			var review admissionv1.AdmissionReview
			if err := json.Unmarshal(body, &review); err != nil {
				t.Fatal(err)
			}
			r := review.Response
			if r.Allowed || r.Patch != nil || r.Warnings != nil || r.Result == nil || r.Result.Code != http.StatusForbidden {
				t.Errorf("got %s, want a refusal with code 403 and nothing else", body)
			} else if !strings.Contains(r.Result.Message, c.message) {
				t.Errorf("message %q does not say %q", r.Result.Message, c.message)
			}
			expectOutcome(t, registry, "refused")

			server, _ = serve(t, injector)
			status, body := post(t, server, "/", reviewOf(c.object))
			if r := admitted(t, status, body); len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], c.message) {
				t.Errorf("without the profile: warnings %q, want one that says %q", r.Warnings, c.message)
			}
		})
	}
	t.Run("nothing is wrong", func(t *testing.T) {
		server, _ := serve(t, rejects)
		status, body := post(t, server, "/", reviewOf(pod))
		if r := admitted(t, status, body); r.Patch == nil {
			t.Error("there is no patch")
		}
	})
}

// What was ignored is counted by its reason.
func TestIgnoredMetric(t *testing.T) {
	server, registry := serve(t, injector)
	post(t, server, "/", reviewOf(strings.Replace(pod, `"generateName":"app-"`, `"labels":{"podinit.dev/inject":"yes"}`, 1)))
	expectCounters(t, registry, "podinit_ignored_total", map[string]float64{"unknown-value": 1})
}

// A line of the log names some of the credentials that could not be used, however many containers they were looked at for,
// and counts the others.
func TestIgnoredCredentialsInLog(t *testing.T) {
	var ignored []error
	for i := range 20 {
		ignored = append(ignored, fmt.Errorf("problem %d;", i))
	}
	answer := admission.Answer{}
	for i := range 100 {
		answer.Lookups = append(answer.Lookups, admission.Lookup{Container: fmt.Sprint("app-", i), Outcome: "registry", Ignored: ignored})
	}
	var lines strings.Builder
	log := funcr.NewJSON(func(object string) { lines.WriteString(object + "\n") }, funcr.Options{Verbosity: 1})
	metrics := prometheus.NewRegistry()
	mutator := mutatorFunc(func(context.Context, admission.Request) (admission.Answer, error) { return answer, nil })
	server := httptest.NewTLSServer(&webhook.Handler{Mutator: mutator, Metrics: webhook.NewMetrics(metrics), Log: log})
	post(t, server, "/", reviewOf(pod))
	server.Close()
	for text, want := range map[string]int{"problem 0;": 2, "problem 19;": 1, "problem ": 32, "and 8 more": 1, "and 20 more": 14} {
		if got := strings.Count(lines.String(), text); got != want {
			t.Errorf("%q is %d times in the log, want %d", text, got, want)
		}
	}
	expectCounters(t, metrics, "podinit_unusable_credentials_total", map[string]float64{"": 2000})
}

// A container that may run another image than the one that was looked up is counted and named in the log, by why.
func TestDrift(t *testing.T) {
	for _, drift := range [][]v1alpha1.Reason{nil, {v1alpha1.ReasonStaleLookup}, {v1alpha1.ReasonStaleLookup, v1alpha1.ReasonNodeImageDiffers}} {
		metrics := prometheus.NewRegistry()
		var lines strings.Builder
		log := funcr.NewJSON(func(object string) { lines.WriteString(object + "\n") }, funcr.Options{})
		answer := admission.Answer{Containers: []inject.Decision{{Name: "own", Source: v1alpha1.SourceCommand}, {Name: "app", Source: v1alpha1.SourceRegistry, Drift: drift}}}
		mutator := mutatorFunc(func(context.Context, admission.Request) (admission.Answer, error) { return answer, nil })
		server := httptest.NewTLSServer(&webhook.Handler{Mutator: mutator, Metrics: webhook.NewMetrics(metrics), Log: log})
		post(t, server, "/", reviewOf(pod))
		server.Close()
		counted := map[string]float64{}
		for _, r := range drift {
			counted[string(r)] = 1
			if !strings.Contains(lines.String(), string(r)) || !strings.Contains(lines.String(), `"name":"app"`) {
				t.Errorf("no %s of container app in the log: %s", r, lines.String())
			}
		}
		expectCounters(t, metrics, "podinit_drift_total", counted)
		if len(drift) == 0 && lines.Len() > 0 {
			t.Errorf("logged: %s", lines.String())
		}
	}
}
