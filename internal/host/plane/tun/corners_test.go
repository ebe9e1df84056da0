package tun

import (
	"bytes"
	"net/netip"
	"testing"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// The corners that data planes cut. corners_test.go at the root of the
// repository lists all of them.

// A broadcast for a visitor comes in two tunnels: the foreign agent takes it out
// of one and hands it on in the other, to that visitor alone.
//
//rfc:5944#4.3
//rfc:5944#3.6.1.2-5
func TestCornerE07_AForeignAgentUnwrapsOnce(t *testing.T) {
	b, out := guests(t)
	b.put(guest(forward.Both, false))
	broadcast := udpPacket(cnAddr, netip.MustParseAddr("10.10.0.255"), 10)
	nested, err := encap.Append(nil, &encap.Header{Kind: encap.IPIP, Src: haAddr, Dst: homeAddr}, broadcast)
	if err != nil {
		t.Fatal(err)
	}
	b.fromNetwork(fromHome(), nested)
	got := one(b, "packet for the visitor", (<-chan delivered)(out))
	_, inner, err := encap.Pull(bytes.Clone(got.packet))
	if err != nil || got.hw != guestHW || !bytes.Equal(inner, broadcast) {
		t.Errorf("to %v: %x, %v", got.hw, got.packet, err)
	}
	none(b, "delivered twice", (<-chan delivered)(out))
	none(b, "given to the kernel, which would broadcast it", b.dev.out)

	// One that is not nested is for nobody.
	b.fromNetwork(fromHome(), broadcast)
	none(b, "delivered", (<-chan delivered)(out))
	none(b, "given to the kernel", b.dev.out)
}

// A tunnel packet for somebody who is no visitor is not routed, which could make
// it go round; nobody hears of it.
//
//rfc:5944#4.2.2
func TestCornerE10_APacketForNoVisitorGoesNowhere(t *testing.T) {
	b, out := guests(t)
	b.put(guest(forward.Both, false))
	b.fromNetwork(fromHome(), udpPacket(cnAddr, homeAddr.Next(), 10))
	none(b, "delivered", (<-chan delivered)(out))
	none(b, "routed", b.dev.out)
	none(b, "answered", b.raw.out)
}

// A reverse tunnel takes packets from the care-of address, of the home address,
// in the form that was agreed on. All else is dropped and counted.
//
//rfc:3024#4.3.2
//rfc:3024#4.3.2-2
//rfc:3024#4.3.2-4
func TestCornerE11_TheHomeAgentChecksInnerAndOuterSource(t *testing.T) {
	tunnel := toCareOf(forward.Tunnel{Encap: encap.IPIP})
	tunnel.Local, tunnel.Peer = netip.AddrPortFrom(haAddr, 0), netip.AddrPortFrom(careOf, 0)
	good := encap.Header{Kind: encap.IPIP, Src: careOf, Dst: haAddr}
	for _, c := range []struct {
		name   string
		change func(*encap.Header, *[]byte)
	}{
		{"another inner source", func(_ *encap.Header, p *[]byte) { *p = udpPacket(other, cnAddr, 10) }},
		{"another outer source", func(h *encap.Header, _ *[]byte) { h.Src = other }},
		{"another form", func(h *encap.Header, _ *[]byte) { h.Kind = encap.GRE }},
	} {
		b := newBench(t)
		b.put(agentEntry(tunnel))
		b.fromNetwork(good, udpPacket(homeAddr, cnAddr, 10))
		one(b, "packet of the mobile node", b.dev.out)
		h, inner := good, udpPacket(homeAddr, cnAddr, 10)
		c.change(&h, &inner)
		b.fromNetwork(h, inner)
		none(b, c.name+" was forwarded", b.dev.out)
		none(b, c.name+" was answered", b.raw.out)
		if b.p.Totals().Strangers != 1 {
			t.Errorf("%s: not counted", c.name)
		}
	}
}
