package standard_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"careof/internal/core/aaa"
	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/engine/enginetest"
	"careof/internal/core/forward"
	"careof/internal/core/ident"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/advertise"
	"careof/internal/proto/mip4/fa"
	"careof/internal/proto/mip4/feature"
	styles "careof/internal/proto/mip4/feature/delivery"
	"careof/internal/proto/mip4/ha"
	"careof/internal/proto/mip4/mn"
	"careof/internal/proto/mip4/standard"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// A journey is a mobile node among two foreign agents and its home agent, all
// of them real machines, in virtual time. The node's one interface is attached
// to one agent's link at a time; a message takes 1 ms on that link and 25 ms
// to the home agent.
type journey struct {
	t    testing.TB
	plan *plan
	timeline[delivery]
	hosts []*post
	home  *post
	node  *post
	at    *post // whose link the node is attached to; nil for none
	count uint64
	log   []string
	// tap sees every datagram when it is sent, and may change it; nil loses it.
	tap  func(from *post, data []byte) []byte
	lost netip.Addr // a home agent that is not there
	// aaa answers questions to AAA, after a moment; nil: nobody does.
	aaa   func(question any) (aaa.Grant, error)
	slow  time.Duration // how long that takes
	asked []any         // the questions
	// commits sees what is made durable; nil: nobody does.
	commits func(h *post, records []engine.Record)
}

// A post is one machine and where it is.
type post struct {
	name    string
	address netip.Addr // of its visited link, or of the home agent
	careOf  netip.Addr
	hw      engine.HardwareAddr
	machine engine.Machine
	entries enginetest.Plane
	notes   []note.Note
	results []engine.Result
	deaf    bool // hears nothing from the node
}

type delivery struct {
	to *post
	on *post // the link it travels on, when that matters
	ev engine.Event
}

const (
	near = time.Millisecond
	far  = 25 * time.Millisecond
)

// A plan is the configuration of a journey.
type plan struct {
	home    ha.Config
	foreign fa.Config
	node    mn.Config

	atHome, atForeign, atNode standard.Config // the features of each

	without []string // names of features that the foreign agents do not have
}

func newPlan(t testing.TB) *plan {
	p := &plan{home: agentConfig(t), node: nodeConfig(t)}
	p.foreign = fa.Config{Links: []string{"eth1"}, Interval: 3 * time.Second}
	p.node.ForeignAgents.Any = true
	return p
}

func newJourney(t testing.TB, p *plan) *journey {
	t.Helper()
	j := &journey{t: t, plan: p, timeline: newTimeline[delivery]()}
	add := func(name string, address, careOf string, m engine.Machine, err error) *post {
		if err != nil {
			t.Fatal(err)
		}
		h := &post{name: name, machine: m, entries: enginetest.Plane{}, hw: engine.HardwareAddr{2, 0, 0, 0, 0, byte(len(j.hosts) + 1)}}
		h.address, _ = netip.ParseAddr(address)
		h.careOf, _ = netip.ParseAddr(careOf)
		j.hosts = append(j.hosts, h)
		return h
	}
	a, err := standard.HomeAgent(p.home, standard.Features(p.atHome), rand.New(rand.NewPCG(1, 1)))
	j.home = add("ha", agent.String(), "", a, err)
	for i := range 2 {
		address, careOf := fmt.Sprintf("192.0.%d.1", 10+i), fmt.Sprintf("203.0.113.%d", 1+i)
		add(fmt.Sprintf("fa%d", i+1), address, careOf, j.foreign(i), nil)
	}
	n, err := standard.MobileNode(p.node, standard.Features(p.atNode), rand.New(rand.NewPCG(3, 3)))
	j.node = add("mn", "", "", n, err)
	for _, h := range j.hosts[:3] {
		j.boot(h)
	}
	return j
}

// foreign makes the machine of a foreign agent.
func (j *journey) foreign(i int) engine.Persistent {
	j.t.Helper()
	c := j.plan.foreign
	c.CareOfAddresses = []netip.Addr{netip.MustParseAddr(fmt.Sprintf("203.0.113.%d", 1+i))}
	features := slices.DeleteFunc(standard.Features(j.plan.atForeign), func(f feature.Feature) bool { return slices.Contains(j.plan.without, f.Name) })
	f, err := standard.ForeignAgent(c, features, rand.New(rand.NewPCG(2, uint64(i))))
	if err != nil {
		j.t.Fatal(err)
	}
	return f
}

