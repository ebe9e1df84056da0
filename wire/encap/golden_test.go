package encap_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"careof/wire/encap"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	local = netip.MustParseAddr("198.51.100.1")
	peer  = netip.MustParseAddr("198.51.100.9")
)

// inner is 192.0.2.10:4000 > 203.0.113.5:5000, DF, TTL 63, DSCP EF with ECT(1), four octets of data.
const inner = "45b90020111140003f112bf3c000020acb0071050fa01388000c000061626364"

var equateAddr = cmpopts.EquateComparable(netip.Addr{})

// vectors were worked out by hand, not by this package: the same packet in
// every form.
var vectors = []struct {
	name  string
	h     encap.Header
	outer string
}{
	{"ipip", encap.Header{Kind: encap.IPIP, Src: local, Dst: peer, ID: 0x2222},
		"45b90034222240004004c379c6336401c6336409" + inner},
	{"gre", encap.Header{Kind: encap.GRE, Src: local, Dst: peer, ID: 0x2222},
		"45b9003822224000402fc34ac6336401c6336409" + "00000800" + inner},
	{"gre with key", encap.Header{Kind: encap.GRE, Src: local, Dst: peer, ID: 0x2222, HasKey: true, Key: 0x01020304},
		"45b9003c22224000402fc346c6336401c6336409" + "2000080001020304" + inner},
	{"gre with checksum, key and sequence", encap.Header{Kind: encap.GRE, Src: local, Dst: peer, ID: 0x2222, Checksum: true, HasKey: true, Key: 0x01020304, HasSeq: true, Seq: 7},
		"45b9004422224000402fc33ec6336401c6336409" + "b00008005bf700000102030400000007" + inner},
	{"minimal by a forwarder", encap.Header{Kind: encap.Minimal, Src: local, Dst: peer},
		"45b9002c111140003f37d55fc6336401c6336409" + "1180f06ecb007105c000020a" + "0fa01388000c000061626364"},
	{"minimal by the source itself", encap.Header{Kind: encap.Minimal, Src: netip.MustParseAddr("192.0.2.10"), Dst: peer},
		"45b90028111140003f373d8ec000020ac6336409" + "1100b2f9cb007105" + "0fa01388000c000061626364"},
	{"udp with ipip", encap.Header{Kind: encap.UDP, Inner: encap.IPIP, Src: local, Dst: peer, SrcPort: 434, DstPort: 40000, ID: 0x2222, Checksum: true},
		"45b90040222240004011c360c6336401c6336409" + "01b29c40002c2133" + "04040000" + inner},
	{"udp with gre and key", encap.Header{Kind: encap.UDP, Inner: encap.GRE, Src: local, Dst: peer, SrcPort: 434, DstPort: 40000, ID: 0x2222, HasKey: true, Key: 0x01020304},
		"45b90048222240004011c358c6336401c6336409" + "01b29c4000340000" + "042f0000" + "2000080001020304" + inner},
	{"udp with minimal", encap.Header{Kind: encap.UDP, Inner: encap.Minimal, Src: local, Dst: peer, SrcPort: 434, DstPort: 40000},
		"45b90038111140003f11d579c6336401c6336409" + "01b29c4000240000" + "04370000" + "1180f06ecb007105c000020a" + "0fa01388000c000061626364"},
}

//rfc:2784#2.6-1
//rfc:2784#3-1
func TestPushGivesTheGoldenPacket(t *testing.T) {
	in := unhex(t, inner)
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			want := unhex(t, v.outer)
			buf := append(append(make([]byte, encap.Headroom), in...), 0xee) // one octet that is not the packet's
			off, n, err := encap.Push(&v.h, buf, encap.Headroom, len(in))
			if err != nil {
				t.Fatal(err)
			}
			if got := buf[off : off+n]; !bytes.Equal(got, want) {
				t.Errorf("Push\n got %x\nwant %x", got, want)
			}
			if got, err := encap.Append([]byte("x"), &v.h, in); err != nil || !bytes.Equal(got[1:], want) || got[0] != 'x' {
				t.Errorf("Append = %x, %v; want 78%x", got, err, want)
			}
			if over := v.h.Overhead(); n-len(in) != over && !(v.h.Src == netip.MustParseAddr("192.0.2.10") && n-len(in) == over-4) {
				t.Errorf("Push added %d octets, Overhead says %d", n-len(in), over)
			}
		})
	}
}

