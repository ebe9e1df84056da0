package encap_test

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"careof/wire/encap"
)

// ip builds a packet without options.
func ip(t testing.TB, h encap.IPv4, payload []byte) []byte {
	t.Helper()
	b, err := encap.AppendIPv4(nil, &h, len(payload))
	if err != nil {
		t.Fatal(err)
	}
	return append(b, payload...)
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// Figure 4 of RFC 6040, written in the order of the RFC: rows Not-ECT, ECT(0),
// ECT(1), CE; columns the same. 9 is <drop>.
//
//rfc:6040#4.2
func TestDecapsulationFollowsRFC6040Figure4(t *testing.T) {
	order := [4]uint8{0, 2, 1, 3}
	figure := [4][4]uint8{
		{0, 0, 0, 9},
		{2, 2, 1, 3},
		{1, 1, 1, 3},
		{3, 3, 3, 3},
	}
	for row, inner := range order {
		for col, outer := range order {
			const dscp = 0xb8
			got, ok := encap.DecapTOS(0x20|outer, dscp|inner)
			want := figure[row][col]
			if want == 9 {
				if ok {
					t.Errorf("inner %d outer %d: not dropped", inner, outer)
				}
				continue
			}
			if !ok || got != dscp|want {
				t.Errorf("inner %d outer %d: %#x, %v; want %#x with the inner DSCP", inner, outer, got, ok, dscp|want)
			}
		}
	}
}

//rfc:6040#4.2
func TestCongestionMarkReachesTheInnerPacket(t *testing.T) {
	for _, tc := range []struct {
		name         string
		kind         encap.Kind
		inner, outer uint8
		want         uint8
		err          error
	}{
		{"CE on ECT(0) propagates", encap.IPIP, 0xb8 | 2, 3, 0xb8 | 3, nil},
		{"nothing marked, nothing changes", encap.GRE, 0xb8 | 2, 2, 0xb8 | 2, nil},
		{"Not-ECT and CE: dropped", encap.GRE, 0xb8, 3, 0xb8, encap.ErrCongestion},
		{"minimal: the packet's own TOS has it", encap.Minimal, 0, 3, 0, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := ip(t, encap.IPv4{TOS: tc.inner, TTL: 9, Protocol: 17, Src: local, Dst: peer}, []byte("data"))
			err := encap.SetECN(&encap.Header{Kind: tc.kind, TOS: tc.outer}, p)
			if !errors.Is(err, tc.err) {
				t.Fatalf("SetECN = %v, want %v", err, tc.err)
			}
			got, err := encap.ParseIPv4(p)
			if err != nil {
				t.Fatalf("checksum after SetECN: %v", err)
			}
			if got.TOS != tc.want {
				t.Errorf("TOS %#x, want %#x", got.TOS, tc.want)
			}
		})
	}
}

// RFC 2003 section 3.1 on DF, TTL, TOS of the outer header.
//
//rfc:2003#3.1
//rfc:2003#3.1-1
func TestOuterHeaderFollowsTheInner(t *testing.T) {
	for _, kind := range []encap.Kind{encap.IPIP, encap.GRE, encap.UDP} {
		for _, innerDF := range []bool{false, true} {
			for _, always := range []bool{false, true} {
				p := ip(t, encap.IPv4{TOS: 0x2d, DF: innerDF, TTL: 1, Protocol: 17, Src: addr("10.0.0.1"), Dst: addr("10.0.0.2")}, nil)
				b, err := encap.Append(nil, &encap.Header{Kind: kind, Src: local, Dst: peer, DF: always, TTL: 33}, p)
				if err != nil {
					t.Fatal(err)
				}
				h, err := encap.ParseIPv4(b)
				if err != nil {
					t.Fatal(err)
				}
				if h.DF != (innerDF || always) {
					t.Errorf("%v: inner DF %v, always %v: outer DF %v", kind, innerDF, always, h.DF)
				}
				if h.TOS != 0x2d || h.TTL != 33 {
					t.Errorf("%v: outer TOS %#x TTL %d", kind, h.TOS, h.TTL)
				}
				if b[len(b)-20+8] != 1 {
					t.Errorf("%v: encapsulation changed the inner TTL", kind)
				}
			}
		}
	}
}

