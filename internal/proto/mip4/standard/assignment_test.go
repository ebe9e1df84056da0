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
	"careof/internal/proto/mip4/feature/assignment"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/wire/mip4"
)

// The first request names nobody, and the extension says to whom it goes; who
// accepts is named in the renewals.
//
//rfc:4433#3.3
//rfc:4433#1-1
//rfc:4433#3.3-1
//rfc:4433#4.1
//rfc:4433#5.1-2
//rfc:4433#5.1-3
//rfc:4433#5.1.2
//rfc:4433#5.1.2-1
//rfc:4433#5.1.2-2
//rfc:4433#5.1.2-3
//rfc:4433#5.1.2-6
//rfc:4433#5.1.2-7
//rfc:4433#5.1.2-8
//rfc:4433#5.3.1
func TestAHomeAgentAssignsItself(t *testing.T) {
	for _, ask := range []netip.Addr{nobody, netip.MustParseAddr("255.255.255.255")} {
		c := newCircle(t, 1, nil, func(_ *mn.Config, f *assignment.Config) { f.Ask = ask })
		c.attach()
		c.run(20 * time.Minute)
		c.serves(0)
		if len(c.sent) < 3 {
			t.Fatalf("%d requests", len(c.sent))
		}
		for i, r := range c.sent {
			want := agentAt(0)
			if i == 0 {
				want = ask
			}
			if r.HomeAgent != want || c.to[i] != agentAt(0) || requestedIn(t, c.raw[i]) != agentAt(0) {
				t.Errorf("request %d names %v and asks %v, at %v", i, r.HomeAgent, requestedIn(t, c.raw[i]), c.to[i])
			}
		}
	}
}

// oneNode gives every home agent room for one node, and knows two.
func oneNode(_ int, cfg *ha.Config, f *assignment.Config) {
	f.Capacity = 1
	n := cfg.Nodes[0]
	n.HomeAddress, n.NAI = netip.MustParseAddr("10.10.0.6"), "other@fleet.example"
	cfg.Nodes = append(cfg.Nodes, n)
}

// Three home agents of which two are full: the node lands on the third, which
// is nobody's but the pool's to know.
//
//rfc:4433#4.2
//rfc:4433#5.3
//rfc:4433#3.4.2
//rfc:4433#3.4.2-1
//rfc:4433#5.1.2-5
func TestANodeIsSentToWhoHasRoom(t *testing.T) {
	c := newCircle(t, 3, oneNode, nil)
	c.fill(0)
	c.fill(1)
	c.run(3 * time.Second)
	began := len(c.sent)
	c.attach()
	c.run(time.Second)
	if s := c.status(); s.State != "registered" || s.HomeAgent != agentAt(2) {
		t.Fatalf("the node is %s with %v\n%s", s.State, s.HomeAgent, c.trace())
	}
	if got := c.to[began:]; !slices.Equal(got, []netip.Addr{agentAt(0), agentAt(2)}) {
		t.Errorf("it asked %v", got)
	}
	if r := c.sent[began+1]; r.HomeAgent != nobody || requestedIn(t, c.raw[began+1]) != agentAt(2) {
		t.Errorf("the redirected request names %v and asks %v", r.HomeAgent, requestedIn(t, c.raw[began+1]))
	}
	// It keeps to it, also when the first of its list has room again.
	c.run(30 * time.Minute)
	if s := c.status(); s.HomeAgent != agentAt(2) {
		t.Errorf("later it is with %v", s.HomeAgent)
	}
}

// Nobody has room: 130, and no redirection. Nor is a home agent drained whose
// nodes nobody could take.
//
//rfc:4433#5.3.1
func TestAFullPoolRefuses(t *testing.T) {
	c := newCircle(t, 2, oneNode, nil)
	c.fill(0)
	c.run(2 * time.Second)
	if r := c.order(1, assignment.Drain{}); r.Err == nil {
		t.Error("drained although nobody takes the nodes")
	}
	c.dead[c.agents[1]] = true
	c.run(5 * time.Second)
	c.attach()
	c.run(time.Second)
	if s := c.status(); s.Problem == nil || s.Problem.Code != uint8(mip4.CodeHAResources) || slices.Contains(c.to, agentAt(1)) {
		t.Errorf("%+v %v\n%s", s.Problem, c.to, c.trace())
	}
}

