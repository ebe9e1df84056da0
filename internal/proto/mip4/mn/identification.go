package mn

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
)

// A sequence chooses the Identifications of the requests to one home agent,
// and never goes back (RFC 5944 section 5.7).
//
// Timestamps follow the wall clock until the home agent has said something
// authentic about the time: from then on they count on the monotonic clock,
// so that a wall clock that jumps costs no registration.
type sequence struct {
	Last     uint64 `json:"last"`     // the greatest Identification sent
	Accepted uint64 `json:"accepted"` // the greatest that the home agent accepted
	Nonce    uint32 `json:"nonce"`    // high half of the next request
	HasNonce bool   `json:"has_nonce"`

	restored bool      // Last comes from an earlier life
	anchor   time.Time // the home agent's time ...
	anchored time.Time // ... at this instant of the monotonic clock; zero: use the wall clock
	latest   uint64    // of the last request sent; Last may have been lowered since
	resyncs  int       // resynchronisations in a row
	learnt   time.Time // nonces: when the request was sent whose reply brought the nonce
}

// restartMargin lies between the last Identification that an earlier life
// recorded and the first of this one when the clock does not tell: requests
// leave without waiting for the disk, so one more may have been sent.
const restartMargin = 60 << 32

// unpredictable is the part of a timestamp that is random: 2^20/2^32 of a
// second. "The low-order bits" of a coarse clock "should be ... random"; a
// reply is matched by the low 32 bits, so an outsider shall not guess them.
const unpredictable = 1 << 20

// time is the home agent's time, as far as it is known.
func (s *sequence) time(now engine.Now) time.Time {
	if s.anchored.IsZero() {
		return now.Wall
	}
	return s.anchor.Add(now.Mono.Sub(s.anchored))
}

// next chooses the Identification of a new request. taken tells low halves
// that a pending request has already.
//
//rfc:5944#5.7.1
//rfc:5944#5.7.2
//rfc:5944#5.7-5
//rfc:5944#5.7.1-3
func (s *sequence) next(style assoc.Style, now engine.Now, rng *rand.Rand, taken func(uint32) bool) uint64 {
	var id uint64
	if style == assoc.Nonces {
		// "the high-order 32 bits of the Identification field set to the
		// nonce that the home agent sent"; the low half is our own fresh value.
		for id = s.nonceWith(rng.Uint32()); taken(uint32(id)) || uint32(id) == uint32(s.Last); {
			id = s.nonceWith(rng.Uint32())
		}
		s.Last, s.latest = id, id
		return id
	}
	if s.restored {
		s.restored = false
		if assoc.Timestamp(s.time(now)) <= s.Last {
			s.Last += restartMargin
		}
	}
	// "the mobile node MUST ... be greater than in any earlier Request".
	id = assoc.Timestamp(s.time(now))&^(unpredictable-1) | rng.Uint64N(unpredictable)
	if id <= s.Last {
		id = s.Last + 1 + rng.Uint64N(unpredictable)
	}
	for taken(uint32(id)) {
		id++
	}
	s.Last, s.latest = id, id
	return id
}

func (s *sequence) nonceWith(low uint32) uint64 { return uint64(s.Nonce)<<32 | uint64(low) }

// accept learns that the home agent accepted a request, from an authentic reply.
func (s *sequence) accept(style assoc.Style, now engine.Now, sent Sent) {
	s.resyncs = 0
	if style == assoc.Nonces {
		return
	}
	s.Accepted = max(s.Accepted, sent.Identification)
	if s.anchored.IsZero() {
		// The home agent agrees about the time that this request named; the
		// wall clock may jump from here on.
		s.anchor, s.anchored = assoc.TimeOf(sent.Identification, now.Wall), sent.At
	}
}

// learnNonce takes the new nonce, which is in every authentic reply; a reply
// that an answer to a later request has overtaken brings an old one.
//
//rfc:5944#5.7.2
func (s *sequence) learnNonce(sent Sent, reply uint64) {
	if sent.At.Before(s.learnt) {
		return
	}
	s.Nonce, s.HasNonce, s.learnt = uint32(reply>>32), true, sent.At
}

// overtook says that a later request than this one has been sent, so that a
// denial of this one says nothing about the present clock.
func (s *sequence) overtook(sent Sent) bool { return s.latest != sent.Identification }

// resynchronise takes the home agent's time from an authentic denial. The
// step ends exactly at the time that the reply names, and never at or below
// what the home agent has accepted already.
//
// The low half is the request's, so the time is known to the second. A node
// that is told twice in a row that it is wrong goes ahead a little: the home
// agent's mark may lie in its future, by up to its window.
//
//rfc:5944#5.7.1
func (s *sequence) resynchronise(style assoc.Style, now engine.Now, reply uint64) {
	if style == assoc.Nonces {
		return // the nonce has been learnt already
	}
	ahead := min(time.Duration(s.resyncs)*3*time.Second, 6*time.Second)
	s.resyncs++
	s.anchor = assoc.TimeOf(reply&^0xffffffff|1<<31, now.Wall).Add(ahead)
	s.anchored = now.Mono
	s.restored = false
	if s.Last > assoc.Timestamp(s.anchor) {
		s.Last = s.Accepted
	}
}

// clock is the sequence for one home agent. A home agent that was just
// discovered inherits what the discovery learnt.
func (n *Node) clock(agent netip.Addr) *sequence {
	s := n.clocks[agent]
	if s == nil {
		s = &sequence{}
		n.clocks[agent] = s
	}
	return s
}

// taken says whether a pending request has this low half.
func (n *Node) taken(low uint32) bool {
	_, _, ok := n.match(low)
	return ok || n.validating(low) >= 0
}

// match finds the pending request that a reply with this low half answers.
//
//rfc:5944#5.7-4
func (n *Node) match(low uint32) (*Registration, int, bool) {
	for _, r := range n.registrations() {
		for i, s := range r.pending {
			if uint32(s.Identification) == low {
				return r, i, true
			}
		}
	}
	return nil, 0, false
}

// waiting says that a later request to the same home agent is unanswered.
func (n *Node) waiting(agent netip.Addr, sent Sent) bool {
	for _, r := range n.links {
		if r.Key.HomeAgent != agent {
			continue
		}
		for _, s := range r.pending {
			if s.after(sent) {
				return true
			}
		}
	}
	return false
}
