package ha_test

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/ha"
	"careof/wire/mip4"
)

// "the timestamp contained in the Identification field MUST be close enough to
// the home agent's time-of-day clock, and the timestamp MUST be greater than all
// previously accepted timestamps for the requesting mobile node"; if not, the
// home agent "supplies the high-order 32 bits from its own time of day" in a 133.
//
//rfc:5944#5.7.1
func TestTimestamps(t *testing.T) {
	for _, c := range []struct {
		name string
		off  time.Duration
		code mip4.Code
	}{
		{"7 s behind", -7 * time.Second, 0},
		{"more than 7 s behind", -7*time.Second - time.Millisecond, 133},
		{"7 s ahead", 7 * time.Second, 0},
		{"more than 7 s ahead", 7*time.Second + time.Millisecond, 133},
		{"1970", -1795348800 * time.Second, 133},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, config(t))
			r := d.req()
			r.id = assoc.Timestamp(d.now.Wall.Add(c.off))
			now := d.now.Wall
			p := d.want(c.code, r)
			if c.code == 0 {
				return
			}
			if got := uint32(p.Identification >> 32); got != uint32(assoc.Timestamp(now)>>32) {
				t.Errorf("high half %x is not the home agent's time", got)
			}
			if len(d.store) != 0 {
				t.Error("a request that was not fresh left a record")
			}
		})
	}
}

// A captured request is refused whenever and from wherever it comes again,
// also after a restart; the binding does not regress.
func TestReplayedRequestsAreRefused(t *testing.T) {
	cfg := config(t)
	d := newDriver(t, cfg)
	old := d.req()
	d.want(mip4.CodeAccepted, old)
	d.advance(time.Second)
	moved := d.req()
	moved.careOf, moved.src = careOf2, netip.AddrPortFrom(careOf2, 40000)
	d.want(mip4.CodeAccepted, moved)
	check := func(d *driver) {
		t.Helper()
		if b := d.bindings(); len(b) != 1 || b[0].CareOfAddress != careOf2 {
			t.Fatalf("bindings %+v", b)
		}
	}
	for _, after := range []time.Duration{100 * time.Millisecond, time.Second, 8 * time.Second} {
		d.advance(after)
		d.want(mip4.CodeIdentificationMismatch, old)
		// The current one from elsewhere is no repeat either.
		elsewhere := *moved
		elsewhere.src = netip.AddrPortFrom(careOf2, 40001)
		d.want(mip4.CodeIdentificationMismatch, &elsewhere)
		check(d)
	}
	d = d.restart(cfg, 2*time.Second)
	d.want(mip4.CodeIdentificationMismatch, old)
	d.want(mip4.CodeIdentificationMismatch, moved)
	check(d)
	// The clock jumps back across the restart: the mark does not.
	d = d.restart(cfg, -10*time.Second)
	d.want(mip4.CodeIdentificationMismatch, moved)
	check(d)
}

// "If the Registration Request duplicates an accepted current Registration
// Request, the new Lifetime MUST NOT extend beyond the Lifetime originally
// granted": an exact repeat gets its reply again, with what is left.
//
//rfc:5944#3.8.2.2
func TestExactRepeatGetsItsReplyAgain(t *testing.T) {
	d := newDriver(t, config(t))
	r := d.req()
	first := d.want(mip4.CodeAccepted, r)
	deadline := d.a.Deadline()
	d.changes, d.notes = nil, nil
	records := bytes.Clone(d.store["ha/node/10.10.0.5"])
	d.advance(100*time.Second - 10*time.Millisecond)
	again := d.want(mip4.CodeAccepted, r)
	if again.Lifetime != 200 {
		t.Errorf("lifetime %d, want the 200 s that are left", again.Lifetime)
	}
	if again.Identification != first.Identification || again.Dst != first.Dst || again.Src != first.Src {
		t.Error("another reply")
	}
	if !d.a.Deadline().Equal(deadline) || len(d.changes) != 0 || !bytes.Equal(records, d.store["ha/node/10.10.0.5"]) {
		t.Error("the repeat extended or moved something")
	}
	if k := d.kinds(); !slices.Equal(k, []note.Kind{note.Repeated}) {
		t.Errorf("notes %v", k)
	}
	d.advance(200 * time.Second)
	d.want(mip4.CodeIdentificationMismatch, r)
}