// A drained home agent: its node registers with another one before it leaves,
// at once, and comes to no harm; the other one's binding is the only one. The
// node stays there when the drained one takes nodes again.
func TestADrainedHomeAgentIsLeft(t *testing.T) {
	c := newCircle(t, 2, nil, nil)
	c.attach()
	c.run(5 * time.Second)
	c.serves(0)
	gap := false
	c.tap = func(from, to *post, data []byte) []byte {
		e, ok := c.node.only()
		gap = gap || !ok || !slices.ContainsFunc(e.Tunnels, func(t forward.Tunnel) bool { return t.Mode != forward.Receive })
		return data
	}
	if r := c.order(0, assignment.Drain{}); r.Err != nil {
		t.Fatal(r.Err)
	}
	c.run(time.Second)
	c.serves(1)
	if gap {
		t.Error("for a while the node had nowhere to send to")
	}
	// A restart does not take the drain back.
	c.kill(0)
	c.run(time.Minute)
	c.boot(0)
	c.run(5 * time.Second)
	if p := c.order(0, assignment.ShowPool{}).Value.(assignment.Pool); !p.Drained || p.Nodes != 0 || len(p.Members) != 1 || !p.Members[0].Alive || p.Members[0].Nodes != 1 {
		t.Errorf("%+v", p)
	}
	if r := c.order(0, assignment.Undrain{}); r.Err != nil || r.Value.(assignment.Pool).Drained {
		t.Errorf("%+v", r)
	}
	c.run(20 * time.Minute)
	c.serves(1)
}

// When all others have died a drained home agent serves: better that than none.
func TestADrainedHomeAgentIsTheLastOne(t *testing.T) {
	c := newCircle(t, 2, nil, nil)
	c.attach()
	c.run(5 * time.Second)
	if r := c.order(0, assignment.Drain{}); r.Err != nil {
		t.Fatal(r.Err)
	}
	c.run(5 * time.Second)
	c.serves(1)
	c.dead[c.agents[1]] = true
	c.run(30 * time.Minute)
	c.serves(0)
}

// The session outlives a restart of the node, also with a home agent that its
// configuration does not have: it is named, and no other one is asked.
//
//rfc:4433#5.1.2-2
//rfc:4433#5.1.2-3
func TestAnAssignmentOutlivesARestart(t *testing.T) {
	c := newCircle(t, 2, nil, nil)
	c.attach()
	c.run(5 * time.Second)
	if r := c.order(0, assignment.Drain{}); r.Err != nil {
		t.Fatal(r.Err)
	}
	c.run(5 * time.Second)
	c.order(0, assignment.Undrain{})
	c.bootNode()
	began := len(c.sent)
	c.attach()
	c.run(20 * time.Minute)
	c.serves(1)
	for i, r := range c.sent[began:] {
		if r.HomeAgent != agentAt(1) || c.to[began+i] != agentAt(1) {
			t.Errorf("request %d names %v, at %v", i, r.HomeAgent, c.to[began+i])
		}
	}
}

// A home agent dies: the node comes back through another one of its list. When
// the dead one rises, with the binding that it had stored, it hears that the
// node has moved on and lets go of it.
func TestAHomeAgentThatRoseLetsGoOfWhoHasMovedOn(t *testing.T) {
	c := newCircle(t, 2, nil, func(cfg *mn.Config, _ *assignment.Config) {
		cfg.HomeAgents = append(cfg.HomeAgents, mn.HomeAgent{Address: agentAt(1)})
		cfg.Lifetime = 5 * time.Minute
	})
	c.attach()
	c.run(5 * time.Second)
	c.serves(0)
	c.kill(0)
	c.run(240 * time.Second) // 75 % of the lifetime, and three requests
	c.serves(1)
	c.boot(0)
	if p := c.order(0, assignment.ShowPool{}).Value.(assignment.Pool); p.Nodes != 1 {
		t.Fatalf("the dead one rises with %d nodes", p.Nodes)
	}
	c.run(3 * time.Second)
	c.serves(1)
	if p := c.order(0, assignment.ShowPool{}).Value.(assignment.Pool); p.Nodes != 0 {
		t.Errorf("ha1 still has %d nodes\n%s", p.Nodes, c.trace())
	}
}

