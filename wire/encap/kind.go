package encap

import (
	"fmt"
	"strconv"
)

// Kind is a form of encapsulation. Its value is the IP protocol number, which
// is also the Next Header of a Tunnel Data message (RFC 3519 section 3.3) and
// the Encapsulation field of the UDP Tunnel Request (section 3.1).
type Kind uint8

const (
	// IPIP is IP-in-IP, RFC 2003.
	IPIP Kind = 4
	// UDP is a Tunnel Data message in UDP port 434, RFC 3519; Header.Inner says what is in it.
	UDP Kind = 17
	// GRE is generic routing encapsulation, RFC 2784, with the key of RFC 2890.
	GRE Kind = 47
	// Minimal is minimal encapsulation, RFC 2004.
	Minimal Kind = 55
	// WireGuard is what a UDP tunnel carries when its two ends encrypt. It is
	// only ever a Header.Inner, not among [Kinds], and nothing that Push and Pull
	// can do. The number is one for experiments (RFC 3692) and never on the wire:
	// there the messages are WireGuard's own, see [IsWireGuard].
	WireGuard Kind = 254
)

// Port is the UDP port of Mobile IP signalling and tunnel data.
const Port = 434

// TunnelDataType is the first octet of a Tunnel Data message, RFC 3519 section 3.3.
const TunnelDataType = 4

// Sizes of the headers in octets.
const (
	ipv4HeaderLen    = 20
	udpHeaderLen     = 8
	tunnelDataLen    = 4
	greHeaderLen     = 4
	greOptionLen     = 4 // each of checksum, key, sequence
	minimalShortLen  = 8
	minimalLongLen   = 12
	maxDatagram      = 65535
	defaultTTL       = 64
	tunnelDataMinLen = tunnelDataLen + minimalShortLen
	wireGuardLen     = 16 + 16 // type, receiver and counter; and behind the packet the authenticator
)

// Headroom is the most octets that Push writes in front of a packet: IPv4,
// UDP, Tunnel Data, and GRE with checksum, key and sequence number.
const Headroom = ipv4HeaderLen + udpHeaderLen + tunnelDataLen + greHeaderLen + 3*greOptionLen

// UDPHeadroom is the most octets that PullUDP writes in front of a datagram's
// payload: minimal encapsulation leaves out the IP header, which is longer
// than what is taken off.
const UDPHeadroom = ipv4HeaderLen - tunnelDataMinLen

// kinds is the one table of encapsulations.
var kinds = []struct {
	kind     Kind
	name     string
	overhead int
	rfc      string
}{
	{IPIP, "ipip", ipv4HeaderLen, "RFC 2003"},
	{UDP, "udp", ipv4HeaderLen + udpHeaderLen + tunnelDataLen, "RFC 3519"},
	{GRE, "gre", ipv4HeaderLen + greHeaderLen, "RFC 2784"},
	{Minimal, "minimal", minimalLongLen, "RFC 2004"},
}

// String returns the name used in configuration and output: ipip, udp, gre,
// minimal. An unknown kind prints as Kind(41).
func (k Kind) String() string {
	for i := range kinds {
		if kinds[i].kind == k {
			return kinds[i].name
		}
	}
	if k == WireGuard {
		return "wireguard"
	}
	return "Kind(" + strconv.Itoa(int(k)) + ")"
}

// Known reports whether the kind is one of the four.
func (k Kind) Known() bool {
	for i := range kinds {
		if kinds[i].kind == k {
			return true
		}
	}
	return false
}

// ParseKind reads a name as String prints it.
func ParseKind(s string) (Kind, error) {
	for i := range kinds {
		if kinds[i].name == s {
			return kinds[i].kind, nil
		}
	}
	return 0, fmt.Errorf("encap: unknown encapsulation %q (ipip, udp, gre, minimal)", s)
}

// Kinds returns the encapsulations in the order of their protocol numbers.
func Kinds() []Kind {
	out := make([]Kind, len(kinds))
	for i := range kinds {
		out[i] = kinds[i].kind
	}
	return out
}

// Overhead is how many octets a kind adds to a packet, outer IP header
// included: ipip 20, gre 24 (28 with a key), udp 32 (IP-in-UDP), minimal 12
// (8 when the encapsulator is the original source). For other contents of a
// UDP tunnel see Header.Overhead. An unknown kind adds 0.
func Overhead(k Kind, key bool) int {
	for i := range kinds {
		if kinds[i].kind == k {
			if k == GRE && key {
				return kinds[i].overhead + greOptionLen
			}
			return kinds[i].overhead
		}
	}
	return 0
}

// IsWireGuard reports whether a UDP/434 payload whose first octet is 4 is
// WireGuard's. Its transport data messages begin with the octets 4, 0, 0, 0 and
// so have the form of a Tunnel Data message with Next Header 0, which RFC 3519
// gives no meaning; the four octets 4, 0, 0, 1 ([WireGuardHandshake]) stand in
// front of its other messages, whose first octets are those of registrations.
func IsWireGuard(b []byte) bool { return len(b) > tunnelDataLen && b[0] == TunnelDataType && b[1] == 0 }

// WireGuardHandshake stands in front of a WireGuard message that is no
// transport data.
const WireGuardHandshake = "\x04\x00\x00\x01"
