package mip4

import "net/netip"

// RevocationSupport is the Revocation Support extension (RFC 3543 section 3.2). The Length "allows for a longer extension":
// octets beyond the sixth are ignored.
//
//	Type8=137 Length8=6 | I reserved15 | Timestamp32
type RevocationSupport struct {
	Inform    bool   // I: willing to use the I bit of revocation messages
	Timestamp uint32 // of the sender's clock; the RFC defines no unit, careof sends NTP seconds
}

// ExtNumber implements Payload.
func (*RevocationSupport) ExtNumber() (ExtType, uint8) { return ExtRevocationSupport, 0 }

// AppendBody implements Payload.
func (p *RevocationSupport) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *RevocationSupport) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:3543#3.2
func (p *RevocationSupport) layout(c *cursor) {
	c.bits(bit{"I", 0x80, &p.Inform})
	c.reserved(1)
	u32(c, "Timestamp", &p.Timestamp)
	if n := c.left(); !c.writing && n > 0 {
		c.reserved(n)
	}
}

// Revocation is the fixed part of message 7 (RFC 3543 section 3.3):
//
//	Type8=7 Reserved8 | A I reserved14 | HomeAddress32 | HomeDomain32 | ForeignDomain32 | RevocationId32
type Revocation struct {
	FromHomeAgent        bool // A: the sender serves the binding as its home agent
	Inform               bool // I
	HomeAddress          netip.Addr
	HomeDomainAddress    netip.Addr // the home agent
	ForeignDomainAddress netip.Addr // the foreign agent or the co-located care-of address
	Identifier           uint32     // the sender's clock, the same as in RevocationSupport
}

// MessageType implements Fixed.
func (*Revocation) MessageType() MessageType { return TypeRevocation }

// AppendFixed implements Fixed.
func (p *Revocation) AppendFixed(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseFixed implements Fixed.
func (p *Revocation) ParseFixed(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:3543#3.3
func (p *Revocation) layout(c *cursor) {
	typeOctet(c, TypeRevocation)
	c.reserved(1)
	c.bits(bit{"A", 0x80, &p.FromHomeAgent}, bit{"I", 0x40, &p.Inform})
	c.reserved(1)
	c.addr("Home Address", &p.HomeAddress)
	c.addr("Home Domain Address", &p.HomeDomainAddress)
	c.addr("Foreign Domain Address", &p.ForeignDomainAddress)
	u32(c, "Revocation Identifier", &p.Identifier)
}

// RevocationAck is the fixed part of message 15 (RFC 3543 section 3.4). Its I bit is the first bit of the field, while message 7
// has A there.
//
//	Type8=15 Reserved8 | I reserved15 | HomeAddress32 | RevocationId32
type RevocationAck struct {
	Inform      bool // I
	HomeAddress netip.Addr
	Identifier  uint32 // copied from the Revocation
}

// MessageType implements Fixed.
func (*RevocationAck) MessageType() MessageType { return TypeRevocationAck }

// AppendFixed implements Fixed.
func (p *RevocationAck) AppendFixed(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseFixed implements Fixed.
func (p *RevocationAck) ParseFixed(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:3543#3.4
func (p *RevocationAck) layout(c *cursor) {
	typeOctet(c, TypeRevocationAck)
	c.reserved(1)
	c.bits(bit{"I", 0x80, &p.Inform})
	c.reserved(1)
	c.addr("Home Address", &p.HomeAddress)
	u32(c, "Revocation Identifier", &p.Identifier)
}