// boot tells an agent of its interface.
func (j *journey) boot(h *post) {
	name := "eth1"
	if h == j.home {
		name = "eth0"
	}
	j.step(h, engine.LinkChanged{Link: engine.Link{
		Name: name, Up: true, MTU: 1500, HW: h.hw, Addresses: []netip.Prefix{netip.PrefixFrom(h.address, 24)},
	}})
}

func (j *journey) fa(n int) *post { return j.hosts[n] }

// reboot starts a foreign agent anew, with what it has stored.
func (j *journey) reboot(n int, stored map[string][]byte) {
	j.t.Helper()
	h := j.fa(n)
	m := j.foreign(n - 1)
	for _, k := range slices.Sorted(maps.Keys(stored)) {
		if err := m.Restore(j.now, engine.Record{Key: []byte(k), Value: stored[k]}); err != nil {
			j.t.Fatal(err)
		}
	}
	j.recall(func(d delivery) bool { return d.to == h })
	h.machine, h.entries = m, enginetest.Plane{}
	j.boot(h)
}

// attach plugs the node in at an agent, with an address when own is valid.
func (j *journey) attach(h *post, own netip.Addr) {
	j.at = h
	j.count++
	l := engine.Link{Name: "wlan0", Up: h != nil, MTU: 1500, HW: j.node.hw, Attachment: j.count}
	if own.IsValid() {
		l.Addresses, l.Gateways = []netip.Prefix{netip.PrefixFrom(own, 24)}, []netip.Addr{h.address}
	}
	j.step(j.node, engine.LinkChanged{Link: l})
}

func (j *journey) step(h *post, ev engine.Event) {
	j.execute(h, h.machine.Step(j.now, ev))
	if at := h.machine.Deadline(); !at.IsZero() && !at.After(j.now.Mono) {
		j.t.Fatalf("%s: after %T the deadline is not in the future", h.name, ev)
	}
}

func (j *journey) later(d time.Duration, to, on *post, ev engine.Event) {
	j.after(d, delivery{to, on, ev})
}

func (j *journey) execute(h *post, actions []engine.Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case engine.Send:
			j.send(h, a)
		case engine.SendDiscovery:
			j.discover(h, a)
		case engine.Commit:
			if j.commits != nil {
				j.commits(h, a.Records)
			}
			for _, c := range a.Changes {
				h.entries.Apply(j.t, c)
			}
			j.execute(h, a.Then)
			if a.Ticket != 0 {
				j.later(0, h, nil, engine.Answer{Ticket: a.Ticket})
			}
		case engine.Ask:
			j.asked = append(j.asked, a.Question)
			if j.aaa != nil {
				g, err := j.aaa(a.Question)
				j.later(j.slow, h, nil, engine.Answer{Ticket: a.Ticket, Value: g, Err: err})
				continue
			}
			j.later(0, h, nil, engine.Answer{Ticket: a.Ticket, Err: fmt.Errorf("nobody knows")})
		case engine.Tell:
			h.notes = append(h.notes, a.Note)
		case engine.Result:
			h.results = append(h.results, a)
		}
	}
}

// discover carries a router discovery message over the link of one agent.
func (j *journey) discover(from *post, s engine.SendDiscovery) {
	on, to := from, j.node
	if from == j.node {
		on, to = j.at, j.at
	}
	if on == nil || on != j.at || from != j.node && s.HW != (engine.HardwareAddr{}) && s.HW != j.node.hw || to == j.home && to != on {
		return
	}
	link := "wlan0"
	if to != j.node {
		link = "eth1"
	}
	j.later(near, to, on, engine.Discovery{Link: link, Src: s.Src, Dst: s.Dst, TTL: 1, HW: from.hw, Data: slices.Clone(s.Data)})
}

