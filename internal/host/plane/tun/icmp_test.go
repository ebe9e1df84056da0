package tun

import (
	"encoding/binary"
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
