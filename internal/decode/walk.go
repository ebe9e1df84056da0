package decode

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"careof/wire/adv4"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// Ethernet types that are read.
const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherVLAN = 0x8100
	etherIPv6 = 0x86dd
)

// maxDepth bounds how many headers are read behind each other: more is no
// packet that anybody sent on purpose.
const maxDepth = 24

// walker reads one packet, header behind header, and collects a field for each.
type walker struct {
	fields  []Field
	summary []string
	depth   int  // headers so far
	cut     bool // the packet may end early: it is a quote, or was not captured whole
}

// line is the summary.
func (w *walker) line() string { return strings.Join(w.summary, " · ") }

func (w *walker) say(format string, a ...any) {
	w.summary = append(w.summary, fmt.Sprintf(format, a...))
}

// add appends a header's field.
func (w *walker) add(f Field) { w.fields = append(w.fields, f) }

// bad adds octets that cannot be read. Where the packet ends early that is no
// error.
func (w *walker) bad(name string, b []byte, at int, rfc, why string) {
	if w.cut {
		if len(b) > 0 {
			w.add(Field{Offset: at, Length: len(b), Name: name, Value: hexText(b) + " (cut off)", RFC: rfc})
		}
		return
	}
	w.add(Field{Offset: at, Length: len(b), Name: name, Value: hexText(b), RFC: rfc, Error: why})
	w.say("%s: %s", name, why)
}

// deeper counts a header and reports whether it may still be read.
func (w *walker) deeper(b []byte, at int) bool {
	if w.depth++; w.depth > maxDepth {
		w.bad("Headers", b, at, "", "more than "+strconv.Itoa(maxDepth)+" headers")
		return false
	}
	return true
}

// data adds octets that are nobody's header.
func (w *walker) data(b []byte, at int) {
	if len(b) > 0 {
		w.add(Field{Offset: at, Length: len(b), Name: "Data", Value: hexText(b)})
	}
}

// padding adds octets behind the length that a header gives.
func (w *walker) padding(b []byte, at int) {
	if len(b) > 0 {
		w.add(Field{Offset: at, Length: len(b), Name: "Padding", Value: hexText(b)})
	}
}

func hexText(b []byte) string { return hex.EncodeToString(b) }

func mac(b []byte) string {
	parts := make([]string, len(b))
	for i, v := range b {
		parts[i] = fmt.Sprintf("%02x", v)
	}
	return strings.Join(parts, ":")
}

func addr4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[:4])) }

// part makes a field of b[from:to], where b begins at offset at.
func part(at, from, to int, name, format string, a ...any) Field {
	return Field{Offset: at + from, Length: to - from, Name: name, Value: fmt.Sprintf(format, a...)}
}

func u16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

// errText is an error's text without its package.
func errText(err error) string {
	s := err.Error()
	if _, rest, ok := strings.Cut(s, ": "); ok && strings.HasPrefix(s, "encap: ") {
		return rest
	}
	return s
}

func (w *walker) ethernet(b []byte, at int) {
	if len(b) < 14 {
		w.bad("Ethernet", b, at, "", "a header has 14 octets")
		return
	}
	f := Field{Offset: at, Length: 14, Name: "Ethernet", Value: mac(b[6:12]) + " > " + mac(b[:6]), Nested: []Field{
		part(at, 0, 6, "Destination", "%s", mac(b[:6])),
		part(at, 6, 12, "Source", "%s", mac(b[6:12])),
		part(at, 12, 14, "Type", "%s", etherType(u16(b[12:]))),
	}}
	w.add(f)
	w.etherPayload(u16(b[12:]), b[14:], at+14)
}

// cooked is LINKTYPE_LINUX_SLL: packet type, ARPHRD, address length, address, protocol.
func (w *walker) cooked(b []byte, at int) {
	if len(b) < 16 {
		w.bad("Linux cooked header", b, at, "", "a header has 16 octets")
		return
	}
	n := min(8, int(u16(b[4:])))
	w.add(Field{Offset: at, Length: 16, Name: "Linux cooked header", Value: mac(b[6 : 6+n]), Nested: []Field{
		part(at, 0, 2, "Packet type", "%d", u16(b)),
		part(at, 6, 6+n, "Source", "%s", mac(b[6:6+n])),
		part(at, 14, 16, "Type", "%s", etherType(u16(b[14:]))),
	}})
	w.etherPayload(u16(b[14:]), b[16:], at+16)
}

