package webhook

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxConnections bounds the connections to one server. An apiserver has one for each review under way, and has no
	// more under way than its --max-mutating-requests-inflight, 200 by default and 1000 on OpenShift.
	maxConnections = 1024
	// maxPerAddress bounds those of one address, as long as they wait. It yields to reviews: all apiservers of a cluster
	// may come from one address, that of a proxy such as Konnectivity's agent.
	maxPerAddress = 256
	// newTime is how long a new connection is left alone however many others its address has: as long as a burst of
	// honest ones may take to shake hands and send their reviews.
	newTime = 2 * time.Second
)

// connections are the open connections of a server: at most maxConnections in all. When there is no room, a connection
// that waits is closed for a new one: one that has not sent a review before one that has, and the oldest first. Where an
// address has more than maxPerAddress, it is one of that address. A connection whose review was read is never closed, so
// a bound that is too low for a cluster costs new handshakes, not reviews.
type connections struct {
	mu        sync.Mutex
	all       map[*connection]struct{}
	byAddress map[netip.Addr]int
	now       func() time.Time
}

func newConnections(now func() time.Time) *connections {
	return &connections{all: map[*connection]struct{}{}, byAddress: map[netip.Addr]int{}, now: now}
}

// connection is one of connections. Its fields below Conn are guarded by connections.mu.
type connection struct {
	net.Conn
	of      *connections
	address netip.Addr
	opened  time.Time
	// since is when it began to wait: when it was opened, or when its last review was answered.
	since time.Time
	// busy is set while a review that was read is decided about.
	busy bool
	// answered is set once a review of it was answered.
	answered bool
}

// Close closes the connection and makes room for another.
func (c *connection) Close() error {
	c.of.mu.Lock()
	c.of.remove(c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// add takes up a connection that was accepted, or returns nil if there is no room. Another one may be closed for it.
func (s *connections) add(accepted net.Conn) *connection {
	now := s.now()
	c := &connection{Conn: accepted, of: s, address: addressOf(accepted), opened: now, since: now}
	s.mu.Lock()
	victim := s.victim(c.address, now)
	if victim == nil && len(s.all) >= maxConnections {
		s.mu.Unlock()
		return nil
	}
	if victim != nil {
		s.remove(victim)
	}
	s.all[c] = struct{}{}
	s.byAddress[c.address]++
	s.mu.Unlock()
	if victim != nil {
		_ = victim.Conn.Close()
	}
	return c
}

// victim is the connection to close for a new one from an address; nil if none needs to be, or none may be.
func (s *connections) victim(address netip.Addr, now time.Time) *connection {
	if len(s.all) < maxConnections {
		if s.byAddress[address] < maxPerAddress {
			return nil
		}
		return s.first(func(c *connection) bool { return c.address == address && now.Sub(c.since) >= newTime })
	}
	most := address
	for of, n := range s.byAddress {
		if n > s.byAddress[most] {
			most = of
		}
	}
	if s.byAddress[most] > maxPerAddress {
		if c := s.first(func(c *connection) bool { return c.address == most }); c != nil {
			return c
		}
	}
	return s.first(func(*connection) bool { return true })
}

// first is the connection to close first among those of which may be true: none that is busy.
func (s *connections) first(may func(*connection) bool) (first *connection) {
	for c := range s.all {
		switch {
		case c.busy || !may(c):
		case first == nil, first.answered && !c.answered, first.answered == c.answered && c.since.Before(first.since):
			first = c
		}
	}
	return first
}

// remove forgets a connection, once. The lock is held.
func (s *connections) remove(c *connection) {
	if _, ok := s.all[c]; !ok {
		return
	}
	delete(s.all, c)
	if s.byAddress[c.address]--; s.byAddress[c.address] == 0 {
		delete(s.byAddress, c.address)
	}
}

// state is for http.Server.ConnState: a connection that is idle has been answered, and waits.
func (s *connections) state(of net.Conn, state http.ConnState) {
	if c := connectionOf(of); c != nil && state == http.StateIdle {
		s.mu.Lock()
		c.answered, c.busy, c.since = c.answered || c.busy, false, s.now()
		s.mu.Unlock()
	}
}

// connectionOf is the connection that http.Server knows as the one of its TLS; nil if it is of another listener.
func connectionOf(of net.Conn) *connection {
	if over, ok := of.(*tls.Conn); ok {
		of = over.NetConn()
	}
	c, _ := of.(*connection)
	return c
}

type connectionKey struct{}

// inContext is for http.Server.ConnContext.
func inContext(ctx context.Context, of net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, connectionOf(of))
}

// keep says that the review of a request was read: its connection is not closed for others until it is answered.
func keep(ctx context.Context) {
	if c, _ := ctx.Value(connectionKey{}).(*connection); c != nil {
		c.of.mu.Lock()
		c.busy = true
		c.of.mu.Unlock()
	}
}

// addressOf is the address of a connection's client; the zero one where it has none.
func addressOf(c net.Conn) netip.Addr {
	if tcp, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// boundedListener accepts the connections that there is room for, and closes the others at once.
type boundedListener struct {
	net.Listener
	connections *connections
}

// Accept waits for the next connection.
func (l boundedListener) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.connections.add(accepted); c != nil {
			return c, nil
		}
		_ = accepted.Close()
	}
}
