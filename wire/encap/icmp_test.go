package encap_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"careof/wire/encap"
)

var router = netip.MustParseAddr("198.51.100.254")

// RFC 1812 section 4.3.2.7, one row a sentence.
//
//rfc:1812#4.3.2.7
func TestICMPErrorIsNotSentAbout(t *testing.T) {
	src, dst := addr("10.0.0.1"), addr("10.0.0.2")
	broken := ip(t, encap.IPv4{TTL: 9, Protocol: 17, Src: src, Dst: dst}, make([]byte, 8))
	broken[10] ^= 1
	for _, tc := range []struct {
		name string
		p    []byte
		sent bool
	}{
		{"a UDP packet", ip(t, encap.IPv4{TTL: 9, Protocol: 17, Src: src, Dst: dst}, make([]byte, 8)), true},
		{"an echo request", ip(t, encap.IPv4{TTL: 9, Protocol: 1, Src: src, Dst: dst}, []byte{8, 0, 0, 0}), true},
		{"a first fragment", ip(t, encap.IPv4{TTL: 9, Protocol: 17, MF: true, Src: src, Dst: dst}, make([]byte, 8)), true},
		{"an ICMP error", ip(t, encap.IPv4{TTL: 9, Protocol: 1, Src: src, Dst: dst}, []byte{3, 1, 0, 0}), false},
		{"a time exceeded", ip(t, encap.IPv4{TTL: 9, Protocol: 1, Src: src, Dst: dst}, []byte{11, 0, 0, 0}), false},
		{"an ICMP message whose type is cut off", ip(t, encap.IPv4{TTL: 9, Protocol: 1, Src: src, Dst: dst}, nil), false},
		{"a broken header", broken, false},
		{"a multicast destination", ip(t, encap.IPv4{TTL: 9, Protocol: 17, Src: src, Dst: addr("224.0.0.11")}, nil), false},
		{"a broadcast destination", ip(t, encap.IPv4{TTL: 9, Protocol: 17, Src: src, Dst: addr("255.255.255.255")}, nil), false},
		{"source zero", ip(t, encap.IPv4{TTL: 9, Protocol: 17, Src: addr("0.0.0.0"), Dst: dst}, nil), false},
		{"source in network zero", ip(t, encap.IPv4{TTL: 9, Protocol: 17, Src: addr("0.1.2.3"), Dst: dst}, nil), false},
		{"a loopback source", ip(t, encap.IPv4{TTL: 9, Protocol: 17, Src: addr("127.0.0.1"), Dst: dst}, nil), false},
		{"a multicast source", ip(t, encap.IPv4{TTL: 9, Protocol: 17, Src: addr("239.1.1.1"), Dst: dst}, nil), false},
		{"a broadcast source", ip(t, encap.IPv4{TTL: 9, Protocol: 17, Src: addr("255.255.255.255"), Dst: dst}, nil), false},
		{"a later fragment", ip(t, encap.IPv4{TTL: 9, Protocol: 17, FragOffset: 8, Src: src, Dst: dst}, make([]byte, 8)), false},
		{"no packet at all", []byte{1, 2, 3}, false},
		{"an IPv6 packet", append([]byte{0x60}, make([]byte, 60)...), false},
	} {
		got := encap.ICMPError(encap.ICMP{Type: encap.DestinationUnreachable, Code: 1}, router, tc.p)
		if (got != nil) != tc.sent {
			t.Errorf("about %s: sent %v", tc.name, got != nil)
		}
	}
}

//rfc:1812#4.3.2.3
func TestICMPErrorQuotesWithin576Octets(t *testing.T) {
	p := ip(t, encap.IPv4{TOS: 0x1f, TTL: 9, DF: true, Protocol: 17, Src: addr("10.0.0.1"), Dst: addr("10.0.0.2")}, bytes.Repeat([]byte{7}, 1400))
	b := encap.ICMPError(encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.DatagramTooBig, MTU: 1380}, router, p)
	h, err := encap.ParseIPv4(b)
	if err != nil || len(b) != 576 || h.TotalLen != 576 {
		t.Fatalf("%d octets, %+v, %v", len(b), h, err)
	}
	if h.Src != router || h.Dst != addr("10.0.0.1") || h.Protocol != 1 || h.TOS != 6<<5|0x1c {
		t.Errorf("header %+v", h)
	}
	if encap.Checksum(b[20:]) != 0 || b[20] != 3 || b[21] != 4 || binary.BigEndian.Uint16(b[26:]) != 1380 || b[24] != 0 || b[25] != 0 {
		t.Errorf("ICMP header %x", b[20:28])
	}
	if !bytes.Equal(b[28:], p[:548]) {
		t.Error("the quote is not the packet's begin")
	}
}

