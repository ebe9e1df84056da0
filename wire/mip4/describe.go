package mip4

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// Field is one line of a decoded message.
type Field struct {
	Offset int    `json:"offset"` // from the start of the UDP payload
	Length int    `json:"length"` // octets
	Name   string `json:"name"`
	Value  string `json:"value,omitempty"` // for people: "133 (registration Identification mismatch)"
	RFC    string `json:"rfc,omitempty"`   // "RFC 5944 section 3.3"
	// Error says why these octets could not be read; Value is then their hexadecimal form.
	Error  string  `json:"error,omitempty"`
	Nested []Field `json:"nested,omitempty"`
}

// Describe decodes m field by field. The top level is the fixed part and then one field per extension; their contents are nested.
// An extension that cannot be read becomes a field with an error and the decoding goes on behind it.
func Describe(m *Message) []Field {
	row := messageRow(m.Type)
	if row == nil || len(m.Raw) < row.Fixed {
		return []Field{broken(m.Raw, 0, len(m.Raw), "Message", errors.New("not a framed message"))}
	}
	fixed := Field{Length: m.Fixed, Name: row.Name, RFC: row.RFC}
	c := cursor{in: m.Raw[:m.Fixed], noting: true}
	if l, ok := row.New().(laid); ok {
		l.layout(&c)
	}
	fixed.Nested = c.fields
	if err := c.done(); err != nil {
		fixed.Error = err.Error()
	}
	fields := []Field{fixed}
	for _, e := range m.Exts {
		fields = append(fields, describeExt(m, e))
	}
	if !row.Extensions && len(m.Data()) > 0 {
		fields = append(fields, Field{Offset: m.Fixed, Length: len(m.Data()), Name: "Data", Value: hex.EncodeToString(m.Data())})
	}
	return fields
}

// DescribeOctets decodes a UDP payload that may be malformed: what could be framed, and a last field with the error for the rest.
func DescribeOctets(b []byte) []Field {
	var m Message
	err := m.Parse(b)
	if err == nil {
		return Describe(&m)
	}
	var fields []Field
	if m.Fixed > 0 {
		fields = Describe(&m)
	}
	return append(fields, broken(b, m.Rest, len(b), "Malformed", err))
}

func broken(b []byte, from, to int, name string, err error) Field {
	return Field{Offset: from, Length: to - from, Name: name, Value: hex.EncodeToString(b[from:to]), Error: err.Error()}
}

// describeExt decodes one extension.
func describeExt(m *Message, e Ext) Field {
	f := Field{Offset: e.Off, Length: e.End - e.Off, Name: e.Type.String()}
	row := rowOf(e.Type, e.Sub)
	if row != nil && (!row.HasSub || e.HasSub) && !(row.Format == FormatUnits && formatOf(m.Type, e.Type) != FormatUnits) {
		f.Name, f.RFC = row.Name, row.RFC
	} else {
		row = nil
	}
	f.Value = number(uint8(e.Type))
	if e.HasSub {
		f.Value = fmt.Sprintf("%d/%d", uint8(e.Type), e.Sub)
	}
	body := e.End - len(e.Body)
	switch {
	case isAuthentication(e.Type):
		f.Nested, f.Error = describeAuthentication(m, e)
		return f
	case row == nil || row.New == nil:
		rule := "a receiver that does not know it discards the message"
		if e.Type.Skippable() {
			rule = "a receiver that does not know it skips it"
		}
		f.Name, f.Value = "Unknown extension", f.Value+", "+rule
		f.Nested = []Field{{Offset: body, Length: len(e.Body), Name: "Data", Value: hex.EncodeToString(e.Body)}}
		return f
	}
	p := row.New()
	serves(p, e)
	l, ok := p.(laid)
	if !ok {
		return f
	}
	c := cursor{in: e.Body, base: body, noting: true}
	l.layout(&c)
	err := c.done()
	f.Nested = c.fields
	if err != nil {
		f.Error = err.Error()
		if c.pos < len(e.Body) {
			f.Nested = append(f.Nested, broken(m.Raw, body+c.pos, e.End, "Unread", err))
		}
	}
	return f
}

func describeAuthentication(m *Message, e Ext) (fields []Field, problem string) {
	body := e.End - len(e.Body)
	if len(e.Body) < 4 {
		return []Field{broken(m.Raw, body, e.End, "Unread", ErrShort)}, ErrShort.Error()
	}
	a := Authentication{}
	c := cursor{in: e.Body, base: body, noting: true}
	u32(&c, "SPI", &a.SPI)
	c.octets("Authenticator", &a.Authenticator)
	if _, err := m.Authentication(e); err != nil {
		problem = errors.Unwrap(err).Error()
	}
	return c.fields, problem
}
