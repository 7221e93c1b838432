package cluster

import (
	"bytes"
	"context"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/client-go/kubernetes"
)

// Metrics are what a pod of podinit tells Prometheus.
func Metrics(ctx context.Context, client kubernetes.Interface, namespace, pod string) (map[string]*dto.MetricFamily, error) {
	text, err := client.CoreV1().Pods(namespace).ProxyGet("http", pod, "8080", "metrics", nil).DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(bytes.NewReader(text))
}

// Sum is the sum of a metric's values, 0 if there are none.
func Sum(metric *dto.MetricFamily) (sum float64) {
	for _, m := range metric.GetMetric() {
		sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
	}
	return sum
}
