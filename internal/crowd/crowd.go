// Package crowd is a TCP listener that strangers may reach, and before which
// they do not stand in the way of those who have something to ask.
package crowd

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
)

// A Listener takes every connection at once; where there is no room, the
// connection that has been without a token for longest goes, of the source that
// has most of these.
type Listener struct {
	net.Listener
	limit, each int

	mu        sync.Mutex
	open      int
	strangers map[netip.Prefix][]*visitor // the oldest first
}

// A visitor is one connection, of which nothing is known at first.
type visitor struct {
	net.Conn
	crowd  *Listener
	source netip.Prefix
	left   bool // under the crowd's lock
}

// New puts a crowd before a listener: limit bounds its connections, and each
// those of one source that are not known.
func New(l net.Listener, limit, each int) *Listener {
	return &Listener{Listener: l, limit: limit, each: each, strangers: make(map[netip.Prefix][]*visitor)}
}

// Accept implements [net.Listener].
func (c *Listener) Accept() (net.Conn, error) {
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
func (c *Listener) enter(v *visitor) (gone *visitor, entered bool) {
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

func (c *Listener) add(v *visitor) {
	c.open++
	c.strangers[v.source] = append(c.strangers[v.source], v)
}

// remove counts a connection out, once.
func (c *Listener) remove(v *visitor) {
	if v.left {
		return
	}
	v.left = true
	c.open--
	c.known(v)
}

// known takes a connection off the list of strangers.
func (c *Listener) known(v *visitor) {
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

// WithVisitor puts a request's connection into its context.
func WithVisitor(ctx context.Context, c net.Conn) context.Context {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	return context.WithValue(ctx, visitorKey{}, c)
}

// IsKnown says that the connection of a request has shown a token: it stays.
func IsKnown(r *http.Request) {
	if v, ok := r.Context().Value(visitorKey{}).(*visitor); ok {
		v.crowd.mu.Lock()
		v.crowd.known(v)
		v.crowd.mu.Unlock()
	}
}
