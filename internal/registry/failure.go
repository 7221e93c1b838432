package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/auth"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/imageconfig"
)

// failureOf says why a request failed, in words that the client that creates the Pod may see: no secret, no query of a
// signed URL, and nothing of an answer's body, which might come from a host that he could not ask himself.
func failureOf(err error) *imageconfig.Failure {
	var known *imageconfig.Failure
	if errors.As(err, &known) {
		return known
	}
	fail := func(reason v1alpha1.Reason, err error) *imageconfig.Failure {
		return &imageconfig.Failure{Reason: reason, Err: err}
	}
	var answered remoteerrors.ErrUnexpectedStatus
	var sent *asked
	var hidden *noMore
	var forbidden *forbiddenAddress
	var network net.Error
	var at *url.Error
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	last := func(status int) *imageconfig.Failure {
		if errors.As(err, &sent) && sent.last != nil && sent.last.status == status {
			return answeredWith(status, sent.last)
		}
		return answeredWith(status, nil)
	}
	switch {
	case errors.As(err, &hidden):
		return failureOf(hidden.err)
	case errors.As(err, &answered):
		got := &reply{method: answered.RequestMethod, status: answered.StatusCode}
		if u, bad := url.Parse(answered.RequestURL); bad == nil {
			got.host, got.path = u.Host, u.Path
		}
		return answeredWith(answered.StatusCode, got)
	case errors.As(err, &forbidden):
		return fail(v1alpha1.ReasonLookupForbidden, forbidden)
	case errors.Is(err, errUnnamed):
		return fail(v1alpha1.ReasonLookupForbidden, plain(err))
	case errors.Is(err, errTooLarge):
		return fail(v1alpha1.ReasonLookupTooLarge, errTooLarge)
	case errors.Is(err, errRedirects):
		return fail(v1alpha1.ReasonLookupFailed, errRedirects)
	case errors.Is(err, errTooMany):
		return fail(v1alpha1.ReasonLookupFailed, errTooMany)
	case errors.Is(err, errSchema1):
		return fail(v1alpha1.ReasonLookupUnsupported, errSchema1)
	case errors.Is(err, errCompressed):
		return fail(v1alpha1.ReasonLookupUnsupported, errCompressed)
	case errors.Is(err, docker.ErrInvalidAuthorization):
		return last(http.StatusUnauthorized)
	case errdefs.IsNotFound(err):
		return last(http.StatusNotFound)
	case errdefs.IsNotImplemented(err): // Docker's manifests of schema 1, which Resolve says so
		return fail(v1alpha1.ReasonLookupUnsupported, errSchema1)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.As(err, &network) && network.Timeout():
		return fail(v1alpha1.ReasonLookupTimeout, errors.New("the registry does not answer"))
	case errors.Is(err, http.ErrSchemeMismatch), errors.Is(err, errPlain):
		return fail(v1alpha1.ReasonLookupPlainHTTP, plain(err))
	case aboutTLS(err):
		return fail(v1alpha1.ReasonLookupTLS, plain(err))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fail(v1alpha1.ReasonLookupFailed, errors.New("the answer is incomplete"))
	case errors.As(err, &at) && at.Op == "parse":
		return fail(v1alpha1.ReasonLookupInvalid, errors.New("it redirects to an address that is not valid"))
	case errors.As(err, &network), errors.Is(err, io.EOF):
		return fail(v1alpha1.ReasonLookupUnreachable, plain(err))
	case errors.Is(err, auth.ErrNoToken):
		return fail(v1alpha1.ReasonLookupInvalid, auth.ErrNoToken)
	case errors.As(err, &syntax), errors.As(err, &kind):
		return fail(v1alpha1.ReasonLookupInvalid, errors.New("the answer is not the expected JSON"))
	}
	for _, ours := range []error{errOtherContent, errNotImage} {
		if errors.Is(err, ours) {
			return fail(v1alpha1.ReasonLookupInvalid, ours)
		}
	}
	if errors.As(err, &sent) && sent.last != nil { // the text may quote the answer
		return fail(v1alpha1.ReasonLookupInvalid, fmt.Errorf("the answer is not valid; the status of the last one was %s", sent.last))
	}
	return fail(v1alpha1.ReasonLookupInvalid, plain(err))
}

// answeredWith is a failure with this status; at is what was asked, nil if that is not known.
func answeredWith(status int, at *reply) *imageconfig.Failure {
	reason := v1alpha1.ReasonLookupFailed
	switch {
	case status == http.StatusNotFound:
		reason = v1alpha1.ReasonLookupNotFound
	case status == http.StatusTooManyRequests:
		reason = v1alpha1.ReasonLookupRateLimited
	case status == http.StatusRequestTimeout:
		reason = v1alpha1.ReasonLookupTimeout
	case 400 <= status && status < 500: // token servers have many ways to say no
		reason = v1alpha1.ReasonLookupUnauthorized
	}
	if at == nil {
		return &imageconfig.Failure{Reason: reason, Err: fmt.Errorf("%d %s", status, http.StatusText(status))}
	}
	return &imageconfig.Failure{Reason: reason, Err: errors.New(at.String())}
}

func aboutTLS(err error) bool {
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	return errors.As(err, &certificate) || errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid) ||
		errors.As(err, &record) || errors.As(err, &alert) ||
		strings.Contains(err.Error(), "remote error: tls:") // crypto/tls does not export the type
}

// plain is an error without the query of its URL, of one line, and short.
func plain(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		if u, bad := url.Parse(at.URL); bad == nil {
			return plain(fmt.Errorf("%s %s%s: %w", strings.ToUpper(at.Op), u.Host, u.Path, at.Err))
		}
		return plain(at.Err)
	}
	text, _, _ := strings.Cut(err.Error(), "\n") // an answer may follow, with a token in it
	if text = strings.ToValidUTF8(text, "?"); len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + "..."
	}
	return errors.New(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text))
}
