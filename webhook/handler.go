// Package webhook is the HTTP edge of podinit: an AdmissionReview in, an AdmissionReview out. It decides nothing about
// Pods; it makes sure that whatever happens behind it, the Pod is admitted.
//
// The apiserver takes "allowed: false" for a refusal whatever the failurePolicy says, and a review that it cannot read
// for a failed call. So everything that goes wrong with a review that names itself is answered with an unpatched
// "allowed: true" and a warning, and only what is no AdmissionReview gets an HTTP error.
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

	"github.com/podinit/podinit/internal/rawjson"
)

const (
	// MaxBody bounds an AdmissionReview, in bytes. etcd's own limit for an object is 1.5 MiB, and a review holds one
	// or two.
	MaxBody = 8 << 20
	// MaxBodies bounds all that are being read or decided about, in bytes. Reviews of usual Pods, 20 KiB each, are far
	// from it by the thousand; it keeps whoever can connect from using up the memory.
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

// Request is what a Mutator needs of an AdmissionReview.
type Request struct {
	// Namespace of the Pod. The Pod's own field may be empty.
	Namespace string
	// Object is the Pod's JSON as the apiserver sent it.
	Object []byte
	// DryRun is set where nothing may be changed but the answer.
	DryRun bool
	// Wait is to call what waits for others: meanwhile the processor is for other Pods. It fails if there is no time left
	// to have it back. Nil does nothing of that.
	Wait func(until func()) error
}

// wait calls what waits for others.
func (r Request) wait(until func()) error {
	if r.Wait != nil {
		return r.Wait(until)
	}
	until()
	return nil
}

// Answer is what becomes of a Pod.
type Answer struct {
	// Patch is a JSON patch (RFC 6902); nil if the Pod stays as it is.
	Patch []byte
	// Warnings are shown to whoever made the request.
	Warnings []string
	// Refusal is why the Pod is not admitted; empty if it is. Only a profile with onProblem Reject asks for that.
	Refusal string
	// Containers that were decided about, for the metrics.
	Containers []Container
	// Ignored are the reasons for which wishes were ignored, for the metrics.
	Ignored []string
	// Lookups of images, for the metrics and the log.
	Lookups []LookedUp
}

// Container is one decision, for the metrics and the log.
type Container struct {
	// Name of the container; for the log alone.
	Name string `json:"name"`
	// Action is "wrapped" or "skipped".
	Action string `json:"action"`
	// Reason of a skipped container.
	Reason string `json:"reason,omitempty"`
	// Source of a wrapped one's command.
	Source string `json:"source,omitempty"`
}

// Mutator decides about Pods. Mutate may be called from many goroutines. It waits for nothing once ctx is done; what it
// computes takes as long as it takes, and is thrown away if that was too long.
type Mutator interface {
	Mutate(ctx context.Context, request Request) (Answer, error)
}

// Handler serves AdmissionReviews of version v1. It is safe for concurrent use.
type Handler struct {
	// Mutator decides.
	Mutator Mutator
	// Metrics counts; required.
	Metrics *Metrics
	// Log gets what went wrong, and at verbosity 1 one line for each request: what was decided about it, and what was
	// looked up for that. No part of a Pod but its names is written to it, and no credential.
	Log logr.Logger

	// bodies is how many bytes of MaxBodies are taken.
	bodies atomic.Int64
	shares shares
	// processors are for large reviews.
	processors processors
	// bad, wrong, unread and panics are the log lines about requests that were refused, Pods that were admitted as they
	// came, answers that were not taken, and bugs of ours.
	bad, wrong, unread, panics sparse
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
	// Neither a body that never ends nor an answer that nobody takes must hold us. Not every ResponseWriter can; the
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

	var answer Answer
	done, outcome, err := h.shares.take(ctx, in)
	if err == nil {
		defer done() // when the answer is written
		answer, outcome, err = h.answer(ctx, in)
	}
	if err != nil {
		// One warning tells the user that nothing happened; the log has the rest.
		err = errors.New(shorten(err.Error(), maxText))
		answer = Answer{Warnings: []string{"podinit: pod left alone: " + err.Error()}}
		if dropped, ok := h.wrong.next(); ok {
			h.logOf(in).Error(err, "admitted a pod as it came", "outcome", outcome, "notLogged", dropped)
		}
	} else if h.Log.V(1).Enabled() {
		h.logOf(in).V(1).Info("answered", "outcome", outcome, "dryRun", in.DryRun, "containers", answer.Containers, "ignored", answer.Ignored,
			"lookups", lookupLines(answer.Lookups), "seconds", time.Since(start).Seconds())
	}
	h.Metrics.observe(outcome, answer, time.Since(start))

	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(response(in.UID, answer)); err != nil {
		if dropped, ok := h.unread.next(); ok {
			h.logOf(in).Info("the apiserver did not take the answer", "error", err.Error(), "notLogged", dropped)
		}
	}
}

var errNoLength = errors.New("the request has no Content-Length: send the AdmissionReview in one piece, as the apiserver does")

// refuse answers with an HTTP error, which the apiserver takes for a call that failed.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, start time.Time, outcome string, status int, err error) {
	h.Metrics.observe(outcome, Answer{}, time.Since(start))
	text := shorten(err.Error(), maxText)
	if dropped, ok := h.bad.next(); ok {
		h.Log.Info("refused a request", "outcome", outcome, "error", text, "status", status, "from", r.RemoteAddr, "notLogged", dropped)
	}
	http.Error(w, "podinit: "+text, status)
}

