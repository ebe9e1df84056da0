package fa_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/note"
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
