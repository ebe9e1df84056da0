package mip4

import "net/netip"

// ServiceSelection is the Service Selection extension (RFC 5446 section 3): a UTF-8 name of 1 to 255 octets.
//
//	Type8=151 Length8 Identifier
type ServiceSelection struct{ Identifier string }

// ExtNumber implements Payload.
func (*ServiceSelection) ExtNumber() (ExtType, uint8) { return ExtServiceSelection, 0 }

// AppendBody implements Payload.
func (p *ServiceSelection) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *ServiceSelection) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:5446#3
func (p *ServiceSelection) layout(c *cursor) { c.text("Service Selection", &p.Identifier, 1, 255) }

// TrustedNetworks is the Trusted Networks Configured extension (RFC 5265 section 3.4): the home agent answers from inside.
//
//	Type8=149 Length8=2 Sub8=0 Reserved8
type TrustedNetworks struct{}

// ExtNumber implements Payload.
func (*TrustedNetworks) ExtNumber() (ExtType, uint8) { return ExtTrustedNetworks, 0 }

// AppendBody implements Payload.
func (p *TrustedNetworks) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *TrustedNetworks) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:5265#3.4
func (*TrustedNetworks) layout(c *cursor) { c.reserved(1) }

// Traversal is the Traversal extension of firewalls (RFC 2356 section 7.3), one per traversal point.
//
//	Type8=129 Length8=10 Reserved16 MobileNodeToHomeAgent32 HomeAgentToMobileNode32
type Traversal struct {
	ToHomeAgent  netip.Addr // traversal address for packets from the mobile node to the home agent
	ToMobileNode netip.Addr // and for the other direction
}

// ExtNumber implements Payload.
func (*Traversal) ExtNumber() (ExtType, uint8) { return ExtTraversal, 0 }

// AppendBody implements Payload.
func (p *Traversal) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *Traversal) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:2356#7.3
func (p *Traversal) layout(c *cursor) {
	c.reserved(2)
	c.addr("MN to HA Traversal Address", &p.ToHomeAgent)
	c.addr("HA to MN Traversal Address", &p.ToMobileNode)
}
