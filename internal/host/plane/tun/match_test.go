package tun

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// arriving is the outer header of a packet of the mobile node's.
func arriving(t forward.Tunnel) encap.Header {
	return encap.Header{
		Kind: t.Encap, Inner: t.Inside, Src: t.Peer.Addr(), Dst: t.Local.Addr(),
		SrcPort: t.Peer.Port(), DstPort: t.Local.Port(), HasKey: t.HasKey, Key: t.Key,
	}
}

var other = netip.MustParseAddr("203.0.113.66")

// A packet is taken only when it matches its tunnel in every respect.
//
//rfc:3024#4.3.2
//rfc:3519#4.3
//rfc:2003#6.2-1
//rfc:3519#3.3-2
//rfc:3519#3.3-3
//rfc:3519#4.7-2
//rfc:3519#4.3-1
func TestEveryPartOfATunnelMustMatch(t *testing.T) {
	inner := udpPacket(homeAddr, cnAddr, 100)
	for _, shape := range shapes {
		tun := toCareOf(shape.t)
		udp := tun.Encap == encap.UDP
		for _, c := range []struct {
			name   string
			change func(h *encap.Header, inner []byte) []byte
			skip   bool
		}{
			{name: "outer source", change: func(h *encap.Header, p []byte) []byte { h.Src = other; return p }},
			{name: "outer destination", change: func(h *encap.Header, p []byte) []byte { h.Dst = other; return p }},
			{name: "source port", skip: !udp, change: func(h *encap.Header, p []byte) []byte { h.SrcPort++; return p }},
			{name: "destination port", skip: !udp, change: func(h *encap.Header, p []byte) []byte { h.DstPort++; return p }},
			{name: "inner source", change: func(h *encap.Header, p []byte) []byte { return udpPacket(other, cnAddr, 100) }},
			{name: "a neighbour's inner source", change: func(h *encap.Header, p []byte) []byte {
				return udpPacket(homeAddr.Next(), cnAddr, 100)
			}},
			{name: "encapsulation", change: func(h *encap.Header, p []byte) []byte {
				kind := &h.Kind
				if udp {
					kind = &h.Inner
				}
				if *kind == encap.GRE {
					*kind = encap.IPIP
				} else {
					*kind = encap.GRE
				}
				return p
			}},
			{name: "UDP or not", change: func(h *encap.Header, p []byte) []byte {
				if udp {
					h.Kind = encap.IPIP
				} else {
					h.Kind, h.Inner = encap.UDP, h.Kind
					h.SrcPort, h.DstPort = mnPort, encap.Port
				}
				return p
			}},
			{name: "another key", skip: !tun.HasKey, change: func(h *encap.Header, p []byte) []byte { h.Key++; return p }},
			{name: "no key", skip: !tun.HasKey, change: func(h *encap.Header, p []byte) []byte { h.HasKey, h.Key = false, 0; return p }},
			{name: "a key", skip: tun.HasKey || tun.Encap != encap.GRE, change: func(h *encap.Header, p []byte) []byte { h.HasKey = true; return p }},
		} {
			if c.skip {
				continue
			}
			t.Run(shape.name+"/"+c.name, func(t *testing.T) {
				b := newBench(t)
				b.put(agentEntry(tun))
				h := arriving(tun)
				b.fromNetwork(h, inner)
				one(b, "packet through the right tunnel", b.dev.out)
				forged := c.change(&h, inner)
				b.fromNetwork(h, forged)
				none(b, "forwarded", b.dev.out)
				none(b, "answered", b.raw.out)
				none(b, "answered", (<-chan sentData)(b.udp))
				if b.p.Totals().Strangers == 0 {
					t.Error("not counted")
				}
			})
		}
	}
}

