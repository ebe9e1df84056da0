package mn_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/engine"
	"careof/internal/core/note"
	"careof/internal/proto/mip4/mn"
	"careof/wire/adv4"
)

// What is no advertisement of a neighbour leaves no trace.
//
//rfc:5944#2.1
//rfc:5944#2.4
//rfc:1256#5.2-1
//rfc:1256#5.2-2
func TestBadAdvertisements(t *testing.T) {
	spoil := func(change func(*engine.Discovery)) engine.Discovery {
		d := advertA()
		change(&d)
		return d
	}
	for name, d := range map[string]engine.Discovery{
		"from afar":                spoil(func(d *engine.Discovery) { d.TTL = 255 }),
		"TTL unknown":              spoil(func(d *engine.Discovery) { d.TTL = 0 }),
		"no link-layer source":     spoil(func(d *engine.Discovery) { d.HW = engine.HardwareAddr{} }),
		"link-layer group source":  spoil(func(d *engine.Discovery) { d.HW = engine.HardwareAddr{0xff, 0xff} }),
		"source is a group":        spoil(func(d *engine.Discovery) { d.Src = netip.MustParseAddr("224.0.0.1") }),
		"source is unspecified":    spoil(func(d *engine.Discovery) { d.Src = netip.IPv4Unspecified() }),
		"wrong checksum":           spoil(func(d *engine.Discovery) { d.Data[2] ^= 1 }),
		"cut short":                spoil(func(d *engine.Discovery) { d.Data = d.Data[:17] }),
		"link that is not used":    spoil(func(d *engine.Discovery) { d.Link = "eth7" }),
		"a solicitation":           spoil(func(d *engine.Discovery) { d.Data = adv4.AppendSolicitation(nil) }),
		"extension not understood": advertA(func(a *advert) { a.More = []adv4.Payload{&adv4.Experimental{Data: []byte{1}}} }),
		"withdrawn at once":        advertA(lasting(0)),
		"home agent alone":         advertA(careOf(), func(a *advert) { a.Agent.Flags = adv4.FlagH }),
		"busy":                     advertA(flags(adv4.FlagB)),
		"no reverse tunnel":        advertA(without(adv4.FlagT)),
		"care-of address no use":   advertA(careOf(netip.MustParseAddr("127.0.0.1"))),
	} {
		r := newRig(t, foreign(t))
		r.bare("wlan0", 1)
		r.step(d)
		r.run(time.Second)
		if len(r.requests) != 0 {
			t.Errorf("%s: registers through %v", name, r.last().Dst)
		}
	}
	// What may be unknown is skipped.
	r := newRig(t, foreign(t))
	r.bare("wlan0", 1)
	r.step(advertA(func(a *advert) { a.More = []adv4.Payload{&adv4.Experimental{Skippable: true, Data: []byte{1}}} }))
	if len(r.requests) != 1 {
		t.Error("a skippable extension made the advertisement useless")
	}
}

// An advertisement with an agent's address and another station's link-layer
// source is not that agent's (RFC 3543 section 6.1, threat T11).
func TestAnotherStationWithAnAgentsAddress(t *testing.T) {
	r := visiting(t, foreign(t))
	n := len(r.requests)
	r.step(advertA(func(a *advert) { a.hw = hwB }))
	r.step(advertA(func(a *advert) { a.hw = hwB }, lasting(0)))
	if e := r.entry(); e.Deliver.HW != hwA || len(r.requests) != n {
		t.Errorf("the station took the agent's place: %+v", e.Deliver)
	}
}

// foreign-agents: any, none, or a list of agents or care-of addresses.
func TestWhichForeignAgentsMayBeUsed(t *testing.T) {
	for name, c := range map[string]struct {
		policy mn.ForeignAgents
		want   netip.Addr // care-of address
	}{
		"none":                      {mn.ForeignAgents{}, netip.Addr{}},
		"any":                       {mn.ForeignAgents{Any: true}, careOfA},
		"the second by its address": {mn.ForeignAgents{Allow: []netip.Addr{agentB}}, careOfB},
		"the second by its care-of": {mn.ForeignAgents{Allow: []netip.Addr{careOfB}}, careOfB},
		"somebody else":             {mn.ForeignAgents{Allow: []netip.Addr{homeAgent}}, netip.Addr{}},
		"one with an association":   {mn.ForeignAgents{Any: true, Associations: []mn.ForeignAssociation{{Address: agentB, Association: mobileForeign(t)}}}, careOfB},
	} {
		cfg := config(t)
		cfg.ForeignAgents = c.policy
		r := newRig(t, cfg)
		r.step(engine.LinkChanged{Link: engine.Link{Name: "wlan0"}})
		r.bare("wlan0", 1)
		r.other = granting(-1)
		r.step(advertA())
		r.step(advertB())
		r.run(5 * time.Second)
		var got netip.Addr
		if len(r.requests) > 0 {
			got = r.last().request.CareOfAddress
		}
		if got != c.want {
			t.Errorf("%s: registers %v, want %v", name, got, c.want)
		}
		if (len(r.solicited) > 0) != (name != "none") {
			t.Errorf("%s: %d solicitations", name, len(r.solicited))
		}
	}
}

