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
	"sync/atomic"
	"time"

	"github.com/podinit/podinit/internal/fair"
)

const (
	// maxManifest and maxConfigBlob bound what a registry may send, in bytes. An index is some KiB, a config mostly
	// history.
	maxManifest   = 4 << 20
	maxConfigBlob = 8 << 20
	// maxAtOnce bounds what has arrived from all registries together and is still read, in bytes, apart from the first
	// smallBody of each answer. Those for one namespace have at most half of it.
	maxAtOnce = 24 << 20
	smallBody = 64 << 10
	// maxRedirects is how often a registry may send us elsewhere. Blobs are one redirect away in most.
	maxRedirects = 5

	dialTime   = 5 * time.Second
	headerTime = 15 * time.Second
)

var (
	errTooLarge  = errors.New("the answer is too large")
	errPlain     = errors.New("it would be asked without TLS")
	errUnnamed   = errors.New("it is behind a proxy, where its address cannot be checked")
	errRedirects = fmt.Errorf("it redirects more than %d times", maxRedirects)
)

// guarded is the http.RoundTripper that every request to a registry goes through, also those that a redirect or a
// token challenge has caused.
type guarded struct {
	// direct checks every address. proxied is for hosts behind a proxy, whose addresses we do not see.
	direct, proxied http.RoundTripper
	// proxy is whom the environment names as the proxy for a request, nil for none.
	proxy func(*http.Request) (*url.URL, error)
	// of is what the configuration says about a host, and whether it names it.
	of func(host string) (Host, bool)
	// networks are the private networks that each host may be in, by Host.Host; "" for those that have none.
	networks map[string][]netip.Prefix
	// room for what has arrived is shared by all, by namespace.
	room *fair.Pool
}

// newGuarded makes the RoundTripper for a registry.
func newGuarded(host Host, of func(string) (Host, bool), networks map[string][]netip.Prefix, proxy func(*http.Request) (*url.URL, error), room *fair.Pool) (*guarded, error) {
	config, err := host.tls()
	if err != nil {
		return nil, err
	}
	checked := &net.Dialer{Timeout: dialTime, ControlContext: control}
	return &guarded{
		direct: newTransport(config, checked, nil), proxied: newTransport(config, &net.Dialer{Timeout: dialTime}, proxy),
		proxy: proxy, of: of, networks: networks, room: room,
	}, nil
}

func newTransport(config *tls.Config, dialer *net.Dialer, proxy func(*http.Request) (*url.URL, error)) *http.Transport {
	return &http.Transport{
		Proxy: proxy, DialContext: dialer.DialContext, TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: dialTime, ResponseHeaderTimeout: headerTime, MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns: 64, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
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
	host, named := g.of(request.URL.Host)
	switch {
	case host.PlainHTTP && request.URL.Scheme == "https":
		request = request.Clone(request.Context())
		request.URL.Scheme = "http"
	case !host.PlainHTTP && request.URL.Scheme != "https":
		return nil, fmt.Errorf("%w: %s; plainHTTP in the registry configuration allows it", errPlain, request.URL.Host)
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
	response, err := observe(transport, request)
	if err != nil {
		return nil, err
	}
	limit := int64(maxConfigBlob)
	if strings.Contains(request.URL.Path, "/manifests/") {
		limit = maxManifest
	}
	if request.Method != http.MethodHead && response.ContentLength > limit {
		response.Body.Close()
		return nil, errTooLarge
	}
	body := &limitedBody{ctx: request.Context(), body: response.Body, left: limit, room: g.room}
	if o, ok := request.Context().Value(observedKey{}).(*observed); ok {
		body.namespace = o.namespace
	}
	response.Body = body
	return response, nil
}

// limitedBody fails where io.LimitReader would silently end. It takes room for what has arrived, until it is closed, and
// not for what a header promises or an answer without a length might become.
type limitedBody struct {
	ctx       context.Context //nolint:containedctx // that of the request, for Read
	body      io.ReadCloser
	left      int64
	room      *fair.Pool
	namespace string
	// arrived and taken are in bytes; what is taken is in pieces of smallBody.
	arrived, taken int64
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.body.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLarge
	}
	for b.arrived += int64(n); b.arrived > b.taken+smallBody; b.taken += smallBody {
		if err := b.room.Acquire(b.ctx, b.namespace, smallBody); err != nil {
			return 0, err
		}
	}
	return n, err
}

func (b *limitedBody) Close() error {
	if b.taken > 0 {
		b.room.Release(b.namespace, b.taken)
		b.taken = 0
	}
	return b.body.Close()
}

// observed is what errors do not tell about the requests of an errand.
type observed struct {
	now func() time.Time
	// host that the errand is sent to. Token servers and those it redirects to are others.
	host string
	// namespace that it is sent for.
	namespace string
	// after is how long the registry wants to be left alone (Retry-After, RFC 9110 10.2.3), a time.Duration.
	after atomic.Int64
	// answered is set if the host has answered anything, hostFailed if the last request is one that the host has failed
	// at, whatever the repository.
	answered, hostFailed atomic.Bool
}

type observedKey struct{}

// observe sends a request, and notes what came of it for the errand of its context.
func observe(transport http.RoundTripper, request *http.Request) (*http.Response, error) {
	o, ok := request.Context().Value(observedKey{}).(*observed)
	if !ok {
		return transport.RoundTrip(request)
	}
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(request.Context(), &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	response, err := transport.RoundTrip(request.WithContext(traced))
	itself := request.URL.Host == o.host && request.Response == nil
	o.answered.Store(o.answered.Load() || itself && err == nil)
	failed := err != nil && request.Context().Err() == nil // else it is we who have no time left
	forAll := request.URL.Path == "/v2/" || !connected.Load()
	o.hostFailed.Store(itself && forAll && (failed || err == nil && response.StatusCode >= 500))
	if err == nil && (response.StatusCode == http.StatusTooManyRequests || response.StatusCode == http.StatusServiceUnavailable) {
		o.after.Store(int64(retryAfter(response.Header.Get("Retry-After"), o.now())))
	}
	return response, err
}

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
