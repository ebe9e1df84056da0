package standard_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/feature/validate"
	"careof/internal/proto/mip4/feature/vendor"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/internal/proto/mip4/standard"
	"careof/wire/mip4"
)

var validating = standard.Config{Validation: validate.Config{Mode: validate.On}}

// tunnel is the home agent's one that is not draining.
func (p *pair) tunnel() (t forward.Tunnel, draining []forward.Tunnel) {
	p.t.Helper()
	e := p.agent.entries["ha/"+forward.Key(homeAddress.String())]
	for _, o := range e.Tunnels {
		if o.Mode == forward.Receive {
			draining = append(draining, o)
		} else {
			t = o
		}
	}
	return t, draining
}

func (p *pair) binding() ha.Binding {
	p.t.Helper()
	p.step(p.agent, engine.Command{Ticket: 1, Value: ha.ListBindings{}})
	list := p.agent.results[len(p.agent.results)-1].Value.([]ha.Binding)
	if len(list) != 1 {
		p.t.Fatalf("%d bindings", len(list))
	}
	return list[0]
}

// The first packets of a registration go up after one round trip as ever; down
// go none that are not paid for by these, until the node has answered, which it
// does without another registration.
func TestANewAddressIsSentLittleUntilItAnswers(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), validating)
	p.up("wlan0", wifi)
	p.run(30 * time.Millisecond)
	if b, _ := p.tunnel(); b.Budget != 1 || !p.binding().Unvalidated {
		t.Errorf("at first: %+v", b)
	}
	p.run(25 * time.Millisecond)
	if s := p.status(); s.State != "registered" {
		t.Errorf("after a round trip the node is %s", s.State)
	}
	p.run(50 * time.Millisecond)
	if b, _ := p.tunnel(); b.Budget != 0 {
		t.Errorf("it has answered, and is still limited: %+v", b)
	}
	if b := p.binding(); b.Unvalidated || b.Validated.IsZero() {
		t.Errorf("shown as %+v", b)
	}
	if n := p.agent.count(note.Bound) + p.agent.count(note.Refreshed) + p.agent.count(note.Moved); n != 1 || p.sent != 2 {
		t.Errorf("%d registrations, %d messages", n, p.sent)
	}
	p.agree()
	p.run(time.Hour)
	if b := p.binding(); b.Unvalidated || b.Validated.IsZero() || p.agent.count(validate.Challenged) != 1 {
		t.Errorf("later %+v, challenged %d times", b, p.agent.count(validate.Challenged))
	}
}

// The answer to the challenge may be lost, and so may the reply to it.
func TestAnswersAreRepeated(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), validating)
	p.up("wlan0", wifi)
	p.run(45 * time.Millisecond)
	p.down["wlan0"] = true
	p.run(250 * time.Millisecond)
	if b, _ := p.tunnel(); b.Budget == 0 {
		t.Fatal("validated by nothing")
	}
	p.down["wlan0"] = false
	p.run(500 * time.Millisecond)
	if b, _ := p.tunnel(); b.Budget != 0 {
		t.Errorf("still limited: %+v", b)
	}
}

// What goes to a new address that has not answered goes on to the old one,
// which is known to be good.
func TestTheOldAddressTakesWhatTheNewOneMayNot(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), validating)
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.up("wlan0", netip.MustParseAddr("192.0.2.8"))
	p.run(30 * time.Millisecond)
	b, old := p.tunnel()
	if b.Budget == 0 || b.Peer.Addr() == wifi || len(old) != 1 || !old[0].Spare || old[0].Peer.Addr() != wifi {
		t.Errorf("%+v, draining %+v", b, old)
	}
	p.run(100 * time.Millisecond)
	if b, old = p.tunnel(); b.Budget != 0 || slices.ContainsFunc(old, func(t forward.Tunnel) bool { return t.Spare }) {
		t.Errorf("when it has answered: %+v, draining %+v", b, old)
	}
}

// A standby path has been validated by the time that it is needed, and so has
// the one that the node comes back to.
func TestAHandoverToAStandbyPathWaitsForNoChallenge(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), validating)
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.up("lte0", lte)
	p.run(10 * time.Second)
	for range 2 {
		p.lose("wlan0")
		p.run(30 * time.Millisecond)
		if b, _ := p.tunnel(); b.Budget != 0 || b.Peer.Addr() != lte {
			t.Fatalf("%+v", b)
		}
		p.run(time.Second)
		p.up("wlan0", wifi)
		p.run(10 * time.Second)
		if p.status().Link != "wlan0" {
			t.Fatalf("over %s", p.status().Link)
		}
	}
	if n := p.agent.count(validate.Challenged); n != 1 {
		t.Errorf("challenged %d times", n)
	}
}