// Anybody can invent agents: few are remembered, and the one in use stays.
func TestInventedAgentsAreBounded(t *testing.T) {
	r := visiting(t, foreign(t))
	n := len(r.requests)
	for i := range 1000 {
		at := netip.AddrFrom4([4]byte{192, 0, 3, byte(i%250 + 1)})
		r.step(advertA(func(a *advert) { a.src, a.hw = at, engine.HardwareAddr{2, byte(i >> 8), byte(i)} }, router(at), careOf(at)))
	}
	r.step(engine.Command{Ticket: 1, Value: mn.ListAgents{}})
	list := r.results[len(r.results)-1].Value.([]mn.AgentInfo)
	if len(list) > 8 || !slices.ContainsFunc(list, func(a mn.AgentInfo) bool { return a.Address == agentA && a.InUse }) || len(r.requests) != n {
		t.Errorf("%d agents, %d requests", len(list), len(r.requests)-n)
	}
}

// Solicitation: at once when a link comes up, three at most one a second, then
// ever less often, up to a minute; not at all while an agent or an own address
// is there.
//
//rfc:5944#2.4
//rfc:5944#2.2
//rfc:5944#2.4-2
//rfc:5944#2.4.2.1-3
//rfc:1256#5.3-2
//rfc:1256#5.3-5
//rfc:1256#5.3-8
//rfc:1256#5.3-9
func TestSolicitation(t *testing.T) {
	r := newRig(t, foreign(t))
	r.bare("wlan0", 1)
	if len(r.solicited) != 1 {
		t.Fatalf("%d solicitations at once", len(r.solicited))
	}
	if s := r.solicited[0]; s.Dst != netip.MustParseAddr("224.0.0.2") || s.Src != homeAddress || s.Link != "wlan0" {
		t.Errorf("solicits from %v to %v over %s", s.Src, s.Dst, s.Link)
	}
	r.run(20 * time.Minute)
	var gaps []time.Duration
	for i := 1; i < len(r.solicited); i++ {
		gaps = append(gaps, r.solicited[i].at.Sub(r.solicited[i-1].at))
	}
	for i, least := range []time.Duration{1, 1, 2, 4, 8, 16, 32, 64, 64, 64} {
		if i >= len(gaps) || gaps[i] < least*time.Second || gaps[i] > least*time.Second*5/4 {
			t.Fatalf("gaps %v", gaps)
		}
	}
	n := len(r.solicited)
	r.step(advertA())
	r.run(25 * time.Second)
	r.step(advertA())
	r.run(25 * time.Second)
	if len(r.solicited) != n {
		t.Error("solicits although an agent is heard")
	}
	// The agent falls silent: the search begins anew, and fast.
	r.run(20 * time.Second)
	if len(r.solicited) < n+3 {
		t.Errorf("%d solicitations after the agent fell silent", len(r.solicited)-n)
	}
	// With an address of its own the node looks for nobody.
	n = len(r.solicited)
	r.other = granting(-1)
	r.up("wlan0", wifiAddress)
	r.run(5 * time.Minute)
	if len(r.solicited) != n {
		t.Errorf("%d solicitations with an own address", len(r.solicited)-n)
	}
	// A flapping link makes few.
	for i := range 1000 {
		r.bare("wlan0", uint64(i+10))
		r.run(10 * time.Millisecond)
	}
	if got := len(r.solicited) - n; got > 16 {
		t.Errorf("%d solicitations in 10 seconds on a flapping link", got)
	}
}