// The mobile node takes packets for its home address, and no others, from its
// home agent.
func TestMobileNodeTakesOnlyItsOwn(t *testing.T) {
	b := newBench(t)
	tun := forward.Tunnel{Local: netip.AddrPortFrom(careOf, 0), Peer: netip.AddrPortFrom(haAddr, encap.Port), Link: "eth0", Encap: encap.UDP}
	b.put(mobileEntry(tun))
	h := encap.Header{Kind: encap.UDP, Src: haAddr, Dst: careOf, SrcPort: encap.Port, DstPort: 50000}
	b.fromNetwork(h, udpPacket(cnAddr, homeAddr, 10))
	one(b, "packet for the home address", b.dev.out)
	b.fromNetwork(h, udpPacket(cnAddr, other, 10))
	b.fromNetwork(h, udpPacket(homeAddr, cnAddr, 10))
	h.SrcPort = 435
	b.fromNetwork(h, udpPacket(cnAddr, homeAddr, 10))
	none(b, "taken", b.dev.out)
	none(b, "event", b.p.Events())
	if n := b.p.Totals().Strangers; n != 3 {
		t.Errorf("%d strangers, want 3", n)
	}
}

// The plane itself ends a tunnel at its Until; an extension moves that, for
// the tunnels that send only.
func TestUntilAndExtend(t *testing.T) {
	b := newBench(t)
	tun := toCareOf(forward.Tunnel{Encap: encap.IPIP, Until: b.now.Add(10 * time.Second)})
	drains := toCareOf(forward.Tunnel{Encap: encap.IPIP, Mode: forward.Receive, Peer: netip.AddrPortFrom(other, 0), Until: b.now.Add(2 * time.Second)})
	b.put(agentEntry(tun, drains))
	b.fromKernel(udpPacket(cnAddr, homeAddr, 10))
	one(b, "tunnel packet", b.raw.out)
	none(b, "second copy into the tunnel that drains", b.raw.out)
	b.fromNetwork(arriving(drains), udpPacket(homeAddr, cnAddr, 10))
	one(b, "packet out of the tunnel that drains", b.dev.out)

	must := func(c forward.Change) {
		t.Helper()
		if err := b.p.Apply(context.Background(), []forward.Change{c}); err != nil {
			t.Fatal(err)
		}
	}
	until := b.now.Add(60 * time.Second)
	must(forward.Change{Op: forward.Extend, Entry: forward.Entry{Key: "mn"}, Until: until})
	must(forward.Change{Op: forward.Extend, Entry: forward.Entry{Key: "nobody"}, Until: until})
	b.wait(11 * time.Second)
	b.fromNetwork(arriving(drains), udpPacket(homeAddr, cnAddr, 10))
	none(b, "taken after draining", b.dev.out)
	b.fromKernel(udpPacket(cnAddr, homeAddr, 10))
	one(b, "tunnel packet after the extension", b.raw.out)
	for e := range b.p.List(context.Background()) {
		if !e.Tunnels[0].Until.Equal(until) || e.Tunnels[1].Until.Equal(until) {
			t.Errorf("listed until %v and %v", e.Tunnels[0].Until, e.Tunnels[1].Until)
		}
	}

	b.wait(50 * time.Second)
	b.fromKernel(udpPacket(cnAddr, homeAddr, 10))
	b.fromNetwork(arriving(tun), udpPacket(homeAddr, cnAddr, 10))
	none(b, "sent after the end", b.raw.out)
	none(b, "taken after the end", b.dev.out)
	if c := b.p.Counters("mn"); c.DroppedPackets != 1 || b.p.Totals().Tunnelless != 1 {
		t.Errorf("%d dropped, of them %d for want of a tunnel", c.DroppedPackets, b.p.Totals().Tunnelless)
	}
}

// Half bound: nothing is sent, nothing is taken; a packet from the right
// address tells the port, one from another address nothing.
//
//rfc:3519#4.11
//rfc:3519#4.6-7
//rfc:3519#4.6-9
func TestHalfBound(t *testing.T) {
	b := newBench(t)
	tun := toCareOf(forward.Tunnel{Encap: encap.UDP, AnyPort: true, Peer: netip.AddrPortFrom(careOf, 0)})
	b.put(agentEntry(tun))
	b.fromKernel(udpPacket(cnAddr, homeAddr, 10))
	none(b, "sent while half bound", (<-chan sentData)(b.udp))

	echo, err := encap.AppendEcho(nil, &encap.Echo{Type: encap.EchoRequest, Src: homeAddr, Dst: haAddr, ID: 1, Seq: 2}, 1)
	if err != nil {
		t.Fatal(err)
	}
	h := encap.Header{Kind: encap.UDP, Src: other, Dst: haAddr, SrcPort: 5555, DstPort: encap.Port}
	b.fromNetwork(h, echo)
	none(b, "event for another address", b.p.Events())
	h.Src = careOf
	b.fromNetwork(h, echo)
	want := forward.EndpointSeen{Key: "mn", Local: netip.AddrPortFrom(haAddr, encap.Port), From: netip.AddrPortFrom(careOf, 5555), Echo: true}
	if got := one(b, "event", b.p.Events()); got != want {
		t.Errorf("event %+v, want %+v", got, want)
	}
	none(b, "forwarded while half bound", b.dev.out)
}

