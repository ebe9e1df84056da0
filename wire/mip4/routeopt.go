package mip4

import "net/netip"

// RouteOptimizationCapability is the Mobile Router Route Optimization Capability extension (RFC 6521 section 5.1).
//
//	Type8=153 Length8=2|6 Sub8=1 | A R S O reserved4 | [HomeAddress32 with S]
type RouteOptimizationCapability struct {
	Advertise   bool       // A: the home agent may advertise my networks
	Request     bool       // R: send me the networks of the domain
	Solicit     bool       // S: send me those of the router HomeAddress
	Outbound    bool       // O: I cannot be reached from outside
	HomeAddress netip.Addr // only with Solicit
}

// ExtNumber implements Payload.
func (*RouteOptimizationCapability) ExtNumber() (ExtType, uint8) {
	return ExtRouteOptimizationCapability, 1
}

// AppendBody implements Payload.
func (p *RouteOptimizationCapability) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *RouteOptimizationCapability) ParseBody(b []byte) error {
	c := reading(b)
	p.layout(&c)
	return c.done()
}

//rfc:6521#5.1
func (p *RouteOptimizationCapability) layout(c *cursor) {
	c.bits(bit{"A", 0x80, &p.Advertise}, bit{"R", 0x40, &p.Request}, bit{"S", 0x20, &p.Solicit}, bit{"O", 0x10, &p.Outbound})
	if p.Solicit {
		c.addr("Optional Mobile Router HoA", &p.HomeAddress)
	}
}

// RouteOptimizationCode is the code in a RouteOptimizationReply: 0-15 assent, 16 and up not.
type RouteOptimizationCode uint8

// The codes (RFC 6521 section 5.2).
const (
	RouteOptimizationAccepted RouteOptimizationCode = 0
	RouteOptimizationDeclined RouteOptimizationCode = 16
)

var routeOptimizationCodeNames = [...]string{0: "will do route optimization", 16: "declined, reason unspecified"}

// String names the code.
func (v RouteOptimizationCode) String() string {
	return named("RouteOptimizationCode", routeOptimizationCodeNames[:], v)
}

// RouteOptimizationReply is the Route Optimization Reply extension (RFC 6521 section 5.2). The code is drawn with five bits,
// although values up to 63 are described; five bits are sent.
//
//	Type8=49 Length8=2 Sub8=1 | O N S Code5
type RouteOptimizationReply struct {
	Outbound bool // O
	NAT      bool // N: the home agent saw a NAT
	Solicit  bool // S
	Code     RouteOptimizationCode
}

// ExtNumber implements Payload.
func (*RouteOptimizationReply) ExtNumber() (ExtType, uint8) { return ExtRouteOptimization, 1 }

// AppendBody implements Payload.
func (p *RouteOptimizationReply) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *RouteOptimizationReply) ParseBody(b []byte) error {
	c := reading(b)
	p.layout(&c)
	return c.done()
}

//rfc:6521#5.2
func (p *RouteOptimizationReply) layout(c *cursor) {
	var v replyBits
	if c.writing {
		c.must(p.Code <= 0x1f)
		v = replyBits(p.Code)
		for i, f := range []bool{p.Outbound, p.NAT, p.Solicit} {
			if f {
				v |= 0x80 >> i
			}
		}
	}
	flags(c, "O N S Code", &v)
	*p = RouteOptimizationReply{v&0x80 != 0, v&0x40 != 0, v&0x20 != 0, RouteOptimizationCode(v & 0x1f)}
}

// replyBits is the octet of a RouteOptimizationReply, for display.
type replyBits uint8

// String names the flags and the code.
func (v replyBits) String() string {
	return flagNames("ONS-----", uint8(v)&0xe0) + "; " + RouteOptimizationCode(v&0x1f).String()
}

// MobileCorrespondentAuth is the Mobile-Correspondent Authentication extension (RFC 6521 section 5.3). CoveredCorrespondent gives
// the octets that the authenticator protects.
//
//	Type8=49 Length8 Sub8=2 Reserved8 | HomeNonceIndex16 CareOfNonceIndex16 | Authenticator (128 bits)
type MobileCorrespondentAuth struct {
	HomeNonceIndex   uint16
	CareOfNonceIndex uint16
	Authenticator    []byte
}

// ExtNumber implements Payload.
func (*MobileCorrespondentAuth) ExtNumber() (ExtType, uint8) { return ExtRouteOptimization, 2 }

// AppendBody implements Payload.
func (p *MobileCorrespondentAuth) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *MobileCorrespondentAuth) ParseBody(b []byte) error {
	c := reading(b)
	p.layout(&c)
	return c.done()
}

//rfc:6521#5.3
func (p *MobileCorrespondentAuth) layout(c *cursor) {
	c.reserved(1)
	u16(c, "Home Nonce Index", &p.HomeNonceIndex)
	u16(c, "Care-of Nonce Index", &p.CareOfNonceIndex)
	c.octets("Authenticator", &p.Authenticator)
	c.least(1, p.Authenticator)
}

