package tun

import (
	"encoding/binary"
	"net/netip"
	"time"

	"careof/internal/core/forward"
	"careof/internal/host/sock"
	"careof/wire/encap"
	"careof/wire/igmp"
)

// seenInterval bounds EndpointSeen events of one entry: whoever knows a home
// address can cause them.
const seenInterval = int64(100 * time.Millisecond)

// Deliver takes Tunnel Data messages from the UDP sockets. It may be called
// from several goroutines, changes the buffers and keeps none. Being a
// [sock.Receiver]'s Data, it is where packets of UDP tunnels come in.
//
//rfc:3519#4.3
//rfc:3519#4.7-1
func (p *Plane) Deliver(data []sock.Data) {
	b := p.scratch.Get().(*batch)
	defer p.scratch.Put(b)
	now := p.now()
	b.used = 0
	for i := range data {
		d := &data[i]
		h := encap.Header{
			Src: d.From.Addr(), Dst: d.Local.Addr(),
			SrcPort: d.From.Port(), DstPort: d.Local.Port(),
			TOS: d.TOS, TTL: d.TTL,
		}
		b.last = lastMatch{}
		for rest, size := d.Message, d.Size; len(rest) > 0; {
			n := len(rest)
			if size > 0 && size < n {
				n = size
			}
			if m := rest[:n:n]; encap.IsWireGuard(m) {
				p.sealed(d, m, &h, now)
			} else {
				p.message(b, m, &h, d.Link, now)
			}
			rest = rest[n:]
		}
	}
	p.write(b)
}

// message takes one Tunnel Data message, of which h says all that is known.
func (p *Plane) message(b *batch, m []byte, h *encap.Header, link string, now int64) {
	if len(m) > maxPacket-20 {
		return
	}
	off := 0
	if len(m) > 1 && encap.Kind(m[1]) == encap.Minimal {
		// It gets its IP header back in front of the message.
		if b.used == maxMoved {
			p.write(b)
			b.used = 0
		}
		m, off = b.move(m), headroom
	}
	inner, err := encap.PullUDP(h, m, off)
	if err != nil {
		p.totals.malformed.Add(1)
		return
	}
	p.take(b, inner, h, link, now)
}

// maxMoved is how many messages are copied before they are written.
const maxMoved = 64

// rawPackets takes whole IP packets from the raw sockets.
//
//rfc:5944#4.2.3
//rfc:3024#4.3.2
func (p *Plane) rawPackets(b *batch) {
	now := p.now()
	for i := range b.n {
		b.last = lastMatch{}
		h, inner, err := encap.PullIP(b.packets[i])
		if err != nil {
			p.totals.malformed.Add(1)
			continue
		}
		p.take(b, inner, &h, "", now)
	}
	p.write(b)
}

// take decides about one decapsulated packet and puts it into the outbox.
//
//rfc:2784#3.1-1
//rfc:3024#4.3.2-4
//rfc:3519#3.3-4
func (p *Plane) take(b *batch, inner []byte, h *encap.Header, link string, now int64) {
	of, t := b.last.of, b.last.t
	if of == nil || !b.last.fits(h, inner) {
		if of, t = p.match(h, link, inner, now); of == nil {
			b.last = lastMatch{}
			p.totals.strangers.Add(1)
			return
		}
		b.last = matchOf(of, t, h, inner)
	}
	t.earn(len(inner) + t.overhead())
	if t.counts(h) && !of.stats.copies.fresh(h.Seq, now) {
		p.totals.copies.Add(1)
		return
	}
	if err := encap.SetECN(h, inner); err != nil {
		of.stats.drop(&p.totals.congested)
		return
	}
	if of.entry.Router.IsValid() && of.entry.Role == forward.HomeAgent && encap.Kind(inner[9]) == encap.IPIP {
		if of, t, inner = p.unwrap(of, t, h, inner, link, now); of == nil {
			p.totals.strangers.Add(1)
			return
		}
	}
	p.took(b, of, t, h, inner, now)
}

