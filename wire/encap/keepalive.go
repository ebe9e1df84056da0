package encap

import (
	"encoding/binary"
	"net/netip"
)

// Echo is an ICMP echo request or reply, RFC 792, as the keepalive of a UDP
// tunnel uses it.
type Echo struct {
	Type     ICMPType // EchoRequest or EchoReply
	Src, Dst netip.Addr
	ID, Seq  uint16
	Data     []byte // aliases the packet it was read from
}

// AppendEcho appends the IPv4 packet with an echo message. ipID is its
// identification.
func AppendEcho(dst []byte, e *Echo, ipID uint16) ([]byte, error) {
	ip := IPv4{ID: ipID, TTL: defaultTTL, Protocol: protoICMP, Src: e.Src, Dst: e.Dst}
	dst, err := AppendIPv4(dst, &ip, icmpHeaderLen+len(e.Data))
	if err != nil {
		return dst, err
	}
	off := len(dst)
	var b [icmpHeaderLen]byte
	b[0] = uint8(e.Type)
	binary.BigEndian.PutUint16(b[4:], e.ID)
	binary.BigEndian.PutUint16(b[6:], e.Seq)
	dst = append(append(dst, b[:]...), e.Data...)
	binary.BigEndian.PutUint16(dst[off+2:], Checksum(dst[off:]))
	return dst, nil
}

// ParseEcho reads an IPv4 packet with an echo request or reply; any other
// packet gives ErrProtocol, a fragment ErrFragment.
func ParseEcho(packet []byte) (Echo, error) {
	ip, err := ParseIPv4(packet)
	if err != nil {
		return Echo{}, err
	}
	if ip.Protocol != protoICMP {
		return Echo{}, ErrProtocol
	}
	if ip.IsFragment() {
		return Echo{}, ErrFragment
	}
	b := packet[ip.HeaderLen:ip.TotalLen]
	if len(b) < icmpHeaderLen {
		return Echo{}, ErrShort
	}
	if t := ICMPType(b[0]); t != EchoRequest && t != EchoReply || b[1] != 0 {
		return Echo{}, ErrProtocol
	}
	if Checksum(b) != 0 {
		return Echo{}, ErrChecksum
	}
	return Echo{
		Type: ICMPType(b[0]), Src: ip.Src, Dst: ip.Dst,
		ID: binary.BigEndian.Uint16(b[4:]), Seq: binary.BigEndian.Uint16(b[6:]),
		Data: b[icmpHeaderLen:],
	}, nil
}

// Reply is the answer to an echo request: RFC 792, "the source and destination
// addresses are simply reversed, the type code changed to 0", and "The data
// received in the echo message must be returned in the echo reply message."
func (e *Echo) Reply() Echo {
	return Echo{Type: EchoReply, Src: e.Dst, Dst: e.Src, ID: e.ID, Seq: e.Seq, Data: e.Data}
}

// AppendKeepalive appends the payload of a UDP/434 datagram with an echo
// message in the tunnel's own form of encapsulation. RFC 3519 section 4.9:
// "The keepalive message sent MUST consist of a properly UDP encapsulated ICMP
// echo request directed to the home agent." A mobile node sends from its home
// address, a foreign agent from its care-of address; the home agent answers
// with Echo.Reply through the same tunnel.
//
//rfc:3519#4.9
func AppendKeepalive(dst []byte, h *Header, e *Echo, ipID uint16) ([]byte, error) {
	base := len(dst)
	var room [Headroom]byte
	dst, err := AppendEcho(append(dst, room[:]...), e, ipID)
	if err != nil {
		return dst[:base], err
	}
	in := base + Headroom
	off, n, err := PushUDP(h, dst, in, len(dst)-in)
	if err != nil {
		return dst[:base], err
	}
	copy(dst[base:], dst[off:off+n])
	return dst[:base+n], nil
}

// ParseKeepalive reads a packet that came out of a UDP tunnel as a keepalive
// of the tunnel whose home agent is ha: a request to it or a reply from it. Any
// other packet is traffic, and ok is false.
//
//rfc:3519#4.9
func ParseKeepalive(inner []byte, ha netip.Addr) (e Echo, ok bool) {
	e, err := ParseEcho(inner)
	if err != nil {
		return Echo{}, false
	}
	if e.Type == EchoRequest && e.Dst == ha || e.Type == EchoReply && e.Src == ha {
		return e, true
	}
	return Echo{}, false
}