// Through a foreign agent too, which counts the lifetime of the visit from the
// reply: both authenticators hold of what is left.
//
//rfc:5944#3.8.2.2-8
func TestARepeatThroughAForeignAgentGetsWhatIsLeft(t *testing.T) {
	d := newDriver(t, config(t))
	r := d.relayed(true)
	first := d.want(mip4.CodeAccepted, r)
	d.advance(100*time.Second - 10*time.Millisecond)
	again := d.want(mip4.CodeAccepted, r)
	if first.Lifetime != 300 || again.Lifetime != 200 {
		t.Errorf("lifetimes %d and %d, want 300 and the 200 s that are left", first.Lifetime, again.Lifetime)
	}
	verify(t, again, mip4.ExtMobileHome, config(t).Nodes[0].Keys[0])
	verify(t, again, mip4.ExtForeignHome, r.foreign)
}

// A repeat of a deregistration too, so that a lost reply does not matter.
func TestExactRepeatOfADeregistration(t *testing.T) {
	d := newDriver(t, config(t))
	d.want(mip4.CodeAccepted, d.req())
	r := d.req()
	r.lifetime = 0
	d.want(mip4.CodeAccepted, r)
	if p := d.want(mip4.CodeAccepted, r); p.Lifetime != 0 {
		t.Errorf("lifetime %d", p.Lifetime)
	}
	d.want(mip4.CodeAccepted, d.req())
	d.want(mip4.CodeIdentificationMismatch, r)
	if len(d.bindings()) != 1 {
		t.Error("the old deregistration worked twice")
	}
}

// While its commit is pending, a repeat gets nothing: the answer is coming.
func TestRepeatOfAPendingRequestIsSilence(t *testing.T) {
	d := newDriver(t, config(t))
	d.hold = true
	r := d.req()
	for range 3 {
		if d.send(r) != nil {
			t.Fatal("answered too early")
		}
	}
	if len(d.held) != 1 {
		t.Fatalf("%d commits", len(d.held))
	}
	elsewhere := *r
	elsewhere.src = netip.AddrPortFrom(careOf, 40001)
	if p := d.send(&elsewhere); p == nil || p.Code != mip4.CodeIdentificationMismatch {
		t.Fatalf("the same from elsewhere: %+v", p)
	}
	d.sent = nil
	d.release()
	if p := d.reply(); p == nil || p.Code != mip4.CodeAccepted {
		t.Fatal("no reply")
	}
}

// Requests of one node take turns: the second is settled when the first is
// true, and in its order; other nodes do not wait.
func TestRequestsOfOneNodeTakeTurns(t *testing.T) {
	d := newDriver(t, config(t))
	d.hold = true
	first := d.req()
	d.send(first)
	d.tick()
	second := d.req()
	second.careOf, second.src = careOf2, netip.AddrPortFrom(careOf2, 40000)
	if d.send(second) != nil || len(d.held) != 1 {
		t.Fatalf("the second did not wait: %d commits", len(d.held))
	}
	other := d.van()
	d.send(other)
	if len(d.held) != 2 {
		t.Fatalf("another node waited: %d commits", len(d.held))
	}
	d.release()
	if len(d.sent) != 3 {
		t.Fatalf("%d replies", len(d.sent))
	}
	if b := d.bindings(); len(b) != 2 || b[0].CareOfAddress != careOf2 {
		t.Errorf("bindings %+v", b)
	}
	// The wait is bounded.
	d.hold, d.sent = true, nil
	for range 20 {
		d.tick()
		d.send(d.req())
	}
	if len(d.held) != 1 {
		t.Fatalf("%d commits at a time", len(d.held))
	}
	d.sent = nil
	d.release()
	if len(d.sent) == 0 || len(d.sent) > 8 {
		t.Errorf("%d of 20 waited", len(d.sent))
	}
	d.sent = nil
	d.tick()
	d.want(mip4.CodeAccepted, d.req())
}

// A failed commit has nothing built on it: what waited goes on alone.
func TestFailureWithAnotherRequestWaiting(t *testing.T) {
	d := newDriver(t, config(t))
	d.hold, d.broken = true, errTest
	d.send(d.req())
	d.tick()
	second := d.req()
	second.careOf, second.src = careOf2, netip.AddrPortFrom(careOf2, 40000)
	d.send(second)
	d.release()
	var codes []mip4.Code
	for _, s := range d.sent {
		m, _ := mip4.Parse(s.Data)
		r, _ := m.Reply()
		codes = append(codes, r.Code)
	}
	if !slices.Equal(codes, []mip4.Code{130, 0}) {
		t.Errorf("codes %v, want 130 for the first and 0 for the second", codes)
	}
	if b := d.bindings(); len(b) != 1 || b[0].CareOfAddress != careOf2 {
		t.Errorf("bindings %+v", b)
	}
}

func (d *driver) nonce(high uint32, low uint32) *request {
	r := d.req()
	r.home, r.key = netip.MustParseAddr("10.10.0.6"), mustAssoc(d.t, 260, "nonce-nonce-once", assoc.Nonces)
	r.id = uint64(high)<<32 | uint64(low)
	return r
}

