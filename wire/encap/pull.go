package encap

import (
	"encoding/binary"
	"net/netip"
)

// Bits of the first word of a GRE header.
const (
	greC        = 0x8000 // checksum present, RFC 2784 section 2.2
	greK        = 0x2000 // key present, RFC 2890 section 2
	greS        = 0x1000 // sequence number present, RFC 2890 section 2
	greReserved = 0x4c00 // bits 1, 4 and 5: routing present, strict source route, recursion control of RFC 1701
	greVersion  = 0x0007
)

// minimalS is the Original Source Address Present bit in the second octet.
const minimalS = 0x80

// etherTypeIPv4 is the GRE protocol type of an IPv4 payload.
const etherTypeIPv4 = 0x0800

// Pull decapsulates a whole outer IPv4 packet: protocols 4, 47 and 55, or UDP
// with port 434 at either end and a Tunnel Data message in it. inner aliases
// outer; minimal encapsulation rebuilds the IP header inside outer and so
// changes it. When outer is to be kept, pass a copy.
//
// Pull verifies all that the bytes can tell: lengths, checksums where present,
// reserved bits and versions, that the outer packet is no fragment, that inner
// is an IPv4 packet with a valid header checksum, cut to its Total Length, and
// that its TTL is not 0. Whether this tunnel exists, the caller must find out.
func Pull(outer []byte) (h Header, inner []byte, err error) {
	if len(outer) >= ipv4HeaderLen && outer[9] == protoUDP {
		ip, d, err := ParseUDP(outer)
		if err != nil {
			return h, nil, err
		}
		if d.Src.Port() != Port && d.Dst.Port() != Port {
			return h, nil, ErrProtocol
		}
		h = Header{
			Kind: UDP, Src: ip.Src, Dst: ip.Dst, SrcPort: d.Src.Port(), DstPort: d.Dst.Port(),
			TTL: ip.TTL, TOS: ip.TOS, ID: ip.ID, DF: ip.DF,
			Checksum: outer[ip.HeaderLen+6] != 0 || outer[ip.HeaderLen+7] != 0,
		}
		inner, err = pullTunnelData(&h, outer, ip.HeaderLen+udpHeaderLen, len(d.Payload), ip.HeaderLen)
		return h, inner, err
	}
	return PullIP(outer)
}

// PullIP decapsulates an outer IPv4 packet of protocol 4, 47 or 55, as a raw
// socket hands it up. See Pull for what is checked.
//
//rfc:2003#3.1
//rfc:2004#3
//rfc:2784#2
func PullIP(outer []byte) (h Header, inner []byte, err error) {
	ip, err := ParseIPv4(outer)
	if err != nil {
		return h, nil, err
	}
	h = Header{Kind: Kind(ip.Protocol), Src: ip.Src, Dst: ip.Dst, TTL: ip.TTL, TOS: ip.TOS, ID: ip.ID, DF: ip.DF}
	// Reassembly is the kernel's: what a tunnel header's rest holds is known
	// only when all of it is there.
	if ip.IsFragment() {
		return h, nil, ErrFragment
	}
	p := outer[ip.HeaderLen:ip.TotalLen]
	switch h.Kind {
	case IPIP:
		inner, err = checkInner(p)
	case GRE:
		inner, err = innerOfGRE(&h, p)
	case Minimal:
		inner, err = pullMinimal(outer, ip.HeaderLen, ip.TotalLen, ip.HeaderLen)
	default:
		err = ErrProtocol
	}
	return h, inner, err
}

// PullUDP decapsulates the payload of a UDP/434 datagram, buf[off:], whose
// first octet is 4. h tells what the socket knows of the outer headers (Src,
// Dst, ports, TTL, TOS, ID, DF) and gets Kind, Inner and the GRE fields.
//
// Minimal encapsulation has its IP header outside of the UDP header, so it is
// built again from h, in front of the payload: buf needs UDPHeadroom octets
// before off, else ErrHeadroom. A TTL that the socket could not tell (0)
// becomes 64.
//
//rfc:3519#3.3
//rfc:3519#4.3
func PullUDP(h *Header, buf []byte, off int) (inner []byte, err error) {
	if off < 0 || off > len(buf) {
		return nil, ErrShort
	}
	h.Kind, h.Inner, h.HasKey, h.HasSeq = UDP, 0, false, false
	return pullTunnelData(h, buf, off, len(buf)-off, 0)
}

