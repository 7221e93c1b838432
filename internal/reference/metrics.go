package reference

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/registry"
	"github.com/podinit/podinit/webhook"
)

func metrics(string) (string, error) {
	registered := prometheus.NewRegistry()
	webhook.NewMetrics(registered)
	registries, err := registry.New(registry.Config{}, nil, time.Now)
	if err != nil {
		return "", err
	}
	registered.MustRegister(
		imageconfig.NewCache(registries, imageconfig.DefaultLimits(), time.Now),
		webhook.NewCertificateExpiry(func() float64 { return 0 }),
		webhook.NewSuspended(func() float64 { return 0 }),
		webhook.NewBuildInfo("VERSION"),
		webhook.NewInitImageUnavailable(func() []string { return nil }),
	)
	families, err := registered.Gather()
	if err != nil {
		return "", err
	}
	t := newTable("metric", "type", "labels", "meaning")
	for _, f := range families {
		t.row(code(f.GetName()), strings.ToLower(f.GetType().String()), labels(f), prose(f.GetHelp()))
	}
	return head("Metrics", "the webhook's registry", "What each replica of `podinit-webhook` tells at `:8080/metrics` about itself. How to watch them: "+
		"[operating](../operating.md#watching-it); what to alert about: [alerts](../alerts.md).") + `
` + t.String() + `
Names of pods, namespaces, images and registries are no labels. Every value of ` + "`action`, `reason` and `source`, and of `outcome` of requests,\nis there from the start. " +
		"`outcome` of lookups is `cache`, `registry` or `stale`, or the [reason](../reasons.md) why the image was not found." + `

Besides, there are the usual metrics of the client library (` + "`rest_client_…`), of the Go runtime (`go_…`) and of the process\n(`process_…`)." + `
`, nil
}

// labels of a family, in the order in which they are sorted.
func labels(f *dto.MetricFamily) string {
	names := map[string]bool{}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			names[code(l.GetName())] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), ", ")
}
