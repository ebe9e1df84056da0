package encap

import (
	"encoding/binary"
	"net/netip"
)

// IP protocol numbers that this package reads.
const (
	protoICMP = 1
	protoUDP  = 17
)

// Bits of the flags and fragment offset field.
const (
	flagDF     = 0x4000
	flagMF     = 0x2000
	offsetMask = 0x1fff
)

// IPv4 is a parsed IPv4 header, RFC 791 section 3.1.
type IPv4 struct {
	HeaderLen  int // octets, options included
	TotalLen   int // octets, header included
	TOS        uint8
	ID         uint16
	DF, MF     bool
	FragOffset int // octets
	TTL        uint8
	Protocol   uint8
	Src, Dst   netip.Addr
}

// ParseIPv4 reads and validates the header at the start of b as a router must
// (RFC 1812 section 5.2.2): version, header length, total length within b, and
// the checksum. Octets of b beyond TotalLen are link padding and not an error.
//
//rfc:1812#5.2.2
func ParseIPv4(b []byte) (IPv4, error) {
	h, err := parseIPv4Header(b)
	if err != nil {
		return h, err
	}
	if h.TotalLen > len(b) {
		return h, ErrShort
	}
	if Checksum(b[:h.HeaderLen]) != 0 {
		return h, ErrChecksum
	}
	return h, nil
}

// parseIPv4Header reads a header of which the payload may be cut off, as in
// the quote of an ICMP error.
func parseIPv4Header(b []byte) (IPv4, error) {
	if len(b) < ipv4HeaderLen {
		return IPv4{}, ErrShort
	}
	if b[0]>>4 != 4 {
		return IPv4{}, ErrVersion
	}
	ff := binary.BigEndian.Uint16(b[6:])
	h := IPv4{
		HeaderLen:  int(b[0]&15) * 4,
		TOS:        b[1],
		TotalLen:   int(binary.BigEndian.Uint16(b[2:])),
		ID:         binary.BigEndian.Uint16(b[4:]),
		DF:         ff&flagDF != 0,
		MF:         ff&flagMF != 0,
		FragOffset: int(ff&offsetMask) * 8,
		TTL:        b[8],
		Protocol:   b[9],
		Src:        netip.AddrFrom4([4]byte(b[12:16])),
		Dst:        netip.AddrFrom4([4]byte(b[16:20])),
	}
	if h.HeaderLen < ipv4HeaderLen || h.TotalLen < h.HeaderLen {
		return h, ErrLength
	}
	if h.HeaderLen > len(b) {
		return h, ErrShort
	}
	return h, nil
}

// IsFragment reports whether the header is one of a fragment: MF set or an
// offset other than zero.
func (h *IPv4) IsFragment() bool { return h.MF || h.FragOffset != 0 }

// IsFragment reports whether packet begins with the header of an IPv4
// fragment. It is false for what is no IPv4 packet.
func IsFragment(packet []byte) bool {
	h, err := parseIPv4Header(packet)
	return err == nil && h.IsFragment()
}

// AppendIPv4 appends a header without options for a payload of n octets, with
// its checksum. HeaderLen and TotalLen of h are ignored. It refuses addresses
// other than IPv4 and a total above 65535.
func AppendIPv4(dst []byte, h *IPv4, n int) ([]byte, error) {
	if !h.Src.Is4() || !h.Dst.Is4() {
		return dst, ErrAddress
	}
	if n < 0 || n > maxDatagram-ipv4HeaderLen {
		return dst, ErrTooBig
	}
	off := len(dst)
	dst = append(dst, make([]byte, ipv4HeaderLen)...)
	putIPv4(dst[off:], h, ipv4HeaderLen+n)
	return dst, nil
}

// putIPv4 writes a 20-octet header at the start of b.
func putIPv4(b []byte, h *IPv4, total int) {
	b = b[:ipv4HeaderLen]
	b[0] = 4<<4 | ipv4HeaderLen/4
	b[1] = h.TOS
	binary.BigEndian.PutUint16(b[2:], uint16(total))
	binary.BigEndian.PutUint16(b[4:], h.ID)
	ff := uint16(h.FragOffset/8) & offsetMask
	if h.DF {
		ff |= flagDF
	}
	if h.MF {
		ff |= flagMF
	}
	binary.BigEndian.PutUint16(b[6:], ff)
	b[8] = h.TTL
	b[9] = h.Protocol
	b[10], b[11] = 0, 0
	src, dst := h.Src.As4(), h.Dst.As4()
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	binary.BigEndian.PutUint16(b[10:], Checksum(b))
}

