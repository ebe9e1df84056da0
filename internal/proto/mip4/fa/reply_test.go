package fa_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/fa"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// RFC 5944 section 3.7.3.2, read octet by octet: what the home agent has
// authenticated for the mobile node, then 33 when an association is shared.
//
//rfc:5944#3.7.3.2
//rfc:5944#3.7.2.3
//rfc:5944#3.7.1-9
func TestADeliveredReplyIsTheAuthenticatedPartAndThe33(t *testing.T) {
	for _, keyed := range []bool{false, true} {
		d := newDriver(t, config())
		r := d.req()
		size := 0
		if keyed {
			r.home, r.src, r.foreign = keyedHome, netip.AddrPortFrom(keyedHome, 40000), visitorKey
			size = 2 + 4 + 16
		}
		a := answerTo(t, d.relayed(r))
		a.rawAfter = []byte{134, 7, 0, 0, 0, 0, 9, 0, 1} // an NVSE for the foreign agent
		in := a.bytes(t)
		out := d.delivered(a)
		head := parse(t, in).Head()
		if !bytes.HasPrefix(out.Data, head) || len(out.Data) != len(head)+size {
			t.Errorf("keyed %v: delivered %x\nwant %x and %d octets", keyed, out.Data, head, size)
		}
		if keyed {
			verify(t, out.Data, mip4.ExtMobileForeign, visitorKey)
		}
		if out.Src != netip.AddrPortFrom(linkAddr, 434) || out.Dst != netip.AddrPortFrom(r.home, 40000) {
			t.Errorf("sent from %v to %v", out.Src, out.Dst)
		}
		if out.Link != "eth1" || out.HW != nodeMAC {
			t.Errorf("sent to %v on %s, want the recorded link-layer address", out.HW, out.Link)
		}
	}
}

// Where replies go: RFC 5944 section 3.7.2.3.
//
//rfc:5944#3.7.2.3
func TestAddressesOfReplies(t *testing.T) {
	coLocated := netip.MustParseAddr("192.168.1.77")
	for _, c := range []struct {
		name     string
		edit     func(*request)
		answer   func(*answer)
		src, dst netip.Addr
	}{
		{"to the home address", func(*request) {}, func(*answer) {}, linkAddr, home},
		{"asked at All Agents Multicast", func(r *request) { r.dst, r.ttl = netip.AddrPortFrom(allAgents, 434), 1 }, func(*answer) {}, linkAddr, home},
		{"asked at the care-of address", func(r *request) { r.dst = netip.AddrPortFrom(careOf, 434) }, func(*answer) {}, careOf, home},
		{"home address 0, one assigned", func(r *request) { r.home, r.nai, r.src = zero, "van@fleet", netip.AddrPortFrom(zero, 40000) },
			func(a *answer) { a.home, a.nai = home, "van@fleet" }, linkAddr, home},
		{"home address 0, denied", func(r *request) { r.home, r.nai, r.src = zero, "van@fleet", netip.AddrPortFrom(zero, 40000) },
			func(a *answer) { a.code, a.nai = 130, "van@fleet" }, linkAddr, everybody},
		{"co-located", func(r *request) {
			r.flags, r.careOf, r.src = mip4.FlagD, coLocated, netip.AddrPortFrom(coLocated, 40000)
		}, func(*answer) {}, linkAddr, coLocated},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, config())
			r := d.req()
			c.edit(r)
			a := answerTo(t, d.relayed(r))
			c.answer(a)
			out := d.delivered(a)
			if out.Src != netip.AddrPortFrom(c.src, 434) || out.Dst != netip.AddrPortFrom(c.dst, 40000) || out.HW != nodeMAC {
				t.Errorf("sent from %v to %v at %v", out.Src, out.Dst, out.HW)
			}
		})
	}
}

