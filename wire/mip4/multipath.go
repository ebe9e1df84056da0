package mip4

// Multipath is the Multipath extension (RFC 7629 section 4.1), at most once and only in a request. It is drawn in the long layout
// and called non-skippable, but 154 is a skippable number: an old peer mis-reads it.
//
//	Type8=154 Sub8=1 Length16=4 AccessTechnology8 Label8 BindingID8 | B O reserved6
type Multipath struct {
	AccessTechnology uint8 // RFC 5213 access technology type
	Label            uint8 // 1-255
	BindingID        uint8 // 1-254
	Bulk             bool  // B: renews or removes all bindings of the node
	Overwrite        bool  // O: replaces all bindings; never together with B
}

// ExtNumber implements Payload.
func (*Multipath) ExtNumber() (ExtType, uint8) { return ExtMultipath, 1 }

// AppendBody implements Payload.
func (p *Multipath) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *Multipath) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:7629#4.1
func (p *Multipath) layout(c *cursor) {
	u8(c, "If-ATT", &p.AccessTechnology)
	u8(c, "If-Label", &p.Label)
	u8(c, "Binding ID", &p.BindingID)
	c.bits(bit{"B", 0x80, &p.Bulk}, bit{"O", 0x40, &p.Overwrite})
}

// FlowAction is what happens to the packets of a flow.
type FlowAction uint8

// The actions (RFC 7629 section 4.2).
const (
	FlowDrop    FlowAction = 0
	FlowForward FlowAction = 1 // to the first binding in the list that is valid
)

var flowActionNames = [...]string{"drop", "forward"}

// String names the action.
func (v FlowAction) String() string { return named("FlowAction", flowActionNames[:], v) }

// SelectorFormat is the format of a traffic selector.
type SelectorFormat uint8

// The formats (RFC 7629 section 4.2, RFC 6088).
const (
	SelectorIPv4 SelectorFormat = 1
	SelectorIPv6 SelectorFormat = 2
)

var selectorFormatNames = [...]string{1: "IPv4 binary traffic selector", 2: "IPv6 binary traffic selector"}

// String names the format.
func (v SelectorFormat) String() string { return named("SelectorFormat", selectorFormatNames[:], v) }

// FlowBinding is the Flow-Binding extension (RFC 7629 section 4.2). The selector is opaque here (RFC 6088).
//
//	Type8=154 Sub8=2 Length16 Action8 Count8 BindingIDs Format8 Selector
type FlowBinding struct {
	Action     FlowAction
	BindingIDs []byte // 1 to 8
	Format     SelectorFormat
	Selector   []byte
}

// ExtNumber implements Payload.
func (*FlowBinding) ExtNumber() (ExtType, uint8) { return ExtMultipath, 2 }

// AppendBody implements Payload.
func (p *FlowBinding) AppendBody(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseBody implements Payload.
func (p *FlowBinding) ParseBody(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:7629#4.2
func (p *FlowBinding) layout(c *cursor) {
	u8(c, "Action", &p.Action)
	n := uint8(min(len(p.BindingIDs), 255))
	u8(c, "BID Count", &n)
	// "The permitted values for this field are 1 through 8."
	c.must(n >= 1 && n <= 8)
	if !c.writing {
		p.BindingIDs = make([]byte, n)
	}
	for i := range p.BindingIDs {
		u8(c, "Binding ID", &p.BindingIDs[i])
	}
	u8(c, "TS Format", &p.Format)
	c.octets("Traffic Selector", &p.Selector)
}