// A NAT that has bound anew is told, at a limited rate, and nothing forwarded.
func TestEndpointSeenAfterRebinding(t *testing.T) {
	b := newBench(t)
	b.put(agentEntry(toCareOf(forward.Tunnel{Encap: encap.UDP})))
	h := encap.Header{Kind: encap.UDP, Src: other, Dst: haAddr, SrcPort: 777, DstPort: encap.Port}
	for range 1000 {
		b.fromNetwork(h, udpPacket(homeAddr, cnAddr, 10))
	}
	got := one(b, "event", b.p.Events())
	if want := (forward.EndpointSeen{Key: "mn", Local: netip.AddrPortFrom(haAddr, encap.Port), From: netip.AddrPortFrom(other, 777)}); got != want {
		t.Errorf("event %+v, want %+v", got, want)
	}
	none(b, "second event within the interval", b.p.Events())
	none(b, "forwarded", b.dev.out)
	b.wait(time.Second)
	echo, _ := encap.AppendEcho(nil, &encap.Echo{Type: encap.EchoRequest, Src: homeAddr, Dst: netip.MustParseAddr("203.0.113.9")}, 1)
	b.fromNetwork(h, echo)
	if e := one(b, "event", b.p.Events()).(forward.EndpointSeen); !e.Echo {
		t.Error("a keepalive to the home agent's identity is not recognised")
	}
}

// Simultaneous bindings: every one gets a copy.
//
//rfc:5944#4.1
func TestSimultaneousBindingsGetACopyEach(t *testing.T) {
	b := newBench(t)
	b.put(agentEntry(
		toCareOf(forward.Tunnel{Encap: encap.UDP}),
		toCareOf(forward.Tunnel{Encap: encap.GRE, HasKey: true, Key: 9, Peer: netip.AddrPortFrom(other, 0)}),
		toCareOf(forward.Tunnel{Encap: encap.UDP, Peer: netip.AddrPortFrom(other, 999)}),
	))
	pkt := udpPacket(cnAddr, homeAddr, 300)
	b.fromKernel(pkt)
	h, inner, err := encap.PullIP(one(b, "GRE copy", b.raw.out))
	if err != nil || h.Key != 9 || !slices.Equal(inner, pkt) {
		t.Errorf("GRE copy: %v, key %d", err, h.Key)
	}
	var peers []netip.AddrPort
	for range 2 {
		d := one(b, "UDP copy", (<-chan sentData)(b.udp))
		inner, err := encap.PullUDP(&encap.Header{Src: haAddr, Dst: d.peer.Addr()}, d.messages[0], 0)
		if err != nil || !slices.Equal(inner, pkt) {
			t.Errorf("copy to %v is not the packet: %v", d.peer, err)
		}
		peers = append(peers, d.peer)
	}
	if want := []netip.AddrPort{netip.AddrPortFrom(other, 999), netip.AddrPortFrom(careOf, mnPort)}; !slices.Equal(peers, want) {
		t.Errorf("copies to %v, want %v", peers, want)
	}
}

// A batch to one peer leaves as one call, in order; other peers' packets in
// between do not change that.
func TestBatchesKeepTheOrderOfAFlow(t *testing.T) {
	b := newBench(t)
	b.put(agentEntry(toCareOf(forward.Tunnel{Encap: encap.UDP})))
	second := homeAddr.Next()
	b.put(forward.Entry{Key: "two", Role: forward.HomeAgent, Inner: netip.PrefixFrom(second, 32),
		Tunnels: []forward.Tunnel{toCareOf(forward.Tunnel{Encap: encap.UDP, Peer: netip.AddrPortFrom(other, 1)})}})
	var batch [][]byte
	for i := range 10 {
		dst := homeAddr
		if i%2 == 1 {
			dst = second
		}
		batch = append(batch, udpPacket(cnAddr, dst, 100, func(h *encap.IPv4) { h.ID = uint16(i) }))
	}
	b.fromKernel(batch...)
	for peer := range 2 {
		d := one(b, "call", (<-chan sentData)(b.udp))
		var ids []uint16
		for _, m := range d.messages {
			ids = append(ids, id16(m[4:]))
		}
		want := []uint16{uint16(peer), uint16(peer + 2), uint16(peer + 4), uint16(peer + 6), uint16(peer + 8)}
		if !slices.Equal(ids, want) {
			t.Errorf("peer %d got %v, want %v", peer, ids, want)
		}
	}
	none(b, "further call", (<-chan sentData)(b.udp))
}

