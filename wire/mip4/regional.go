package mip4

import "net/netip"

// RegionalRequest is the fixed part of message 18 (RFC 4857 section 10.1): a Registration Request with the gateway foreign agent
// in the Home Agent field. Section 10.1 allows an all-ones care-of address where section 6 has zero: careof sends
// zero.
type RegionalRequest RegistrationRequest

// MessageType implements Fixed.
func (*RegionalRequest) MessageType() MessageType { return TypeRegionalRequest }

// AppendFixed implements Fixed.
func (p *RegionalRequest) AppendFixed(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseFixed implements Fixed.
func (p *RegionalRequest) ParseFixed(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:4857#10.1
func (p *RegionalRequest) layout(c *cursor) { (*RegistrationRequest)(p).as(c, TypeRegionalRequest) }

// RegionalReply is the fixed part of message 19 (RFC 4857 section 10.2): a Registration Reply with the gateway foreign agent in
// the Home Agent field.
type RegionalReply RegistrationReply

// MessageType implements Fixed.
func (*RegionalReply) MessageType() MessageType { return TypeRegionalReply }

// AppendFixed implements Fixed.
func (p *RegionalReply) AppendFixed(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseFixed implements Fixed.
func (p *RegionalReply) ParseFixed(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:4857#10.2
func (p *RegionalReply) layout(c *cursor) { (*RegistrationReply)(p).as(c, TypeRegionalReply) }

// GFAAddress is the GFA IP Address extension (RFC 4857 section 9.1).
//
//	Type8=46 Length8=6 Reserved16 Address32
type GFAAddress struct{ Address netip.Addr }

// ExtNumber implements Payload.
func (*GFAAddress) ExtNumber() (ExtType, uint8) { return ExtGFAAddress, 0 }

// AppendBody implements Payload.
func (p *GFAAddress) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *GFAAddress) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:4857#9.1
func (p *GFAAddress) layout(c *cursor) {
	c.reserved(2)
	c.addr("GFA IP Address", &p.Address)
}

// HierarchicalFA is the Hierarchical Foreign Agent extension (RFC 4857 section 9.2).
//
//	Type8=140 Length8=6 Reserved16 Address32
type HierarchicalFA struct{ Address netip.Addr }

// ExtNumber implements Payload.
func (*HierarchicalFA) ExtNumber() (ExtType, uint8) { return ExtHierarchicalFA, 0 }

// AppendBody implements Payload.
func (p *HierarchicalFA) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *HierarchicalFA) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:4857#9.2
func (p *HierarchicalFA) layout(c *cursor) {
	c.reserved(2)
	c.addr("FA IP Address", &p.Address)
}

// ReplayProtection is the style in a ReplayStyle extension; the numbers differ from those of KeyReplay.
type ReplayProtection uint16

// The styles (RFC 4857 section 9.3).
const (
	ReplayTimestamp ReplayProtection = 0
	ReplayNonce     ReplayProtection = 1
)

var replayProtectionNames = [...]string{0: "timestamp", 1: "nonce"}

// String names the style.
func (v ReplayProtection) String() string {
	return named("ReplayProtection", replayProtectionNames[:], v)
}

// ReplayStyle is the Replay Protection Style extension (RFC 4857 section 9.3). The RFC prints Length 2 but draws ten octets of
// data; careof sends and expects 10.
//
//	Type8=141 Length8=10 Style16 InitialIdentification64
type ReplayStyle struct {
	Style          ReplayProtection
	Identification uint64
}

// ExtNumber implements Payload.
func (*ReplayStyle) ExtNumber() (ExtType, uint8) { return ExtReplayStyle, 0 }

// AppendBody implements Payload.
func (p *ReplayStyle) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *ReplayStyle) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:4857#9.3
func (p *ReplayStyle) layout(c *cursor) {
	u16(c, "Replay Protection Style", &p.Style)
	c.identification("Initial Identification", &p.Identification)
}

// RegionalLifetime is the Regional Registration Lifetime extension (RFC 4857 section 9.4). The field has 32 bits, infinity is
// printed as 0xffff: 0xffff and 0xffffffff both mean it, see Infinite.
//
//	Type8=142 Length8=6 Reserved16 Lifetime32
type RegionalLifetime struct{ Lifetime uint32 } // seconds

// Infinite reports whether the lifetime does not end.
func (p RegionalLifetime) Infinite() bool { return p.Lifetime == 0xffff || p.Lifetime == 0xffffffff }

// ExtNumber implements Payload.
func (*RegionalLifetime) ExtNumber() (ExtType, uint8) { return ExtRegionalLifetime, 0 }

// AppendBody implements Payload.
func (p *RegionalLifetime) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *RegionalLifetime) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:4857#9.4
func (p *RegionalLifetime) layout(c *cursor) {
	c.reserved(2)
	u32(c, "Regional Registration Lifetime", &p.Lifetime)
}