//rfc:2784#2.2-1
func TestPullRestoresTheInnerPacket(t *testing.T) {
	in := unhex(t, inner)
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			h, got, err := encap.Pull(unhex(t, v.outer))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, in) {
				t.Errorf("Pull\n got %x\nwant %x", got, in)
			}
			want := v.h
			want.TOS, want.DF, want.TTL = 0xb9, true, 64
			if v.h.Kind == encap.Minimal || v.h.Inner == encap.Minimal {
				want.TTL, want.ID = 63, 0x1111 // the packet's own
			}
			// Of a GRE checksum nothing is kept: it was good.
			if v.h.Kind == encap.GRE {
				want.Checksum = false
			}
			if d := cmp.Diff(want, h, equateAddr); d != "" {
				t.Errorf("header (-want +got):\n%s", d)
			}
		})
	}
}

// A socket gives and takes the payload only.
func TestUDPSocketPayloads(t *testing.T) {
	in := unhex(t, inner)
	for _, v := range vectors {
		if v.h.Kind != encap.UDP {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			want := unhex(t, v.outer)[28:]
			buf := append(make([]byte, encap.Headroom), in...)
			off, n, err := encap.PushUDP(&v.h, buf, encap.Headroom, len(in))
			if err != nil || !bytes.Equal(buf[off:off+n], want) {
				t.Errorf("PushUDP = %x, %v; want %x", buf[off:off+n], err, want)
			}
			if got, err := encap.AppendTunnelData(nil, &v.h, in); err != nil || !bytes.Equal(got, want) {
				t.Errorf("AppendTunnelData = %x, %v; want %x", got, err, want)
			}
			h := encap.Header{Src: local, Dst: peer, TOS: 0xb9, DF: true, TTL: 63, ID: 0x1111}
			buf = append(make([]byte, encap.UDPHeadroom), want...)
			got, err := encap.PullUDP(&h, buf, encap.UDPHeadroom)
			if err != nil || !bytes.Equal(got, in) {
				t.Errorf("PullUDP = %x, %v; want %x", got, err, in)
			}
			if h.Kind != encap.UDP || h.Inner != v.h.Inner || h.Key != v.h.Key || h.HasKey != v.h.HasKey {
				t.Errorf("PullUDP header %+v", h)
			}
			_, err = encap.PullUDP(&h, bytes.Clone(want), 0)
			if wantErr := v.h.Inner == encap.Minimal; errors.Is(err, encap.ErrHeadroom) != wantErr {
				t.Errorf("PullUDP without head-room: %v", err)
			}
		})
	}
}

// Every octet of a tunnel header and of the inner IP header is under some
// check: no single bit of them may flip unnoticed, but for those that the RFCs
// want ignored and those that the caller compares with the binding.
//
//rfc:2784#2.2-1
func TestFlippedBitsAreRefused(t *testing.T) {
	in := unhex(t, inner)
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			good := unhex(t, v.outer)
			for i := range len(good) * 8 {
				b := bytes.Clone(good)
				b[i/8] ^= 0x80 >> (i % 8)
				h, got, err := encap.Pull(b)
				if err != nil {
					continue
				}
				want := v.h
				want.TOS, want.DF, want.TTL, want.ID = h.TOS, h.DF, h.TTL, h.ID
				if want.Kind == encap.GRE {
					want.Checksum = false
				}
				if !cmp.Equal(want, h, equateAddr) {
					continue // the caller sees another key, port or kind and drops it
				}
				if bytes.Equal(got, in) && ignored(v.h, i) {
					continue
				}
				if !bytes.Equal(got, in) && bytes.Equal(got[:20], in[:20]) {
					continue // payload, which its own checksum protects
				}
				t.Errorf("bit %d of octet %d flipped: accepted as %x", i%8, i/8, got)
			}
		})
	}
}

// ignored are the bits of the vectors that a receiver must ignore: GRE bits 6
// to 12 (RFC 2784 section 2.3), the Reserved field of Tunnel Data (RFC 3519
// section 3.3).
func ignored(h encap.Header, bit int) bool {
	gre, data := 20*8, -1
	if h.Kind == encap.UDP {
		gre, data = 32*8, 28*8
	}
	content := h.Kind
	if h.Kind == encap.UDP {
		content = h.Inner
	}
	if content == encap.GRE && bit >= gre+6 && bit <= gre+12 && !h.Checksum {
		return true
	}
	return data >= 0 && bit >= data+16 && bit < data+32
}

