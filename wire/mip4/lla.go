package mip4

import "net/netip"

// LinkLayerKind is the subtype of extension 138.
type LinkLayerKind uint8

// The subtypes (RFC 4881 section 9). Sections 9.1 to 9.7 print them as types; the type is 138 in messages, 140 in advertisements.
const (
	LinkLayer3GPP2IMSI   LinkLayerKind = 1 // ASCII imsi:connection
	LinkLayer3GPPIMSI    LinkLayerKind = 2
	LinkLayerEthernet    LinkLayerKind = 3 // 6 octets
	LinkLayerEUI64       LinkLayerKind = 4 // 8 octets
	LinkLayerSolicited   LinkLayerKind = 5 // IPv4 address of the agent that is solicited
	LinkLayerAccessPoint LinkLayerKind = 6 // 4 octets
	LinkLayerFA          LinkLayerKind = 7 // IPv4 address of the foreign agent
)

var linkLayerNames = [...]string{1: "3GPP2 IMSI", 2: "3GPP IMSI", 3: "Ethernet address", 4: "EUI-64", 5: "solicited IPv4 address",
	6: "access point identifier", 7: "FA IPv4 address"}

// linkLayerLength is the number of octets of an address; 0 is variable.
var linkLayerLength = [...]int{3: 6, 4: 8, 5: 4, 6: 4, 7: 4}

// String names the kind.
func (v LinkLayerKind) String() string { return named("LinkLayerKind", linkLayerNames[:], v) }

// LinkLayerAddress is the Generalized Link Layer and IPv4 Address extension (RFC 4881 section 9).
//
//	Type8=138 Length8=1+n Sub8 Address n
type LinkLayerAddress struct {
	Kind    LinkLayerKind
	Address []byte
}

// ExtNumber implements Payload.
func (p *LinkLayerAddress) ExtNumber() (ExtType, uint8) { return ExtLinkLayerAddress, uint8(p.Kind) }

// AppendBody implements Payload.
func (p *LinkLayerAddress) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *LinkLayerAddress) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

func (p *LinkLayerAddress) setSub(sub uint8) bool {
	p.Kind = LinkLayerKind(sub)
	return sub >= 1 && sub <= 7
}

//rfc:4881#9.1
//rfc:4881#9.2
//rfc:4881#9.3
//rfc:4881#9.4
//rfc:4881#9.5
//rfc:4881#9.6
//rfc:4881#9.7
func (p *LinkLayerAddress) layout(c *cursor) {
	c.octets("Address", &p.Address)
	want := linkLayerLength[p.Kind%LinkLayerKind(len(linkLayerLength))]
	if c.err == nil && (want != 0 && len(p.Address) != want || len(p.Address) == 0) {
		c.fail(ErrLength)
	}
}

// HandoffFlags are the flag bits of the handoff messages, first bit highest (RFC 4881 section 4.5).
type HandoffFlags uint8

// The flags: H N R M G T B.
const (
	HandoffH HandoffFlags = 0x80 // source triggered; with N: handoff to third
	HandoffN HandoffFlags = 0x40 // target triggered
	HandoffR HandoffFlags = 0x20 // renewal
	HandoffM HandoffFlags = 0x10 // minimal encapsulation
	HandoffG HandoffFlags = 0x08 // GRE
	HandoffT HandoffFlags = 0x04 // forward and reverse tunnel
	HandoffB HandoffFlags = 0x02 // the mobile node asked for a reverse tunnel to the home agent
)

// String names the flags that are set, in the order of the RFC.
func (v HandoffFlags) String() string { return flagNames("HNRMGTBr", uint8(v)) }

// HandoffRequest is the fixed part of message 16 (RFC 4881 section 4.5), also used as Handoff To Third (section 4.7):
//
//	Type8=16 | H N R M G T B reserved17 | Lifetime16 Reserved16 | HomeAddress32 | HomeAgent32 | Identification64
type HandoffRequest struct {
	Flags          HandoffFlags
	Lifetime       uint16 // seconds; 0 no tunnel, 0xffff infinite
	HomeAddress    netip.Addr
	HomeAgent      netip.Addr
	Identification uint64
}

// MessageType implements Fixed.
func (*HandoffRequest) MessageType() MessageType { return TypeHandoffRequest }

// AppendFixed implements Fixed.
func (p *HandoffRequest) AppendFixed(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseFixed implements Fixed.
func (p *HandoffRequest) ParseFixed(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:4881#4.5
func (p *HandoffRequest) layout(c *cursor) {
	typeOctet(c, TypeHandoffRequest)
	flags(c, "Flags", &p.Flags)
	c.reserved(2)
	c.seconds("Lifetime", &p.Lifetime)
	c.reserved(2)
	c.addr("MN Home Address", &p.HomeAddress)
	c.addr("HA Address", &p.HomeAgent)
	c.identification("Identification", &p.Identification)
}

// HandoffCode is the result of a handoff.
type HandoffCode uint8

// The codes (RFC 4881 section 10.3).
const (
	HandoffSuccess HandoffCode = 0
	HandoffFailed  HandoffCode = 1
)

var handoffCodeNames = [...]string{"success", "the handoff cannot be performed"}

// String names the code.
func (v HandoffCode) String() string { return named("HandoffCode", handoffCodeNames[:], v) }

// HandoffReply is the fixed part of message 17 (RFC 4881 section 4.6):
//
//	Type8=17 | H N R M G T B reserved9 | Code8 | Lifetime16 Reserved16 | HomeAddress32 | HomeAgent32 | Identification64
type HandoffReply struct {
	Flags          HandoffFlags
	Code           HandoffCode
	Lifetime       uint16 // seconds; 0 no tunnel, 0xffff infinite
	HomeAddress    netip.Addr
	HomeAgent      netip.Addr
	Identification uint64
}

// MessageType implements Fixed.
func (*HandoffReply) MessageType() MessageType { return TypeHandoffReply }

// AppendFixed implements Fixed.
func (p *HandoffReply) AppendFixed(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseFixed implements Fixed.
func (p *HandoffReply) ParseFixed(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:4881#4.6
func (p *HandoffReply) layout(c *cursor) {
	typeOctet(c, TypeHandoffReply)
	flags(c, "Flags", &p.Flags)
	c.reserved(1)
	u8(c, "Code", &p.Code)
	c.seconds("Lifetime", &p.Lifetime)
	c.reserved(2)
	c.addr("MN Home Address", &p.HomeAddress)
	c.addr("HA Address", &p.HomeAgent)
	c.identification("Identification", &p.Identification)
}
