package mip4

import "net/netip"

// FastBindingUpdate is the fixed part of message 20 (RFC 4988 section 5.1), shaped like a Registration Request with a lifetime of
// 10 bits. The S and B flags "are sent as zero, and ignored on reception".
//
//	Type8=20 | x x D M G r T x | reserved6 Lifetime10 | HomeAddress32 | HomeAgent32 | CareOfAddress32 | Identification64
type FastBindingUpdate struct {
	Flags          RequestFlags
	Lifetime       uint16     // seconds, at most 10
	HomeAddress    netip.Addr // previous co-located care-of address, or the home address
	HomeAgent      netip.Addr // previous access router
	CareOfAddress  netip.Addr // new access router
	Identification uint64
}

// MessageType implements Fixed.
func (*FastBindingUpdate) MessageType() MessageType { return TypeFastBindingUpdate }

// AppendFixed implements Fixed.
func (p *FastBindingUpdate) AppendFixed(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseFixed implements Fixed.
func (p *FastBindingUpdate) ParseFixed(b []byte) error {
	c := reading(b)
	p.layout(&c)
	return c.done()
}

//rfc:4988#5.1
func (p *FastBindingUpdate) layout(c *cursor) {
	typeOctet(c, TypeFastBindingUpdate)
	flags(c, "Flags", &p.Flags)
	c.tenBits(&p.Lifetime)
	c.addr("Home Address", &p.HomeAddress)
	c.addr("Home Agent", &p.HomeAgent)
	c.addr("Care-of Address", &p.CareOfAddress)
	c.identification("Identification", &p.Identification)
}

// tenBits is a lifetime in the low ten bits of sixteen; the others are reserved.
func (c *cursor) tenBits(p *uint16) {
	if c.writing {
		c.must(*p <= 0x3ff)
	}
	u16(c, "Lifetime", p)
	*p &= 0x3ff
}

// FastBindingCode is the result of a fast binding update.
type FastBindingCode uint8

// The codes (RFC 4988 section 5.2).
const (
	FastBindingAccepted        FastBindingCode = 0
	FastBindingNewCareOf       FastBindingCode = 1 // a NewIPv4Address with code 2 follows
	FastBindingUnspecified     FastBindingCode = 128
	FastBindingAdminProhibited FastBindingCode = 129
	FastBindingNoResources     FastBindingCode = 130
)

var fastBindingCodeNames = [...]string{0: "accepted", 1: "accepted, new care-of address supplied", 128: "reason unspecified",
	129: "administratively prohibited", 130: "insufficient resources"}

// String names the code.
func (v FastBindingCode) String() string { return named("FastBindingCode", fastBindingCodeNames[:], v) }

// FastBindingAck is the fixed part of message 21 (RFC 4988 section 5.2):
//
//	Type8=21 Code8 | reserved6 Lifetime10 | HomeAddress32 | HomeAgent32 | Identification64
type FastBindingAck struct {
	Code           FastBindingCode
	Lifetime       uint16 // seconds
	HomeAddress    netip.Addr
	HomeAgent      netip.Addr
	Identification uint64
}

// MessageType implements Fixed.
func (*FastBindingAck) MessageType() MessageType { return TypeFastBindingAck }

// AppendFixed implements Fixed.
func (p *FastBindingAck) AppendFixed(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseFixed implements Fixed.
func (p *FastBindingAck) ParseFixed(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:4988#5.2
func (p *FastBindingAck) layout(c *cursor) {
	typeOctet(c, TypeFastBindingAck)
	u8(c, "Code", &p.Code)
	c.tenBits(&p.Lifetime)
	c.addr("Home Address", &p.HomeAddress)
	c.addr("Home Agent", &p.HomeAgent)
	c.identification("Identification", &p.Identification)
}

// NewAddressKind is the option code of a NewIPv4Address.
type NewAddressKind uint8

// The option codes (RFC 4988 section 6.2).
const (
	PreviousCareOf  NewAddressKind = 1
	NewCareOf       NewAddressKind = 2
	NewAccessRouter NewAddressKind = 3
)

var newAddressNames = [...]string{1: "previous care-of address", 2: "new care-of address", 3: "new access router"}

// String names the option code.
func (v NewAddressKind) String() string { return named("NewAddressKind", newAddressNames[:], v) }

// NewIPv4Address is the New IPv4 Address option (RFC 4988 section 6.2). It is an ICMP option with its length in units of 8 octets,
// which RFC 4988 also puts into message 21; it exists in messages 20 and 21 only, elsewhere 21 is an unknown extension.
//
//	Type8=21 Length8=1 OptionCode8 Reserved8 Address32
type NewIPv4Address struct {
	Kind    NewAddressKind
	Address netip.Addr
}

// ExtNumber implements Payload.
func (*NewIPv4Address) ExtNumber() (ExtType, uint8) { return ExtNewIPv4Address, 0 }

// AppendBody implements Payload.
func (p *NewIPv4Address) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *NewIPv4Address) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:4988#6.2
func (p *NewIPv4Address) layout(c *cursor) {
	u8(c, "Option-Code", &p.Kind)
	c.reserved(1)
	c.addr("New IPv4 Address", &p.Address)
}
