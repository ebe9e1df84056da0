package mip4

// CVSE is a Critical Vendor/Organization Specific Extension (RFC 3115 section 2.1). "Length in bytes of this
// extension, not including the Type and Length bytes" leaves open whether Reserved counts; RFC 4784 section 9 quotes the editor: it does not.
//
//	Type8=38 Reserved8 Length16=6+n Vendor32 VendorType16 Value n
type CVSE struct {
	Vendor     uint32 // SMI network management private enterprise code, high octet 0
	VendorType uint16
	Value      []byte
}

// ExtNumber implements Payload.
func (*CVSE) ExtNumber() (ExtType, uint8) { return ExtCVSE, 0 }

// AppendBody implements Payload.
func (p *CVSE) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *CVSE) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:3115#2.1
func (p *CVSE) layout(c *cursor) {
	u32(c, "Vendor/Org-ID", &p.Vendor)
	u16(c, "Vendor-CVSE-Type", &p.VendorType)
	c.octets("Vendor-CVSE-Value", &p.Value)
}

// NVSE is a Normal Vendor/Organization Specific Extension (RFC 3115 section 2.2).
//
//	Type8=134 Length8=8+n Reserved16 Vendor32 VendorType16 Value n
type NVSE struct {
	Vendor     uint32
	VendorType uint16
	Value      []byte
}

// ExtNumber implements Payload.
func (*NVSE) ExtNumber() (ExtType, uint8) { return ExtNVSE, 0 }

// AppendBody implements Payload.
func (p *NVSE) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *NVSE) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:3115#2.2
func (p *NVSE) layout(c *cursor) {
	c.reserved(2)
	u32(c, "Vendor/Org-ID", &p.Vendor)
	u16(c, "Vendor-NVSE-Type", &p.VendorType)
	c.octets("Vendor-NVSE-Value", &p.Value)
}
