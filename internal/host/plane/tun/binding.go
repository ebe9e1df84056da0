package tun

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// binding is an installed entry. All of it but the atomics is fixed once a
// packet can see it.
type binding struct {
	entry   forward.Entry // without Tunnels, which are in tunnels
	tunnels []*tunnel
	stats   *stats
	linkMTU int    // of Deliver.Link, for visitors
	tag     uint64 // see [Plane.Tag]
}

// stats outlives the entry's changes.
type stats struct {
	sentPackets, sentBytes, receivedPackets, receivedBytes, dropped atomic.Uint64
	sent, received                                                  atomic.Int64 // instants, 0: never
	seen                                                            limiter      // EndpointSeen events
	copies                                                          copies       // of redundant packets
	casts                                                           bucket       // what it sends to everybody, guarded by Plane.casts
}

// drop counts a packet of the entry that goes nowhere, and why, unless that is
// counted already: what an entry has dropped is in a counter of the plane's, too.
func (s *stats) drop(why *atomic.Uint64) {
	if why != nil {
		why.Add(1)
	}
	s.dropped.Add(1)
}

// tunnel is a forward.Tunnel ready for use.
type tunnel struct {
	of     *binding
	t      forward.Tunnel // as applied; until below is the one that counts
	until  atomic.Int64   // instant, noEnd for none
	header encap.Header   // to be copied and pushed
	mtu    int            // of the inner packet, as far as configuration and underlay tell
	link   int            // likewise, as the underlay alone tells
	wrap   *encap.Header  // around every inner packet, within header; nil for none
	soft   softState
	sent   atomic.Int64 // instant of the last packet into it
	purse  *purse       // what may still be sent; nil without a limit

	cipher *cipherPeer // of an encrypted tunnel; nil when it carries nothing

	before, after *tunnel // to the same peer; peers guards them

	route  atomic.Pointer[way] // for raw sockets, once a packet went there
	index  int32               // of the interface to use, 0: routing decides
	prefix []byte              // of a message, what is in front of the inner packet; nil where that differs

	// Messages for a UDP socket that wait for the end of the batch. Only the
	// goroutine that reads the device touches them.
	waiting    [][]byte
	waitingTOS uint8
	waitingLen int
}

// way is where a raw socket sends a tunnel's packets: the address, and control
// data with interface and source, by which policy routing finds the uplink.
type way struct {
	to  net.IPAddr
	oob []byte
}

// way is where packets go that are not for a UDP socket. Of most tunnels user
// space sees none, so it is made for the first of them.
func (t *tunnel) way() *way {
	w := t.route.Load()
	if w == nil {
		w = &way{to: net.IPAddr{IP: t.t.Peer.Addr().AsSlice()}}
		w.oob = (&ipv4.ControlMessage{IfIndex: int(t.index), Src: t.t.Local.Addr().AsSlice()}).Marshal()
		t.route.Store(w)
	}
	return w
}

// noEnd is the until of a tunnel without one.
const noEnd = int64(1<<63 - 1)

func compareKeys(a, b forward.Key) int { return cmp.Compare(a, b) }

// sends reports whether packets may go into the tunnel now.
func (t *tunnel) sends(now int64) bool {
	return t.t.Mode != forward.Receive && !t.t.AnyPort && now < t.until.Load()
}

// count counts a packet of n octets that went into the tunnel.
func (t *tunnel) count(n int, now int64) {
	st := t.of.stats
	st.sentPackets.Add(1)
	st.sentBytes.Add(uint64(n))
	st.sent.Store(now)
	t.sent.Store(now)
}

// A verdict is what a tunnel says to a packet from the network.
type verdict uint8

const (
	stranger verdict = iota // nothing of it is ours
	moved                   // ours, but for the other end's endpoint
	welcome
)

