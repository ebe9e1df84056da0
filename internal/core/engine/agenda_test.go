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
			key, at := luck.IntN(20), time.Unix(int64(step/10+luck.IntN(40)), luck.Int64N(4)*250_000_000)
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
			if _, at := first(); a.Next().After(at) || a.Next().IsZero() != at.IsZero() {
				t.Fatalf("seed %d, step %d: next is %v, the first deadline %v", seed, step, a.Next(), at)
			}
			if a.filed > 2*(len(list)+1)+64 {
				t.Fatalf("seed %d, step %d: %d appointments for %d keys", seed, step, a.filed, len(list))
			}
		}
	}
}

// TestWhoLooksWhenTheAgendaSaysMissesNothing: each look finds what is due, or
// the next one is later.
func TestWhoLooksWhenTheAgendaSaysMissesNothing(t *testing.T) {
	var a Agenda[int]
	luck := rand.New(rand.NewPCG(1, 7))
	list := make(map[int]time.Time)
	for range 5 {
		for k := range 100 { // four of five are put off
			list[k] = time.Unix(100+luck.Int64N(50), luck.Int64N(1e9))
			a.Set(k, list[k])
		}
	}
	looks := 0
	for last := (time.Time{}); len(list) > 0; looks++ {
		now := a.Next()
		if now.IsZero() || now.Before(last) {
			t.Fatalf("%d are left, and the next look is at %v, after one at %v", len(list), now, last)
		}
		found := 0
		for k, due := a.Due(now); due; k, due = a.Due(now) {
			if !list[k].Equal(now) {
				t.Fatalf("%d is due at %v, and was found at %v", k, list[k], now)
			}
			delete(list, k)
			found++
		}
		if found == 0 && !a.Next().After(now) {
			t.Fatalf("nothing is due at %v, and the next look is at %v", now, a.Next())
		}
		last = now
	}
	if looks > 600 {
		t.Errorf("%d looks for 100 deadlines that were set five times", looks)
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
