package standard_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/engine/enginetest"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/advertise"
	"careof/internal/proto/mip4/fa"
	styles "careof/internal/proto/mip4/feature/delivery"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/internal/proto/mip4/standard"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// The long way: two foreign agents, an own address, and the first agent again.
// An announced move takes two trips on the link for the agent to be found and
// one round trip for the registration.
//
//rfc:5944#3.1
//rfc:5944#2.4.2
func TestJourneyBetweenForeignAgents(t *testing.T) {
	for _, form := range []encap.Kind{encap.IPIP, encap.GRE, encap.Minimal} {
		p := newPlan(t)
		p.node.Encapsulation = form
		j := newJourney(t, p)
		const registration = 2*near + 2*(near+far)
		for i, h := range []*post{j.fa(1), j.fa(2), j.fa(1)} {
			j.attach(h, netip.Addr{})
			j.run(registration - 1)
			if s := j.status(); i > 0 && s.ForeignAgent == h.address && s.State == "registered" {
				t.Errorf("%v: registered before a reply can have come", form)
			}
			j.run(1)
			j.visits(h, form)
			j.run(20 * time.Second)
			j.visits(h, form)
		}
		own := netip.MustParseAddr("192.0.10.77")
		j.attach(j.fa(1), own)
		j.run(2*(near+far) + time.Millisecond)
		if s := j.status(); s.State != "registered" || s.CareOfAddress != own || s.ForeignAgent.IsValid() {
			t.Errorf("%v: %s with %v through %v", form, s.State, s.CareOfAddress, s.ForeignAgent)
		}
		j.run(time.Minute)
		j.attach(j.fa(2), netip.Addr{})
		j.run(time.Second)
		j.visits(j.fa(2), form)
		if n := count(j.home, note.Denied) + count(j.node, note.Discarded) + count(j.node, note.Lost); n != 0 {
			t.Errorf("%v: trouble on the way:\n%s", form, j.trace())
		}
	}
}

// Hours at one foreign agent: everything is renewed in time, and a renewal
// moves nothing.
//
//rfc:5944#3.6
func TestHoursAtAForeignAgent(t *testing.T) {
	j := newJourney(t, newPlan(t))
	j.attach(j.fa(1), netip.Addr{})
	j.run(3 * time.Hour)
	j.visits(j.fa(1), encap.IPIP)
	if count(j.node, note.Lost)+count(j.home, note.Expired)+count(j.home, note.Denied)+count(j.fa(1), fa.Departed) != 0 {
		t.Errorf("in three hours:\n%s", j.trace())
	}
}

// Without link events a move is noticed when the old agent's advertisements
// stay away for as long as they said: three intervals of 3 seconds.
//
//rfc:5944#2.4.2.1
func TestUnannouncedMoveBetweenForeignAgents(t *testing.T) {
	j := newJourney(t, newPlan(t))
	j.attach(j.fa(1), netip.Addr{})
	j.run(10 * time.Second)
	j.visits(j.fa(1), encap.IPIP)
	j.at = j.fa(2)
	j.run(10 * time.Second)
	j.visits(j.fa(2), encap.IPIP)
}

// A foreign agent that starts again has forgotten the node, which registers
// when it hears the sequence number begin anew.
//
//rfc:5944#2.4.4
func TestForeignAgentStartsAgain(t *testing.T) {
	p := newPlan(t)
	j := newJourney(t, p)
	j.attach(j.fa(1), netip.Addr{})
	j.run(time.Minute)
	c := p.foreign
	c.CareOfAddresses = []netip.Addr{j.fa(1).careOf}
	m, err := standard.ForeignAgent(c, nil, rand.New(rand.NewPCG(9, 9)))
	if err != nil {
		t.Fatal(err)
	}
	j.fa(1).machine, j.fa(1).entries = m, enginetest.Plane{}
	j.boot(j.fa(1))
	j.run(5 * time.Second)
	j.visits(j.fa(1), encap.IPIP)
}