// send carries a signalling datagram.
func (j *journey) send(from *post, s engine.Send) {
	ttl := s.TTL
	if ttl == 0 {
		ttl = 64
	}
	p := engine.Packet{Src: s.Src, Dst: s.Dst, TTL: ttl, Data: slices.Clone(s.Data)}
	if j.tap != nil {
		if p.Data = j.tap(from, p.Data); p.Data == nil {
			return
		}
	}
	j.log = append(j.log, fmt.Sprintf("%s %v>%v", from.name, s.Src.Addr(), s.Dst.Addr()))
	switch {
	case from == j.node && s.HW != (engine.HardwareAddr{}): // to an agent on the link
		if j.at != nil && j.at.hw == s.HW && !j.at.deaf {
			p.Link, p.HW, p.Src = "eth1", j.node.hw, netip.AddrPortFrom(s.Src.Addr(), 40434)
			j.later(near, j.at, j.at, p)
		}
	case from == j.node: // through the link's router
		if j.at != nil {
			p.Link, p.Src, p.TTL = "eth0", netip.AddrPortFrom(s.Src.Addr(), 40434), ttl-1
			j.later(near+far, j.home, nil, p)
		}
	case from != j.home && s.HW == j.node.hw: // from an agent on the link to the node
		p.Link, p.HW = "wlan0", from.hw
		j.later(near, j.node, from, p)
	case from != j.home && s.Dst.Addr() == j.lost:
	case from != j.home: // relayed
		p.Link = "eth0"
		j.later(far, j.home, nil, p)
	default:
		p.Link, p.Src = "eth0", netip.AddrPortFrom(agent, 434)
		for _, h := range j.hosts[1:3] {
			if s.Dst.Addr() == h.careOf {
				j.later(far, h, nil, p)
				return
			}
		}
		p.Link = "wlan0"
		j.later(far+near, j.node, j.at, p)
	}
}

func (j *journey) run(d time.Duration) {
	j.t.Helper()
	j.pass(j.t, d, func(d delivery) {
		// Who has left the link does not hear it any more.
		if d.on == nil || d.on == j.at {
			j.step(d.to, d.ev)
		}
	}, func() (at time.Time, wake func()) {
		for _, h := range j.hosts {
			at, wake = sooner(at, wake, h.machine.Deadline(), func() { j.step(h, engine.Wake{}) })
		}
		return at, wake
	})
}

func (j *journey) status() mn.Status {
	j.step(j.node, engine.Command{Ticket: 1, Value: mn.ShowStatus{}})
	return j.node.results[len(j.node.results)-1].Value.(mn.Status)
}

func (j *journey) trace() string {
	var b strings.Builder
	for _, h := range j.hosts {
		for _, n := range h.notes {
			fmt.Fprintln(&b, h.name, n)
		}
	}
	return b.String()
}

// only is the one entry that a host has for the node.
func (h *post) only() (forward.Entry, bool) {
	for _, k := range slices.Sorted(maps.Keys(h.entries)) {
		return h.entries[k], len(h.entries) == 1
	}
	return forward.Entry{}, false
}

// visits checks that all three agree that the node is registered with an
// agent's care-of address, and nobody else thinks otherwise.
func (j *journey) visits(h *post, form encap.Kind) {
	j.t.Helper()
	s := j.status()
	if s.State != "registered" || s.ForeignAgent != h.address || s.CareOfAddress != h.careOf {
		j.t.Fatalf("the node is %s with %v through %v\n%s", s.State, s.CareOfAddress, s.ForeignAgent, j.trace())
	}
	if e, ok := j.node.only(); !ok || e.Deliver != (forward.Deliver{Link: "wlan0", HW: h.hw, Via: h.address}) {
		j.t.Errorf("the node sends to %+v", e.Deliver)
	}
	e, ok := h.only()
	if !ok || e.Deliver.HW != j.node.hw || e.Deliver.Link != "eth1" || e.Inner.Addr() != s.HomeAddress {
		j.t.Errorf("%s delivers %+v", h.name, e)
	}
	there, ok := j.home.only()
	var sending []forward.Tunnel
	for _, t := range there.Tunnels {
		if t.Mode != forward.Receive {
			sending = append(sending, t)
		}
	}
	if !ok || len(sending) != 1 || sending[0].Peer.Addr() != h.careOf || sending[0].Encap != form {
		j.t.Errorf("the home agent sends to %+v", sending)
	}
	if len(e.Tunnels) == 0 || e.Tunnels[0].Encap != form || e.Tunnels[0].Local.Addr() != h.careOf || e.Tunnels[0].Peer.Addr() != agent {
		j.t.Errorf("%s receives from %+v", h.name, e.Tunnels)
	}
}

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

func count(h *post, k note.Kind) (n int) {
	for _, t := range h.notes {
		if t.Kind == k {
			n++
		}
	}
	return n
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