// tunnelled builds the ICMP error that a router sends about the packet p of a
// tunnel, quoting q octets behind the outer header (negative: all).
func tunnelled(t testing.TB, m encap.ICMP, p []byte, q int) []byte {
	t.Helper()
	h, err := encap.ParseIPv4(p)
	if err != nil {
		t.Fatal(err)
	}
	if q < 0 {
		return encap.ICMPError(m, router, p)
	}
	// Cut the quote, keeping the quoted header as it was.
	return encap.ICMPError(m, router, p[:min(len(p), h.HeaderLen+q)])
}

// RFC 2003 section 4, sentence by sentence.
//
//rfc:2003#4.1
//rfc:2003#4.2
//rfc:2003#4.3
//rfc:2003#4.4
//rfc:2003#4.5
//rfc:2003#5.2-2
//rfc:5944#4.2.3-5
func TestICMPRelayFollowsRFC2003Section4(t *testing.T) {
	orig := ip(t, encap.IPv4{TTL: 9, DF: true, Protocol: 17, Src: addr("203.0.113.5"), Dst: addr("192.0.2.10")}, make([]byte, 1400))
	nothing := encap.ICMP{Type: 255}
	un := func(code uint8) encap.ICMP { return encap.ICMP{Type: encap.DestinationUnreachable, Code: code} }
	for _, tc := range []struct {
		name   string
		in     encap.ICMP
		want   encap.ICMP
		onLink encap.ICMP // when the destination is on the encapsulator's own network
	}{
		{"net unreachable SHOULD be returned", un(0), un(0), un(1)},
		{"host unreachable SHOULD be relayed", un(1), un(1), un(1)},
		{"protocol unreachable becomes 0 or 1", un(2), un(0), un(1)},
		{"port unreachable MUST NOT", un(3), nothing, nothing},
		{"source route failed MUST NOT", un(5), nothing, nothing},
		{"filtered is host unreachable", un(13), un(1), un(1)},
		{"an unheard-of code is not relayed", un(77), nothing, nothing},
		{"source quench SHOULD NOT", encap.ICMP{Type: encap.SourceQuench}, nothing, nothing},
		{"redirect MUST NOT", encap.ICMP{Type: encap.Redirect, Code: 1}, nothing, nothing},
		{"time exceeded MUST become host unreachable", encap.ICMP{Type: encap.TimeExceeded}, un(1), un(1)},
		{"reassembly time exceeded too", encap.ICMP{Type: encap.TimeExceeded, Code: 1}, un(1), un(1)},
		{"parameter problem in the outer header", encap.ICMP{Type: encap.ParameterProblem, Pointer: 8}, nothing, nothing},
	} {
		for _, h := range []encap.Header{{Kind: encap.IPIP}, {Kind: encap.GRE, HasKey: true, Key: 5}, {Kind: encap.Minimal}, {Kind: encap.UDP, SrcPort: 434, DstPort: 40000}, {Kind: encap.UDP, Inner: encap.Minimal, SrcPort: 434}} {
			h.Src, h.Dst = local, peer
			p, err := encap.Append(nil, &h, orig)
			if err != nil {
				t.Fatal(err)
			}
			for _, quote := range []int{-1, 8} {
				name := fmt.Sprintf("%s (%v %v, quote %d)", tc.name, h.Kind, h.Inner, quote)
				e, err := encap.ParseTunnelError(tunnelled(t, tc.in, p, quote))
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				if e.From != router || e.Outer.Src != local || e.Outer.Dst != peer || e.Kind != h.Kind || e.SrcPort != h.SrcPort || e.DstPort != h.DstPort {
					t.Errorf("%s: read as %+v", name, e)
				}
				for _, on := range []struct {
					link bool
					want encap.ICMP
				}{{false, tc.want}, {true, tc.onLink}} {
					m, ok := e.Answer(on.link)
					if ok != (on.want != nothing) || ok && m != on.want {
						t.Errorf("%s: on link %v: answer %+v, %v; want %+v", name, on.link, m, ok, on.want)
					}
					b := e.Relay(local, on.link)
					// With 8 octets the inner header is not there: soft state only.
					if (b != nil) != (ok && quote < 0) {
						t.Errorf("%s: relayed %v", name, b != nil)
					}
					if b != nil {
						checkRelayed(t, name, b, on.want, orig)
					}
				}
			}
		}
	}
}