// Both associations on the way, extensions 33 and 34, and what happens when
// one of them is wrong.
//
//rfc:5944#3.5.3
//rfc:5944#3.5.4
//rfc:5944#3.2-1
func TestAllAuthenticated(t *testing.T) {
	key := func(spi uint32, secret string) *assoc.Association {
		a, err := assoc.New(spi, assoc.HMACSHA256, assoc.NewKey([]byte(secret)), assoc.Timestamps)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for name, c := range map[string]struct {
		node, home string
		good       bool
	}{
		"all right":             {"of node and agent", "of both agents", true},
		"the node's is wrong":   {"of somebody else", "of both agents", false},
		"the agents' are wrong": {"of node and agent", "of somebody else", false},
	} {
		p := newPlan(t)
		p.foreign.MobileNodes = []fa.MobileNode{{Node: ident.Node{HomeAddress: homeAddress}, Keys: []*assoc.Association{key(300, "of node and agent")}}}
		p.foreign.HomeAgents = []fa.HomeAgent{{Address: agent, Keys: []*assoc.Association{key(400, "of both agents")}}}
		p.home.ForeignAgents = []ha.ForeignAgent{{Address: netip.MustParseAddr("203.0.113.1"), Keys: []*assoc.Association{key(400, c.home)}}}
		p.node.ForeignAgents.Associations = []mn.ForeignAssociation{{Address: netip.MustParseAddr("192.0.10.1"), Association: key(300, c.node)}}
		j := newJourney(t, p)
		j.attach(j.fa(1), netip.Addr{})
		j.run(30 * time.Second)
		if c.good {
			j.visits(j.fa(1), encap.IPIP)
		} else if s := j.status(); s.State == "registered" || len(j.home.entries)+len(j.fa(1).entries) != 0 {
			t.Errorf("%s: %s\n%s", name, s.State, j.trace())
		}
	}
}

// A node with a NAI and no home address gets one through a foreign agent, and
// ends its registration there.
//
//rfc:2794#3
func TestHomeAddressByNAIThroughAForeignAgent(t *testing.T) {
	p := newPlan(t)
	p.home.Nodes[0].HomeAddress = netip.Addr{}
	p.node.HomeAddress = netip.Addr{}
	j := newJourney(t, p)
	j.attach(j.fa(1), netip.Addr{})
	j.run(time.Second)
	j.visits(j.fa(1), encap.IPIP)
	j.run(time.Hour)
	j.visits(j.fa(1), encap.IPIP)
	j.step(j.node, engine.Command{Ticket: 9, Value: mn.Deregister{}})
	j.run(time.Second)
	if s := j.status(); s.State != "deregistered" || len(j.home.entries)+len(j.fa(1).entries) != 0 {
		t.Errorf("%s, %d entries at the home agent and %d at the foreign agent", s.State, len(j.home.entries), len(j.fa(1).entries))
	}
}

// With the R bit a node that has an address registers it through the agent,
// when the home agent knows that agent; a home agent that does not refuses the
// address of a stranger, and the node goes on without the agent.
//
//rfc:5944#2.1.1
//rfc:5944#3.1
func TestOwnAddressThroughTheAgent(t *testing.T) {
	for _, known := range []bool{true, false} {
		p := newPlan(t)
		p.foreign.Advertise = []advertise.Link{{Name: "eth1", Foreign: true, Registration: true}}
		if known {
			p.home.ForeignAgents = []ha.ForeignAgent{{Address: netip.MustParseAddr("203.0.113.1"), Keys: []*assoc.Association{association(t, assoc.Timestamps)}}}
			p.foreign.HomeAgents = []fa.HomeAgent{{Address: agent, Keys: []*assoc.Association{association(t, assoc.Timestamps)}}}
		}
		j := newJourney(t, p)
		own := netip.MustParseAddr("192.0.10.77")
		j.attach(j.fa(1), own)
		j.run(5 * time.Second)
		s := j.status()
		if s.State != "registered" || s.CareOfAddress != own || s.ForeignAgent.IsValid() != known || s.Encapsulation != "ipip" {
			t.Errorf("the home agent knows the foreign agent %v: %s with %v through %v by %s\n%s", known, s.State, s.CareOfAddress, s.ForeignAgent, s.Encapsulation, j.trace())
		}
		if len(j.fa(1).entries) != 0 {
			t.Error("the foreign agent forwards for a co-located node")
		}
	}
}

// The encapsulating delivery style, where it is offered and where it is not.
//
//rfc:3024#5.2
func TestDeliveryStyles(t *testing.T) {
	for _, offered := range []bool{true, false} {
		p := newPlan(t)
		p.node.ForeignAgents.EncapsulatingDelivery = true
		p.foreign.DirectDeliveryOnly = !offered
		j := newJourney(t, p)
		j.attach(j.fa(1), netip.Addr{})
		j.run(3 * time.Second)
		j.visits(j.fa(1), encap.IPIP)
		here, _ := j.node.only()
		there, _ := j.fa(1).only()
		// One tunnel is for what the home agent wraps (RFC 5944 section 4.3).
		if offered != (len(here.Tunnels) == 2) || offered != (len(there.Tunnels) == 2) {
			t.Fatalf("offered %v: %+v and %+v", offered, here.Tunnels, there.Tunnels)
		}
		if offered && (here.Tunnels[0].Local != there.Tunnels[1].Peer || here.Tunnels[0].Peer != there.Tunnels[1].Local || here.Tunnels[0].Encap != there.Tunnels[1].Encap) {
			t.Errorf("the ends disagree: %+v and %+v", here.Tunnels[0], there.Tunnels[1])
		}
	}
}

// A foreign agent that is deaf is left for the registration that works, and
// costs nothing meanwhile.
func TestDeafForeignAgent(t *testing.T) {
	p := newPlan(t)
	p.foreign.Advertise = []advertise.Link{{Name: "eth1", Foreign: true, Registration: true}}
	j := newJourney(t, p)
	j.fa(1).deaf = true
	own := netip.MustParseAddr("192.0.10.77")
	j.attach(j.fa(1), own)
	j.run(10 * time.Second)
	for range 300 {
		j.run(time.Second)
		if s := j.status(); s.State != "registered" || s.CareOfAddress != own {
			t.Fatalf("%s with %v through %v", s.State, s.CareOfAddress, s.ForeignAgent)
		}
	}
}

// "194" of the text and 116 of the registry are the same answer to a request
// for a home agent that is the foreign agent itself.
//
//rfc:5944#3.7.2
func TestHomeAgentThatIsTheForeignAgent(t *testing.T) {
	p := newPlan(t)
	p.node.HomeAgents[0].Address = netip.MustParseAddr("203.0.113.1")
	j := newJourney(t, p)
	j.attach(j.fa(1), netip.Addr{})
	j.run(10 * time.Second)
	s := j.status()
	if s.State == "registered" || s.Problem == nil || mip4.Code(s.Problem.Code) != mip4.CodeFAInvalidHomeAgent || len(j.home.entries) != 0 {
		t.Errorf("%s, problem %+v", s.State, s.Problem)
	}
}

// Mixed delivery: where the foreign agent knows it, unicast goes plain and
// broadcasts and multicasts in the tunnel to it, all of it on through the
// reverse tunnel; where it does not, the encapsulating style of RFC 3024 is
// obeyed, and one that knows neither gets everything plain (seed 000, item 9).
//
//rfc:3024#5.2
//rfc:3115#2.2
//rfc:3024#5.2-1
func TestMixedDelivery(t *testing.T) {
	everything := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	for _, c := range []struct {
		name    string
		foreign func(*plan)
		plain   bool // the agent tunnels plain packets too
		tunnel  bool // there is one from the node to the agent
	}{
		{"known", func(*plan) {}, true, true},
		{"unknown", func(p *plan) { p.without = []string{styles.Name} }, false, true},
		{"no encapsulating delivery at all", func(p *plan) { p.foreign.DirectDeliveryOnly = true }, false, false},
	} {
		p := newPlan(t)
		p.node.ForeignAgents.EncapsulatingDelivery, p.node.ForeignAgents.PlainUnicast = true, true
		c.foreign(p)
		j := newJourney(t, p)
		j.attach(j.fa(1), netip.Addr{})
		j.run(10 * time.Second)
		here, _ := j.node.only()
		there, _ := j.fa(1).only()
		if there.Plain != c.plain || slices.Equal(here.Direct, everything) != c.plain {
			t.Errorf("%s: the agent tunnels plain packets: %v; the node sends plain %v", c.name, there.Plain, here.Direct)
		}
		if c.tunnel != (len(there.Tunnels) == 2) || c.tunnel != (len(here.Tunnels) == 2) {
			t.Errorf("%s: %+v and %+v", c.name, here.Tunnels, there.Tunnels)
		}
	}
}