// An announced move between agents costs registration time: the solicitation
// leaves with the link event, and the request with the agent's answer.
//
//rfc:5944#2.4.2
//rfc:5944#2.4.2-1
func TestAnnouncedMoveBetweenAgents(t *testing.T) {
	r := visiting(t, foreign(t))
	r.near = time.Millisecond
	r.router = func(*rig, engine.SendDiscovery) []engine.Discovery { return []engine.Discovery{advertB()} }
	r.run(7 * time.Second)
	began := r.now.Mono
	r.bare("wlan0", 2)
	r.run(200 * time.Millisecond)
	s := r.status()
	if s.State != "registered" || s.ForeignAgent != agentB || !r.last().at.Equal(began.Add(2*time.Millisecond)) {
		t.Errorf("%s through %v; asked %v after the move", s.State, s.ForeignAgent, r.last().at.Sub(began))
	}
	if r.entry().Deliver.HW != hwB {
		t.Errorf("packets go to %v", r.entry().Deliver)
	}
}

// Without link events the node moves when its agent was not heard for the
// lifetime that it advertised, and not because another one is heard.
//
//rfc:5944#2.4.2.1
//rfc:5944#3.6
//rfc:5944#3.6-5
func TestUnannouncedMove(t *testing.T) {
	r := visiting(t, foreign(t))
	n := len(r.requests)
	r.run(10 * time.Second)
	r.step(advertB())
	r.run(15 * time.Second)
	r.step(advertB())
	if len(r.requests) != n {
		t.Fatal("a new agent made the node move while the old one is valid")
	}
	r.run(4 * time.Second)
	if len(r.requests) != n {
		t.Error("moved before the lifetime was over")
	}
	r.run(2 * time.Second)
	if s := r.status(); s.State != "registered" || s.ForeignAgent != agentB {
		t.Errorf("%s through %v", s.State, s.ForeignAgent)
	}
}

// "The Agent Advertisement on which the new registration is based MUST NOT have
// expired": an agent that was heard once, and not for as long as it said, is no
// way out when another one falls silent.
//
//rfc:5944#2.4.2.2-3
func TestAnExpiredAdvertisementIsNoBasis(t *testing.T) {
	r := visiting(t, foreign(t))
	r.step(advertB(lasting(5)))
	r.run(time.Minute)
	for _, q := range r.requests {
		if q.Dst.Addr() == agentB {
			t.Fatalf("asks %v after %v", agentB, q.at.Sub(start.Mono))
		}
	}
}

// Prefixes tell of a move when both agents say theirs, and only then.
//
//rfc:5944#2.4.2.2
func TestPrefixesTellOfAMove(t *testing.T) {
	other := netip.MustParseAddr("198.18.7.1")
	for name, c := range map[string]struct {
		first, second []func(*advert)
		moves         bool
	}{
		"both, other networks":      {[]func(*advert){prefixes(24)}, []func(*advert){prefixes(24), router(other)}, true},
		"both, the same network":    {[]func(*advert){prefixes(24)}, []func(*advert){prefixes(24)}, false},
		"only the new one":          {nil, []func(*advert){prefixes(24), router(other)}, false},
		"only the old one":          {[]func(*advert){prefixes(24)}, []func(*advert){router(other)}, false},
		"prefixes without a router": {[]func(*advert){prefixes(24)}, []func(*advert){func(a *advert) { a.Routers, a.Prefixes = nil, []uint8{} }}, false},
	} {
		r := visiting(t, foreign(t))
		r.step(advertA(c.first...))
		r.step(advertB(c.second...))
		r.run(time.Second)
		if got := r.status().ForeignAgent == agentB; got != c.moves {
			t.Errorf("%s: moved %v", name, got)
		}
	}
}

// Two networks on one link, with an agent each: the node does not go to and
// fro, since it hears the one that it is registered with all the time.
//
//rfc:5944#3.6-5
//rfc:5944#2.4.2.2
func TestTwoNetworksOnOneLink(t *testing.T) {
	other := netip.MustParseAddr("198.18.7.1")
	a, b := advertA(prefixes(24)), advertB(prefixes(24), router(other))
	r := visiting(t, foreign(t))
	n := len(r.requests)
	for range 30 {
		r.step(a)
		r.run(5 * time.Second)
		r.step(b)
		r.run(5 * time.Second)
	}
	if got := len(r.requests) - n; got > 1 {
		t.Errorf("%d requests in five minutes", got)
	}
	// When its agent falls silent the node moves, and prefixes count again.
	for range 5 {
		r.step(a)
		r.run(10 * time.Second)
	}
	if s := r.status(); s.State != "registered" || s.ForeignAgent != agentA {
		t.Errorf("%s through %v", s.State, s.ForeignAgent)
	}
	r.step(b)
	r.run(time.Second)
	if s := r.status(); s.ForeignAgent != agentB {
		t.Errorf("after a move it is registered through %v", s.ForeignAgent)
	}
}

