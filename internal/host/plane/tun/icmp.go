package tun

import (
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

const (
	// minOuterMTU is the smallest path MTU that is believed. Anybody can
	// forge a "too big", and no path in use is as narrow as the 68 octets
	// that IPv4 allows: 576 is what every host must take (RFC 791 section
	// 3.1), and Linux itself believes nothing below 552.
	minOuterMTU = 576
	// minInnerMTU is the smallest MTU of a tunnel whatever is configured.
	minInnerMTU = 296
	// keepDoubted is how long more a "too big" is believed that a mobile node's probes
	// are about to prove or to refute: longer than they take.
	keepDoubted = int64(5 * time.Second)
	// recent is how long after a packet an ICMP error about it is plausible.
	recent = int64(time.Minute)
	// unreachableInterval bounds Unreachable events of one tunnel.
	unreachableInterval = int64(time.Second)
	// doubtInterval bounds TooBig events of one tunnel.
	doubtInterval = int64(time.Second)
)

// softState is what routers have told about a tunnel (RFC 2003 section 5). It
// is a hint and ages.
type softState struct {
	mtu      atomic.Int32
	mtuUntil atomic.Int64

	why      atomic.Uint32 // ICMP type and code to answer with
	whyUntil atomic.Int64

	told limiter // Unreachable events

	// proven is the tunnel's MTU that the node's probes have shown the path to
	// carry, 0 when none has; doubted are TooBig events.
	proven  atomic.Int32
	doubted limiter
}

// limit is the tunnel's MTU now.
//
//rfc:2003#5.1-1
func (s *softState) limit(mtu int, now int64) int {
	if now < s.mtuUntil.Load() {
		return min(mtu, int(s.mtu.Load()))
	}
	return mtu
}

// unreachable is what to answer a sender whose packet goes into a tunnel that
// routers call unreachable, when they did not quote enough to say whose
// packets they meant.
func (s *softState) unreachable(now int64) (encap.ICMP, bool) {
	if now >= s.whyUntil.Load() {
		return encap.ICMP{}, false
	}
	w := s.why.Load()
	return encap.ICMP{Type: encap.ICMPType(w >> 8), Code: uint8(w)}, true
}

// inherit takes over what is known of the same path by the binding that t's
// replaces.
func (s *softState) inherit(old *binding, t *tunnel) {
	for _, o := range old.tunnels {
		if o.t.Peer.Addr() == t.t.Peer.Addr() && o.t.Local.Addr() == t.t.Local.Addr() && o.t.Encap == t.t.Encap && o.t.Link == t.t.Link {
			s.mtu.Store(o.soft.mtu.Load())
			s.mtuUntil.Store(o.soft.mtuUntil.Load())
			s.proven.Store(o.soft.proven.Load())
			t.sent.Store(o.sent.Load())
			return
		}
	}
}

// icmpPackets returns the reader of ICMP errors, with its own rate limit.
//
//rfc:2003#4
func (p *Plane) icmpPackets() func(*batch) {
	relay := newBucket(100, 50)
	return func(b *batch) {
		for i := range b.n {
			p.icmpPacket(b.packets[i], &relay)
		}
	}
}

func (p *Plane) icmpPacket(packet []byte, relay *bucket) {
	e, err := encap.ParseTunnelError(packet)
	if err != nil {
		return // about something else than tunnels
	}
	p.tunnelError(&e, p.now(), relay)
}

// OuterError takes an ICMP error that did not come over IPv4, as the IPv4 packet that
// says the same. It is believed as far as others are, and called from one goroutine
// alone.
func (p *Plane) OuterError(packet []byte) { p.icmpPacket(packet, &p.outerErrors) }

// tunnelError believes an ICMP error as far as it can be: the quoted packet
// must be one that a live tunnel sent within the last minute.
//
//rfc:2003#4
//rfc:2003#5
//rfc:2003#4.1-6
func (p *Plane) tunnelError(e *encap.TunnelError, now int64, relay *bucket) {
	told := false
	var space [8]*tunnel
	for _, t := range p.concerned(space[:0], word(e.Outer.Dst), now) {
		if !t.quoted(e) || !p.justSent(t, now) {
			continue
		}
		agent := t.of.entry.Role == forward.HomeAgent
		m, ok := e.Answer(agent && p.isHomeNetwork(t.of.entry.Inner))
		tooBig := e.Type == encap.DestinationUnreachable && e.Code == encap.DatagramTooBig
		if tooBig {
			if !ok {
				continue
			}
			m.MTU = uint16(max(int(m.MTU), minOuterMTU-t.overhead()))
			if t.t.Secured() {
				m.MTU &^= cipherUnit - 1
			}
			if int32(m.MTU) < t.soft.proven.Load() {
				if t.soft.doubted.allow(now, doubtInterval) {
					p.emit(forward.TooBig{Key: t.of.entry.Key, Peer: t.t.Peer.Addr(), Link: t.t.Link, MTU: int(m.MTU)})
				}
				continue
			}
			t.soft.mtu.Store(int32(m.MTU))
			t.soft.mtuUntil.Store(now + keepMTU)
			p.heed(t, int(m.MTU), now+keepMTU)
		} else if e.Type == encap.DestinationUnreachable || e.Type == encap.TimeExceeded {
			if t.soft.told.allow(now, unreachableInterval) {
				p.emit(forward.Unreachable{Key: t.of.entry.Key, Peer: t.t.Peer.Addr(), Type: uint8(e.Type), Code: e.Code})
			}
		}
		// A mobile node's own sockets are not told that a path is gone: the
		// node is there to find another one.
		if !ok || !agent && !tooBig {
			continue
		}
		switch {
		case e.Quote == nil && !tooBig:
			t.soft.why.Store(uint32(m.Type)<<8 | uint32(m.Code))
			t.soft.whyUntil.Store(now + keepUnreachable)
			p.heed(t, 0, now+keepUnreachable)
		case tooBig && t.of.sentBy(e.Quote) && p.agentsOwn(t, e.Quote):
			// The kernel would believe it for ten minutes, wherever the node goes meanwhile,
			// and answer its probes in fragments: to it every path is too narrow then. What
			// is too long and must not be fragmented, the plane says by itself.
		case e.Quote != nil && !told && t.of.sentBy(e.Quote) && relay.take(now):
			told = true
			p.sendError(encap.ICMPError(m, anyAddress, e.Quote))
		}
	}
}

// Learn keeps what a mobile node's probes have shown, as [forward.Learner] says, and
// tells whether something else was believed until now. Probes say what is true of a path. What
// routers say where there are any "MUST NOT be used directly to set the PLPMTU",
// and is a reason for a probe (RFC 8899 section 4.6.2): who can forge one would
// otherwise have a tunnel narrow for ten minutes.
//
//rfc:8899#4.6.2
func (p *Plane) Learn(c forward.Carried) (lifted bool) {
	now := p.now()
	var space [8]*tunnel
	for _, t := range p.peers.get(space[:0], word(c.Peer)) {
		if t.of.entry.Role != forward.MobileNode || t.t.Link != c.Link {
			continue
		}
		mtu := 0
		if c.Octets > 0 {
			mtu = max(0, c.Octets-t.overhead())
		}
		t.soft.proven.Store(int32(mtu))
		if now < t.soft.mtuUntil.Load() && int(t.soft.mtu.Load()) < mtu {
			t.soft.mtuUntil.Store(0)
			p.heed(t, mtu, now)
			lifted = true
		}
	}
	return lifted
}

// contradicted: a home agent answers a mobile node's probe that is longer than routers
// say that the path carries. So the node is finding out what is true, both ways, and
// tells the home agent when it is less ("pathmtu"); what routers say "MUST NOT be used
// directly to set the PLPMTU" (RFC 8899 section 4.6.2) and is believed for a moment
// more, in which the node can. Else whoever forges one has the tunnel narrow for ten
// minutes.
//
//rfc:8899#4.6.2
func (p *Plane) contradicted(t *tunnel, pkt []byte, now int64) {
	end := t.soft.mtuUntil.Load()
	if end <= now+keepDoubted || !p.agentsOwn(t, pkt) {
		return
	}
	if t.soft.mtuUntil.CompareAndSwap(end, now+keepDoubted) {
		p.heed(t, int(t.soft.mtu.Load()), now+keepDoubted)
	}
}

// agentsOwn says that a packet for a mobile node comes from the home agent itself.
func (p *Plane) agentsOwn(t *tunnel, pkt []byte) bool {
	src := word4(pkt[12:16])
	return t.of.entry.Role == forward.HomeAgent && (src == t.t.Local.Addr() || slices.Contains(p.own.Load().identities, src))
}

// justSent reports whether something went into t within the last minute.
func (p *Plane) justSent(t *tunnel, now int64) bool {
	sent := p.lastSent(t, now)
	return sent != 0 && now-sent <= recent
}

// quoted reports whether the quoted packet can be one that went into t.
func (t *tunnel) quoted(e *encap.TunnelError) bool {
	if e.Outer.Src != t.t.Local.Addr() {
		return false
	}
	if e.Kind != t.t.Encap && !(t.t.Encap == encap.Minimal && e.Kind == encap.IPIP) {
		return false
	}
	switch e.Kind {
	case encap.UDP:
		// What the quote says of the local port is true before a NAT on the
		// way only, and so is the error's own destination.
		if e.DstPort != t.t.Peer.Port() || t.t.Local.Port() != 0 && e.SrcPort != t.t.Local.Port() {
			return false
		}
		if e.Inner != 0 && e.Inner != t.header.Inner && e.Inner != encap.IPIP {
			return false
		}
	case encap.GRE:
		if e.HasKey && (!t.t.HasKey || e.Key != t.t.Key) {
			return false
		}
	}
	return e.Quote == nil || t.of.sentBy(e.Quote)
}

// sentBy reports whether the quoted original is a packet that the entry sends.
func (b *binding) sentBy(quote []byte) bool {
	if len(quote) < 20 {
		return false
	}
	if b.entry.Role != forward.HomeAgent {
		return b.entry.Inner.Contains(word4(quote[12:16]))
	}
	return b.entry.Inner.Contains(word4(quote[16:20]))
}

func (p *Plane) isHomeNetwork(inner netip.Prefix) bool {
	for _, n := range p.own.Load().networks {
		if n.Overlaps(inner) {
			return true
		}
	}
	return false
}

func addrOf(a netip.Addr) *net.IPAddr { return &net.IPAddr{IP: a.AsSlice()} }
