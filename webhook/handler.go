// Package webhook is the HTTP edge of podinit: an AdmissionReview in, an AdmissionReview out. It decides nothing about
// Pods; it makes sure that whatever happens behind it, the Pod is admitted.
//
// The apiserver takes "allowed: false" for a refusal whatever the failurePolicy says, and a review that it cannot read
// for a failed call. So everything that goes wrong with a review that names itself is answered with an unpatched
// "allowed: true" and a warning, and only what is not an AdmissionReview gets an HTTP error.
package webhook

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podinit/podinit/internal/admission"
	"github.com/podinit/podinit/internal/inject"
	"github.com/podinit/podinit/internal/rawjson"
)

const (
	// MaxBody bounds an AdmissionReview, in bytes. etcd's own limit for an object is 1.5 MiB, and a review holds one
	// or two.
	MaxBody = 8 << 20
	// MaxBodies bounds all that are being read or decided about, in bytes. Reviews of usual Pods, 20 KiB each, are far
	// from it by the thousand; it keeps a client that can connect from using up the memory.
	MaxBodies = 64 << 20
	// smallBody is the size up to which a review is small, in bytes: ten times that of a usual Pod's.
	smallBody = 256 << 10
	// smallBodies of MaxBodies are kept for small reviews, in bytes, so that large ones cannot have all.
	smallBodies = 16 << 20
	// bodyTime is how long a body may take to arrive. The apiserver has it ready, and sends it at once.
	bodyTime = 5 * time.Second
	// reviewVersion is the only one that is understood and spoken.
	reviewVersion = "admission.k8s.io/v1"
	// maxText bounds what an error says, in the log and in an answer, in bytes.
	maxText = 1 << 10
	// maxName bounds what is logged as a name, in bytes: the longest that Kubernetes takes.
	maxName = 253
	// answerTime is what is left of the apiserver's timeout for the answer to reach it.
	answerTime = 500 * time.Millisecond
	// defaultTimeout is the apiserver's where the request does not name one.
	defaultTimeout = 10 * time.Second
	// maxTimeout is the longest that a MutatingWebhookConfiguration may name.
	maxTimeout = 30 * time.Second
)

// Mutator decides about Pods. Mutate may be called from many goroutines. It waits for nothing once ctx is done; what it
// computes takes as long as it takes, and is thrown away if that was too long.
type Mutator interface {
	Mutate(ctx context.Context, request admission.Request) (admission.Answer, error)
}

// Recorder writes Events. Record waits for nothing, and may be called from many goroutines.
type Recorder interface {
	Record(about corev1.ObjectReference, problems []inject.Problem)
}

// Handler serves AdmissionReviews of version v1. It is safe for concurrent use.
type Handler struct {
	// Mutator decides.
	Mutator Mutator
	// Events gets what a Pod's author can correct; nil if no Event is to be written.
	Events Recorder
	// Metrics counts; required.
	Metrics *Metrics
	// Log gets what went wrong, and at verbosity 1 one line for each request: what was decided about it, and what was
	// looked up for that. No part of a Pod but its names is written to it, and no credential.
	Log logr.Logger

	// bodies is how many bytes of MaxBodies are taken.
	bodies atomic.Int64
	shares shares
	// reading and processors are for large reviews: to decode them, of whatever namespace, and to decide about them.
	reading, processors processors
	// bad, wrong, drift, unread and panics are the log lines about requests that were refused, Pods that were admitted as
	// they came, Pods that may run other images than were looked up, answers that were not taken, and bugs of ours.
	bad, wrong, drift, unread, panics sparse
}

// review is an AdmissionReview of which only what is used is decoded.
type review struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Request    *reviewRequest `json:"request"`
}

type reviewRequest struct {
	UID         string                `json:"uid"`
	Resource    resource              `json:"resource"`
	SubResource string                `json:"subResource"`
	Namespace   string                `json:"namespace"`
	Name        string                `json:"name"`
	Operation   admissionv1.Operation `json:"operation"`
	DryRun      bool                  `json:"dryRun"`
	Object      json.RawMessage       `json:"object"`
}

type resource struct {
	Group    string `json:"group"`
	Resource string `json:"resource"`
}

var decoder = rawjson.For[review]()

