package engine

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestAnAgendaAgreesWithAListThatIsSearched puts off, brings forward, clears
// and takes deadlines at random.
func TestAnAgendaAgreesWithAListThatIsSearched(t *testing.T) {
	for seed := range uint64(50) {
		luck := rand.New(rand.NewPCG(seed, 7))
		var a Agenda[int]
		list := make(map[int]time.Time)
		first := func() (key int, at time.Time) {
			for k, v := range list {
				if at.IsZero() || v.Before(at) || v.Equal(at) && k < key {
					key, at = k, v
				}
			}
			return key, at
		}
		for step := range 2000 {
			key, at := luck.IntN(20), time.Unix(int64(step/10+luck.IntN(40)), 0)
			switch luck.IntN(6) {
			case 0:
				a.Clear(key)
				delete(list, key)
			case 1:
				mono := time.Unix(int64(step/10), 0)
				k, due := a.Due(mono)
				wantKey, wantAt := first()
				wantDue := !wantAt.IsZero() && !wantAt.After(mono)
				if due != wantDue || due && k != wantKey {
					t.Fatalf("seed %d, step %d: due %d, %v; want %d, %v", seed, step, k, due, wantKey, wantDue)
				}
				if due {
					delete(list, k)
				}
			default:
				a.Set(key, at)
				list[key] = at
			}
			if _, at := first(); !a.Next().Equal(at) {
				t.Fatalf("seed %d, step %d: next is %v, want %v", seed, step, a.Next(), at)
			}
			if a.filed > 2*(len(list)+1)+64 {
				t.Fatalf("seed %d, step %d: %d appointments for %d keys", seed, step, a.filed, len(list))
			}
		}
	}
}

// BenchmarkPutOff is a deadline among a million that moves, as with every
// refresh of a binding.
func BenchmarkPutOff(b *testing.B) {
	var a Agenda[int]
	const keys = 1 << 20
	for k := range keys {
		a.Set(k, time.Unix(int64(k), 0))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		a.Set(i*7919%keys, time.Unix(int64(keys+i), 0))
		if i++; i%100 == 0 {
			a.Next()
		}
	}
}
