package tun

import (
	"encoding/binary"
	"net/netip"
	"time"

	"careof/internal/core/forward"
	"careof/internal/host/sock"
	"careof/wire/encap"
)

// seenInterval bounds EndpointSeen events of one entry: whoever knows a home
// address can cause them.
const seenInterval = int64(100 * time.Millisecond)

// Deliver takes Tunnel Data messages from the UDP sockets. It may be called
// from several goroutines and keeps no buffer. Being a [sock.Receiver]'s Data,
// it is where packets of UDP tunnels come in.
//
//rfc:3519#4.3
func (p *Plane) Deliver(data []sock.Data) {
	b := p.scratch.Get().(*batch)
	defer p.scratch.Put(b)
	now := p.now()
	for len(data) > 0 {
		n := min(len(data), len(b.bufs))
		b.out = b.out[:0]
		for i := range n {
			d := &data[i]
			if len(d.Message) > maxPacket-20 {
				continue
			}
			// Minimal encapsulation gets its IP header back in front of the
			// message, and GRO appends to a packet: both need room, which
			// the socket's buffer has not.
			buf := b.bufs[i]
			end := headroom + copy(buf[headroom:], d.Message)
			h := encap.Header{
				Src: d.From.Addr(), Dst: d.Local.Addr(),
				SrcPort: d.From.Port(), DstPort: d.Local.Port(),
				TOS: d.TOS, TTL: d.TTL,
			}
			inner, err := encap.PullUDP(&h, buf[:end], headroom)
			if err != nil {
				p.totals.malformed.Add(1)
				continue
			}
			p.take(b, buf, inner, &h, d.Link, now)
		}
		p.write(b)
		data = data[n:]
	}
}

// rawPackets takes whole IP packets from the raw sockets.
//
//rfc:5944#4.2.3
//rfc:3024#4.3.2
func (p *Plane) rawPackets(b *batch) {
	now := p.now()
	b.out = b.out[:0]
	for i := range b.n {
		h, inner, err := encap.PullIP(b.packets[i])
		if err != nil {
			p.totals.malformed.Add(1)
			continue
		}
		p.take(b, b.bufs[i], inner, &h, "", now)
	}
	p.write(b)
}

// take decides about one decapsulated packet, which lies in buf, and queues it
// for the device.
func (p *Plane) take(b *batch, buf, inner []byte, h *encap.Header, link string, now int64) {
	of, t := p.match(h, link, inner, now)
	if of == nil {
		p.totals.strangers.Add(1)
		return
	}
	if err := encap.SetECN(h, inner); err != nil {
		p.totals.congested.Add(1)
		of.stats.dropped.Add(1)
		return
	}
	of.stats.received.Store(now)
	if parts := b.whole(inner, t.mtu); parts != nil {
		for _, part := range parts {
			of.stats.receivedPackets.Add(1)
			of.stats.receivedBytes.Add(uint64(len(part) - deviceOffset))
			if of.entry.Role == forward.ForeignAgent {
				p.visitor(of, t, part[deviceOffset:], now)
				continue
			}
			b.out = append(b.out, part)
		}
		return
	}
	of.stats.receivedPackets.Add(1)
	of.stats.receivedBytes.Add(uint64(len(inner)))
	if inner[9] == protoICMP && of.entry.Role != forward.HomeAgent {
		p.echoReply(t, h, inner, now)
	}
	if of.entry.Role == forward.ForeignAgent {
		p.visitor(of, t, inner, now)
		return
	}
	b.out = append(b.out, framed(buf, inner))
}

// match finds the entry and tunnel that a packet may come through: the home
// agent's by inner source, the mobile node's and a visitor's by inner
// destination. A packet
// that is one endpoint away from a match gives an event.
//
// RFC 5944 section 4.2.3 would have a home agent decapsulate whatever is
// addressed to itself; RFC 3024 section 4.3.2 asks for a binding "whose care-of
// address is the source of the outer header, and whose mobile node address is
// the source of the inner header".
func (p *Plane) match(h *encap.Header, link string, inner []byte, now int64) (*binding, *tunnel) {
	src, dst := binary.BigEndian.Uint32(inner[12:]), binary.BigEndian.Uint32(inner[16:])
	fragment := binary.BigEndian.Uint16(inner[6:])&0x3fff != 0
	for _, b := range p.mobile.find(dst) {
		for _, t := range b.tunnels {
			if t.judge(h, link, fragment, now) == welcome {
				return b, t
			}
		}
	}
	if b, t := p.matchGuest(h, link, src, dst, fragment, now); b != nil {
		return b, t
	}
	var near *binding
	for _, b := range p.agent.find(src) {
		for _, t := range b.tunnels {
			switch t.judge(h, link, fragment, now) {
			case welcome:
				return b, t
			case moved:
				near = b
			}
		}
	}
	if near != nil && near.stats.seen.allow(now, seenInterval) {
		p.emit(forward.EndpointSeen{
			Key:   near.entry.Key,
			Local: netip.AddrPortFrom(h.Dst, h.DstPort),
			From:  netip.AddrPortFrom(h.Src, h.SrcPort),
			Echo:  p.isKeepalive(h, inner),
		})
	}
	return nil, nil
}

// isKeepalive reports whether a packet is an echo request from the home
// address to this end.
//
//rfc:3519#4.9
func (p *Plane) isKeepalive(h *encap.Header, inner []byte) bool {
	e, err := encap.ParseEcho(inner)
	if err != nil || e.Type != encap.EchoRequest {
		return false
	}
	if e.Dst == h.Dst {
		return true
	}
	for _, a := range p.own.Load().identities {
		if e.Dst == a {
			return true
		}
	}
	return false
}

// echoReply tells of an answered keepalive.
func (p *Plane) echoReply(t *tunnel, h *encap.Header, inner []byte, now int64) {
	e, err := encap.ParseEcho(inner)
	if err != nil || e.Type != encap.EchoReply || e.Src != t.t.Peer.Addr() {
		return
	}
	p.emit(forward.EchoReply{
		Key:  t.of.entry.Key,
		From: netip.AddrPortFrom(h.Src, h.SrcPort),
		ID:   e.ID, Seq: e.Seq,
		Received: p.timeOf(now),
	})
}

// framed is the packet with deviceOffset octets of its buffer in front, as the
// device wants it. The rest of the buffer stays behind it, for GRO.
func framed(buf, inner []byte) []byte {
	start := cap(buf) - cap(inner)
	return buf[start-deviceOffset : start+len(inner)]
}

// write gives the batch's packets to the kernel.
func (p *Plane) write(b *batch) {
	b.arena = b.arena[:0] // what is in it is still there
	if len(b.out) == 0 {
		return
	}
	if _, err := p.dev.Write(b.out, deviceOffset); err != nil {
		p.totals.sendErrors.Add(1)
	}
	clear(b.out)
}
