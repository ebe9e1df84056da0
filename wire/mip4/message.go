package mip4

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// Ext is one framed extension: where it is and what it carries, not yet interpreted.
type Ext struct {
	Type     ExtType
	Sub      uint8 // valid only with HasSub
	HasSub   bool
	Off, End int    // the extension is Raw[Off:End]
	Body     []byte // the data after type, length and subtype; aliases Raw
}

// is reports whether e carries the payload number t, sub.
func (e Ext) is(t ExtType, sub uint8) bool { return e.Type == t && e.Sub == sub }

// Message is a framed datagram. Nothing in it is checked beyond the borders of its parts.
type Message struct {
	Type  MessageType
	Raw   []byte // the whole UDP payload
	Fixed int    // length of the fixed part
	Exts  []Ext  // in the order of the datagram, unknown ones included
	Rest  int    // offset where framing ended; len(Raw) unless Parse failed
}

// Parse frames a UDP payload. Unknown extensions are kept; an unknown message type, a length that does not fit and more than
// MaxExtensions extensions are errors of type *ParseError.
//
//rfc:5944#1.8
func Parse(b []byte) (*Message, error) {
	m := new(Message)
	if err := m.Parse(b); err != nil {
		return nil, err
	}
	return m, nil
}

// Parse frames b into m and reuses the memory of m.Exts. After an error m holds what was framed up to m.Rest.
func (m *Message) Parse(b []byte) error {
	*m = Message{Raw: b, Exts: m.Exts[:0]}
	if len(b) == 0 {
		return &ParseError{Err: ErrShort}
	}
	m.Type = MessageType(b[0])
	row := messageRow(m.Type)
	if row == nil {
		return &ParseError{Err: ErrType}
	}
	if len(b) < row.Fixed {
		return &ParseError{Off: len(b), Err: ErrShort}
	}
	m.Fixed, m.Rest = row.Fixed, row.Fixed
	if !row.Extensions {
		m.Rest = len(b)
		return nil
	}
	for m.Rest < len(b) {
		if len(m.Exts) == MaxExtensions {
			return &ParseError{Off: m.Rest, Ext: ExtType(b[m.Rest]), In: true, Err: ErrTooMany}
		}
		e, err := frame(m.Type, b, m.Rest)
		if err != nil {
			return &ParseError{Off: m.Rest, Ext: e.Type, In: true, Err: err}
		}
		m.Exts = append(m.Exts, e)
		m.Rest = e.End
	}
	return nil
}

// Clone returns a copy of m with memory of its own, for a machine that keeps the message beyond the step that brought it.
func (m *Message) Clone() *Message {
	c := &Message{Type: m.Type, Raw: bytes.Clone(m.Raw), Fixed: m.Fixed, Exts: slices.Clone(m.Exts), Rest: m.Rest}
	for i, e := range c.Exts {
		start := e.End - len(e.Body)
		c.Exts[i].Body = c.Raw[start:e.End:e.End]
	}
	return c
}

// frame finds the borders of the extension at off. It always advances: End > Off.
func frame(mt MessageType, b []byte, off int) (Ext, error) {
	e := Ext{Type: ExtType(b[off]), Off: off}
	rest := b[off:]
	format := formatOf(mt, e.Type)
	if format == FormatEither {
		format = dynamicHAFormat(rest)
	}
	header, length := 2, 0
	switch format {
	case FormatPad:
		// "encoded with neither Length nor Data field" (RFC 5944 section 1.8)
		header = 1
	case FormatLong, FormatVendor:
		header = 4
		if len(rest) < header {
			return e, ErrShort
		}
		length = int(binary.BigEndian.Uint16(rest[2:]))
		e.Sub, e.HasSub = rest[1], format == FormatLong
		if format == FormatVendor {
			e.Sub = 0
		}
	default:
		if len(rest) < header {
			return e, ErrShort
		}
		length = int(rest[1])
		if format == FormatUnits {
			// "The length of the option (including the Type, Length and Option-Code fields) in units of 8 octets" (RFC 4988 section 6.2).
			length = 8*length - header
			if length < 0 {
				return e, ErrLength
			}
		}
	}
	if len(rest) < header+length {
		return e, ErrLength
	}
	e.End = off + header + length
	e.Body = b[off+header : e.End : e.End]
	if format == FormatShort && length > 0 {
		e.Sub, e.HasSub, e.Body = e.Body[0], true, e.Body[1:]
	}
	return e, nil
}

// dynamicHAFormat tells the two layouts of extension 139 apart. RFC 4433 section 3.4 draws the long layout although the number
// is skippable, which RFC 5944 section 1.10 forbids; other implementations therefore use the short one.
//
//	long:  139 Sub8=1|2 Length16=4 Address32        short: 139 Length8=5 Sub8=1|2 Address32
func dynamicHAFormat(b []byte) Format {
	if len(b) >= 4 && (b[1] == 1 || b[1] == 2) && b[2] == 0 && b[3] == 4 {
		return FormatLong
	}
	return FormatShort
}

// Find returns the first extension of type t and how many there are.
func (m *Message) Find(t ExtType) (first Ext, n int) {
	for _, e := range m.Exts {
		if e.Type == t {
			if n == 0 {
				first = e
			}
			n++
		}
	}
	return first, n
}

// FindSub returns the first extension of type t and subtype sub, and how many there are.
func (m *Message) FindSub(t ExtType, sub uint8) (first Ext, n int) {
	for _, e := range m.Exts {
		if e.HasSub && e.is(t, sub) {
			if n == 0 {
				first = e
			}
			n++
		}
	}
	return first, n
}

// FirstUnclaimed returns the first extension numbered 0-127 that claimed does not accept. "When an Extension numbered ... within
// the range 0 through 127 is encountered but not recognized, the message containing that Extension MUST be silently discarded"
// (RFC 5944 section 1.8). The one-octet padding is always recognised.
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

// Data is what follows the fixed part of a message without extensions: the packet inside Tunnel Data, the octets of an
// experimental message. It aliases Raw.
func (m *Message) Data() []byte {
	if len(m.Raw) < m.Fixed {
		return nil
	}
	return m.Raw[m.Fixed:]
}
