package mip4

import "net/netip"

// Fixed is the part of a message before its extensions.
type Fixed interface {
	MessageType() MessageType
	// AppendFixed appends the fixed part, type octet included.
	AppendFixed(b []byte) ([]byte, error)
	// ParseFixed reads exactly the fixed part, type octet included.
	ParseFixed(b []byte) error
}

// RequestFlags are the flag bits of a Registration Request, first bit highest (RFC 5944 section 3.3).
type RequestFlags uint8

// The flags: S B D M G r T x.
const (
	FlagS         RequestFlags = 0x80 // simultaneous bindings
	FlagB         RequestFlags = 0x40 // broadcast datagrams
	FlagD         RequestFlags = 0x20 // decapsulation by the mobile node: co-located care-of address
	FlagM         RequestFlags = 0x10 // minimal encapsulation (RFC 2004)
	FlagG         RequestFlags = 0x08 // GRE encapsulation (RFC 2784)
	FlagReservedR RequestFlags = 0x04 // r: sent as zero; "ignored on reception" (section 3.3)
	FlagT         RequestFlags = 0x02 // reverse tunnelling (RFC 3024)
	FlagReservedX RequestFlags = 0x01 // x: sent as zero; "ignored on reception"
)

// Has reports whether all bits of f are set.
func (v RequestFlags) Has(f RequestFlags) bool { return v&f == f }

// String names the flags that are set, in the order of the RFC: "S D T", "none".
func (v RequestFlags) String() string { return flagNames("SBDMGrTx", uint8(v)) }

// typeOctet checks or writes the first octet.
func typeOctet(c *cursor, t MessageType) {
	v := t
	u8(c, "Type", &v)
	if v != t {
		c.fail(ErrType)
	}
}

// RegistrationRequest is the fixed part of message 1 (RFC 5944 section 3.3):
//
//	Type8=1 | S B D M G r T x | Lifetime16 | HomeAddress32 | HomeAgent32 | CareOfAddress32 | Identification64
type RegistrationRequest struct {
	Flags          RequestFlags
	Lifetime       uint16 // seconds; 0 deregisters, LifetimeInfinite does not expire
	HomeAddress    netip.Addr
	HomeAgent      netip.Addr
	CareOfAddress  netip.Addr
	Identification uint64
}

// MessageType implements Fixed.
func (*RegistrationRequest) MessageType() MessageType { return TypeRegistrationRequest }

// AppendFixed implements Fixed.
func (r *RegistrationRequest) AppendFixed(b []byte) ([]byte, error) {
	c := writing(b)
	r.layout(&c)
	return c.written(b)
}

// ParseFixed implements Fixed.
func (r *RegistrationRequest) ParseFixed(b []byte) error {
	c := reading(b)
	r.layout(&c)
	return c.done()
}

//rfc:5944#3.3
func (r *RegistrationRequest) layout(c *cursor) { r.as(c, TypeRegistrationRequest) }

func (r *RegistrationRequest) as(c *cursor, t MessageType) {
	typeOctet(c, t)
	flags(c, "Flags", &r.Flags)
	c.seconds("Lifetime", &r.Lifetime)
	c.addr("Home Address", &r.HomeAddress)
	c.addr("Home Agent", &r.HomeAgent)
	c.addr("Care-of Address", &r.CareOfAddress)
	c.identification("Identification", &r.Identification)
}

// RegistrationReply is the fixed part of message 3 (RFC 5944 section 3.4):
//
//	Type8=3 | Code8 | Lifetime16 | HomeAddress32 | HomeAgent32 | Identification64
type RegistrationReply struct {
	Code           Code
	Lifetime       uint16 // seconds; without meaning in a denial, except for code 69
	HomeAddress    netip.Addr
	HomeAgent      netip.Addr
	Identification uint64
}

// MessageType implements Fixed.
func (*RegistrationReply) MessageType() MessageType { return TypeRegistrationReply }

// AppendFixed implements Fixed.
func (r *RegistrationReply) AppendFixed(b []byte) ([]byte, error) {
	c := writing(b)
	r.layout(&c)
	return c.written(b)
}