// checkRelayed: to the original sender, quoting the original packet.
func checkRelayed(t *testing.T, name string, b []byte, m encap.ICMP, orig []byte) {
	t.Helper()
	h, err := encap.ParseIPv4(b)
	if err != nil || h.Dst != addr("203.0.113.5") || h.Src != local || encap.Checksum(b[20:]) != 0 || b[20] != byte(m.Type) || b[21] != m.Code {
		t.Errorf("%s: relayed %+v %x, %v", name, h, b[20:28], err)
		return
	}
	if q := b[28:]; !bytes.Equal(q, orig[:len(q)]) || len(q) < 28 {
		t.Errorf("%s: quotes %x", name, q)
	}
}

// "The encapsulator MUST relay ICMP Datagram Too Big messages", with "the MTU
// of the tunnel minus the size of the encapsulating IP header".
//
//rfc:2003#5.1
//rfc:2003#5.1-2
func TestTooBigTellsTheTunnelMTUMinusTheEncapsulation(t *testing.T) {
	orig := ip(t, encap.IPv4{TTL: 9, DF: true, Protocol: 17, Src: addr("203.0.113.5"), Dst: addr("192.0.2.10")}, make([]byte, 1400))
	for _, tc := range []struct {
		h        encap.Header
		quote    int
		mtu      uint16
		want     uint16
		wantSent bool
	}{
		{encap.Header{Kind: encap.IPIP}, -1, 1300, 1280, true},
		{encap.Header{Kind: encap.IPIP}, 8, 1300, 1280, false},
		{encap.Header{Kind: encap.GRE}, -1, 1300, 1276, true},
		{encap.Header{Kind: encap.GRE}, 8, 1300, 1276, false},
		{encap.Header{Kind: encap.GRE, HasKey: true}, 8, 1300, 1272, false},
		{encap.Header{Kind: encap.Minimal}, -1, 1300, 1288, true},
		{encap.Header{Kind: encap.Minimal}, 8, 1300, 1288, false},
		{encap.Header{Kind: encap.UDP, SrcPort: 434}, -1, 1300, 1268, true},
		{encap.Header{Kind: encap.UDP, SrcPort: 434}, 8, 1300, 1268, false},
		{encap.Header{Kind: encap.UDP, SrcPort: 434, Inner: encap.GRE, HasKey: true}, -1, 1300, 1260, true},
		// The plateaus of RFC 1191 for a router that gives no MTU.
		{encap.Header{Kind: encap.IPIP}, -1, 0, 1006 - 20, true},
	} {
		tc.h.Src, tc.h.Dst = local, peer
		name := fmt.Sprintf("%v %v key %v quote %d", tc.h.Kind, tc.h.Inner, tc.h.HasKey, tc.quote)
		p, err := encap.Append(nil, &tc.h, orig)
		if err != nil {
			t.Fatal(err)
		}
		e, err := encap.ParseTunnelError(tunnelled(t, encap.ICMP{Type: encap.DestinationUnreachable, Code: encap.DatagramTooBig, MTU: tc.mtu}, p, tc.quote))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		m, ok := e.Answer(false)
		if !ok || m.Type != encap.DestinationUnreachable || m.Code != encap.DatagramTooBig || m.MTU != tc.want {
			t.Errorf("%s: %+v, %v; want MTU %d", name, m, ok, tc.want)
		}
		b := e.Relay(local, false)
		if (b != nil) != tc.wantSent {
			t.Errorf("%s: sent %v", name, b != nil)
		}
		if b != nil {
			checkRelayed(t, name, b, m, orig)
			if got := binary.BigEndian.Uint16(b[26:]); got != tc.want {
				t.Errorf("%s: MTU %d on the wire", name, got)
			}
		}
	}
}

