package mip4

// FAError is the FA Error extension (RFC 4636 section 3): the foreign agent's own code beside the home agent's, which is covered
// by an authenticator.
//
//	Type8=45 Length8=2 Sub8=0 Status8
type FAError struct{ Status Code } // 64-127

// ExtNumber implements Payload.
func (*FAError) ExtNumber() (ExtType, uint8) { return ExtFAError, 0 }

// AppendBody implements Payload.
func (p *FAError) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *FAError) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:4636#3
func (p *FAError) layout(c *cursor) { u8(c, "Status", &p.Status) }
