// Package webhook is the HTTP edge of podinit: an AdmissionReview in, an AdmissionReview out. It decides nothing about
// Pods; it makes sure that whatever happens behind it, the Pod is admitted.
//
// The apiserver takes "allowed: false" for a refusal whatever the failurePolicy says, and a review that it cannot read
// for a failed call. So everything that goes wrong with a review that names itself is answered with an unpatched
// "allowed: true" and a warning, and only what is no AdmissionReview gets an HTTP error.
package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// MaxBody bounds an AdmissionReview, in bytes. etcd's own limit for an object is 1.5 MiB, and a review holds one
	// or two.
	MaxBody = 8 << 20
	// answerTime is what is left of the apiserver's timeout for the answer to reach it.
	answerTime = 500 * time.Millisecond
	// defaultTimeout is the apiserver's where the request does not name one.
	defaultTimeout = 10 * time.Second
)

// Request is what a Mutator needs of an AdmissionReview.
type Request struct {
	// Namespace of the Pod. The Pod's own field may be empty.
	Namespace string
	// Object is the Pod's JSON as the apiserver sent it.
	Object []byte
	// DryRun is set where nothing may be changed but the answer.
	DryRun bool
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
}

// Container is one decision, for the metrics and the log.
type Container struct {
	// Name of the container; for the log alone.
	Name string
	// Action is "wrapped" or "skipped".
	Action string
	// Reason of a skipped container.
	Reason string
	// Source of a wrapped one's command.
	Source string
}

// Mutator decides about Pods. Mutate may be called from many goroutines, and returns soon after ctx is done.
type Mutator interface {
	Mutate(ctx context.Context, request Request) (Answer, error)
}

// Handler serves AdmissionReviews of version v1. It is safe for concurrent use.
type Handler struct {
	// Mutator decides.
	Mutator Mutator
	// Metrics counts; required.
	Metrics *Metrics
	// Log gets what went wrong, and at verbosity 1 each request. No part of a Pod but its names is written to it.
	Log logr.Logger
}

// review is an AdmissionReview of which only what is used is decoded.
type review struct {
	metav1.TypeMeta `json:",inline"`
	Request         *reviewRequest `json:"request"`
}

type reviewRequest struct {
	UID         types.UID                   `json:"uid"`
	Resource    metav1.GroupVersionResource `json:"resource"`
	SubResource string                      `json:"subResource"`
	Namespace   string                      `json:"namespace"`
	Name        string                      `json:"name"`
	Operation   admissionv1.Operation       `json:"operation"`
	DryRun      bool                        `json:"dryRun"`
	Object      json.RawMessage             `json:"object"`
}

// ServeHTTP answers one AdmissionReview.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(r.Context(), timeout(r))
	defer cancel()
	if deadline, ok := ctx.Deadline(); ok {
		// A body that never ends must not hold us. Not every ResponseWriter can; the server's can.
		_ = http.NewResponseController(w).SetReadDeadline(deadline)
	}

	in, status, err := read(w, r)
	if err != nil {
		h.Metrics.observe(outcomeUnreadable, Answer{}, time.Since(start))
		h.Log.Info("refused a request that is no AdmissionReview", "error", err.Error(), "status", status)
		http.Error(w, "podinit: "+err.Error(), status)
		return
	}

	answer, outcome, err := h.answer(ctx, in.Request)
	log := h.Log.WithValues("uid", in.Request.UID, "namespace", in.Request.Namespace, "name", in.Request.Name)
	if err != nil {
		// One warning tells the user that nothing happened; the log has the rest.
		answer = Answer{Warnings: []string{"podinit: pod left alone: " + err.Error()}}
		log.Error(err, "admitted a pod as it came", "outcome", outcome)
	} else {
		log.V(1).Info("answered", "outcome", outcome, "dryRun", in.Request.DryRun, "containers", answer.Containers, "ignored", answer.Ignored)
	}
	h.Metrics.observe(outcome, answer, time.Since(start))

	response := &admissionv1.AdmissionResponse{UID: in.Request.UID, Allowed: answer.Refusal == "", Warnings: answer.Warnings}
	if !response.Allowed {
		response.Result = &metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden, Message: answer.Refusal}
	}
	if answer.Patch != nil {
		patchType := admissionv1.PatchTypeJSONPatch
		response.Patch, response.PatchType = answer.Patch, &patchType
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(admissionv1.AdmissionReview{TypeMeta: in.TypeMeta, Response: response}); err != nil {
		log.Info("the apiserver did not take the answer", "error", err.Error())
	}
}

// timeout is how long we may think: what the apiserver says in its query, less the time the answer needs.
func timeout(r *http.Request) time.Duration {
	t, err := time.ParseDuration(r.URL.Query().Get("timeout"))
	if err != nil || t <= 0 || t > time.Minute {
		t = defaultTimeout
	}
	return max(t-answerTime, t/2)
}

// read reads an AdmissionReview; where that fails, status is the HTTP status to say it with.
func read(w http.ResponseWriter, r *http.Request) (in *review, status int, err error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, http.StatusMethodNotAllowed, fmt.Errorf("method %s: send an AdmissionReview by POST", r.Method)
	}
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != "application/json" {
		return nil, http.StatusUnsupportedMediaType, fmt.Errorf("content type %q: send application/json", r.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("the body is larger than %d bytes, which no AdmissionReview of a Pod is: etcd takes 1.5 MiB", MaxBody)
	}
	if err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("reading the body: %w", err)
	}
	in = &review{}
	if err := json.Unmarshal(body, in); err != nil {
		return nil, http.StatusBadRequest, fmt.Errorf("reading the body as an AdmissionReview: %w", err)
	}
	if want := admissionv1.SchemeGroupVersion.String(); in.APIVersion != want || in.Kind != "AdmissionReview" {
		return nil, http.StatusBadRequest, fmt.Errorf("the body is a %q of %q: send an AdmissionReview of %s", in.Kind, in.APIVersion, want)
	}
	if in.Request == nil || in.Request.UID == "" {
		return nil, http.StatusBadRequest, errors.New("the AdmissionReview has no request, or the request no uid")
	}
	return in, 0, nil
}

// answer asks the Mutator, and survives it.
func (h *Handler) answer(ctx context.Context, in *reviewRequest) (answer Answer, outcome string, err error) {
	defer func() {
		if p := recover(); p != nil {
			h.Log.Error(fmt.Errorf("panic: %v", p), "a bug in podinit, please report it", "uid", in.UID, "stack", string(debug.Stack()))
			answer, outcome, err = Answer{}, outcomePanic, errors.New("an internal error; the webhook's log has it")
		}
	}()
	if in.Resource.Group != "" || in.Resource.Resource != "pods" || in.SubResource != "" || in.Operation != admissionv1.Create {
		return Answer{}, outcomeNotOurs, fmt.Errorf("this webhook is for CREATE of pods, and was sent %s of %s: correct the rules of its MutatingWebhookConfiguration",
			in.Operation, resourceName(in))
	}
	answer, err = h.Mutator.Mutate(ctx, Request{Namespace: in.Namespace, Object: in.Object, DryRun: in.DryRun})
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
