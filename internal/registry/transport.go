package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxManifest and maxConfigBlob bound what a registry may send, in bytes. An index is some KiB, a config mostly
	// history.
	maxManifest   = 4 << 20
	maxConfigBlob = 8 << 20
	// maxToken bounds a token server's answer, in bytes: its token is kept while the registry is asked. Tokens of cloud
	// registries have some KiB. Of errors containerd reads less.
	maxToken = 64 << 10
	// maxAtOnce bounds the manifests and configs of all registries together that are read at once and have more than
	// smallBody, in bytes. Those for one namespace have at most half of it, which holds the largest.
	maxAtOnce = 24 << 20
	smallBody = 64 << 10
	// maxRedirects is how often a registry may send us elsewhere. Blobs are one redirect away in most.
	maxRedirects = 5
	// maxRequests bounds how many requests one lookup sends at one host, with all that it redirects to: two for each of
	// maxPlatforms, redirected, and some for tokens and second tries.
	maxRequests = 6 * maxPlatforms

	dialTime   = 5 * time.Second
	headerTime = 15 * time.Second
)

var (
	errTooLarge   = errors.New("the answer is too large")
	errPlain      = errors.New("the request would not use TLS")
	errUnnamed    = errors.New("it is behind a proxy, where its address cannot be checked")
	errCompressed = errors.New("the answer is compressed, although the request did not allow that")
	errTooMany    = fmt.Errorf("it takes more than %d requests", maxRequests)
	errRedirects  = fmt.Errorf("it redirects more than %d times", maxRedirects)
)

// guarded is the http.RoundTripper that every request to a registry goes through, also those that a redirect or a
// token challenge has caused.
type guarded struct {
	// tls is how the hosts that it is for are known, and we to them.
	tls *tls.Config
	// direct checks every address. proxied is for hosts behind a proxy, whose addresses we do not see.
	direct, proxied http.RoundTripper
	// proxy is the proxy that the environment names for a request, nil for none.
	proxy func(*http.Request) (*url.URL, error)
	// of is what the configuration says about a host, and whether it names it.
	of func(host string) (Host, bool)
	// networks are the private networks that each host may be in, by Host.Host; "" for those that have none.
	networks map[string][]netip.Prefix
}

// newGuarded makes the RoundTripper for registries that are known by this kind of TLS.
func newGuarded(kind *tls.Config, of func(string) (Host, bool), networks map[string][]netip.Prefix, proxy func(*http.Request) (*url.URL, error)) *guarded {
	checked := &net.Dialer{Timeout: dialTime, ControlContext: control}
	return &guarded{
		tls: kind, direct: newTransport(kind, checked, nil), proxied: newTransport(kind, &net.Dialer{Timeout: dialTime}, proxy),
		proxy: proxy, of: of, networks: networks,
	}
}

func newTransport(config *tls.Config, dialer *net.Dialer, proxy func(*http.Request) (*url.URL, error)) *http.Transport {
	return &http.Transport{
		Proxy: proxy, DialContext: dialer.DialContext, TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: dialTime, ResponseHeaderTimeout: headerTime, MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns: 64, MaxIdleConnsPerHost: maxAtHost / 2, IdleConnTimeout: time.Minute,
		// What is compressed may be a thousand times larger than what is read.
		DisableCompression: true,
	}
}

// RoundTrip sends a request if it may be sent.
func (g *guarded) RoundTrip(request *http.Request) (*http.Response, error) {
	hops := 0
	for r := request; r.Response != nil && r.Response.Request != nil; r = r.Response.Request {
		if hops++; hops > maxRedirects {
			return nil, errRedirects
		}
	}
	o, _ := request.Context().Value(observedKey{}).(*observed)
	host, named := g.of(request.URL.Host)
	plainHTTP := host.PlainHTTP
	if o != nil {
		inRoute, ok := o.named[request.URL.Host]
		named, plainHTTP = named || ok, plainHTTP || inRoute
	}
	request = request.Clone(request.Context())
	// A few bytes may be gigabytes when they are decompressed.
	request.Header.Set("Accept-Encoding", "identity")
	switch {
	case host.PlainHTTP && request.URL.Scheme == "https":
		request.URL.Scheme = "http"
	case !plainHTTP && request.URL.Scheme != "https":
		if at, err := netip.ParseAddr(request.URL.Hostname()); err == nil { // what matters more, if it can be seen here
			if err := check(at, g.networks[host.Host]); err != nil {
				return nil, err
			}
		}
		return nil, fmt.Errorf("%w: %s; plainHTTP in the registry configuration allows it", errPlain, request.URL.Host)
	}
	own, forToken := request.Context().Value(tokenKey{}).(bool)
	if own && elsewhere(request) {
		withoutLogin(request)
	}
	// A redirect or a token challenge may lead to another host: what counts is which one is connected to.
	request = request.WithContext(context.WithValue(request.Context(), networksKey{}, g.networks[host.Host]))
	transport := g.direct
	if through, err := g.proxy(request); err != nil {
		return nil, fmt.Errorf("reading the proxy's address: %w", err)
	} else if through != nil {
		if !named {
			return nil, fmt.Errorf("%w: name %s in the registry configuration", errUnnamed, request.URL.Host)
		}
		transport = g.proxied
	}
	response, err := o.observe(transport, request)
	if err != nil {
		return nil, err
	}
	if encoding := response.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		response.Body.Close()
		return nil, errCompressed
	}
	limit := int64(maxConfigBlob)
	switch {
	case forToken:
		limit = maxToken
	case strings.Contains(request.URL.Path, "/manifests/"):
		limit = maxManifest
	}
	if request.Method != http.MethodHead && response.ContentLength > limit {
		response.Body.Close()
		return nil, errTooLarge
	}
	response.Body = &limitedBody{response.Body, limit}
	return response, nil
}

