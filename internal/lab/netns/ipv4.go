package netns

import (
	"encoding/binary"
	"net/netip"
)

const (
	protocolICMP = 1

	icmpEchoReply    = 0
	icmpUnreachable  = 3
	icmpEchoRequest  = 8
	icmpTimeExceeded = 11

	codeNet    = 0 // destination unreachable: no route
	codeHost   = 1 // no answer to ARP
	codeTooBig = 4 // fragmentation needed and DF set

	flagMoreFragments = 0x2000
	flagDontFragment  = 0x4000
)

// checksum is the Internet checksum (RFC 1071) of b, whose own checksum field is zero; it is zero over a correct header.
func checksum(b []byte) uint16 {
	var s uint32
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return ^uint16(s)
}

// validIPv4 checks a header as RFC 1812, section 5.2.2 asks of a router and cuts off link-layer padding.
//
//rfc:1812#5.2.2
func validIPv4(b []byte) ([]byte, bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return nil, false
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < 20 || total < header || len(b) < total || checksum(b[:header]) != 0 {
		return nil, false
	}
	return b[:total], true
}

func destinationOf(pkt []byte) netip.Addr { return netip.AddrFrom4([4]byte(pkt[16:20])) }
func sourceOf(pkt []byte) netip.Addr      { return netip.AddrFrom4([4]byte(pkt[12:16])) }

// sealIPv4 writes the header checksum.
func sealIPv4(pkt []byte) {
	header := pkt[:int(pkt[0]&15)*4]
	header[10], header[11] = 0, 0
	binary.BigEndian.PutUint16(header[10:], checksum(header))
}

// newIPv4 builds a packet with a plain header and TTL 64.
func newIPv4(protocol uint8, src, dst netip.Addr, payload []byte) []byte {
	pkt := make([]byte, 20, 20+len(payload))
	pkt[0], pkt[8], pkt[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(pkt[2:], uint16(20+len(payload)))
	copy(pkt[12:], src.AsSlice())
	copy(pkt[16:], dst.AsSlice())
	sealIPv4(pkt)
	return append(pkt, payload...)
}

// icmpError builds the ICMP error about a packet, nil where none may be sent: RFC 1122, section 3.2.2 excludes errors
// about ICMP errors, later fragments, broadcasts and multicasts, and sources that are no single host.
//
//rfc:1122#3.2.2
func icmpError(from netip.Addr, kind, code uint8, rest uint32, about []byte) []byte {
	if about == nil || binary.BigEndian.Uint16(about[6:])&0x1fff != 0 {
		return nil
	}
	src, dst := sourceOf(about), destinationOf(about)
	if src.IsUnspecified() || src.IsMulticast() || src.IsLoopback() || dst.IsMulticast() || dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return nil
	}
	header := int(about[0]&15) * 4
	if about[9] == protocolICMP && (len(about) <= header || about[header] != icmpEchoRequest && about[header] != icmpEchoReply) {
		return nil
	}
	// RFC 1812, section 4.3.2.3: as much as fits into 576 octets.
	quote := about[:min(len(about), 576-28)]
	icmp := make([]byte, 8, 8+len(quote))
	icmp[0], icmp[1] = kind, code
	binary.BigEndian.PutUint32(icmp[4:], rest)
	icmp = append(icmp, quote...)
	binary.BigEndian.PutUint16(icmp[2:], checksum(icmp))
	return newIPv4(protocolICMP, from, src, icmp)
}

// fragment cuts a packet into pieces of at most mtu octets (RFC 791, section 3.2). Options that must not be copied are
// copied all the same: the laboratory sends none.
//
//rfc:791#3.2
func fragment(pkt []byte, mtu int) [][]byte {
	header := int(pkt[0]&15) * 4
	step := (mtu - header) &^ 7
	if step <= 0 {
		return nil
	}
	flags := binary.BigEndian.Uint16(pkt[6:])
	payload := pkt[header:]
	var pieces [][]byte
	for at := 0; at < len(payload); at += step {
		end := min(at+step, len(payload))
		piece := append(append(make([]byte, 0, header+end-at), pkt[:header]...), payload[at:end]...)
		field := flags + uint16(at/8)
		if end < len(payload) {
			field |= flagMoreFragments
		}
		binary.BigEndian.PutUint16(piece[2:], uint16(len(piece)))
		binary.BigEndian.PutUint16(piece[6:], field)
		sealIPv4(piece)
		pieces = append(pieces, piece)
	}
	return pieces
}
