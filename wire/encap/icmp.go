package encap

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

// ICMPType is an ICMP message type, RFC 792.
type ICMPType uint8

// The ICMP types that agents and tunnels meet.
const (
	EchoReply              ICMPType = 0
	DestinationUnreachable ICMPType = 3
	SourceQuench           ICMPType = 4
	Redirect               ICMPType = 5
	EchoRequest            ICMPType = 8
	RouterAdvertisement    ICMPType = 9
	RouterSolicitation     ICMPType = 10
	TimeExceeded           ICMPType = 11
	ParameterProblem       ICMPType = 12
)

// Codes of DestinationUnreachable that the tunnel rules name, RFC 2003 section 4.1.
const (
	NetUnreachable      = 0
	HostUnreachable     = 1
	ProtocolUnreachable = 2
	PortUnreachable     = 3
	DatagramTooBig      = 4 // fragmentation needed and DF set
	SourceRouteFailed   = 5
)

// icmpTypes names the types; err marks the error messages (RFC 1122 section 3.2.2).
var icmpTypes = []struct {
	t    ICMPType
	name string
	err  bool
}{
	{EchoReply, "echo reply", false},
	{DestinationUnreachable, "destination unreachable", true},
	{SourceQuench, "source quench", true},
	{Redirect, "redirect", true},
	{EchoRequest, "echo request", false},
	{RouterAdvertisement, "router advertisement", false},
	{RouterSolicitation, "router solicitation", false},
	{TimeExceeded, "time exceeded", true},
	{ParameterProblem, "parameter problem", true},
}

// String returns the RFC's name in lower case, or ICMPType(13).
func (t ICMPType) String() string {
	for i := range icmpTypes {
		if icmpTypes[i].t == t {
			return icmpTypes[i].name
		}
	}
	return "ICMPType(" + strconv.Itoa(int(t)) + ")"
}

// IsError reports whether the type is an error message, which quotes a packet.
func (t ICMPType) IsError() bool {
	for i := range icmpTypes {
		if icmpTypes[i].t == t {
			return icmpTypes[i].err
		}
	}
	return false
}

// ICMP is what an ICMP error message says.
type ICMP struct {
	Type    ICMPType
	Code    uint8
	MTU     uint16 // next-hop MTU in octets, with DestinationUnreachable code 4 (RFC 1191 section 4); 0: the router did not say
	Pointer uint8  // with ParameterProblem: the octet of the packet that was wrong
}

const (
	icmpHeaderLen = 8
	// maxICMPError: RFC 1812 section 4.3.2.3, "as much of the original
	// datagram as possible without the length of the ICMP datagram exceeding
	// 576 bytes".
	maxICMPError = 576
	// precedenceInternetControl: section 4.3.2.5, error messages "SHOULD have
	// their precedence value set to 6".
	precedenceInternetControl = 6 << 5
)

// ICMPError builds the IPv4 packet with an error message from src to the
// source of original, of which it quotes as much as is allowed. original may
// be cut off behind its header. The result is nil when RFC 1812 section
// 4.3.2.7 forbids an answer: "An ICMP error message MUST NOT be sent as the
// result of receiving" an ICMP error message, a packet with a broken header, a
// packet to a broadcast or multicast address, one whose source is no single
// host, or a fragment other than the first. A directed broadcast is known by
// its link only: the caller checks that and the link layer's destination. So
// is the rate (section 4.3.2.8).
//
//rfc:1812#4.3.2.7
//rfc:1812#4.3.2.3
func ICMPError(m ICMP, src netip.Addr, original []byte) []byte {
	if !src.Is4() || !mayAnswer(original) {
		return nil
	}
	ip, err := parseIPv4Header(original)
	if err != nil {
		return nil
	}
	quote := original[:min(len(original), ip.TotalLen, maxICMPError-ipv4HeaderLen-icmpHeaderLen)]
	out := make([]byte, ipv4HeaderLen+icmpHeaderLen, ipv4HeaderLen+icmpHeaderLen+len(quote))
	out = append(out, quote...)
	putIPv4(out, &IPv4{
		// "SHOULD have their TOS bits set to the same value as the TOS bits in
		// the packet that provoked", precedence apart; never ECN capable.
		TOS: precedenceInternetControl | ip.TOS&0x1c,
		TTL: defaultTTL, Protocol: protoICMP, Src: src, Dst: ip.Src,
	}, len(out))
	b := out[ipv4HeaderLen:]
	b[0], b[1] = uint8(m.Type), m.Code
	switch {
	case m.Type == DestinationUnreachable && m.Code == DatagramTooBig:
		binary.BigEndian.PutUint16(b[6:], m.MTU)
	case m.Type == ParameterProblem:
		b[4] = m.Pointer
	}
	binary.BigEndian.PutUint16(b[2:], Checksum(b))
	return out
}

// mayAnswer is RFC 1812 section 4.3.2.7.
func mayAnswer(original []byte) bool {
	ip, err := parseIPv4Header(original)
	if err != nil || Checksum(original[:ip.HeaderLen]) != 0 {
		return false
	}
	if ip.FragOffset != 0 {
		return false
	}
	if isMulticastOrBroadcast(ip.Dst) || !isHost(ip.Src) {
		return false
	}
	if ip.Protocol == protoICMP {
		p := original[ip.HeaderLen:]
		// A type that cannot be seen might be an error.
		if len(p) == 0 || ICMPType(p[0]).IsError() {
			return false
		}
	}
	return true
}

func isMulticastOrBroadcast(a netip.Addr) bool {
	b := a.As4()
	return b[0] >= 224 && b[0] < 240 || b == [4]byte{255, 255, 255, 255}
}

// isHost refuses the sources of RFC 1812 section 5.3.7 that no host has:
// network zero, loopback, multicast, class E and limited broadcast.
func isHost(a netip.Addr) bool {
	b := a.As4()
	return b[0] != 0 && b[0] != 127 && b[0] < 224
}