// An MTU that no link has is a lie: no answer, whoever sent it.
func TestTooBigWithAnImpossibleMTUIsNotBelieved(t *testing.T) {
	orig := ip(t, encap.IPv4{TTL: 9, DF: true, Protocol: 17, Src: addr("203.0.113.5"), Dst: addr("192.0.2.10")}, make([]byte, 100))
	p, err := encap.Append(nil, &encap.Header{Kind: encap.IPIP, Src: local, Dst: peer}, orig)
	if err != nil {
		t.Fatal(err)
	}
	for _, mtu := range []uint16{1, 20, 60, 87} {
		e, err := encap.ParseTunnelError(tunnelled(t, encap.ICMP{Type: encap.DestinationUnreachable, Code: 4, MTU: mtu}, p, -1))
		if err != nil {
			t.Fatal(err)
		}
		if m, ok := e.Answer(false); ok {
			t.Errorf("MTU %d was answered with %+v", mtu, m)
		}
	}
	// Nor can it be more than the packet that did not fit.
	e, err := encap.ParseTunnelError(tunnelled(t, encap.ICMP{Type: encap.DestinationUnreachable, Code: 4, MTU: 9000}, p, -1))
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := e.Answer(false); !ok || int(m.MTU) != len(p)-1-20 {
		t.Errorf("MTU 9000 about %d octets: %+v, %v", len(p), m, ok)
	}
}

// RFC 2003 section 4.5: relayed when it points into the original packet.
//
//rfc:2003#4.5
func TestParameterProblemPointsIntoTheOriginal(t *testing.T) {
	orig := withOptions(t, []byte{0x94, 4, 0, 0}, encap.IPv4{TTL: 9, Protocol: 17, Src: addr("203.0.113.5"), Dst: addr("192.0.2.10")}, make([]byte, 40))
	for _, tc := range []struct {
		h       encap.Header
		pointer uint8
		want    int // -1: nothing
	}{
		{encap.Header{Kind: encap.IPIP}, 19, -1},
		{encap.Header{Kind: encap.IPIP}, 20, 0},
		{encap.Header{Kind: encap.IPIP}, 41, 21},
		{encap.Header{Kind: encap.GRE, HasKey: true}, 27, -1},
		{encap.Header{Kind: encap.GRE, HasKey: true}, 28, 0},
		{encap.Header{Kind: encap.UDP, SrcPort: 434}, 31, -1},
		{encap.Header{Kind: encap.UDP, SrcPort: 434}, 34, 2},
		// Of minimal encapsulation the options and the payload are the original's.
		{encap.Header{Kind: encap.Minimal}, 16, -1},
		{encap.Header{Kind: encap.Minimal}, 21, 21},
		{encap.Header{Kind: encap.Minimal}, 30, -1},
		{encap.Header{Kind: encap.Minimal}, 36, 24},
	} {
		tc.h.Src, tc.h.Dst = local, peer
		p, err := encap.Append(nil, &tc.h, orig)
		if err != nil {
			t.Fatal(err)
		}
		e, err := encap.ParseTunnelError(tunnelled(t, encap.ICMP{Type: encap.ParameterProblem, Pointer: tc.pointer}, p, -1))
		if err != nil {
			t.Fatal(err)
		}
		m, ok := e.Answer(false)
		if ok != (tc.want >= 0) || ok && (m.Type != encap.ParameterProblem || int(m.Pointer) != tc.want) {
			t.Errorf("%v pointer %d: %+v, %v; want %d", tc.h.Kind, tc.pointer, m, ok, tc.want)
		}
	}
}

// Eight octets of minimal encapsulation without S are the whole header.
func TestMinimalQuoteOfEightOctetsIsEnoughForOwnPackets(t *testing.T) {
	orig := ip(t, encap.IPv4{TTL: 9, Protocol: 6, ID: 7, Src: local, Dst: addr("192.0.2.10")}, make([]byte, 40))
	p, err := encap.Append(nil, &encap.Header{Kind: encap.Minimal, Src: local, Dst: peer}, orig)
	if err != nil {
		t.Fatal(err)
	}
	e, err := encap.ParseTunnelError(tunnelled(t, encap.ICMP{Type: encap.TimeExceeded}, p, 8))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(e.Quote, orig[:20]) || e.Overhead != 8 {
		t.Errorf("quote %x, overhead %d; want %x, 8", e.Quote, e.Overhead, orig[:20])
	}
}

