package adv4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Field is one described part of a message.
type Field struct {
	Offset int     `json:"offset"` // from the ICMP type
	Length int     `json:"length"` // octets
	Name   string  `json:"name"`   // the RFC's word
	Value  string  `json:"value,omitempty"`
	RFC    string  `json:"rfc,omitempty"`   // "RFC 5944 section 2.1.1"
	Error  string  `json:"error,omitempty"` // why these octets could not be read
	Nested []Field `json:"nested,omitempty"`
}

// Describe reads the ICMP message b field by field. An error does not end it:
// it becomes the Error of the field at its place, and what can still be read
// follows.
func Describe(b []byte) []Field {
	if len(b) < headerLen {
		return []Field{{0, len(b), "ICMP", hex(b), "RFC 792", "an ICMP message has at least 8 octets", nil}}
	}
	t := MessageType(b[0])
	fields := []Field{
		{0, 1, "Type", fmt.Sprintf("%d %s", uint8(t), t), "RFC 1256 section 3", "", nil},
		{1, 1, "Code", codeText(t, b[1]), "RFC 5944 section 2.1", "", nil},
		{2, 2, "Checksum", hex(b[2:4]), "RFC 1256 section 3", checksumError(b), nil},
	}
	switch t {
	case TypeSolicitation:
		fields = append(fields, Field{4, 4, "Reserved", hex(b[4:8]), "RFC 1256 section 3", "", nil})
		if len(b) > headerLen {
			fields = append(fields, Field{headerLen, len(b) - headerLen, "ignored", hex(b[headerLen:]), "RFC 1256 section 4.2", "", nil})
		}
		return fields
	case TypeAdvertisement:
		return append(fields, describeAdvertisement(b)...)
	}
	return append(fields, Field{headerLen, len(b) - headerLen, "Data", hex(b[headerLen:]), "RFC 1256 section 3", "not a router discovery message", nil})
}

func describeAdvertisement(b []byte) []Field {
	n, size := int(b[4]), int(b[5])*4
	fields := []Field{
		{4, 1, "Num Addrs", strconv.Itoa(n), "RFC 1256 section 3", "", nil},
		{5, 1, "Addr Entry Size", fmt.Sprintf("%d words", b[5]), "RFC 1256 section 3", "", nil},
		{6, 2, "Lifetime", seconds(binary.BigEndian.Uint16(b[6:]), false), "RFC 1256 section 3", "", nil},
	}
	m := &Message{Type: TypeAdvertisement, Code: b[1], Raw: b}
	err := m.parseAdvertisement(b)
	for i, r := range m.Routers {
		pref := strconv.Itoa(int(r.Preference))
		if r.Preference == NotDefault {
			pref = "not a default router"
		}
		fields = append(fields, Field{headerLen + i*size, size, "Router Address", fmt.Sprintf("%v, preference %s", r.Addr, pref), "RFC 1256 section 3", "", nil})
	}
	for _, e := range m.Exts {
		fields = append(fields, describeExt(e))
	}
	var pe *ParseError
	if errors.As(err, &pe) {
		rest := headerLen + len(m.Routers)*size
		if len(m.Exts) > 0 {
			rest = m.Exts[len(m.Exts)-1].End
		}
		fields = append(fields, Field{rest, len(b) - rest, "Data", hex(b[rest:]), "RFC 5944 section 1.8", pe.Err.Error(), nil})
	}
	return fields
}