// "An encapsulator MUST NOT encapsulate a datagram with TTL = 0." and "If,
// after decapsulation, the inner datagram has TTL = 0, the decapsulator MUST
// discard the datagram."
//
//rfc:2003#3.1
//rfc:2003#3.1-3
//rfc:2003#3.1-4
func TestTTLZeroIsNeitherEncapsulatedNorDecapsulated(t *testing.T) {
	dead := ip(t, encap.IPv4{TTL: 0, Protocol: 17, Src: addr("10.0.0.1"), Dst: addr("10.0.0.2")}, make([]byte, 8))
	for _, kind := range encap.Kinds() {
		if _, err := encap.Append(nil, &encap.Header{Kind: kind, Src: local, Dst: peer}, dead); !errors.Is(err, encap.ErrTTL) {
			t.Errorf("push %v of TTL 0: %v", kind, err)
		}
	}
	for _, tc := range []struct {
		proto uint8
		head  []byte
	}{{4, nil}, {47, []byte{0, 0, 8, 0}}} {
		b := ip(t, encap.IPv4{TTL: 64, Protocol: tc.proto, Src: local, Dst: peer}, append(tc.head, dead...))
		if _, _, err := encap.Pull(b); !errors.Is(err, encap.ErrTTL) {
			t.Errorf("pull protocol %d with inner TTL 0: %v", tc.proto, err)
		}
	}
}

func TestDecrementTTL(t *testing.T) {
	for ttl := 0; ttl < 256; ttl++ {
		p := ip(t, encap.IPv4{TTL: uint8(ttl), ID: uint16(ttl * 257), Protocol: 6, Src: local, Dst: peer}, nil)
		ok := encap.DecrementTTL(p)
		h, err := encap.ParseIPv4(p)
		if err != nil {
			t.Fatalf("TTL %d: %v", ttl, err)
		}
		if ok != (ttl > 1) || ok && int(h.TTL) != ttl-1 || !ok && int(h.TTL) != ttl {
			t.Errorf("TTL %d: forwarded %v with TTL %d", ttl, ok, h.TTL)
		}
	}
}

// RFC 2003 section 3.2: own source, or source equal to the tunnel exit.
//
//rfc:2003#3.2
func TestLoopsAreNotTunnelled(t *testing.T) {
	own := func(a netip.Addr) bool { return a == local }
	for _, tc := range []struct {
		src  netip.Addr
		want bool
	}{{local, true}, {peer, true}, {addr("192.0.2.1"), false}} {
		if got := encap.Loops(tc.src, peer, own); got != tc.want {
			t.Errorf("Loops(%v) = %v", tc.src, got)
		}
	}
	if encap.Loops(local, peer, nil) {
		t.Error("a node without own addresses loops")
	}
}

// RFC 5944 section 4.2.3: only inner destination = outer destination = mobile
// node, from the current care-of address, is a packet that came back.
//
//rfc:5944#4.2.3
func TestPacketThatCameBackFromTheCareOfAddress(t *testing.T) {
	mn, cn, coa := addr("192.0.2.10"), addr("203.0.113.5"), addr("198.51.100.77")
	toMN := ip(t, encap.IPv4{TTL: 9, Protocol: 17, Src: cn, Dst: mn}, make([]byte, 8))
	toOther := ip(t, encap.IPv4{TTL: 9, Protocol: 17, Src: cn, Dst: addr("192.0.2.11")}, make([]byte, 8))
	for _, kind := range []encap.Kind{encap.IPIP, encap.GRE, encap.Minimal} {
		for _, tc := range []struct {
			name  string
			inner []byte
			src   netip.Addr
			want  bool
		}{
			{"from the care-of address", toMN, coa, true},
			{"from elsewhere", toMN, addr("198.51.100.78"), false},
			{"for another node: nested", toOther, coa, false},
		} {
			b, err := encap.Append(nil, &encap.Header{Kind: kind, Src: tc.src, Dst: mn}, tc.inner)
			if err != nil {
				t.Fatal(err)
			}
			keep := bytes.Clone(b)
			if got := encap.CameBack(b, coa); got != tc.want {
				t.Errorf("%v %s: CameBack = %v", kind, tc.name, got)
			}
			if !bytes.Equal(b, keep) {
				t.Errorf("%v %s: the packet was changed", kind, tc.name)
			}
		}
	}
	if encap.CameBack(toMN, cn) {
		t.Error("a packet that is not encapsulated came back")
	}
}