func etherType(t uint16) string {
	switch t {
	case etherIPv4:
		return "0x0800 IPv4"
	case etherARP:
		return "0x0806 ARP"
	case etherVLAN:
		return "0x8100 VLAN"
	case etherIPv6:
		return "0x86dd IPv6"
	}
	return fmt.Sprintf("0x%04x", t)
}

func (w *walker) etherPayload(t uint16, b []byte, at int) {
	if !w.deeper(b, at) {
		return
	}
	switch t {
	case etherIPv4, etherIPv6:
		w.ip(b, at)
	case etherARP:
		w.arp(b, at)
	case etherVLAN:
		if len(b) < 4 {
			w.bad("VLAN tag", b, at, "", "a tag has 4 octets")
			return
		}
		w.add(Field{Offset: at, Length: 4, Name: "VLAN tag", Value: strconv.Itoa(int(u16(b) & 0xfff)), Nested: []Field{
			part(at, 2, 4, "Type", "%s", etherType(u16(b[2:]))),
		}})
		w.etherPayload(u16(b[2:]), b[4:], at+4)
	default:
		w.say("Ethernet type %s", etherType(t))
		w.data(b, at)
	}
}

func (w *walker) arp(b []byte, at int) {
	const rfc = "RFC 826"
	if len(b) < 28 || u16(b) != 1 || u16(b[2:]) != etherIPv4 || b[4] != 6 || b[5] != 4 {
		w.bad("ARP", b, at, rfc, "not ARP for IPv4 on Ethernet")
		return
	}
	op := fmt.Sprintf("operation %d", u16(b[6:]))
	switch u16(b[6:]) {
	case 1:
		op = "request"
	case 2:
		op = "reply"
	}
	sender, target := addr4(b[14:]), addr4(b[24:])
	value := fmt.Sprintf("%s: %v is at %s, asks for %v", op, sender, mac(b[8:14]), target)
	if op == "reply" {
		value = fmt.Sprintf("reply: %v is at %s", sender, mac(b[8:14]))
	}
	f := Field{Offset: at, Length: 28, Name: "ARP", Value: value, RFC: rfc, Nested: []Field{
		part(at, 6, 8, "Operation", "%s", op),
		part(at, 8, 14, "Sender hardware address", "%s", mac(b[8:14])),
		part(at, 14, 18, "Sender protocol address", "%v", sender),
		part(at, 18, 24, "Target hardware address", "%s", mac(b[18:24])),
		part(at, 24, 28, "Target protocol address", "%v", target),
	}}
	if sender == target {
		// RFC 5944 section 4.6: sender and target address are both the home address.
		f.Value, f.RFC = fmt.Sprintf("gratuitous %s: %v is at %s", op, sender, mac(b[8:14])), "RFC 5944 section 4.6"
	}
	w.add(f)
	w.say("ARP %s", f.Value)
	w.padding(b[28:], at+28)
}

