package encap

import "net/netip"

// ECN codepoints, the low two bits of TOS (RFC 3168 section 5).
const (
	ecnMask = 3
	notECT  = 0
	ect1    = 1
	ect0    = 2
	ce      = 3
)

// EncapTOS is the TOS of the outer header for a packet with the given one.
// RFC 2003 section 3.1: "The Type of Service (TOS) is copied from the inner IP
// header." RFC 6040 section 4.1, normal mode: an encapsulator "MUST construct
// the outer encapsulating IP header by copying the two-bit ECN field of the
// incoming IP header".
//
//rfc:6040#4.1
//rfc:2003#3.1
func EncapTOS(inner uint8) uint8 { return inner }

// decapECN is figure 4 of RFC 6040: inner codepoint (row) and outer codepoint
// (column), both by value, to the outgoing one. A negative entry is <drop>.
var decapECN = [4][4]int8{
	//        outer Not-ECT ECT(1)  ECT(0)  CE
	notECT: {notECT, notECT, notECT, -1},
	ect1:   {ect1, ect1, ect1, ce},
	ect0:   {ect0, ect1, ect0, ce},
	ce:     {ce, ce, ce, ce},
}

// DecapTOS is the TOS of a packet after decapsulation: the inner DSCP, and the
// ECN field of RFC 6040 section 4.2. ok is false when the packet must be
// dropped: "If the inner ECN field is Not-ECT and the outer ECN field is CE,
// the decapsulator MUST drop the packet."
//
//rfc:6040#4.2
func DecapTOS(outer, inner uint8) (tos uint8, ok bool) {
	e := decapECN[inner&ecnMask][outer&ecnMask]
	if e < 0 {
		return inner, false
	}
	return inner&^ecnMask | uint8(e), true
}

// SetECN writes the result of DecapTOS into a decapsulated packet, header
// checksum included. It returns ErrCongestion for a packet to be dropped.
// Minimal encapsulation needs no call: its packet travels with its own TOS,
// so a mark on the way is in it already.
func SetECN(h *Header, inner []byte) error {
	if h.content() == Minimal {
		return nil
	}
	if len(inner) < ipv4HeaderLen {
		return ErrShort
	}
	tos, ok := DecapTOS(h.TOS, inner[1])
	if !ok {
		return ErrCongestion
	}
	if tos != inner[1] {
		setTOS(inner, tos)
	}
	return nil
}

// OuterDF is the Don't Fragment bit of the outer header. RFC 2003 section 3.1:
// "if the "Don't Fragment" bit is set in the inner IP header, it MUST be set in
// the outer IP header; if the "Don't Fragment" bit is not set in the inner IP
// header, it MAY be set in the outer IP header". always is that MAY.
//
//rfc:2003#3.1
//rfc:2003#3.1-1
func OuterDF(inner, always bool) bool { return inner || always }

// Loops reports whether a packet must not enter a tunnel. RFC 2003 section
// 3.2: "If the IP Source Address of the datagram matches the router's own IP
// address on any of its network interfaces, the router MUST NOT tunnel the
// datagram", and the same when it "matches the IP address of the tunnel
// destination". own may be nil. A node that tunnels what it sends itself (a
// mobile node) leaves its home address out of own.
//
//rfc:2003#3.2
//rfc:2004#4
func Loops(src, tunnelDst netip.Addr, own func(netip.Addr) bool) bool {
	return src == tunnelDst || own != nil && own(src)
}

// CameBack reports whether a packet that a home agent intercepted for a mobile
// node is one that it had tunnelled before. RFC 5944 section 4.2.3: when the
// inner destination is the outer one, and "this outer Source Address is the
// same as the mobile node's current care-of address, the home agent MUST
// silently discard that datagram in order to prevent a likely routing loop".
// All other packets that are encapsulated already are tunnelled like any other.
//
//rfc:5944#4.2.3
func CameBack(packet []byte, careOf netip.Addr) bool {
	outer, err := ParseIPv4(packet)
	if err != nil || outer.Src != careOf || outer.IsFragment() {
		return false
	}
	_, dst, ok := innerAddrs(packet[:outer.TotalLen], &outer)
	return ok && dst == outer.Dst
}
