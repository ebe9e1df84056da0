package tun

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/ipv4"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// sender is the state of the goroutine that reads the device.
type sender struct {
	p       *Plane
	now     int64
	in      *intake
	copies  [][]byte // buffers for duplicates and fragments, kept for the next batch
	used    int
	raw     []ipv4.Message
	touched []*tunnel // with messages waiting, in the order of their first
	answers bucket
	inside  []byte // for loops
	boarding

	// guest is the visitor that a packet was heard from below IP, which is
	// answered there, from own; else nil.
	guest *binding
	own   netip.Addr

	number uint64 // of the packet that is sent in copies; 0: none is
}

// readDevice sends what the kernel routes to the device, until it is closed.
// Being one goroutine, it never reorders a flow.
func (p *Plane) readDevice() {
	defer close(p.deafened)
	defer p.deaf.Store(true)
	s := &sender{p: p, in: newIntake(), answers: newBucket(100, 50)}
	for {
		err := p.dev.read(s.in)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			p.totals.sendErrors.Add(1)
			if p.isClosed() {
				return
			}
		}
		s.now, s.used = p.now(), 0
		for i := range s.in.arrivals {
			s.arrival(&s.in.arrivals[i])
		}
		s.flush()
	}
}

func (p *Plane) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// packet sends buf[headroom:headroom+n] where its entry says.
//
//rfc:5944#4.1
//rfc:5944#4.2.3
//rfc:2003#3.2-2
func (s *sender) packet(buf []byte, n int) {
	pkt := buf[headroom : headroom+n]
	if n < 20 || pkt[0]>>4 != 4 {
		return // IPv6 has no tunnels here, and is not to leave in another way
	}
	b, inward := s.p.route(pkt)
	if b == nil {
		s.unbound(pkt)
		return
	}
	if s.loops(b, pkt) {
		b.stats.drop(&s.p.totals.loops)
		return
	}
	if len(b.entry.Redundant) > 0 && s.everywhere(b, buf, n) {
		return
	}
	var first *tunnel
	held, why := false, &s.p.totals.tunnelless
	for _, t := range b.tunnels {
		if !t.sends(s.now) {
			continue
		}
		if !t.affords(n + t.overhead()) {
			held = true
			continue
		}
		if inward && encap.Loops(word4(pkt[12:16]), t.t.Peer.Addr(), nil) {
			// RFC 2003 section 3.2: the source is the tunnel's other end.
			// The rule's other half, a source of our own, is the kernel's:
			// it takes no packet from outside with one (a martian), and
			// our own answers to keepalives must go in.
			s.p.totals.loops.Add(1)
			why = nil // it is told
			continue
		}
		if first == nil {
			first = t
			continue
		}
		if t.cipher != nil && t.cipher == first.cipher {
			continue // what is encrypted once goes to all of a peer's ends
		}
		// Simultaneous bindings: "a separate copy of each" goes to every one.
		// It is made before the first is changed in place.
		s.tunnel(t, s.copy(pkt), n)
	}
	if first == nil && held {
		first, why = b.spare(s.now), &s.p.totals.withheld
	}
	if first == nil {
		// No live tunnel: fail closed, and say nothing, for the next one may
		// be a moment away.
		b.stats.drop(why)
		return
	}
	s.tunnel(first, buf, n)
}

// route finds the entry of a packet that the kernel sends to the device: the
// mobile node's own and a visitor's by source, the home agent's by destination. inward says
// that it goes towards a mobile node.
func (p *Plane) route(pkt []byte) (b *binding, inward bool) {
	if list := p.mobile.find(binary.BigEndian.Uint32(pkt[12:])); list != nil {
		return list[0], false
	}
	if b := p.directGuest(binary.BigEndian.Uint32(pkt[12:])); b != nil {
		return b, false
	}
	if list := p.agents(binary.BigEndian.Uint32(pkt[16:])); list != nil {
		return list[0], true
	}
	return nil, false
}

// unbound answers for addresses of our home networks that nobody has bound;
// what else comes here is dropped. Before the plane has settled nobody knows
// who is bound: a daemon that comes back must not tell the world that its
// nodes are gone.
func (s *sender) unbound(pkt []byte) {
	s.p.totals.unbound.Add(1)
	if !s.p.settled.Load() {
		return
	}
	dst := word4(pkt[16:20])
	for _, net := range s.p.own.Load().networks {
		if !net.Contains(dst) {
			continue
		}
		if dst != lastOf(net) {
			s.answer(encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.HostUnreachable}, pkt)
		}
		return
	}
}

// lastOf is the directed broadcast address of a network; for a host it is an
// address that no packet has.
func lastOf(p netip.Prefix) netip.Addr {
	if p.Bits() >= 31 {
		return netip.Addr{}
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], word(p.Masked().Addr())|uint32(1<<(32-p.Bits())-1))
	return netip.AddrFrom4(b)
}

func word4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[:4])) }

// maxNesting is how deep a tunnel packet is looked into for one of our own.
const maxNesting = 8

