package mip4

// ExperimentalMessage is message 255 (RFC 4064 section 3): opaque after the type octet.
type ExperimentalMessage struct{}

// MessageType implements Fixed.
func (*ExperimentalMessage) MessageType() MessageType { return TypeExperimentalMessage }

// AppendFixed implements Fixed.
func (p *ExperimentalMessage) AppendFixed(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseFixed implements Fixed.
func (p *ExperimentalMessage) ParseFixed(b []byte) error {
	c := reading(b)
	p.layout(&c)
	return c.done()
}

//rfc:4064#3
func (*ExperimentalMessage) layout(c *cursor) { typeOctet(c, TypeExperimentalMessage) }

// ExperimentalNonSkippable is extension 127 (RFC 4064 section 4.1).
//
//	Type8=127 Sub8 Length16 Data
type ExperimentalNonSkippable struct {
	Sub  uint8
	Data []byte
}

// ExtNumber implements Payload.
func (p *ExperimentalNonSkippable) ExtNumber() (ExtType, uint8) {
	return ExtExperimentalNonSkippable, p.Sub
}

// AppendBody implements Payload.
func (p *ExperimentalNonSkippable) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *ExperimentalNonSkippable) ParseBody(b []byte) error {
	c := reading(b)
	p.layout(&c)
	return c.done()
}

//rfc:4064#4.1
func (p *ExperimentalNonSkippable) layout(c *cursor) { c.octets("Data", &p.Data) }

func (p *ExperimentalNonSkippable) setSub(sub uint8) bool {
	p.Sub = sub
	return true
}

// ExperimentalSkippable is extension 255 (RFC 4064 section 4.3).
//
//	Type8=255 Length8=1+n Sub8 Data n
type ExperimentalSkippable struct {
	Sub  uint8
	Data []byte
}

// ExtNumber implements Payload.
func (p *ExperimentalSkippable) ExtNumber() (ExtType, uint8) { return ExtExperimentalSkippable, p.Sub }

// AppendBody implements Payload.
func (p *ExperimentalSkippable) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *ExperimentalSkippable) ParseBody(b []byte) error {
	c := reading(b)
	p.layout(&c)
	return c.done()
}

//rfc:4064#4.3
func (p *ExperimentalSkippable) layout(c *cursor) { c.octets("Data", &p.Data) }

func (p *ExperimentalSkippable) setSub(sub uint8) bool {
	p.Sub = sub
	return true
}
