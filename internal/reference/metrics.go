package reference

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/podinit/podinit/internal/events"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/node/plugin"
	"github.com/podinit/podinit/internal/registry"
	"github.com/podinit/podinit/webhook"
)

func metrics(string) (string, error) {
	registered := prometheus.NewRegistry()
	webhook.NewMetrics(registered)
	events.NewRecorder(nil, "", registered, logr.Discard())
	registries, err := registry.New(registry.Config{}, nil, time.Now)
	if err != nil {
		return "", err
	}
	registered.MustRegister(
		imageconfig.NewCache(registries, imageconfig.DefaultLimits(), time.Now),
		webhook.NewCertificateExpiry(func() float64 { return 0 }),
		webhook.NewSuspended(func() bool { return false }),
		webhook.NewBuildInfo("VERSION"),
		webhook.NewInitImageUnavailable(func() []string { return nil }),
	)
	ofWebhook, err := metricsOf(registered)
	if err != nil {
		return "", err
	}
	onNode := prometheus.NewRegistry()
	plugin.NewMetrics(onNode)
	onNode.MustRegister(plugin.NewBuildInfo("VERSION"), plugin.NewSuspended(func() bool { return false }))
	ofNode, err := metricsOf(onNode)
	if err != nil {
		return "", err
	}
	return head("Metrics", "the programs' registries", "What each replica of `podinit-webhook` reports about itself at `:8080/metrics`. How to watch them: "+
		"[operating](../operating.md#watching-it); what to alert about: [alerts](../alerts.md).") + `
` + ofWebhook + `
Names of pods, namespaces, images and registries are not labels. Every value of ` + "`action`, `reason` and `source`, and of `outcome` of requests,\nis there from the start. " +
		"`outcome` of lookups is `cache`, `registry` or `stale`, or the [reason](../reasons.md) why the image was not found." + `

Besides, there are the usual metrics of the client library (` + "`rest_client_…`), of the Go runtime (`go_…`) and of the process\n(`process_…`)." + `

## podinit-node

What each pod of [node mode](../node-mode.md) reports about its node at ` + "`:8080/metrics`" + `.

` + ofNode, nil
}

// metricsOf is the table of a registry's metrics.
func metricsOf(registry *prometheus.Registry) (string, error) {
	families, err := registry.Gather()
	if err != nil {
		return "", err
	}
	t := newTable("metric", "type", "labels", "meaning")
	for _, f := range families {
		t.row(code(f.GetName()), strings.ToLower(f.GetType().String()), labels(f), prose(f.GetHelp()))
	}
	return t.String(), nil
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