// gre makes an outer packet with the given GRE bytes.
func gre(t testing.TB, b ...byte) []byte {
	return ip(t, encap.IPv4{TTL: 64, Protocol: 47, Src: local, Dst: peer}, b)
}

//rfc:2784#2.3
//rfc:2784#2.3-1
//rfc:2784#2.3-2
//rfc:2784#2.3.1-1
//rfc:2784#2.4-1
//rfc:2784#5.2-1
func TestGREReservedBitsAndVersion(t *testing.T) {
	in := unhex(t, inner)
	for bit := range 16 {
		flags := uint16(0x8000) >> bit
		head := []byte{byte(flags >> 8), byte(flags), 8, 0}
		var want error
		switch {
		case bit == 0: // C: four more octets, and the checksum is that of garbage
			want = encap.ErrChecksum
		case bit == 1, bit == 4, bit == 5:
			want = encap.ErrReserved
		case bit == 2, bit == 3: // K, S
			head = append(head, 0, 0, 0, 1)
		case bit >= 13:
			want = encap.ErrVersion
		}
		_, got, err := encap.Pull(gre(t, append(head, in...)...))
		if !errors.Is(err, want) {
			t.Errorf("bit %d: %v, want %v", bit, err, want)
		}
		if want == nil && !bytes.Equal(got, in) {
			t.Errorf("bit %d: inner %x", bit, got)
		}
	}
	for _, proto := range []uint16{0x86dd, 0x6558, 0} {
		if _, _, err := encap.Pull(gre(t, append([]byte{0, 0, byte(proto >> 8), byte(proto)}, in...)...)); !errors.Is(err, encap.ErrProtocol) {
			t.Errorf("protocol type %#04x: %v", proto, err)
		}
	}
}

// RFC 2784 section 3.1: a payload for the encapsulator itself MUST be discarded.
//
//rfc:2784#3.1
//rfc:2784#3.1-3
func TestGREPayloadForItsEncapsulatorIsDiscarded(t *testing.T) {
	p := ip(t, encap.IPv4{TTL: 9, Protocol: 17, Src: addr("10.0.0.1"), Dst: local}, nil)
	b, err := encap.Append(nil, &encap.Header{Kind: encap.GRE, Src: local, Dst: peer}, p)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := encap.Pull(b); !errors.Is(err, encap.ErrLoop) {
		t.Errorf("Pull = %v", err)
	}
}