// ServeHTTP answers one AdmissionReview.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(r.Context(), timeout(r))
	defer cancel()
	// Neither a body that never ends nor an answer that no client takes must hold us. Not every ResponseWriter can; the
	// server's can.
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(start.Add(min(timeout(r), bodyTime)))
	_ = connection.SetWriteDeadline(start.Add(timeout(r) + answerTime))

	if r.ContentLength < 0 {
		h.refuse(w, r, start, outcomeUnreadable, http.StatusLengthRequired, errNoLength)
		return
	}
	body := &arrival{all: &h.bodies, size: r.ContentLength}
	defer body.forget()
	in, status, err := h.read(ctx, w, r, body)
	if errors.Is(err, errBusy) {
		h.refuse(w, r, start, outcomeBusy, http.StatusServiceUnavailable, err)
		return
	}
	if err != nil {
		h.refuse(w, r, start, outcomeUnreadable, status, err)
		return
	}
	keep(r.Context())

	var answer admission.Answer
	done, outcome, err := h.shares.take(ctx, in)
	if err == nil {
		defer done() // when the answer is written
		answer, outcome, err = h.answer(ctx, in)
	}
	if err != nil {
		// One warning tells the user that nothing happened; the log has the details.
		err = errors.New(shorten(err.Error(), maxText))
		answer = admission.Answer{Warnings: []string{"podinit: pod left alone: " + err.Error()}}
		if dropped, ok := h.wrong.next(); ok {
			h.logOf(in).Error(err, "admitted a pod unchanged, because of an error", "outcome", outcome, "notLogged", dropped)
		}
	} else if h.Log.V(1).Enabled() {
		h.logOf(in).V(1).Info("answered", "outcome", outcome, "dryRun", in.DryRun, "containers", containerLines(answer.Containers), "notNamed", notNamed(len(answer.Containers)),
			"ignored", reasonsOf(answer.Ignored), "lookups", lookupLines(answer.Lookups), "seconds", time.Since(start).Seconds())
	}
	h.logDrift(in, answer.Containers)
	h.Metrics.observe(outcome, answer, time.Since(start))

	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(response(in.UID, answer)); err != nil {
		if dropped, ok := h.unread.next(); ok {
			h.logOf(in).Info("the apiserver did not take the answer", "error", err.Error(), "notLogged", dropped)
		}
		return
	}
	h.record(in, answer)
}

// record has Events written about a Pod's problems. One without an owner and without a name cannot be named in an Event, and
// no namespace has a longer name than maxName.
func (h *Handler) record(in *reviewRequest, answer admission.Answer) {
	if h.Events == nil || in.DryRun || len(answer.Problems) == 0 || answer.Subject.Name == "" || len(in.Namespace) > maxName {
		return
	}
	s := answer.Subject
	h.Events.Record(corev1.ObjectReference{APIVersion: s.APIVersion, Kind: s.Kind, Namespace: in.Namespace, Name: s.Name, UID: types.UID(s.UID)}, answer.Problems)
}

var errNoLength = errors.New("the request has no Content-Length: send the AdmissionReview in one piece, as the apiserver does")

// refuse answers with an HTTP error, which the apiserver takes for a call that failed.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, start time.Time, outcome string, status int, err error) {
	h.Metrics.observe(outcome, admission.Answer{}, time.Since(start))
	text := shorten(err.Error(), maxText)
	if dropped, ok := h.bad.next(); ok {
		h.Log.Info("refused a request", "outcome", outcome, "error", text, "status", status, "from", r.RemoteAddr, "notLogged", dropped)
	}
	http.Error(w, "podinit: "+text, status)
}

// response is the AdmissionReview that carries an answer.
func response(uid string, answer admission.Answer) []byte {
	const size = 256 // without patch and warnings
	out := make([]byte, 0, size+base64.StdEncoding.EncodedLen(len(answer.Patch)))
	out = append(out, `{"kind":"AdmissionReview","apiVersion":"`+reviewVersion+`","response":{"uid":`...)
	out = rawjson.AppendString(out, uid)
	if len(answer.Refusals) == 0 {
		out = append(out, `,"allowed":true`...)
	} else {
		out = append(out, `,"allowed":false,"status":{"status":"Failure","reason":"Forbidden","code":403,"message":`...)
		out = rawjson.AppendString(out, strings.Join(answer.Refusals, " "))
		out = append(out, '}')
	}
	if answer.Patch != nil {
		out = append(out, `,"patchType":"JSONPatch","patch":"`...)
		out = base64.StdEncoding.AppendEncode(out, answer.Patch)
		out = append(out, '"')
	}
	for i, warning := range answer.Warnings {
		if i == 0 {
			out = append(out, `,"warnings":[`...)
		} else {
			out = append(out, ',')
		}
		out = rawjson.AppendString(out, warning)
	}
	if len(answer.Warnings) > 0 {
		out = append(out, ']')
	}
	return append(out, "}}\n"...)
}

