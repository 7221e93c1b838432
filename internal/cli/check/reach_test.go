package check

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/podinit/podinit/internal/admission"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/webhook"
)

// TestReach sends the real webhook what podinit check sends, as an apiserver's proxy passes it on. It is answered, and no
// alert comes of it: it is counted among usual requests, decides about no container, and leaves no line in the log.
func TestReach(t *testing.T) {
	var log bytes.Buffer
	metrics := prometheus.NewRegistry()
	handler := &webhook.Handler{
		Mutator: admission.Planner{Config: inject.Config{Image: "r/init:1", Version: "v1", ExcludedNamespaces: []string{"podinit-system"}}, LookupTimeout: time.Second},
		Metrics: webhook.NewMetrics(metrics),
		Log:     logr.FromSlogHandler(slog.NewJSONHandler(&log, nil)),
	}
	f := reached(t, handler.ServeHTTP)
	if f.Reached.Err != nil || !f.Reached.Value {
		t.Errorf("reached %t, %v", f.Reached.Value, f.Reached.Err)
	}
	if log.Len() > 0 {
		t.Errorf("the webhook logs\n%s", &log)
	}
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if m.GetCounter().GetValue() > 0 {
				counted[family.GetName()+" "+m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	if len(counted) != 1 || counted["podinit_admission_requests_total unchanged"] != 1 {
		t.Errorf("the webhook counts %v", counted)
	}
}

// A webhook that only takes calls with a client certificate is there, too.
func TestReachOfOneThatTakesCertificates(t *testing.T) {
	refuse := func(text string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, text, http.StatusUnauthorized) }
	}
	if f := reached(t, refuse("podinit: only apiservers with a valid client certificate may call")); f.Reached.Err != nil || !f.Reached.Value {
		t.Errorf("reached %t, %v", f.Reached.Value, f.Reached.Err)
	}
	if f := reached(t, refuse("who are you?")); f.Reached.Err == nil || f.Reached.Value {
		t.Error("another server's 401 counts as the webhook")
	}
}

// reached asks an apiserver whose proxy leads to a webhook.
func reached(t *testing.T, answer func(http.ResponseWriter, *http.Request)) *Facts {
	t.Helper()
	apiserver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/namespaces/podinit-system/services/https:podinit-webhook:443/proxy/mutate" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		on, err := http.NewRequestWithContext(r.Context(), r.Method, "/mutate", strings.NewReader(string(body)))
		if err != nil {
			t.Error(err)
		}
		on.Header = r.Header
		answer(w, on)
	}))
	defer apiserver.Close()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: apiserver.URL})
	if err != nil {
		t.Fatal(err)
	}
	shipped, err := NewShipped()
	if err != nil {
		t.Fatal(err)
	}
	f := &Facts{Namespace: "podinit-system", Shipped: shipped, Configuration: Read[*admissionregistrationv1.MutatingWebhookConfiguration]{Err: missing()}}
	(&Gatherer{Client: client}).reach(t.Context(), f)
	return f
}