// The forwarding entry of a visit.
//
//rfc:5944#4.2.2
//rfc:3024#4.2.2
//rfc:3024#3.3-4
//rfc:3024#4.2.2-2
//rfc:3024#A.4-5
//rfc:5944#4.2.2-9
func TestAVisitForwards(t *testing.T) {
	ends := func(local, peer netip.Addr) (netip.AddrPort, netip.AddrPort) {
		return netip.AddrPortFrom(local, 0), netip.AddrPortFrom(peer, 0)
	}
	for _, c := range []struct {
		name string
		edit func(*request)
		want []forward.Tunnel
	}{
		{"without reverse tunnel", func(r *request) { r.flags = 0 }, []forward.Tunnel{{Mode: forward.Receive, Encap: encap.IPIP}}},
		{"direct delivery", func(*request) {}, []forward.Tunnel{{Mode: forward.Both, Encap: encap.IPIP}}},
		{"GRE", func(r *request) { r.flags |= mip4.FlagG }, []forward.Tunnel{{Mode: forward.Both, Encap: encap.GRE}}},
		{"minimal", func(r *request) { r.flags |= mip4.FlagM }, []forward.Tunnel{{Mode: forward.Both, Encap: encap.Minimal}}},
		{"encapsulating delivery", func(r *request) { r.after = []mip4.Payload{&mip4.EncapsulatingDelivery{}} }, []forward.Tunnel{
			{Mode: forward.Both, Encap: encap.IPIP}, {Mode: forward.Receive, Encap: encap.IPIP, Link: "eth1"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, config())
			r := d.req()
			c.edit(r)
			d.visit(r)
			e, ok := d.entry(home, homeAgent)
			if !ok {
				t.Fatal("no entry")
			}
			for i := range c.want {
				c.want[i].Until = d.now.Mono.Add(300 * time.Second)
				c.want[i].Local, c.want[i].Peer = ends(careOf, homeAgent)
				if i == 1 {
					c.want[i].Local, c.want[i].Peer = ends(linkAddr, home)
				}
			}
			want := forward.Entry{
				Key: e.Key, Role: forward.ForeignAgent, Inner: netip.PrefixFrom(home, 32),
				Deliver: forward.Deliver{Link: "eth1", HW: nodeMAC}, Tunnels: c.want,
			}
			if !e.Equal(want) {
				t.Errorf("entry\n got %+v\nwant %+v", e, want)
			}
		})
	}
	d := newDriver(t, config())
	r := d.req()
	r.flags, r.careOf = mip4.FlagD, netip.MustParseAddr("192.168.1.77")
	d.visit(r)
	if len(d.plane) != 0 || len(d.accepted()) != 1 {
		t.Error("a co-located visitor must be in the list, and its tunnel must not end here")
	}
}

// "The foreign agent MUST also silently discard the Reply if the low-order 32
// bits of the Identification field in the Reply do not match those in the
// Request", and if there is no pending request with the home address.
//
//rfc:5944#3.7.3.1
//rfc:5944#3.7-3
func TestRepliesThatMatchNothingAreDiscarded(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*answer)
	}{
		{"another Identification", func(a *answer) { a.id ^= 1 }},
		{"another home address", func(a *answer) { a.home = keyedHome }},
		{"from elsewhere, naming somebody else", func(a *answer) { a.src, a.agent = netip.MustParseAddrPort("192.0.2.66:434"), plainHA }},
		{"unknown extension 0-127 for the foreign agent", func(a *answer) { a.rawAfter = []byte{99, 1, 7} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, config())
			a := answerTo(t, d.relayed(d.req()))
			bad := *a
			c.edit(&bad)
			d.silence(bad.packet(t))
			d.delivered(a)
		})
	}
	t.Run("high-order bits are the home agent's", func(t *testing.T) {
		d := newDriver(t, config())
		a := answerTo(t, d.relayed(d.req()))
		a.id ^= 1 << 40
		d.delivered(a)
		d.silence(a.packet(t)) // and it serves once
	})
}

// "If there are multiple entries with the same home address, and if the
// Registration Reply has the Mobile Node NAI extension, the foreign agent MUST
// use the NAI to disambiguate".
//
//rfc:5944#3.7.3.1
//rfc:2794#3
//rfc:2794#3-1
func TestTheNAITellsRequestsApart(t *testing.T) {
	for _, at := range []netip.Addr{home, zero} {
		d := newDriver(t, config())
		one, two := d.req(), d.req()
		one.home, one.nai, one.src = at, "one@fleet", netip.AddrPortFrom(at, 40001)
		two.home, two.nai, two.src, two.hw = at, "two@fleet", netip.AddrPortFrom(at, 40002), otherMAC
		two.id = one.id
		a, b := answerTo(t, d.relayed(one)), answerTo(t, d.relayed(two))
		a.nai, b.nai = "one@fleet", "two@fleet"
		if at == zero {
			a.home, b.home = home, netip.MustParseAddr("10.10.0.8")
		}
		if out := d.delivered(b); out.Dst.Port() != 40002 || out.HW != otherMAC {
			t.Errorf("the reply for two@fleet went to %v at %v", out.Dst, out.HW)
		}
		if out := d.delivered(a); out.Dst.Port() != 40001 || out.HW != nodeMAC {
			t.Errorf("the reply for one@fleet went to %v at %v", out.Dst, out.HW)
		}
	}
}

