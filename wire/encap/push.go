package encap

import (
	"encoding/binary"
)

// Push encapsulates the IPv4 packet buf[off:off+n] in place and returns where
// the result begins and how long it is. buf needs h.Overhead() octets free in
// front of off; Headroom is always enough. On an error buf is unchanged.
//
// The outer TOS and DF follow from the packet (EncapTOS, OuterDF), IP options
// of the packet are not copied to an outer header, and the TTL of the packet
// is left alone: RFC 2003 section 3.1, "otherwise, the inner header TTL is not
// changed during encapsulation". The caller that forwards decrements it first.
//
// Errors: ErrTTL ("An encapsulator MUST NOT encapsulate a datagram with TTL =
// 0."), ErrFragment (minimal encapsulation of a fragment), ErrTooBig,
// ErrHeadroom, ErrAddress, ErrProtocol (a kind that is not known), and what a
// packet that is not IPv4 gives.
//
//rfc:2003#3.1
//rfc:2784#2
//rfc:3519#4.2
func Push(h *Header, buf []byte, off, n int) (newOff, newLen int, err error) {
	in, err := pushable(h, buf, off, n)
	if err != nil {
		return off, n, err
	}
	if !h.Src.Is4() || !h.Dst.Is4() {
		return off, n, ErrAddress
	}
	n = in.TotalLen
	if h.content() == Minimal {
		return pushMinimal(h, &in, buf, off, n)
	}
	over := h.Overhead()
	if over > off {
		return off, n, ErrHeadroom
	}
	if n+over > maxDatagram {
		return off, n, ErrTooBig
	}
	start := off
	if h.content() == GRE {
		start -= h.greLen()
		putGRE(h, buf[start:off+n])
	}
	outer := IPv4{
		TOS: EncapTOS(in.TOS),
		ID:  h.ID,
		DF:  OuterDF(in.DF, h.DF),
		TTL: h.TTL, Protocol: uint8(h.Kind),
		Src: h.Src, Dst: h.Dst,
	}
	if outer.TTL == 0 {
		outer.TTL = defaultTTL
	}
	if h.Kind == UDP {
		start -= udpHeaderLen + tunnelDataLen
		putTunnelData(buf[start+udpHeaderLen:], h.content())
		putUDP(buf[start:off+n], h.SrcPort, h.DstPort, h.Src, h.Dst, h.Checksum)
	}
	start -= ipv4HeaderLen
	putIPv4(buf[start:], &outer, off+n-start)
	return start, off + n - start, nil
}

// PushUDP is Push for a UDP socket: it makes the payload of a datagram, the
// Tunnel Data message (RFC 3519 section 3.3), and leaves the outer IP and UDP
// headers to the socket. h.Kind is UDP. The result may begin behind off, for
// minimal encapsulation takes the IP header away: what the RFC keeps in the
// outer header (TTL, TOS, identification) is the socket's then, and a packet
// with options gives ErrOptions.
//
//rfc:3519#3.3
func PushUDP(h *Header, buf []byte, off, n int) (newOff, newLen int, err error) {
	if h.Kind != UDP {
		return off, n, ErrProtocol
	}
	in, err := pushable(h, buf, off, n)
	if err != nil {
		return off, n, err
	}
	end := off + in.TotalLen
	switch h.content() {
	case IPIP:
		if off < tunnelDataLen {
			return off, n, ErrHeadroom
		}
		if in.TotalLen+h.Overhead() > maxDatagram {
			return off, n, ErrTooBig
		}
		off -= tunnelDataLen
	case GRE:
		g := h.greLen()
		if off < tunnelDataLen+g {
			return off, n, ErrHeadroom
		}
		if in.TotalLen+h.Overhead() > maxDatagram {
			return off, n, ErrTooBig
		}
		putGRE(h, buf[off-g:end])
		off -= g + tunnelDataLen
	case Minimal:
		if in.HeaderLen != ipv4HeaderLen {
			return off, n, ErrOptions
		}
		if in.TotalLen+h.Overhead() > maxDatagram {
			return off, n, ErrTooBig
		}
		m := minimalLen(h, &in)
		off += ipv4HeaderLen - m
		putMinimal(buf[off:], &in, m)
		off -= tunnelDataLen
	}
	putTunnelData(buf[off:], h.content())
	return off, end - off, nil
}

// Append appends the encapsulated inner packet to dst, for callers that have
// no head-room. It changes neither h nor inner.
func Append(dst []byte, h *Header, inner []byte) ([]byte, error) {
	return appendPushed(dst, h, inner, Push)
}

// AppendTunnelData appends the payload of a UDP datagram that carries inner: PushUDP
// for callers that have no head-room.
func AppendTunnelData(dst []byte, h *Header, inner []byte) ([]byte, error) {
	return appendPushed(dst, h, inner, PushUDP)
}

func appendPushed(dst []byte, h *Header, inner []byte, push func(*Header, []byte, int, int) (int, int, error)) ([]byte, error) {
	base := len(dst)
	var room [Headroom]byte
	dst = append(append(dst, room[:]...), inner...)
	off, n, err := push(h, dst, base+Headroom, len(inner))
	if err != nil {
		return dst[:base], err
	}
	copy(dst[base:], dst[off:off+n])
	return dst[:base+n], nil
}