// logOf names the request in every line. A Pod that a controller makes has no name yet, so that is told apart by what
// its name will begin with and by its owner.
func (h *Handler) logOf(in *reviewRequest) logr.Logger {
	log := h.Log.WithValues("uid", shorten(in.UID, maxName), "namespace", shorten(in.Namespace, maxName))
	if in.Name != "" {
		return log.WithValues("name", shorten(in.Name, maxName))
	}
	object, err := unnamedDecoder.Decode(in.Object)
	if err != nil {
		return log
	}
	log = log.WithValues("generateName", shorten(object.Metadata.GenerateName, maxName))
	for _, owner := range object.Metadata.OwnerReferences {
		if owner.Controller {
			return log.WithValues("owner", shorten(owner.Kind, maxName)+"/"+shorten(owner.Name, maxName))
		}
	}
	return log
}

// unnamed is what tells a Pod without a name apart.
type unnamed struct {
	Metadata struct {
		GenerateName    string `json:"generateName"`
		OwnerReferences []struct {
			Kind       string `json:"kind"`
			Name       string `json:"name"`
			Controller bool   `json:"controller"`
		} `json:"ownerReferences"`
	} `json:"metadata"`
}

var unnamedDecoder = rawjson.For[unnamed]()

// shorten cuts a text of a client's to so many bytes, between characters.
func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// response is the AdmissionReview that carries an answer.
func response(uid string, answer Answer) []byte {
	const size = 256 // without patch and warnings
	out := make([]byte, 0, size+base64.StdEncoding.EncodedLen(len(answer.Patch)))
	out = append(out, `{"kind":"AdmissionReview","apiVersion":"`+reviewVersion+`","response":{"uid":`...)
	out = rawjson.AppendString(out, uid)
	if answer.Refusal == "" {
		out = append(out, `,"allowed":true`...)
	} else {
		out = append(out, `,"allowed":false,"status":{"status":"Failure","reason":"Forbidden","code":403,"message":`...)
		out = rawjson.AppendString(out, answer.Refusal)
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
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("the body is larger than %d bytes, which no AdmissionReview of a Pod is: etcd takes 1.5 MiB", MaxBody)
	}
	body, err := arriving.read(r.Body)
	if err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("reading the body: %w", err)
	}
	t, err := h.processors.take(ctx, "", len(body))
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
		return nil, http.StatusBadRequest, errors.New("the AdmissionReview has no request, or the request no uid")
	}
	return in.Request, 0, nil
}

// answer asks the Mutator, and survives it.
func (h *Handler) answer(ctx context.Context, in *reviewRequest) (answer Answer, outcome string, err error) {
	defer func() {
		if p := recover(); p != nil {
			if dropped, ok := h.panics.next(); ok {
				h.Log.Error(fmt.Errorf("panic: %v", p), "a bug in podinit, please report it", "uid", shorten(in.UID, maxName), "stack", string(debug.Stack()), "notLogged", dropped)
			}
			answer, outcome, err = Answer{}, outcomePanic, errors.New("an internal error; the webhook's log has it")
		}
	}()
	if in.Resource.Group != "" || in.Resource.Resource != "pods" || in.SubResource != "" || in.Operation != admissionv1.Create {
		return Answer{}, outcomeNotOurs, fmt.Errorf("this webhook is for CREATE of pods, and was sent %s of %s: correct the rules of its MutatingWebhookConfiguration",
			in.Operation, resourceName(in))
	}
	t, err := h.processors.take(ctx, in.Namespace, len(in.Object))
	if err == nil {
		defer t.give()
		wait := func(until func()) error { return t.wait(ctx, until) }
		answer, err = h.Mutator.Mutate(ctx, Request{Namespace: in.Namespace, Object: in.Object, DryRun: in.DryRun, Wait: wait})
	}
	if ctx.Err() != nil {
		return Answer{}, outcomeTimeout, fmt.Errorf("deciding took longer than the apiserver waits: %w", ctx.Err())
	}
	switch {
	case err != nil:
		return Answer{}, outcomeFailed, err
	case answer.Refusal != "":
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
