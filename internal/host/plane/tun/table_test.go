package tun

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"careof/internal/core/forward"
)

// TestAnIndexAgreesWithAMap changes an index at random, with readers beside
// that must always find what stays.
func TestAnIndexAgreesWithAMap(t *testing.T) {
	var x index[int]
	const fixed = 1 << 31
	x.set(fixed, []int{42})
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if v := x.get(fixed); !slices.Equal(v, []int{42}) {
					t.Errorf("a reader found %v", v)
					return
				}
			}
		})
	}
	luck := rand.New(rand.NewPCG(3, 4))
	want := make(map[uint32][]int)
	for i := range 20000 {
		a := luck.Uint32N(3000)
		switch luck.IntN(4) {
		case 0:
			x.set(a, nil)
			delete(want, a)
		case 1:
			want[a] = append(slices.Clone(want[a]), i)
			x.set(a, want[a])
		default:
			want[a] = []int{i}
			x.set(a, want[a])
		}
		if x.count != len(want)+1 {
			t.Fatalf("%d addresses are counted, want %d", x.count, len(want)+1)
		}
	}
	for a := range uint32(3000) {
		if got := x.get(a); !slices.Equal(got, want[a]) {
			t.Errorf("%d: %v, want %v", a, got, want[a])
		}
	}
	close(stop)
	readers.Wait()
}

func TestTunnelsOfOnePeerAreFoundInOrderUntilTheyAreRemoved(t *testing.T) {
	var p peers
	to := func(s string) *tunnel {
		return &tunnel{t: forward.Tunnel{Peer: netip.AddrPortFrom(netip.MustParseAddr(s), 0)}}
	}
	a, b, c, other := to("192.0.2.1"), to("192.0.2.1"), to("192.0.2.1"), to("192.0.2.2")
	at := word(a.t.Peer.Addr())
	for _, one := range []*tunnel{a, b, c, other} {
		p.add(one)
	}
	if got := p.get(nil, at); !slices.Equal(got, []*tunnel{a, b, c}) {
		t.Errorf("found %v, want all three in order", got)
	}
	p.remove(a)
	p.remove(a)
	if got := p.get(nil, at); !slices.Equal(got, []*tunnel{b, c}) {
		t.Errorf("without the first: %v", got)
	}
	p.remove(c)
	p.remove(b)
	p.remove(other)
	if got := p.get(nil, at); len(got) != 0 || len(p.first) != 0 {
		t.Errorf("without all: %v, and %d peers", got, len(p.first))
	}
}

// BenchmarkInstall is an address added to an index that grows to a million.
func BenchmarkInstall(b *testing.B) {
	var x index[int]
	b.ReportAllocs()
	i := uint32(0)
	for b.Loop() {
		x.set(i%(1<<20)*2654435761, []int{int(i)})
		i++
	}
}
