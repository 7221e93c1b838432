// Package events writes Events that tell a Pod's author what podinit did not do, where the author can correct it. Warnings of
// admission reach only the client that creates the Pod, which is a controller most of the time.
//
// Whatever happens, admission waits for none of it: what cannot be written soon is dropped, and counted.
package events

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/inject"
)

const (
	// Component is the source of all Events.
	Component = "podinit-webhook"
	// maxMessage is the longest that the apiserver takes, in bytes.
	maxMessage = 1 << 10

	// interval is how long an Event about an object and a reason is not repeated. By default the apiserver keeps it as long
	// (--event-ttl).
	interval = time.Hour
	// maxRemembered bounds how many Events, and how many namespaces, are remembered.
	maxRemembered = 4096
	// queueSize bounds how many Events wait to be written.
	queueSize = 256
	// perSecond and burst bound how many are written for all namespaces, namespaceInterval and namespaceBurst for one.
	perSecond         = 5
	burst             = 50
	namespaceInterval = 10 * time.Second
	namespaceBurst    = 20
	// writeTime bounds writing one.
	writeTime = 5 * time.Second
	// logInterval is how often a failure is logged at most.
	logInterval = time.Minute
)

// Outcomes of an Event.
const (
	outcomeWritten = "written"
	outcomeKnown   = "known"   // the same was written before
	outcomeDropped = "dropped" // there are too many
	outcomeFailed  = "failed"  // the apiserver does not take it
)

// New makes an Event.
func New(about corev1.ObjectReference, kind, reason, message, instance string) *corev1.Event {
	now := metav1.Now()
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: about.Namespace}, InvolvedObject: about,
		Type: kind, Reason: reason, Message: shortened(message, maxMessage),
		Source: corev1.EventSource{Component: Component, Host: instance}, ReportingController: "podinit.dev/webhook", ReportingInstance: instance,
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}
}

// shortened cuts a text to so many bytes, between characters.
func shortened(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-len("...")], "") + "..."
}

// A Writer creates an Event. The error for one that exists is apierrors.IsAlreadyExists.
type Writer func(context.Context, *corev1.Event) error

// Recorder writes Events. It is a Runnable of the manager; before that starts and after it has ended, Events wait or are
// dropped.
type Recorder struct {
	create   Writer
	instance string
	log      logr.Logger
	now      func() time.Time

	queue chan *corev1.Event
	seen  seen
	all   *rate.Limiter
	count *prometheus.CounterVec
}

// NewRecorder makes a Recorder for the Pod of this name, and registers its metric.
func NewRecorder(create Writer, instance string, registry prometheus.Registerer, log logr.Logger) *Recorder {
	r := &Recorder{
		create: create, instance: instance, log: log, now: time.Now,
		queue: make(chan *corev1.Event, queueSize), seen: seen{written: map[string]time.Time{}, namespaces: map[string]*rate.Limiter{}},
		all: rate.NewLimiter(perSecond, burst),
		count: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "podinit_events_total",
			Help: "Events for what authors of pods can correct: written; known, if the same was written before; dropped, if there are too many; failed, if the apiserver does not take them.",
		}, []string{"outcome"}),
	}
	for _, outcome := range []string{outcomeWritten, outcomeKnown, outcomeDropped, outcomeFailed} {
		r.count.WithLabelValues(outcome)
	}
	registry.MustRegister(r.count)
	return r
}

// NeedLeaderElection is false: every replica reports on the Pods that it is asked about.
func (r *Recorder) NeedLeaderElection() bool { return false }

// Record has an Event about an object written for each problem, and waits for nothing.
func (r *Recorder) Record(about corev1.ObjectReference, problems []inject.Problem) {
	for _, problem := range problems {
		if outcome := r.record(about, problem); outcome != "" {
			r.count.WithLabelValues(outcome).Inc()
		}
	}
}

// record is what becomes of a problem's Event, "" if it waits to be written.
func (r *Recorder) record(about corev1.ObjectReference, problem inject.Problem) (outcome string) {
	key := hash(about, problem.Reason)
	if outcome := r.seen.next(key, about.Namespace, r.now()); outcome != "" {
		return outcome
	}
	event := New(about, corev1.EventTypeWarning, string(problem.Reason), problem.Sentence, r.instance)
	// All replicas give an Event the same name, so that one of them writes it.
	const most = 200 // with the hash behind it, below the 253 bytes of a name
	event.Name = strings.TrimRight(about.Name[:min(len(about.Name), most)], ".-") + "." + key
	select {
	case r.queue <- event:
		return ""
	default:
		r.seen.forget(key)
		return outcomeDropped
	}
}

// hash stands for an object and a reason.
func hash(about corev1.ObjectReference, reason v1alpha1.Reason) string {
	const words = 8 // bytes of a digest: enough for what exists at one time
	sum := sha256.Sum256([]byte(strings.Join([]string{about.Namespace, about.Kind, about.Name, string(about.UID), string(reason)}, "\x00")))
	return hex.EncodeToString(sum[:words])
}

// Start writes what is recorded until ctx is done.
func (r *Recorder) Start(ctx context.Context) error {
	logs := rate.Sometimes{Interval: logInterval}
	for {
		if err := r.all.Wait(ctx); err != nil {
			return nil //nolint:nilerr // the context has ended, as it should
		}
		select {
		case <-ctx.Done():
			return nil
		case event := <-r.queue:
			outcome, err := r.write(ctx, event)
			r.count.WithLabelValues(outcome).Inc()
			if err == nil {
				continue
			}
			r.seen.forget(event.Name[strings.LastIndexByte(event.Name, '.')+1:]) // the next Pod tries again
			if ctx.Err() == nil {
				logs.Do(func() { r.log.Error(err, "writing an Event", "namespace", event.Namespace, "reason", event.Reason) })
			}
		}
	}
}

// write writes an Event, once.
func (r *Recorder) write(ctx context.Context, event *corev1.Event) (outcome string, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	switch err := r.create(ctx, event); {
	case apierrors.IsAlreadyExists(err):
		return outcomeKnown, nil
	case err != nil:
		return outcomeFailed, err
	}
	return outcomeWritten, nil
}
