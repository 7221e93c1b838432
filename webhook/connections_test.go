package webhook

import (
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"
)

// peer is a connection from an address.
type peer struct {
	net.Conn
	address net.TCPAddr
	closed  bool
}

func (p *peer) RemoteAddr() net.Addr { return &p.address }

func (p *peer) Close() error { p.closed = true; return nil }

// crowd is connections, and a clock.
type crowd struct {
	t    *testing.T
	open *connections
	now  time.Time
}

func newCrowd(t *testing.T) *crowd {
	c := &crowd{t: t, now: time.Unix(1e9, 0)}
	c.open = newConnections(func() time.Time { return c.now })
	return c
}

// connect opens connections from an address; each is nil if there was no room.
func (c *crowd) connect(address string, n int) (opened []*connection) {
	for range n {
		c.now = c.now.Add(time.Microsecond)
		opened = append(opened, c.open.add(&peer{address: net.TCPAddr{IP: net.ParseIP(address), Port: 1}}))
		if got := len(c.open.all); got > maxConnections {
			c.t.Fatalf("%d connections are open", got)
		}
	}
	return opened
}

func closed(connections []*connection) (n int) {
	for _, c := range connections {
		if c == nil || c.Conn.(*peer).closed {
			n++
		}
	}
	return n
}

// review has connections send reviews that are being decided about; answer answers them.
func (c *crowd) review(connections []*connection) {
	for _, connection := range connections {
		keep(inContext(c.t.Context(), connection))
	}
}

func (c *crowd) answer(connections []*connection) {
	for _, connection := range connections {
		c.open.state(connection, http.StateIdle)
	}
}

// One address opens connections without end, and cannot have those of others closed.
func TestOneAddressFloods(t *testing.T) {
	c := newCrowd(t)
	idle, busy := c.connect("10.0.0.1", 25), c.connect("10.0.0.1", 25)
	c.review(idle)
	c.answer(idle)
	c.review(busy)
	fresh := c.connect("10.0.0.1", 10)
	flood := c.connect("10.0.0.66", 10*maxConnections)
	if n := closed(idle) + closed(busy) + closed(fresh); n > 0 {
		t.Errorf("%d of the apiserver's connections are closed for another address", n)
	}
	if n := len(flood) - closed(flood); n > maxConnections-60 {
		t.Errorf("the flood has %d connections", n)
	}
	c.now = c.now.Add(newTime)
	later := c.connect("10.0.0.66", maxConnections)
	if n := len(flood) - closed(flood); n > 0 {
		t.Errorf("%d connections that were opened long ago and never used are left", n)
	}
	c.now = c.now.Add(newTime)
	c.connect("10.0.0.66", 1)
	if got := c.open.byAddress[netip.MustParseAddr("10.0.0.66")]; got > maxConnections {
		t.Errorf("%d connections of one address, %d of them are the last", got, closed(later))
	}
}

// An apiserver's address may have as many reviews under way as there are connections: the bound of an address yields to
// work, and a burst of new connections is left the time to send theirs.
func TestBoundOfAnAddressYields(t *testing.T) {
	c := newCrowd(t)
	burst := c.connect("10.0.0.1", maxConnections)
	if n := closed(burst); n > 0 {
		t.Fatalf("%d of a burst of connections are closed", n)
	}
	c.review(burst)
	c.now = c.now.Add(time.Minute)
	if more := c.connect("10.0.0.1", 1); closed(more) != 1 || closed(burst) != 0 {
		t.Errorf("with reviews under way on all connections, one more was accepted, or %d were closed", closed(burst))
	}
	c.answer(burst)
	if more := c.connect("10.0.0.1", 1); closed(more) != 0 || closed(burst) != 1 {
		t.Errorf("with all connections idle, one more was refused, or %d were closed for it", closed(burst))
	}
	for _, connection := range burst {
		_ = connection.Close()
		_ = connection.Close() // as http.Server does at times
	}
	if len(c.open.all) != 1 || c.open.byAddress[netip.MustParseAddr("10.0.0.1")] != 1 {
		t.Errorf("%d connections are left, by address %v; want 1", len(c.open.all), c.open.byAddress)
	}
}

// Above its bound, an address loses what waits and has waited long, and first what never sent a review.
func TestWaitingConnectionsOfAnAddress(t *testing.T) {
	c := newCrowd(t)
	other := c.connect("10.0.0.1", 5)
	answered := c.connect("10.0.0.66", 1)
	c.review(answered)
	c.answer(answered)
	silent := c.connect("10.0.0.66", maxPerAddress-1)
	c.now = c.now.Add(newTime)
	c.connect("10.0.0.66", maxPerAddress-1)
	if closed(silent) != len(silent) || closed(answered) != 0 || closed(other) != 0 {
		t.Errorf("closed are %d of %d silent, %d of %d answered, %d of another address; want the silent alone", closed(silent), len(silent), closed(answered), len(answered), closed(other))
	}
	c.connect("10.0.0.66", 1)
	if closed(answered) != 1 {
		t.Error("with none silent for long, the idle one is not closed")
	}
}

// Many addresses with a few connections each: the oldest that never sent a review goes first.
func TestManyAddressesFlood(t *testing.T) {
	c := newCrowd(t)
	idle := c.connect("10.0.0.1", 25)
	c.review(idle)
	c.answer(idle)
	for i := range 3 * maxConnections {
		c.connect(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String(), 1)
	}
	fresh := c.connect("10.0.0.1", 10)
	for i := range maxConnections / 2 {
		c.connect(netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)}).String(), 1)
	}
	if n := closed(idle) + closed(fresh); n > 0 {
		t.Errorf("%d of the apiserver's connections are closed", n)
	}
}
