package encap

import (
	"encoding/binary"
	"net/netip"
)

// TunnelError is an ICMP error that came from inside a tunnel, read as the
// encapsulator that sent the quoted packet.
//
// ICMP errors are easily forged. Outer.Src, Outer.Dst, the ports and the key
// must be those of a live tunnel before anything is believed.
type TunnelError struct {
	ICMP
	From             netip.Addr // who reports
	Outer            IPv4       // the quoted outer header: Src is this node, Dst the tunnel exit
	Kind             Kind       // outermost form
	Inner            Kind       // for Kind UDP: what the tunnel carries; 0 when the quote is too short to tell
	SrcPort, DstPort uint16     // for Kind UDP
	HasKey           bool       // GRE key seen in the quote
	Key              uint32
	// Overhead is how many octets the encapsulation had added; 0 when the quote
	// is too short to tell, which only GRE and minimal encapsulation in UDP are.
	Overhead int
	// Quote is the begin of the original, unencapsulated packet, its header
	// complete; nil when the router returned too little. "ICMP only requires
	// IP routers to return 8 octets (64 bits) of the datagram beyond the IP
	// header. This is not enough to include a copy of the encapsulated (inner)
	// IP header" (RFC 2003 section 5). Minimal encapsulation's 8 octets do
	// suffice when it has no Original Source Address.
	Quote []byte
}

// ParseTunnelError reads an IPv4 packet with an ICMP error that quotes a
// tunnel packet. It gives ErrProtocol for any other ICMP message.
//
//rfc:2003#4
//rfc:5944#4.2.3-5
func ParseTunnelError(packet []byte) (TunnelError, error) {
	var e TunnelError
	ip, err := ParseIPv4(packet)
	if err != nil {
		return e, err
	}
	if ip.Protocol != protoICMP {
		return e, ErrProtocol
	}
	if ip.IsFragment() {
		return e, ErrFragment
	}
	b := packet[ip.HeaderLen:ip.TotalLen]
	if len(b) < icmpHeaderLen {
		return e, ErrShort
	}
	if Checksum(b) != 0 {
		return e, ErrChecksum
	}
	e.From = ip.Src
	e.ICMP = ICMP{Type: ICMPType(b[0]), Code: b[1]}
	if !e.Type.IsError() {
		return e, ErrProtocol
	}
	switch {
	case e.Type == DestinationUnreachable && e.Code == DatagramTooBig:
		e.MTU = binary.BigEndian.Uint16(b[6:])
	case e.Type == ParameterProblem:
		e.Pointer = b[4]
	}
	return e, e.readQuote(b[icmpHeaderLen:])
}

// readQuote reads the quoted outer header and what there is behind it.
func (e *TunnelError) readQuote(q []byte) error {
	outer, err := parseIPv4Header(q)
	if err != nil {
		return err
	}
	e.Outer, e.Kind = outer, Kind(outer.Protocol)
	p := q[outer.HeaderLen:min(len(q), outer.TotalLen)]
	if outer.FragOffset != 0 {
		// Only the first fragment holds the tunnel header.
		p = nil
	}
	content, head := e.Kind, outer.HeaderLen
	if content == UDP {
		if len(p) < udpHeaderLen {
			return ErrShort
		}
		e.SrcPort, e.DstPort = binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:])
		p = p[udpHeaderLen:]
		head += udpHeaderLen + tunnelDataLen
		if len(p) < tunnelDataLen {
			// A home agent may have another port, but then the quote has to say
			// what it is about.
			if e.SrcPort != Port && e.DstPort != Port {
				return ErrProtocol
			}
			return nil
		}
		if p[0] != TunnelDataType {
			return ErrProtocol
		}
		e.Inner, content = Kind(p[1]), Kind(p[1])
		if content == 0 {
			// What was inside, nobody can read.
			e.Inner, e.Overhead = WireGuard, outer.HeaderLen+udpHeaderLen+wireGuardLen
			return nil
		}
		p = p[tunnelDataLen:]
	}
	switch content {
	case IPIP:
		e.Overhead = head
		e.Quote = wholeHeader(p)
	case GRE:
		n, ok := greQuoted(e, p)
		if !ok {
			return nil
		}
		e.Overhead = head + n
		if len(p) > n {
			e.Quote = wholeHeader(p[n:])
		}
	case Minimal:
		e.quotedMinimal(q, p, head-outer.HeaderLen)
	default:
		return ErrProtocol
	}
	return nil
}

// wholeHeader returns p when an IPv4 header is complete at its start.
func wholeHeader(p []byte) []byte {
	if _, err := parseIPv4Header(p); err != nil {
		return nil
	}
	return p
}

