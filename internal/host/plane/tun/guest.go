package tun

import (
	"errors"
	"fmt"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// A foreign agent's visitors ("guests" here, since a visitor is also a
// pattern). Packets from the home agent are delivered by link-layer address;
// packets from the visitor come by the device (direct delivery, RFC 3024
// section 5.1) or in the visitor's own tunnel (encapsulating, section 5.2).
//
// That a packet came from the visitor's link-layer address is not seen here:
// package visit has the kernel drop what did not.

// own is the visitor's own tunnel to this host, nil with direct delivery.
func (b *binding) own() *tunnel {
	for _, t := range b.tunnels {
		if t.t.Peer.Addr() == b.entry.Inner.Addr() {
			return t
		}
	}
	return nil
}

// direct reports whether the visitor's plain packets go back through the
// tunnel.
func (b *binding) direct() bool {
	if b.own() != nil {
		return false
	}
	for _, t := range b.tunnels {
		if t.t.Mode != forward.Receive {
			return true
		}
	}
	return false
}

// admit prepares a visitor's binding, before any packet can see it. The kernel
// does not tell the link-layer source of what it routes to the device, so of
// two visitors with one home address only one can have direct delivery.
func (p *Plane) admit(b *binding) error {
	if p.config.Visitors == nil {
		return fmt.Errorf("no way to visitors: %w", ErrUnsupported)
	}
	_, mtu, err := p.raw.link(b.entry.Deliver.Link, b.entry.Inner.Addr())
	if err != nil {
		return err
	}
	b.linkMTU = mtu
	if !b.direct() {
		return nil
	}
	for _, other := range p.guests.find(word(b.entry.Inner.Addr())) {
		if other.entry.Key != b.entry.Key && other.direct() {
			return fmt.Errorf("%v is the home address of another visitor, %q, with direct delivery: %w", b.entry.Inner.Addr(), other.entry.Key, ErrUnsupported)
		}
	}
	return nil
}

// directGuest finds the visitor whose plain packet the kernel has led here.
//
//rfc:3024#5.1
func (p *Plane) directGuest(src uint32) *binding {
	for _, b := range p.guests.find(src) {
		if b.direct() {
			return b
		}
	}
	return nil
}

// matchGuest finds the visitor that a tunnel packet is for, or from when it
// came through the visitor's own tunnel.
//
// "When the Destination does not match the address of any mobile node currently
// in the visitor list, the foreign agent MUST NOT forward the datagram"; "ICMP
// Destination Unreachable MUST NOT be sent" (RFC 5944 section 4.2.2).
//
//rfc:5944#4.2.2
//rfc:3024#5.2
func (p *Plane) matchGuest(h *encap.Header, link string, src, dst uint32, fragment bool, now int64) (*binding, *tunnel) {
	for _, b := range p.guests.find(dst) {
		own := b.own()
		for _, t := range b.tunnels {
			if t != own && t.judge(h, link, fragment, now) == welcome {
				return b, t
			}
		}
	}
	for _, b := range p.guests.find(src) {
		if t := b.own(); t != nil && t.judge(h, link, fragment, now) == welcome {
			return b, t
		}
	}
	return nil, nil
}

// visitor takes a packet out of one of a visitor's tunnels: to the visitor, or
// on into the tunnel to its home agent. Either way the host forwards it, and so
// its TTL counts.
//
//rfc:5944#4.2.2
//rfc:3024#5.2
//rfc:2003#3.1
func (p *Plane) visitor(b *binding, t *tunnel, inner []byte, now int64) {
	p.back.Lock()
	defer p.back.Unlock()
	if p.onward == nil {
		p.onward = &sender{p: p, answers: newBucket(100, 50)}
	}
	s := p.onward
	s.now, s.used = now, 0
	if !encap.DecrementTTL(inner) {
		b.stats.dropped.Add(1)
		s.answer(encap.ICMP{Type: encap.TimeExceeded}, inner)
		return
	}
	if t != b.own() {
		s.toVisitor(b, inner)
		return
	}
	if s.loops(b, inner) {
		p.totals.loops.Add(1)
		b.stats.dropped.Add(1)
		return
	}
	for _, home := range b.tunnels {
		if home != t && home.sends(now) {
			s.tunnel(home, s.copy(inner), len(inner))
			s.flush()
			return
		}
	}
	b.stats.dropped.Add(1)
}

// toVisitor delivers a packet, cut to what the link takes.
func (s *sender) toVisitor(b *binding, packet []byte) {
	pieces := [][]byte{packet}
	if len(packet) > b.linkMTU {
		var err error
		if pieces, err = encap.Fragment(packet, b.linkMTU); err != nil {
			b.stats.dropped.Add(1)
			if errors.Is(err, encap.ErrTooBig) {
				s.answer(encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.DatagramTooBig, MTU: uint16(b.linkMTU)}, packet)
			}
			return
		}
	}
	for _, f := range pieces {
		if err := s.p.config.Visitors.SendPacket(b.entry.Deliver.Link, b.entry.Deliver.HW, f); err != nil {
			s.p.totals.sendErrors.Add(1)
			b.stats.dropped.Add(1)
		}
	}
}
