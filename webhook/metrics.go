package webhook

import (
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/admission"
	"github.com/podinit/podinit/internal/imageconfig"
	"github.com/podinit/podinit/internal/initprogram"
	"github.com/podinit/podinit/internal/reason"
)

// Outcomes of a request.
const (
	outcomePatched    = "patched"
	outcomeUnchanged  = "unchanged"
	outcomeRefused    = "refused"    // by a profile with onProblem Reject
	outcomeUnreadable = "unreadable" // no AdmissionReview
	outcomeBusy       = "busy"       // more at once than memory is set aside for
	outcomeNotOurs    = "not-ours"   // a review, but not of a Pod's creation
	outcomeFailed     = "failed"     // no patch that is sure to be right
	outcomeTimeout    = "timeout"
	outcomePanic      = "panic"
)

// Metrics of admission. Names of Pods, namespaces, images and registries are no labels: there is no end to them, and who
// may read metrics may not always read those.
type Metrics struct {
	requests   *prometheus.CounterVec
	containers *prometheus.CounterVec
	ignored    *prometheus.CounterVec
	drift      *prometheus.CounterVec
	duration   prometheus.Histogram
	lookups    *prometheus.HistogramVec
	unusable   prometheus.Counter
}

// NewMetrics registers the metrics; it panics if they are registered already, as a program does that only once.
//
// Every combination of labels that there can be is there from the start, so that Prometheus sees the first increase too
// and an alert is never about what does not exist yet.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "podinit_admission_requests_total",
			Help: "AdmissionReviews answered, by outcome. For all outcomes but patched, unchanged and refused, see the log.",
		}, []string{"outcome"}),
		containers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "podinit_containers_total",
			Help: "Containers by action, by the reason if skipped, and by the source of the command if wrapped.",
		}, []string{"action", "reason", "source"}),
		ignored: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "podinit_ignored_total",
			Help: "Labels and annotations of pods and namespaces that were ignored, by reason.",
		}, []string{"reason"}),
		drift: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "podinit_drift_total",
			Help: "Wrapped containers that may run another image than the one that their command was looked up from, by reason.",
		}, []string{"reason"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "podinit_admission_duration_seconds",
			Help:    "Time from a request's headers to the answer, in seconds.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}),
		lookups: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "podinit_lookup_duration_seconds",
			Help:    "Time that a pod waited for the lookup of an image, in seconds, by the source of the answer or the reason of the failure.",
			Buckets: []float64{.0001, .001, .01, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"outcome"}),
		unusable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "podinit_unusable_credentials_total",
			Help: "Credentials that lookups could not use: imagePullSecrets that are missing or broken, credential plugins that failed.",
		}),
	}
	for _, outcome := range []string{outcomePatched, outcomeUnchanged, outcomeRefused, outcomeUnreadable, outcomeBusy, outcomeNotOurs, outcomeFailed, outcomeTimeout, outcomePanic} {
		m.requests.WithLabelValues(outcome)
	}
	for _, source := range []v1alpha1.Source{v1alpha1.SourceCommand, v1alpha1.SourceAnnotation, v1alpha1.SourceProfile, v1alpha1.SourceRegistry} {
		m.containers.WithLabelValues(string(v1alpha1.ActionWrapped), "", string(source))
	}
	for _, from := range []imageconfig.From{imageconfig.FromCache, imageconfig.FromRegistry, imageconfig.FromStale} {
		m.lookups.WithLabelValues(string(from))
	}
	for _, r := range reason.All() {
		switch reason.Of(r).Kind {
		case reason.Pod, reason.Container:
			m.containers.WithLabelValues(string(v1alpha1.ActionSkipped), string(r), "")
		case reason.Setting:
			m.ignored.WithLabelValues(string(r))
		case reason.Drift:
			m.drift.WithLabelValues(string(r))
		}
	}
	registry.MustRegister(m.requests, m.containers, m.ignored, m.drift, m.duration, m.lookups, m.unusable)
	return m
}

func (m *Metrics) observe(outcome string, answer admission.Answer, took time.Duration) {
	m.requests.WithLabelValues(outcome).Inc()
	for _, c := range answer.Containers {
		m.containers.WithLabelValues(string(c.Action()), string(c.Reason), string(c.Source)).Inc()
		for _, r := range c.Drift {
			m.drift.WithLabelValues(string(r)).Inc()
		}
	}
	for _, i := range answer.Ignored {
		m.ignored.WithLabelValues(string(i.Reason)).Inc()
	}
	for _, l := range answer.Lookups {
		m.lookups.WithLabelValues(l.Outcome).Observe(l.Took.Seconds())
		m.unusable.Add(float64(len(l.Ignored)))
	}
	m.duration.Observe(took.Seconds())
}

// NewCertificateExpiry is a metric of when the certificate that is served ends, in seconds since 1970; 0 while there is
// none.
func NewCertificateExpiry(expiry func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "podinit_certificate_expiry_seconds",
		Help: "Expiry of the certificate that the webhook serves, in seconds since 1970; 0 if it has no certificate.",
	}, expiry)
}

// NewSuspended is a metric of whether podinit is suspended, 1 or 0.
func NewSuspended(suspended func() bool) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "podinit_suspended",
		Help: "1 while podinit is suspended and every pod is admitted unchanged, else 0.",
	}, func() float64 {
		if suspended() {
			return 1
		}
		return 0
	})
}

// NewInitImageUnavailable is a metric of the architectures whose nodes cannot pull the init image, for which new Pods are
// left alone.
func NewInitImageUnavailable(unavailable func() []string) prometheus.Collector {
	return &initImageUnavailable{unavailable: unavailable, description: prometheus.NewDesc("podinit_init_image_unavailable",
		"1 while nodes of the architecture cannot pull the init image, so that new pods are left alone; else 0.", []string{"architecture"}, nil)}
}

type initImageUnavailable struct {
	unavailable func() []string
	description *prometheus.Desc
}

func (i *initImageUnavailable) Describe(to chan<- *prometheus.Desc) { to <- i.description }

func (i *initImageUnavailable) Collect(to chan<- prometheus.Metric) {
	now := i.unavailable()
	all := slices.Concat(initprogram.Architectures, now)
	slices.Sort(all)
	for _, architecture := range slices.Compact(all) {
		value := 0.0
		if slices.Contains(now, architecture) {
			value = 1
		}
		to <- prometheus.MustNewConstMetric(i.description, prometheus.GaugeValue, value, architecture)
	}
}

// NewBuildInfo is a metric that is always 1 and says in its labels what runs.
func NewBuildInfo(version string) prometheus.Collector {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "podinit_build_info",
		Help: "Always 1. Its labels say which version of the webhook this is, and with which Go it was built.",
	}, []string{"version", "goversion"})
	info.WithLabelValues(version, runtime.Version()).Set(1)
	return info
}
