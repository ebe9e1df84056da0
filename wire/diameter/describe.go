package diameter

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// Field is one line of a described message.
type Field struct {
	Offset int    // from the start of the message
	Length int    // octets, without padding
	Name   string // the RFC's word
	Value  string
	RFC    string
	Error  string // why these octets could not be read
	Code   Code   // of an AVP of the IETF's; otherwise 0
	Nested []Field
}

// Describe reads one message field by field. An error does not end it: it becomes the Error of the field at its place. Keys are not
// printed.
func Describe(b []byte) []Field {
	const rfc = "RFC 6733 section 3"
	h, err := ParseHeader(b)
	if err != nil {
		return []Field{{Length: len(b), Name: "Diameter", Value: hex.EncodeToString(b), RFC: rfc, Error: what(err)}}
	}
	n := int(uint24(b[1:]))
	head := Field{Length: HeaderLen, Name: "Diameter", Value: h.Name(), RFC: rfc, Nested: []Field{
		{0, 1, "Version", fmt.Sprint(b[0]), rfc, "", 0, nil},
		{1, 3, "Message Length", fmt.Sprint(n), rfc, "", 0, nil},
		{4, 1, "Command Flags", h.Flags.String(), rfc, "", 0, nil},
		{5, 3, "Command Code", fmt.Sprintf("%d %v", uint32(h.Command), h.Command), rfc, "", 0, nil},
		{8, 4, "Application-ID", fmt.Sprintf("%d %v", uint32(h.Application), h.Application), rfc, "", 0, nil},
		{12, 4, "Hop-by-Hop Identifier", fmt.Sprintf("0x%08x", h.HopByHop), rfc, "", 0, nil},
		{16, 4, "End-to-End Identifier", fmt.Sprintf("0x%08x", h.EndToEnd), rfc, "", 0, nil},
	}}
	if g := grammarOf(h.Command); g != nil {
		head.RFC = g.rfc
	}
	list, err := parseList(b, HeaderLen)
	fields := append([]Field{head}, describeList(list, 0)...)
	if err == nil && n != len(b) {
		err = &Error{Offset: len(b), What: fmt.Sprintf("message length %d, and there are %d octets", n, len(b))}
	}
	return append(fields, rest(err, b, 0)...)
}

// rest is the field of what could not be framed in b, which begins at base.
func rest(err error, b []byte, base int) []Field {
	var e *Error
	if !errors.As(err, &e) {
		return nil
	}
	at := min(e.Offset-base, len(b))
	return []Field{{Offset: base + at, Length: len(b) - at, Name: "Malformed", Value: hex.EncodeToString(b[at:]), RFC: "RFC 6733 section 4.1", Error: e.What}}
}

func what(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.What
	}
	return err.Error()
}

func describeList(list List, depth int) []Field {
	var fields []Field
	for i := range list {
		a := &list[i]
		f := Field{Offset: a.Offset, Length: a.headerLen() + len(a.Data), Name: a.Code.String(), Value: a.Value()}
		r := a.row()
		switch {
		case a.Vendor != 0:
			f.Name = fmt.Sprintf("AVP(%d) of vendor %d", uint32(a.Code), a.Vendor)
		case r != nil:
			f.RFC, f.Code = r.RFC, a.Code
			if wrong, _ := r.Kind.judge(a.Data); wrong != "" {
				f.Error = wrong
			}
		}
		if r != nil && r.Kind == Grouped && depth < MaxDepth {
			inner, err := a.group()
			f.Value = ""
			f.Nested = append(describeList(inner, depth+1), rest(err, a.Data, a.Offset+a.headerLen())...)
		}
		if f.Value != "" {
			f.Value = fmt.Sprintf("[%v] %s", a.Flags, f.Value)
		} else {
			f.Value = fmt.Sprintf("[%v]", a.Flags)
		}
		fields = append(fields, f)
	}
	return fields
}