// ParseFixed implements Fixed.
func (r *RegistrationReply) ParseFixed(b []byte) error {
	c := reading(b)
	r.layout(&c)
	return c.done()
}

//rfc:5944#3.4
func (r *RegistrationReply) layout(c *cursor) { r.as(c, TypeRegistrationReply) }

func (r *RegistrationReply) as(c *cursor, t MessageType) {
	typeOctet(c, t)
	u8(c, "Code", &r.Code)
	c.seconds("Lifetime", &r.Lifetime)
	c.addr("Home Address", &r.HomeAddress)
	c.addr("Home Agent", &r.HomeAgent)
	c.identification("Identification", &r.Identification)
}

// fixedOf reads the fixed part of m as T.
func fixedOf[T any, P interface {
	*T
	Fixed
}](m *Message) (v T, err error) {
	p := P(&v)
	if p.MessageType() != m.Type {
		return v, &ParseError{Err: ErrType}
	}
	if m.Fixed == 0 || len(m.Raw) < m.Fixed {
		return v, &ParseError{Off: len(m.Raw), Err: ErrShort}
	}
	if err := p.ParseFixed(m.Raw[:m.Fixed]); err != nil {
		return v, &ParseError{Err: err}
	}
	return v, nil
}

// Request reads the fixed part of a Registration Request; another message is ErrType.
func (m *Message) Request() (RegistrationRequest, error) { return fixedOf[RegistrationRequest](m) }

// Reply reads the fixed part of a Registration Reply; another message is ErrType.
func (m *Message) Reply() (RegistrationReply, error) { return fixedOf[RegistrationReply](m) }

// TunnelData reads the header of a Tunnel Data message; the packet follows in Data.
func (m *Message) TunnelData() (TunnelData, error) { return fixedOf[TunnelData](m) }

// Revocation reads the fixed part of a Registration Revocation.
func (m *Message) Revocation() (Revocation, error) { return fixedOf[Revocation](m) }

// RevocationAck reads the fixed part of a Registration Revocation Acknowledgment.
func (m *Message) RevocationAck() (RevocationAck, error) { return fixedOf[RevocationAck](m) }

// HandoffRequest reads the fixed part of a Handoff Request.
func (m *Message) HandoffRequest() (HandoffRequest, error) { return fixedOf[HandoffRequest](m) }

// HandoffReply reads the fixed part of a Handoff Reply.
func (m *Message) HandoffReply() (HandoffReply, error) { return fixedOf[HandoffReply](m) }

// RegionalRequest reads the fixed part of a Regional Registration Request.
func (m *Message) RegionalRequest() (RegionalRequest, error) { return fixedOf[RegionalRequest](m) }

// RegionalReply reads the fixed part of a Regional Registration Reply.
func (m *Message) RegionalReply() (RegionalReply, error) { return fixedOf[RegionalReply](m) }

// FastBindingUpdate reads the fixed part of a Fast Binding Update.
func (m *Message) FastBindingUpdate() (FastBindingUpdate, error) {
	return fixedOf[FastBindingUpdate](m)
}

// FastBindingAck reads the fixed part of a Fast Binding Acknowledgment.
func (m *Message) FastBindingAck() (FastBindingAck, error) { return fixedOf[FastBindingAck](m) }

// Notification reads the fixed part of a Generic Notification.
func (m *Message) Notification() (Notification, error) { return fixedOf[Notification](m) }

// NotificationAck reads the fixed part of a Generic Notification Acknowledgement.
func (m *Message) NotificationAck() (NotificationAck, error) { return fixedOf[NotificationAck](m) }

// HomeTestInit reads a Home Test Init.
func (m *Message) HomeTestInit() (HomeTestInit, error) { return fixedOf[HomeTestInit](m) }

// CareOfTestInit reads a Care-of Test Init.
func (m *Message) CareOfTestInit() (CareOfTestInit, error) { return fixedOf[CareOfTestInit](m) }

// HomeTest reads a Home Test.
func (m *Message) HomeTest() (HomeTest, error) { return fixedOf[HomeTest](m) }

// CareOfTest reads a Care-of Test.
func (m *Message) CareOfTest() (CareOfTest, error) { return fixedOf[CareOfTest](m) }