// Somebody on the way gives a request another source (RFC 3519 section 6): who
// is there gets a reply and little else, packets go on to where the node is, and
// the node is served as before within a second after he has stopped.
//
//rfc:3519#6.1.1
func TestARewrittenSourceGetsAReplyAndLittleElse(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), validating)
	p.up("wlan0", wifi)
	p.run(time.Second)
	victim := netip.MustParseAddrPort("203.0.113.66:40000")
	p.down["wlan0"] = true // he keeps what the node sends ...
	p.step(p.node, engine.Command{Ticket: 1, Value: mn.Reregister{}})
	p.run(time.Millisecond)
	request := slices.Clone(p.last.Data)
	p.lossy = func() bool { return true } // ... and the reply goes elsewhere
	p.step(p.agent, engine.Packet{Link: "eth0", Src: victim, Dst: p.last.Dst, Data: request})
	p.run(time.Millisecond)
	b, old := p.tunnel()
	if b.Peer != victim || b.Budget != 1 || len(old) != 1 || !old[0].Spare || old[0].Peer.Addr() != wifi {
		t.Errorf("%+v, draining %+v", b, old)
	}
	p.down["wlan0"], p.lossy = false, func() bool { return false }
	p.run(1100 * time.Millisecond) // a second is between two requests at least (RFC 5944 section 3.6.3)
	if b, _ := p.tunnel(); b.Peer.Addr() != wifi || b.Budget != 0 {
		t.Errorf("a second later: %+v", b)
	}
}

// Behind a NAT the node learns how it is seen, and says so when that changes
// though its own address has not.
func TestTheNodeLearnsItsOuterAddress(t *testing.T) {
	c := validating
	p := newPair(t, agentConfig(t), nodeConfig(t), c)
	p.nat[behindNAT] = 4711
	p.up("wlan0", behindNAT)
	p.run(time.Second)
	outer := func() netip.AddrPort { return p.status().Registered[0].Outer }
	if got := outer(); got != netip.AddrPortFrom(natAddress, 4711) {
		t.Errorf("seen at %v", got)
	}
	if b, _ := p.tunnel(); b.Budget != 0 || b.Peer.Port() != 4711 {
		t.Errorf("%+v", b)
	}
	p.nat[behindNAT] = 4712
	p.step(p.node, engine.Command{Ticket: 1, Value: mn.Reregister{}})
	p.run(time.Second)
	if got := outer(); got.Port() != 4712 || p.node.count(validate.OuterChanged) != 1 {
		t.Errorf("seen at %v, told %d times", got, p.node.count(validate.OuterChanged))
	}
}

// After silence the node leaves from another port, and so its outer address is
// another one: that is nobody's doing but its own.
func TestAPortOfItsOwnChoiceIsNoRewrittenAddress(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), validating)
	p.nat[behindNAT] = 4711
	p.up("wlan0", behindNAT)
	p.run(time.Second)
	p.lossy = func() bool { return true } // the home agent is away
	p.step(p.node, engine.Command{Ticket: 1, Value: mn.Reregister{}})
	p.run(5 * time.Second)
	p.lossy = func() bool { return false }
	p.run(20 * time.Second)
	if got := p.status().Registered[0].Outer; got.Addr() != natAddress || got.Port() == 4711 {
		t.Fatalf("seen at %v", got)
	}
	if n := p.node.count(validate.OuterChanged); n != 0 {
		t.Errorf("told %d times", n)
	}
}

// Others are served as ever, at both ends; a home agent that requires it
// refuses them.
func TestPeersThatKnowNothingOfChallenges(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{})
	p.up("wlan0", wifi)
	p.run(time.Second)
	if b := p.binding(); b.Unvalidated || !b.Validated.IsZero() || p.sent != 1 {
		t.Errorf("%+v, %d messages", b, p.sent)
	}

	p = newPair(t, agentConfig(t), nodeConfig(t), standard.Config{Validation: validate.Config{Mode: validate.Off}})
	p.bootNode(nodeConfig(t), validating)
	p.up("wlan0", wifi)
	p.run(time.Second)
	if b := p.binding(); b.Unvalidated || p.sent != 1 {
		t.Errorf("%+v, %d messages", b, p.sent)
	}

	p = newPair(t, agentConfig(t), nodeConfig(t), standard.Config{Validation: validate.Config{Mode: validate.Required}})
	p.up("wlan0", wifi)
	p.run(time.Second)
	if s := p.status(); s.Problem == nil || s.Problem.Code != uint8(mip4.CodeHAProhibited) {
		t.Errorf("%+v", s)
	}
}

// A restart does not know how much of a budget was left: nothing is. The node's
// next answer, to a challenge of the new process, ends that.
func TestARestartGivesNoNewBudget(t *testing.T) {
	p := newPair(t, agentConfig(t), nodeConfig(t), validating)
	p.up("wlan0", wifi)
	p.run(30 * time.Millisecond)
	p.bootAgent(agentConfig(t), validating)
	if b := p.binding(); !b.Unvalidated {
		t.Error("restored as validated")
	}
	for e := range p.agent.machine.Entries() {
		if b := e.Tunnels[0].Budget; b != 1 {
			t.Errorf("a budget of %d", b)
		}
	}
	p.run(time.Second)
	if b := p.binding(); b.Unvalidated {
		t.Error("still not validated")
	}
	before := p.binding().Validated
	p.bootAgent(agentConfig(t), validating)
	if b := p.binding(); b.Unvalidated || b.Validated.Sub(before).Abs() > time.Second {
		t.Errorf("restored as validated at %v, it was %v", b.Validated, before)
	}
}