// judge compares the outer headers of a packet with the tunnel. That the inner
// address is the binding's has been found already.
//
//rfc:3024#4.3.2
//rfc:3519#4.3
//rfc:3519#4.3-1
func (t *tunnel) judge(h *encap.Header, link string, innerIsFragment bool, now int64) verdict {
	if t.t.Mode == forward.Send || now >= t.until.Load() || h.Dst != t.t.Local.Addr() {
		return stranger
	}
	if !t.form(h, innerIsFragment) {
		return stranger
	}
	if h.Kind != encap.UDP {
		if h.Src != t.t.Peer.Addr() {
			return stranger
		}
		return welcome
	}
	// A local port of 0 is the uplink's own socket.
	if p := t.t.Local.Port(); p != 0 && h.DstPort != p || p == 0 && link != t.t.Link {
		return stranger
	}
	same := h.Src == t.t.Peer.Addr()
	switch {
	case t.t.AnyPort && same:
		// Half bound: the port comes with the first keepalive (RFC 3519
		// section 4.11).
		return moved
	case t.t.AnyPort:
		// Section 6.1.2: "the home agent MUST NOT accept a keepalive message
		// from a different source IP address".
		return stranger
	case same && h.SrcPort == t.t.Peer.Port():
		return welcome
	case t.t.Mode == forward.Receive:
		return stranger // a tunnel that drains is not bound anew
	}
	return moved
}

// form reports whether the packet came in the form that was agreed. Minimal
// encapsulation cannot carry fragments (RFC 2004 section 3), so these come in
// IP-in-IP.
//
//rfc:3519#3.3-2
//rfc:3519#3.3-3
//rfc:3519#4.7-2
func (t *tunnel) form(h *encap.Header, fragment bool) bool {
	kind, want := h.Kind, t.t.Encap
	if want == encap.UDP {
		if kind != encap.UDP {
			return false
		}
		kind, want = h.Inner, t.header.Inner
	}
	if t.counts(h) && kind == encap.GRE && want != encap.GRE {
		return !h.HasKey // one of a redundant packet's
	}
	if kind != want && !(want == encap.Minimal && kind == encap.IPIP && fragment) {
		return false
	}
	if kind == encap.GRE && !t.t.Takes(h.HasKey, h.Key) {
		return false
	}
	return true
}

// overhead is what encapsulation adds at most, in octets.
func (t *tunnel) overhead() int { return t.header.Overhead() }

// check refuses an entry that no packet could follow.
func check(e *forward.Entry) error {
	if e.Key == "" {
		return fmt.Errorf("no key")
	}
	switch e.Role {
	case forward.HomeAgent, forward.MobileNode:
	case forward.ForeignAgent:
		if e.Deliver.Link == "" || e.Deliver.HW == (forward.HardwareAddr{}) || e.Inner.Bits() != 32 {
			return fmt.Errorf("a visitor without link, link-layer address or home address: %w", ErrUnsupported)
		}
	default:
		return fmt.Errorf("unknown role %d", e.Role)
	}
	if !e.Inner.IsValid() || !e.Inner.Addr().Is4() || e.Inner != e.Inner.Masked() {
		return fmt.Errorf("%v is no IPv4 prefix", e.Inner)
	}
	for i := range e.Tunnels {
		if err := checkTunnel(&e.Tunnels[i]); err != nil {
			return fmt.Errorf("tunnel %d: %w", i, err)
		}
	}
	return nil
}

func checkTunnel(t *forward.Tunnel) error {
	if t.Secured() != (t.Inside == encap.WireGuard) || t.Secured() && (t.Encap != encap.UDP || t.AnyPort || t.Wrap.IsValid()) {
		return fmt.Errorf("encryption does not fit encapsulation %v/%v: %w", t.Encap, t.Inside, ErrUnsupported)
	}
	if !t.Encap.Known() || t.Inside != 0 && !t.Secured() && (!t.Inside.Known() || t.Inside == encap.UDP) {
		return fmt.Errorf("encapsulation %v/%v: %w", t.Encap, t.Inside, ErrUnsupported)
	}
	for _, a := range []netip.Addr{t.Local.Addr(), t.Peer.Addr()} {
		if !a.Is4() || a.IsUnspecified() {
			return fmt.Errorf("%v to %v: no IPv4 endpoints", t.Local, t.Peer)
		}
	}
	if t.AnyPort && t.Encap != encap.UDP {
		return fmt.Errorf("half bound without UDP")
	}
	if t.Encap == encap.UDP && !t.AnyPort && t.Peer.Port() == 0 {
		return fmt.Errorf("no UDP port of %v", t.Peer)
	}
	return nil
}

// instants are nanoseconds since the plane began, on its clock, plus one: 0
// means never.
func (p *Plane) instant(t time.Time) int64 { return int64(t.Sub(p.began)) + 1 }

func (p *Plane) timeOf(instant int64) time.Time {
	if instant == 0 {
		return time.Time{}
	}
	return p.began.Add(time.Duration(instant - 1))
}

func (p *Plane) now() int64 { return p.instant(p.clock()) }