// RFC 2794 section 3: replies that lack what the node asked for, and other
// replies that no visit can be made of.
//
//rfc:2794#3
//rfc:5944#3.4
//rfc:2794#3-6
func TestRepliesThatAreNotHonoured(t *testing.T) {
	for _, c := range []struct {
		name string
		code mip4.Code
		edit func(*answer)
	}{
		{"no NAI", 97, func(a *answer) {}},
		{"no home agent", 98, func(a *answer) { a.nai, a.agent = "van@fleet", zero }},
		{"no home address", 99, func(a *answer) { a.nai, a.home = "van@fleet", zero }},
		{"home address of no host", 71, func(a *answer) { a.nai, a.home = "van@fleet", everybody }},
		{"my own address assigned", 71, func(a *answer) { a.nai, a.home = "van@fleet", linkAddr }},
		{"accepted by another home agent", 71, func(a *answer) { a.nai, a.agent = "van@fleet", plainHA }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, config())
			r := d.req()
			r.home, r.nai, r.src = zero, "van@fleet", netip.AddrPortFrom(zero, 40000)
			a := answerTo(t, d.relayed(r))
			a.home = home
			c.edit(a)
			d.wantDenial(c.code, d.give(a.packet(t)))
			if len(d.accepted()) != 0 || len(d.plane) != 0 || d.pending() != 0 {
				t.Error("it left state")
			}
		})
	}
}

// "exactly one Foreign-Home Authentication Extension MUST be present in the
// Registration Reply".
//
//rfc:5944#3.7.3.1
//rfc:5944#3.7.1
//rfc:3024#4-1
func TestTheForeignHomeAuthenticationOfReplies(t *testing.T) {
	for _, c := range []struct {
		name     string
		lifetime uint16
		edit     func(*answer)
		ok       bool
	}{
		{"right", 300, func(*answer) {}, true},
		{"missing", 300, func(a *answer) { a.foreign = nil }, false},
		{"twice", 300, func(a *answer) { a.twice = true }, false},
		{"wrong key", 300, func(a *answer) { a.foreign = key(300, "wrong-wrong-wron") }, false},
		{"unknown SPI", 300, func(a *answer) { a.foreign = key(299, "foreign-foreign-") }, false},
		{"missing in a denial", 300, func(a *answer) { a.code, a.foreign = 133, nil }, false},
		{"missing in a deregistration", 0, func(a *answer) { a.foreign = nil }, true},
		{"missing, and the reply to a deregistration names a lifetime", 0, func(a *answer) { a.foreign, a.lifetime = nil, 300 }, false},
		{"wrong in a deregistration", 0, func(a *answer) { a.foreign = key(300, "wrong-wrong-wron") }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, config())
			r := d.req()
			r.lifetime = c.lifetime
			a := answerTo(t, d.relayed(r))
			c.edit(a)
			if c.ok {
				d.delivered(a)
				return
			}
			d.wantDenial(68, d.give(a.packet(t)))
			if len(d.accepted()) != 0 || d.pending() != 0 {
				t.Error("it left state")
			}
			if !slices.ContainsFunc(d.notes, func(n note.Note) bool { return n.Kind == note.Discarded && n.Level == note.Warn }) {
				t.Error("it was not logged as a security exception")
			}
		})
	}
}

// Corner E10: a pending request never overwrites the accepted visit, and a
// denied one does not end it.
//
//rfc:5944#3.7.2
func TestADeniedRenewalKeepsTheService(t *testing.T) {
	d := newDriver(t, config())
	d.visit(d.req())
	before, _ := d.entry(home, homeAgent)
	changes := len(d.changes)
	r := d.req()
	r.flags, r.hw = mip4.FlagG, otherMAC // somebody else may have sent it
	a := answerTo(t, d.relayed(r))
	if e, _ := d.entry(home, homeAgent); !e.Equal(before) || len(d.changes) != changes {
		t.Fatal("a pending request changed the forwarding")
	}
	a.code = mip4.CodeHAProhibited
	d.delivered(a)
	if e, _ := d.entry(home, homeAgent); !e.Equal(before) || len(d.changes) != changes || len(d.accepted()) != 1 {
		t.Error("a denied request changed the visit")
	}
}

