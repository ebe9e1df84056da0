package encap_test

import (
	"bytes"
	"errors"
	"testing"

	"careof/wire/encap"
)

// The corner of tunnels' headers and of ICMP inside tunnels. corners_test.go at
// the root of the repository lists all corners; the planes' part of this one is
// in internal/host/plane/tun.

// Fragments are not for minimal encapsulation, whose checksum covers its own
// header only; GRE with a checksum is read and its checksum counts, bits 1, 4
// and 5 refuse the packet and K and S do not; DF goes outside, and "too big"
// comes back smaller by what the tunnel adds.
//
//rfc:2004#3
//rfc:2784#2.3
//rfc:2003#4
func TestCornerE14_HeadersAndErrorsOfTunnels(t *testing.T) {
	whole := ip(t, encap.IPv4{TTL: 9, Protocol: 17, Src: addr("10.0.0.1"), Dst: addr("10.0.0.2")}, []byte("sixteen octets!!"))
	fragment := ip(t, encap.IPv4{TTL: 9, Protocol: 17, MF: true, Src: addr("10.0.0.1"), Dst: addr("10.0.0.2")}, []byte("sixteen octets!!"))
	minimal := &encap.Header{Kind: encap.Minimal, Src: local, Dst: peer}
	if _, err := encap.Append(nil, minimal, fragment); !errors.Is(err, encap.ErrFragment) {
		t.Errorf("minimal encapsulation of a fragment: %v", err)
	}
	b, err := encap.Append(nil, minimal, whole)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 0xff // the payload is none of the minimal header's business
	if _, _, err := encap.Pull(bytes.Clone(b)); err != nil {
		t.Errorf("the minimal header's checksum covers the payload: %v", err)
	}
	b[20+7] ^= 1 // its original destination address is
	if _, _, err := encap.Pull(b); err == nil {
		t.Error("a broken minimal header was read")
	}

	b, err = encap.Append(nil, &encap.Header{Kind: encap.GRE, Src: local, Dst: peer, Checksum: true}, whole)
	if err != nil {
		t.Fatal(err)
	}
	if _, got, err := encap.Pull(bytes.Clone(b)); err != nil || !bytes.Equal(got, whole) || b[20]&0x80 == 0 {
		t.Errorf("GRE with a checksum: %x, %v", got, err)
	}
	b[len(b)-1] ^= 1
	if _, _, err := encap.Pull(b); !errors.Is(err, encap.ErrChecksum) {
		t.Errorf("GRE with a wrong checksum: %v", err)
	}
	for bit, want := range map[int]error{1: encap.ErrReserved, 2: nil, 3: nil, 4: encap.ErrReserved, 5: encap.ErrReserved} {
		head := []byte{byte(0x80 >> bit), 0, 8, 0}
		if want == nil {
			head = append(head, 0, 0, 0, 1)
		}
		if _, _, err := encap.Pull(gre(t, append(head, whole...)...)); !errors.Is(err, want) {
			t.Errorf("GRE with bit %d: %v, want %v", bit, err, want)
		}
	}

	df := ip(t, encap.IPv4{TTL: 9, Protocol: 17, DF: true, Src: addr("10.0.0.1"), Dst: addr("10.0.0.2")}, []byte("sixteen octets!!"))
	for _, kind := range []encap.Kind{encap.IPIP, encap.GRE, encap.Minimal} {
		b, err := encap.Append(nil, &encap.Header{Kind: kind, Src: local, Dst: peer}, df)
		if err != nil {
			t.Fatal(err)
		}
		if outer, err := encap.ParseIPv4(b); err != nil || !outer.DF {
			t.Errorf("%v: DF did not go outside: %+v, %v", kind, outer, err)
		}
	}
}
