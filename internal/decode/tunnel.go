package decode

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"careof/wire/encap"
)

func (w *walker) gre(b []byte, at int, partial bool) {
	const rfc = "RFC 2784 section 2.1"
	if len(b) < 4 {
		w.bad("GRE", b, at, rfc, "a header has 4 octets")
		return
	}
	flags := u16(b)
	f := Field{Offset: at, Length: 4, Name: "GRE", RFC: rfc, Nested: []Field{
		part(at, 0, 2, "Flags and Version", "0x%04x", flags),
		part(at, 2, 4, "Protocol Type", "%s", etherType(u16(b[2:]))),
	}}
	if flags&7 != 0 {
		f.Nested[0].Error = "the version must be 0"
	} else if flags&0x4c00 != 0 {
		f.Nested[0].Error, f.Nested[0].RFC = "bits 1 to 5 are set: the packet is discarded", "RFC 2784 section 2.3"
	}
	var words []string
	for _, opt := range []struct {
		bit       uint16
		name, rfc string
	}{
		{0x8000, "Checksum", "RFC 2784 section 2.5"},
		{0x2000, "Key", "RFC 2890 section 2.1"},
		{0x1000, "Sequence Number", "RFC 2890 section 2.2"},
	} {
		if flags&opt.bit == 0 {
			continue
		}
		if len(b) < f.Length+4 {
			w.bad("GRE", b, at, rfc, "the header is cut off")
			return
		}
		v := binary.BigEndian.Uint32(b[f.Length:])
		x := part(at, f.Length, f.Length+4, opt.name, "%d", v)
		x.RFC = opt.rfc
		switch opt.bit {
		case 0x8000:
			x.Value = fmt.Sprintf("0x%04x", v>>16)
			if !partial && encap.Checksum(b) != 0 {
				x.Error = "wrong checksum"
			}
		case 0x2000:
			x.Value = fmt.Sprintf("0x%08x (%d)", v, v)
			words = append(words, fmt.Sprintf("key 0x%08x", v))
		}
		f.Nested = append(f.Nested, x)
		f.Length += 4
	}
	f.Value = strings.Join(words, ", ")
	w.add(f)
	w.say("%s", strings.TrimSpace("GRE "+f.Value))
	rest := b[f.Length:]
	if flags&7 != 0 || u16(b[2:]) != etherIPv4 {
		w.data(rest, at+f.Length)
		return
	}
	w.ip(rest, at+f.Length)
}

func (w *walker) minimal(b []byte, at int, h *encap.IPv4, partial bool) {
	const rfc = "RFC 2004 section 3"
	n := 8
	if len(b) > 1 && b[1]&0x80 != 0 {
		n = 12
	}
	if len(b) < n {
		w.bad("Minimal encapsulation", b, at, rfc, "the header is cut off")
		return
	}
	in := *h
	in.Dst, in.Protocol = addr4(b[4:]), b[0]
	f := Field{Offset: at, Length: n, Name: "Minimal encapsulation", RFC: rfc, Nested: []Field{
		part(at, 0, 1, "Protocol", "%s", protocol(b[0])),
		part(at, 1, 2, "S", "%d", b[1]>>7),
		part(at, 2, 4, "Header Checksum", "0x%04x", u16(b[2:])),
		part(at, 4, 8, "Original Destination Address", "%v", in.Dst),
	}}
	if encap.Checksum(b[:n]) != 0 {
		f.Nested[2].Error = "wrong checksum"
	}
	if n == 12 {
		in.Src = addr4(b[8:])
		f.Nested = append(f.Nested, part(at, 8, 12, "Original Source Address", "%v", in.Src))
	}
	f.Value = fmt.Sprintf("%v > %v, %s", in.Src, in.Dst, protocol(b[0]))
	w.add(f)
	w.say("minimal encapsulation")
	w.say("%v > %v", in.Src, in.Dst)
	w.transport(b[0], b[n:], at+n, &in, partial)
}

func (w *walker) tunnelData(b []byte, at int, h *encap.IPv4) {
	const rfc = "RFC 3519 section 3.3"
	if len(b) < 4 {
		w.bad("Tunnel Data", b, at, rfc, "a header has 4 octets")
		return
	}
	f := Field{Offset: at, Length: 4, Name: "Tunnel Data", Value: protocol(b[1]), RFC: rfc, Nested: []Field{
		part(at, 0, 1, "Type", "4"),
		part(at, 1, 2, "Next Header", "%d %s", b[1], protocol(b[1])),
		part(at, 2, 4, "Reserved", "%d", u16(b[2:])),
	}}
	rest := b[4:]
	w.say("Tunnel Data")
	switch encap.Kind(b[1]) {
	case encap.IPIP:
		w.add(f)
		w.ip(rest, at+4)
	case encap.GRE:
		w.add(f)
		w.gre(rest, at+4, w.cut)
	case encap.Minimal:
		w.add(f)
		// RFC 3519 section 4.3: the outer header is the original's, but for
		// what minimal encapsulation restores.
		if h == nil {
			h = &encap.IPv4{Src: netip.IPv4Unspecified(), Dst: netip.IPv4Unspecified()}
		}
		w.minimal(rest, at+4, h, w.cut || h.TotalLen == 0)
	default:
		f.Nested[1].Error = "none of 4, 47 and 55"
		w.add(f)
		w.data(rest, at+4)
	}
}
