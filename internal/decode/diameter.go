package decode

import (
	"fmt"

	"careof/wire/diameter"
	"careof/wire/mip4"
)

// isDiameter reports whether b is one whole Diameter message of a known command.
func isDiameter(b []byte) bool {
	n, err := diameter.Size(b)
	if err != nil || n != len(b) {
		return false
	}
	h, err := diameter.ParseHeader(b)
	return err == nil && h.Command.Known()
}

// stream reads the Diameter messages of a TCP segment and reports whether there
// are any. Streams are not put together: of a message that goes on in the next
// segment only the length is told.
func (w *walker) stream(b []byte, at int, source, destination uint16) bool {
	port := source == diameter.Port || destination == diameter.Port
	first := true
	for len(b) > 0 {
		n, err := diameter.Size(b)
		if err != nil || n > len(b) || !isDiameter(b[:n]) && !port {
			if first && (!port || err != nil) {
				return false
			}
			what := "Diameter, continued"
			if err == nil {
				what = fmt.Sprintf("Diameter, %d octets of %d", len(b), n)
			}
			w.add(Field{Offset: at, Length: len(b), Name: what, Value: hexText(b), RFC: "RFC 6733 section 3"})
			w.say("%s", what)
			return true
		}
		w.diameter(b[:n], at)
		b, at, first = b[n:], at+n, false
	}
	return !first
}

// diameter reads one message.
func (w *walker) diameter(b []byte, at int) {
	w.fields = append(w.fields, diameterFields(diameter.Describe(b), b, at)...)
	m, err := diameter.Parse(b)
	if m == nil {
		w.say("Diameter: %v", err)
		return
	}
	s := "Diameter " + m.Name()
	if result, ok := m.Result(); ok {
		s += fmt.Sprintf(" %d %v", uint32(result), result)
	}
	if name, ok := m.Text(diameter.UserName); ok {
		s += " of " + name
	}
	if host, ok := m.Text(diameter.OriginHost); ok {
		s += " from " + host
	}
	w.say("%s", s)
}

// diameterFields are fields of a message b that is at a place of the packet, with
// the Mobile IP messages that AVPs carry.
func diameterFields(in []diameter.Field, b []byte, at int) []Field {
	var out []Field
	for _, f := range in {
		g := Field{Offset: f.Offset + at, Length: f.Length, Name: f.Name, Value: f.Value, RFC: f.RFC, Error: f.Error, Nested: diameterFields(f.Nested, b, at)}
		if f.Code == diameter.MIPRegRequest || f.Code == diameter.MIPRegReply {
			const head = 8
			g.Nested = shift(mip4.DescribeOctets(b[f.Offset+head:f.Offset+f.Length]), g.Offset+head)
		}
		out = append(out, g)
	}
	return out
}