//rfc:5944#3.7.3.2
//rfc:5944#3.7.2-6
//rfc:5944#3.7-5
func TestDeregistration(t *testing.T) {
	other := netip.MustParseAddr("192.0.2.200")
	for _, c := range []struct {
		name   string
		careOf netip.Addr
		code   mip4.Code
		ends   bool
	}{
		{"of the care-of address", careOf, 0, true},
		{"of all", home, 0, true},
		{"of another agent's care-of address", other, 0, false},
		{"denied", careOf, 129, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, config())
			d.visit(d.req())
			r := d.req()
			r.lifetime, r.careOf = 0, c.careOf
			a := answerTo(t, d.relayed(r))
			if _, there := d.entry(home, homeAgent); !there {
				t.Fatal("the visit ended before the reply")
			}
			a.code = c.code
			d.hold = c.ends
			sent := d.give(a.packet(t))
			if c.ends {
				if len(sent) > 0 {
					t.Fatal("answered before it was true")
				}
				d.release()
				sent = d.take()
			}
			if len(sent) != 1 {
				t.Fatal("the reply was not delivered")
			}
			if _, there := d.entry(home, homeAgent); there == c.ends || len(d.accepted()) == 1 == c.ends {
				t.Errorf("the visit ended: %v, want %v", !there, c.ends)
			}
		})
	}
}

// RFC 5944 section 3.7.3.2: the lifetime of a visit, and when it begins.
//
//rfc:5944#3.7.3.2
//rfc:5944#3.7
func TestTheLifetimeOfAVisit(t *testing.T) {
	for _, c := range []struct {
		asked, granted uint16
		want           time.Duration
	}{
		{300, 300, 300 * time.Second},
		{300, 120, 120 * time.Second},
		{300, 900, 300 * time.Second}, // "the Lifetime in the Request MUST be used"
		{600, 0xffff, 600 * time.Second},
	} {
		d := newDriver(t, config())
		r := d.req()
		r.lifetime = c.asked
		a := answerTo(t, d.relayed(r))
		a.lifetime = c.granted
		d.advance(2 * time.Second) // it begins with the reply
		d.delivered(a)
		d.announced = nil
		d.advance(c.want - time.Millisecond)
		if len(d.accepted()) != 1 {
			t.Errorf("asked %d, granted %d: ended before %v", c.asked, c.granted, c.want)
		}
		d.advance(2 * time.Millisecond)
		if len(d.accepted()) != 0 || len(d.plane) != 0 {
			t.Errorf("asked %d, granted %d: not ended after %v", c.asked, c.granted, c.want)
		}
		if sent := d.take(); len(sent) > 0 {
			t.Error("a Registration Request or Reply because a lifetime has expired")
		}
	}
	cfg := config()
	cfg.MaxLifetime = fa.Infinite
	d := newDriver(t, cfg)
	r := d.req()
	r.lifetime = 0xffff
	d.visit(r)
	d.advance(48 * time.Hour)
	if len(d.accepted()) != 1 {
		t.Error("an infinite visit ended")
	}
}

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

// An accepted reply leaves only when the data plane forwards; when it cannot,
// the mobile node is told, and an old visit goes on.
func TestWhenTheTunnelCannotBeSetUp(t *testing.T) {
	d := newDriver(t, config())
	a := answerTo(t, d.relayed(d.req()))
	d.hold = true
	if sent := d.give(a.packet(t)); len(sent) > 0 {
		t.Fatal("answered before it was true")
	}
	d.silence(a.packet(t)) // the reply again, meanwhile
	d.release()
	if sent := d.take(); len(sent) != 1 {
		t.Fatal("not answered when it was true")
	}

	before, _ := d.entry(home, homeAgent)
	r := d.req()
	r.flags |= mip4.FlagG
	a = answerTo(t, d.relayed(r))
	d.broken = errBroken
	d.wantDenial(mip4.CodeFAResources, d.give(a.packet(t)))
	if e, _ := d.entry(home, homeAgent); !e.Equal(before) || len(d.accepted()) != 1 {
		t.Error("the old visit did not go on")
	}

	d = newDriver(t, config())
	a = answerTo(t, d.relayed(d.req()))
	d.broken = errBroken
	d.wantDenial(mip4.CodeFAResources, d.give(a.packet(t)))
	if len(d.accepted()) != 0 || len(d.plane) != 0 || d.pending() != 0 {
		t.Error("it left state")
	}
}

