package control

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// connectionLimit bounds the connections of the TCP listener, each of which
	// costs memory before anything is known about its other end.
	connectionLimit = 256
	// strangerLimit bounds those of one source that have shown no token yet.
	strangerLimit = 32
	// strangerTime is how long a handshake may take, and a request's header.
	strangerTime = 3 * time.Second
)

// A crowd is a listener before which strangers do not stand in the way. It
// takes every connection at once; where there is no room, the connection that
// has been without a token for longest goes, of the source that has most of
// these.
type crowd struct {
	net.Listener
	limit, each int

	mu        sync.Mutex
	open      int
	strangers map[netip.Prefix][]*visitor // the oldest first
}

// A visitor is one connection, of which nothing is known at first.
type visitor struct {
	net.Conn
	crowd  *crowd
	source netip.Prefix
	left   bool // under the crowd's lock
}

func newCrowd(l net.Listener, limit, each int) *crowd {
	return &crowd{Listener: l, limit: limit, each: each, strangers: make(map[netip.Prefix][]*visitor)}
}

// Accept implements [net.Listener].
func (c *crowd) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		v := &visitor{Conn: conn, crowd: c, source: sourceOf(conn.RemoteAddr())}
		gone, entered := c.enter(v)
		if gone != nil {
			gone.Conn.Close()
		}
		if entered {
			return v, nil
		}
		conn.Close()
	}
}

// sourceOf is what counts as one source: an IPv4 address, or the network that
// an IPv6 host chooses its addresses from.
func sourceOf(a net.Addr) netip.Prefix {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{}
	}
	if addr := at.Addr().Unmap(); addr.Is4() {
		return netip.PrefixFrom(addr, 32)
	}
	return netip.PrefixFrom(at.Addr().WithZone(""), 64).Masked()
}

// enter counts a connection in and returns the one that has to go for it. It
// is not let in where everybody else has shown a token.
func (c *crowd) enter(v *visitor) (gone *visitor, entered bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	from := v.source
	if len(c.strangers[from]) < c.each {
		if c.open < c.limit {
			c.add(v)
			return nil, true
		}
		most := 0
		for source, list := range c.strangers {
			// Of equals the lower address, for there is no order in a map.
			if len(list) > most || len(list) == most && source.Addr().Less(from.Addr()) {
				most, from = len(list), source
			}
		}
		if most == 0 {
			return nil, false
		}
	}
	gone = c.strangers[from][0]
	c.remove(gone)
	c.add(v)
	return gone, true
}

func (c *crowd) add(v *visitor) {
	c.open++
	c.strangers[v.source] = append(c.strangers[v.source], v)
}

// remove counts a connection out, once.
func (c *crowd) remove(v *visitor) {
	if v.left {
		return
	}
	v.left = true
	c.open--
	c.known(v)
}

// known takes a connection off the list of strangers.
func (c *crowd) known(v *visitor) {
	list := c.strangers[v.source]
	if i := slices.Index(list, v); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) == 0 {
		delete(c.strangers, v.source)
		return
	}
	c.strangers[v.source] = list
}

// Close implements [net.Conn].
func (v *visitor) Close() error {
	v.crowd.mu.Lock()
	v.crowd.remove(v)
	v.crowd.mu.Unlock()
	return v.Conn.Close()
}

type visitorKey struct{}

// withVisitor puts a request's connection into its context.
func withVisitor(ctx context.Context, c net.Conn) context.Context {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	return context.WithValue(ctx, visitorKey{}, c)
}

// isKnown says that the connection of a request has shown a token: it stays.
func isKnown(r *http.Request) {
	if v, ok := r.Context().Value(visitorKey{}).(*visitor); ok {
		v.crowd.mu.Lock()
		v.crowd.known(v)
		v.crowd.mu.Unlock()
	}
}
