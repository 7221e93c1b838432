package webhook_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"

	"github.com/podinit/podinit/webhook"
)

// TestServerDrains ends one of two replicas under load. The client is as the apiserver is: it keeps its connections, and
// does not repeat what it has begun to send. Endpoints name the ended replica for a while yet. Not one request fails, and
// what was under way when the listener closed is answered.
func TestServerDrains(t *testing.T) {
	const lag = 300 * time.Millisecond
	var requests [2]atomic.Int64
	slow := make(chan struct{})  // closed: the slow request's handler may answer
	begun := make(chan struct{}) // closed: it is under way
	drained := make(chan time.Time)
	replicas := [2]*replica{}
	for i := range replicas {
		replicas[i] = newReplica(t, 0, func(w http.ResponseWriter, r *http.Request) {
			requests[i].Add(1)
			if r.Header.Get("Slow") != "" {
				close(begun)
				<-slow
			}
			if err := r.Context().Err(); err != nil {
				t.Errorf("the request's context: %v", err)
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Errorf("reading a request: %v", err)
			}
			time.Sleep(5 * time.Millisecond) // so that most connections are in use
			fmt.Fprintf(w, "%d %d", i, len(body))
		})
		replicas[i].server.DrainUntil(drained)
		replicas[i].start(t)
	}
	endDrain := sync.OnceFunc(func() { close(drained) })
	t.Cleanup(endDrain)

	var endpoints atomic.Pointer[[]string] // what kube-proxy would have, in turn instead of by chance
	endpoints.Store(&[]string{replicas[0].address, replicas[1].address})
	var turn atomic.Int64
	service := replicas[0].client(func() string {
		now := *endpoints.Load()
		return now[int(turn.Add(1))%len(now)]
	})
	defer service.CloseIdleConnections()

	load, stop := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for load.Err() == nil {
				if answer, err := send(service, ""); err != nil || !strings.HasSuffix(answer, fmt.Sprintf(" %d", len(pod))) {
					t.Errorf("a request was lost: %q, %v", answer, err)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	for i := range replicas {
		eventually(t, fmt.Sprintf("replica %d to have a part in the load", i), func() bool { return requests[i].Load() > 0 })
	}

	replicas[0].end()
	eventually(t, "the ended replica to be not ready", func() bool { return replicas[0].server.Ready(nil) != nil })
	time.Sleep(lag)
	if moved := requests[0].Load(); moved == 0 {
		t.Error("nothing reaches the replica that is still an endpoint")
	}
	slowAnswer := make(chan string)
	go func() {
		answer, err := send(replicas[0].client(func() string { return replicas[0].address }), "Slow")
		slowAnswer <- fmt.Sprint(answer, err)
	}()
	select {
	case <-begun:
	case answer := <-slowAnswer:
		t.Fatalf("the ended replica does not serve on: %s", answer)
	}
	endpoints.Store(&[]string{replicas[1].address})
	eventually(t, "no request to come any more to the replica that is no endpoint: its connections to be closed", func() bool {
		before := requests[0].Load()
		time.Sleep(lag)
		return requests[0].Load() == before
	})
	if connection, err := net.Dial("tcp", replicas[0].address); err != nil {
		t.Errorf("the listener was closed before the connections had moved: %v", err)
	} else {
		connection.Close()
	}

	// The listener closes when the time to drain is over; the slow request is under way then.
	endDrain()
	eventually(t, "the listener to close", func() bool {
		connection, err := net.Dial("tcp", replicas[0].address)
		if err == nil {
			connection.Close()
		}
		return err != nil
	})
	close(slow)
	if got, want := <-slowAnswer, fmt.Sprintf("0 %d<nil>", len(pod)); got != want {
		t.Errorf("the request that was under way at the end: %q, want %q", got, want)
	}
	if err := <-replicas[0].ended; err != nil {
		t.Errorf("the server ended with %v", err)
	}
	time.Sleep(lag)
	stop()
	workers.Wait()
	t.Logf("requests: %d to the replica that ended, %d to the other", requests[0].Load(), requests[1].Load())
}

// TestServerReady asks for readiness before, while and after it listens, and for what is said of a port that is taken.
func TestServerReady(t *testing.T) {
	const drain = 50 * time.Millisecond
	r := newReplica(t, drain, http.NotFound)
	if err := r.server.Ready(nil); err == nil || !strings.Contains(err.Error(), r.address) {
		t.Errorf("before it listens: %v", err)
	}
	r.start(t)
	second := &webhook.Server{Address: r.address, TLS: r.server.TLS, Handler: r.server.Handler, Log: testr.New(t)}
	if err := second.Start(t.Context()); err == nil || !strings.Contains(err.Error(), r.address) {
		t.Errorf("at an address that is taken: %v", err)
	}
	if second.Ready(nil) == nil {
		t.Error("ready without a listener")
	}
	began := time.Now()
	r.end()
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took < drain {
		t.Errorf("it ended after %s, and is to drain for %s", took, drain)
	}
	if r.server.Ready(nil) == nil {
		t.Error("ready after the end")
	}
}

// TestServerSpeaksHTTP1 offers HTTP/2.
func TestServerSpeaksHTTP1(t *testing.T) {
	r := start(t, 0, http.NotFound)
	config := r.trust.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	connection, err := tls.Dial("tcp", r.address, config)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if got := connection.ConnectionState().NegotiatedProtocol; got != "http/1.1" {
		t.Errorf("chose %q", got)
	}
}

// TestServerBoundsHeaders sends a header that no apiserver sends.
func TestServerBoundsHeaders(t *testing.T) {
	r := start(t, 0, func(http.ResponseWriter, *http.Request) {})
	for size, want := range map[int]int{4 << 10: http.StatusOK, 64 << 10: http.StatusRequestHeaderFieldsTooLarge} {
		request, err := http.NewRequest(http.MethodPost, "https://podinit-webhook.podinit-system.svc/mutate", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Long", strings.Repeat("x", size))
		response, err := r.client(func() string { return r.address }).Do(request)
		if err != nil {
			t.Fatalf("a header of %d bytes: %v", size, err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("a header of %d bytes: status %d, want %d", size, response.StatusCode, want)
		}
	}
}

// TestServerClosesAfterErrors sends requests of which some get an HTTP error: their connections are not used again.
func TestServerClosesAfterErrors(t *testing.T) {
	r := start(t, 0, func(w http.ResponseWriter, request *http.Request) {
		if status := request.Header.Get("Status"); status != "" {
			http.Error(w, "no", map[string]int{"400": 400, "411": 411, "503": 503}[status])
		}
	})
	for status, want := range map[string]bool{"": false, "400": true, "411": true, "503": true} {
		request, err := http.NewRequest(http.MethodPost, "https://podinit-webhook.podinit-system.svc/mutate", strings.NewReader(pod))
		if err != nil {
			t.Fatal(err)
		}
		if status != "" {
			request.Header.Set("Status", status)
		}
		response, err := r.client(func() string { return r.address }).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.Close != want {
			t.Errorf("status %q: the connection is closed: %v, want %v", status, response.Close, want)
		}
	}
}

// TestServerSurvivesIdlers opens connections that say nothing, more than there is room for, from the client's own address
// and from another. A usual client is served all the time, on a connection that it keeps and on new ones.
func TestServerSurvivesIdlers(t *testing.T) {
	r := start(t, 0, func(http.ResponseWriter, *http.Request) {})
	usual := r.client(func() string { return r.address })
	serves := func(when string) {
		t.Helper()
		for name, client := range map[string]*http.Client{"kept": usual, "new": r.client(func() string { return r.address })} {
			client.Timeout = 5 * time.Second
			if _, err := send(client, ""); err != nil {
				t.Errorf("%s, on a %s connection: %v", when, name, err)
			}
		}
	}
	serves("at first")
	for _, from := range []string{"127.0.0.66", "127.0.0.1"} {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		for i := range 1300 {
			idler, err := dialer.Dial("tcp", r.address)
			if err != nil {
				t.Fatal(err)
			}
			defer idler.Close()
			if i%100 == 99 {
				serves(fmt.Sprintf("with %d idle connections from %s", i+1, from))
			}
		}
	}
}

// replica is a Server of a test.
type replica struct {
	server  *webhook.Server
	address string
	trust   *tls.Config // of a client
	end     context.CancelFunc
	ended   chan error
}

// client is one as the apiserver has: it keeps up to 25 idle connections. It finds its server by calling address.
func (r *replica) client(address func() string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:     r.trust,
		MaxIdleConnsPerHost: 25,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address())
		},
	}}
}