func TestTruncatedPacketsAreRefused(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			good := unhex(t, v.outer)
			for n := range len(good) {
				if _, _, err := encap.Pull(bytes.Clone(good[:n])); err == nil {
					t.Errorf("%d of %d octets were accepted", n, len(good))
				}
			}
			// With lengths and checksum of the outer header made to fit, the
			// tunnel header and the inner packet are what is cut.
			for n := 20; n < len(good); n++ {
				b := bytes.Clone(good[:n])
				b[2], b[3], b[10], b[11] = byte(n>>8), byte(n), 0, 0
				sum := encap.Checksum(b[:20])
				b[10], b[11] = byte(sum>>8), byte(sum)
				h, got, err := encap.Pull(b)
				// Minimal encapsulation has no inner length: a cut payload is a shorter packet.
				if err == nil && h.Kind != encap.Minimal {
					t.Errorf("%d of %d octets with fitting outer header were accepted as %x", n, len(good), got)
				}
			}
		})
	}
}

func TestTrailingPaddingIsCutOff(t *testing.T) {
	in := unhex(t, inner)
	for _, v := range vectors {
		_, got, err := encap.Pull(append(unhex(t, v.outer), 0, 0, 0, 0, 0, 0))
		if err != nil || !bytes.Equal(got, in) {
			t.Errorf("%s with padding: %x, %v", v.name, got, err)
		}
	}
}

func TestKeepaliveIsTheGoldenEcho(t *testing.T) {
	const want = "04040000" + "450000200077000040017c5ac000020acb007101" + "0800e4e4424200036b656570"
	home, ha := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("203.0.113.1")
	req := encap.Echo{Type: encap.EchoRequest, Src: home, Dst: ha, ID: 0x4242, Seq: 3, Data: []byte("keep")}
	h := encap.Header{Kind: encap.UDP, Src: local, Dst: peer}
	got, err := encap.AppendKeepalive(nil, &h, &req, 0x77)
	if err != nil || hex.EncodeToString(got) != want {
		t.Fatalf("AppendKeepalive = %x, %v; want %s", got, err, want)
	}

	// The home agent recognises it, answers, and the mobile node recognises the answer.
	var in encap.Header
	p, err := encap.PullUDP(&in, got, 0)
	if err != nil {
		t.Fatal(err)
	}
	e, ok := encap.ParseKeepalive(p, ha)
	if !ok {
		t.Fatal("the home agent does not recognise the keepalive")
	}
	if d := cmp.Diff(req, e, equateAddr); d != "" {
		t.Error(d)
	}
	r := e.Reply()
	back, err := encap.AppendKeepalive(nil, &h, &r, 0x78)
	if err != nil {
		t.Fatal(err)
	}
	p, err = encap.PullUDP(&in, back, 0)
	if err != nil {
		t.Fatal(err)
	}
	want2 := encap.Echo{Type: encap.EchoReply, Src: ha, Dst: home, ID: 0x4242, Seq: 3, Data: []byte("keep")}
	if e, ok := encap.ParseKeepalive(p, ha); !ok || !cmp.Equal(e, want2, equateAddr) {
		t.Errorf("the answer reads %+v, %v", e, ok)
	}
	// Ping traffic through the tunnel is traffic.
	if _, ok := encap.ParseKeepalive(p, home); ok {
		t.Error("a reply from another host was taken for a keepalive")
	}
}

// RFC 3519 section 4.9: "properly UDP encapsulated", that is in the form that
// the binding uses.
func TestKeepaliveInEveryForm(t *testing.T) {
	home, ha := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("203.0.113.1")
	for _, form := range []encap.Kind{encap.IPIP, encap.GRE, encap.Minimal} {
		h := encap.Header{Kind: encap.UDP, Inner: form, Src: local, Dst: peer, HasKey: form == encap.GRE, Key: 9}
		b, err := encap.AppendKeepalive(make([]byte, encap.UDPHeadroom), &h, &encap.Echo{Type: encap.EchoRequest, Src: home, Dst: ha, ID: 1, Seq: 2}, 3)
		if err != nil {
			t.Fatalf("%v: %v", form, err)
		}
		if got := encap.Kind(b[encap.UDPHeadroom+1]); got != form {
			t.Errorf("%v: next header %v", form, got)
		}
		in := encap.Header{Src: local, Dst: peer}
		p, err := encap.PullUDP(&in, b, encap.UDPHeadroom)
		if err != nil {
			t.Fatalf("%v: %v", form, err)
		}
		if _, ok := encap.ParseKeepalive(p, ha); !ok {
			t.Errorf("%v: keepalive not recognised", form)
		}
	}
}
