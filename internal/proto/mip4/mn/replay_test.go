package mn_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// stamping is a home agent with that mark and a clock of its own: what is not
// fresh there is denied with 133, and all else accepted.
func stamping(mark assoc.Mark, clock func() time.Time) func(*rig, engine.Send) []engine.Packet {
	return func(r *rig, s engine.Send) []engine.Packet {
		wall := clock()
		id := r.last().request.Identification
		if ok, _ := mark.Fresh(assoc.Timestamps, id, wall, assoc.DefaultWindow); !ok {
			return []engine.Packet{r.reply(s, answer{code: 133, high: assoc.Timestamp(wall) >> 32})}
		}
		mark = mark.Accept(assoc.Timestamps, id)
		return []engine.Packet{r.reply(s, answer{lifetime: -1})}
	}
}

// since is a clock that was right at the start, when it showed wall.
func (r *rig) since(wall time.Time) func() time.Time {
	return func() time.Time { return wall.Add(r.now.Mono.Sub(start.Mono)) }
}

// "the mobile node MUST adjust the parameters it uses to compute the
// Identification field": a clock that is wrong costs one round trip.
//
//rfc:5944#5.7.1
//rfc:5944#3.6.2.3-3
func TestResynchronisation(t *testing.T) {
	for _, ahead := range []time.Duration{-time.Hour, -8 * time.Second, 8 * time.Second, time.Hour, 20 * 365 * 24 * time.Hour} {
		r := newRig(t, config(t))
		r.other = stamping(assoc.Mark{}, func() time.Time { return r.now.Wall.Add(ahead) })
		r.up("wlan0", wifiAddress)
		r.run(100 * time.Millisecond) // two round trips
		if r.status().State != "registered" || r.count(note.Resync) != 1 || len(r.requests) != 2 {
			t.Errorf("%v: %s after %d requests", ahead, r.status().State, len(r.requests))
		}
		// And it holds: no further 133 for renewals, nor when the wall clock
		// is set right meanwhile.
		r.now.Wall = r.now.Wall.Add(17 * time.Minute)
		ahead -= 17 * time.Minute
		r.run(30 * time.Minute)
		if r.count(note.Resync) != 1 {
			t.Errorf("%v: %d resynchronisations", ahead, r.count(note.Resync))
		}
	}
}

// Threat T20: a 133 that is not authentic changes nothing.
//
//rfc:5944#5.7.1
func TestForged133(t *testing.T) {
	for name, forged := range map[string]answer{
		"without authenticator":        {code: 133, unsigned: true, high: 1},
		"with another key":             {code: 133, signer: wrong(t, 256, "guess"), high: 1},
		"for another request":          {code: 133, high: 1, change: func(p *mip4.RegistrationReply) { p.Identification ^= 1 }},
		"in the name of another agent": {code: 133, high: 1, signer: wrong(t, 300, "sixteen octets!!")},
	} {
		r := newRig(t, config(t))
		r.other = func(r *rig, s engine.Send) []engine.Packet { return []engine.Packet{r.reply(s, forged)} }
		r.up("wlan0", wifiAddress)
		r.run(time.Second)
		if r.count(note.Resync) != 0 {
			t.Errorf("%s: resynchronised", name)
		}
		off := assoc.TimeOf(r.last().request.Identification, r.now.Wall).Sub(r.now.Wall)
		if off < -time.Second || off > time.Second {
			t.Errorf("%s: the next timestamp is off by %v", name, off)
		}
	}
}

// An authentic 133 for a request that a later one overtook does not move the
// clock.
func TestOvertaken133(t *testing.T) {
	r := newRig(t, config(t))
	r.up("wlan0", wifiAddress)
	first := r.last().Send
	r.run(1500 * time.Millisecond) // the second request is out
	second := r.last().Send
	r.step(r.reply(first, answer{code: 133, high: 0x1234}))
	if r.count(note.Resync) != 0 || len(r.requests) != 2 {
		t.Errorf("resynchronised, or %d requests", len(r.requests))
	}
	r.step(r.reply(second, answer{lifetime: -1}))
	if r.status().State != "registered" {
		t.Error("the answer to the later request was not taken")
	}
}

// A restart neither repeats an Identification nor goes back, whatever the
// clock does.
//
//rfc:5944#5.7.1
//rfc:5944#5.7-5
func TestRestartKeepsIdentificationsGrowing(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	r := newRig(t, config(t))
	var highest uint64
	for life := range 30 {
		r.boot(config(t))
		// Clocks go back a little, a lot, to 1970; or ahead.
		switch rng.IntN(4) {
		case 0:
			r.now.Wall = time.Unix(int64(rng.IntN(1000)), 0)
		case 1:
			r.now.Wall = r.now.Wall.Add(-time.Duration(rng.IntN(3600)) * time.Second)
		case 2:
			r.now.Wall = start.Wall
		}
		from := len(r.requests)
		r.up("wlan0", wifiAddress)
		r.run(time.Duration(rng.IntN(30)) * time.Second)
		for _, s := range r.requests[from:] {
			if s.request.Identification <= highest {
				t.Fatalf("life %d: Identification %x after %x", life, s.request.Identification, highest)
			}
			highest = s.request.Identification
		}
	}
}

