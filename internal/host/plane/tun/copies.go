package tun

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// Redundant packets go into every tunnel for copies, with a number by which the
// other end tells the copies. An encrypted one is encrypted once, and the same
// message goes over every path: its counter is the number, and WireGuard's replay
// window, of some 8,000 messages, takes the first of the copies. So a copy looks
// like every other message, costs no octet more, and whoever repeats one later, or
// from elsewhere, has sent one more copy.

// copies are the numbers of an entry's redundant packets, where they are not
// encrypted.
type copies struct {
	last atomic.Uint32 // that was given; 0 before the first

	mu   sync.Mutex
	seen forward.Sequence
}

// fresh says whether a packet that came is the first of its copies.
func (c *copies) fresh(number uint32, now int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen.Fresh(number, now)
}

// Numbering is what a number adds at most to a tunnel's header, in octets: a GRE
// header with a sequence number in place of none.
const Numbering = 8

// everywhere sends a redundant packet into all tunnels for copies. It reports
// whether it did: not one that is not redundant, not where there is only one, and
// not when the packet, with its number, is too long for one of them; it then goes
// the ordinary way, and who sends it is told what would not.
func (s *sender) everywhere(b *binding, buf []byte, n int) bool {
	pkt := buf[headroom : headroom+n]
	var first *tunnel
	ways, room := 0, n
	for _, t := range b.tunnels {
		if !t.copies(s.now) {
			continue
		}
		if first == nil {
			first = t
		}
		if t.cipher != first.cipher {
			return false
		}
		mtu := t.soft.limit(t.mtu, s.now)
		if !t.t.Secured() {
			mtu -= Numbering
		}
		room = min(room, mtu)
		ways++
	}
	if ways < forward.Copyable || !s.p.isRedundant(b, first, pkt) {
		return false
	}
	if room < n {
		// RFC 2003 section 5.1: "the encapsulator can return correct ICMP Datagram
		// Too Big messages to the original sender of the unencapsulated datagram".
		// This one is sent all the same: not everybody hears them.
		if pkt[6]&0x40 != 0 && n <= first.soft.limit(first.mtu, s.now) && room >= minInnerMTU {
			s.answer(encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.DatagramTooBig, MTU: uint16(room)}, pkt)
		}
		return false
	}
	if first.cipher != nil {
		if !s.p.pushSealed(first, pkt, true, s.now) {
			return true
		}
		for _, t := range b.tunnels {
			if t != first && t.copies(s.now) {
				t.count(n, s.now)
				s.p.copied(n)
			}
		}
		return true
	}
	c := &b.stats.copies
	if c.last.Load() == 0 {
		// Not where the process before began: the other end knows its numbers.
		c.last.CompareAndSwap(0, uint32(s.p.clock().UnixMilli()))
	}
	s.number = uint64(c.last.Add(1)) | numbered
	for _, t := range b.tunnels {
		if t.copies(s.now) {
			if s.push(t, s.copy(pkt), headroom, n); t != first {
				s.p.copied(n)
			}
		}
	}
	s.number = 0
	return true
}

// copied counts a packet that goes over another path besides.
func (p *Plane) copied(n int) {
	p.totals.copied.Add(1)
	p.totals.copiedBytes.Add(uint64(n))
}

// isRedundant says whether a packet goes over every path, of which t is one.
func (p *Plane) isRedundant(b *binding, t *tunnel, pkt []byte) bool {
	if b.entry.Role == forward.MobileNode {
		return b.entry.IsRedundant(pkt, t.t.Peer.Addr())
	}
	return b.entry.IsRedundant(pkt, t.t.Local.Addr()) && b.entry.IsRedundant(pkt, p.own.Load().identities...)
}

// numbered is set in a sender's number while there is one.
const numbered = 1 << 32

// copies says whether copies go into the tunnel now.
func (t *tunnel) copies(now int64) bool {
	return t.t.Copies && (t.cipher != nil || !t.t.Secured()) && t.wrap == nil && !t.t.AnyPort && now < t.until.Load()
}

// standby says whether a packet that came through the tunnel may be a copy, or
// have come for the sake of copies: it says nothing of the path in use.
func (t *tunnel) standby(h *encap.Header) bool {
	return t.t.Mode == forward.Receive && (h.HasSeq || t.t.Copies && t.t.Secured())
}

// counts says whether a packet that came has the number of a redundant one. That
// may come through any tunnel of an entry that takes such, but for an encrypted one,
// which takes nothing in clear.
func (t *tunnel) counts(h *encap.Header) bool {
	return h.HasSeq && !t.t.Secured() && t.of.entry.Counts()
}

// enumerate gives a header a sequence number.
func enumerate(h *encap.Header, number uint64) {
	if h.Kind == encap.UDP {
		h.Inner = encap.GRE
	} else {
		h.Kind = encap.GRE
	}
	h.HasSeq, h.Seq = true, uint32(number)
}

// A tally counts the messages of sessions that have come before. It believes what
// they say of themselves, before a cipher is asked, for nothing but a statistic:
// what is a copy WireGuard's replay window decides.
type tally struct {
	mu       sync.Mutex
	sessions [2]struct {
		receiver uint32
		seen     forward.Sequence
	}
	last int // the one that began last
}

// again takes a transport message, and says whether it has come before.
func (c *tally) again(m []byte, now int64) bool {
	if len(m) < 16 {
		return false
	}
	receiver, counter := binary.LittleEndian.Uint32(m[4:]), binary.LittleEndian.Uint32(m[8:])
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.sessions {
		if c.sessions[i].receiver == receiver {
			return !c.sessions[i].seen.Fresh(counter, now)
		}
	}
	// The one before last has been replaced.
	c.last ^= 1
	x := &c.sessions[c.last]
	x.receiver, x.seen = receiver, forward.Sequence{}
	x.seen.Fresh(counter, now)
	return false
}
