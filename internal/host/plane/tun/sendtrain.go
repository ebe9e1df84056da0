package tun

import (
	"careof/wire/encap"
)

// arrival sends what the device handed over in one piece.
func (s *sender) arrival(a *arrival) {
	if a.size == 0 || a.n-a.head <= a.size {
		s.single(a)
		return
	}
	if s.whole(a) {
		return
	}
	pkt := a.buf[headroom : headroom+a.n]
	f, _ := flowOf(pkt)
	payload := pkt[f.head:]
	for i, off := 0, 0; off < len(payload); i, off = i+1, off+a.size {
		n := min(a.size, len(payload)-off)
		buf := s.buffer(f.head + n)
		cut(buf[headroom:], pkt, f, payload, off, n, i)
		copy(buf[headroom+f.head:], payload[off:off+n])
		s.packet(buf, f.head+n)
	}
}

// single sends one packet. A train of one still needs its checksum.
func (s *sender) single(a *arrival) {
	if a.size > 0 {
		pkt := a.buf[headroom : headroom+a.n]
		if f, ok := flowOf(pkt); ok {
			cut(pkt, pkt, f, pkt[f.head:], 0, a.n-f.head, 0)
		}
	}
	s.packet(a.buf, a.n)
}

// whole sends a train into a UDP tunnel without cutting it: the socket takes
// the headers of its packets, which are made here, and the payloads where they
// are. It reports whether it did; the rules are those of packet and tunnel,
// and what they say more about is left to them.
func (s *sender) whole(a *arrival) bool {
	pkt := a.buf[headroom : headroom+a.n]
	b, inward := s.p.route(pkt)
	if b == nil || isTunnel(pkt) || len(b.entry.Redundant) > 0 {
		return false
	}
	var t *tunnel
	for _, x := range b.tunnels {
		if !x.sends(s.now) {
			continue
		}
		if t != nil {
			return false // simultaneous bindings
		}
		t = x
	}
	if t == nil || t.purse != nil || t.prefix == nil || s.p.config.Datagrams == nil {
		return false
	}
	if inward && encap.Loops(word4(pkt[12:16]), t.t.Peer.Addr(), nil) {
		return false
	}
	if _, unreachable := t.soft.unreachable(s.now); unreachable || a.head+a.size > t.soft.limit(t.mtu, s.now) {
		return false
	}
	packets, octets := s.board(t, pkt, a.size)
	st := t.of.stats
	st.sentPackets.Add(uint64(packets))
	st.sentBytes.Add(uint64(octets))
	st.sent.Store(s.now)
	t.sent.Store(s.now)
	return true
}

// boarding is a train for a socket that is being put together, of one tunnel.
// What one call has no room for goes with the packets of the next train, so
// that few calls are short.
type boarding struct {
	t       *tunnel // nil: empty
	tos     uint8
	size    int // of each message
	octets  int
	full    bool     // a shorter message is the last one
	headers []byte   // memory for headers, which pieces refer to
	pieces  [][]byte // header and payload of each message
}

// board puts the packets of a train into messages and returns how many packets
// and octets of inner packets these are. Payloads stay where they are until
// the end of the batch.
func (s *sender) board(t *tunnel, pkt []byte, size int) (packets, octets int) {
	f, _ := flowOf(pkt)
	payload := pkt[f.head:]
	tos := encap.EncapTOS(pkt[1])
	head := len(t.prefix) + f.head
	w := &s.boarding
	if w.t != t || w.tos != tos || w.size != head+size {
		s.depart()
	}
	s.flushTunnel(t) // what came before leaves before
	for off := 0; off < len(payload); packets++ {
		n := min(size, len(payload)-off)
		if w.full || len(w.pieces) == 2*maxTrainPackets || w.octets+head+n > maxTrain {
			s.depart()
		}
		if w.headers == nil {
			w.headers = make([]byte, maxTrainPackets*(maxPrefix+maxInnerHeader))
		}
		w.t, w.tos, w.size = t, tos, head+size
		at := len(w.pieces) / 2 * (maxPrefix + maxInnerHeader)
		h := w.headers[at : at+head]
		cut(h[copy(h, t.prefix):], pkt, f, payload, off, n, packets)
		w.pieces = append(w.pieces, h, payload[off:off+n])
		w.octets += head + n
		w.full = n < size
		off += n
	}
	return packets, len(payload) + packets*f.head
}

// depart sends what is on board.
func (s *sender) depart() {
	w := &s.boarding
	if w.t == nil {
		return
	}
	if err := s.p.config.Datagrams.SendTrain(w.t.t.Local, w.t.t.Peer, w.t.t.Link, w.tos, w.size, w.pieces); err != nil {
		s.p.totals.sendErrors.Add(1)
	}
	clear(w.pieces)
	w.t, w.octets, w.full, w.pieces = nil, 0, false, w.pieces[:0]
}

const (
	maxPrefix      = 12  // Tunnel Data and GRE with a key
	maxInnerHeader = 120 // IP and TCP with options
)

// prefixOf is what a tunnel's UDP messages have in front of the inner packet,
// nil where that depends on the packet (minimal encapsulation).
func prefixOf(h encap.Header) []byte {
	if h.Inner == encap.Minimal {
		return nil
	}
	buf := make([]byte, headroom, headroom+20)
	buf, err := encap.AppendIPv4(buf, &encap.IPv4{TTL: 1, Src: h.Src, Dst: h.Dst}, 0)
	if err != nil {
		return nil
	}
	off, _, err := encap.PushUDP(&h, buf, headroom, 20)
	if err != nil {
		return nil
	}
	return buf[off:headroom]
}
