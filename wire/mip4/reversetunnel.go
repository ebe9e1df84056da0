package mip4

// EncapsulatingDelivery asks the foreign agent for the encapsulating delivery style (RFC 3024 section 3.3). It has no data.
//
//	Type8=130 Length8=0
type EncapsulatingDelivery struct{}

// ExtNumber implements Payload.
func (*EncapsulatingDelivery) ExtNumber() (ExtType, uint8) { return ExtEncapsulatingDelivery, 0 }

// AppendBody implements Payload.
func (p *EncapsulatingDelivery) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *EncapsulatingDelivery) ParseBody(b []byte) error {
	c := reading(b)
	p.layout(&c)
	return c.done()
}

//rfc:3024#3.3
func (*EncapsulatingDelivery) layout(*cursor) {}
