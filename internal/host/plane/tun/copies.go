package tun

import (
	"sync"
	"sync/atomic"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// copies are the numbers of an entry's redundant packets.
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

// numbering is what a number adds at most to a tunnel's header, in octets: a GRE
// header with a sequence number in place of none.
const numbering = 8

// everywhere sends a redundant packet into all tunnels for copies. It reports
// whether it did: not where there is only one, and not when the number does not
// fit beside the packet; it then goes the ordinary way.
func (s *sender) everywhere(b *binding, buf []byte, n int) bool {
	pkt := buf[headroom : headroom+n]
	ways := 0
	for _, t := range b.tunnels {
		if !t.copies(s.now) {
			continue
		}
		if n+numbering > t.soft.limit(t.mtu, s.now) {
			return false
		}
		ways++
	}
	if ways < forward.Copyable {
		return false
	}
	c := &b.stats.copies
	if c.last.Load() == 0 {
		// Not where the process before began: the other end knows its numbers.
		c.last.CompareAndSwap(0, uint32(s.p.clock().UnixMilli()))
	}
	s.number = uint64(c.last.Add(1)) | numbered
	for _, t := range b.tunnels {
		if t.copies(s.now) {
			s.push(t, s.copy(pkt), headroom, n)
		}
	}
	s.number = 0
	return true
}

// numbered is set in a sender's number while there is one.
const numbered = 1 << 32

// copies says whether copies go into the tunnel now.
func (t *tunnel) copies(now int64) bool {
	return t.t.Copies && !t.t.Secured() && t.wrap == nil && !t.t.AnyPort && now < t.until.Load()
}

// counts says whether a packet that came has the number of a redundant one. That
// may come through any tunnel of an entry that has such, but for an encrypted one,
// which takes nothing in clear.
func (t *tunnel) counts(h *encap.Header) bool {
	return h.HasSeq && !t.t.Secured() && len(t.of.entry.Redundant) > 0
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
