package tun

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// tooBig is a "fragmentation needed" from a router about a packet that the
// agent sent.
func tooBig(mtu uint16, quote []byte) []byte {
	p := encap.ICMPError(encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.DatagramTooBig, MTU: mtu}, other, quote)
	return p
}

func (b *bench) icmp(packet []byte) {
	x := newBatch(1)
	x.packets[0], x.n = packet, 1
	b.p.icmpPackets()(x)
}

// Forged errors do little: none is believed about a packet that was not sent,
// no MTU below the floor, and what was believed ages.
//
//rfc:2003#5.1
//rfc:2003#5.1-1
func TestForgedTooBig(t *testing.T) {
	b := newBench(t)
	b.put(agentEntry(toCareOf(forward.Tunnel{Encap: encap.IPIP})))
	limit := func() int {
		tun := b.p.agents(word(homeAddr))[0].tunnels[0]
		return tun.soft.limit(tun.mtu, b.p.now())
	}
	pkt := udpPacket(cnAddr, homeAddr, 1400, setDF)
	quote, err := encap.Append(nil, &encap.Header{Kind: encap.IPIP, Src: haAddr, Dst: careOf, DF: true}, pkt)
	if err != nil {
		t.Fatal(err)
	}
	b.icmp(tooBig(1000, quote))
	if limit() != 1480 {
		t.Fatalf("believed before anything was sent: %d", limit())
	}
	b.fromKernel(pkt)
	sent := one(b, "packet", b.raw.out)

	wrong, _ := encap.Append(nil, &encap.Header{Kind: encap.GRE, Src: haAddr, Dst: careOf, DF: true}, pkt)
	b.icmp(tooBig(1000, wrong))
	elsewhere, _ := encap.Append(nil, &encap.Header{Kind: encap.IPIP, Src: haAddr, Dst: careOf, DF: true}, udpPacket(cnAddr, other, 100))
	b.icmp(tooBig(1000, elsewhere))
	if limit() != 1480 {
		t.Fatalf("believed about another tunnel's packet: %d", limit())
	}
	none(b, "relayed", b.raw.out)

	b.icmp(tooBig(68, sent))
	b.icmp(tooBig(100, sent))
	if limit() != minOuterMTU-20 {
		t.Fatalf("MTU %d, want the floor", limit())
	}
	e := one(b, "relayed error", b.raw.out)
	if kind, code := icmpOf(e); kind != 3 || code != 4 || binary.BigEndian.Uint16(e[26:]) != minOuterMTU-20 || word4(e[16:20]) != cnAddr {
		t.Errorf("relayed % x", e[:28])
	}
	b.wait(time.Duration(keepMTU))
	if limit() != 1480 {
		t.Errorf("MTU %d after ten minutes, want it forgotten", limit())
	}
}

// The home agent's own kernel is not told: it would believe for ten minutes what a
// router, or who pretends to be one, says of the network that the node is in, and answer
// the node's probes in fragments wherever it goes. To it they all look too long then.
func TestATooBigIsNotRelayedToTheHomeAgentItself(t *testing.T) {
	b := newBench(t)
	b.put(agentEntry(toCareOf(forward.Tunnel{Encap: encap.IPIP})))
	probe, err := encap.AppendProbe(nil, encap.Echo{Type: encap.EchoReply, Src: haAddr, Dst: homeAddr, ID: 1, Seq: 1}, 1, 1480, 7)
	if err != nil {
		t.Fatal(err)
	}
	for _, own := range [][]byte{probe, udpPacket(haAddr, homeAddr, 1400, setDF)} {
		quote, err := encap.Append(nil, &encap.Header{Kind: encap.IPIP, Src: haAddr, Dst: careOf, DF: true}, own)
		if err != nil {
			t.Fatal(err)
		}
		b.fromKernel(udpPacket(haAddr, homeAddr, 100))
		one(b, "packet", b.raw.out)
		b.icmp(tooBig(600, quote))
		none(b, "error relayed to the home agent", b.raw.out)
		tun := b.p.agents(word(homeAddr))[0].tunnels[0]
		if got := tun.soft.limit(tun.mtu, b.p.now()); got != 580 {
			t.Errorf("%d octets may be sent, and a router said 580", got)
		}
		b.wait(time.Duration(keepMTU))
	}
}