// send sends a review, with a header if one is named, and returns the answer.
func send(client *http.Client, header string) (string, error) {
	request, err := http.NewRequest(http.MethodPost, "https://podinit-webhook.podinit-system.svc/mutate", strings.NewReader(pod))
	if err != nil {
		return "", err
	}
	if header != "" {
		request.Header.Set(header, "1")
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// newReplica makes a Server that does not run yet, at a free address.
func newReplica(t *testing.T, drain time.Duration, handler http.HandlerFunc) *replica {
	t.Helper()
	certified := httptest.NewUnstartedServer(nil) // has a certificate for example.com
	certified.StartTLS()
	t.Cleanup(certified.Close)
	roots := x509.NewCertPool()
	roots.AddCert(certified.Certificate())
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return &replica{
		server: &webhook.Server{
			Address: free.Addr().String(), TLS: &tls.Config{Certificates: certified.TLS.Certificates},
			Handler: handler, Drain: drain, Finish: 10 * time.Second, Log: testr.New(t),
		},
		address: free.Addr().String(),
		trust:   &tls.Config{RootCAs: roots, ServerName: "example.com"},
		ended:   make(chan error, 1),
	}
}

// start runs the Server until end is called or the test ends, and waits until it listens.
func (r *replica) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r.end = cancel
	over := make(chan struct{})
	go func() {
		defer close(over)
		r.ended <- r.server.Start(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-over
	})
	eventually(t, "the server to listen", func() bool { return r.server.Ready(nil) == nil })
}

func start(t *testing.T, drain time.Duration, handler http.HandlerFunc) *replica {
	t.Helper()
	r := newReplica(t, drain, handler)
	r.start(t)
	return r
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for began := time.Now(); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("waiting for %s", what)
		}
	}
}