// loops refuses a packet that has been in one of our tunnels before: the one
// that RFC 5944 section 4.2.3 names, one of our own that came back because a
// care-of address lies in a home network, and one that another agent's tunnel
// brings back wrapped once more (two agents bound crosswise).
//
//rfc:5944#4.2.3
func (s *sender) loops(b *binding, pkt []byte) bool {
	if !isTunnel(pkt) {
		return false
	}
	for _, t := range b.tunnels {
		if encap.CameBack(pkt, t.t.Peer.Addr()) {
			return true
		}
	}
	// Looking inside rebuilds headers in place, so it is done on a copy.
	inside := append(s.inside[:0], pkt...)
	s.inside = inside
	for range maxNesting {
		h, inner, err := encap.Pull(inside)
		if err != nil {
			return false
		}
		for _, t := range b.tunnels {
			// A mobile network may hold another router, whose tunnel begins
			// here too: what goes in circles comes through one tunnel twice
			// (RFC 5177 section 8).
			if h.Src == t.t.Local.Addr() && (!b.doubles() || h.Dst == t.t.Peer.Addr()) {
				return true
			}
		}
		inside = inner
	}
	return true
}

// isTunnel reports whether a packet looks like a tunnel's.
func isTunnel(pkt []byte) bool {
	switch encap.Kind(pkt[9]) {
	case encap.IPIP, encap.GRE, encap.Minimal:
		return true
	case encap.UDP:
		head := int(pkt[0]&15) * 4
		return len(pkt) > head+8 && pkt[head+8] == encap.TunnelDataType &&
			(binary.BigEndian.Uint16(pkt[head:]) == encap.Port || binary.BigEndian.Uint16(pkt[head+2:]) == encap.Port)
	}
	return false
}

// longerThanMinimal is how much more IP-in-IP adds to a packet.
const longerThanMinimal = 8

// tunnel sends the packet buf[headroom:headroom+n] into t, in place.
//
//rfc:2003#5
//rfc:2003#5.1
//rfc:3519#4.8
//rfc:3519#4.8-1
//rfc:3519#4.8-2
func (s *sender) tunnel(t *tunnel, buf []byte, n int) {
	pkt := buf[headroom : headroom+n]
	// RFC 2003 section 5: a packet that violates the tunnel's soft state is
	// told so and nevertheless sent.
	if m, ok := t.soft.unreachable(s.now); ok {
		s.answer(m, pkt)
	}
	mtu := t.soft.limit(t.mtu, s.now)
	// Minimal encapsulation has no room for fragments: they travel in
	// IP-in-IP, which is longer.
	ofFragments := mtu
	if encap.Minimal == t.header.Kind || encap.Minimal == t.header.Inner {
		ofFragments -= longerThanMinimal
		if binary.BigEndian.Uint16(pkt[6:])&0x3fff != 0 {
			mtu = ofFragments
		}
	}
	// A probe finds out what is true of the path, not what is believed of it.
	if n <= mtu || n <= t.link && encap.IsProbe(pkt) {
		if n > mtu {
			s.p.contradicted(t, pkt, s.now)
		}
		s.push(t, buf, headroom, n)
		return
	}
	pieces, err := encap.Fragment(pkt, ofFragments)
	if err != nil {
		if errors.Is(err, encap.ErrTooBig) {
			s.answer(encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.DatagramTooBig, MTU: uint16(mtu)}, pkt)
		}
		t.of.stats.drop(&s.p.totals.returned)
		return
	}
	for _, f := range pieces {
		s.push(t, s.copy(f), headroom, len(f))
	}
}

// push encapsulates and queues.
func (s *sender) push(t *tunnel, buf []byte, off, n int) {
	if t.t.Secured() {
		if !t.affords(n + t.overhead()) { // it is paid for when it leaves
			t.of.stats.drop(&s.p.totals.withheld)
			return
		}
		s.p.pushSealed(t, buf[off:off+n], false, s.now)
		return
	}
	h := t.header
	t.unfold(&h, buf[off:])
	if s.number != 0 {
		enumerate(&h, s.number)
	}
	h.ID = uint16(s.p.ident.Add(1))
	tos := encap.EncapTOS(buf[off+1])
	size := n
	var err error
	if t.wrap != nil {
		w := *t.wrap
		w.ID = uint16(s.p.ident.Add(1))
		if off, n, err = encap.Push(&w, buf, off, n); err != nil {
			t.of.stats.drop(&s.p.totals.sendErrors)
			return
		}
	}
	if h.Kind == encap.UDP {
		off, n, err = encap.PushUDP(&h, buf, off, n)
		if errors.Is(err, encap.ErrFragment) || errors.Is(err, encap.ErrOptions) {
			h.Inner = encap.IPIP
			off, n, err = encap.PushUDP(&h, buf, off, n)
		}
	} else {
		off, n, err = encap.Push(&h, buf, off, n)
		if errors.Is(err, encap.ErrFragment) {
			h.Kind = encap.IPIP
			off, n, err = encap.Push(&h, buf, off, n)
		}
	}
	if err != nil {
		t.of.stats.drop(&s.p.totals.sendErrors)
		return
	}
	if !t.pay(size + t.overhead()) {
		t.of.stats.drop(&s.p.totals.withheld)
		return
	}
	t.count(size, s.now)
	if h.Kind != encap.UDP {
		s.queueRaw(t, buf[off:off+n])
		return
	}
	if s.boarding.t == t {
		s.depart() // what came before leaves before
	}
	if len(t.waiting) > 0 && (t.waitingTOS != tos || t.waitingLen+n > maxTrain) {
		s.flushTunnel(t)
	}
	if len(t.waiting) == 0 {
		s.touched = append(s.touched, t)
	}
	t.waitingTOS = tos
	t.waitingLen += n
	t.waiting = append(t.waiting, buf[off:off+n])
}

