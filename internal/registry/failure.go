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

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/podinit/podinit/api/v1alpha1"
	"github.com/podinit/podinit/internal/imageconfig"
)

// failureOf says why a request failed, in words that may be shown to whoever creates the Pod: no secret, no query of a
// signed URL, and nothing of an answer's body, which might come from a host that he could not ask himself.
func failureOf(err error) *imageconfig.Failure {
	var known *imageconfig.Failure
	if errors.As(err, &known) {
		return known
	}
	fail := func(reason v1alpha1.Reason, err error) *imageconfig.Failure {
		return &imageconfig.Failure{Reason: reason, Err: err}
	}
	var answered *transport.Error
	var forbidden *forbiddenAddress
	var network net.Error
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &answered):
		return answeredWith(answered)
	case errors.As(err, &forbidden):
		return fail(v1alpha1.ReasonLookupForbidden, forbidden)
	case errors.Is(err, errUnnamed), strings.Contains(err.Error(), "SSRF"), strings.Contains(err.Error(), "private or link-local"): // remote's own checks
		return fail(v1alpha1.ReasonLookupForbidden, plain(err))
	case errors.Is(err, errTooLarge):
		return fail(v1alpha1.ReasonLookupTooLarge, errTooLarge)
	case errors.Is(err, errRedirects):
		return fail(v1alpha1.ReasonLookupFailed, errRedirects)
	case errors.Is(err, remote.ErrSchema1):
		return fail(v1alpha1.ReasonLookupUnsupported, errors.New("Docker's manifests of schema 1 do not say what is run"))
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.As(err, &network) && network.Timeout():
		return fail(v1alpha1.ReasonLookupTimeout, errors.New("it does not answer"))
	case aboutTLS(err):
		return fail(v1alpha1.ReasonLookupTLS, plain(err))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fail(v1alpha1.ReasonLookupFailed, errors.New("the answer ends too early"))
	case errors.As(err, &network), errors.Is(err, io.EOF):
		return fail(v1alpha1.ReasonLookupUnreachable, plain(err))
	case errors.As(err, &syntax), errors.As(err, &kind):
		return fail(v1alpha1.ReasonLookupInvalid, errors.New("the answer is not the JSON that it should be"))
	}
	return fail(v1alpha1.ReasonLookupInvalid, plain(err))
}

func answeredWith(answer *transport.Error) *imageconfig.Failure {
	reason := v1alpha1.ReasonLookupFailed
	switch status := answer.StatusCode; {
	case status == http.StatusNotFound:
		reason = v1alpha1.ReasonLookupNotFound
	case status == http.StatusTooManyRequests:
		reason = v1alpha1.ReasonLookupRateLimited
	case status == http.StatusRequestTimeout:
		reason = v1alpha1.ReasonLookupTimeout
	case 400 <= status && status < 500: // token servers have many ways to say no
		reason = v1alpha1.ReasonLookupUnauthorized
	}
	asked := ""
	if answer.Request != nil {
		asked = fmt.Sprintf("%s %s: ", answer.Request.Method, answer.Request.URL.Host+answer.Request.URL.Path)
	}
	return &imageconfig.Failure{Reason: reason, Err: fmt.Errorf("%s%d %s", asked, answer.StatusCode, http.StatusText(answer.StatusCode))}
}

func aboutTLS(err error) bool {
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	return errors.As(err, &certificate) || errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid) ||
		errors.As(err, &record) || errors.As(err, &alert) || errors.Is(err, http.ErrSchemeMismatch) || errors.Is(err, errPlain) ||
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
