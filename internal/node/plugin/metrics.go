package plugin

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/node"
	"github.com/podinit/podinit/internal/reason"
)

// Metrics of node mode. Names of Pods, namespaces and containers are not labels: there is no end to them.
type Metrics struct {
	containers    *prometheus.CounterVec
	ignored       *prometheus.CounterVec
	duration      prometheus.Histogram
	panics        prometheus.Counter
	late          prometheus.Counter
	registrations prometheus.Counter
	missed        prometheus.Counter
	registered    prometheus.Gauge
	unwrapped     prometheus.Gauge
}

// NewMetrics registers the metrics; it panics if they are registered already, as a program does that only once. Every
// value of a label is there from the start, so that Prometheus sees the first increase too.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		containers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "podinit_node_containers_total",
			Help: "Containers created on this node, by action, and by the reason if skipped.",
		}, []string{"action", "reason"}),
		ignored: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "podinit_node_ignored_total",
			Help: "Labels and annotations of pods and namespaces that were ignored when a container was created, by reason.",
		}, []string{"reason"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "podinit_node_create_duration_seconds",
			Help:    "Time to answer the container runtime's request about a container, in seconds.",
			Buckets: []float64{.00001, .000025, .00005, .0001, .00025, .0005, .001, .005, .01, .05, .1, .5, 1, 2},
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "podinit_node_panics_total",
			Help: "Requests of the container runtime that failed because of a bug in podinit. The container was created unchanged.",
		}),
		late: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "podinit_node_late_total",
			Help: "Answers after the container runtime had stopped waiting. The container was created unchanged.",
		}),
		registrations: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "podinit_node_registrations_total",
			Help: "How often this process has registered with the container runtime: once, and again whenever the connection was lost.",
		}),
		missed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "podinit_node_missed_containers_total",
			Help: "Containers that started without the init although they opt in, or were found so when this process registered. The log names them.",
		}),
		registered: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "podinit_node_registered",
			Help: "1 while the container runtime asks this process about new containers, else 0.",
		}),
		unwrapped: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "podinit_node_unwrapped_containers",
			Help: "Containers of this node that now run without the init although they opt in: they were created while podinit-node was not registered, or before they opted in.",
		}),
	}
	m.containers.WithLabelValues(string(v1alpha1.ActionWrapped), "")
	for _, r := range reason.All() {
		switch reason.Of(r).Kind {
		case reason.Pod, reason.Container:
			m.containers.WithLabelValues(string(v1alpha1.ActionSkipped), string(r))
		case reason.Setting:
			m.ignored.WithLabelValues(string(r))
		}
	}
	registry.MustRegister(m.containers, m.ignored, m.duration, m.panics, m.late, m.registrations, m.missed, m.registered, m.unwrapped)
	return m
}

func (m *Metrics) observe(v node.Verdict, took time.Duration) {
	m.containers.WithLabelValues(string(v.Action()), string(v.Reason)).Inc()
	for _, i := range v.Ignored {
		m.ignored.WithLabelValues(string(i.Reason)).Inc()
	}
	m.duration.Observe(took.Seconds())
}

// NewBuildInfo is a metric that is always 1 and says in its labels what runs.
func NewBuildInfo(version string) prometheus.Collector {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "podinit_node_build_info",
		Help: "Always 1. Its labels say which version of podinit-node this is, and with which Go it was built.",
	}, []string{"version", "goversion"})
	info.WithLabelValues(version, runtime.Version()).Set(1)
	return info
}

// NewSuspended is a metric of whether podinit is suspended, 1 or 0.
func NewSuspended(suspended func() bool) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "podinit_node_suspended",
		Help: "1 while podinit is suspended and every container of this node is created unchanged, else 0.",
	}, func() float64 {
		if suspended() {
			return 1
		}
		return 0
	})
}