// greQuoted is the length of a quoted GRE header, and its key. Its checksum
// cannot be verified: the payload is cut off.
func greQuoted(e *TunnelError, p []byte) (int, bool) {
	if len(p) < greHeaderLen {
		return 0, false
	}
	flags, n := binary.BigEndian.Uint16(p), greHeaderLen
	if flags&greC != 0 {
		n += greOptionLen
	}
	if flags&greK != 0 {
		if len(p) >= n+greOptionLen {
			e.HasKey, e.Key = true, binary.BigEndian.Uint32(p[n:])
		}
		n += greOptionLen
	}
	if flags&greS != 0 {
		n += greOptionLen
	}
	return n, true
}

// quotedMinimal restores the original header of a quote; extra is the length
// of the UDP and Tunnel Data headers between.
func (e *TunnelError) quotedMinimal(q, p []byte, extra int) {
	m, err := parseMinimal(p)
	if err != nil {
		// Too short for the source address, perhaps, but S is readable.
		if len(p) >= 2 && p[1]&minimalS != 0 {
			e.Overhead = extra + minimalLongLen
		}
		return
	}
	e.Overhead = extra + m.len
	total := e.Outer.TotalLen - e.Overhead
	if total < e.Outer.HeaderLen {
		return
	}
	orig := append([]byte(nil), q[:e.Outer.HeaderLen]...)
	orig = append(orig, p[m.len:]...)
	restoreMinimal(orig, &m, e.Outer.HeaderLen)
	binary.BigEndian.PutUint16(orig[2:], uint16(total))
	orig[10], orig[11] = 0, 0
	binary.BigEndian.PutUint16(orig[10:], Checksum(orig[:e.Outer.HeaderLen]))
	e.Quote = orig
}

// relayTo says what becomes of an ICMP error from inside a tunnel.
type relayTo uint8

const (
	keep       relayTo = iota // not told to the original sender
	same                      // relayed as it is, MTU adjusted
	netOrHost                 // DestinationUnreachable code 0, or 1 when the destination is on the encapsulator's own network
	host                      // DestinationUnreachable code 1
	innerField                // relayed when it points into the original packet
)

const anyCode = -1

// relayRules is RFC 2003 section 4, row by row. The first row that matches
// holds. RFC 2004 section 5 refers to the same rules and RFC 2784 has none of
// its own (its section 9 says so), hence one table for all forms.
var relayRules = []struct {
	t       ICMPType
	code    int
	to      relayTo
	section string
	text    string
}{
	{DestinationUnreachable, NetUnreachable, netOrHost, "4.1", "SHOULD be returned to the original sender"},
	{DestinationUnreachable, HostUnreachable, host, "4.1", "SHOULD relay Host Unreachable messages"},
	{DestinationUnreachable, ProtocolUnreachable, netOrHost, "4.1", "SHOULD send a Destination Unreachable message with Code 0 or 1"},
	{DestinationUnreachable, PortUnreachable, keep, "4.1", "MUST NOT be relayed"},
	{DestinationUnreachable, DatagramTooBig, same, "4.1", "MUST relay ICMP Datagram Too Big messages"},
	{DestinationUnreachable, SourceRouteFailed, keep, "4.1", "MUST NOT be relayed"},
	// RFC 2003 does not name the codes above 5 (RFC 1122 section 3.2.2.1, RFC
	// 1812 section 5.2.7.1). They say no more than net or host unreachable to
	// somebody who did not address the tunnel exit.
	{DestinationUnreachable, 6, netOrHost, "4.1", "network unknown, as code 0"},
	{DestinationUnreachable, 7, host, "4.1", "host unknown, as code 1"},
	{DestinationUnreachable, 9, netOrHost, "4.1", "network prohibited, as code 0"},
	{DestinationUnreachable, 10, host, "4.1", "host prohibited, as code 1"},
	{DestinationUnreachable, 11, netOrHost, "4.1", "network for TOS, as code 0"},
	{DestinationUnreachable, 12, host, "4.1", "host for TOS, as code 1"},
	{DestinationUnreachable, 13, host, "4.1", "prohibited by a filter, as code 1"},
	{SourceQuench, anyCode, keep, "4.2", "SHOULD NOT relay"},
	{Redirect, anyCode, keep, "4.3", "MUST NOT not relay the Redirect"},
	{TimeExceeded, anyCode, host, "4.4", "MUST be reported to the sender ... as Host Unreachable"},
	{ParameterProblem, anyCode, innerField, "4.5", "MAY relay ... if it points to a field copied from the original"},
}

