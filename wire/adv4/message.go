package adv4

import (
	"encoding/binary"
	"net/netip"
)

// Router is one entry of an advertisement: address and preference (RFC 1256
// section 3; 0x80000000, the least, means not a default router).
type Router struct {
	Addr       netip.Addr
	Preference int32
}

// NotDefault is the preference of a router that must not be used as a default
// router, RFC 1256 section 3.
const NotDefault int32 = -0x80000000

// Message is a framed advertisement or solicitation.
type Message struct {
	Type MessageType
	Code uint8
	Raw  []byte // the whole ICMP message

	// Of an advertisement:
	EntrySize uint8    // Addr Entry Size, in 32-bit words
	Lifetime  uint16   // seconds that the routers are valid; not the registration lifetime
	Routers   []Router // Num Addrs entries
	Exts      []Ext    // in order
}

// Ext is one extension as framed.
type Ext struct {
	Type     ExtType
	Sub      uint8 // when HasSub
	HasSub   bool
	Off, End int    // Raw[Off:End] is the whole extension
	Body     []byte // data after type, length and sub-type; aliases Raw
}

const (
	headerLen = 8
	entryLen  = 8 // octets of address and preference
)

// Parse reads the ICMP message b, type 9 or 10. It checks what every receiver
// must: checksum, and the length against Num Addrs and Addr Entry Size (RFC
// 1256 section 5.2), and that the extensions tile the rest (RFC 5944 section
// 1.8). Who accepts which Code and how many addresses is left to ForHost,
// ForMobileNode and ForRouter. The octets of a solicitation beyond the first 8
// "are ignored" (RFC 1256 section 4.2). The message aliases b.
//
//rfc:1256#4.2
//rfc:1256#5.2
//rfc:5944#1.8
func Parse(b []byte) (*Message, error) {
	if len(b) < headerLen {
		return nil, &ParseError{Off: len(b), Err: ErrShort}
	}
	m := &Message{Type: MessageType(b[0]), Code: b[1], Raw: b}
	if m.Type != TypeAdvertisement && m.Type != TypeSolicitation {
		return nil, &ParseError{Off: 0, Err: ErrType}
	}
	if checksum(b) != 0 {
		return nil, &ParseError{Off: 2, Err: ErrChecksum}
	}
	if m.Type == TypeSolicitation {
		return m, nil
	}
	return m, m.parseAdvertisement(b)
}

func (m *Message) parseAdvertisement(b []byte) error {
	n := int(b[4])
	m.EntrySize = b[5]
	m.Lifetime = binary.BigEndian.Uint16(b[6:])
	// "ICMP Addr Entry Size is greater than or equal to 2." Without addresses
	// there is nothing that it could be wrong about.
	if n > 0 && m.EntrySize < 2 {
		return &ParseError{Off: 5, Err: ErrLength}
	}
	end := headerLen + n*int(m.EntrySize)*4
	if end > len(b) {
		return &ParseError{Off: 4, Err: ErrShort}
	}
	for i := range n {
		e := b[headerLen+i*int(m.EntrySize)*4:]
		m.Routers = append(m.Routers, Router{
			Addr:       netip.AddrFrom4([4]byte(e[:4])),
			Preference: int32(binary.BigEndian.Uint32(e[4:])),
		})
	}
	for off := end; off < len(b); {
		if len(m.Exts) == MaxExtensions {
			return &ParseError{Off: off, Err: ErrTooMany}
		}
		e, err := frame(b, off)
		if err != nil {
			return err
		}
		m.Exts = append(m.Exts, e)
		off = e.End
	}
	return nil
}

// frame reads the extension at off. Only type 0 has no length.
func frame(b []byte, off int) (Ext, error) {
	e := Ext{Type: ExtType(b[off]), Off: off}
	if e.Type == ExtPadding {
		e.End = off + 1
		return e, nil
	}
	if off+2 > len(b) {
		return e, &ParseError{Off: off + 1, Ext: e.Type, In: true, Err: ErrShort}
	}
	n := int(b[off+1])
	e.End = off + 2 + n
	if e.End > len(b) {
		return e, &ParseError{Off: off + 1, Ext: e.Type, In: true, Err: ErrShort}
	}
	e.Body = b[off+2 : e.End : e.End]
	if e.Type.format() == FormatShort {
		if n < 1 {
			return e, &ParseError{Off: off + 1, Ext: e.Type, In: true, Err: ErrLength}
		}
		e.Sub, e.HasSub, e.Body = e.Body[0], true, e.Body[1:]
	}
	return e, nil
}

