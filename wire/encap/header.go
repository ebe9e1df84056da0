package encap

import "net/netip"

// Header is what the tunnel headers of one packet say, or shall say.
type Header struct {
	Kind  Kind // IPIP, Minimal, GRE or UDP
	Inner Kind // for Kind UDP: IPIP, GRE, Minimal or WireGuard; the zero value means IPIP

	Src, Dst         netip.Addr // tunnel ends, IPv4
	SrcPort, DstPort uint16     // for Kind UDP

	// TTL of the outer header. Push writes 64 for 0. Minimal encapsulation has
	// no TTL of its own: Push leaves the packet's, Pull reports it.
	TTL uint8
	// TOS of the outer header. Pull reports it (SetECN needs it); Push ignores
	// it and derives it from the packet.
	TOS uint8
	// ID is the outer identification. RFC 6864 section 4.1: of a datagram with
	// DF and no fragment "the originating source MAY set the IPv4 ID field of
	// atomic datagrams to any value"; of others it must be unique for a while,
	// so the caller counts. Minimal encapsulation keeps the packet's own.
	ID uint16
	// DF sets Don't Fragment on the outer header also when the packet does not
	// have it (RFC 2003 section 5.1). Pull reports the outer bit. Minimal
	// encapsulation keeps the packet's own.
	DF bool

	HasKey bool   // GRE K bit, RFC 2890
	Key    uint32 // GRE key
	HasSeq bool   // GRE S bit; never sent unless the caller asks
	Seq    uint32 // GRE sequence number

	// Checksum asks Push for the checksum that the form leaves optional: the C
	// bit of GRE, the UDP checksum. Pull has verified it where it was present.
	Checksum bool
}

// content is the innermost form: Kind, or what a UDP tunnel carries.
func (h *Header) content() Kind {
	if h.Kind != UDP {
		return h.Kind
	}
	if h.Inner == 0 {
		return IPIP
	}
	return h.Inner
}

// Overhead is the most octets that this header adds to a packet: the exact
// number, but for minimal encapsulation by the original source, which adds
// four less, and for WireGuard, which fills packets up to a multiple of 16.
func (h *Header) Overhead() int {
	n := 0
	if h.Kind == UDP && h.Inner == WireGuard {
		return ipv4HeaderLen + udpHeaderLen + wireGuardLen
	}
	if h.Kind == UDP {
		n = udpHeaderLen + tunnelDataLen
	}
	switch h.content() {
	case IPIP:
		return n + ipv4HeaderLen
	case GRE:
		return n + ipv4HeaderLen + h.greLen()
	case Minimal:
		// No second IP header: the packet's own is used (RFC 2004 section 3).
		return n + minimalLongLen
	}
	return 0
}

// greLen is the length of the GRE header.
func (h *Header) greLen() int {
	n := greHeaderLen
	if h.greChecksum() {
		n += greOptionLen
	}
	if h.HasKey {
		n += greOptionLen
	}
	if h.HasSeq {
		n += greOptionLen
	}
	return n
}

// greChecksum reports whether Push sets C: in a UDP tunnel the checksum asked
// for is UDP's, and a second one over the same octets would say nothing new.
func (h *Header) greChecksum() bool { return h.Checksum && h.Kind == GRE }
