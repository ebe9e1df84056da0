package mip4

import "net/netip"

// DynamicHAKind is the subtype of extension 139.
type DynamicHAKind uint8

// The subtypes of extension 139 (RFC 4433 section 3.4).
const (
	RequestedHA  DynamicHAKind = 1 // in a request: the home agent that is asked for
	RedirectedHA DynamicHAKind = 2 // in a reply with code 143: the home agent to go to
)

var dynamicHANames = [...]string{1: "requested home agent", 2: "redirected home agent"}

// String names the kind.
func (v DynamicHAKind) String() string { return named("DynamicHAKind", dynamicHANames[:], v) }

// AllZeroOne says whether a Home Agent field names nobody: "ALL-ZERO-ONE-ADDR: IP address 0.0.0.0 or 255.255.255.255. An
// address of 255.255.255.255 indicates a preference for an HA in the home domain. An address of 0.0.0.0 indicates no preference"
// (RFC 4433 section 2).
//
//rfc:4433#2
func AllZeroOne(a netip.Addr) bool {
	return a == netip.IPv4Unspecified() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// DynamicHA is the Dynamic Home Agent extension (RFC 4433 section 3.4). The RFC draws the long layout on a skippable number,
// against RFC 5944 section 1.10; both layouts are read, the long one is sent unless Short is set.
//
//	Type8=139 Sub8 Length16=4 Address32        or        Type8=139 Length8=5 Sub8 Address32
type DynamicHA struct {
	Kind    DynamicHAKind
	Address netip.Addr
	Short   bool // send the short layout; not set by reading
}

// ExtNumber implements Payload.
func (p *DynamicHA) ExtNumber() (ExtType, uint8) { return ExtDynamicHA, uint8(p.Kind) }

// AppendBody implements Payload.
func (p *DynamicHA) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *DynamicHA) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:4433#3.4
func (p *DynamicHA) layout(c *cursor) { c.addr("Home Agent Address", &p.Address) }

func (p *DynamicHA) setSub(sub uint8) bool {
	p.Kind = DynamicHAKind(sub)
	return sub == 1 || sub == 2
}