// describeExt is an extension with its header and its data as nested fields.
func describeExt(e Ext) Field {
	row, known := lookup(e.Type, e.Sub)
	f := Field{Offset: e.Off, Length: e.End - e.Off, Name: row.Name, RFC: row.RFC}
	if !known {
		f.Name, f.RFC = e.Type.String(), "RFC 5944 section 1.8"
		f.Value = "unknown: the message is discarded"
		if e.Type.Skippable() {
			f.Value = "unknown: skipped"
		}
	}
	f.Nested = append(f.Nested, Field{e.Off, 1, "Type", strconv.Itoa(int(e.Type)), f.RFC, "", nil})
	if e.Type == ExtPadding {
		return f
	}
	f.Nested = append(f.Nested, Field{e.Off + 1, 1, "Length", strconv.Itoa(e.End - e.Off - 2), f.RFC, "", nil})
	at := e.Off + 2
	if e.HasSub {
		f.Nested = append(f.Nested, Field{at, 1, "Sub-Type", strconv.Itoa(int(e.Sub)), f.RFC, "", nil})
		at++
	}
	if !known {
		if len(e.Body) > 0 {
			f.Nested = append(f.Nested, Field{at, len(e.Body), "Data", hex(e.Body), f.RFC, "", nil})
		}
		return f
	}
	f.Nested = append(f.Nested, describeBody(e, at, row)...)
	return f
}

func describeBody(e Ext, at int, row Row) []Field {
	p := row.New()
	if n, ok := p.(numbered); ok {
		n.setNumber(e.Type, e.Sub)
	}
	if err := p.ParseBody(e.Body); err != nil {
		return []Field{{at, len(e.Body), "Data", hex(e.Body), row.RFC, err.Error(), nil}}
	}
	switch p := p.(type) {
	case *MobilityAgent:
		contradiction := ""
		if err := p.Check(); err != nil {
			contradiction = err.Error()
		}
		fields := []Field{
			{at, 2, "Sequence Number", strconv.Itoa(int(p.Sequence)), "RFC 5944 section 2.3.2", "", nil},
			{at + 2, 2, "Registration Lifetime", seconds(p.Lifetime, true), row.RFC, "", nil},
			{at + 4, 2, "Flags", flagsText(p.Flags), row.RFC, contradiction, nil},
		}
		for i, a := range p.CareOfAddresses {
			fields = append(fields, Field{at + 6 + 4*i, 4, "Care-of Address", a.String(), row.RFC, "", nil})
		}
		return fields
	case *PrefixLengths:
		fields := make([]Field, len(p.Lengths))
		for i, l := range p.Lengths {
			fields[i] = Field{at + i, 1, "Prefix Length", "/" + strconv.Itoa(int(l)), row.RFC, "", nil}
		}
		return fields
	case *Challenge:
		return []Field{{at, len(p.Value), "Challenge", hex(p.Value), row.RFC, "", nil}}
	case *NAI:
		return []Field{{at, len(e.Body), "NAI", strconv.QuoteToASCII(p.Value), row.RFC, "", nil}}
	case *LinkLayerAddress:
		return []Field{{at, len(p.Data), "Address", addressText(p), row.RFC, "", nil}}
	}
	return []Field{{at, len(e.Body), "Data", hex(e.Body), row.RFC, "", nil}}
}

func addressText(p *LinkLayerAddress) string {
	switch p.Sub {
	case 5, 7:
		return netip.AddrFrom4([4]byte(p.Data)).String()
	case 3, 4:
		parts := make([]string, len(p.Data))
		for i, b := range p.Data {
			parts[i] = fmt.Sprintf("%02x", b)
		}
		return strings.Join(parts, ":")
	}
	return strconv.QuoteToASCII(string(p.Data))
}

func codeText(t MessageType, code uint8) string {
	switch {
	case t == TypeAdvertisement && code == CodeNoCommonTraffic:
		return "16 does not route common traffic"
	case code == 0 && t == TypeAdvertisement:
		return "0 routes common traffic"
	}
	return strconv.Itoa(int(code))
}

func checksumError(b []byte) string {
	if checksum(b) != 0 {
		return ErrChecksum.Error()
	}
	return ""
}

// flagsText is the letters and their meaning.
func flagsText(f Flags) string {
	var words []string
	for _, n := range flagNames {
		if f&n.flag != 0 {
			words = append(words, n.text)
		}
	}
	if len(words) == 0 {
		return f.String()
	}
	return f.String() + " (" + strings.Join(words, ", ") + ")"
}

func seconds(s uint16, infinite bool) string {
	if infinite && s == LifetimeInfinite {
		return "infinite"
	}
	return strconv.Itoa(int(s)) + " s"
}

func hex(b []byte) string { return fmt.Sprintf("%x", b) }
