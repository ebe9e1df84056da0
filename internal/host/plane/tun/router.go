package tun

import (
	"encoding/binary"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// doubles says whether the entry is a mobile network at its home agent. Where
// its router is registered through a foreign agent, its packets need two
// tunnels: "the Home Agent MUST encapsulate the packet with the tunnel header
// (source IP address set to Home Agent, and destination IP address set to Mobile
// Router's Home Address) and then encapsulate one more time with the tunnel
// header (source IP address set to Home Agent, and destination IP address set to
// CoA)" (RFC 5177 section 7).
//
//rfc:5177#7
//rfc:5177#7-1
//rfc:5177#7-2
func (b *binding) doubles() bool {
	e := &b.entry
	return e.Role == forward.HomeAgent && e.Router.IsValid() && e.Inner.Bits() < 32
}

// unwrap takes the second header off a packet of a mobile network, whose router
// "encapsulates the packet with a tunnel header (source IP address set to Mobile
// Router's Home Address, and destination IP address set to Home Agent)" (RFC
// 5177 section 7). It is done here and not by the kernel, since such a packet
// that did not come through the router's tunnel must not be taken: anybody can
// write its home address into a header. Without an entry that it belongs to
// there is none; a packet that is not for this end stays as it is.
//
//rfc:5177#6.5
//rfc:5177#7
//rfc:5177#10
func (p *Plane) unwrap(of *binding, t *tunnel, outer *encap.Header, packet []byte, link string, now int64) (*binding, *tunnel, []byte) {
	home := of.entry.Inner.Addr()
	if of.entry.Inner.Bits() != 32 || word4(packet[12:16]) != home || word4(packet[16:20]) != t.t.Wrap {
		return of, t, packet
	}
	h, inner, err := encap.PullIP(packet)
	if err != nil {
		return nil, nil, nil
	}
	for _, b := range p.agents(binary.BigEndian.Uint32(inner[12:])) {
		if b.entry.Router != home || !b.doubles() {
			continue
		}
		for _, x := range b.tunnels {
			if x.wrap != nil && x.judge(outer, link, isFragment(packet), now) == welcome && encap.SetECN(&h, inner) == nil {
				return b, x, inner
			}
		}
	}
	return nil, nil, nil
}
