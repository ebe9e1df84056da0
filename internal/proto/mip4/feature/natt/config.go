package natt

import (
	"fmt"
	"time"
)

// A Mode says how NAT traversal is used.
type Mode uint8

const (
	Auto  Mode = iota // tunnel in UDP when a NAT is seen, or the other end forces it
	Off               // never tunnel in UDP
	Force             // tunnel in UDP whether a NAT is seen or not
)

var modes = [...]string{Auto: "auto", Off: "off", Force: "force"}

func (m Mode) String() string {
	if int(m) < len(modes) {
		return modes[m]
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// DefaultKeepalive is the keepalive interval K: "a parameter with a default
// value of 110 seconds" (RFC 3519 section 4.9).
const DefaultKeepalive = 110 * time.Second

// MinKeepalive is the shortest keepalive interval: "the mobile node MUST NOT
// use a keepalive less than 10 seconds" (RFC 3519 section 4.10).
const MinKeepalive = 10 * time.Second

// DefaultHalfBound is how long a home agent waits for the first keepalive of
// a half-bound registration.
const DefaultHalfBound = 3 * time.Second

// Config configures NAT traversal, at either end.
type Config struct {
	Mode Mode

	// Keepalive is the interval K. At a home agent it is told to the mobile
	// nodes; at a mobile node it is used unless the home agent tells another; at
	// a foreign agent it is the longest. Zero means the default of 110 s.
	Keepalive time.Duration

	// NATLifetime is the longest lifetime that a home agent grants when data
	// go through UDP. RFC 3519 section 5.2 suggests 60 s; a lifetime is also
	// how long a redirected binding can stay (section 6). Zero: no limit of
	// its own.
	NATLifetime time.Duration

	// HalfBound is how long a home agent waits for the first keepalive of a
	// registration with the R flag before it gives the binding up. Zero
	// means the default of 3 s.
	HalfBound time.Duration

	// RefuseForce makes a home agent refuse the F flag with code 129 where
	// no NAT is seen (RFC 3519 section 4.6.1).
	RefuseForce bool

	// StrictReserved makes a home agent refuse a request whose Reserved 3
	// field is not zero with code 134 (section 4.6.1); otherwise the
	// extension is skipped, as section 3.1.3 says.
	StrictReserved bool

	// Encapsulation is what a mobile node or a foreign agent asks to have inside the UDP tunnel,
	// as an IP protocol number: 4, 47 or 55; 0 lets the M and G bits say it.
	Encapsulation uint8
}