// The bits of a timestamp that a clock does not have "SHOULD be generated from a
// good source of randomness": at one time two nodes choose differently, and no
// more than a quarter of a millisecond apart.
//
//rfc:5944#5.7.1-3
func TestTheEndOfATimestampIsRandom(t *testing.T) {
	var chosen []uint64
	for seq := range 8 {
		r := newRig(t, config(t))
		r.seq = seq
		r.boot(config(t))
		r.up("wlan0", wifiAddress)
		id := r.last().request.Identification
		if slices.Contains(chosen, id) {
			t.Errorf("%x was chosen before", id)
		}
		if len(chosen) > 0 && (id^chosen[0])>>20 != 0 {
			t.Errorf("%x is too far from %x", id, chosen[0])
		}
		chosen = append(chosen, id)
	}
}

// A request leaves before its record is on the disk. When the crash falls
// between, the next life is still ahead of it.
func TestCrashBeforeTheRecordIsDurable(t *testing.T) {
	r := registered(t)
	before := make(map[string][]byte)
	for k, v := range r.store {
		before[k] = v
	}
	r.step(engine.Command{Value: mn.Reregister{}})
	lost := r.last().request.Identification
	r.store = before
	r.boot(config(t))
	r.now.Wall = time.Unix(3600, 0) // and the clock is gone too
	r.up("wlan0", wifiAddress)
	if id := r.last().request.Identification; id <= lost {
		t.Errorf("Identification %x after %x", id, lost)
	}
}

// "RTC = 1970 after reboot: registered in <= 2 RTT", with and without what an
// earlier life stored.
func TestClockWithoutBattery(t *testing.T) {
	for _, stored := range []bool{true, false} {
		r := newRig(t, config(t))
		r.other = stamping(assoc.Mark{}, r.since(start.Wall))
		r.up("wlan0", wifiAddress)
		r.run(10 * time.Second)
		if !stored {
			clear(r.store)
		}
		r.boot(config(t))
		r.now.Wall = time.Unix(0, 0)
		from := len(r.requests)
		r.up("wlan0", wifiAddress)
		r.run(100 * time.Millisecond)
		if r.status().State != "registered" || len(r.requests)-from != 2 {
			t.Errorf("stored %v: %s after %d requests", stored, r.status().State, len(r.requests)-from)
		}
	}
}

// The home agent's mark may lie ahead of its clock, by up to its window; a node
// that forgot everything gets past it.
func TestMarkAheadOfTheClock(t *testing.T) {
	r := newRig(t, config(t))
	mark := assoc.Mark{Highest: assoc.Timestamp(start.Wall.Add(6 * time.Second))}
	r.now.Wall = r.now.Wall.Add(-time.Hour)
	r.other = stamping(mark, r.since(start.Wall))
	r.up("wlan0", wifiAddress)
	r.run(250 * time.Millisecond)
	if r.status().State != "registered" {
		t.Errorf("%s after %d requests", r.status().State, len(r.requests))
	}
}

// "The mobile node must send a Registration Request with the high-order 32
// bits of the Identification field set to the nonce that the home agent sent";
// every authentic reply brings a new one.
//
//rfc:5944#5.7.2
func TestNonces(t *testing.T) {
	cfg := config(t)
	cfg.Association = association(t, assoc.Nonces)
	cfg.Lifetime = 30 * time.Second
	r := newRig(t, cfg)
	rng := rand.New(rand.NewPCG(5, 5))
	var mark assoc.Mark
	var stored engine.Packet
	denied, lost := 0, 0
	r.other = func(r *rig, s engine.Send) []engine.Packet {
		id := r.last().request.Identification
		var p engine.Packet
		if mark.HasOne && mark.LastLow == uint32(id) {
			p = stored // an exact repeat gets the stored reply again
		} else {
			ok, _ := mark.Fresh(assoc.Nonces, id, r.now.Wall, 0)
			var next uint64
			next, mark = mark.ReplyIdentification(assoc.Nonces, id, ok, r.now.Wall, rng)
			a := answer{lifetime: -1, high: next >> 32}
			if ok {
				mark = mark.Accept(assoc.Nonces, id)
			} else {
				a.code = 133
				denied++
			}
			p = r.reply(s, a)
			stored = p
		}
		if rng.IntN(3) == 0 {
			lost++
			return nil
		}
		return []engine.Packet{p}
	}
	r.up("wlan0", wifiAddress)
	r.run(10 * time.Minute)
	if r.status().State != "registered" || lost == 0 {
		t.Errorf("%s, %d replies lost", r.status().State, lost)
	}
	// The first request has no nonce yet; after that a lost reply is repeated.
	if denied > 1 {
		t.Errorf("%d requests had the wrong nonce", denied)
	}
}