// The dead one has told its home link that it has the node before anybody told it
// better, and never gets to say so to the other home agent: that one claims the
// node again all the same, or neighbours would send to the wrong one until they
// ask of themselves.
//
//rfc:5944#4.6
func TestAHomeAgentClaimsAgainWhatTheOneThatRoseHadClaimed(t *testing.T) {
	c := newCircle(t, 2, func(_ int, cfg *ha.Config, _ *assignment.Config) { cfg.Links = []string{"eth0"} }, func(cfg *mn.Config, _ *assignment.Config) {
		cfg.HomeAgents = append(cfg.HomeAgents, mn.HomeAgent{Address: agentAt(1)})
		cfg.Lifetime = 5 * time.Minute
	})
	c.attach()
	c.run(5 * time.Second)
	c.kill(0)
	c.run(240 * time.Second)
	c.serves(1)
	c.run(time.Second)
	c.claims = nil
	rising, lost := true, 0
	c.tap = func(from, to *post, data []byte) []byte {
		if from == c.agents[0] && to == c.agents[1] && (rising || lost < 1) {
			if !rising {
				lost++ // one of its reports that it has let go
			}
			return nil
		}
		return data
	}
	c.boot(0)
	for until := c.now.Mono.Add(5 * time.Second); rising && c.now.Mono.Before(until); {
		c.run(10 * time.Millisecond)
		rising = c.order(0, assignment.ShowPool{}).Value.(assignment.Pool).Nodes > 0
	}
	if rising || len(c.claims) > 0 {
		t.Fatalf("the one that rose still has the node: %v; %d claims", rising, len(c.claims))
	}
	c.run(4 * time.Second)
	if len(c.claims) == 0 {
		t.Errorf("the home agent that serves the node has not claimed it again\n%s", c.trace())
	}
}

// Two home agents that send the node to each other: it notices, and tries again
// only slowly.
//
//rfc:4433#4.2
func TestHomeAgentsThatBounceANode(t *testing.T) {
	c := newCircle(t, 2, nil, nil)
	c.tap = func(from, to *post, data []byte) []byte {
		if from != c.node || to == nil || to == c.node {
			if to == c.node {
				return nil
			}
			return data
		}
		m, _ := mip4.Parse(data)
		q, err := m.Request()
		if err != nil {
			return data
		}
		other := agentAt(0)
		if to == c.agents[0] {
			other = agentAt(1)
		}
		d := mip4.NewReply(mip4.RegistrationReply{Code: mip4.CodeRedirectHA, HomeAddress: q.HomeAddress, HomeAgent: to.address, Identification: q.Identification})
		d.Add(mip4.ZoneHome, &mip4.DynamicHA{Kind: mip4.RedirectedHA, Address: other})
		d.Authenticate(mip4.ExtMobileHome, association(t, assoc.Timestamps))
		reply, _ := d.Seal()
		c.later(10*time.Millisecond, c.node, engine.Packet{Link: "wlan0", Src: netip.AddrPortFrom(to.address, 434), Dst: netip.AddrPortFrom(wifi, 40434), TTL: 60, Data: reply})
		return nil
	}
	c.attach()
	c.run(10 * time.Minute)
	if n := len(c.sent); n > 60 || n < 4 {
		t.Errorf("%d requests in ten minutes", n)
	}
	if !slices.ContainsFunc(c.node.notes, func(n note.Note) bool { return n.Kind == assignment.Looping }) {
		t.Errorf("nobody is told\n%s", c.trace())
	}
}