// A refresh moves nothing but the end of a tunnel that sends; a move on the
// link moves the delivery.
func TestRenewalsAndMovesOnTheLink(t *testing.T) {
	d := newDriver(t, config())
	d.visit(d.req())
	d.advance(100 * time.Second)
	d.changes = nil
	d.visit(d.req())
	if len(d.changes) != 1 || d.changes[0].Op != forward.Extend {
		t.Errorf("a refresh changed %+v", d.changes)
	}
	e, _ := d.entry(home, homeAgent)
	if want := d.now.Mono.Add(300 * time.Second); !e.Tunnels[0].Until.Equal(want) {
		t.Errorf("ends at %v, want %v", e.Tunnels[0].Until, want)
	}
	r := d.req()
	r.hw = otherMAC
	d.visit(r)
	if e, _ := d.entry(home, homeAgent); e.Deliver.HW != otherMAC || len(d.plane) != 1 {
		t.Errorf("delivered to %v, %d entries", e.Deliver.HW, len(d.plane))
	}
}

// RFC 3024 appendix A.4: overlapping private addresses of two home agents.
//
//rfc:3024#A.4
//rfc:3024#A.4-7
func TestEqualHomeAddressesOfTwoHomeAgents(t *testing.T) {
	d := newDriver(t, config())
	one, two := d.req(), d.req()
	two.agent, two.hw, two.id = plainHA, otherMAC, one.id
	a, b := answerTo(t, d.relayed(one)), answerTo(t, d.relayed(two))
	if out := d.delivered(b); out.HW != otherMAC {
		t.Errorf("the reply of the second home agent went to %v", out.HW)
	}
	if out := d.delivered(a); out.HW != nodeMAC {
		t.Errorf("the reply of the first home agent went to %v", out.HW)
	}
	x, _ := d.entry(home, homeAgent)
	y, _ := d.entry(home, plainHA)
	if x.Deliver.HW != nodeMAC || y.Deliver.HW != otherMAC || x.Tunnels[0].Peer.Addr() != homeAgent || y.Tunnels[0].Peer.Addr() != plainHA {
		t.Errorf("entries %+v and %+v", x, y)
	}
	r := d.req()
	r.agent, r.hw, r.lifetime = plainHA, otherMAC, 0
	d.delivered(answerTo(t, d.relayed(r)))
	if _, there := d.entry(home, homeAgent); !there || len(d.plane) != 1 {
		t.Error("the deregistration of one ended the other's visit")
	}
}

// "If upon relaying a Registration Request to a home agent, the foreign agent
// receives an ICMP error message instead of a Registration Reply".
//
//rfc:5944#3.7.3
func TestICMPErrorsOnTheWayToTheHomeAgent(t *testing.T) {
	for _, c := range []struct {
		typ, code uint8
		want      mip4.Code
	}{
		{3, 0, 80}, {3, 6, 80}, {3, 9, 80}, {3, 11, 80},
		{3, 1, 81}, {3, 7, 81}, {3, 10, 81}, {3, 12, 81},
		{3, 3, 82},
		{3, 2, 88}, {3, 13, 88}, {11, 0, 88},
	} {
		t.Run(fmt.Sprintf("%d/%d", c.typ, c.code), func(t *testing.T) {
			d := newDriver(t, config())
			out := d.relayed(d.req())
			bounced := engine.Bounced{From: plainHA, Src: out.Src, Dst: out.Dst, Type: c.typ, Code: c.code, Data: out.Data}
			d.step(bounced)
			denial := d.wantDenial(c.want, d.take())
			if denial.HW != nodeMAC {
				t.Error("not to the mobile node")
			}
			d.advance(time.Second)
			d.step(bounced)
			if sent := d.take(); len(sent) > 0 {
				t.Error("told twice")
			}
			// A forged error must not keep the reply away.
			d.delivered(answerTo(t, out))
		})
	}
	for _, c := range []struct {
		name string
		edit func(*engine.Bounced)
		told bool
	}{
		{"only the headers quoted", func(b *engine.Bounced) { b.Data = nil }, true},
		{"another Identification quoted", func(b *engine.Bounced) { b.Data[23] ^= 1 }, false},
		{"another home address quoted", func(b *engine.Bounced) { b.Data[7] ^= 1 }, false},
		{"not where it went", func(b *engine.Bounced) { b.Dst = netip.AddrPortFrom(plainHA, 434) }, false},
		{"not where it came from", func(b *engine.Bounced) { b.Src = netip.AddrPortFrom(careOf2, 434) }, false},
		{"another port", func(b *engine.Bounced) { b.Src = netip.AddrPortFrom(careOf, 435) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDriver(t, config())
			out := d.relayed(d.req())
			b := engine.Bounced{From: plainHA, Src: out.Src, Dst: out.Dst, Type: 3, Code: 1, Data: bytes.Clone(out.Data)}
			c.edit(&b)
			d.step(b)
			if sent := d.take(); len(sent) == 1 != c.told {
				t.Errorf("told %v, want %v", len(sent) == 1, c.told)
			}
		})
	}
}

