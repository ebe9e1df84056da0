package bpf

import (
	"maps"
	"math/rand/v2"
	"testing"

	"careof/internal/core/forward"
)

// Whatever was put, replaced and dropped, the table of leftovers holds what a
// map would.
func TestLeftovers(t *testing.T) {
	luck := rand.New(rand.NewPCG(1, 2))
	var l leftovers
	want := make(map[place]leftover)
	for n := range 20000 {
		at := place{forward.Role(luck.IntN(2)), uint8(31 + luck.IntN(2)), [4]byte{10, 0, byte(luck.IntN(8)), byte(luck.IntN(256))}}
		if luck.IntN(20000) < n {
			l.drop(at)
			delete(want, at)
		} else {
			b := leftover{luck.Uint64(), luck.Uint32()}
			l.put(at, b)
			want[at] = b
		}
		got, ok := l.get(at)
		if b, there := want[at]; got != b && ok || ok != there || l.count != len(want) {
			t.Fatalf("after %d changes: %v %v of %d, want %v %v of %d", n+1, got, ok, l.count, b, there, len(want))
		}
	}
	if got := maps.Collect(l.all()); !maps.Equal(got, want) {
		t.Errorf("%d are left, want %d", len(got), len(want))
	}
	for at := range l.all() {
		l.drop(at)
	}
	if l.count != 0 || l.table != nil {
		t.Errorf("%d are left of none", l.count)
	}
}
