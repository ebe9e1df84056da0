package mip4

// PrefixAdvertisement is the Route Optimization Prefix Advertisement extension (RFC 6521 section 5.5). Its entries stay octets
// here, because realms and deltas refer to entries of earlier messages (section 4).
//
//	Type8=50 Sub8=1 Length16 Entries
type PrefixAdvertisement struct{ Entries []byte }

// ExtNumber implements Payload.
func (*PrefixAdvertisement) ExtNumber() (ExtType, uint8) { return ExtRouteOptimizationData, 1 }

// AppendBody implements Payload.
func (p *PrefixAdvertisement) AppendBody(b []byte) ([]byte, error) { return write(b, p) }

// ParseBody implements Payload.
func (p *PrefixAdvertisement) ParseBody(b []byte) error { return read(b, p) }

func (p *PrefixAdvertisement) layout(c *cursor) { c.octets("Entries", &p.Entries) }
