package ha_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/wire/mip4"
)

// TestACrashAtAnyPointOfACommitIsAFreshStart dies a thousand times at a random
// point of a random story: before the records of the last commit are durable,
// between them and the data plane, or between that and the answer. The next
// life is what its records say: everything that was answered, nothing that was
// not asked for, and no request a second time.
//
//rfc:5944#5.7
func TestACrashAtAnyPointOfACommitIsAFreshStart(t *testing.T) {
	key := forward.Key("ha/" + home.String())
	for seed := range uint64(1000) {
		luck := rand.New(rand.NewPCG(seed, 11))
		d := newDriver(t, config(t))
		var bound netip.Addr // what the node was told last; invalid: not bound
		var last engine.Packet
		// play has the node ask for something at random, and dies at a point
		// of the commit, if it shall.
		play := func(dies bool) (asked netip.Addr) {
			d.advance(time.Duration(1+luck.IntN(3000)) * time.Millisecond)
			r := d.req()
			r.careOf = [...]netip.Addr{careOf, careOf2, netip.MustParseAddr("192.0.2.9")}[luck.IntN(3)]
			r.src = netip.AddrPortFrom(r.careOf, 40000)
			asked = r.careOf
			if luck.IntN(4) == 0 {
				r.lifetime, r.careOf, asked = 0, home, netip.Addr{}
				r.src = netip.AddrPortFrom(careOf, 40000)
			}
			last = r.packet(t)
			d.hold = dies
			if p := d.sendRaw(last); !dies && (p == nil || p.Code != mip4.CodeAccepted) {
				t.Fatalf("seed %d: %+v", seed, p)
			} else if dies && p != nil {
				t.Fatalf("seed %d: answered before the commit", seed)
			}
			return asked
		}
		for range luck.IntN(6) {
			bound = play(false)
		}
		before := last
		asked := play(true)
		want, used := bound, before
		switch point := luck.IntN(3); point {
		case 1, 2:
			for _, c := range d.held {
				for _, rec := range c.Records {
					d.store[string(rec.Key)] = rec.Value
				}
				if point == 2 {
					for _, ch := range c.Changes {
						d.plane.Apply(t, ch)
					}
				}
			}
			want, used = asked, last
		}
		n := d.restart(config(t), time.Duration(luck.IntN(2000))*time.Millisecond)
		e, has := n.plane[key]
		switch {
		case has != want.IsValid():
			t.Errorf("seed %d: forwards %v, want a binding to %v", seed, has, want)
		case has && (len(e.Tunnels) != 1 || e.Tunnels[0].Peer.Addr() != want):
			t.Errorf("seed %d: forwards to %+v, want %v", seed, e.Tunnels, want)
		}
		if used.Data == nil {
			continue // the node's first request, and it is lost
		}
		used.Src = netip.AddrPortFrom(used.Src.Addr(), 50000) // no exact repeat
		if p := n.sendRaw(used); p != nil && p.Code != mip4.CodeIdentificationMismatch {
			t.Errorf("seed %d: a request of the last life is answered with %v", seed, p.Code)
		}
	}
}
