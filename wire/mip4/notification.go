package mip4

import "net/netip"

// Direction says who sends a notification to whom (RFC 6098 section 4.1); in an acknowledgement it is the direction of the
// acknowledgement itself.
type Direction uint8

// The directions.
const (
	HomeAgentToMobileNode    Direction = 0
	HomeAgentToForeignAgent  Direction = 1
	MobileNodeToHomeAgent    Direction = 2
	MobileNodeToForeignAgent Direction = 3
	ForeignAgentToMobileNode Direction = 4
	ForeignAgentToHomeAgent  Direction = 5
)

var directionNames = [...]string{"home agent to mobile node", "home agent to foreign agent", "mobile node to home agent",
	"mobile node to foreign agent", "foreign agent to mobile node", "foreign agent to home agent"}

// String names the direction.
func (v Direction) String() string { return named("Direction", directionNames[:], v) }

// Notification is the fixed part of message 22 (RFC 6098 section 4.1):
//
//	Type8=22 Direction8 | A reserved15 | HomeAddress32 | HomeAgent32 | CareOfAddress32 | Identification64
type Notification struct {
	Direction      Direction
	Acknowledge    bool // A
	HomeAddress    netip.Addr
	HomeAgent      netip.Addr
	CareOfAddress  netip.Addr
	Identification uint64
}

// MessageType implements Fixed.
func (*Notification) MessageType() MessageType { return TypeNotification }

// AppendFixed implements Fixed.
func (p *Notification) AppendFixed(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseFixed implements Fixed.
func (p *Notification) ParseFixed(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:6098#4.1
func (p *Notification) layout(c *cursor) {
	typeOctet(c, TypeNotification)
	u8(c, "Message Direction", &p.Direction)
	c.bits(bit{"A", 0x80, &p.Acknowledge})
	c.reserved(1)
	c.addr("Home Address", &p.HomeAddress)
	c.addr("Home Agent", &p.HomeAgent)
	c.addr("Care-of Address", &p.CareOfAddress)
	c.identification("Identification", &p.Identification)
}

// NotificationCode is the answer to a notification: 64-69 from the foreign agent, 128-133 from the home agent, 192-197 from the
// mobile node (RFC 6098 section 4.2).
type NotificationCode uint8

// The first code of each denier, and acceptance. The five that follow each are the same reasons in the same order.
const (
	NotificationAccepted           NotificationCode = 0
	NotificationDeniedForeignAgent NotificationCode = 64
	NotificationDeniedHomeAgent    NotificationCode = 128
	NotificationDeniedMobileNode   NotificationCode = 192
)

var notificationCodeNames = [...]string{
	0:  "notification accepted",
	64: "FA: reason unspecified", 65: "FA: administratively prohibited", 66: "FA: insufficient resources",
	67: "FA: mobile node failed authentication", 68: "FA: home agent failed authentication", 69: "FA: identification mismatch",
	128: "HA: reason unspecified", 129: "HA: administratively prohibited", 130: "HA: insufficient resources",
	131: "HA: mobile node failed authentication", 132: "HA: foreign agent failed authentication", 133: "HA: identification mismatch",
	192: "MN: reason unspecified", 193: "MN: administratively prohibited", 194: "MN: insufficient resources",
	195: "MN: foreign agent failed authentication", 196: "MN: home agent failed authentication", 197: "MN: identification mismatch",
}

// String names the code.
func (v NotificationCode) String() string {
	return named("NotificationCode", notificationCodeNames[:], v)
}

// NotificationAck is the fixed part of message 23 (RFC 6098 section 4.2):
//
//	Type8=23 Direction8 Code8 Reserved8 | HomeAddress32 | HomeAgent32 | CareOfAddress32 | Identification64
type NotificationAck struct {
	Direction      Direction
	Code           NotificationCode
	HomeAddress    netip.Addr
	HomeAgent      netip.Addr
	CareOfAddress  netip.Addr
	Identification uint64
}

// MessageType implements Fixed.
func (*NotificationAck) MessageType() MessageType { return TypeNotificationAck }

// AppendFixed implements Fixed.
func (p *NotificationAck) AppendFixed(b []byte) ([]byte, error) {
	c := writing(b)
	p.layout(&c)
	return c.written(b)
}

// ParseFixed implements Fixed.
func (p *NotificationAck) ParseFixed(b []byte) error { c := reading(b); p.layout(&c); return c.done() }

//rfc:6098#4.2
func (p *NotificationAck) layout(c *cursor) {
	typeOctet(c, TypeNotificationAck)
	u8(c, "Message Direction", &p.Direction)
	u8(c, "Code", &p.Code)
	c.reserved(1)
	c.addr("Home Address", &p.HomeAddress)
	c.addr("Home Agent", &p.HomeAgent)
	c.addr("Care-of Address", &p.CareOfAddress)
	c.identification("Identification", &p.Identification)
}