// "It inserts a new nonce as the high-order 32 bits of the Identification field
// of every Registration Reply."
//
//rfc:5944#5.7.2
func TestNonces(t *testing.T) {
	cfg := config(t)
	d := newDriver(t, cfg)
	p := d.want(mip4.CodeIdentificationMismatch, d.nonce(0, 1)) // "resync is the 133 itself"
	n1 := uint32(p.Identification >> 32)
	r := d.nonce(n1, 2)
	p = d.want(mip4.CodeAccepted, r)
	n2 := uint32(p.Identification >> 32)
	if n2 == n1 {
		t.Error("the nonce did not change")
	}
	// The identical retransmission gets the same nonce again.
	p = d.want(mip4.CodeAccepted, r)
	if uint32(p.Identification>>32) != n2 {
		t.Error("a repeat got another nonce")
	}
	// A used nonce is refused, and the answer carries a new one.
	d.want(mip4.CodeIdentificationMismatch, d.nonce(n1, 3))
	// Denials carry a new nonce too.
	p = d.want(mip4.CodeIdentificationMismatch, d.nonce(n1, 4))
	n3 := uint32(p.Identification >> 32)
	bad := d.nonce(n3, 5)
	bad.agent = netip.MustParseAddr("198.51.100.9")
	p = d.want(mip4.CodeUnknownHomeAgent, bad)
	n4 := uint32(p.Identification >> 32)
	if n4 == n3 {
		t.Error("a denial carried the old nonce")
	}
	// The nonce outlives a restart, and so does its being used up.
	d = d.restart(cfg, time.Second)
	d.want(mip4.CodeIdentificationMismatch, d.nonce(n3, 6))
	d = newDriver(t, cfg).adopt(d).restart(cfg, time.Second)
	p = d.want(mip4.CodeIdentificationMismatch, d.nonce(n4, 7)) // replaced by the 133 above
	d.want(mip4.CodeAccepted, d.nonce(uint32(p.Identification>>32), 8))
}

// adopt takes over another driver's store.
func (d *driver) adopt(other *driver) *driver { d.store, d.now = other.store, other.now; return d }

// What a commit consists of stays as it is until it is answered, also when a
// denial of the same node is committed meanwhile.
func TestACommitOnItsWayIsLeftAlone(t *testing.T) {
	d := newDriver(t, config(t))
	n := uint32(d.want(mip4.CodeIdentificationMismatch, d.nonce(0, 1)).Identification >> 32)
	d.hold = true
	d.send(d.nonce(n, 2))
	record := string(d.held[0].Records[0].Value)
	then := d.held[0].Then[0].(engine.Send).Data
	d.send(d.nonce(n, 3))
	if len(d.held) != 2 {
		t.Fatalf("%d commits, want the acceptance and the denial", len(d.held))
	}
	if got := string(d.held[0].Records[0].Value); got != record {
		t.Errorf("the record of a commit on its way was %x, and is %x", record, got)
	}
	if got := d.held[0].Then[0].(engine.Send).Data; string(got) != string(then) {
		t.Errorf("the reply of a commit on its way was %x, and is %x", then, got)
	}
}

// While one request with a nonce waits for its commit, no other can use it.
func TestNonceIsUsedOnce(t *testing.T) {
	d := newDriver(t, config(t))
	p := d.want(mip4.CodeIdentificationMismatch, d.nonce(0, 1))
	n := uint32(p.Identification >> 32)
	d.hold = true
	d.send(d.nonce(n, 2))
	second := d.nonce(n, 3)
	d.send(second)
	d.sent = nil
	d.release()
	var accepted int
	for _, s := range d.sent {
		m, _ := mip4.Parse(s.Data)
		if r, _ := m.Reply(); r.Code == mip4.CodeAccepted {
			accepted++
		}
	}
	if accepted != 1 {
		t.Errorf("%d requests with one nonce were accepted", accepted)
	}
}

