package decode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"careof/wire/encap"
)

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
	if w.stream(b[head:], at+head, u16(b), u16(b[2:])) {
		return
	}
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
