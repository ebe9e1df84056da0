package mip4

import "net/netip"

// IPv6LinkLocal is the prefix length that says that the field holds a link-local address (RFC 5454 section 2.1).
const IPv6LinkLocal = 255

// IPv6PrefixRequest is the IPv6 Prefix Request extension (RFC 5454 section 2.1). The text calls the length "a sixteen-byte field";
// it has 8 bits.
//
//	Type8=152 Length8=18 Sub8=1 PrefixLength8 Prefix128
type IPv6PrefixRequest struct {
	PrefixLength uint8 // 0 to 128, or IPv6LinkLocal
	Prefix       netip.Addr
}

// ExtNumber implements Payload.
func (*IPv6PrefixRequest) ExtNumber() (ExtType, uint8) { return ExtDualStack, 1 }

// AppendBody implements Payload.
func (p *IPv6PrefixRequest) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *IPv6PrefixRequest) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:5454#2.1
func (p *IPv6PrefixRequest) layout(c *cursor) {
	u8(c, "Prefix Length", &p.PrefixLength)
	c.addr6("Mobile IPv6 Network Prefix", &p.Prefix)
}

// IPv6PrefixCode answers one IPv6 prefix: 0-7 accepted, 8-255 rejected (RFC 5454 section 2.2).
type IPv6PrefixCode uint8

// The codes.
const (
	IPv6TunnelToHomeAddress   IPv6PrefixCode = 0
	IPv6TunnelToCareOfAddress IPv6PrefixCode = 1
	IPv6Rejected              IPv6PrefixCode = 8
	IPv6AdminProhibited       IPv6PrefixCode = 9
)

// Accepted reports whether the prefix is registered.
func (v IPv6PrefixCode) Accepted() bool { return v < 8 }

var ipv6PrefixCodeNames = [...]string{0: "accepted, tunnel to the home address", 1: "accepted, tunnel to the care-of address",
	8: "rejected, reason unspecified", 9: "rejected, administratively prohibited"}

// String names the code.
func (v IPv6PrefixCode) String() string { return named("IPv6PrefixCode", ipv6PrefixCodeNames[:], v) }

// IPv6PrefixReply is the IPv6 Prefix Reply extension (RFC 5454 section 2.2).
//
//	Type8=152 Length8=20 Sub8=2 Code8 PrefixLength8 Reserved8 Prefix128
type IPv6PrefixReply struct {
	Code         IPv6PrefixCode
	PrefixLength uint8
	Prefix       netip.Addr
}

// ExtNumber implements Payload.
func (*IPv6PrefixReply) ExtNumber() (ExtType, uint8) { return ExtDualStack, 2 }

// AppendBody implements Payload.
func (p *IPv6PrefixReply) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *IPv6PrefixReply) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:5454#2.2
func (p *IPv6PrefixReply) layout(c *cursor) {
	u8(c, "Code", &p.Code)
	u8(c, "Prefix Length", &p.PrefixLength)
	c.reserved(1)
	c.addr6("Mobile IPv6 Network Prefix", &p.Prefix)
}

// IPv6TunnelingMode is the IPv6 Tunneling Mode extension (RFC 5454 section 2.3): the mobile node prefers IPv6 to its care-of
// address.
//
//	Type8=152 Length8=2 Sub8=3 Reserved8
type IPv6TunnelingMode struct{}

// ExtNumber implements Payload.
func (*IPv6TunnelingMode) ExtNumber() (ExtType, uint8) { return ExtDualStack, 3 }

// AppendBody implements Payload.
func (p *IPv6TunnelingMode) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *IPv6TunnelingMode) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:5454#2.3
func (*IPv6TunnelingMode) layout(c *cursor) { c.reserved(1) }
