package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
)

const (
	// headerTime is how long a TLS handshake, and a request's header, may take. The apiserver sends both at once.
	headerTime = 5 * time.Second
	// maxHeader bounds a request's header, in bytes. The apiserver's has a few hundred; net/http would read 1 MiB for each
	// connection of a client that can reach us.
	maxHeader = 16 << 10
	// idleTime is how long a connection may go unused. It is longer than the 90 s after which the apiserver closes one
	// (net/http, DefaultTransport.IdleConnTimeout): were it we who close it, a review might be on its way.
	idleTime = 5 * time.Minute
)

// Server serves a handler by HTTPS, and ends without losing a request. It is a Runnable of controller-runtime's manager,
// whose own webhook server closes its listener and cancels what is in flight as soon as it is to end, while
// endpoints that name it are still in use.
//
// The apiserver keeps connections alive, and repeats no review that it has begun to send. So once it is to end, the
// server is not ready any more, but serves on for the time Drain, and each answer asks the client to close its
// connection. What is then still open is idle; it is closed, and what is under way is finished.
type Server struct {
	// Address to listen at, as host:port.
	Address string
	// TLS has the certificate.
	TLS *tls.Config
	// Callers are the clients that may send requests; nil for every client that can reach the port.
	Callers *Callers
	// Handler answers. After an answer with an HTTP error the connection is closed.
	Handler http.Handler
	// Drain is how long to serve on after the end of Start's context; Finish, how long requests may then still take.
	Drain, Finish time.Duration
	// Log gets when it begins and ends, and what is wrong with connections, of which no more than a line a second.
	Log logr.Logger

	// drained takes the place of Drain in tests.
	drained <-chan time.Time

	state atomic.Int32
	bad   sparse
}

const (
	notListening int32 = iota
	serving
	draining
)

// NeedLeaderElection says that every replica serves.
func (*Server) NeedLeaderElection() bool { return false }

// Ready is a health check: it fails before the server listens and from the moment that it is to end.
func (s *Server) Ready(*http.Request) error {
	switch s.state.Load() {
	case serving:
		return nil
	case draining:
		return errors.New("the webhook is shutting down; it serves until its connections have moved")
	}
	return fmt.Errorf("the webhook does not listen at %s yet", s.Address)
}

// Start serves until ctx is done, and then for the time Drain and until what is under way is done. A request's context
// does not end with ctx.
func (s *Server) Start(ctx context.Context) error {
	listener, err := net.Listen("tcp", s.Address)
	if err != nil {
		return fmt.Errorf("listening for the apiserver: %w", err)
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true) // no HTTP/2, and none of its ways to exhaust a server (CVE-2023-44487); the apiserver speaks none
	config := s.TLS
	if s.Callers != nil {
		config = config.Clone()
		s.Callers.Configure(config)
	}
	open := newConnections(time.Now)
	server := &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		TLSConfig:         config,
		ConnContext:       inContext,
		ConnState:         open.state,
		Protocols:         &protocols,
		ReadHeaderTimeout: headerTime,
		MaxHeaderBytes:    maxHeader,
		IdleTimeout:       idleTime,
		ErrorLog:          log.New(s, "", 0),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.ServeTLS(boundedListener{listener, open}, "", "") }()
	s.state.Store(serving)
	s.Log.Info("listening", "address", listener.Addr().String())

	select {
	case err := <-failed:
		return fmt.Errorf("serving the apiserver: %w", err)
	case <-ctx.Done():
	}
	s.state.Store(draining)
	s.Log.Info("shutting down: no longer ready, but still serving", "drain", s.Drain.String())
	drained := s.drained
	if drained == nil {
		drained = time.After(s.Drain)
	}
	select {
	case err := <-failed:
		return fmt.Errorf("serving the apiserver: %w", err)
	case <-drained:
	}
	last, cancel := context.WithTimeout(context.Background(), s.Finish)
	defer cancel()
	if err := server.Shutdown(last); err != nil {
		return fmt.Errorf("waiting for requests under way: %w", err)
	}
	return nil
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if s.state.Load() == draining {
		w.Header().Set("Connection", "close")
	}
	w = closing{w}
	if s.Callers != nil {
		if err := s.Callers.Allowed(r); err != nil {
			s.logBad("refused a client", err.Error(), r.RemoteAddr)
			http.Error(w, "podinit: only apiservers with a valid client certificate may call", http.StatusUnauthorized)
			return
		}
	}
	s.Handler.ServeHTTP(w, r)
}

// Write is for http.Server.ErrorLog, which has a line for each handshake that fails.
func (s *Server) Write(line []byte) (int, error) {
	s.logBad("a connection failed", strings.TrimSpace(string(line)), "")
	return len(line), nil
}

// logBad logs what a client did wrong, unless too much was.
func (s *Server) logBad(what, text, from string) {
	if dropped, ok := s.bad.next(); ok {
		s.Log.Info(what, "error", shorten(text, maxText), "from", from, "notLogged", dropped)
	}
}

// closing closes the connection after an answer with an HTTP error: no apiserver gets one, and the next client may be a
// better one.
type closing struct{ http.ResponseWriter }

// WriteHeader writes the header of the answer.
func (c closing) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		c.Header().Set("Connection", "close")
	}
	c.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (c closing) Unwrap() http.ResponseWriter { return c.ResponseWriter }
