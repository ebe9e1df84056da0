package fa_test

import (
	"net/netip"
	"testing"
	"time"

	"careof/internal/core/forward"
	"careof/internal/proto/mip4/fa"
	"careof/wire/encap"
	"careof/wire/mip4"
)

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