// AppendUDP appends a whole IPv4 packet with a UDP datagram, checksums
// included. TTL 0 means 64; Protocol, Src and Dst of h are replaced.
func AppendUDP(dst []byte, h IPv4, from, to netip.AddrPort, payload []byte) ([]byte, error) {
	h.Src, h.Dst, h.Protocol = from.Addr(), to.Addr(), protoUDP
	if h.TTL == 0 {
		h.TTL = defaultTTL
	}
	dst, err := AppendIPv4(dst, &h, udpHeaderLen+len(payload))
	if err != nil {
		return dst, err
	}
	off := len(dst)
	dst = append(dst, make([]byte, udpHeaderLen)...)
	dst = append(dst, payload...)
	putUDP(dst[off:], from.Port(), to.Port(), h.Src, h.Dst, true)
	return dst, nil
}

// putUDP writes the header of the datagram d, whose payload is in place. With
// a zero checksum it says that none was computed (RFC 768).
func putUDP(d []byte, sport, dport uint16, src, dst netip.Addr, sum bool) {
	binary.BigEndian.PutUint16(d[0:], sport)
	binary.BigEndian.PutUint16(d[2:], dport)
	binary.BigEndian.PutUint16(d[4:], uint16(len(d)))
	d[6], d[7] = 0, 0
	if !sum {
		return
	}
	c := udpChecksum(d, src, dst)
	if c == 0 {
		// RFC 768: "If the computed checksum is zero, it is transmitted as all ones".
		c = 0xffff
	}
	binary.BigEndian.PutUint16(d[6:], c)
}

// udpChecksum sums the pseudo header and the datagram; over a valid datagram
// the result is 0.
func udpChecksum(d []byte, src, dst netip.Addr) uint16 {
	s, t := src.As4(), dst.As4()
	sum := add(add(0, s[:]), t[:]) + protoUDP + uint64(len(d))
	return fold(add(sum, d))
}

// UDPDatagram is the UDP part of an IPv4 packet.
type UDPDatagram struct {
	Src, Dst netip.AddrPort
	Payload  []byte // aliases the packet
}

// ParseUDP reads a whole IPv4 packet that holds a UDP datagram and verifies
// both checksums; a zero UDP checksum is none. Fragments give ErrFragment,
// other protocols ErrProtocol.
//
//rfc:5944#3.1
//rfc:5944#3.1-5
//rfc:5944#3.1-6
//rfc:5944#3.6.2.1-1
func ParseUDP(packet []byte) (IPv4, UDPDatagram, error) {
	h, err := ParseIPv4(packet)
	if err != nil {
		return h, UDPDatagram{}, err
	}
	if h.Protocol != protoUDP {
		return h, UDPDatagram{}, ErrProtocol
	}
	if h.IsFragment() {
		return h, UDPDatagram{}, ErrFragment
	}
	d := packet[h.HeaderLen:h.TotalLen]
	if len(d) < udpHeaderLen {
		return h, UDPDatagram{}, ErrShort
	}
	n := int(binary.BigEndian.Uint16(d[4:]))
	if n < udpHeaderLen {
		return h, UDPDatagram{}, ErrLength
	}
	if n > len(d) {
		return h, UDPDatagram{}, ErrShort
	}
	d = d[:n]
	// RFC 5944 section 3.1: "a non-zero UDP checksum ... MUST be checked by the recipient".
	if (d[6] != 0 || d[7] != 0) && udpChecksum(d, h.Src, h.Dst) != 0 {
		return h, UDPDatagram{}, ErrChecksum
	}
	return h, UDPDatagram{
		Src:     netip.AddrPortFrom(h.Src, binary.BigEndian.Uint16(d[0:])),
		Dst:     netip.AddrPortFrom(h.Dst, binary.BigEndian.Uint16(d[2:])),
		Payload: d[udpHeaderLen:],
	}, nil
}

// DecrementTTL does what forwarding does to a packet: TTL minus one, checksum
// adjusted. It reports false, and changes nothing, when the packet must not be
// forwarded: RFC 2003 section 3.1, "If the resulting TTL in the inner IP header
// is 0, the datagram is discarded and an ICMP Time Exceeded message SHOULD be
// returned to the sender."
//
//rfc:2003#3.1
func DecrementTTL(packet []byte) bool {
	if len(packet) < ipv4HeaderLen || packet[8] <= 1 {
		return false
	}
	old := binary.BigEndian.Uint16(packet[8:])
	packet[8]--
	adjust(packet[10:12], old, binary.BigEndian.Uint16(packet[8:]))
	return true
}

// setTOS replaces the TOS octet of a packet and adjusts its checksum.
func setTOS(packet []byte, tos uint8) {
	old := binary.BigEndian.Uint16(packet[0:])
	packet[1] = tos
	adjust(packet[10:12], old, binary.BigEndian.Uint16(packet[0:]))
}
