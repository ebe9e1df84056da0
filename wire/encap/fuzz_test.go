package encap_test

import (
	"bytes"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"careof/wire/encap"
)

func genAddr() *rapid.Generator[netip.Addr] {
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "addr")))
	})
}

func genHeader() *rapid.Generator[encap.Header] {
	return rapid.Custom(func(t *rapid.T) encap.Header {
		kinds := []encap.Kind{encap.IPIP, encap.GRE, encap.Minimal}
		h := encap.Header{
			Kind: rapid.SampledFrom(encap.Kinds()).Draw(t, "kind"),
			Src:  genAddr().Draw(t, "outer src"), Dst: genAddr().Draw(t, "outer dst"),
			TTL: rapid.Byte().Draw(t, "ttl"), ID: rapid.Uint16().Draw(t, "id"),
			DF: rapid.Bool().Draw(t, "df"), Checksum: rapid.Bool().Draw(t, "checksum"),
		}
		if h.Kind == encap.UDP {
			h.Inner = rapid.SampledFrom(kinds).Draw(t, "inner")
			h.SrcPort, h.DstPort = encap.Port, rapid.Uint16().Draw(t, "port")
		}
		if h.Kind == encap.GRE || h.Inner == encap.GRE {
			if h.HasKey = rapid.Bool().Draw(t, "key?"); h.HasKey {
				h.Key = rapid.Uint32().Draw(t, "key")
			}
			if h.HasSeq = rapid.Bool().Draw(t, "seq?"); h.HasSeq {
				h.Seq = rapid.Uint32().Draw(t, "seq")
			}
		}
		return h
	})
}

// Whatever goes in comes out, octet for octet, and the header with it.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := genHeader().Draw(rt, "header")
		in := encap.IPv4{
			TOS: rapid.Byte().Draw(rt, "tos"), ID: rapid.Uint16().Draw(rt, "inner id"), DF: rapid.Bool().Draw(rt, "inner df"),
			TTL: rapid.Uint8Range(1, 255).Draw(rt, "inner ttl"), Protocol: rapid.Byte().Draw(rt, "protocol"),
			Src: genAddr().Draw(rt, "src"), Dst: genAddr().Draw(rt, "dst"),
		}
		if in.Dst == h.Src {
			rt.Skip("GRE discards it")
		}
		payload := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(rt, "payload")
		p := ip(t, in, payload)

		outer, err := encap.Append(nil, &h, p)
		if err != nil {
			rt.Fatal(err)
		}
		if len(outer) > len(p)+h.Overhead() || len(outer) > len(p)+encap.Headroom {
			rt.Fatalf("%d octets became %d, overhead %d", len(p), len(outer), h.Overhead())
		}
		o, err := encap.ParseIPv4(outer)
		if err != nil || o.DF != (in.DF || h.DF && h.Kind != encap.Minimal && h.Inner != encap.Minimal) || o.TOS != in.TOS {
			rt.Fatalf("outer %+v, %v", o, err)
		}
		got, inner, err := encap.Pull(bytes.Clone(outer))
		if err != nil {
			rt.Fatal(err)
		}
		if !bytes.Equal(inner, p) {
			rt.Fatalf("came out %x, went in %x", inner, p)
		}
		if got.Kind != h.Kind || got.Inner != h.Inner || got.Src != h.Src || got.Dst != h.Dst || got.SrcPort != h.SrcPort ||
			got.DstPort != h.DstPort || got.Key != h.Key || got.HasKey != h.HasKey || got.Seq != h.Seq || got.HasSeq != h.HasSeq {
			rt.Fatalf("header %+v, went in as %+v", got, h)
		}
		if h.Kind != encap.UDP {
			return
		}
		payloadOnly, err := encap.AppendTunnelData(make([]byte, encap.UDPHeadroom), &h, p)
		if err != nil {
			rt.Fatal(err)
		}
		s := encap.Header{Src: h.Src, Dst: h.Dst, TOS: o.TOS, TTL: o.TTL, ID: o.ID, DF: o.DF}
		if inner, err := encap.PullUDP(&s, payloadOnly, encap.UDPHeadroom); err != nil || !bytes.Equal(inner, p) {
			rt.Fatalf("through a socket: %x, %v; went in %x", inner, err, p)
		}
	})
}

// The incremental and the full checksum agree, and so does a plain one.
func TestChecksumAgreesWithTheDefinition(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 99).Draw(rt, "b")
		var sum uint32
		for i, v := range b {
			if i%2 == 0 {
				sum += uint32(v) << 8
			} else {
				sum += uint32(v)
			}
			sum = sum&0xffff + sum>>16
		}
		if got := encap.Checksum(b); got != ^uint16(sum) {
			rt.Fatalf("Checksum(%x) = %#04x, want %#04x", b, got, ^uint16(sum))
		}
	})
	if got := encap.Checksum(bytes.Repeat([]byte{0xff}, 65535)); got != 0x00ff {
		t.Errorf("all ones: %#04x", got)
	}
}

// checkPulled are the promises of Pull for whatever input.
func checkPulled(t *testing.T, h encap.Header, inner []byte, err error) {
	if err != nil {
		if inner != nil {
			t.Fatalf("an inner packet together with %v", err)
		}
		return
	}
	ip, err := encap.ParseIPv4(inner)
	if err != nil || ip.TotalLen != len(inner) || ip.TTL == 0 {
		t.Fatalf("an inner packet that is none: %x, %v", inner, err)
	}
	if !h.Kind.Known() || (h.Kind == encap.UDP) != h.Inner.Known() {
		t.Fatalf("kinds %v %v", h.Kind, h.Inner)
	}
}

// FuzzPullIP: no outer packet makes Pull, CameBack, ParseTunnelError, Fragment
// or ICMPError panic, and what Pull accepts is a packet that survives the way
// back.
func FuzzPullIP(f *testing.F) {
	for _, v := range vectors {
		f.Add(unhex(f, v.outer))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		encap.CameBack(b, local)
		if e, err := encap.ParseTunnelError(b); err == nil {
			e.Answer(true)
			e.Relay(local, false)
		}
		encap.ICMPError(encap.ICMP{Type: encap.TimeExceeded}, local, b)
		if frags, err := encap.Fragment(b, 100); err == nil && len(frags) == 0 {
			t.Fatal("a packet became nothing")
		}
		encap.ParseKeepalive(b, local)
		h, inner, err := encap.PullIP(bytes.Clone(b))
		checkPulled(t, h, inner, err)
		h, inner, err = encap.Pull(bytes.Clone(b))
		checkPulled(t, h, inner, err)
		if err != nil {
			return
		}
		again, err := encap.Append(nil, &h, inner)
		if err != nil {
			t.Fatalf("what came out does not go in again: %v", err)
		}
		_, back, err := encap.Pull(again)
		if err != nil || !bytes.Equal(back, inner) {
			t.Fatalf("way back: %x, %v; want %x", back, err, inner)
		}
	})
}

// FuzzPullUDP: the same for the payload of a datagram.
func FuzzPullUDP(f *testing.F) {
	for _, v := range vectors {
		if v.h.Kind == encap.UDP {
			f.Add(unhex(f, v.outer)[28:])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, room := range []int{0, encap.UDPHeadroom} {
			h := encap.Header{Src: local, Dst: peer, TTL: 9}
			inner, err := encap.PullUDP(&h, append(make([]byte, room), b...), room)
			checkPulled(t, h, inner, err)
		}
	})
}
