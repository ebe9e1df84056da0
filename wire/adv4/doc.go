// Package adv4 is the codec of agent discovery: the ICMP Router Advertisement
// (RFC 1256) with the extensions that make it an Agent Advertisement (RFC 5944
// section 2.1), and the Router Solicitation.
//
// Parse frames: it keeps every extension in order, with its offset, and knows
// nothing about who may understand it. Get and Decode read an extension as a
// typed payload, FirstUnclaimed finds the extension that makes a message
// unreadable for somebody, Describe prints field by field. The numbers of
// these extensions are a space of their own (RFC 5944 section 1.8): 24 here and
// 24 in a registration message are two things.
//
// Messages are bytes from the ICMP type on. TTL and addresses of the IP header
// are the caller's: every advertisement and solicitation is sent with TTL 1.
package adv4

import (
	"errors"
	"fmt"
	"net/netip"
)

// MessageType is the ICMP type.
type MessageType uint8

const (
	// TypeAdvertisement is the ICMP Router Advertisement, RFC 1256 section 3.
	TypeAdvertisement MessageType = 9
	// TypeSolicitation is the ICMP Router Solicitation, RFC 1256 section 3.
	TypeSolicitation MessageType = 10
)

// String returns the RFC's name.
func (t MessageType) String() string {
	switch t {
	case TypeAdvertisement:
		return "Router Advertisement"
	case TypeSolicitation:
		return "Router Solicitation"
	}
	return fmt.Sprintf("MessageType(%d)", uint8(t))
}

// Codes of an advertisement, RFC 5944 section 2.1.
const (
	// CodeRouter: the agent handles common traffic.
	CodeRouter = 0
	// CodeNoCommonTraffic: the agent forwards for registered mobile nodes only.
	CodeNoCommonTraffic = 16
)

// TTL of every advertisement (RFC 5944 section 2.1: "The TTL for all Agent
// Advertisements MUST be set to 1.") and solicitation (section 2.2).
const TTL = 1

// LifetimeInfinite is the registration lifetime that never ends, RFC 5944 section 2.1.1.
const LifetimeInfinite = 0xffff

// Destinations of advertisements and solicitations.
var (
	// AllSystems is where advertisements go, RFC 5944 section 2.1.
	AllSystems = netip.AddrFrom4([4]byte{224, 0, 0, 1})
	// AllRouters is where solicitations go, RFC 1256 section 5.1.
	AllRouters = netip.AddrFrom4([4]byte{224, 0, 0, 2})
	// MobileAgents is another place for solicitations, RFC 5944 section 2.3.
	MobileAgents = netip.AddrFrom4([4]byte{224, 0, 0, 11})
	// LimitedBroadcast may stand in for both.
	LimitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// Classes of errors. Errors returned by this package wrap exactly one of them.
var (
	ErrShort    = errors.New("too short")                  // the octets end inside a field
	ErrLength   = errors.New("wrong length")               // a length field contradicts the format or the message
	ErrType     = errors.New("unknown or wrong type")      // not ICMP type 9 or 10, or not the extension asked for
	ErrCode     = errors.New("wrong code")                 // a code that the receiver must not accept
	ErrChecksum = errors.New("bad checksum")               // the ICMP checksum does not hold
	ErrTooMany  = errors.New("too many extensions")        // more than MaxExtensions
	ErrTooLong  = errors.New("extension too long")         // the data do not fit the length field
	ErrAddress  = errors.New("not an IPv4 address")        // an IPv6 address in an IPv4 field
	ErrNoAddrs  = errors.New("no router address")          // RFC 1256 hosts want at least one
	ErrFlags    = errors.New("contradictory flags")        // what RFC 5944 section 2.1.1 forbids to send
	ErrOrder    = errors.New("extension not allowed here") // the agent extension is missing or not the first
)

// MaxExtensions is how many extensions of one message are read: far more than
// any agent sends.
const MaxExtensions = 64

// ParseError says where a message could not be read.
type ParseError struct {
	Off int     // offset from the ICMP type
	Ext ExtType // the extension, if In
	In  bool    // the error is inside the extension Ext
	Err error   // one of the sentinels above
}

func (e *ParseError) Error() string {
	if e.In {
		return fmt.Sprintf("adv4: %v at offset %d: %v", e.Ext, e.Off, e.Err)
	}
	return fmt.Sprintf("adv4: offset %d: %v", e.Off, e.Err)
}

// Unwrap gives the class of the error.
func (e *ParseError) Unwrap() error { return e.Err }