// No train is longer than interfaces take in one piece.
func TestLongTrainsAreParted(t *testing.T) {
	b := newBench(t)
	b.raw.mtu = 9000
	b.put(agentEntry(toCareOf(forward.Tunnel{Encap: encap.UDP})))
	var batch [][]byte
	for i := range 12 {
		batch = append(batch, udpPacket(cnAddr, homeAddr, 8000, func(h *encap.IPv4) { h.ID = uint16(i) }))
	}
	b.fromKernel(batch...)
	next := uint16(0)
	for range 2 {
		total := 0
		for _, m := range one(b, "call", (<-chan sentData)(b.udp)).messages {
			total += len(m)
			if got := id16(m[4:]); got != next {
				t.Fatalf("packet %d, want %d", got, next)
			}
			next++
		}
		if total > maxTrain {
			t.Errorf("a train of %d octets", total)
		}
	}
	if next != 12 {
		t.Errorf("%d packets of 12", next)
	}
}

// Applying twice changes nothing; a changed entry replaces the old one and
// keeps its counters; listing is in key order.
func TestApplyIsIdempotent(t *testing.T) {
	b := newBench(t)
	prefix := netip.MustParsePrefix("10.20.7.0/24")
	entries := []forward.Entry{
		{Key: "b", Role: forward.HomeAgent, Inner: prefix, Tunnels: []forward.Tunnel{toCareOf(forward.Tunnel{Encap: encap.IPIP})}},
		agentEntry(toCareOf(forward.Tunnel{Encap: encap.IPIP})),
		{Key: "a", Role: forward.MobileNode, Inner: netip.MustParsePrefix("10.30.0.1/32"), Routes: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}},
	}
	for range 2 {
		for _, e := range entries {
			b.put(e)
		}
	}
	list := func() []forward.Entry { return slices.Collect(b.p.List(context.Background())) }
	want := []forward.Entry{entries[2], entries[0], entries[1]}
	equal := cmp.Options{cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{}, netip.AddrPort{})}
	if diff := cmp.Diff(want, list(), equal); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	b.fromKernel(udpPacket(cnAddr, prefix.Addr().Next(), 10))
	one(b, "packet for the mobile network", b.raw.out)
	none(b, "second copy", b.raw.out)

	// The longest prefix wins: a host in the mobile network with an entry of
	// its own.
	b.put(forward.Entry{Key: "c", Role: forward.HomeAgent, Inner: netip.MustParsePrefix("10.20.7.1/32"),
		Tunnels: []forward.Tunnel{toCareOf(forward.Tunnel{Encap: encap.IPIP, Peer: netip.AddrPortFrom(other, 0)})}})
	b.fromKernel(udpPacket(cnAddr, prefix.Addr().Next(), 10))
	h, _, err := encap.PullIP(one(b, "packet", b.raw.out))
	if err != nil || h.Dst != other {
		t.Errorf("sent to %v, want the longer prefix's peer %v (%v)", h.Dst, other, err)
	}
	moved := entries[0]
	moved.Tunnels = []forward.Tunnel{toCareOf(forward.Tunnel{Encap: encap.GRE})}
	b.put(moved)
	if n := b.p.Counters("b").SentPackets; n != 1 {
		t.Errorf("a move lost the counters: %d", n)
	}
	for range 2 {
		err := b.p.Apply(context.Background(), []forward.Change{
			{Op: forward.Delete, Entry: forward.Entry{Key: "b"}}, {Op: forward.Delete, Entry: forward.Entry{Key: "c"}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	b.fromKernel(udpPacket(cnAddr, prefix.Addr().Next(), 10))
	none(b, "sent after deletion", b.raw.out)
	if got := len(list()); got != 2 {
		t.Errorf("%d entries are left, want 2", got)
	}
	if c := b.p.Counters("b"); c != (forward.Counters{}) {
		t.Errorf("counters of a deleted entry: %+v", c)
	}
}

// A list of changes stops at the first that cannot be, and says which.
func TestApplyStopsAtTheFirstError(t *testing.T) {
	b := newBench(t)
	good := agentEntry(toCareOf(forward.Tunnel{Encap: encap.IPIP}))
	late := good
	late.Key, late.Inner = "late", netip.MustParsePrefix("10.10.0.6/32")
	err := b.p.Apply(context.Background(), []forward.Change{
		{Op: forward.Put, Entry: good},
		{Op: forward.Put, Entry: forward.Entry{Key: "visitor", Role: forward.ForeignAgent, Inner: netip.MustParsePrefix("10.1.1.1/32")}},
		{Op: forward.Put, Entry: late},
	})
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("error %v, want unsupported", err)
	}
	if n := len(slices.Collect(b.p.List(context.Background()))); n != 1 {
		t.Errorf("%d entries, want the one before the error", n)
	}
	for _, bad := range []forward.Entry{
		{Key: "", Role: forward.HomeAgent, Inner: network},
		{Key: "x", Role: 9, Inner: network},
		{Key: "x", Role: forward.HomeAgent, Inner: netip.MustParsePrefix("2001:db8::/64")},
		{Key: "x", Role: forward.HomeAgent, Inner: netip.MustParsePrefix("10.0.0.1/24")},
		{Key: "x", Role: forward.HomeAgent, Inner: network, Tunnels: []forward.Tunnel{toCareOf(forward.Tunnel{Encap: 41})}},
		{Key: "x", Role: forward.HomeAgent, Inner: network, Tunnels: []forward.Tunnel{toCareOf(forward.Tunnel{Encap: encap.IPIP, AnyPort: true})}},
		{Key: "x", Role: forward.HomeAgent, Inner: network, Tunnels: []forward.Tunnel{{Encap: encap.IPIP}}},
	} {
		if err := b.p.Apply(context.Background(), []forward.Change{{Op: forward.Put, Entry: bad}}); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

// The mobile node hears of an answered keepalive, and the packet goes on.
//
//rfc:3519#4.9
func TestEchoReply(t *testing.T) {
	b := newBench(t)
	tun := forward.Tunnel{Local: netip.AddrPortFrom(careOf, 0), Peer: netip.AddrPortFrom(haAddr, encap.Port), Link: "eth0", Encap: encap.UDP}
	b.put(mobileEntry(tun))
	h := encap.Header{Kind: encap.UDP, Src: haAddr, Dst: careOf, SrcPort: encap.Port, DstPort: 50000}
	reply, err := encap.AppendEcho(nil, &encap.Echo{Type: encap.EchoReply, Src: haAddr, Dst: homeAddr, ID: 3, Seq: 4}, 1)
	if err != nil {
		t.Fatal(err)
	}
	b.fromNetwork(h, reply)
	want := forward.EchoReply{Key: "home", From: netip.AddrPortFrom(haAddr, encap.Port), ID: 3, Seq: 4, Received: b.now}
	if got := one(b, "event", b.p.Events()); got != want {
		t.Errorf("event %+v, want %+v", got, want)
	}
	one(b, "the packet itself", b.dev.out)
}

// Events are bounded: what nobody reads is counted and lost.
func TestEventsAreBounded(t *testing.T) {
	b := newBench(t)
	for range eventRoom + 10 {
		b.p.emit(forward.Unreachable{})
	}
	if n := b.p.Totals().EventsLost; n != 10 {
		t.Errorf("%d events lost, want 10", n)
	}
}

// The tunnel of a modem that was pulled out stays in the entry while it drains.
// The one that takes its place must not wait for that.
func TestATunnelOverAMissingLinkKeepsNoOtherOneBack(t *testing.T) {
	b := newBench(t)
	b.raw.gone = "usb0"
	over := func(link, addr string) forward.Tunnel {
		return forward.Tunnel{
			Local: netip.AddrPortFrom(netip.MustParseAddr(addr), 0), Peer: netip.AddrPortFrom(haAddr, 0),
			Encap: encap.IPIP, Link: link,
		}
	}
	old := over("usb0", "192.0.2.9")
	old.Mode = forward.Receive
	b.put(mobileEntry(over("wlan0", "192.0.2.7"), old))
	b.fromKernel(udpPacket(homeAddr, cnAddr, 100))
	h, _, err := encap.PullIP(one(b, "packet over the link that is there", b.raw.out))
	if err != nil || h.Src != netip.MustParseAddr("192.0.2.7") {
		t.Errorf("from %v: %v", h.Src, err)
	}
}

// Packets that would go in a circle are refused.
//
//rfc:2003#3.2
//rfc:5944#4.2.3
//rfc:2003#3.2-2
func TestLoopsAreRefused(t *testing.T) {
	b := newBench(t)
	tun := toCareOf(forward.Tunnel{Encap: encap.IPIP})
	b.put(agentEntry(tun))
	outer := func(h encap.Header, inner []byte) []byte {
		p, err := encap.Append(nil, &h, inner)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	plain := udpPacket(cnAddr, homeAddr, 10)
	for name, pkt := range map[string][]byte{
		"from the tunnel's exit":          udpPacket(careOf, homeAddr, 10),
		"tunnelled before, by us":         outer(encap.Header{Kind: encap.IPIP, Src: haAddr, Dst: homeAddr}, plain),
		"tunnelled before, by us, in UDP": outer(encap.Header{Kind: encap.UDP, Src: haAddr, Dst: homeAddr, SrcPort: encap.Port, DstPort: 9}, plain),
		"wrapped once more by another agent": outer(encap.Header{Kind: encap.UDP, Src: other, Dst: homeAddr, SrcPort: encap.Port, DstPort: 9},
			outer(encap.Header{Kind: encap.GRE, Src: haAddr, Dst: other.Next()}, plain)),
		"from the care-of address in IPIP": outer(encap.Header{Kind: encap.IPIP, Src: careOf, Dst: homeAddr}, plain),
	} {
		b.fromKernel(pkt)
		select {
		case p := <-b.raw.out:
			t.Errorf("%s: sent % x", name, p[:20])
		default:
		}
	}
	if n := b.p.Totals().Loops; n != 5 {
		t.Errorf("%d loops counted, want 5", n)
	}
	// Somebody else's tunnel to the node is the node's business.
	b.fromKernel(outer(encap.Header{Kind: encap.IPIP, Src: other, Dst: homeAddr}, plain))
	one(b, "nested packet of another", b.raw.out)
	// And so is one that goes on from the node to somebody else.
	onward := outer(encap.Header{Kind: encap.IPIP, Src: other, Dst: homeAddr}, udpPacket(cnAddr, other.Next(), 10))
	b.fromKernel(onward)
	if h, inner, err := encap.PullIP(one(b, "nested packet for another", b.raw.out)); err != nil || h.Dst != careOf || !bytes.Equal(inner, onward) {
		t.Errorf("tunnelled to %v: % x, %v", h.Dst, inner, err)
	}
}

// An address of the home network that nobody has bound is unreachable, at a
// limited rate; a bound one without a live tunnel is silent; a broadcast too.
func TestUnboundAddresses(t *testing.T) {
	b := newBench(t)
	nobody := netip.MustParseAddr("10.10.0.77")
	b.fromKernel(udpPacket(cnAddr, nobody, 10))
	e := one(b, "ICMP error", b.raw.out)
	if kind, code := icmpOf(e); kind != 3 || code != 1 {
		t.Errorf("type %d code %d, want host unreachable", kind, code)
	}
	b.fromKernel(udpPacket(cnAddr, netip.MustParseAddr("10.10.0.255"), 10))
	b.fromKernel(udpPacket(cnAddr, other, 10))
	b.put(agentEntry())
	b.fromKernel(udpPacket(cnAddr, homeAddr, 10))
	none(b, "answered", b.raw.out)
	for range 100 {
		b.fromKernel(udpPacket(cnAddr, nobody, 10), udpPacket(cnAddr, nobody, 10))
	}
	if n := len(b.raw.out); n > 60 {
		t.Errorf("%d errors for 200 packets at once", n)
	}
}