func TestOtherICMPIsNoTunnelError(t *testing.T) {
	plain := ip(t, encap.IPv4{TTL: 9, Protocol: 17, Src: local, Dst: peer}, []byte{0, 1, 0, 2, 0, 8, 0, 0})
	for name, b := range map[string][]byte{
		"echo request":              ip(t, encap.IPv4{TTL: 9, Protocol: 1, Src: router, Dst: local}, []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}),
		"error about other traffic": encap.ICMPError(encap.ICMP{Type: encap.DestinationUnreachable}, router, plain),
		"no ICMP":                   plain,
	} {
		if _, err := encap.ParseTunnelError(b); !errors.Is(err, encap.ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p, err := encap.Append(nil, &encap.Header{Kind: encap.IPIP, Src: local, Dst: peer}, unhex(t, inner))
	if err != nil {
		t.Fatal(err)
	}
	b := encap.ICMPError(encap.ICMP{Type: encap.TimeExceeded}, router, p)
	for n := range len(b) {
		if _, err := encap.ParseTunnelError(b[:n]); err == nil {
			t.Errorf("%d of %d octets were believed", n, len(b))
		}
	}
	b[30] ^= 1
	if _, err := encap.ParseTunnelError(b); !errors.Is(err, encap.ErrChecksum) {
		t.Errorf("bad ICMP checksum: %v", err)
	}
}

// reassemble puts fragments together as a receiver does, checking each.
func reassemble(t testing.TB, frags [][]byte, mtu int) []byte {
	t.Helper()
	var payload []byte
	for i, f := range frags {
		h, err := encap.ParseIPv4(f)
		if err != nil {
			t.Fatalf("fragment %d: %v", i, err)
		}
		if h.TotalLen > mtu || h.TotalLen != len(f) {
			t.Fatalf("fragment %d has %d octets (total length %d), MTU %d", i, len(f), h.TotalLen, mtu)
		}
		if h.FragOffset != len(payload) || h.MF != (i < len(frags)-1) {
			t.Fatalf("fragment %d: offset %d, MF %v; want offset %d of %d fragments", i, h.FragOffset, h.MF, len(payload), len(frags))
		}
		payload = append(payload, f[h.HeaderLen:]...)
	}
	return payload
}

//rfc:791#3.2
func TestFragmentsReassemble(t *testing.T) {
	payload := make([]byte, 2000)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	for _, mtu := range []int{68, 69, 75, 76, 576, 1280, 1999, 2019, 2020} {
		for _, n := range []int{0, 1, 48, 49, 1000, 2000} {
			p := ip(t, encap.IPv4{TTL: 9, ID: 77, TOS: 3, Protocol: 17, Src: local, Dst: peer}, payload[:n])
			frags, err := encap.Fragment(p, mtu)
			if err != nil {
				t.Fatal(err)
			}
			if got := reassemble(t, frags, mtu); !bytes.Equal(got, payload[:n]) {
				t.Errorf("%d octets at MTU %d came back different", n, mtu)
			}
			if fits := len(p) <= mtu; fits != (len(frags) == 1) {
				t.Errorf("%d octets at MTU %d: %d fragments", len(p), mtu, len(frags))
			}
		}
	}
}

// A fragment may be fragmented again: offsets add up, MF stays on the last.
func TestFragmentsOfFragments(t *testing.T) {
	payload := bytes.Repeat([]byte("abcdefgh"), 200)
	p := ip(t, encap.IPv4{TTL: 9, Protocol: 17, Src: local, Dst: peer}, payload)
	first, err := encap.Fragment(p, 900)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for _, f := range first {
		again, err := encap.Fragment(f, 300)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, again...)
	}
	if got := reassemble(t, all, 300); !bytes.Equal(got, payload) {
		t.Error("the payload came back different")
	}
}

func TestFragmentCopiesOnlyFlaggedOptions(t *testing.T) {
	// Router alert (0x94, copied), a NOP, record route (7, not copied) of 3 octets.
	opts := []byte{0x94, 4, 0, 0, 1, 7, 3, 4}
	p := withOptions(t, opts, encap.IPv4{TTL: 9, Protocol: 17, Src: local, Dst: peer}, make([]byte, 200))
	frags, err := encap.Fragment(p, 100)
	if err != nil {
		t.Fatal(err)
	}
	if got := reassemble(t, frags, 100); len(got) != 200 {
		t.Errorf("%d octets came back", len(got))
	}
	if d := cmp.Diff(opts, frags[0][20:28]); d != "" {
		t.Errorf("first fragment's options:\n%s", d)
	}
	for i, f := range frags[1:] {
		if f[0] != 0x46 || !bytes.Equal(f[20:24], []byte{0x94, 4, 0, 0}) {
			t.Errorf("fragment %d: header %x", i+1, f[:24])
		}
	}
}