// pullTunnelData takes off the Tunnel Data header at buf[off:off+n]. ipLen is
// the length of the outer IP header that buf begins with, 0 when the socket
// has taken it away.
func pullTunnelData(h *Header, buf []byte, off, n, ipLen int) ([]byte, error) {
	p := buf[off : off+n]
	if len(p) < tunnelDataLen {
		return nil, ErrShort
	}
	if p[0] != TunnelDataType {
		return nil, ErrProtocol
	}
	// The Reserved field: "MUST be ignored on reception".
	h.Inner = Kind(p[1])
	p = p[tunnelDataLen:]
	switch h.Inner {
	case IPIP:
		return checkInner(p)
	case GRE:
		return innerOfGRE(h, p)
	case Minimal:
		// "First, the UDP and the Mobile IP headers are removed from the
		// packet, and the Protocol field of the IP header replaced with the
		// Next Header field ... Third, ordinary minimal IP encapsulation
		// processing is done."
		if ipLen != 0 {
			// The length of the original is the IP header's; a UDP length that
			// disagrees would cut it.
			if off+n != int(binary.BigEndian.Uint16(buf[2:])) {
				return nil, ErrLength
			}
			return pullMinimal(buf, off+tunnelDataLen, off+n, ipLen)
		}
		return rebuildMinimal(h, buf, off+tunnelDataLen)
	}
	return nil, ErrProtocol
}

// checkInner validates a decapsulated packet and cuts it to its length. RFC
// 2003 section 3.1: "If, after decapsulation, the inner datagram has TTL = 0,
// the decapsulator MUST discard the datagram."
//
//rfc:2003#3.1-4
func checkInner(p []byte) ([]byte, error) {
	ip, err := ParseIPv4(p)
	if err != nil {
		return nil, err
	}
	if ip.TTL == 0 {
		return nil, ErrTTL
	}
	return p[:ip.TotalLen], nil
}

// innerOfGRE is the IPv4 packet in the GRE packet p. RFC 2784 section 3.1:
// "Care should be taken when forwarding such a packet, since if the destination
// address of the payload packet is the encapsulator of the packet (i.e., the
// other end of the tunnel), looping can occur. In this case, the packet MUST
// be discarded."
//
//rfc:2784#3.1
//rfc:2784#3.1-3
func innerOfGRE(h *Header, p []byte) ([]byte, error) {
	p, err := pullGRE(h, p)
	if err != nil {
		return nil, err
	}
	p, err = checkInner(p)
	if err != nil {
		return nil, err
	}
	if netip.AddrFrom4([4]byte(p[16:20])) == h.Src {
		return nil, ErrLoop
	}
	return p, nil
}

// pullGRE reads the GRE header at the start of p and returns the payload.
//
//rfc:2784#2.3
//rfc:2890#2
//rfc:2784#2.2-1
//rfc:2784#2.3-1
//rfc:2784#2.3.1-1
//rfc:2784#2.4-1
//rfc:2784#5.2-1
func pullGRE(h *Header, p []byte) ([]byte, error) {
	if len(p) < greHeaderLen {
		return nil, ErrShort
	}
	flags := binary.BigEndian.Uint16(p)
	// RFC 2784 section 2.3.1: "The Version Number field MUST contain the value zero."
	if flags&greVersion != 0 {
		return nil, ErrVersion
	}
	// Section 2.3: "A receiver MUST discard a packet where any of bits 1-5 are
	// non-zero, unless that receiver implements RFC 1701." Bits 2 and 3 are
	// the key and sequence bits of RFC 2890. "Bits 6-12 are reserved for future
	// use. These bits MUST be sent as zero and MUST be ignored on receipt."
	if flags&greReserved != 0 {
		return nil, ErrReserved
	}
	o := greHeaderLen
	if flags&greC != 0 {
		if len(p) < o+greOptionLen {
			return nil, ErrShort
		}
		// Section 2.5. Reserved1 is part of the sum and otherwise ignored
		// ("MUST be transmitted as zero", no word on reception).
		if Checksum(p) != 0 {
			return nil, ErrChecksum
		}
		o += greOptionLen
	}
	if flags&greK != 0 {
		if len(p) < o+greOptionLen {
			return nil, ErrShort
		}
		h.HasKey, h.Key = true, binary.BigEndian.Uint32(p[o:])
		o += greOptionLen
	}
	if flags&greS != 0 {
		if len(p) < o+greOptionLen {
			return nil, ErrShort
		}
		h.HasSeq, h.Seq = true, binary.BigEndian.Uint32(p[o:])
		o += greOptionLen
	}
	// Section 2.4: "An implementation receiving a packet containing a Protocol
	// Type which is not listed in [RFC1700] or [ETYPES] SHOULD discard the packet."
	if binary.BigEndian.Uint16(p[2:]) != etherTypeIPv4 {
		return nil, ErrProtocol
	}
	return p[o:], nil
}

