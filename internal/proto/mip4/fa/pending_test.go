package fa_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/proto/mip4/fa"
	"careof/wire/mip4"
)

// "The foreign agent MAY delete any pending Registration Request after the
// request has been pending for more than 7 seconds; in this case, the foreign
// agent SHOULD reject the Request with Code 78".
//
//rfc:5944#3.7.1
//rfc:5944#3.7.2.2
func TestPendingRequestsEnd(t *testing.T) {
	d := newDriver(t, config())
	a := answerTo(t, d.relayed(d.req()))
	d.advance(7*time.Second - time.Millisecond)
	if len(d.take()) > 0 || d.pending() != 1 {
		t.Fatal("ended before 7 seconds")
	}
	d.advance(time.Millisecond)
	out := d.wantDenial(mip4.CodeFATimeout, d.take())
	if out.HW != nodeMAC || d.pending() != 0 {
		t.Error("not ended after 7 seconds, or not told")
	}
	d.silence(a.packet(t)) // the reply is late

	// "If this lifetime expires before receiving a valid Registration Reply,
	// the foreign agent MUST delete its visitor list entry".
	r := d.req()
	r.lifetime = 3
	a = answerTo(t, d.relayed(r))
	d.advance(3 * time.Second)
	if len(d.take()) > 0 || d.pending() != 0 {
		t.Error("not ended with the requested lifetime, or answered")
	}
	d.silence(a.packet(t))
}

// "a foreign agent MAY configure a maximum number of pending registrations
// (typically 5). Additional registrations SHOULD then be rejected with Code 66";
// the same request sent again is none.
//
//rfc:5944#3.7.1
func TestFivePendingRequestsOfANode(t *testing.T) {
	d := newDriver(t, config())
	first := d.req()
	d.relayed(first)
	for range 4 {
		d.relayed(d.req())
	}
	d.wantDenial(mip4.CodeFAResources, d.give(d.req().packet(t)))
	if d.relayed(first); d.pending() != 5 {
		t.Errorf("%d requests are pending, want 5", d.pending())
	}
	other := d.req()
	other.hw = otherMAC
	d.relayed(other)
}

// Threat T12: a flood of forged requests leaves bounded state and few notes, and
// does not displace who is known.
func TestAFloodOfForgedRequestsIsBounded(t *testing.T) {
	cfg := config()
	cfg.MaxPending = 50
	d := newDriver(t, cfg)
	d.visit(d.req())
	renewal := answerTo(t, d.relayed(d.req()))
	r := d.req()
	r.home, r.src, r.foreign, r.hw = keyedHome, netip.AddrPortFrom(keyedHome, 40000), visitorKey, otherMAC
	keyed := answerTo(t, d.relayed(r))
	for i := range 2000 {
		r := d.req()
		r.home = netip.AddrFrom4([4]byte{10, 66, byte(i >> 8), byte(i)})
		r.src = netip.AddrPortFrom(r.home, 40000)
		r.hw = engine.HardwareAddr{2, 66, 0, 0, byte(i >> 8), byte(i)}
		d.give(r.packet(t))
		if i%100 == 0 && d.pending() > 50 {
			t.Fatalf("%d requests are pending, the limit is 50", d.pending())
		}
	}
	if got := d.counter("pending_displaced"); got != 2000-48 {
		t.Errorf("%d displaced, want %d", got, 2000-48)
	}
	told := func() (n int) {
		for _, t := range d.notes {
			if t.Kind == fa.Relayed {
				n++
			}
		}
		return n
	}
	if n := told(); n > 200 || d.counter("requests_relayed") < 2000 {
		t.Errorf("%d notes of %d relayed requests", n, d.counter("requests_relayed"))
	}
	d.delivered(renewal)
	d.delivered(keyed)
	before := told()
	if d.relayed(d.req()); told() != before+1 {
		t.Error("nothing is told of the visitor's request amid the flood")
	}
	d.advance(7 * time.Second)
	if d.pending() != 0 {
		t.Error("forged requests outlive the seven seconds")
	}
}

// Threat T12 in figures: among 100 000 forged requests a second every good node
// registers at once, though the home agent is 100 ms away.
func TestAGoodNodeRegistersDuringAFlood(t *testing.T) {
	d := newDriver(t, config())
	good := d.req()
	relayed := d.relayed(good)
	r := d.req()
	r.agent = plainHA
	forged := r.packet(t)
	for i := range 10000 { // in a tenth of a second
		p := forged
		p.Data = bytes.Clone(forged.Data)
		p.HW = engine.HardwareAddr{2, 66, 0, 0, byte(i >> 8), byte(i)}
		p.Data[4], p.Data[5], p.Data[6], p.Data[7] = 10, 66, byte(i>>8), byte(i) // home address
		d.give(p)
	}
	d.delivered(answerTo(t, relayed))
}

// A request that was lost on the way is not given up with a denial (78) once a
// later one of the same node was accepted: the node would believe it.
//
//rfc:5944#3.7.1
func TestAnAcceptedRequestEndsTheNodesEarlierOnes(t *testing.T) {
	d := newDriver(t, config())
	other := d.req()
	other.hw, other.home = otherMAC, netip.MustParseAddr("10.66.0.1")
	other.src = netip.AddrPortFrom(other.home, 40000)
	d.relayed(other)
	d.relayed(d.req()) // lost
	d.delivered(answerTo(t, d.relayed(d.req())))
	if d.pending() != 1 {
		t.Errorf("%d requests are pending, want the other node's alone", d.pending())
	}
	d.advance(8 * time.Second)
	for _, m := range d.take() {
		if m.HW != otherMAC {
			t.Errorf("sent to the visitor: %x", m.Data)
		}
	}
}