func TestDFPacketsAreNotFragmented(t *testing.T) {
	p := ip(t, encap.IPv4{TTL: 9, DF: true, Protocol: 17, Src: local, Dst: peer}, make([]byte, 1000))
	if _, err := encap.Fragment(p, 1019); !errors.Is(err, encap.ErrTooBig) {
		t.Errorf("Fragment = %v", err)
	}
	if f, err := encap.Fragment(p, 1020); err != nil || len(f) != 1 {
		t.Errorf("a packet that fits: %d, %v", len(f), err)
	}
	if _, err := encap.Fragment(p, 67); !errors.Is(err, encap.ErrLength) {
		t.Errorf("MTU 67: %v", err)
	}
}

// A later fragment's payload is no tunnel header: it must not be read as one.
func TestQuoteOfALaterFragmentHasNoInnerPacket(t *testing.T) {
	decoy := unhex(t, inner)
	q := ip(t, encap.IPv4{TTL: 9, Protocol: 4, FragOffset: 8, Src: local, Dst: peer}, decoy)
	body := append([]byte{11, 0, 0, 0, 0, 0, 0, 0}, q...)
	sum := encap.Checksum(body)
	body[2], body[3] = byte(sum>>8), byte(sum)
	e, err := encap.ParseTunnelError(ip(t, encap.IPv4{TTL: 9, Protocol: 1, Src: router, Dst: local}, body))
	if err != nil || e.Quote != nil || e.Relay(local, false) != nil {
		t.Errorf("quote %x, %v", e.Quote, err)
	}
}

// Only code 0 of a parameter problem has a pointer (RFC 1122 section 3.2.2.5).
func TestParameterProblemWithoutPointerIsNotRelayed(t *testing.T) {
	p, err := encap.Append(nil, &encap.Header{Kind: encap.IPIP, Src: local, Dst: peer}, unhex(t, inner))
	if err != nil {
		t.Fatal(err)
	}
	e, err := encap.ParseTunnelError(tunnelled(t, encap.ICMP{Type: encap.ParameterProblem, Code: 1, Pointer: 30}, p, -1))
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := e.Answer(false); ok {
		t.Errorf("answered with %+v", m)
	}
}

// A fragment that others follow and that is no multiple of eight octets long
// fits nowhere in a datagram.
func TestImpossibleFragmentIsNotCut(t *testing.T) {
	p := ip(t, encap.IPv4{TTL: 9, MF: true, Protocol: 17, Src: local, Dst: peer}, make([]byte, 203))
	if f, err := encap.Fragment(p, 100); !errors.Is(err, encap.ErrLength) {
		t.Errorf("%d fragments, %v", len(f), err)
	}
}

func TestOtherEchoesAreNoKeepalives(t *testing.T) {
	ha, mn := addr("203.0.113.1"), addr("192.0.2.10")
	echo := func(e encap.Echo) []byte {
		b, err := encap.AppendEcho(nil, &e, 0)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	code := echo(encap.Echo{Type: encap.EchoRequest, Src: mn, Dst: ha})
	code[21] = 1
	code[22], code[23] = 0, 0
	sum := encap.Checksum(code[20:])
	code[22], code[23] = byte(sum>>8), byte(sum)
	for name, b := range map[string][]byte{
		"request for somebody else": echo(encap.Echo{Type: encap.EchoRequest, Src: mn, Dst: addr("8.8.8.8")}),
		"request from the agent":    echo(encap.Echo{Type: encap.EchoRequest, Src: ha, Dst: mn}),
		"reply to the agent":        echo(encap.Echo{Type: encap.EchoReply, Src: mn, Dst: ha}),
		"code 1":                    code,
		"UDP":                       ip(t, encap.IPv4{TTL: 9, Protocol: 17, Src: mn, Dst: ha}, make([]byte, 8)),
	} {
		if _, ok := encap.ParseKeepalive(b, ha); ok {
			t.Errorf("%s was taken for a keepalive", name)
		}
	}
}
