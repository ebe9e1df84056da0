package tun

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"careof/internal/core/forward"
	"careof/wire/encap"
	"careof/wire/igmp"
)

// A foreign agent's visitors ("guests" here, since a visitor is also a
// pattern). Packets from the home agent are delivered by link-layer address;
// packets from the visitor come by the device (direct delivery, RFC 3024
// section 5.1) or in the visitor's own tunnel (encapsulating, section 5.2).
//
// That a packet came from the visitor's link-layer address is not seen by the
// device: package visit has the kernel drop what did not. Packets of visitors
// that share a home address come by FromVisitor, with that address.

// own is the visitor's own tunnel to this host, nil with direct delivery.
//
//rfc:3024#3.1-2
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
//
//rfc:3024#3.1-1
func (b *binding) direct() bool {
	if b.own() != nil && !b.entry.Plain {
		return false
	}
	for _, t := range b.tunnels {
		if t.t.Mode != forward.Receive {
			return true
		}
	}
	return false
}

// admit prepares a visitor's binding, before any packet can see it.
func (p *Plane) admit(b *binding) error {
	if p.config.Visitors == nil {
		return fmt.Errorf("no way to visitors: %w", ErrUnsupported)
	}
	_, mtu, err := p.raw.link(b.entry.Deliver.Link, b.entry.Inner.Addr())
	if err != nil {
		return err
	}
	b.linkMTU = mtu
	return nil
}

// directGuest finds the visitor whose plain packet the kernel has led here. Of
// several with one home address it is nobody's.
//
//rfc:3024#5.1
//rfc:3024#5.1.1-2
func (p *Plane) directGuest(src uint32) (found *binding) {
	for _, b := range p.guests.find(src) {
		if !b.direct() {
			continue
		}
		if found != nil {
			return nil
		}
		found = b
	}
	return found
}

// FromVisitor takes a packet that a visitor has sent on its link, from below
// IP. own is this host's address there, from which it answers. A packet for
// this host is not for here, unless it is a tunnel's.
//
//rfc:3024#A.4
//rfc:3024#5.1
//rfc:3024#5.2
//rfc:3024#A.4-7
//rfc:3024#A.4-8
func (p *Plane) FromVisitor(link string, hw forward.HardwareAddr, own netip.Addr, packet []byte) {
	if len(packet) < 20 || len(packet) > maxPacket {
		return
	}
	src := word4(packet[12:16])
	var b *binding
	for _, o := range p.guests.find(word(src)) {
		// One that goes from one home agent to another has two for a moment, of
		// which one sends.
		if o.entry.Deliver.Link == link && o.entry.Deliver.HW == hw && (b == nil || !b.direct() && b.own() == nil) {
			b = o
		}
	}
	if b == nil {
		p.totals.strangers.Add(1)
		return
	}
	now := p.now()
	if t := b.own(); t != nil && (!b.entry.Plain || isTunnel(packet) && word4(packet[16:20]) == t.t.Local.Addr()) {
		p.fromOwn(b, t, link, packet, now)
		return
	}
	if dst := word4(packet[16:20]); !b.direct() || dst.IsMulticast() || dst == limitedBroadcast {
		return
	}
	s := p.takeOnward(now)
	defer p.back.Unlock()
	s.guest, s.own = b, own
	defer func() { s.guest = nil }()
	buf := s.copy(packet)
	packet = buf[headroom : headroom+len(packet)]
	if !encap.DecrementTTL(packet) {
		b.stats.drop(&p.totals.returned)
		s.answer(encap.ICMP{Type: encap.TimeExceeded}, packet)
		return
	}
	if s.loops(b, packet) {
		b.stats.drop(&p.totals.loops)
		return
	}
	s.homeward(b, nil, buf, len(packet))
}

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// fromOwn takes a packet out of a visitor's own tunnel.
//
//rfc:3024#5.4-2
func (p *Plane) fromOwn(b *binding, t *tunnel, link string, outer []byte, now int64) {
	buf := make([]byte, headroom+len(outer))
	outer = buf[headroom : headroom+copy(buf[headroom:], outer)]
	h, inner, err := encap.PullIP(outer)
	if err != nil {
		return // plain, or nothing that anybody understands
	}
	fragment := binary.BigEndian.Uint16(inner[6:])&0x3fff != 0 || inner[9] == igmp.Protocol // see unfold
	if t.judge(&h, link, fragment, now) != welcome || word4(inner[12:16]) != b.entry.Inner.Addr() {
		p.totals.strangers.Add(1)
		return
	}
	if err := encap.SetECN(&h, inner); err != nil {
		b.stats.drop(&p.totals.congested)
		return
	}
	b.stats.received.Store(now)
	b.stats.receivedPackets.Add(1)
	b.stats.receivedBytes.Add(uint64(len(inner)))
	p.visitor(b, t, inner, now)
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
	// Of several with one home address, what comes this way is nobody's.
	var found *binding
	var through *tunnel
	for _, b := range p.guests.find(src) {
		if t := b.own(); t != nil && t.judge(h, link, fragment, now) == welcome {
			if found != nil {
				return nil, nil
			}
			found, through = b, t
		}
	}
	return found, through
}

