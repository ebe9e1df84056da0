package tun

import (
	"bytes"
	"net/netip"
	"testing"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

var (
	vanNet     = netip.MustParsePrefix("10.20.7.0/24")
	ferryNet   = netip.MustParsePrefix("10.20.8.0/24")
	vanHost    = netip.MustParseAddr("10.20.7.10")
	vanCareOf  = netip.MustParseAddr("10.20.8.9") // in the ferry's network
	ferryHost  = netip.MustParseAddr("10.20.8.10")
	ferryInVan = netip.MustParseAddr("10.20.7.9")
)

func networkEntry(key forward.Key, p netip.Prefix, peer netip.Addr) forward.Entry {
	return forward.Entry{Key: key, Role: forward.HomeAgent, Inner: p, Router: homeAddr, Tunnels: []forward.Tunnel{{
		Encap: encap.IPIP, Local: netip.AddrPortFrom(haAddr, 0), Peer: netip.AddrPortFrom(peer, 0),
	}}}
}

// A router behind a router gets its packets through both tunnels, although the
// home agent begins both. Two routers that are behind each other get none:
// "whenever physical loops occur in a nested aggregation of Mobile Networks,
// this protocol neither detects nor solves them", but this plane does.
//
//rfc:5177#8
func TestNestedNetworksAndCircles(t *testing.T) {
	b := newBench(t)
	b.put(networkEntry("van", vanNet, vanCareOf))
	b.put(networkEntry("ferry", ferryNet, careOf))
	packet := udpPacket(cnAddr, vanHost, 10)
	for _, want := range []netip.Addr{vanCareOf, careOf} {
		b.fromKernel(packet)
		packet = one(b, "tunnel packet", b.raw.out)
		if dst := word4(packet[16:20]); dst != want {
			t.Fatalf("to %v, want %v", dst, want)
		}
	}
	// Now the ferry is in the van.
	b.put(networkEntry("ferry", ferryNet, ferryInVan))
	packet = udpPacket(cnAddr, vanHost, 10)
	for range 2 {
		b.fromKernel(packet)
		packet = one(b, "tunnel packet", b.raw.out)
	}
	b.fromKernel(packet)
	none(b, "in a circle", b.raw.out)
	if n := b.p.Totals().Loops; n != 1 {
		t.Errorf("%d loops counted", n)
	}
}

// A network whose router has a foreign agent's care-of address: two headers out,
// and two headers in, of which none may be another's.
//
//rfc:5177#7
//rfc:5177#10
//rfc:5177#6.5-2
//rfc:5177#7-1
//rfc:5177#7-2
//rfc:5177#7-4
//rfc:5177#7-5
//rfc:5177#7-6
//rfc:5177#10-9
//rfc:5177#10-10
func TestTwoTunnelsThroughAForeignAgent(t *testing.T) {
	b := newBench(t)
	e := networkEntry("van", vanNet, careOf)
	e.Tunnels[0].Wrap = haAddr
	home := agentEntry(e.Tunnels[0])
	home.Router = homeAddr
	b.put(home)
	b.put(e)
	packet := udpPacket(cnAddr, vanHost, 10)
	b.fromKernel(bytes.Clone(packet))
	outer, middle, err := encap.PullIP(one(b, "tunnel packet", b.raw.out))
	if err != nil || outer.Dst != careOf || outer.Src != haAddr {
		t.Fatalf("outer %+v, %v", outer, err)
	}
	h, inner, err := encap.PullIP(middle)
	if err != nil || h.Src != haAddr || h.Dst != homeAddr || !bytes.Equal(inner, packet) {
		t.Errorf("within %+v: %x, %v", h, inner, err)
	}
	// For the home address itself one tunnel is enough.
	b.fromKernel(udpPacket(cnAddr, homeAddr, 10))
	if _, inner, err := encap.PullIP(one(b, "tunnel packet", b.raw.out)); err != nil || word4(inner[12:16]) != cnAddr {
		t.Errorf("%x, %v", inner, err)
	}

	wrapped := func(src, dst netip.Addr, p []byte) []byte {
		w, err := encap.Append(nil, &encap.Header{Kind: encap.IPIP, Src: src, Dst: dst}, p)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	back, reply := encap.Header{Kind: encap.IPIP, Src: careOf, Dst: haAddr}, udpPacket(vanHost, cnAddr, 10)
	b.fromNetwork(back, wrapped(homeAddr, haAddr, reply))
	if got := one(b, "packet of the network", b.dev.out); !bytes.Equal(got, reply) {
		t.Errorf("got %x, want %x", got, reply)
	}
	b.fromNetwork(encap.Header{Kind: encap.IPIP, Src: homeAddr, Dst: haAddr}, reply)
	none(b, "without the foreign agent's tunnel", b.dev.out)
	// Another router visits the same foreign agent.
	neighbour := networkEntry("ferry", ferryNet, careOf)
	neighbour.Router, neighbour.Tunnels = homeAddr.Next(), e.Tunnels
	b.put(neighbour)
	b.fromNetwork(back, wrapped(homeAddr, haAddr, udpPacket(ferryHost, cnAddr, 10)))
	none(b, "of another router's network", b.dev.out)
	b.fromNetwork(back, wrapped(other, haAddr, reply))
	none(b, "of another router", b.dev.out)
}
