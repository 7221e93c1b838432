package registry

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/auth"
)

const (
	// tokenTime is how long a token is used at most; registries say how long it is valid, or else it is for 60 seconds
	// (distribution's token specification).
	tokenTime = time.Minute
	// challengeTime is how long a host is taken to want to be asked in the same way.
	challengeTime = 10 * time.Minute
	// maxHandshakes bounds how many tokens and challenges are remembered, and maxHandshake how long one may be, in bytes.
	maxHandshakes = 1024
	maxHandshake  = 8 << 10
)

// handshakes are what registries have said about how they want to be asked, and the tokens that they have given: a lookup
// takes up what an earlier one of the same namespace has, at the same host with the same credential. Only what has worked
// is kept. A host that wants something else meanwhile says so (401), and then the handshake is made again.
type handshakes struct {
	now func() time.Time

	mu    sync.Mutex
	known map[string]handshake
}

type handshake struct {
	// tokens of one repository.
	tokens docker.Authorizer
	// challenge of a host, without the scope.
	challenge string
	until     time.Time
}

func (h *handshakes) get(key string) (handshake, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	found, ok := h.known[key]
	return found, ok && h.now().Before(found.until)
}

func (h *handshakes) put(key string, made handshake) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known == nil {
		h.known = map[string]handshake{}
	}
	now := h.now()
	if _, ok := h.known[key]; !ok && len(h.known) >= maxHandshakes {
		for other, old := range h.known {
			if !now.Before(old.until) {
				delete(h.known, other)
			}
		}
		for other := range h.known {
			if len(h.known) < maxHandshakes {
				break
			}
			delete(h.known, other)
		}
	}
	h.known[key] = made
}

func (h *handshakes) drop(key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.known, key)
}

// authorizer is a docker.Authorizer for one repository at one host as one login: containerd's, which begins where an
// earlier one has ended.
type authorizer struct {
	shared *handshakes
	// hostKey and key tell the host, and the repository at it, from every other, with namespace and login.
	hostKey, key string
	// host is the registry's. Others are those that it redirects to.
	host string
	// scope that the repository is read with.
	scope string
	login login
	// own is set for a login that only host and its token servers get to see.
	own bool
	// client asks token servers, with header besides.
	client *http.Client
	header http.Header

	mu    sync.Mutex
	inner docker.Authorizer
	// resumed is set while inner goes on with an earlier one's challenge, and begun while its tokens are its own.
	resumed, begun bool
	// unusual is set for what is not shared.
	unusual bool
}

var _ docker.Authorizer = (*authorizer)(nil)

// tokenKey has authorizer.own in the context of requests to token servers.
type tokenKey struct{}

// handshakeFailed is a failure to get a token, or to find out how: another credential may fare better.
type handshakeFailed struct{ err error }

func (e *handshakeFailed) Error() string { return e.err.Error() }
func (e *handshakeFailed) Unwrap() error { return e.err }

// begin is a handshake from the start.
func (a *authorizer) begin() docker.Authorizer {
	return docker.NewDockerAuthorizer(docker.WithAuthClient(a.client), docker.WithAuthHeader(a.header),
		docker.WithAuthCreds(func(host string) (user, secret string, err error) {
			if a.own && host != a.host {
				return "", "", nil
			}
			user, secret = a.login.credential()
			return user, secret, nil
		}))
}

// resume takes up an earlier handshake, if there is one. The lock is held.
func (a *authorizer) resume(ctx context.Context) docker.Authorizer {
	if a.inner != nil {
		return a.inner
	}
	if earlier, ok := a.shared.get(a.key); ok {
		a.inner, a.resumed, a.begun = earlier.tokens, true, false
		return a.inner
	}
	a.startOver()
	if earlier, ok := a.shared.get(a.hostKey); ok {
		challenged := &http.Response{
			StatusCode: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": {earlier.challenge}},
			Request: &http.Request{Method: http.MethodHead, URL: &url.URL{Host: a.host}},
		}
		a.resumed = a.inner.AddResponses(ctx, []*http.Response{challenged}) == nil
	}
	return a.inner
}

// Authorize implements docker.Authorizer. containerd calls it for redirects, too.
func (a *authorizer) Authorize(ctx context.Context, request *http.Request) error {
	if a.own && elsewhere(request) {
		withoutLogin(request)
	}
	if a.login.RegistryToken != "" { // which containerd does not know; docker's configuration has it
		if request.URL.Host != a.host {
			return nil
		}
		request.Header.Set("Authorization", "Bearer "+a.login.RegistryToken)
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock() // one repository's requests are sent one after the other
	inner := a.resume(ctx)
	if err := inner.Authorize(context.WithValue(ctx, tokenKey{}, a.own), request); err != nil {
		resumed := a.resumed
		a.startOver() // containerd's remembers errors, too
		if resumed && ctx.Err() == nil {
			return nil // the host is asked as if for the first time, and says what it wants now
		}
		return &handshakeFailed{err}
	}
	switch got := request.Header.Get("Authorization"); {
	case len(got) > maxHandshake:
		a.unusual = true
	case got != "" && a.begun && !a.unusual:
		a.begun = false
		a.shared.put(a.key, handshake{tokens: inner, until: a.shared.now().Add(tokenTime)})
	}
	return nil
}

// startOver forgets an earlier one's challenge. The lock is held.
func (a *authorizer) startOver() {
	if a.inner != nil {
		a.shared.drop(a.key)
	}
	if a.resumed {
		a.shared.drop(a.hostKey)
	}
	a.inner, a.resumed, a.begun = a.begin(), false, true
}

// AddResponses implements docker.Authorizer.
func (a *authorizer) AddResponses(ctx context.Context, responses []*http.Response) error {
	last := responses[len(responses)-1]
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.resumed || a.inner == nil {
		a.startOver()
		responses = responses[len(responses)-1:]
	}
	size := 0
	for _, value := range last.Header.Values("WWW-Authenticate") {
		size += len(value)
	}
	a.unusual = a.unusual || size > maxHandshake
	if err := a.inner.AddResponses(ctx, responses); err != nil {
		return &handshakeFailed{err}
	}
	if challenge, ok := shareable(last.Header, a.scope); ok && !a.unusual && last.Request.URL.Host == a.host {
		a.shared.put(a.hostKey, handshake{challenge: challenge, until: a.shared.now().Add(challengeTime)})
	}
	return nil
}

// shareable is a challenge that holds for all repositories of a host: what it says of this one, in scope, is what
// containerd asks for by itself.
func shareable(header http.Header, scope string) (string, bool) {
	for _, c := range auth.ParseAuthHeader(header) {
		switch c.Scheme {
		case auth.BasicAuth:
			return `Basic realm="x"`, true // what it is called does not matter
		case auth.BearerAuth:
			realm, service := c.Parameters["realm"], c.Parameters["service"]
			asked := c.Parameters["scope"]
			if asked != "" && asked != scope || strings.ContainsAny(realm+service, `"\`) {
				return "", false
			}
			return `Bearer realm="` + realm + `",service="` + service + `"`, true
		}
	}
	return "", false
}

// credential is a login as containerd takes it from the kubelet: a secret without a user is a token for the token server.
func (l login) credential() (user, secret string) {
	if l.Username == "" {
		return "", l.IdentityToken
	}
	return l.Username, l.Password
}

// isHandshake says whether a failure is one of the handshake, not of what was asked for.
func isHandshake(err error) bool {
	var failed *handshakeFailed
	return errors.As(err, &failed)
}