// timeout is how long we may think: what the apiserver says in its query, less the time the answer needs.
func timeout(r *http.Request) time.Duration {
	t, err := time.ParseDuration(r.URL.Query().Get("timeout"))
	if err != nil || t <= 0 {
		t = defaultTimeout
	}
	t = min(t, maxTimeout)
	return max(t-answerTime, t/2)
}

// read reads an AdmissionReview; where that fails, status is the HTTP status to say it with.
func (h *Handler) read(ctx context.Context, w http.ResponseWriter, r *http.Request, arriving *arrival) (request *reviewRequest, status int, err error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, http.StatusMethodNotAllowed, fmt.Errorf("method %s: send an AdmissionReview by POST", r.Method)
	}
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != "application/json" {
		return nil, http.StatusUnsupportedMediaType, fmt.Errorf("content type %q: send application/json", r.Header.Get("Content-Type"))
	}
	if r.ContentLength > MaxBody {
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("the body is larger than %d bytes, more than any AdmissionReview of a Pod can have: etcd takes 1.5 MiB", MaxBody)
	}
	body, err := arriving.read(r.Body)
	if err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("reading the body: %w", err)
	}
	t, err := h.reading.take(ctx, "", len(body))
	if err != nil {
		return nil, http.StatusServiceUnavailable, errBusy
	}
	in, err := decoder.Decode(body)
	t.give()
	if err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("reading the body as an AdmissionReview: %w", err)
	}
	if in.APIVersion != reviewVersion || in.Kind != "AdmissionReview" {
		return nil, http.StatusBadRequest, fmt.Errorf("the body is a %q of %q: send an AdmissionReview of %s", in.Kind, in.APIVersion, reviewVersion)
	}
	if in.Request == nil || in.Request.UID == "" {
		return nil, http.StatusBadRequest, errors.New("the AdmissionReview has no request, or the request has no uid")
	}
	return in.Request, 0, nil
}

// answer asks the Mutator, and survives it.
func (h *Handler) answer(ctx context.Context, in *reviewRequest) (answer admission.Answer, outcome string, err error) {
	defer func() {
		if p := recover(); p != nil {
			if dropped, ok := h.panics.next(); ok {
				h.Log.Error(fmt.Errorf("panic: %v", p), "a bug in podinit, please report it", "uid", shorten(in.UID, maxName), "stack", string(debug.Stack()), "notLogged", dropped)
			}
			answer, outcome, err = admission.Answer{}, outcomePanic, errors.New("an internal error; the webhook's log has it")
		}
	}()
	if in.Resource.Group != "" || in.Resource.Resource != "pods" || in.SubResource != "" || in.Operation != admissionv1.Create {
		return admission.Answer{}, outcomeNotOurs, fmt.Errorf("this webhook is for CREATE of pods, and was sent %s of %s: correct the rules of its MutatingWebhookConfiguration",
			in.Operation, resourceName(in))
	}
	t, err := h.processors.take(ctx, in.Namespace, len(in.Object))
	if err == nil {
		defer t.give()
		wait := func(until func()) error { return t.wait(ctx, until) }
		answer, err = h.Mutator.Mutate(ctx, admission.Request{Namespace: in.Namespace, Object: in.Object, Wait: wait})
	}
	if ctx.Err() != nil {
		return admission.Answer{}, outcomeTimeout, fmt.Errorf("deciding took longer than the apiserver waits: %w", ctx.Err())
	}
	switch {
	case err != nil:
		return admission.Answer{}, outcomeFailed, err
	case len(answer.Refusals) > 0:
		return answer, outcomeRefused, nil
	case answer.Patch == nil:
		return answer, outcomeUnchanged, nil
	}
	return answer, outcomePatched, nil
}

func resourceName(in *reviewRequest) string {
	name := in.Resource.Resource
	if in.Resource.Group != "" {
		name += "." + in.Resource.Group
	}
	if in.SubResource != "" {
		name += "/" + in.SubResource
	}
	return name
}
