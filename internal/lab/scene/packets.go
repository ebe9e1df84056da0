package scene

import (
	"net/netip"
	"slices"

	"careof/internal/lab/check"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// A signal is a registration message seen on a segment.
type signal struct {
	from, to netip.AddrPort
	data     []byte
	request  bool
}

// signals picks the registration messages out of packets. Where an IP packet
// was seen on more than one segment, it is there more than once.
func signals(packets [][]byte) []signal {
	var list []signal
	for _, p := range packets {
		_, d, err := encap.ParseUDP(p)
		if err != nil || len(d.Payload) == 0 {
			continue
		}
		t := mip4.MessageType(d.Payload[0])
		if t != mip4.TypeRegistrationRequest && t != mip4.TypeRegistrationReply {
			continue
		}
		list = append(list, signal{d.Src, d.Dst, d.Payload, t == mip4.TypeRegistrationRequest})
	}
	return list
}

// requests picks the Registration Requests out of packets.
func requests(packets [][]byte) []signal {
	var list []signal
	for _, s := range signals(packets) {
		if s.request {
			list = append(list, s)
		}
	}
	return list
}

// registrations picks the requests out of packets that bind something, or end it. Those
// by which a node asks how its paths are name an address that is nobody's (RFC 7600).
func registrations(packets [][]byte) []signal {
	return slices.DeleteFunc(requests(packets), func(s signal) bool {
		m, err := mip4.Parse(s.data)
		if err != nil {
			return false
		}
		q, err := m.Request()
		return err == nil && q.CareOfAddress == netip.AddrFrom4([4]byte{192, 0, 0, 8})
	})
}

// datagram makes an IP packet with a UDP datagram.
func datagram(l Lab, from, to netip.AddrPort, data []byte) []byte {
	p, err := encap.AppendUDP(nil, encap.IPv4{ID: 7}, from, to, data)
	if err != nil {
		l.Fatalf("%v", err)
	}
	return p
}

// strangeTunnels makes one tunnel packet of every form, and nested ones, from
// a stranger to target, whose port is that of its signalling, that claim to carry a packet from home to victim.
func strangeTunnels(l Lab, stranger netip.Addr, target netip.AddrPort, home, victim netip.Addr) [][]byte {
	inner := datagram(l, netip.AddrPortFrom(home, 4242), netip.AddrPortFrom(victim, 4242), []byte(check.Marker))
	back := datagram(l, netip.AddrPortFrom(victim, 4242), netip.AddrPortFrom(home, 4242), []byte(check.Marker))
	var list [][]byte
	for _, kind := range encap.Kinds() {
		for _, payload := range [][]byte{inner, back} {
			for _, ports := range [][2]uint16{{434, target.Port()}, {5000, 434}} {
				h := encap.Header{Kind: kind, Src: stranger, Dst: target.Addr(), SrcPort: ports[0], DstPort: ports[1]}
				p, err := encap.Append(nil, &h, payload)
				if err != nil {
					l.Fatalf("%v", err)
				}
				list = append(list, p)
				nested, err := encap.Append(nil, &encap.Header{Kind: encap.IPIP, Src: stranger, Dst: target.Addr()}, p)
				if err != nil {
					l.Fatalf("%v", err)
				}
				list = append(list, nested)
			}
		}
	}
	return list
}
