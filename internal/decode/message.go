package decode

import (
	"errors"
	"fmt"
	"strings"

	"careof/wire/adv4"
	"careof/wire/encap"
	"careof/wire/mip4"
)

func (w *walker) icmp(b []byte, at int, partial bool) {
	if len(b) < 8 {
		w.bad("ICMP", b, at, "RFC 792", "a message has at least 8 octets")
		return
	}
	t := encap.ICMPType(b[0])
	if t == encap.RouterAdvertisement || t == encap.RouterSolicitation {
		w.add(Field{Offset: at, Length: len(b), Name: "ICMP " + t.String(), RFC: "RFC 1256 section 3", Nested: moved(adv4.Describe(b), at)})
		w.say("%s", discovery(b))
		return
	}
	f := Field{Offset: at, Length: 8, Name: "ICMP", Value: icmpText(b), RFC: "RFC 792", Nested: []Field{
		part(at, 0, 1, "Type", "%d %s", b[0], t),
		part(at, 1, 2, "Code", "%d", b[1]),
		part(at, 2, 4, "Checksum", "0x%04x", u16(b[2:])),
	}}
	if !partial && encap.Checksum(b) != 0 {
		f.Nested[2].Error = "wrong checksum"
	}
	switch {
	case t == encap.EchoRequest || t == encap.EchoReply:
		f.Nested = append(f.Nested, part(at, 4, 6, "Identifier", "%d", u16(b[4:])), part(at, 6, 8, "Sequence Number", "%d", u16(b[6:])))
	case t == encap.DestinationUnreachable && b[1] == encap.DatagramTooBig:
		mtu := part(at, 6, 8, "Next-Hop MTU", "%d", u16(b[6:]))
		mtu.RFC = "RFC 1191 section 4"
		f.Nested = append(f.Nested, mtu)
	case t == encap.ParameterProblem:
		f.Nested = append(f.Nested, part(at, 4, 5, "Pointer", "%d", b[4]))
	case t == encap.Redirect:
		f.Nested = append(f.Nested, part(at, 4, 8, "Gateway", "%v", addr4(b[4:])))
	}
	w.say("ICMP %s", f.Value)
	if !t.IsError() {
		w.add(f)
		w.data(b[8:], at+8)
		return
	}
	q := walker{depth: w.depth, cut: true}
	q.ip(b[8:], at+8)
	f.Length = len(b)
	f.Nested = append(f.Nested, Field{Offset: at + 8, Length: len(b) - 8, Name: "Quoted packet", Value: q.line(), RFC: "RFC 1812 section 4.3.2.3", Nested: q.fields})
	w.add(f)
	w.say("about %s", q.line())
}

func icmpText(b []byte) string {
	t := encap.ICMPType(b[0])
	switch {
	case t == encap.EchoRequest || t == encap.EchoReply:
		return fmt.Sprintf("%s, sequence %d", t, u16(b[6:]))
	case t == encap.DestinationUnreachable && b[1] == encap.DatagramTooBig:
		return fmt.Sprintf("datagram too big, MTU %d", u16(b[6:]))
	case t == encap.DestinationUnreachable && b[1] < 4:
		return [...]string{"net", "host", "protocol", "port"}[b[1]] + " unreachable"
	case t.IsError():
		return fmt.Sprintf("%s, code %d", t, b[1])
	}
	return t.String()
}

// discovery summarises a router discovery message.
func discovery(b []byte) string {
	m, err := adv4.Parse(b)
	if err != nil {
		return fmt.Sprintf("ICMP %s: %v", encap.ICMPType(b[0]), errors.Unwrap(err))
	}
	if m.Type == adv4.TypeSolicitation {
		return "agent solicitation"
	}
	a, err := m.ForMobileNode()
	if err != nil {
		return "router advertisement"
	}
	var care []string
	for _, c := range a.CareOfAddresses {
		care = append(care, c.String())
	}
	s := fmt.Sprintf("agent advertisement %d, flags %s", a.Sequence, a.Flags)
	if len(care) > 0 {
		s += ", care-of " + strings.Join(care, " ")
	}
	return s
}

// moved shifts the fields of a router discovery message to their place.
func moved(in []adv4.Field, by int) []Field {
	var out []Field
	for _, f := range in {
		out = append(out, Field{Offset: f.Offset + by, Length: f.Length, Name: f.Name, Value: f.Value, RFC: f.RFC, Error: f.Error, Nested: moved(f.Nested, by)})
	}
	return out
}

// shift moves the fields of a Mobile IP message to their place.
func shift(in []Field, by int) []Field {
	for i := range in {
		in[i].Offset += by
		shift(in[i].Nested, by)
	}
	return in
}

// mobileIP reads the payload of a UDP/434 datagram; h is the IP header before
// it, nil when there is none.
func (w *walker) mobileIP(b []byte, at int, h *encap.IPv4) {
	if !w.deeper(b, at) {
		return
	}
	if len(b) == 0 {
		w.bad("Mobile IP", b, at, "RFC 5944 section 3.3", "an empty datagram")
		return
	}
	if b[0] == encap.TunnelDataType {
		w.tunnelData(b, at, h)
		return
	}
	fields := shift(mip4.DescribeOctets(b), at)
	if pe := (*mip4.ParseError)(nil); errors.As(parseError(b), &pe) {
		// The field has its place already; offsets of the message would be
		// taken for those of the packet.
		last := &fields[len(fields)-1]
		last.Error = pe.Err.Error()
		if pe.In {
			last.Name = pe.Ext.String()
		}
	}
	w.fields = append(w.fields, fields...)
	w.say("%s", message(b))
}

func parseError(b []byte) error {
	_, err := mip4.Parse(b)
	return err
}

// message summarises a Mobile IP message.
func message(b []byte) string {
	m, err := mip4.Parse(b)
	if pe := (*mip4.ParseError)(nil); errors.As(err, &pe) {
		if pe.In {
			return fmt.Sprintf("%s: %v: %v", mip4.MessageType(b[0]), pe.Ext, pe.Err)
		}
		return fmt.Sprintf("%s: %v", mip4.MessageType(b[0]), pe.Err)
	} else if err != nil {
		return err.Error()
	}
	switch m.Type {
	case mip4.TypeRegistrationRequest:
		if r, err := m.Request(); err == nil {
			return fmt.Sprintf("%s: home %v, agent %v, care-of %v, %s", m.Type, r.HomeAddress, r.HomeAgent, r.CareOfAddress, lifetime(r.Lifetime))
		}
	case mip4.TypeRegistrationReply:
		if r, err := m.Reply(); err == nil {
			s := fmt.Sprintf("%s: code %d %s, home %v", m.Type, uint8(r.Code), r.Code, r.HomeAddress)
			if r.Code.Accepted() {
				s += ", " + lifetime(r.Lifetime)
			}
			return s
		}
	}
	return m.Type.String()
}

func lifetime(s uint16) string {
	switch s {
	case 0:
		return "lifetime 0 (deregistration)"
	case mip4.LifetimeInfinite:
		return "lifetime infinite"
	}
	return fmt.Sprintf("lifetime %d s", s)
}