// With an address of its own on the link the node compares that one's network,
// and asks its home agent once whether it still holds.
//
//rfc:5944#2.4.2.2-2
func TestPrefixesAndAnOwnAddress(t *testing.T) {
	other := router(netip.MustParseAddr("198.18.7.1"))
	for name, c := range map[string]struct {
		advert []func(*advert)
		want   int // requests
	}{
		"another network":  {[]func(*advert){prefixes(24), other}, 1},
		"the same network": {[]func(*advert){prefixes(24)}, 0},
		"no prefixes":      {[]func(*advert){other}, 0},
	} {
		r := newRig(t, foreign(t))
		r.other = granting(-1)
		r.up("wlan0", wifiAddress)
		r.run(10 * time.Second)
		n := len(r.requests)
		for range 20 {
			r.step(advertA(c.advert...))
			r.run(10 * time.Second)
		}
		if got := len(r.requests) - n; got != c.want {
			t.Errorf("%s: %d requests, want %d", name, got, c.want)
		}
		if s := r.status(); s.State != "registered" || s.CareOfAddress != wifiAddress {
			t.Errorf("%s: %s with %v", name, s.State, s.CareOfAddress)
		}
	}
}

// A foreign agent that starts again has lost its visitors: the sequence number
// tells, and rolls over to 256.
//
//rfc:5944#2.4.4
//rfc:5944#3.6-4
func TestForeignAgentReboots(t *testing.T) {
	for name, c := range map[string]struct {
		first, second uint16
		again         bool
	}{
		"goes on":                {300, 301, false},
		"rolls over":             {0xffff, 256, false},
		"starts again":           {300, 0, true},
		"starts again, one lost": {300, 3, true},
		"goes back above 255":    {300, 280, false},
	} {
		r := visiting(t, foreign(t))
		r.step(advertA(sequence(c.first)))
		r.run(5 * time.Second)
		n := len(r.requests)
		r.step(advertA(sequence(c.second)))
		if got := len(r.requests) > n; got != c.again {
			t.Errorf("%s: registers again %v", name, got)
		}
	}
	// Another agent's restart is nothing to the node, and a liar who restarts
	// all the time gets one request a second.
	r := visiting(t, foreign(t))
	r.run(5 * time.Second)
	n := len(r.requests)
	for i := range 100 {
		r.step(advertB(sequence(uint16(300 * (i % 2)))))
	}
	if len(r.requests) != n {
		t.Error("another agent's restart made the node register")
	}
	for i := range 1000 {
		r.step(advertA(sequence(uint16(300 * (i % 2)))))
		r.run(10 * time.Millisecond)
	}
	if got := len(r.requests) - n; got > 15 {
		t.Errorf("%d requests in 10 seconds", got)
	}
}

// A bogus agent that wants all registrations and swallows them interrupts
// nothing: the registration that works is kept until another one does.
func TestBogusAgentInterruptsNothing(t *testing.T) {
	r := newRig(t, foreign(t))
	r.other = func(r *rig, s engine.Send) []engine.Packet {
		if s.Dst.Addr() == agentA {
			return nil
		}
		return []engine.Packet{r.reply(s, answer{lifetime: -1})}
	}
	r.up("wlan0", wifiAddress)
	r.run(time.Second)
	for i := range 600 {
		if i%5 == 0 {
			r.step(advertA(flags(adv4.FlagR)))
		}
		r.run(time.Second)
		if got := r.tunnels(); got != "wlan0 ipip both" {
			t.Fatalf("after %d s: %s", i, got)
		}
	}
	if r.count(note.Lost) != 0 || r.count(note.Registered) < 2 {
		t.Errorf("lost %d times, registered %d times", r.count(note.Lost), r.count(note.Registered))
	}
	// The agent is asked ever less often.
	asked := 0
	for _, s := range r.requests {
		if s.Dst.Addr() == agentA {
			asked++
		}
	}
	if asked > 30 {
		t.Errorf("the agent was asked %d times in ten minutes", asked)
	}
}
