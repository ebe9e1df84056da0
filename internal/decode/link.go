package decode

import (
	"fmt"
	"strconv"
	"strings"
)

func mac(b []byte) string {
	parts := make([]string, len(b))
	for i, v := range b {
		parts[i] = fmt.Sprintf("%02x", v)
	}
	return strings.Join(parts, ":")
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
