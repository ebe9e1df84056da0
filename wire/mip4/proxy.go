package mip4

// PerNodeAuth is how proxy and home agent authenticate each other when one key serves all devices (RFC 5563 section 5.1).
type PerNodeAuth uint8

// The methods.
const (
	PerNodeForeignHome PerNodeAuth = 1
	PerNodeIPsec       PerNodeAuth = 2
)

var perNodeAuthNames = [...]string{1: "FA-HA authentication", 2: "IPsec authentication"}

// String names the method.
func (v PerNodeAuth) String() string { return named("PerNodeAuth", perNodeAuthNames[:], v) }

// ProxyPerNodeAuth is the PMIPv4 Per-Node Authentication Method extension (RFC 5563 section 5.1).
//
//	Type8=47 Sub8=1 Length16=1 Method8
type ProxyPerNodeAuth struct{ Method PerNodeAuth }

// ExtNumber implements Payload.
func (*ProxyPerNodeAuth) ExtNumber() (ExtType, uint8) { return ExtProxyNonSkippable, 1 }

// AppendBody implements Payload.
func (p *ProxyPerNodeAuth) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *ProxyPerNodeAuth) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:5563#5.1
func (p *ProxyPerNodeAuth) layout(c *cursor) { u8(c, "Method", &p.Method) }

// ProxyInterfaceID is the PMIPv4 Interface ID extension (RFC 5563 section 5.2).
//
//	Type8=147 Length8=1+n Sub8=1 Identifier n
type ProxyInterfaceID struct{ Identifier []byte }

// ExtNumber implements Payload.
func (*ProxyInterfaceID) ExtNumber() (ExtType, uint8) { return ExtProxySkippable, 1 }

// AppendBody implements Payload.
func (p *ProxyInterfaceID) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *ProxyInterfaceID) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:5563#5.2
func (p *ProxyInterfaceID) layout(c *cursor) { c.octets("Identifier", &p.Identifier) }

// DeviceIDType is the kind of identifier in a ProxyDeviceID.
type DeviceIDType uint8

var deviceIDNames = [...]string{1: "Ethernet MAC address", 2: "MEID", 3: "IMEI", 4: "ESN"}

// String names the kind (RFC 5563 section 5.3).
func (v DeviceIDType) String() string { return named("DeviceIDType", deviceIDNames[:], v) }

// ProxyDeviceID is the PMIPv4 Device ID extension (RFC 5563 section 5.3).
//
//	Type8=147 Length8=2+n Sub8=2 IDType8 Identifier n
type ProxyDeviceID struct {
	Kind       DeviceIDType
	Identifier []byte
}

// ExtNumber implements Payload.
func (*ProxyDeviceID) ExtNumber() (ExtType, uint8) { return ExtProxySkippable, 2 }

// AppendBody implements Payload.
func (p *ProxyDeviceID) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *ProxyDeviceID) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:5563#5.3
func (p *ProxyDeviceID) layout(c *cursor) {
	u8(c, "ID-Type", &p.Kind)
	c.octets("Identifier", &p.Identifier)
}

// SubscriberIDType is the kind of identifier in a ProxySubscriberID.
type SubscriberIDType uint8

var subscriberIDNames = [...]string{1: "IMSI"}

// String names the kind (RFC 5563 section 5.4).
func (v SubscriberIDType) String() string { return named("SubscriberIDType", subscriberIDNames[:], v) }

// ProxySubscriberID is the PMIPv4 Subscriber ID extension (RFC 5563 section 5.4).
//
//	Type8=147 Length8=2+n Sub8=3 IDType8 Identifier n
type ProxySubscriberID struct {
	Kind       SubscriberIDType
	Identifier []byte
}

// ExtNumber implements Payload.
func (*ProxySubscriberID) ExtNumber() (ExtType, uint8) { return ExtProxySkippable, 3 }

// AppendBody implements Payload.
func (p *ProxySubscriberID) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *ProxySubscriberID) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:5563#5.4
func (p *ProxySubscriberID) layout(c *cursor) {
	u8(c, "ID-Type", &p.Kind)
	c.octets("Identifier", &p.Identifier)
}

// AccessTechnology is the radio of a ProxyAccessTechnology.
type AccessTechnology uint8

var accessTechnologyNames = [...]string{1: "802.3", 2: "802.11a/b/g", 3: "802.16e", 4: "802.16m", 5: "3GPP EUTRAN/LTE",
	6: "3GPP UTRAN/GERAN", 7: "3GPP2 1xRTT/HRPD", 8: "3GPP2 UMB"}

// String names the technology (RFC 5563 section 5.5).
func (v AccessTechnology) String() string {
	return named("AccessTechnology", accessTechnologyNames[:], v)
}

// ProxyAccessTechnology is the PMIPv4 Access Technology Type extension (RFC 5563 section 5.5).
//
//	Type8=147 Length8=2 Sub8=4 TechType8
type ProxyAccessTechnology struct{ Technology AccessTechnology }

// ExtNumber implements Payload.
func (*ProxyAccessTechnology) ExtNumber() (ExtType, uint8) { return ExtProxySkippable, 4 }

// AppendBody implements Payload.
func (p *ProxyAccessTechnology) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *ProxyAccessTechnology) ParseBody(b []byte) error {
	c := reading(b)
	p.layout(&c)
	return c.done()
}

//rfc:5563#5.5
func (p *ProxyAccessTechnology) layout(c *cursor) { u8(c, "Tech-Type", &p.Technology) }