// At the home agent a forged "fragmentation needed" costs a node that probes its path
// seconds, and not ten minutes: once the home agent answers a probe that is longer,
// the node will tell what is true, and what routers said ends. A stranger's packet
// that looks like such an answer ends nothing, nor does a probe that would fit.
//
//rfc:8899#4.6.2
func TestAForgedTooBigCostsAProbingNodeSeconds(t *testing.T) {
	b := newBench(t)
	programs := &sentByShortcut{at: b.clock}
	b.p.SetShortcut(programs)
	b.put(agentEntry(toCareOf(forward.Tunnel{Encap: encap.IPIP})))
	limit := func() int {
		tun := b.p.agents(word(homeAddr))[0].tunnels[0]
		return tun.soft.limit(tun.mtu, b.p.now())
	}
	answer := func(from netip.Addr, octets int) []byte {
		probe, err := encap.AppendProbe(nil, encap.Echo{Type: encap.EchoReply, Src: from, Dst: homeAddr, ID: 1, Seq: 1}, 1, octets, 7)
		if err != nil {
			t.Fatal(err)
		}
		return probe
	}
	pkt := udpPacket(cnAddr, homeAddr, 1400, setDF)
	sent, err := encap.Append(nil, &encap.Header{Kind: encap.IPIP, Src: haAddr, Dst: careOf, DF: true}, pkt)
	if err != nil {
		t.Fatal(err)
	}
	b.icmp(tooBig(1000, sent))
	b.fromKernel(answer(cnAddr, 1480), answer(haAddr, 900))
	b.wait(time.Minute)
	if limit() != 980 {
		t.Fatalf("forgotten, and nothing contradicts: %d", limit())
	}
	before := len(programs.heeded)
	for i := range 5 { // one a second
		b.fromKernel(answer(haAddr, 1480))
		if limit() != 980 {
			t.Fatalf("%d s after the first probe that contradicts: %d", i, limit())
		}
		b.wait(time.Second)
	}
	if limit() != 1480 {
		t.Errorf("%d octets, 5 s after the first probe that contradicts", limit())
	}
	if n := len(programs.heeded) - before; n != 1 {
		t.Errorf("the programs were told %d times", n)
	}
}

// Where probes have shown what a mobile node's path carries, who says "too big" all
// the same is not believed, and neither are programs told: what they had been told
// they would heed for ten minutes. That somebody said so is told, for another probe.
// What was believed before is forgotten as soon as the probe is answered.
//
//rfc:8899#4.6.2
func TestWhatProbesContradictIsNotBelieved(t *testing.T) {
	for _, kind := range []encap.Kind{encap.IPIP, encap.UDP} {
		b := newBench(t)
		b.p.SetShortcut(&sentByShortcut{at: b.clock})
		over := forward.Tunnel{
			Local: netip.AddrPortFrom(careOf, mnPort), Peer: netip.AddrPortFrom(haAddr, encap.Port), Link: "wlan0", Encap: kind,
		}
		b.put(mobileEntry(over))
		limit := func() int {
			tun := b.p.bindings["home"].tunnels[0]
			return tun.soft.limit(tun.mtu, b.p.now())
		}
		whole := limit()
		pkt := udpPacket(homeAddr, cnAddr, 1400, setDF)
		sent, err := encap.Append(nil, &encap.Header{Kind: kind, Src: careOf, Dst: haAddr, SrcPort: mnPort, DstPort: encap.Port, DF: true}, pkt)
		if err != nil {
			t.Fatal(err)
		}
		b.icmp(tooBig(600, sent))
		low := 600 - encap.Overhead(kind, false)
		if limit() != low {
			t.Fatalf("%v: nothing is known of the path, and a router was not believed: %d", kind, limit())
		}
		one(b, "relayed error", b.raw.out)
		learn := func(octets int) { b.p.Learn(forward.Carried{Peer: haAddr, Link: "wlan0", Octets: octets}) }
		b.p.Learn(forward.Carried{Peer: haAddr, Link: "lte0", Octets: 1500})
		b.p.Learn(forward.Carried{Peer: other, Link: "wlan0", Octets: 1500})
		if limit() != low {
			t.Errorf("%v: lifted by what was probed of another path", kind)
		}
		learn(599)
		if limit() != low {
			t.Errorf("%v: lifted to %d by a probe that was no longer", kind, limit())
		}
		learn(1500)
		if limit() != whole {
			t.Fatalf("%v: %d, and a probe of the whole length was answered", kind, limit())
		}
		b.icmp(tooBig(600, sent))
		b.icmp(tooBig(1499, sent))
		if limit() != whole {
			t.Errorf("%v: believed all the same: %d", kind, limit())
		}
		none(b, "error relayed to a program", b.raw.out)
		want := forward.TooBig{Key: "home", Peer: haAddr, Link: "wlan0", MTU: low}
		if got := one(b, "event", b.p.Events()); got != want {
			t.Errorf("%v: told %+v, want %+v", kind, got, want)
		}
		none(b, "second event within a second", b.p.Events())
		// A move and back, or a refresh: it is the same path.
		b.put(mobileEntry(over))
		b.icmp(tooBig(600, sent))
		if limit() != whole {
			t.Errorf("%v: believed after the entry was put again", kind)
		}
		// It is not known any more.
		learn(0)
		b.icmp(tooBig(600, sent))
		if limit() != low {
			t.Errorf("%v: not believed though nothing is known: %d", kind, limit())
		}
	}
}

