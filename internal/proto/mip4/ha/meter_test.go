package ha_test

import (
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/note"
	"careof/wire/mip4"
)

// A captured request that is sent again and again is refused, but fills no log
// and serves nobody as a reflector; the node itself is not hindered.
//
//rfc:5944#3.8.2.1-14
func TestAFloodOfReplays(t *testing.T) {
	d := newDriver(t, config(t))
	r := d.req()
	captured := r.packet(t)
	if p := d.sendRaw(captured); p == nil || p.Code != mip4.CodeAccepted {
		t.Fatalf("reply %+v", p)
	}
	replies, warnings := 0, 0
	for i := range 3000 {
		d.advance(time.Second / 1000)
		// From many ports, so that none is an exact repeat.
		captured := captured
		captured.Src = netip.AddrPortFrom(captured.Src.Addr(), uint16(2000+i))
		before := len(d.notes)
		if p := d.sendRaw(captured); p != nil {
			if p.Code != mip4.CodeIdentificationMismatch {
				t.Fatalf("replay %d: %+v", i, p)
			}
			replies++
		}
		for _, n := range d.notes[before:] {
			if n.Level >= note.Info {
				warnings++
			}
		}
	}
	// 3 s: a burst, and then so many a second.
	if replies < 64 || replies > 64+3*32+1 {
		t.Errorf("%d replays of 3000 were answered", replies)
	}
	if warnings < 8 || warnings > 8+3+1 {
		t.Errorf("%d lines for the log", warnings)
	}
	if got := d.counter("mismatches_suppressed"); int(got) != 3000-replies {
		t.Errorf("%d counted as suppressed, want %d", got, 3000-replies)
	}
	if p := d.send(d.req()); p == nil || p.Code != mip4.CodeAccepted {
		t.Errorf("the node's own request: %+v", p)
	}
}

// A node that registers without end is held to its limit, without an answer;
// what was not taken is no replay later.
func TestANodeThatRegistersWithoutEndIsHeldToItsLimit(t *testing.T) {
	cfg := config(t)
	cfg.RequestsPerNode = 4
	d := newDriver(t, cfg)
	accepted := 0
	for range 1000 {
		d.advance(time.Millisecond)
		if p := d.send(d.req()); p != nil && p.Code == mip4.CodeAccepted {
			accepted++
		}
	}
	// 1 s: a burst of twice the limit, and then so many a second.
	if accepted < 8 || accepted > 8+4+1 {
		t.Errorf("%d of 1000 requests in a second were taken, want about 12", accepted)
	}
	if got := d.counter("requests_excessive"); int(got) != 1000-accepted {
		t.Errorf("%d are counted, want %d", got, 1000-accepted)
	}
	d.advance(2 * time.Second)
	if p := d.send(d.req()); p == nil || p.Code != mip4.CodeAccepted {
		t.Errorf("after a pause: %+v", p)
	}
}
