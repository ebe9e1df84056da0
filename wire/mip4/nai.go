package mip4

// NAI is the Mobile Node NAI extension (RFC 2794 section 2): user@realm, 1 to 255 octets.
//
//	Type8=131 Length8 NAI
type NAI struct{ Value string }

// ExtNumber implements Payload.
func (*NAI) ExtNumber() (ExtType, uint8) { return ExtNAI, 0 }

// AppendBody implements Payload.
func (p *NAI) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *NAI) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:2794#2
func (p *NAI) layout(c *cursor) { c.text("NAI", &p.Value, 1, 255) }

// NAIKind says whose name a NAICarrying extension carries.
type NAIKind uint8

// The subtypes of extension 136.
const (
	NAIHomeAgent    NAIKind = 1 // RFC 3846 section 4
	NAIHomeAAA      NAIKind = 2 // RFC 3846 section 5
	NAIForeignAgent NAIKind = 3 // RFC 4857 section 8.2, in agent advertisements
)

var naiKindNames = [...]string{1: "HA identity", 2: "AAAH identity", 3: "FA-NAI"}

// String names the kind.
func (k NAIKind) String() string { return named("NAIKind", naiKindNames[:], k) }

// NAICarrying is the NAI Carrying extension (RFC 3846 section 3): hostname@realm of a home agent or AAA server.
//
//	Type8=136 Length8=1+n Sub8 NAI n
type NAICarrying struct {
	Kind NAIKind
	NAI  string
}

// ExtNumber implements Payload.
func (p *NAICarrying) ExtNumber() (ExtType, uint8) { return ExtNAICarrying, uint8(p.Kind) }

// AppendBody implements Payload.
func (p *NAICarrying) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *NAICarrying) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:3846#4
//rfc:3846#5
//rfc:4857#8.2
func (p *NAICarrying) layout(c *cursor) { c.text("NAI", &p.NAI, 1, 254) }

func (p *NAICarrying) setSub(sub uint8) bool {
	p.Kind = NAIKind(sub)
	return sub >= 1 && sub <= 3
}