// A home agent with a port of its own (home-agent-port) has its errors read too, and
// nobody else's packets from there are ours.
func TestErrorsAboutTunnelsToAnotherPort(t *testing.T) {
	b := newBench(t)
	b.put(mobileEntry(forward.Tunnel{Local: netip.AddrPortFrom(careOf, mnPort), Peer: netip.AddrPortFrom(haAddr, 8434), Link: "wlan0", Encap: encap.UDP}))
	b.p.SetShortcut(&sentByShortcut{at: b.clock})
	limit := func() int {
		tun := b.p.bindings["home"].tunnels[0]
		return tun.soft.limit(tun.mtu, b.p.now())
	}
	whole := limit()
	sent := func(port uint16) []byte {
		p, err := encap.Append(nil, &encap.Header{Kind: encap.UDP, Src: careOf, Dst: haAddr, SrcPort: mnPort, DstPort: port, DF: true}, udpPacket(homeAddr, cnAddr, 1400, setDF))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	b.icmp(tooBig(700, sent(8435)))
	b.icmp(tooBig(700, sent(encap.Port)))
	if limit() != whole {
		t.Fatalf("believed about another port: %d", limit())
	}
	b.icmp(tooBig(700, sent(8434)))
	if want := 700 - encap.Overhead(encap.UDP, false); limit() != want {
		t.Errorf("%d, want %d", limit(), want)
	}
}

// A router that quotes eight octets only does not say whose packet it was: the
// next sender is told, and its packet sent nevertheless.
//
//rfc:2003#5
func TestSoftStateWithoutAnInnerHeader(t *testing.T) {
	b := newBench(t)
	b.put(agentEntry(toCareOf(forward.Tunnel{Encap: encap.GRE, HasKey: true, Key: 5})))
	pkt := udpPacket(cnAddr, homeAddr, 100)
	b.fromKernel(pkt)
	sent := one(b, "packet", b.raw.out)
	b.icmp(encap.ICMPError(encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.HostUnreachable}, other, sent[:28]))
	if e := one(b, "event", b.p.Events()).(forward.Unreachable); e.Peer != careOf || e.Code != 1 {
		t.Errorf("event %+v", e)
	}
	none(b, "relayed without knowing to whom", b.raw.out)
	b.fromKernel(pkt)
	e := one(b, "ICMP error", b.raw.out)
	if kind, code := icmpOf(e); kind != 3 || code != 1 || word4(e[16:20]) != cnAddr {
		t.Errorf("told % x", e[:28])
	}
	if _, _, err := encap.PullIP(one(b, "packet, sent nevertheless", b.raw.out)); err != nil {
		t.Error(err)
	}
	b.wait(time.Duration(keepUnreachable))
	b.fromKernel(pkt)
	one(b, "packet", b.raw.out)
	none(b, "told after the state has aged", b.raw.out)
}