// ForHost is the rest of RFC 1256 section 5.2, for a host that knows no Mobile
// IP: Code 0 and at least one address.
//
//rfc:1256#5.2
func (m *Message) ForHost() error {
	switch {
	case m.Type != TypeAdvertisement:
		return &ParseError{Off: 0, Err: ErrType}
	case m.Code != CodeRouter:
		return &ParseError{Off: 1, Err: ErrCode}
	case len(m.Routers) == 0:
		return &ParseError{Off: 4, Err: ErrNoAddrs}
	}
	return nil
}

// ForMobileNode is the same for a mobile node, which also accepts Code 16 and
// no address at all (RFC 5944 section 2.1), but only an Agent Advertisement.
// The extension must be readable; its reserved bits do not matter ("A mobile
// node MUST ignore reserved bits in Agent Advertisements", section 2.4).
//
//rfc:5944#2.1
//rfc:5944#2.4
//rfc:5944#2.4-14
//rfc:5944#2.4-15
func (m *Message) ForMobileNode() (MobilityAgent, error) {
	var none MobilityAgent
	if m.Type != TypeAdvertisement {
		return none, &ParseError{Off: 0, Err: ErrType}
	}
	if m.Code != CodeRouter && m.Code != CodeNoCommonTraffic {
		return none, &ParseError{Off: 1, Err: ErrCode}
	}
	a, n, err := Get[MobilityAgent](m)
	if err != nil {
		return none, err
	}
	if n == 0 {
		// "The presence of a Mobility Agent Advertisement Extension identifies
		// the advertisement as an Agent Advertisement."
		return none, &ParseError{Off: len(m.Raw), Err: ErrOrder}
	}
	return a, nil
}

// ForRouter is the rest of RFC 1256 section 4.2 for an agent that receives a
// solicitation: Code 0. RFC 5944 section 2.3 lifts the other rule: an agent
// "MUST NOT require that the IP Source Address is the address of a neighbor".
//
//rfc:1256#4.2
//rfc:5944#2.3
func (m *Message) ForRouter() error {
	switch {
	case m.Type != TypeSolicitation:
		return &ParseError{Off: 0, Err: ErrType}
	case m.Code != 0:
		return &ParseError{Off: 1, Err: ErrCode}
	}
	return nil
}

// FirstUnclaimed returns the first extension of type 1 to 127 that claimed
// does not want: then "the message containing that Extension MUST be silently
// discarded" (RFC 5944 section 1.8). Padding needs no claim.
//
// For the experimental type 127 the same holds, although RFC 4064 section 4.2
// says in one sentence that it "should" be ignored when not recognised: its
// section 9 and RFC 5944 agree on discarding.
//
//rfc:5944#1.8
func (m *Message) FirstUnclaimed(claimed func(Ext) bool) (Ext, bool) {
	for _, e := range m.Exts {
		if e.Type != ExtPadding && !e.Type.Skippable() && !claimed(e) {
			return e, true
		}
	}
	return Ext{}, false
}

// Find returns the first extension of the type and how many there are.
func (m *Message) Find(t ExtType) (e Ext, n int) {
	for _, x := range m.Exts {
		if x.Type == t {
			if n == 0 {
				e = x
			}
			n++
		}
	}
	return e, n
}

// Prefixes are the networks of the router addresses, from the Prefix-Lengths
// extension; nil without one or when it does not fit the addresses. They say
// nothing about care-of addresses (RFC 5944 section 2.1.2).
//
//rfc:5944#2.1.2
func (m *Message) Prefixes() []netip.Prefix {
	l, n, err := Get[PrefixLengths](m)
	if err != nil || n == 0 || len(l.Lengths) != len(m.Routers) {
		return nil
	}
	out := make([]netip.Prefix, len(m.Routers))
	for i, r := range m.Routers {
		p, err := r.Addr.Prefix(int(l.Lengths[i]))
		if err != nil {
			return nil
		}
		out[i] = p
	}
	return out
}

// checksum is the Internet checksum, RFC 1071; 0 over a valid message.
func checksum(b []byte) uint16 {
	var sum uint32
	for len(b) >= 2 {
		sum += uint32(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