// CoveredCorrespondent appends to b the octets that a MobileCorrespondentAuth at e protects: the UDP payload, "all prior
// extensions in their entirety, and the Type, Length, Home Nonce Index, and Care-of Nonce Index of this extension". The list has
// neither Subtype nor Reserved, so they are left out. ok is false when e is no such extension.
//
//rfc:6521#5.3
func (m *Message) CoveredCorrespondent(b []byte, e Ext) (covered []byte, ok bool) {
	if !e.is(ExtRouteOptimization, 2) || len(e.Body) < 5 || e.End > len(m.Raw) {
		return b, false
	}
	b = append(b, m.Raw[:e.Off+2]...)
	return append(b, e.Body[1:5]...), true
}

// CareOfAddresses is the Care-of Address extension (RFC 6521 section 5.4), in order of priority.
//
//	Type8=49 Length8=2+4n Sub8=3 Reserved8 | CareOfAddress32 n
type CareOfAddresses struct{ Addresses []netip.Addr }

// ExtNumber implements Payload.
func (*CareOfAddresses) ExtNumber() (ExtType, uint8) { return ExtRouteOptimization, 3 }

// AppendBody implements Payload.
func (p *CareOfAddresses) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *CareOfAddresses) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:6521#5.4
func (p *CareOfAddresses) layout(c *cursor) {
	c.reserved(1)
	if !c.writing {
		p.Addresses = make([]netip.Addr, (c.left()+3)/4)
	}
	for i := range p.Addresses {
		c.addr("Care-of Address", &p.Addresses[i])
	}
}

// HomeTestInit is message 24 (RFC 6521 section 5.6):
//
//	Type8=24 Reserved8 Cookie64
type HomeTestInit struct{ Cookie uint64 }

// MessageType implements Fixed.
func (*HomeTestInit) MessageType() MessageType { return TypeHomeTestInit }

// AppendFixed implements Fixed.
func (p *HomeTestInit) AppendFixed(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseFixed implements Fixed.
func (p *HomeTestInit) ParseFixed(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:6521#5.6
func (p *HomeTestInit) layout(c *cursor) {
	typeOctet(c, TypeHomeTestInit)
	c.reserved(1)
	c.hex64("Home Init Cookie", &p.Cookie)
}

// CareOfTestInit is message 25 (RFC 6521 section 5.7):
//
//	Type8=25 Reserved8 Cookie64
type CareOfTestInit struct{ Cookie uint64 }

// MessageType implements Fixed.
func (*CareOfTestInit) MessageType() MessageType { return TypeCareOfTestInit }

// AppendFixed implements Fixed.
func (p *CareOfTestInit) AppendFixed(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseFixed implements Fixed.
func (p *CareOfTestInit) ParseFixed(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:6521#5.7
func (p *CareOfTestInit) layout(c *cursor) {
	typeOctet(c, TypeCareOfTestInit)
	c.reserved(1)
	c.hex64("Care-of Init Cookie", &p.Cookie)
}

// HomeTest is message 26 (RFC 6521 section 5.8):
//
//	Type8=26 Reserved8 NonceIndex16 | Cookie64 | Token64
type HomeTest struct {
	NonceIndex uint16
	Cookie     uint64 // copied from the HomeTestInit
	Token      uint64 // home keygen token
}

// MessageType implements Fixed.
func (*HomeTest) MessageType() MessageType { return TypeHomeTest }

// AppendFixed implements Fixed.
func (p *HomeTest) AppendFixed(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseFixed implements Fixed.
func (p *HomeTest) ParseFixed(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:6521#5.8
func (p *HomeTest) layout(c *cursor) {
	typeOctet(c, TypeHomeTest)
	c.reserved(1)
	u16(c, "Nonce Index", &p.NonceIndex)
	c.hex64("Home Init Cookie", &p.Cookie)
	c.hex64("Home Keygen Token", &p.Token)
}

// CareOfTest is message 27 (RFC 6521 section 5.9):
//
//	Type8=27 Reserved8 NonceIndex16 | Cookie64 | Token64
type CareOfTest struct {
	NonceIndex uint16
	Cookie     uint64 // copied from the CareOfTestInit
	Token      uint64 // care-of keygen token
}

// MessageType implements Fixed.
func (*CareOfTest) MessageType() MessageType { return TypeCareOfTest }

// AppendFixed implements Fixed.
func (p *CareOfTest) AppendFixed(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseFixed implements Fixed.
func (p *CareOfTest) ParseFixed(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:6521#5.9
func (p *CareOfTest) layout(c *cursor) {
	typeOctet(c, TypeCareOfTest)
	c.reserved(1)
	u16(c, "Nonce Index", &p.NonceIndex)
	c.hex64("Care-of Init Cookie", &p.Cookie)
	c.hex64("Care-of Keygen Token", &p.Token)
}
