package mip4

import "net/netip"

// MobileNetworkRequest is a Mobile Network Request extension (RFC 5177 section 4.1): one prefix that a mobile router brings.
// Prefix length 0 with prefix 0 asks for a prefix (RFC 6626 section 3.1).
//
//	Type8=148 Length8=6 Sub8=0 PrefixLength8 Prefix32
type MobileNetworkRequest struct {
	PrefixLength uint8 // as sent; only 1 to 32 name a prefix
	Prefix       netip.Addr
}

// ExtNumber implements Payload.
func (*MobileNetworkRequest) ExtNumber() (ExtType, uint8) { return ExtMobileNetwork, 0 }

// AppendBody implements Payload.
func (p *MobileNetworkRequest) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *MobileNetworkRequest) ParseBody(b []byte) error {
	c := reading(b)
	p.layout(&c)
	return c.done()
}

//rfc:5177#4.1
func (p *MobileNetworkRequest) layout(c *cursor) {
	u8(c, "Prefix Length", &p.PrefixLength)
	c.addr("Prefix", &p.Prefix)
}

// Network is the prefix with its host bits cleared; ok is false when the length is not 1 to 32.
func (p MobileNetworkRequest) Network() (n netip.Prefix, ok bool) {
	return network4(p.Prefix, p.PrefixLength)
}

func network4(a netip.Addr, length uint8) (netip.Prefix, bool) {
	if length == 0 || length > 32 || !a.Is4() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, int(length)).Masked(), true
}

// MobileNetworkCode answers one prefix.
type MobileNetworkCode uint8

// The codes (RFC 5177 section 4.2, RFC 6626 section 5).
const (
	MobileNetworkOK               MobileNetworkCode = 0
	MobileNetworkInvalidLength    MobileNetworkCode = 1
	MobileNetworkUnauthorized     MobileNetworkCode = 2
	MobileNetworkForwardingFailed MobileNetworkCode = 3
	MobileNetworkUnassigned       MobileNetworkCode = 4
)

var mobileNetworkCodeNames = [...]string{"success", "invalid prefix length", "mobile router not authorized for the prefix",
	"forwarding setup failed", "prefix not assigned"}

// String names the code.
func (v MobileNetworkCode) String() string {
	return named("MobileNetworkCode", mobileNetworkCodeNames[:], v)
}

// MobileNetworkAck is a Mobile Network Acknowledgement extension (RFC 5177 section 4.2).
//
//	Type8=148 Length8=8 Sub8=1|2 Code8 PrefixLength8 Reserved8 Prefix32
type MobileNetworkAck struct {
	Implicit     bool // subtype 2: the prefix is one of the home agent's configuration
	Code         MobileNetworkCode
	PrefixLength uint8
	Prefix       netip.Addr
}

// ExtNumber implements Payload.
func (p *MobileNetworkAck) ExtNumber() (ExtType, uint8) { return ExtMobileNetwork, p.sub() }

// AppendBody implements Payload.
func (p *MobileNetworkAck) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *MobileNetworkAck) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

func (p *MobileNetworkAck) sub() uint8 {
	if p.Implicit {
		return 2
	}
	return 1
}

func (p *MobileNetworkAck) setSub(sub uint8) bool {
	p.Implicit = sub == 2
	return sub == 1 || sub == 2
}

//rfc:5177#4.2
func (p *MobileNetworkAck) layout(c *cursor) {
	u8(c, "Code", &p.Code)
	u8(c, "Prefix Length", &p.PrefixLength)
	c.reserved(1)
	c.addr("Prefix", &p.Prefix)
}

// Network is the prefix with its host bits cleared; ok is false when the length is not 1 to 32.
func (p MobileNetworkAck) Network() (n netip.Prefix, ok bool) {
	return network4(p.Prefix, p.PrefixLength)
}
