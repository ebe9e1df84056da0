package tun

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"careof/internal/core/forward"
	"careof/wire/encap"
)

// Congestion marks survive the tunnel as RFC 6040 wants it.
//
//rfc:6040#4.2
func TestECN(t *testing.T) {
	b := newBench(t)
	b.put(agentEntry(toCareOf(forward.Tunnel{Encap: encap.UDP}), toCareOf(forward.Tunnel{Encap: encap.IPIP, Peer: netip.AddrPortFrom(other, 0)})))
	b.fromKernel(udpPacket(cnAddr, homeAddr, 10, setTOS(0xb8|2)))
	if d := one(b, "UDP packet", (<-chan sentData)(b.udp)); d.tos != 0xb8|2 {
		t.Errorf("outer TOS of UDP %#x", d.tos)
	}
	if p := one(b, "IP-in-IP packet", b.raw.out); p[1] != 0xb8|2 {
		t.Errorf("outer TOS of IP-in-IP %#x", p[1])
	}
	h := arriving(toCareOf(forward.Tunnel{Encap: encap.UDP}))
	h.TOS = 3
	b.fromNetwork(h, udpPacket(homeAddr, cnAddr, 10, setTOS(2)))
	if p := one(b, "marked packet", b.dev.out); p[1] != 3 || encap.Checksum(p[:20]) != 0 {
		t.Errorf("inner TOS %#x, want congestion experienced and a good checksum", p[1])
	}
	b.fromNetwork(h, udpPacket(homeAddr, cnAddr, 10))
	none(b, "congestion on a packet that is not ECN capable", b.dev.out)
	if b.p.Totals().Congested != 1 {
		t.Error("not counted")
	}
}

// Too long for the tunnel: with DF the sender is told, without it the inner
// packet is fragmented first; minimal encapsulation sends fragments in
// IP-in-IP, which the other end takes.
//
//rfc:2003#5.1
//rfc:3519#4.8
//rfc:2004#3
func TestTooLongForTheTunnel(t *testing.T) {
	b := newBench(t)
	b.put(agentEntry(toCareOf(forward.Tunnel{Encap: encap.Minimal, MTU: 600})))
	b.fromKernel(udpPacket(cnAddr, homeAddr, 1000, setDF))
	e := one(b, "ICMP error", b.raw.out)
	if kind, code := icmpOf(e); kind != 3 || code != 4 || binary.BigEndian.Uint16(e[26:]) != 600 || word4(e[16:20]) != cnAddr {
		t.Errorf("got % x", e[:28])
	}
	none(b, "packet with DF sent", b.raw.out)

	b.fromKernel(udpPacket(cnAddr, homeAddr, 1000))
	got := 0
	for range 2 {
		p := one(b, "fragment", b.raw.out)
		h, inner, err := encap.PullIP(p)
		if err != nil || h.Kind != encap.IPIP || len(inner) > 600 || !encap.IsFragment(inner) {
			t.Fatalf("%v of %d octets in %v: %v", encap.IsFragment(inner), len(inner), h.Kind, err)
		}
		got += len(inner) - 20
		// And back.
		h = arriving(toCareOf(forward.Tunnel{Encap: encap.IPIP}))
		back := append([]byte(nil), inner...)
		swap(back)
		b.fromNetwork(h, back)
		one(b, "fragment taken", b.dev.out)
	}
	if got != 1008 {
		t.Errorf("%d octets in fragments, want 1008", got)
	}
	// A whole packet in IP-in-IP is not what was agreed.
	b.fromNetwork(arriving(toCareOf(forward.Tunnel{Encap: encap.IPIP})), udpPacket(homeAddr, cnAddr, 10))
	none(b, "whole packet in another form", b.dev.out)
}

// swap exchanges the addresses of a packet, which leaves its checksum right.
func swap(p []byte) {
	var a [4]byte
	copy(a[:], p[12:16])
	copy(p[12:16], p[16:20])
	copy(p[16:20], a[:])
}

// Outer DF is set whatever the inner packet has, unless it is to be copied.
//
//rfc:2003#3.1
//rfc:2003#5.1-3
func TestOuterDF(t *testing.T) {
	b := newBench(t)
	b.put(agentEntry(toCareOf(forward.Tunnel{Encap: encap.IPIP})))
	b.fromKernel(udpPacket(cnAddr, homeAddr, 10))
	p := one(b, "packet", b.raw.out)
	if p[6]&0x40 == 0 || p[8] != 64 {
		t.Errorf("outer flags %#x, TTL %d", p[6], p[8])
	}
	if q := p[20:]; q[8] != 64 {
		t.Errorf("inner TTL %d was changed: that is the kernel's", q[8])
	}
}
