package ident

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

func addressOf(a uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
}

// A table of addresses does what a map does, whatever is put in and taken out.
func TestAddresses(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, spread := range []uint32{40, 5000, 1 << 31} {
		var table Addresses
		want := make(map[netip.Addr]int)
		for range 20000 {
			a := addressOf(rng.Uint32N(spread))
			switch rng.IntN(3) {
			case 0:
				n := rng.IntN(1 << 20)
				table.Put(a, n)
				want[a] = n
			case 1:
				table.Delete(a)
				delete(want, a)
			}
			got, ok := table.Get(a)
			if n, there := want[a]; ok != there || ok && got != n || table.Len() != len(want) {
				t.Fatalf("%v: %d %v, want %d %v; %d of %d", a, got, ok, n, there, table.Len(), len(want))
			}
		}
		for a, n := range want {
			if got, ok := table.Get(a); !ok || got != n {
				t.Fatalf("%v: %d %v, want %d", a, got, ok, n)
			}
		}
	}
}

func TestAddressesKnowIPv4(t *testing.T) {
	var table Addresses
	for _, a := range []netip.Addr{{}, netip.IPv6Unspecified(), netip.MustParseAddr("::ffff:0.0.0.0")} {
		if _, ok := table.Get(a); ok {
			t.Errorf("%v is in an empty table", a)
		}
	}
	table.Put(netip.IPv4Unspecified(), 0)
	for _, a := range []netip.Addr{{}, netip.IPv6Unspecified(), netip.MustParseAddr("::ffff:0.0.0.0")} {
		table.Delete(a)
		if _, ok := table.Get(a); ok {
			t.Errorf("%v is taken for 0.0.0.0", a)
		}
	}
	if n, ok := table.Get(netip.IPv4Unspecified()); n != 0 || !ok {
		t.Error("0.0.0.0 is not there")
	}
}

func BenchmarkAddresses(b *testing.B) {
	const n = 1 << 20
	var table Addresses
	for i := range uint32(n) {
		table.Put(addressOf(10<<24|i), int(i))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for b.Loop() {
		table.Get(addressOf(10<<24 | rng.Uint32N(n)))
	}
}
