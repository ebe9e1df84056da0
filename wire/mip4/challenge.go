package mip4

// Challenge is the Mobile-Foreign Challenge extension (RFC 4721 section 4): in a request the challenge that is answered, in a
// reply a new one. At least one octet; RFC 4721 section 12 wants at least four.
//
//	Type8=132 Length8 Challenge
type Challenge struct{ Value []byte }

// ExtNumber implements Payload.
func (*Challenge) ExtNumber() (ExtType, uint8) { return ExtChallenge, 0 }

// AppendBody implements Payload.
func (p *Challenge) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *Challenge) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:4721#4
func (p *Challenge) layout(c *cursor) {
	c.octets("Challenge", &p.Value)
	c.least(1, p.Value)
}