// RFC 2004 section 3: "MUST NOT be used when an original datagram is already
// fragmented"; the other forms carry fragments.
//
//rfc:2004#3
//rfc:2004#3-1
func TestMinimalEncapsulationRefusesFragments(t *testing.T) {
	for _, f := range []encap.IPv4{{MF: true}, {FragOffset: 8}, {MF: true, FragOffset: 16}} {
		f.TTL, f.Protocol, f.Src, f.Dst = 9, 17, addr("10.0.0.1"), addr("10.0.0.2")
		p := ip(t, f, make([]byte, 16))
		for _, h := range []encap.Header{{Kind: encap.IPIP}, {Kind: encap.GRE}, {Kind: encap.UDP}, {Kind: encap.Minimal}, {Kind: encap.UDP, Inner: encap.Minimal}} {
			h.Src, h.Dst = local, peer
			b, err := encap.Append(nil, &h, p)
			if h.Kind == encap.Minimal || h.Inner == encap.Minimal {
				if !errors.Is(err, encap.ErrFragment) {
					t.Errorf("%v of a fragment: %v", h.Kind, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%v of a fragment: %v", h.Kind, err)
				continue
			}
			if h.Kind == encap.UDP {
				h.SrcPort = encap.Port
				if b, err = encap.Append(nil, &h, p); err != nil {
					t.Fatal(err)
				}
			}
			if _, got, err := encap.Pull(b); err != nil || !bytes.Equal(got, p) {
				t.Errorf("%v: fragment came out as %x, %v", h.Kind, got, err)
			}
		}
	}
}

func TestFragmentOfATunnelPacketIsNotDecapsulated(t *testing.T) {
	for _, proto := range []uint8{4, 17, 47, 55} {
		for _, f := range []encap.IPv4{{MF: true}, {FragOffset: 8}} {
			f.TTL, f.Protocol, f.Src, f.Dst = 9, proto, local, peer
			if _, _, err := encap.Pull(ip(t, f, unhex(t, inner))); !errors.Is(err, encap.ErrFragment) {
				t.Errorf("protocol %d: %v", proto, err)
			}
		}
	}
}

func TestMinimalEncapsulationKeepsOptionsAndTTL(t *testing.T) {
	p := withOptions(t, []byte{0x94, 4, 0, 0}, encap.IPv4{TTL: 17, Protocol: 17, Src: addr("10.0.0.1"), Dst: addr("10.0.0.2")}, []byte("payload"))
	for _, h := range []encap.Header{{Kind: encap.Minimal}, {Kind: encap.UDP, Inner: encap.Minimal, DstPort: 434}} {
		h.Src, h.Dst = local, peer
		b, err := encap.Append(nil, &h, p)
		if err != nil {
			t.Fatal(err)
		}
		o, err := encap.ParseIPv4(b)
		if err != nil || o.TTL != 17 || o.HeaderLen != 24 || !bytes.Equal(b[20:24], []byte{0x94, 4, 0, 0}) {
			t.Errorf("%v: outer header %+v %x, %v", h.Kind, o, b, err)
		}
		if _, got, err := encap.Pull(b); err != nil || !bytes.Equal(got, p) {
			t.Errorf("%v: restored %x, %v; want %x", h.Kind, got, err, p)
		}
	}
	// A UDP socket has no place for them.
	_, err := encap.AppendTunnelData(nil, &encap.Header{Kind: encap.UDP, Inner: encap.Minimal, Src: local, Dst: peer}, p)
	if !errors.Is(err, encap.ErrOptions) {
		t.Errorf("options through a socket: %v", err)
	}
}

// withOptions builds a packet with IP options.
func withOptions(t testing.TB, options []byte, h encap.IPv4, payload []byte) []byte {
	t.Helper()
	b := ip(t, h, append(bytes.Clone(options), payload...))
	b[0] += byte(len(options) / 4)
	b[10], b[11] = 0, 0
	n := 20 + len(options)
	sum := encap.Checksum(b[:n])
	b[10], b[11] = byte(sum>>8), byte(sum)
	return b
}

func TestPushRefuses(t *testing.T) {
	in := unhex(t, inner)
	big := ip(t, encap.IPv4{TTL: 9, Src: local, Dst: peer}, make([]byte, 65535-20))
	for _, tc := range []struct {
		name string
		h    encap.Header
		p    []byte
		want error
	}{
		{"no IPv4", encap.Header{Kind: encap.IPIP, Src: local, Dst: peer}, append([]byte{0x60}, make([]byte, 60)...), encap.ErrVersion},
		{"short", encap.Header{Kind: encap.IPIP, Src: local, Dst: peer}, in[:12], encap.ErrShort},
		{"cut", encap.Header{Kind: encap.IPIP, Src: local, Dst: peer}, in[:30], encap.ErrShort},
		{"IPv6 tunnel", encap.Header{Kind: encap.GRE, Src: addr("2001:db8::1"), Dst: peer}, in, encap.ErrAddress},
		{"no addresses", encap.Header{Kind: encap.Minimal}, in, encap.ErrAddress},
		{"unknown kind", encap.Header{Kind: 41, Src: local, Dst: peer}, in, encap.ErrProtocol},
		{"UDP in UDP", encap.Header{Kind: encap.UDP, Inner: encap.UDP, Src: local, Dst: peer}, in, encap.ErrProtocol},
		{"above 65535", encap.Header{Kind: encap.IPIP, Src: local, Dst: peer}, big, encap.ErrTooBig},
		{"minimal above 65535", encap.Header{Kind: encap.Minimal, Src: local, Dst: addr("10.1.1.1")}, big, encap.ErrTooBig},
	} {
		if got, err := encap.Append([]byte("x"), &tc.h, tc.p); !errors.Is(err, tc.want) || string(got) != "x" {
			t.Errorf("%s: %x, %v; want %v", tc.name, got, err, tc.want)
		}
	}
	for _, v := range vectors {
		buf := append(make([]byte, 3), in...)
		if _, _, err := encap.Push(&v.h, buf, 3, len(in)); !errors.Is(err, encap.ErrHeadroom) {
			t.Errorf("%s without head-room: %v", v.name, err)
		}
		if !bytes.Equal(buf[3:], in) {
			t.Errorf("%s: a refused packet was changed", v.name)
		}
	}
}

func TestKindNames(t *testing.T) {
	for _, k := range encap.Kinds() {
		if got, err := encap.ParseKind(k.String()); err != nil || got != k || !k.Known() {
			t.Errorf("ParseKind(%v) = %v, %v", k, got, err)
		}
	}
	if got := encap.Kind(41).String(); got != "Kind(41)" {
		t.Error(got)
	}
	if _, err := encap.ParseKind("esp"); err == nil {
		t.Error("ParseKind took esp")
	}
	for _, tc := range []struct {
		k    encap.Kind
		key  bool
		want int
	}{{encap.IPIP, false, 20}, {encap.GRE, false, 24}, {encap.GRE, true, 28}, {encap.Minimal, false, 12}, {encap.UDP, false, 32}, {99, false, 0}} {
		if got := encap.Overhead(tc.k, tc.key); got != tc.want {
			t.Errorf("Overhead(%v, %v) = %d, want %d", tc.k, tc.key, got, tc.want)
		}
	}
}

// The way of a packet allocates nothing.
func TestNoAllocationPerPacket(t *testing.T) {
	in := unhex(t, inner)
	buf := make([]byte, encap.Headroom+len(in))
	for _, v := range vectors {
		n := testing.AllocsPerRun(100, func() {
			copy(buf[encap.Headroom:], in)
			off, n, err := encap.Push(&v.h, buf, encap.Headroom, len(in))
			if err != nil {
				t.Fatal(err)
			}
			h, p, err := encap.Pull(buf[off : off+n])
			if err != nil {
				t.Fatal(err)
			}
			if err := encap.SetECN(&h, p); err != nil {
				t.Fatal(err)
			}
			copy(buf[encap.Headroom:], in)
			if v.h.Kind == encap.UDP {
				off, n, err := encap.PushUDP(&v.h, buf, encap.Headroom, len(in))
				if err != nil {
					t.Fatal(err)
				}
				h = encap.Header{Src: local, Dst: peer}
				if _, err := encap.PullUDP(&h, buf[:off+n], off); err != nil {
					t.Fatal(err)
				}
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations per packet", v.name, n)
		}
	}
}

// A Tunnel Data message counts only on port 434, at one end or the other.
func TestTunnelDataOnAnotherPortIsTraffic(t *testing.T) {
	for _, tc := range []struct {
		sport, dport uint16
		want         error
	}{{434, 40000, nil}, {40000, 434, nil}, {40000, 5000, encap.ErrProtocol}} {
		b, err := encap.Append(nil, &encap.Header{Kind: encap.UDP, Src: local, Dst: peer, SrcPort: tc.sport, DstPort: tc.dport}, unhex(t, inner))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := encap.Pull(b); !errors.Is(err, tc.want) {
			t.Errorf("%d > %d: %v", tc.sport, tc.dport, err)
		}
	}
}

// Minimal encapsulation has one TTL: when that is 0, the inner one is.
//
//rfc:2003#3.1-4
func TestMinimalEncapsulationWithTTLZeroIsDiscarded(t *testing.T) {
	b := unhex(t, vectors[5].outer)
	b[8], b[10], b[11] = 0, 0, 0
	sum := encap.Checksum(b[:20])
	b[10], b[11] = byte(sum>>8), byte(sum)
	if _, _, err := encap.Pull(b); !errors.Is(err, encap.ErrTTL) {
		t.Errorf("Pull = %v", err)
	}
	// What a socket does not tell is taken for 64.
	h := encap.Header{Src: local, Dst: peer}
	buf := append(make([]byte, encap.UDPHeadroom), unhex(t, vectors[8].outer)[28:]...)
	p, err := encap.PullUDP(&h, buf, encap.UDPHeadroom)
	if err != nil || p[8] != 64 {
		t.Errorf("PullUDP without a TTL = %x, %v", p, err)
	}
}

// RFC 768: "If the computed checksum is zero, it is transmitted as all ones",
// for zero says that there is none.
func TestUDPChecksumOfZeroIsSentAsOnes(t *testing.T) {
	from, to := netip.AddrPortFrom(local, 434), netip.AddrPortFrom(peer, 434)
	for v := range 0x10000 {
		b, err := encap.AppendUDP(nil, encap.IPv4{}, from, to, []byte{byte(v >> 8), byte(v)})
		if err != nil {
			t.Fatal(err)
		}
		if b[26] == 0 && b[27] == 0 {
			t.Fatalf("payload %04x is sent without a checksum", v)
		}
		if b[26] == 0xff && b[27] == 0xff {
			if _, d, err := encap.ParseUDP(b); err != nil || len(d.Payload) != 2 || d.Src != from || d.Dst != to {
				t.Errorf("payload %04x: %+v, %v", v, d, err)
			}
			return
		}
	}
	t.Error("no payload has the checksum 0xffff")
}

// "A zero UDP checksum SHOULD be accepted by the recipient"; one that is there
// and wrong is refused.
//
//rfc:5944#3.1-5
//rfc:5944#3.1-6
//rfc:5944#3.6.2.1-1
func TestUDPChecksumsOfRecipients(t *testing.T) {
	b, err := encap.AppendUDP(nil, encap.IPv4{}, netip.AddrPortFrom(local, 434), netip.AddrPortFrom(peer, 434), []byte{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	if b[26] == 0 && b[27] == 0 {
		t.Error("sent without a checksum")
	}
	b[27] ^= 1
	if _, _, err := encap.ParseUDP(b); !errors.Is(err, encap.ErrChecksum) {
		t.Errorf("a wrong checksum: %v", err)
	}
	b[26], b[27] = 0, 0
	if _, d, err := encap.ParseUDP(b); err != nil || string(d.Payload) != "\x01\x02\x03" {
		t.Errorf("no checksum: %+v, %v", d, err)
	}
}

// A fragment shows no whole inner packet, so it cannot be said to have come back.
func TestFragmentDidNotComeBack(t *testing.T) {
	mn, coa := addr("192.0.2.10"), addr("198.51.100.77")
	in := ip(t, encap.IPv4{TTL: 9, Protocol: 17, Src: addr("203.0.113.5"), Dst: mn}, make([]byte, 8))
	if encap.CameBack(ip(t, encap.IPv4{TTL: 9, Protocol: 4, MF: true, Src: coa, Dst: mn}, in), coa) {
		t.Error("a fragment came back")
	}
}