// elsewhere says whether redirects have led a request away from the scheme, name and port that it began at, be it back
// there again.
func elsewhere(request *http.Request) bool {
	for r := request; r.Response != nil && r.Response.Request != nil; r = r.Response.Request {
		if origin(r.URL) != origin(r.Response.Request.URL) {
			return true
		}
	}
	return false
}

// origin is scheme, name and port of a URL (RFC 6454, 4).
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// withoutLogin takes the login out of a request: net/http copies the header to other ports and to subdomains, too, and the
// form that a token is asked for with anywhere.
func withoutLogin(request *http.Request) {
	request.Header.Del("Authorization")
	request.Header.Del("Cookie")
	if request.Body != nil {
		request.Body.Close()
		request.Body, request.ContentLength = http.NoBody, 0
	}
}

// limitedBody fails where io.LimitReader would silently end.
type limitedBody struct {
	io.ReadCloser
	left int64
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// observed is what errors do not show about the requests of a lookup.
type observed struct {
	now func() time.Time
	// host that the lookup asks. Token servers and those it redirects to are others.
	host string
	// named are the hosts of its route (see route.named).
	named map[string]bool
	// visit is the lookup's visit to the host.
	visit visit
	// after is how long the registry wants to be left alone (Retry-After, RFC 9110 10.2.3), a time.Duration.
	after atomic.Int64
	// answered is set if the host has answered anything, hostFailed if the last request is one that the host has failed
	// at, whatever the repository.
	answered, hostFailed atomic.Bool
	// closed is set once a connection was closed without an answer, and limited once there was a 429 that does not say until
	// when: both are tried once more.
	closed, limited atomic.Bool
	// unsent is set if there was no slot for a request, or no use in it any more: what follows from that is not the host's.
	unsent atomic.Bool
	// requests that were sent.
	requests atomic.Int64
	// last is the last answer, and refused one that asking again does not change.
	last, refused atomic.Pointer[reply]
}

// reply is what can be reported of an answer.
type reply struct {
	method, host, path string
	status             int
	header             http.Header
}

func (a *reply) String() string {
	return fmt.Sprintf("%s %s%s: %d %s", a.method, a.host, a.path, a.status, http.StatusText(a.status))
}

type observedKey struct{}

// observe sends a request, and notes its result for the lookup of its context. o is nil for one without.
func (o *observed) observe(transport http.RoundTripper, request *http.Request) (*http.Response, error) {
	if o == nil {
		return transport.RoundTrip(request)
	}
	itself := request.URL.Host == o.host && request.Response == nil
	// containerd asks again at once after 403, for the text of the error, and four times after 429. We do so once after 429,
	// unless it says when to come back.
	if before := o.refused.Load(); before != nil && itself {
		return &http.Response{
			Status: fmt.Sprintf("%d %s", before.status, http.StatusText(before.status)), StatusCode: before.status,
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: before.header.Clone(), Body: http.NoBody, Request: request,
		}, nil
	}
	if o.requests.Add(1) > maxRequests {
		return nil, errTooMany
	}
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(request.Context(), &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	done, err := o.visit.request(request.Context(), request.URL.Host)
	if err != nil {
		o.unsent.Store(true)
		return nil, err
	}
	done = sync.OnceFunc(done)
	context.AfterFunc(request.Context(), done) // for a body that is not closed
	response, err := transport.RoundTrip(request.WithContext(traced))
	if err != nil || request.Method == http.MethodHead || response.StatusCode >= 300 {
		done() // what matters is here; to follow a challenge or a redirect takes a slot of its own
	} else {
		response.Body = &slotBody{response.Body, done}
	}
	o.answered.Store(o.answered.Load() || itself && err == nil)
	failed := err != nil && request.Context().Err() == nil // else it is we who have no time left
	o.hostFailed.Store(itself && !connected.Load() && failed)
	if err != nil {
		var network net.Error
		timeout := errors.As(err, &network) && network.Timeout()
		if timeout || errors.Is(err, io.EOF) && o.closed.Swap(true) {
			err = &noMore{&url.Error{Op: request.Method, URL: request.URL.String(), Err: err}}
		}
		return nil, err
	}
	got := &reply{request.Method, request.URL.Host, request.URL.Path, response.StatusCode, response.Header}
	o.last.Store(got)
	if status := response.StatusCode; status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		o.after.Store(int64(retryAfter(response.Header.Get("Retry-After"), o.now())))
	}
	switch {
	case !itself:
	case got.status == http.StatusForbidden, got.status == http.StatusTooManyRequests && (response.Header.Get("Retry-After") != "" || o.limited.Swap(true)):
		o.refused.Store(got)
	}
	return response, nil
}

// slotBody is a body that is read with a slot.
type slotBody struct {
	io.ReadCloser
	done func()
}

func (b *slotBody) Close() error {
	b.done()
	return b.ReadCloser.Close()
}

// noMore hides from containerd that an error is one that it would try four times more for: the Pod that waits has not that
// much time, and the cache makes the next try.
type noMore struct{ err *url.Error }

func (e *noMore) Error() string { return e.err.Err.Error() }

// retryAfter reads the header: seconds, or a date.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
