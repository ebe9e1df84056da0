package assoc

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"
)

// A Style is a style of replay protection (RFC 5944 section 5.7).
type Style uint8

const (
	Timestamps Style = iota + 1 // RFC 5944 section 5.7.1, mandatory
	Nonces                      // RFC 5944 section 5.7.2, optional
)

// ParseStyle reads a style's name as it stands in the configuration.
func ParseStyle(name string) (Style, error) {
	switch name {
	case "timestamp":
		return Timestamps, nil
	case "nonce":
		return Nonces, nil
	}
	return 0, fmt.Errorf("assoc: unknown replay protection %q", name)
}

func (s Style) String() string {
	switch s {
	case Timestamps:
		return "timestamp"
	case Nonces:
		return "nonce"
	}
	return fmt.Sprintf("Style(%d)", uint8(s))
}

// DefaultWindow is how far a timestamp may be from the home agent's clock:
// "The default value is 7 seconds" (RFC 5944 section 5.7.1).
//
//rfc:5944#5.7.1-1
const DefaultWindow = 7 * time.Second

// ntpEpoch is 1 January 1900, from which NTP counts, before the Unix epoch.
const ntpEpoch = 2208988800

// Timestamp is the 64-bit NTP timestamp of wall: seconds since 1900 in the
// high 32 bits, the fraction in the low 32 bits.
//
//rfc:5944#5.7.1-2
func Timestamp(wall time.Time) uint64 {
	seconds := uint64(wall.Unix() + ntpEpoch)
	fraction := uint64(wall.Nanosecond()) << 32 / 1_000_000_000
	return seconds<<32 | fraction
}

// TimeOf is the instant that a timestamp names, in the NTP era nearest to near.
func TimeOf(timestamp uint64, near time.Time) time.Time {
	nearSeconds := near.Unix() + ntpEpoch
	// The difference of two 32-bit counters, read as a signed number, finds
	// the era in which they are less than 68 years apart.
	seconds := nearSeconds + int64(int32(uint32(timestamp>>32)-uint32(nearSeconds)))
	nanos := (timestamp & 0xffffffff) * 1_000_000_000 >> 32
	return time.Unix(seconds-ntpEpoch, int64(nanos))
}

// A Mark is a home agent's memory of one mobile node's Identifications. It
// never goes back: not when a registration ends, not on a restart.
type Mark struct {
	Highest uint64 // timestamps: the greatest Identification accepted
	Nonce   uint32 // nonces: the high half that the next request must carry
	HasOne  bool   // nonces: a nonce has been given out
	LastLow uint32 // nonces: the low half of the last request accepted
}

// Append encodes the mark in 17 octets.
func (m Mark) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, m.Highest)
	b = binary.BigEndian.AppendUint32(b, m.Nonce)
	b = binary.BigEndian.AppendUint32(b, m.LastLow)
	if m.HasOne {
		return append(b, 1)
	}
	return append(b, 0)
}

// ParseMark decodes what Append encoded.
func ParseMark(b []byte) (Mark, error) {
	if len(b) != 17 {
		return Mark{}, fmt.Errorf("assoc: a replay mark has 17 octets, not %d", len(b))
	}
	return Mark{
		Highest: binary.BigEndian.Uint64(b),
		Nonce:   binary.BigEndian.Uint32(b[8:]),
		LastLow: binary.BigEndian.Uint32(b[12:]),
		HasOne:  b[16] == 1,
	}, nil
}

// Fresh tells whether a request with this Identification is new under style,
// and why it is not. It changes nothing: the mark moves with [Mark.Accept].
//
//rfc:5944#5.7.1
//rfc:5944#5.7.2
//rfc:5944#5.7-1
func (m Mark) Fresh(style Style, identification uint64, wall time.Time, window time.Duration) (bool, string) {
	if style == Nonces {
		// "the mobile node must send a Registration Request with the
		// high-order 32 bits of the Identification field set to the nonce
		// that the home agent sent" (RFC 5944 section 5.7.2).
		switch {
		case !m.HasOne:
			return false, "no nonce has been given out yet"
		case uint32(identification>>32) != m.Nonce:
			return false, "not the nonce of the last reply"
		}
		return true, ""
	}
	// "the timestamp value ... MUST be close enough to the home agent's time
	// of day clock and ... MUST be greater than all previously accepted
	// timestamps for the requesting mobile node" (RFC 5944 section 5.7.1).
	off := TimeOf(identification, wall).Sub(wall)
	switch {
	case off > window:
		return false, fmt.Sprintf("timestamp is %v ahead", off.Round(time.Millisecond))
	case off < -window:
		return false, fmt.Sprintf("timestamp is %v behind", (-off).Round(time.Millisecond))
	case identification <= m.Highest:
		return false, "timestamp is not greater than the last accepted"
	}
	return true, ""
}

// Accept is the mark after a request with this Identification was accepted.
func (m Mark) Accept(style Style, identification uint64) Mark {
	if style == Nonces {
		m.LastLow = uint32(identification)
	} else if identification > m.Highest {
		m.Highest = identification
	}
	return m
}

// ReplyIdentification is the Identification of a reply, and the mark after
// it. The low 32 bits are always the request's. Under timestamps the high 32
// bits are the request's when its timestamp was valid, else the home agent's
// time; under nonces they are a new nonce in every reply, denials too.
//
//rfc:5944#5.7
func (m Mark) ReplyIdentification(style Style, identification uint64, valid bool, wall time.Time, rng *rand.Rand) (uint64, Mark) {
	low := identification & 0xffffffff
	switch {
	case style == Nonces:
		// "each ... SHOULD be different from its previous value"
		nonce := rng.Uint32()
		if m.HasOne && nonce == m.Nonce {
			nonce++
		}
		m.Nonce, m.HasOne = nonce, true
		return uint64(nonce)<<32 | low, m
	case valid:
		return identification, m
	}
	return Timestamp(wall)&^0xffffffff | low, m
}
