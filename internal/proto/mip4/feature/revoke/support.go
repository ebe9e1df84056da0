package revoke

import (
	"time"

	"careof/internal/core/assoc"
)

// ahead is how far an Identifier may be before what the peer's clock should
// say by now: "a suitable time window should be defined in which revocation
// messages can be received" (RFC 3543 section 6.2). Without it, a revocation
// from a clock that once ran ahead could be kept and used against a later
// binding.
const ahead = 30 * time.Second

// stamp is the clock of timestamps and Identifiers: NTP seconds, modulo 2^32.
func stamp(wall time.Time) uint32 { return uint32(assoc.Timestamp(wall) >> 32) }

// A support is what two ends have agreed about one binding.
type support struct {
	peer   uint32    // the peer's Timestamp in its last accepted registration message
	heard  time.Time // monotonic: when that came
	sent   uint32    // our own last Timestamp or Identifier about the binding; 0: none
	said   time.Time // monotonic: when we last sent a message about it
	inform bool      // the I bit was negotiated
}

// next is our next Identifier: the clock, but always after what was sent
// before, so that a clock that is set back does not make us unheard.
//
//rfc:3543#3.3
func (s *support) next(wall time.Time) uint32 {
	now := stamp(wall)
	if s.sent != 0 && int32(now-s.sent) <= 0 {
		now = s.sent + 1
	}
	s.sent = now
	return now
}

// acceptable tells whether an Identifier of the peer is no replay: "the
// timestamp of a registration MUST precede the revocation message" (RFC 3543
// section 4.2.3.2).
//
//rfc:3543#3.5
//rfc:3543#6.2
func (s *support) acceptable(id uint32, mono time.Time) bool {
	passed := mono.Sub(s.heard)
	after := time.Duration(int32(id-s.peer)) * time.Second
	return after > 0 && after <= passed+ahead
}