// maxTrain is the most octets given to a UDP socket at once. A train that
// fills a whole IPv4 packet exceeds, with its Ethernet header, what interfaces
// take in one piece (gso_max_size, 65536): the kernel would then cut it in
// software, at twice the cost of everything else.
const maxTrain = 65000

func (s *sender) queueRaw(t *tunnel, packet []byte) {
	if len(s.raw) < cap(s.raw) {
		s.raw = s.raw[:len(s.raw)+1]
	} else {
		s.raw = append(s.raw, ipv4.Message{Buffers: make([][]byte, 1)})
	}
	m := &s.raw[len(s.raw)-1]
	if m.Buffers == nil {
		m.Buffers = make([][]byte, 1)
	}
	way := t.way()
	m.Buffers[0], m.OOB, m.Addr = packet, way.oob, &way.to
}

// flush hands everything that waits to the sockets.
func (s *sender) flush() {
	s.depart()
	if len(s.raw) > 0 {
		s.p.totals.sendErrors.Add(uint64(s.p.raw.send(s.raw)))
		s.raw = s.raw[:0]
	}
	for _, t := range s.touched {
		s.flushTunnel(t)
	}
	s.touched = s.touched[:0]
}

func (s *sender) flushTunnel(t *tunnel) {
	if len(t.waiting) == 0 {
		return
	}
	if s.p.config.Datagrams == nil {
		s.p.totals.sendErrors.Add(uint64(len(t.waiting)))
	} else if err := s.p.config.Datagrams.SendData(t.t.Local, t.t.Peer, t.t.Link, t.waitingTOS, t.waiting); err != nil {
		s.p.totals.sendErrors.Add(1)
	}
	clear(t.waiting)
	t.waiting, t.waitingLen = t.waiting[:0], 0
}

// maxCopy is how long a packet is for which a buffer is kept.
const maxCopy = 2048

// copy puts a packet into a buffer with headroom that lasts until the end of
// the batch.
func (s *sender) copy(pkt []byte) []byte {
	buf := s.buffer(len(pkt))
	copy(buf[headroom:], pkt)
	return buf
}

// buffer is one for a packet of n octets.
func (s *sender) buffer(n int) []byte {
	if s.used == len(s.copies) {
		s.copies = append(s.copies, make([]byte, headroom+maxCopy))
	}
	buf := s.copies[s.used]
	s.used++
	if len(buf) < headroom+n {
		buf = make([]byte, headroom+n)
		s.copies[s.used-1] = buf
	}
	return buf
}

// answer sends an ICMP error about a packet to its sender, within the rate
// that RFC 1812 section 4.3.2.8 asks to limit.
func (s *sender) answer(m encap.ICMP, original []byte) {
	if !s.answers.take(s.now) {
		return
	}
	if g := s.guest; g != nil {
		// Another visitor has the same address.
		if b := encap.ICMPError(m, s.own, original); b != nil {
			if err := s.p.config.Visitors.SendPacket(g.entry.Deliver.Link, g.entry.Deliver.HW, b); err != nil {
				s.p.totals.sendErrors.Add(1)
			}
		}
		return
	}
	s.p.sendError(encap.ICMPError(m, anyAddress, original))
}

// anyAddress as a source lets the kernel fill in its own: the address of the
// interface through which the error leaves.
var anyAddress = netip.IPv4Unspecified()

// sendError sends an ICMP error. It goes through a raw socket and not through
// the device, from which the kernel takes no packet with an address of its own.
func (p *Plane) sendError(packet []byte) {
	if packet == nil {
		return
	}
	dst := word4(packet[16:20])
	m := ipv4.Message{Buffers: [][]byte{packet}, Addr: addrOf(dst)}
	if p.raw.send([]ipv4.Message{m}) == 0 {
		p.totals.relayed.Add(1)
	}
}

// Keep is how long soft state about a tunnel holds: RFC 1191 section 6.3
// recommends ten minutes for a path MTU.
const (
	keepMTU         = int64(10 * time.Minute)
	keepUnreachable = int64(10 * time.Second)
)

var _ forward.Plane = (*Plane)(nil)