// A forged redirection, or one that another home agent has signed, leads
// nowhere.
//
//rfc:4433#5.1.1
//rfc:4433#5.1.1-3
//rfc:4433#5.1.2-4
func TestAForgedRedirectionIsIgnored(t *testing.T) {
	for what, forge := range map[string]func(d *mip4.Draft, r *mip4.RegistrationReply){
		"no authenticator": func(d *mip4.Draft, r *mip4.RegistrationReply) {},
		"another home agent's": func(d *mip4.Draft, r *mip4.RegistrationReply) {
			r.HomeAgent = agentAt(1)
			d.Authenticate(mip4.ExtMobileHome, association(t, assoc.Timestamps))
		},
	} {
		c := newCircle(t, 2, nil, nil)
		c.tap = func(from, to *post, data []byte) []byte {
			if from != c.node || to != c.agents[0] {
				return data
			}
			m, _ := mip4.Parse(data)
			if q, err := m.Request(); err == nil {
				r := mip4.RegistrationReply{Code: mip4.CodeRedirectHA, HomeAddress: q.HomeAddress, HomeAgent: agentAt(0), Identification: q.Identification}
				d := mip4.NewReply(r)
				d.Add(mip4.ZoneHome, &mip4.DynamicHA{Kind: mip4.RedirectedHA, Address: agentAt(1)})
				forge(d, &r)
				if r.HomeAgent != agentAt(0) {
					d = mip4.NewReply(r)
					d.Add(mip4.ZoneHome, &mip4.DynamicHA{Kind: mip4.RedirectedHA, Address: agentAt(1)})
					d.Authenticate(mip4.ExtMobileHome, association(t, assoc.Timestamps))
				}
				reply, _ := d.Seal()
				c.later(5*time.Millisecond, c.node, engine.Packet{Link: "wlan0", Src: netip.AddrPortFrom(agentAt(0), 434), Dst: netip.AddrPortFrom(wifi, 40434), TTL: 60, Data: reply})
			}
			return data
		}
		c.attach()
		c.run(10 * time.Second)
		if slices.Contains(c.to, agentAt(1)) {
			t.Errorf("%s: the node went to %v", what, c.to)
		}
	}
}

// A captured request is good for nobody else of the pool, though the key is: the
// extension names whom it was for.
//
//rfc:4433#5.3
//rfc:4433#5.3-1
//rfc:4433#9
func TestACapturedRequestIsGoodForOneHomeAgent(t *testing.T) {
	c := newCircle(t, 2, nil, nil)
	c.attach()
	c.run(time.Second)
	c.serves(0)
	before := len(c.agents[1].notes)
	c.step(c.agents[1], engine.Packet{Link: "eth0", Src: netip.AddrPortFrom(wifi, 40434), Dst: netip.AddrPortFrom(agentAt(1), 434), TTL: 64, Data: slices.Clone(c.raw[0])})
	c.run(time.Second)
	c.serves(0)
	if n := c.agents[1].notes[before:]; len(n) == 0 || n[0].Code != uint8(mip4.CodeUnknownHomeAgent) {
		t.Errorf("it was not denied with 136: %v", n)
	}
}

// A home agent of before 2006 says 136, or stumbles over the extension and says
// nothing: the node registers as ever.
//
//rfc:4433#10
func TestAnOldHomeAgent(t *testing.T) {
	for what, deaf := range map[string]bool{"denies with 136": false, "drops what it cannot read": true} {
		c := newCircle(t, 1, func(_ int, _ *ha.Config, f *assignment.Config) { f.Serve = false }, nil)
		c.tap = func(from, to *post, data []byte) []byte {
			if m, err := mip4.Parse(data); err == nil && deaf && to == c.agents[0] {
				if _, n := m.Find(mip4.ExtDynamicHA); n > 0 {
					return nil
				}
			}
			return data
		}
		c.attach()
		c.run(15 * time.Second)
		if s := c.status(); s.State != "registered" {
			t.Errorf("%s: the node is %s\n%s", what, s.State, c.trace())
		}
		if n := len(c.sent); n > 3 {
			t.Errorf("%s: %d requests", what, n)
		}
	}
}

// Reports that are not authentic, for another one, or captured a while ago,
// change nothing: neither who lives nor who is bound.
func TestForgedReports(t *testing.T) {
	c := newCircle(t, 2, nil, nil)
	var captured [][]byte
	c.tap = func(from, to *post, data []byte) []byte {
		if data[0] == byte(mip4.TypeExperimentalMessage) && to == c.agents[0] {
			captured = append(captured, slices.Clone(data))
			return nil
		}
		return data
	}
	c.run(2 * time.Second)
	at := func(data []byte) {
		c.step(c.agents[0], engine.Packet{Link: "eth0", Src: netip.AddrPortFrom(agentAt(1), 434), Dst: netip.AddrPortFrom(agentAt(0), 434), TTL: 64, Data: data})
	}
	alive := func() bool {
		return c.order(0, assignment.ShowPool{}).Value.(assignment.Pool).Members[0].Alive
	}
	for i := range captured[0] {
		bad := slices.Clone(captured[0])
		bad[i] ^= 1
		at(bad)
		at(bad[:i])
	}
	c.run(time.Minute)
	at(captured[0])
	if alive() {
		t.Error("a forged or old report counts")
	}
	c.tap = nil
	c.run(2 * time.Second)
	if !alive() {
		t.Error("a true report does not count")
	}
}
