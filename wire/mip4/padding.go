package mip4

// Padding is the one-octet extension without length (RFC 5944 sections 1.8 and 2.1.3).
//
//	Type8=0
type Padding struct{}

// ExtNumber implements Payload.
func (*Padding) ExtNumber() (ExtType, uint8) { return ExtPadding, 0 }

// AppendBody implements Payload.
func (p *Padding) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *Padding) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:5944#1.8
func (*Padding) layout(*cursor) {}
