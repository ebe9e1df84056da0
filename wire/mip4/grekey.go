package mip4

// GREKey is the GRE Key extension (RFC 6245 section 5). Key 0 asks the home agent to assign the key.
//
//	Type8=48 Sub8=0 Length16=4 Key32
type GREKey struct{ Key uint32 }

// ExtNumber implements Payload.
func (*GREKey) ExtNumber() (ExtType, uint8) { return ExtGREKey, 0 }

// AppendBody implements Payload.
func (p *GREKey) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *GREKey) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:6245#5
//rfc:6245#4.1-6
func (p *GREKey) layout(c *cursor) { u32(c, "Key Identifier", &p.Key) }