// pushable checks the packet that is to be encapsulated and the kind.
//
//rfc:2003#3.1-3
//rfc:2004#3-1
func pushable(h *Header, buf []byte, off, n int) (IPv4, error) {
	if off < 0 || n < 0 || off > len(buf) || n > len(buf)-off {
		return IPv4{}, ErrShort
	}
	in, err := parseIPv4Header(buf[off : off+n])
	if err != nil {
		return in, err
	}
	if in.TotalLen > n {
		return in, ErrShort
	}
	if in.TTL == 0 {
		return in, ErrTTL
	}
	switch h.content() {
	case IPIP, GRE:
	case Minimal:
		// RFC 2004 section 3: "Minimal encapsulation MUST NOT be used when an
		// original datagram is already fragmented, since there is no room in
		// the minimal forwarding header to store fragmentation information."
		if in.IsFragment() {
			return in, ErrFragment
		}
	default:
		return in, ErrProtocol
	}
	return in, nil
}

// pushMinimal inserts the minimal forwarding header behind the IP header and
// rewrites that: there is no second one. Under UDP the same header carries the
// UDP and Tunnel Data headers first (RFC 3519 section 4.3, read backwards).
//
//rfc:2004#3
func pushMinimal(h *Header, in *IPv4, buf []byte, off, n int) (int, int, error) {
	m := minimalLen(h, in)
	over := m
	if h.Kind == UDP {
		over += udpHeaderLen + tunnelDataLen
	}
	if over > off {
		return off, n, ErrHeadroom
	}
	if n+over > maxDatagram {
		return off, n, ErrTooBig
	}
	start, end := off-over, off+n
	copy(buf[start:], buf[off:off+in.HeaderLen])
	p := buf[start:end]
	putMinimal(p[in.HeaderLen+over-m:], in, m)
	// "The Protocol field in the IP header is replaced by protocol number 55",
	// or 17, the Destination Address "by the IP address of the exit point of
	// the tunnel" and, "if the encapsulator is not the original source of the
	// datagram", the Source Address by that of the encapsulator.
	p[9] = uint8(h.Kind)
	src, dst := h.Src.As4(), h.Dst.As4()
	copy(p[12:], src[:])
	copy(p[16:], dst[:])
	binary.BigEndian.PutUint16(p[2:], uint16(n+over))
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], Checksum(p[:in.HeaderLen]))
	if h.Kind == UDP {
		d := p[in.HeaderLen:]
		putTunnelData(d[udpHeaderLen:], Minimal)
		putUDP(d, h.SrcPort, h.DstPort, h.Src, h.Dst, h.Checksum)
	}
	return start, n + over, nil
}

// minimalLen is 8 when the encapsulator is the original source, else 12.
func minimalLen(h *Header, in *IPv4) int {
	if h.Src == in.Src {
		return minimalShortLen
	}
	return minimalLongLen
}

// putMinimal writes a minimal forwarding header of m octets:
// Protocol, S, Header Checksum, Original Destination, Original Source if S.
func putMinimal(b []byte, in *IPv4, m int) {
	b = b[:m]
	b[0] = in.Protocol
	b[1], b[2], b[3] = 0, 0, 0
	dst := in.Dst.As4()
	copy(b[4:], dst[:])
	if m == minimalLongLen {
		b[1] = minimalS
		src := in.Src.As4()
		copy(b[8:], src[:])
	}
	// "The IP header and IP payload (after the minimal forwarding header) are
	// not included in this checksum computation."
	binary.BigEndian.PutUint16(b[2:], Checksum(b))
}

// putTunnelData writes Type 4, Next Header, Reserved ("MUST be set to 0 on sending").
func putTunnelData(b []byte, next Kind) {
	b[0], b[1], b[2], b[3] = TunnelDataType, uint8(next), 0, 0
}

// putGRE writes the GRE header at the start of b, whose rest is the payload:
// C K S, Protocol Type 0x0800, then checksum, key, sequence in this order.
//
//rfc:2784#2.1
//rfc:2890#2
//rfc:2784#2.6-1
//rfc:2784#3-1
func putGRE(h *Header, b []byte) {
	var flags uint16
	o := greHeaderLen
	if h.greChecksum() {
		flags |= greC
		o += greOptionLen
	}
	if h.HasKey {
		flags |= greK
		binary.BigEndian.PutUint32(b[o:], h.Key)
		o += greOptionLen
	}
	if h.HasSeq {
		flags |= greS
		binary.BigEndian.PutUint32(b[o:], h.Seq)
	}
	binary.BigEndian.PutUint16(b[0:], flags)
	binary.BigEndian.PutUint16(b[2:], etherTypeIPv4)
	if flags&greC != 0 {
		// Section 2.5: the sum "of the all the 16 bit words in the GRE header
		// and the payload packet", with the field 0; Reserved1 is sent 0.
		binary.BigEndian.PutUint32(b[greHeaderLen:], 0)
		binary.BigEndian.PutUint16(b[greHeaderLen:], Checksum(b))
	}
}