// What is stored is wall time, and clamped to the granted lifetime.
func TestRestart(t *testing.T) {
	cfg := config(t)
	for _, c := range []struct {
		name string
		away time.Duration
		left time.Duration
	}{
		{"at once", 0, 300*time.Second - 10*time.Millisecond},
		{"after 100 s", 100 * time.Second, 200*time.Second - 10*time.Millisecond},
		{"the clock jumped back an hour", -time.Hour, 300 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, cfg)
			d.want(mip4.CodeAccepted, d.req())
			before, _ := d.entry(home)
			d = d.restart(cfg, c.away)
			after, ok := d.entry(home)
			if !ok {
				t.Fatal("no entry after the restart")
			}
			if got := d.a.Deadline().Sub(d.now.Mono); got != c.left {
				t.Errorf("%v left, want %v", got, c.left)
			}
			before.Tunnels[0].Until, after.Tunnels[0].Until = time.Time{}, time.Time{}
			if !slices.Equal(before.Tunnels, after.Tunnels) || before.Intercept != after.Intercept {
				t.Errorf("entry\n%+v\nbecame\n%+v", before, after)
			}
			d.advance(c.left)
			if len(d.plane) != 0 {
				t.Error("the restored binding does not expire")
			}
		})
	}
	t.Run("expired meanwhile", func(t *testing.T) {
		d := newDriver(t, cfg)
		d.want(mip4.CodeAccepted, d.req())
		d = d.restart(cfg, time.Hour)
		if len(d.plane) != 0 {
			t.Error("an expired binding still forwards")
		}
		d.advance(0)
		if k := d.kinds(); !slices.Equal(k, []note.Kind{note.Expired}) {
			t.Errorf("notes %v", k)
		}
	})
	t.Run("bindings of all kinds", func(t *testing.T) {
		d := newDriver(t, cfg)
		for i, flags := range []mip4.RequestFlags{mip4.FlagG, mip4.FlagM | mip4.FlagS, mip4.FlagB | mip4.FlagS} {
			r := d.req()
			r.flags |= flags
			r.careOf = netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})
			r.src = netip.AddrPortFrom(r.careOf, 40000)
			d.want(mip4.CodeAccepted, r)
		}
		d.want(mip4.CodeAccepted, d.van())
		old := d.bindings()
		d = d.restart(cfg, 0)
		fresh := d.bindings()
		if len(fresh) != 4 {
			t.Fatalf("%d bindings", len(fresh))
		}
		for i := range fresh {
			old[i].Renewed = fresh[i].Renewed // is not kept
			old[i].Since, fresh[i].Since = old[i].Since.Truncate(time.Millisecond).UTC(), fresh[i].Since.UTC()
			if !reflect.DeepEqual(old[i], fresh[i]) {
				t.Errorf("binding\n%+v\nbecame\n%+v", old[i], fresh[i])
			}
		}
	})
	t.Run("broken records", func(t *testing.T) {
		d := newDriver(t, cfg)
		d.want(mip4.CodeAccepted, d.req())
		value := d.store["ha/node/10.10.0.5"]
		for n := range value {
			a, err := ha.New(cfg, rand.New(rand.NewPCG(1, 2)))
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Restore(d.now, engine.Record{Key: []byte("ha/node/10.10.0.5"), Value: value[:n]}); err == nil {
				t.Fatalf("%d of %d octets were understood", n, len(value))
			}
			for range a.Entries() {
				t.Fatal("a broken record left an entry")
			}
		}
	})
}

// Records of a node that is not configured any more are left alone, and come
// back with it.
func TestMarkOfARemovedNodeStays(t *testing.T) {
	cfg := config(t)
	d := newDriver(t, cfg)
	r := d.req()
	d.want(mip4.CodeAccepted, r)
	without := cfg
	without.Nodes = cfg.Nodes[1:]
	d = d.restart(without, time.Second)
	if len(d.plane) != 0 {
		t.Error("still forwarding for it")
	}
	d.silence(r)
	d = d.restart(cfg, time.Second)
	d.want(mip4.CodeIdentificationMismatch, r)
}

// A deregistration that failed was not accepted: its repeat is no repeat.
func TestRepeatOfAFailedDeregistration(t *testing.T) {
	d := newDriver(t, config(t))
	d.want(mip4.CodeAccepted, d.req())
	r := d.req()
	r.lifetime = 0
	d.broken = errTest
	d.want(mip4.CodeHAResources, r)
	d.want(mip4.CodeIdentificationMismatch, r)
}

// What waits for its turn, or for its commit, still is what was received: the
// driver reuses its buffers.
func TestExchangesOwnWhatTheyKeep(t *testing.T) {
	want := make(map[uint64][]byte)
	looked := 0
	look := func(x *ha.Exchange) engine.Verdict {
		looked++
		if !bytes.Equal(x.Message.Raw, want[x.Request.Identification]) || !bytes.Equal(x.Packet.Data, x.Message.Raw) {
			t.Errorf("request %x is %x", x.Request.Identification, x.Message.Raw)
		}
		return engine.Next()
	}
	d := newDriver(t, config(t), func(a *ha.Agent) {
		a.Bind.Add("test", "look", look)
		a.Reply.Add("test", "look", look)
	})
	d.hold = true
	for range 3 {
		r := d.req()
		p := r.packet(t)
		want[r.id] = bytes.Clone(p.Data)
		d.step(p)
		d.tick()
	}
	d.broken = errTest // the first commit
	d.release()
	if looked != 3*2+1 {
		t.Errorf("looked %d times", looked)
	}
}
