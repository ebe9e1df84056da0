package tun

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

var (
	linkAddr  = netip.MustParseAddr("192.168.1.1")
	guestHW   = forward.HardwareAddr{2, 0, 0, 0, 0, 5}
	guestCoA  = careOf
	secondHA  = netip.MustParseAddr("198.51.100.99")
	anotherHW = forward.HardwareAddr{2, 0, 0, 0, 0, 6}
)

// delivered is a packet on a visitors' link.
type delivered struct {
	link   string
	hw     forward.HardwareAddr
	packet []byte
}

type fakeVisitors chan delivered

func (f fakeVisitors) SendPacket(link string, hw forward.HardwareAddr, packet []byte) error {
	f <- delivered{link, hw, append([]byte(nil), packet...)}
	return nil
}

// guests is a bench of a foreign agent.
func guests(t *testing.T) (*bench, fakeVisitors) {
	b := newBench(t)
	v := make(fakeVisitors, 100)
	b.p.config.Visitors = v
	return b, v
}

// guest is a visitor's entry: its home address at a home agent.
func guest(mode forward.Mode, own bool) forward.Entry {
	e := forward.Entry{
		Key: "fa/1", Role: forward.ForeignAgent, Inner: netip.PrefixFrom(homeAddr, 32),
		Deliver: forward.Deliver{Link: "lan0", HW: guestHW},
		Tunnels: []forward.Tunnel{{Local: netip.AddrPortFrom(guestCoA, 0), Peer: netip.AddrPortFrom(haAddr, 0), Encap: encap.IPIP, Mode: mode}},
	}
	if own {
		e.Tunnels = append(e.Tunnels, forward.Tunnel{
			Local: netip.AddrPortFrom(linkAddr, 0), Peer: netip.AddrPortFrom(homeAddr, 0), Link: "lan0", Encap: encap.IPIP, Mode: forward.Receive,
		})
	}
	return e
}

func fromHome() encap.Header { return encap.Header{Kind: encap.IPIP, Src: haAddr, Dst: guestCoA} }

// Corner E10: "When the Destination does not match the address of any mobile
// node currently in the visitor list, the foreign agent MUST NOT forward the
// datagram", and "ICMP Destination Unreachable MUST NOT be sent".
//
//rfc:5944#4.2.2
func TestOnlyVisitorsPacketsLeaveTheTunnel(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(h *encap.Header, inner *[]byte)
	}{
		{"for nobody here", func(_ *encap.Header, p *[]byte) { *p = udpPacket(cnAddr, homeAddr.Next(), 10) }},
		{"from the visitor, not for it", func(_ *encap.Header, p *[]byte) { *p = udpPacket(homeAddr, cnAddr, 10) }},
		{"from another tunnel's end", func(h *encap.Header, _ *[]byte) { h.Src = other }},
		{"to another of our addresses", func(h *encap.Header, _ *[]byte) { h.Dst = linkAddr }},
		{"in another form", func(h *encap.Header, _ *[]byte) { h.Kind = encap.GRE }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, out := guests(t)
			b.put(guest(forward.Both, false))
			h, inner := fromHome(), udpPacket(cnAddr, homeAddr, 10)
			c.edit(&h, &inner)
			b.fromNetwork(h, inner)
			none(b, "delivered", (<-chan delivered)(out))
			none(b, "forwarded", b.dev.out)
			none(b, "answered", b.raw.out)
			if b.p.Totals().Strangers != 1 {
				t.Error("not counted")
			}
		})
	}
}

// To the visitor by its link-layer address, with a hop counted; not after the
// visit.
//
//rfc:5944#4.2.2
//rfc:2003#3.1-2
//rfc:2784#3.1-1
func TestAVisitorsPacketIsDeliveredByItsLinkLayerAddress(t *testing.T) {
	b, out := guests(t)
	e := guest(forward.Receive, false)
	e.Tunnels[0].Until = b.clock().Add(time.Minute)
	b.put(e)
	inner := udpPacket(cnAddr, homeAddr, 10)
	b.fromNetwork(fromHome(), inner)
	got := one(b, "packet for the visitor", (<-chan delivered)(out))
	ip, u, err := encap.ParseUDP(got.packet)
	if err != nil || got.link != "lan0" || got.hw != guestHW || ip.TTL != 63 || u.Dst.Addr() != homeAddr {
		t.Errorf("delivered %+v %+v, %v", got, ip, err)
	}
	none(b, "given to the kernel", b.dev.out)

	// What the home agent wraps twice, a broadcast, is unwrapped once.
	nested, err := encap.Append(nil, &encap.Header{Kind: encap.IPIP, Src: haAddr, Dst: homeAddr, TTL: 64}, udpPacket(cnAddr, lastOf(network), 10))
	if err != nil {
		t.Fatal(err)
	}
	b.fromNetwork(fromHome(), nested)
	if got := one(b, "nested packet", (<-chan delivered)(out)); got.packet[9] != 4 {
		t.Error("the foreign agent unwrapped twice")
	}

	b.fromNetwork(fromHome(), udpPacket(cnAddr, homeAddr, 10, func(h *encap.IPv4) { h.TTL = 1 }))
	none(b, "delivered beyond its last hop", (<-chan delivered)(out))
	if kind, _ := icmpOf(one(b, "time exceeded", b.raw.out)); kind != byte(encap.TimeExceeded) {
		t.Errorf("ICMP type %d", kind)
	}

	b.wait(time.Minute)
	b.fromNetwork(fromHome(), inner)
	none(b, "delivered after the visit", (<-chan delivered)(out))
}

