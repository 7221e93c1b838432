package webhook_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/reason"
	"github.com/podinit/podinit/internal/registry"
	"github.com/podinit/podinit/webhook"
)

// The metrics are named as Prometheus wants them, and there are so many of them from the start and no more.
func TestMetrics(t *testing.T) {
	metrics := prometheus.NewPedanticRegistry()
	webhook.NewMetrics(metrics)
	registries, err := registry.New(registry.Config{}, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	metrics.MustRegister(
		imageconfig.NewCache(registries, imageconfig.DefaultLimits(), time.Now),
		webhook.NewCertificateExpiry(func() float64 { return 1 }),
		webhook.NewSuspended(func() bool { return false }),
		webhook.NewBuildInfo("v1.2.3"),
	)
	problems, err := testutil.GatherAndLint(metrics)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "podinit_") {
			t.Errorf("%s does not begin with podinit_", f.GetName())
		}
		for _, m := range f.GetMetric() {
			lines += 1 + len(m.GetHistogram().GetBucket())
		}
	}
	if lines > 200 {
		t.Errorf("%d time series of each replica, with buckets: more than it is worth", lines)
	}
	t.Logf("%d metrics, %d time series of each replica", len(families), lines)
}

// Nothing that the core decides is counted under labels that were not there from the start.
func TestMetricsAreKnownBeforehand(t *testing.T) {
	metrics := prometheus.NewRegistry()
	webhook.NewMetrics(metrics)
	known := map[string]bool{}
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				known[f.GetName()+" "+l.GetName()+" "+l.GetValue()] = true
			}
		}
	}
	for _, r := range reason.All() {
		counted := "podinit_containers_total reason " + string(r)
		switch reason.Of(r).Kind {
		case reason.Setting:
			counted = "podinit_ignored_total reason " + string(r)
		case reason.Drift:
			counted = "podinit_drift_total reason " + string(r)
		case reason.Delivery:
			continue // is in the status alone
		}
		if !known[counted] {
			t.Errorf("%q is not there", counted)
		}
	}
	for _, action := range []v1alpha1.Action{v1alpha1.ActionWrapped, v1alpha1.ActionSkipped} {
		if !known["podinit_containers_total action "+string(action)] {
			t.Errorf("action %s is not there", action)
		}
	}
	// A Pod that is left alone as a whole is counted by its containers.
	plan := inject.NewPlan(injector.Config, inject.Setting{Selected: true}, decoded(t, `{"metadata":{},"spec":{"hostPID":true,"containers":[{"name":"a"},{"name":"b"}]}}`))
	for _, c := range plan.Containers {
		if c.Reason != v1alpha1.ReasonHostPID {
			t.Errorf("container %s: reason %q", c.Name, c.Reason)
		}
	}
}

func decoded(t *testing.T, object string) *inject.Pod {
	t.Helper()
	pod, err := inject.Decode([]byte(object))
	if err != nil {
		t.Fatal(err)
	}
	return pod
}