// Commands of the operator.
//
//rfc:5944#3.7.1-2
//rfc:5944#3.7.1-3
func TestTheOperatorSeesAndClearsVisitors(t *testing.T) {
	d := newDriver(t, config())
	r := d.req()
	r.nai = "van@fleet"
	d.visit(r)
	d.advance(10 * time.Second)
	d.relayed(d.req())
	list := d.visitors()
	if len(list) != 2 || list[0].State != "accepted" || list[1].State != "pending" {
		t.Fatalf("visitors %+v", list)
	}
	v := list[0]
	if v.HomeAddress != home || v.NAI != "van@fleet" || v.HomeAgent != homeAgent || v.CareOfAddress != careOf ||
		v.Link != "eth1" || v.HW != nodeMAC.String() || v.Delivery != "direct" || v.Left != 290*time.Second || v.Encapsulation != "ipip" {
		t.Errorf("visitor %+v", v)
	}
	if regs := d.command(fa.ListRegistrations{}).Value.([]fa.Registration); len(regs) != 1 || regs[0].Code != 0 {
		t.Errorf("registrations %+v", regs)
	}
	if r := d.command(fa.ClearVisitor{Node: identOf(plainHA)}); r.Err == nil {
		t.Error("cleared who is not there")
	}
	if r := d.command(fa.ClearVisitor{Node: identOf(home)}); r.Err != nil || len(d.accepted()) != 0 || len(d.plane) != 0 {
		t.Errorf("not cleared: %v", r.Err)
	}
}

// TestAReplayedRequestMovesNobody: a neighbour sends a visitor's request again
// from his own station. The home agent would repeat its acceptance; the visit
// must stay the visitor's.
func TestAReplayedRequestMovesNobody(t *testing.T) {
	d := newDriver(t, config())
	r := d.req()
	d.visit(r)
	d.advance(7 * time.Second)
	again := *r
	again.hw = otherMAC
	d.silence(again.packet(t))
	if e, _ := d.entry(home, homeAgent); e.Deliver.HW != nodeMAC {
		t.Errorf("delivered to %v", e.Deliver.HW)
	}
	// The visitor itself may ask again: it may not have heard the answer.
	d.relayed(r)
}

// TestAReplysWayIsTheHomeAgents: a neighbour answers his own request in the
// name of a home agent without an association.
func TestAReplysWayIsTheHomeAgents(t *testing.T) {
	d := newDriver(t, config())
	r := d.req()
	r.agent = plainHA
	forged := answerTo(t, d.relayed(r)).packet(t)
	forged.Link = "eth1"
	if sent := d.give(forged); len(sent) != 0 || len(d.accepted()) != 0 {
		t.Errorf("a reply from the visitors' link is taken: %d datagrams, visitors %v", len(sent), d.accepted())
	}
	// An agent with one arm gets its replies there: the link leads out.
	d.step(engine.LinkChanged{Link: engine.Link{Name: "eth1", Up: true, MTU: 1500, HW: agentMAC,
		Addresses: []netip.Prefix{netip.PrefixFrom(linkAddr, 24)}, Gateways: []netip.Addr{linkAddr.Next()}}})
	if sent := d.give(forged); len(sent) != 1 || len(d.accepted()) != 1 {
		t.Errorf("with one arm: %d datagrams, visitors %v", len(sent), d.accepted())
	}
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