// What is too long for the visitors' link is cut, or told.
func TestLongPacketsForAVisitor(t *testing.T) {
	b, out := guests(t)
	b.raw.mtu = 600
	b.put(guest(forward.Both, false))
	b.fromNetwork(fromHome(), udpPacket(cnAddr, homeAddr, 1000))
	if n := len(one(b, "first piece", (<-chan delivered)(out)).packet); n > 600 {
		t.Errorf("a piece has %d octets", n)
	}
	one(b, "second piece", (<-chan delivered)(out))
	b.fromNetwork(fromHome(), udpPacket(cnAddr, homeAddr, 1000, setDF))
	none(b, "delivered", (<-chan delivered)(out))
	if kind, code := icmpOf(one(b, "fragmentation needed", b.raw.out)); kind != byte(encap.DestinationUnreachable) || code != encap.DatagramTooBig {
		t.Errorf("ICMP %d/%d", kind, code)
	}
}

// The way back, by delivery style. Plain packets of a visitor with encapsulating
// delivery "MUST NOT be reverse tunneled".
//
//rfc:3024#5.1
//rfc:3024#5.2
//rfc:3024#3.1-1
//rfc:3024#3.1-2
//rfc:3024#4.2.2-3
//rfc:3024#5.1.1-2
//rfc:3024#5.1.2-1
//rfc:3024#5.2.1-1
//rfc:3024#5.2.2-2
//rfc:3024#5.4-1
//rfc:3024#5.4-2
//rfc:5944#2.1-5
//rfc:5944#2.3.1-2
func TestTheWayBack(t *testing.T) {
	plain := udpPacket(homeAddr, cnAddr, 10)
	for _, c := range []struct {
		name         string
		entry        forward.Entry
		plain, inOwn bool
	}{
		{"no reverse tunnel", guest(forward.Receive, false), false, false},
		{"direct delivery", guest(forward.Both, false), true, false},
		{"encapsulating delivery", guest(forward.Both, true), false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, _ := guests(t)
			b.put(c.entry)
			check := func(what string, want bool, ttl uint8) {
				t.Helper()
				if !want {
					none(b, what, b.raw.out)
					return
				}
				h, inner, err := encap.Pull(one(b, what, b.raw.out))
				if err != nil || h.Src != guestCoA || h.Dst != haAddr || h.Kind != encap.IPIP {
					t.Fatalf("%s: %+v, %v", what, h, err)
				}
				if ip, _, err := encap.ParseUDP(inner); err != nil || ip.TTL != ttl {
					t.Errorf("%s: TTL %d, %v", what, ip.TTL, err)
				}
			}
			b.fromKernel(plain) // the kernel has counted the hop
			check("plain", c.plain, 64)
			h := encap.Header{Kind: encap.IPIP, Src: homeAddr, Dst: linkAddr}
			b.fromNetwork(h, plain)
			check("in the visitor's tunnel", c.inOwn, 63)
			// Another node's packet in the visitor's tunnel, and another's tunnel.
			b.fromNetwork(h, udpPacket(homeAddr.Next(), cnAddr, 10))
			h.Src = homeAddr.Next()
			b.fromNetwork(h, plain)
			none(b, "a stranger's packet was tunnelled", b.raw.out)
			none(b, "forwarded", b.dev.out)
		})
	}
}