// ip reads an IPv4 header, and of IPv6 the fixed one only.
func (w *walker) ip(b []byte, at int) {
	if !w.deeper(b, at) {
		return
	}
	if len(b) >= 40 && b[0]>>4 == 6 {
		src, dst := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		w.add(Field{Offset: at, Length: 40, Name: "IPv6", Value: fmt.Sprintf("%v > %v", src, dst), RFC: "RFC 8200 section 3", Nested: []Field{
			part(at, 6, 7, "Next Header", "%d", b[6]),
			part(at, 7, 8, "Hop Limit", "%d", b[7]),
			part(at, 8, 24, "Source", "%v", src),
			part(at, 24, 40, "Destination", "%v", dst),
		}})
		w.say("%v > %v IPv6, next header %d", src, dst, b[6])
		w.data(b[40:], at+40)
		return
	}
	if len(b) < 20 || b[0]>>4 != 4 || int(b[0]&15)*4 < 20 || int(b[0]&15)*4 > len(b) {
		w.bad("IPv4", b, at, "RFC 791 section 3.1", "no IPv4 header")
		return
	}
	h, err := encap.ParseIPv4(b)
	if errors.Is(err, encap.ErrShort) && w.cut {
		err = nil // a quote is cut off
		if encap.Checksum(b[:h.HeaderLen]) != 0 {
			err = encap.ErrChecksum
		}
	}
	f := Field{Offset: at, Length: h.HeaderLen, Name: "IPv4", RFC: "RFC 791 section 3.1",
		Value: fmt.Sprintf("%v > %v, %s, %d octets, TTL %d", h.Src, h.Dst, protocol(h.Protocol), h.TotalLen, h.TTL),
		Nested: []Field{
			part(at, 0, 1, "Version, Header Length", "4, %d octets", h.HeaderLen),
			part(at, 1, 2, "Type of Service", "0x%02x (DSCP %d, %s)", h.TOS, h.TOS>>2, ecn(h.TOS)),
			part(at, 2, 4, "Total Length", "%d", h.TotalLen),
			part(at, 4, 6, "Identification", "0x%04x", h.ID),
			part(at, 6, 8, "Flags, Fragment Offset", "%s", fragment(&h)),
			part(at, 8, 9, "Time to Live", "%d", h.TTL),
			part(at, 9, 10, "Protocol", "%s", protocol(h.Protocol)),
			part(at, 10, 12, "Header Checksum", "0x%04x", u16(b[10:])),
			part(at, 12, 16, "Source", "%v", h.Src),
			part(at, 16, 20, "Destination", "%v", h.Dst),
		}}
	if h.HeaderLen > 20 {
		f.Nested = append(f.Nested, part(at, 20, h.HeaderLen, "Options", "%x", b[20:h.HeaderLen]))
	}
	if err != nil {
		f.Error = errText(err)
	}
	w.add(f)
	w.say("%v > %v", h.Src, h.Dst)
	end := max(h.HeaderLen, min(len(b), h.TotalLen))
	p := b[h.HeaderLen:end]
	if h.FragOffset != 0 {
		w.say("fragment at %d", h.FragOffset)
		w.data(p, at+h.HeaderLen)
	} else {
		w.transport(h.Protocol, p, at+h.HeaderLen, &h, h.MF || err != nil || w.cut)
	}
	w.padding(b[end:], at+end)
}

func ecn(tos uint8) string {
	return [...]string{"Not-ECT", "ECT(1)", "ECT(0)", "CE"}[tos&3]
}

func fragment(h *encap.IPv4) string {
	var parts []string
	if h.DF {
		parts = append(parts, "DF")
	}
	if h.MF {
		parts = append(parts, "MF")
	}
	if len(parts) == 0 {
		parts = append(parts, "-")
	}
	return strings.Join(parts, " ") + ", " + strconv.Itoa(h.FragOffset)
}

// protocols names the IP protocol numbers that a Mobile IP capture shows.
var protocols = []struct {
	n    uint8
	name string
}{
	{1, "ICMP"}, {2, "IGMP"}, {4, "IP-in-IP"}, {6, "TCP"}, {17, "UDP"}, {41, "IPv6"},
	{47, "GRE"}, {50, "ESP"}, {51, "AH"}, {55, "minimal encapsulation"},
}

func protocol(n uint8) string {
	for _, p := range protocols {
		if p.n == n {
			return p.name
		}
	}
	return "protocol " + strconv.Itoa(int(n))
}

// transport reads what an IP header announces. partial says that the payload
// is not whole, so that sums and lengths cannot hold.
func (w *walker) transport(proto uint8, b []byte, at int, h *encap.IPv4, partial bool) {
	if !w.deeper(b, at) {
		return
	}
	switch proto {
	case 1:
		w.icmp(b, at, partial)
	case 4:
		w.say("IP-in-IP")
		w.ip(b, at)
	case 6:
		w.tcp(b, at)
	case 17:
		w.udp(b, at, h, partial)
	case 47:
		w.gre(b, at, partial)
	case 55:
		w.minimal(b, at, h, partial)
	default:
		w.say("%s", protocol(proto))
		w.data(b, at)
	}
}