// minimalHeader is a verified minimal forwarding header.
type minimalHeader struct {
	len      int
	protocol uint8
	dst, src [4]byte
	hasSrc   bool
}

// parseMinimal reads the header at the start of p.
func parseMinimal(p []byte) (m minimalHeader, err error) {
	if len(p) < minimalShortLen {
		return m, ErrShort
	}
	// "reserved: Sent as zero; ignored on reception."
	m.len, m.protocol = minimalShortLen, p[0]
	m.dst = [4]byte(p[4:8])
	if p[1]&minimalS != 0 {
		if len(p) < minimalLongLen {
			return m, ErrShort
		}
		m.len, m.hasSrc = minimalLongLen, true
		m.src = [4]byte(p[8:12])
	}
	if Checksum(p[:m.len]) != 0 {
		return m, ErrChecksum
	}
	return m, nil
}

// pullMinimal restores the original packet. RFC 2004 section 3: "the fields in
// the minimal forwarding header are restored to the IP header, and the
// forwarding header is removed". The IP header, the first ipLen octets of
// buf, is moved up to the payload; the minimal header is at at.
func pullMinimal(buf []byte, at, end, ipLen int) ([]byte, error) {
	m, err := parseMinimal(buf[at:end])
	if err != nil {
		return nil, err
	}
	if buf[8] == 0 {
		return nil, ErrTTL
	}
	start := at + m.len - ipLen
	copy(buf[start:], buf[:ipLen])
	p := buf[start:end]
	restoreMinimal(p, &m, ipLen)
	return p, nil
}

// restoreMinimal writes the original protocol, addresses, length and checksum
// into the header at the start of p.
func restoreMinimal(p []byte, m *minimalHeader, ipLen int) {
	p[9] = m.protocol
	if m.hasSrc {
		copy(p[12:], m.src[:])
	}
	copy(p[16:], m.dst[:])
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], Checksum(p[:ipLen]))
}

// rebuildMinimal restores a packet whose outer header only h knows.
func rebuildMinimal(h *Header, buf []byte, at int) ([]byte, error) {
	m, err := parseMinimal(buf[at:])
	if err != nil {
		return nil, err
	}
	if !h.Src.Is4() || !h.Dst.Is4() {
		return nil, ErrAddress
	}
	start := at + m.len - ipv4HeaderLen
	if start < 0 {
		return nil, ErrHeadroom
	}
	p := buf[start:]
	if len(p) > maxDatagram {
		return nil, ErrTooBig
	}
	ip := IPv4{TOS: h.TOS, ID: h.ID, DF: h.DF, TTL: h.TTL, Src: h.Src, Dst: h.Dst}
	if ip.TTL == 0 {
		ip.TTL = defaultTTL
	}
	putIPv4(p, &ip, len(p))
	restoreMinimal(p, &m, ipv4HeaderLen)
	return p, nil
}

// innerAddrs reads, without changing anything, the addresses of the packet
// that a tunnel packet of protocol 4, 47 or 55 holds.
func innerAddrs(packet []byte, outer *IPv4) (src, dst netip.Addr, ok bool) {
	p := packet[outer.HeaderLen:]
	var h Header
	var err error
	switch Kind(outer.Protocol) {
	case IPIP:
	case GRE:
		p, err = pullGRE(&h, p)
	case Minimal:
		m, err := parseMinimal(p)
		src = outer.Src
		if m.hasSrc {
			src = netip.AddrFrom4(m.src)
		}
		return src, netip.AddrFrom4(m.dst), err == nil
	default:
		return src, dst, false
	}
	if err != nil {
		return src, dst, false
	}
	in, err := ParseIPv4(p)
	return in.Src, in.Dst, err == nil
}