// Answer is what to tell the original sender, by RFC 2003 section 4; ok is
// false for nothing. onLink says that the original destination belongs to the
// encapsulator's own network (the home network): then net unreachable becomes
// host unreachable, as the RFC permits.
//
// With a Quote the caller sends ICMPError(m, own, e.Quote) at once. Without
// one it keeps m as soft state of the tunnel (section 5) and sends it about
// the next packet that would meet the same fate.
//
// A too-big message tells MTU - Overhead (section 5.1: "the MTU of the tunnel
// minus the size of the encapsulating IP header"). Where the router gave no
// MTU, the next lower plateau of RFC 1191 section 7 counts. A value below 68
// is a lie, since every link carries that, and gives no answer.
//
//rfc:2003#4.1
//rfc:2003#4.2
//rfc:2003#4.3
//rfc:2003#4.4
//rfc:2003#4.5
//rfc:2003#5.1
//rfc:2003#5.1-2
//rfc:2003#5.2-2
func (e *TunnelError) Answer(onLink bool) (m ICMP, ok bool) {
	for i := range relayRules {
		r := &relayRules[i]
		if r.t != e.Type || r.code != anyCode && r.code != int(e.Code) {
			continue
		}
		switch r.to {
		case same:
			mtu := e.tunnelMTU() - e.overheadOrMost()
			if mtu < 68 {
				return ICMP{}, false
			}
			return ICMP{Type: e.Type, Code: e.Code, MTU: uint16(mtu)}, true
		case netOrHost:
			if onLink {
				return ICMP{Type: DestinationUnreachable, Code: HostUnreachable}, true
			}
			return ICMP{Type: DestinationUnreachable, Code: NetUnreachable}, true
		case host:
			return ICMP{Type: DestinationUnreachable, Code: HostUnreachable}, true
		case innerField:
			return e.innerPointer()
		}
		return ICMP{}, false
	}
	return ICMP{}, false
}

// Relay is the whole answer to the original sender: the packet to send from
// src, nil when there is nothing to say, when the quote is too short (then
// keep Answer's message as soft state), or when the original must not be
// answered.
func (e *TunnelError) Relay(src netip.Addr, onLink bool) []byte {
	m, ok := e.Answer(onLink)
	if !ok || e.Quote == nil {
		return nil
	}
	return ICMPError(m, src, e.Quote)
}

// overheadOrMost is the overhead, or the most that it can have been.
func (e *TunnelError) overheadOrMost() int {
	if e.Overhead != 0 {
		return e.Overhead
	}
	switch e.Kind {
	case UDP:
		if e.Inner == Minimal {
			return udpHeaderLen + tunnelDataLen + minimalLongLen
		}
		if e.Inner == 0 || e.Inner == IPIP {
			return Overhead(UDP, false)
		}
		return Overhead(UDP, false) + greHeaderLen + greOptionLen
	case GRE:
		return Overhead(GRE, true)
	}
	return Overhead(e.Kind, false)
}

// plateaus is table 7-1 of RFC 1191.
var plateaus = []int{32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68}

// tunnelMTU is the path MTU that a too-big message tells.
func (e *TunnelError) tunnelMTU() int {
	if e.MTU != 0 {
		// A router cannot have refused a packet for an MTU that it fits.
		return min(int(e.MTU), e.Outer.TotalLen-1)
	}
	for _, p := range plateaus {
		if p < e.Outer.TotalLen {
			return p
		}
	}
	return 0
}

// innerPointer moves the pointer of a parameter problem into the original
// packet. RFC 2003 section 4.5: relayed only when "the Parameter Problem
// message points to a field copied from the original". The outer header is the
// encapsulator's own work, but for minimal encapsulation's options, which are
// the original's.
func (e *TunnelError) innerPointer() (ICMP, bool) {
	p := int(e.Pointer)
	if e.Overhead == 0 || e.Code != 0 {
		return ICMP{}, false
	}
	if e.Kind == Minimal || e.Inner == Minimal {
		switch {
		case p < ipv4HeaderLen, p >= e.Outer.HeaderLen && p < e.Outer.HeaderLen+e.Overhead:
			return ICMP{}, false
		case p < e.Outer.HeaderLen:
			return ICMP{Type: ParameterProblem, Pointer: e.Pointer}, true
		}
	}
	if p < e.Overhead {
		return ICMP{}, false
	}
	return ICMP{Type: ParameterProblem, Pointer: uint8(p - e.Overhead)}, true
}