// took puts a packet that came through t into the outbox.
func (p *Plane) took(b *batch, of *binding, t *tunnel, h *encap.Header, inner []byte, now int64) {
	if !t.standby(h) {
		of.stats.received.Store(now)
	}
	if f, size := merged(inner, t.mtu); size > 0 {
		payload := len(inner) - f.head
		n := (payload + size - 1) / size
		of.stats.receivedPackets.Add(uint64(n))
		of.stats.receivedBytes.Add(uint64(payload + n*f.head))
		if of.entry.Role == forward.ForeignAgent {
			eachPart(inner, f, size, b.room(), func(part []byte) { p.visitor(of, t, part, now) })
			return
		}
		b.out.whole(inner, f, size)
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
	if of.entry.Role == forward.HomeAgent && p.fromNode(of, inner, now) {
		return
	}
	b.out.add(inner)
}

// A lastMatch is what a packet matched. In a group that one socket has
// received in one piece the next one will mostly do so too.
type lastMatch struct {
	of       *binding
	t        *tunnel
	addrs    [8]byte // inner source and destination
	kind     encap.Kind
	hasKey   bool
	key      uint32
	hasSeq   bool
	fragment bool
}

func matchOf(of *binding, t *tunnel, h *encap.Header, inner []byte) lastMatch {
	return lastMatch{of, t, [8]byte(inner[12:]), h.Inner, h.HasKey, h.Key, h.HasSeq, isFragment(inner)}
}

// fits tells whether everything that match looks at is as it was: of the same
// group are addresses and ports.
func (m *lastMatch) fits(h *encap.Header, inner []byte) bool {
	return m.addrs == [8]byte(inner[12:]) && m.kind == h.Inner && m.hasKey == h.HasKey && m.key == h.Key && m.hasSeq == h.HasSeq && m.fragment == isFragment(inner)
}

func isFragment(pkt []byte) bool { return binary.BigEndian.Uint16(pkt[6:])&0x3fff != 0 }

// match finds the entry and tunnel that a packet may come through: the home
// agent's by inner source, the mobile node's and a visitor's by inner
// destination. A packet
// that is one endpoint away from a match gives an event.
//
// RFC 5944 section 4.2.3 would have a home agent decapsulate whatever is
// addressed to itself; RFC 3024 section 4.3.2 asks for a binding "whose care-of
// address is the source of the outer header, and whose mobile node address is
// the source of the inner header".
//
//rfc:2003#6.2-1
//rfc:3024#4.3.2-2
//rfc:5177#6.5-2
//rfc:5177#7-4
//rfc:5177#7-5
//rfc:5177#7-6
//rfc:5177#10-9
//rfc:5177#10-10
func (p *Plane) match(h *encap.Header, link string, inner []byte, now int64) (*binding, *tunnel) {
	src, dst := binary.BigEndian.Uint32(inner[12:]), binary.BigEndian.Uint32(inner[16:])
	fragment := isFragment(inner) || inner[9] == igmp.Protocol // see unfold
	for _, b := range p.mobile.find(dst) {
		for _, t := range b.tunnels {
			if t.judge(h, link, fragment, now) == welcome {
				return b, t
			}
		}
	}
	if b, t := p.matchCast(h, link, word4(inner[16:20]), fragment, now); b != nil {
		return b, t
	}
	if b, t := p.matchGuest(h, link, src, dst, fragment, now); b != nil {
		return b, t
	}
	var near *binding
	for _, b := range p.agents(src) {
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
//rfc:3519#4.6-9
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
		ID:   e.ID, Seq: e.Seq, Token: e.Token(),
		Received: p.timeOf(now),
	})
}

// write gives the batch's packets to the kernel.
func (p *Plane) write(b *batch) {
	if len(b.out.trains) == 0 {
		return
	}
	if err := p.dev.write(b.out.trains); err != nil {
		p.totals.sendErrors.Add(1)
	}
	b.out.reset()
}