func (w *walker) tcp(b []byte, at int) {
	if len(b) < 20 {
		if w.cut && len(b) >= 8 {
			w.add(Field{Offset: at, Length: len(b), Name: "TCP", Value: fmt.Sprintf("%d > %d", u16(b), u16(b[2:])), RFC: "RFC 9293 section 3.1"})
			w.say("TCP %d > %d", u16(b), u16(b[2:]))
			return
		}
		w.bad("TCP", b, at, "RFC 9293 section 3.1", "a header has 20 octets")
		return
	}
	head := int(b[12]>>4) * 4
	if head < 20 || head > len(b) {
		head = 20
	}
	var flags []string
	for i, name := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"} {
		if b[13]>>i&1 != 0 {
			flags = append(flags, name)
		}
	}
	w.add(Field{Offset: at, Length: head, Name: "TCP", RFC: "RFC 9293 section 3.1",
		Value: fmt.Sprintf("%d > %d, %s", u16(b), u16(b[2:]), strings.Join(flags, " ")), Nested: []Field{
			part(at, 0, 2, "Source Port", "%d", u16(b)),
			part(at, 2, 4, "Destination Port", "%d", u16(b[2:])),
			part(at, 4, 8, "Sequence Number", "%d", binary.BigEndian.Uint32(b[4:])),
			part(at, 8, 12, "Acknowledgment Number", "%d", binary.BigEndian.Uint32(b[8:])),
			part(at, 13, 14, "Flags", "%s", strings.Join(flags, " ")),
		}})
	w.say("TCP %d > %d %s, %d octets", u16(b), u16(b[2:]), strings.Join(flags, " "), len(b)-head)
	w.data(b[head:], at+head)
}

func (w *walker) udp(b []byte, at int, h *encap.IPv4, partial bool) {
	const rfc = "RFC 768"
	if len(b) < 8 {
		w.bad("UDP", b, at, rfc, "a header has 8 octets")
		return
	}
	sport, dport, n := u16(b), u16(b[2:]), int(u16(b[4:]))
	f := Field{Offset: at, Length: 8, Name: "UDP", Value: fmt.Sprintf("%d > %d, %d octets", sport, dport, n), RFC: rfc, Nested: []Field{
		part(at, 0, 2, "Source Port", "%d", sport),
		part(at, 2, 4, "Destination Port", "%d", dport),
		part(at, 4, 6, "Length", "%d", n),
		part(at, 6, 8, "Checksum", "0x%04x", u16(b[6:])),
	}}
	sum := &f.Nested[3]
	switch {
	case n < 8 || n > len(b) && !partial:
		f.Nested[2].Error = "the length does not fit the packet"
		n = len(b)
	case n > len(b):
		n = len(b)
	case u16(b[6:]) == 0:
		sum.Value += " (none)"
	case partial:
	case u16(b[6:]) == pseudoSum(n, h):
		// The sender's system leaves the rest to the network device.
		sum.Value += " (of the pseudo header only: captured before the sender's device completed it)"
	case udpSum(b[:n], h) != 0:
		// RFC 5944 section 3.1: it "MUST be checked by the recipient".
		sum.Error, sum.RFC = "wrong checksum: the message is discarded silently", "RFC 5944 section 3.1"
	}
	w.add(f)
	if sport != encap.Port && dport != encap.Port {
		w.say("UDP %d > %d, %d octets", sport, dport, n-8)
		w.data(b[8:n], at+8)
	} else {
		w.say("UDP %d > %d", sport, dport)
		w.mobileIP(b[8:n], at+8, h)
	}
	w.padding(b[n:], at+n)
}

// pseudoHeader is the one of a UDP datagram of n octets.
func pseudoHeader(n int, h *encap.IPv4) []byte {
	src, dst := h.Src.As4(), h.Dst.As4()
	b := make([]byte, 0, 12+n)
	b = append(append(b, src[:]...), dst[:]...)
	return append(b, 0, 17, byte(n>>8), byte(n))
}

// udpSum is 0 over a datagram with a good checksum.
func udpSum(d []byte, h *encap.IPv4) uint16 {
	return encap.Checksum(append(pseudoHeader(len(d), h), d...))
}

// pseudoSum is what the checksum field holds before the payload is summed.
func pseudoSum(n int, h *encap.IPv4) uint16 { return ^encap.Checksum(pseudoHeader(n, h)) }

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