// With nonces, of which each is good for one request, the answer comes with
// another registration.
func TestChallengesWithNonces(t *testing.T) {
	ac, nc := agentConfig(t), nodeConfig(t)
	ac.Nodes[0].Keys[0], nc.Association = association(t, assoc.Nonces), association(t, assoc.Nonces)
	p := newPair(t, ac, nc, validating)
	p.up("wlan0", wifi)
	p.run(5 * time.Second)
	if b := p.binding(); b.Unvalidated || b.Validated.IsZero() {
		t.Errorf("%+v", b)
	}
}

// So does the answer of a path that stands by, or takes copies, which no question
// goes over.
func TestChallengesOfASecondPathWithNonces(t *testing.T) {
	ac, nc := agentConfig(t), nodeConfig(t)
	ac.Nodes[0].Keys[0], nc.Association = association(t, assoc.Nonces), association(t, assoc.Nonces)
	c := redundancy(t)
	c.Validation = validating.Validation
	p := newPair(t, ac, nc, c)
	p.up("wlan0", wifi)
	p.run(time.Second)
	p.up("lte0", lte)
	p.run(5 * time.Second)
	p.both(wifi)
	for _, tunnel := range p.agent.entries["ha/"+forward.Key(homeAddress.String())].Tunnels {
		if tunnel.Budget != 0 {
			t.Errorf("few packets may go to %v: %+v", tunnel.Peer, tunnel)
		}
	}
	if n := p.told(note.Registered); n > 6 {
		t.Errorf("registered %d times", n)
	}
}

// Through a foreign agent that the home agent does not know the answer comes
// with another registration, which the agent relays as any; one that shares a
// key with the home agent is not challenged.
func TestChallengesThroughAForeignAgent(t *testing.T) {
	for _, known := range []bool{false, true} {
		p := newPlan(t)
		p.atHome, p.atNode = standard.Config{Validation: validate.Config{Mode: validate.Required}}, validating
		if known {
			p.home.ForeignAgents = []ha.ForeignAgent{{Address: netip.MustParseAddr("203.0.113.1")}, {Address: netip.MustParseAddr("203.0.113.2")}}
		}
		j := newJourney(t, p)
		j.attach(j.fa(1), netip.Addr{})
		j.run(10 * time.Second)
		if s := j.status(); s.State != "registered" {
			t.Fatalf("%+v\n%s", s, j.trace())
		}
		e, _ := j.home.only()
		challenged := count(j.home, validate.Challenged)
		if e.Tunnels[0].Budget != 0 || (challenged > 0) == known || count(j.home, note.Refreshed)+count(j.home, note.Moved) > 1 {
			t.Errorf("known %v: challenged %d times, %+v\n%s", known, challenged, e.Tunnels, j.trace())
		}
	}
}

// A node with a valid key names ten care-of addresses at a time (S bit), so
// that each packet for it would go to all: three bindings are the most, and none
// of the addresses is sent data. With path validation required there is no way
// around that; without the S bit there is one binding.
func TestManyCareOfAddressesBringNoAmplification(t *testing.T) {
	for _, simultaneous := range []bool{true, false} {
		p := newPair(t, agentConfig(t), nodeConfig(t), standard.Config{Validation: validate.Config{Mode: validate.Required}})
		sa := association(t, assoc.Timestamps)
		for i := range 10 {
			p.run(10 * time.Millisecond)
			careOf := netip.AddrFrom4([4]byte{203, 0, 113, byte(i + 1)})
			flags := mip4.FlagD | mip4.FlagT
			if simultaneous {
				flags |= mip4.FlagS
			}
			d := mip4.NewRequest(mip4.RegistrationRequest{
				Flags: flags, Lifetime: 600, HomeAddress: homeAddress, HomeAgent: agent, CareOfAddress: careOf,
				Identification: assoc.Timestamp(p.now.Wall),
			})
			d.Add(mip4.ZoneHome, &mip4.NAI{Value: "van7@fleet.example"})
			d.Add(mip4.ZoneHome, &mip4.NVSE{Vendor: vendor.Careof, VendorType: validate.Ask})
			d.Authenticate(mip4.ExtMobileHome, sa)
			data, err := d.Seal()
			if err != nil {
				t.Fatal(err)
			}
			p.step(p.agent, engine.Packet{Link: "eth0", Src: netip.AddrPortFrom(careOf, 4000), Dst: netip.AddrPortFrom(agent, 434), Data: data})
		}
		p.run(time.Second)
		live := 0
		for _, e := range p.agent.entries {
			for _, o := range e.Tunnels {
				if o.Mode == forward.Receive {
					continue
				}
				if live++; o.Budget != 1 {
					t.Errorf("%v may be sent data", o.Peer)
				}
			}
		}
		want := 1
		if simultaneous {
			want = 3
		}
		if live != want {
			t.Errorf("%d bindings, not %d\n%s", live, want, p.trace())
		}
	}
}