// Uplinks that race with a wrong clock: the denial of the request that was
// overtaken waits for the other, and both are registered after two round
// trips.
func TestRaceWithAWrongClock(t *testing.T) {
	cfg := config(t)
	cfg.Uplinks = append(cfg.Uplinks, mn.UplinkConfig{Interface: "eth0", Priority: 200})
	r := newRig(t, cfg)
	ahead := time.Duration(0)
	r.other = stamping(assoc.Mark{}, func() time.Time { return r.now.Wall.Add(ahead) })
	r.up("eth0", lteAddress)
	r.run(5 * time.Second)
	r.down["lte0"], r.down["wlan0"] = true, true
	r.up("lte0", lteAddress.Next())
	r.up("wlan0", wifiAddress)
	r.down["lte0"], r.down["wlan0"] = false, false
	ahead = time.Hour // the home agent's clock was set
	r.lose("eth0")
	r.run(100 * time.Millisecond)
	if s := r.status(); s.State != "registered" || s.CareOfAddress != wifiAddress || r.count(note.Resync) != 1 {
		t.Errorf("%s with %v, %d resynchronisations, notes %v", s.State, s.CareOfAddress, r.count(note.Resync), r.notes)
	}
}

// Late denials of requests from before the resynchronisation do nothing more.
func TestLateDenialsAfterResynchronisation(t *testing.T) {
	r := newRig(t, config(t))
	r.now.Wall = r.now.Wall.Add(time.Hour) // the node is ahead
	r.up("wlan0", wifiAddress)
	first := r.last().Send
	r.run(1500 * time.Millisecond)
	second := r.last().Send
	high := assoc.Timestamp(start.Wall) >> 32
	r.step(r.reply(second, answer{code: 133, high: high}))
	n := len(r.requests)
	if n != 3 || r.count(note.Resync) != 1 {
		t.Fatalf("%d requests, %d resynchronisations", n, r.count(note.Resync))
	}
	r.step(r.reply(first, answer{code: 133, high: high - 10}))
	if len(r.requests) != n || r.count(note.Resync) != 1 {
		t.Errorf("%d requests, %d resynchronisations", len(r.requests), r.count(note.Resync))
	}
}

// Once the home agent has accepted a timestamp, a wall clock that jumps costs
// nothing.
func TestWallClockJumps(t *testing.T) {
	r := newRig(t, config(t))
	r.other = stamping(assoc.Mark{}, r.since(start.Wall))
	r.up("wlan0", wifiAddress)
	r.run(time.Second)
	for _, jump := range []time.Duration{time.Hour, -3 * time.Hour, 40 * 24 * time.Hour} {
		r.now.Wall = r.now.Wall.Add(jump)
		r.run(20 * time.Minute)
	}
	if r.count(note.Refused) != 0 || r.count(note.Registered) < 6 {
		t.Errorf("%d refused, %d registered", r.count(note.Refused), r.count(note.Registered))
	}
}

// A clock without battery in the next NTP era, which begins in 2036.
func TestClockWithoutBatteryIn2050(t *testing.T) {
	r := newRig(t, config(t))
	real := time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)
	r.other = stamping(assoc.Mark{}, r.since(real))
	r.now.Wall = time.Unix(0, 0)
	r.up("wlan0", wifiAddress)
	r.run(100 * time.Millisecond)
	if r.status().State != "registered" {
		t.Errorf("%s, notes %v", r.status().State, r.notes)
	}
	if !r.node.Active().Expires().After(r.now.Mono) {
		t.Error("it has ended already")
	}
}

// The preferred uplink's request was overtaken: its denial waits for the
// other's answer, and then it goes again, last.
func TestPreferredWaitsForTheOther(t *testing.T) {
	cfg := config(t)
	cfg.Uplinks = []mn.UplinkConfig{{Interface: "a0", Priority: 9}, {Interface: "b0", Priority: 8}, {Interface: "c0", Priority: 10}}
	r := newRig(t, cfg)
	r.other = granting(-1)
	r.up("c0", lteAddress)
	r.run(10 * time.Second)
	r.other = nil
	r.up("a0", wifiAddress)
	r.up("b0", lteAddress.Next())
	r.lose("c0")
	r.run(1010 * time.Millisecond) // both have been sent again, b0 last
	n := len(r.requests)
	a, b := r.requests[n-2].Send, r.requests[n-1].Send
	if a.Link != "a0" || b.Link != "b0" {
		t.Fatalf("requests over %s and %s", a.Link, b.Link)
	}
	high := assoc.Timestamp(r.now.Wall.Add(time.Hour)) >> 32
	r.step(r.reply(a, answer{code: 133, high: high}))
	if len(r.requests) != n || r.count(note.Resync) != 0 {
		t.Fatal("the overtaken denial was not left alone")
	}
	r.step(r.reply(b, answer{code: 133, high: high}))
	if len(r.requests) != n+2 || r.last().Link != "a0" || r.count(note.Resync) != 1 {
		t.Errorf("%d requests, the last over %s", len(r.requests)-n, r.last().Link)
	}
}