// visitor takes a packet out of one of a visitor's tunnels: to the visitor, or
// on into the tunnel to its home agent. Either way the host forwards it, and so
// its TTL counts.
//
//rfc:5944#4.2.2
//rfc:3024#5.2
//rfc:2003#3.1
//rfc:2003#3.1-2
//rfc:5944#2.1-5
//rfc:5944#2.3.1-2
//rfc:5944#3.6.1.2-5
func (p *Plane) visitor(b *binding, t *tunnel, inner []byte, now int64) {
	s := p.takeOnward(now)
	defer p.back.Unlock()
	// Between the node and its home agent there is but one link for what goes
	// to everybody there: the node's IGMP messages have a TTL of 1.
	if !(t == b.own() && toMany(word4(inner[16:20]))) && !encap.DecrementTTL(inner) {
		b.stats.drop(&p.totals.returned)
		s.answer(encap.ICMP{Type: encap.TimeExceeded}, inner)
		return
	}
	if t != b.own() {
		s.toVisitor(b, inner)
		return
	}
	if s.loops(b, inner) {
		b.stats.drop(&p.totals.loops)
		return
	}
	s.homeward(b, t, s.copy(inner), len(inner))
}

// takeOnward gives the sender of what visitors' links bring, for the caller to
// unlock.
func (p *Plane) takeOnward(now int64) *sender {
	p.back.Lock()
	if p.onward == nil {
		p.onward = &sender{p: p, answers: newBucket(100, 50)}
	}
	p.onward.now, p.onward.used = now, 0
	return p.onward
}

// homeward sends a visitor's packet through the tunnel to its home agent, which
// is any but the visitor's own.
func (s *sender) homeward(b *binding, own *tunnel, buf []byte, n int) {
	for _, t := range b.tunnels {
		if t != own && t.sends(s.now) {
			s.tunnel(t, buf, n)
			s.flush()
			return
		}
	}
	b.stats.drop(&s.p.totals.tunnelless)
}

// toVisitor delivers a packet, cut to what the link takes.
func (s *sender) toVisitor(b *binding, packet []byte) {
	pieces := [][]byte{packet}
	if len(packet) > b.linkMTU {
		var err error
		if pieces, err = encap.Fragment(packet, b.linkMTU); err != nil {
			b.stats.drop(&s.p.totals.returned)
			if errors.Is(err, encap.ErrTooBig) {
				s.answer(encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.DatagramTooBig, MTU: uint16(b.linkMTU)}, packet)
			}
			return
		}
	}
	for _, f := range pieces {
		if err := s.p.config.Visitors.SendPacket(b.entry.Deliver.Link, b.entry.Deliver.HW, f); err != nil {
			b.stats.drop(&s.p.totals.sendErrors)
		}
	}
}