// Equal home addresses of two home agents: to the visitors the tunnel tells
// whose packet it is, from them link and link-layer address. What the kernel
// has led to the device meanwhile is nobody's.
//
//rfc:3024#A.4
//rfc:3024#A.3
//rfc:3024#A.4-7
func TestEqualHomeAddressesAreToldApart(t *testing.T) {
	for _, own := range []bool{false, true} {
		b, out := guests(t)
		b.put(guest(forward.Both, own))
		e := guest(forward.Both, own)
		e.Key, e.Deliver.HW = "fa/2", anotherHW
		e.Tunnels[0].Peer = netip.AddrPortFrom(secondHA, 0)
		b.put(e)
		agents := map[netip.Addr]forward.HardwareAddr{haAddr: guestHW, secondHA: anotherHW}
		h := fromHome()
		for src, want := range agents {
			h.Src = src
			b.fromNetwork(h, udpPacket(cnAddr, homeAddr, 10))
			if got := one(b, "packet for a visitor", (<-chan delivered)(out)); got.hw != want {
				t.Errorf("from %v: delivered to %v, want %v", src, got.hw, want)
			}
		}
		packet := udpPacket(homeAddr, cnAddr, 10)
		if own {
			var err error
			if packet, err = encap.Append(nil, &encap.Header{Kind: encap.IPIP, Src: homeAddr, Dst: linkAddr, TTL: 64}, packet); err != nil {
				t.Fatal(err)
			}
			b.rawPacket(packet)
		} else {
			b.fromKernel(packet)
		}
		none(b, "tunnelled for one of two", b.raw.out)
		for want, hw := range agents {
			b.p.FromVisitor("lan0", hw, linkAddr, packet)
			h, inner, err := encap.Pull(one(b, "packet of the visitor", b.raw.out))
			if err != nil || h.Dst != want {
				t.Fatalf("tunnelled to %v, %v; want %v", h.Dst, err, want)
			}
			if ip, _, err := encap.ParseUDP(inner); err != nil || ip.TTL != 63 || ip.Src != homeAddr {
				t.Errorf("inside %+v, %v", ip, err)
			}
		}
		b.p.FromVisitor("lan0", forward.HardwareAddr{2, 9}, linkAddr, packet)
		b.p.FromVisitor("lan1", guestHW, linkAddr, packet)
		none(b, "tunnelled for a stranger", b.raw.out)
		none(b, "given to the kernel", b.dev.out)
	}
}

// Visitors with one home address at one home agent: the GRE key tells, the one
// that this agent gave; what goes back has the home agent's.
//
//rfc:6245#1
//rfc:6245#5
func TestKeysTellVisitorsApart(t *testing.T) {
	b, out := guests(t)
	nodes := map[uint32]forward.HardwareAddr{100: guestHW, 200: anotherHW}
	for mine, hw := range nodes {
		e := guest(forward.Both, false)
		e.Key, e.Deliver.HW = forward.Key(hw.String()), hw
		e.Tunnels[0].Encap, e.Tunnels[0].HasKey, e.Tunnels[0].KeyIn, e.Tunnels[0].Key = encap.GRE, true, mine, mine+1
		b.put(e)
	}
	for mine, hw := range nodes {
		h := fromHome()
		h.Kind, h.HasKey, h.Key = encap.GRE, true, mine
		b.fromNetwork(h, udpPacket(cnAddr, homeAddr, 10))
		if got := one(b, "packet for a visitor", (<-chan delivered)(out)); got.hw != hw {
			t.Errorf("key %d: delivered to %v, want %v", mine, got.hw, hw)
		}
		h.Key = mine + 1
		b.fromNetwork(h, udpPacket(cnAddr, homeAddr, 10))
		none(b, "delivered by the other direction's key", (<-chan delivered)(out))
		b.p.FromVisitor("lan0", hw, linkAddr, udpPacket(homeAddr, cnAddr, 10))
		if h, _, err := encap.Pull(one(b, "packet of the visitor", b.raw.out)); err != nil || !h.HasKey || h.Key != mine+1 {
			t.Errorf("tunnelled with key %v %d, %v", h.HasKey, h.Key, err)
		}
	}
}

// Who shares a home address is answered by link-layer address.
//
//rfc:2003#3.1-2
func TestAnErrorGoesToTheVisitorThatSent(t *testing.T) {
	b, out := guests(t)
	b.put(guest(forward.Both, false))
	for _, c := range []struct {
		packet     []byte
		kind, code byte
	}{
		{udpPacket(homeAddr, cnAddr, 10, func(h *encap.IPv4) { h.TTL = 1 }), byte(encap.TimeExceeded), 0},
		{udpPacket(homeAddr, cnAddr, 1460, setDF), byte(encap.DestinationUnreachable), encap.DatagramTooBig},
	} {
		b.p.FromVisitor("lan0", guestHW, linkAddr, c.packet)
		got := one(b, "ICMP error", (<-chan delivered)(out))
		if kind, code := icmpOf(got.packet); got.hw != guestHW || kind != c.kind || code != c.code || word4(got.packet[12:16]) != linkAddr {
			t.Errorf("ICMP %d/%d to %v, want %d/%d", kind, code, got.hw, c.kind, c.code)
		}
		none(b, "by routing", b.raw.out)
	}
}

// Entries that nobody could be served by.
func TestVisitorsThatCannotBeServed(t *testing.T) {
	for name, edit := range map[string]func(*bench, *forward.Entry){
		"no link":               func(_ *bench, e *forward.Entry) { e.Deliver.Link = "" },
		"no link-layer address": func(_ *bench, e *forward.Entry) { e.Deliver.HW = forward.HardwareAddr{} },
		"a network":             func(_ *bench, e *forward.Entry) { e.Inner = network },
		"no way to visitors":    func(b *bench, _ *forward.Entry) { b.p.config.Visitors = nil },
	} {
		b, _ := guests(t)
		e := guest(forward.Both, false)
		edit(b, &e)
		if err := b.p.Apply(context.Background(), []forward.Change{{Op: forward.Put, Entry: e}}); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
