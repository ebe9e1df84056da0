package mip4

// UDPTunnelRequest asks for data over UDP port 434 (RFC 3519 section 3.1).
//
//	Type8=144 Length8=6 Sub8=0 Reserved8 | F R reserved6 | Encapsulation8 | Reserved16
type UDPTunnelRequest struct {
	ForceFlag    bool  // F: tunnel in UDP even when no NAT is seen
	Registration bool  // R: co-located care-of address, registering through a foreign agent
	Encap        uint8 // IP protocol number inside the UDP tunnel; 0: as the M and G bits say
	// Reserved is the last field, "MUST be set to 0" (section 3.1). A request with another value is skipped (section 3.1.3) or
	// refused with 134 (section 4.6.1): the receiver's choice, so it is kept.
	Reserved uint16
}

// ExtNumber implements Payload.
func (*UDPTunnelRequest) ExtNumber() (ExtType, uint8) { return ExtUDPTunnelRequest, 0 }

// AppendBody implements Payload.
func (p *UDPTunnelRequest) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *UDPTunnelRequest) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:3519#3.1
func (p *UDPTunnelRequest) layout(c *cursor) {
	c.reserved(1)
	c.bits(bit{"F", 0x80, &p.ForceFlag}, bit{"R", 0x40, &p.Registration})
	encap := Protocol(p.Encap)
	u8(c, "Encapsulation", &encap)
	p.Encap = uint8(encap)
	u16(c, "Reserved", &p.Reserved)
}

// UDPTunnelCode is the answer in a UDP Tunnel Reply. "Values in the range 0 .. 63 indicate assent ... while values in the range 64 ..
// 255 indicate that tunnelling should not be done" (RFC 3519 section 3.2.1).
type UDPTunnelCode uint8

// The assigned codes.
const (
	UDPTunnelAccepted UDPTunnelCode = 0
	UDPTunnelDeclined UDPTunnelCode = 64
)

// Assent reports whether the tunnel will be used.
func (v UDPTunnelCode) Assent() bool { return v < 64 }

var udpTunnelCodeNames = [...]string{0: "will do tunnelling", 64: "tunnelling declined, reason unspecified"}

// String names the code.
func (v UDPTunnelCode) String() string { return named("UDPTunnelCode", udpTunnelCodeNames[:], v) }

// UDPTunnelReply answers a UDPTunnelRequest (RFC 3519 section 3.2).
//
//	Type8=44 Length8=6 Sub8=0 Code8 | F reserved15 | Keepalive16
type UDPTunnelReply struct {
	Code      UDPTunnelCode
	Force     bool   // F: tunnelling is done because it was forced, although no NAT was seen
	Keepalive uint16 // seconds between keepalives; 0: the mobile node's own default
}

// ExtNumber implements Payload.
func (*UDPTunnelReply) ExtNumber() (ExtType, uint8) { return ExtUDPTunnelReply, 0 }

// AppendBody implements Payload.
func (p *UDPTunnelReply) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *UDPTunnelReply) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:3519#3.2
func (p *UDPTunnelReply) layout(c *cursor) {
	u8(c, "Reply Code", &p.Code)
	c.bits(bit{"F", 0x80, &p.Force})
	c.reserved(1)
	u16(c, "Keepalive Interval", &p.Keepalive)
}

// Protocol is an IP protocol number as the encapsulations use it.
type Protocol uint8

// The encapsulations inside UDP (RFC 3519 section 3.3, RFC 5454 section 3.6) and as outer IP protocols.
const (
	ProtocolIPIP    Protocol = 4  // RFC 2003
	ProtocolIPv6    Protocol = 41 // RFC 4213
	ProtocolGRE     Protocol = 47 // RFC 2784
	ProtocolMinimal Protocol = 55 // RFC 2004
)

var protocolNames = [...]string{0: "as requested by M and G", 4: "IP in IP", 41: "IPv6", 47: "GRE", 55: "minimal encapsulation"}

// String names the protocol.
func (v Protocol) String() string { return named("Protocol", protocolNames[:], v) }

// TunnelData is the header of message 4; the packet follows it (RFC 3519 section 3.3).
//
//	Type8=4 NextHeader8 Reserved16
type TunnelData struct{ NextHeader Protocol }

// MessageType implements Fixed.
func (*TunnelData) MessageType() MessageType { return TypeTunnelData }

// AppendFixed implements Fixed.
func (p *TunnelData) AppendFixed(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseFixed implements Fixed.
func (p *TunnelData) ParseFixed(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:3519#3.3
func (p *TunnelData) layout(c *cursor) {
	typeOctet(c, TypeTunnelData)
	u8(c, "Next Header", &p.NextHeader)
	c.reserved(2)
}
