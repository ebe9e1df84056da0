package mn_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"careof/internal/core/assoc"
	"careof/internal/core/engine"
	"careof/internal/core/forward"
	"careof/internal/proto/mip4/mn"
	"careof/wire/adv4"
	"careof/wire/encap"
	"careof/wire/mip4"
)

// Two foreign agents on one link.
var (
	agentA   = netip.MustParseAddr("192.0.2.1")
	agentB   = netip.MustParseAddr("192.0.2.2")
	careOfA  = netip.MustParseAddr("203.0.113.1")
	careOfA2 = netip.MustParseAddr("203.0.113.11")
	careOfB  = netip.MustParseAddr("203.0.113.2")
	hwA      = engine.HardwareAddr{2, 0, 0, 0, 0xa, 1}
	hwB      = engine.HardwareAddr{2, 0, 0, 0, 0xb, 1}
)

// An advert is an Agent Advertisement in the making.
type advert struct {
	adv4.Draft
	src netip.Addr
	hw  engine.HardwareAddr
	ttl uint8
}

// advertA is what the first agent says.
func advertA(change ...func(*advert)) engine.Discovery {
	a := advert{src: agentA, hw: hwA, ttl: 1, Draft: adv4.Draft{
		Lifetime: 30,
		Routers:  []adv4.Router{{Addr: agentA}},
		Agent: adv4.MobilityAgent{
			Sequence: 300, Lifetime: 600, Flags: adv4.FlagF | adv4.FlagT | adv4.FlagG | adv4.FlagM,
			CareOfAddresses: []netip.Addr{careOfA},
		},
	}}
	for _, c := range change {
		c(&a)
	}
	data, err := a.Append(nil)
	if err != nil {
		panic(err)
	}
	return engine.Discovery{Link: "wlan0", Src: a.src, Dst: netip.MustParseAddr("224.0.0.1"), TTL: a.ttl, HW: a.hw, Data: data}
}

// advertB is what the second one says.
func advertB(change ...func(*advert)) engine.Discovery {
	return advertA(append([]func(*advert){func(a *advert) {
		a.src, a.hw = agentB, hwB
		a.Routers[0].Addr, a.Agent.CareOfAddresses = agentB, []netip.Addr{careOfB}
	}}, change...)...)
}

func flags(f adv4.Flags) func(*advert)     { return func(a *advert) { a.Agent.Flags |= f } }
func sequence(n uint16) func(*advert)      { return func(a *advert) { a.Agent.Sequence = n } }
func lasting(s uint16) func(*advert)       { return func(a *advert) { a.Lifetime = s } }
func prefixes(l ...uint8) func(*advert)    { return func(a *advert) { a.Prefixes = l } }
func router(at netip.Addr) func(*advert)   { return func(a *advert) { a.Routers[0].Addr = at } }
func without(f adv4.Flags) func(*advert)   { return func(a *advert) { a.Agent.Flags &^= f } }
func maxLifetime(s uint16) func(*advert)   { return func(a *advert) { a.Agent.Lifetime = s } }
func careOf(l ...netip.Addr) func(*advert) { return func(a *advert) { a.Agent.CareOfAddresses = l } }

// foreign configures a node that may use any foreign agent.
func foreign(t testing.TB) mn.Config {
	cfg := config(t)
	cfg.ForeignAgents.Any = true
	return cfg
}

// bare is a link without an address.
func (r *rig) bare(name string, attachment uint64) []engine.Action {
	return r.step(engine.LinkChanged{Link: engine.Link{Name: name, Up: true, MTU: 1500, HW: engine.HardwareAddr{2, 0, 0, 0, 9, 9}, Attachment: attachment}})
}

// visiting makes a rig with a node that is registered through agentA.
func visiting(t testing.TB, cfg mn.Config) *rig {
	t.Helper()
	r := newRig(t, cfg)
	r.other = granting(-1)
	r.bare("wlan0", 1)
	r.step(advertA())
	r.run(100 * time.Millisecond)
	if s := r.status(); s.State != "registered" || s.ForeignAgent != agentA {
		t.Fatalf("the node is %s through %v", s.State, s.ForeignAgent)
	}
	return r
}

// The request through a foreign agent, field by field.
//
//rfc:5944#3.6.1.1
//rfc:5944#3.6.1.2
//rfc:3024#4.1.1
//rfc:3024#6.1-1
//rfc:5944#3.1-1
//rfc:5944#3.6.1.1-2
//rfc:5944#3.6.1.1-3
//rfc:5944#3.6.1.1-6
//rfc:5944#3.6.1.1-7
//rfc:5944#3.6.1.2-7
//rfc:5944#3.6.1.2-8
func TestRequestThroughAForeignAgent(t *testing.T) {
	for name, c := range map[string]struct {
		config func(*mn.Config)
		advert []func(*advert)
		flags  mip4.RequestFlags
		ttl    uint8
		life   uint16
		src    netip.Addr
	}{
		"as usual":                  {func(*mn.Config) {}, nil, mip4.FlagT, 255, 600, homeAddress},
		"no home address yet":       {func(c *mn.Config) { c.HomeAddress, c.NAI = netip.Addr{}, "van7@fleet.example" }, nil, mip4.FlagT, 255, 600, netip.IPv4Unspecified()},
		"the agent grants less":     {func(*mn.Config) {}, []func(*advert){maxLifetime(120)}, mip4.FlagT, 255, 120, homeAddress},
		"GRE, which is offered":     {func(c *mn.Config) { c.Encapsulation = encap.GRE }, nil, mip4.FlagT | mip4.FlagG, 255, 600, homeAddress},
		"GRE, which is not offered": {func(c *mn.Config) { c.Encapsulation = encap.GRE }, []func(*advert){without(adv4.FlagG)}, mip4.FlagT, 255, 600, homeAddress},
		"broadcasts":                {func(c *mn.Config) { c.Broadcast = true }, nil, mip4.FlagT | mip4.FlagB, 255, 600, homeAddress},
		"no reverse tunnel there":   {func(c *mn.Config) { c.ReverseTunnel = mn.ReversePreferred }, []func(*advert){without(adv4.FlagT)}, 0, 0, 600, homeAddress},
	} {
		cfg := foreign(t)
		c.config(&cfg)
		r := newRig(t, cfg)
		r.bare("wlan0", 1)
		r.step(advertA(c.advert...))
		if len(r.requests) != 1 {
			t.Errorf("%s: %d requests", name, len(r.requests))
			continue
		}
		q := r.last()
		if q.Link != "wlan0" || q.Dst != netip.AddrPortFrom(agentA, 434) || q.HW != hwA || q.Src.Addr() != c.src || q.TTL != c.ttl {
			t.Errorf("%s: sent over %s from %v to %v at %v, TTL %d", name, q.Link, q.Src, q.Dst, q.HW, q.TTL)
		}
		if q.request.CareOfAddress != careOfA || q.request.HomeAgent != homeAgent || q.request.Flags != c.flags || q.request.Lifetime != c.life {
			t.Errorf("%s: %+v", name, q.request)
		}
	}
}

// Accepted through a foreign agent, packets go plain to it and come plain.
//
//rfc:5944#4.2.1
//rfc:3024#5.1.1-1
//rfc:5944#3.6.2.2-1
func TestPacketsGoPlainToTheForeignAgent(t *testing.T) {
	r := visiting(t, foreign(t))
	e := r.entry()
	if want := (forward.Deliver{Link: "wlan0", HW: hwA, Via: agentA}); e.Deliver != want || !onlyWrapped(e) {
		t.Errorf("entry %+v", e)
	}
	if s := r.status(); s.CareOfAddress != careOfA || s.Encapsulation != "" || !s.ReverseTunnel || s.Registered[0].ForeignAgent != agentA {
		t.Errorf("status %+v", s)
	}
	// The agent goes: nothing goes to it any more.
	r.step(advertA(lasting(0)))
	if e := r.entry(); e.Deliver != (forward.Deliver{}) {
		t.Errorf("packets still go to an agent that withdrew: %+v", e)
	}
}

// So they do to a home agent that the network has assigned.
//
//rfc:4433#5.1.1
func TestAnAssignedHomeAgentGetsNoTunnelThroughAForeignAgent(t *testing.T) {
	r := newRig(t, foreign(t))
	r.node.Accepted.Add("assignment", "session", func(x *mn.Response) engine.Verdict {
		r.node.Anchor(x, homeAgent)
		return engine.Next()
	})
	r.other = granting(-1)
	r.bare("wlan0", 1)
	r.step(advertA())
	r.run(100 * time.Millisecond)
	if e := r.entry(); e.Deliver.Via != agentA || !onlyWrapped(e) {
		t.Errorf("entry %+v", e)
	}
}

// RFC 3024 section 5.2: the node tunnels to the agent itself, from its home
// address; an agent without that style says 79 and is asked for the direct one.
//
//rfc:3024#3.3
//rfc:3024#5.2
//rfc:3024#3.3-2
//rfc:3024#3.3-3
//rfc:3024#4.1.2-1
//rfc:3024#5.2.2-1
func TestEncapsulatingDelivery(t *testing.T) {
	cfg := foreign(t)
	cfg.ForeignAgents.EncapsulatingDelivery = true
	r := visiting(t, cfg)
	m := r.last().m
	if e := m.Exts[len(m.Exts)-1]; e.Type != mip4.ExtEncapsulatingDelivery {
		t.Errorf("the last extension is %v", e.Type)
	}
	e := r.entry()
	if len(e.Tunnels) != 2 || e.Tunnels[0].Local.Addr() != homeAddress || e.Tunnels[0].Peer.Addr() != agentA || e.Tunnels[0].Mode != forward.Both || e.Deliver.HW != hwA {
		t.Errorf("entry %+v", e)
	}
	// "MUST NOT be included if the 'T' bit is not set".
	plain := cfg
	plain.ReverseTunnel = mn.ReverseOff
	if _, n := visiting(t, plain).last().m.Find(mip4.ExtEncapsulatingDelivery); n != 0 {
		t.Error("asked for without the T bit")
	}
	r = newRig(t, cfg)
	r.other = func(r *rig, s engine.Send) []engine.Packet {
		if _, n := r.last().m.Find(mip4.ExtEncapsulatingDelivery); n > 0 {
			return []engine.Packet{r.reply(s, answer{code: mip4.CodeFADeliveryStyle, unsigned: true})}
		}
		return []engine.Packet{r.reply(s, answer{lifetime: -1})}
	}
	r.bare("wlan0", 1)
	r.step(advertA())
	r.run(time.Second)
	if s := r.status(); s.State != "registered" || len(r.requests) != 2 || !onlyWrapped(r.entry()) {
		t.Errorf("%s after %d requests, %+v", s.State, len(r.requests), r.entry())
	}
}

// An own address wins over a foreign agent; with the R bit its registration
// goes through the agent, with the D bit, and the tunnel stays the node's.
//
//rfc:5944#2.1.1
//rfc:5944#3.1
//rfc:5944#2.4.1
//rfc:5944#3.1-2
func TestOwnAddressAndForeignAgent(t *testing.T) {
	r := newRig(t, foreign(t))
	r.other = granting(-1)
	r.up("wlan0", wifiAddress)
	r.step(advertA())
	r.run(time.Second)
	if s := r.status(); s.CareOfAddress != wifiAddress || s.ForeignAgent.IsValid() || len(r.requests) != 1 {
		t.Fatalf("registered %v through %v", s.CareOfAddress, s.ForeignAgent)
	}
	r.step(advertA(flags(adv4.FlagR)))
	q := r.last()
	if q.Dst.Addr() != agentA || q.HW != hwA || q.Src.Addr() != wifiAddress || q.request.CareOfAddress != wifiAddress || !q.request.Flags.Has(mip4.FlagD|mip4.FlagT) {
		t.Fatalf("request to %v at %v: %+v", q.Dst, q.HW, q.request)
	}
	if got := r.tunnels(); got != "wlan0 ipip both" {
		t.Errorf("while it is asked: %s", got)
	}
	r.run(time.Second)
	s := r.status()
	if s.ForeignAgent != agentA || s.CareOfAddress != wifiAddress || r.tunnels() != "wlan0 ipip both" || len(s.Registered) != 1 {
		t.Errorf("%v through %v, %s", s.CareOfAddress, s.ForeignAgent, r.tunnels())
	}
	if e := r.entry(); e.Deliver != (forward.Deliver{}) {
		t.Errorf("packets go to %+v", e.Deliver)
	}
	// The address goes; the agent lends its own.
	r.bare("wlan0", 0)
	r.run(time.Second)
	if s := r.status(); s.CareOfAddress != careOfA || r.entry().Deliver.HW != hwA {
		t.Errorf("%v through %v", s.CareOfAddress, s.ForeignAgent)
	}
	// It comes back.
	r.up("wlan0", wifiAddress)
	r.run(3 * time.Second)
	if s := r.status(); s.CareOfAddress != wifiAddress || s.ForeignAgent != agentA || r.tunnels() != "wlan0 ipip both" {
		t.Errorf("%v through %v, %s", s.CareOfAddress, s.ForeignAgent, r.tunnels())
	}
}

// An own address over which nobody answers gives way to a foreign agent.
func TestOwnAddressWithoutAnswerGivesWay(t *testing.T) {
	r := newRig(t, foreign(t))
	r.other = func(r *rig, s engine.Send) []engine.Packet {
		if s.Dst.Addr() == agentA {
			return []engine.Packet{r.reply(s, answer{lifetime: -1})}
		}
		return nil
	}
	r.up("wlan0", wifiAddress)
	r.step(advertA())
	r.run(4 * time.Second)
	if s := r.status(); s.State != "registered" || s.ForeignAgent != agentA || s.CareOfAddress != careOfA {
		t.Errorf("%s with %v through %v", s.State, s.CareOfAddress, s.ForeignAgent)
	}
}

// Without a home address the reply brings one, addressed to it before it is
// configured (RFC 2794).
//
//rfc:2794#3
//rfc:5944#3.6.1.1
func TestHomeAddressThroughAForeignAgent(t *testing.T) {
	cfg := foreign(t)
	cfg.HomeAddress, cfg.NAI = netip.Addr{}, "van7@fleet.example"
	r := newRig(t, cfg)
	r.other = func(r *rig, s engine.Send) []engine.Packet {
		p := r.reply(s, answer{lifetime: -1, change: func(p *mip4.RegistrationReply) { p.HomeAddress = homeAddress }})
		p.Dst = netip.AddrPortFrom(homeAddress, 40000)
		return []engine.Packet{p}
	}
	r.bare("wlan0", 1)
	r.step(advertA(lasting(1000)))
	r.run(time.Second)
	if e := r.entry(); e.Inner.Addr() != homeAddress || e.Deliver.HW != hwA {
		t.Errorf("entry %+v", e)
	}
	r.run(8 * time.Minute)
	if q := r.last(); q.Src.Addr() != homeAddress || q.request.HomeAddress != homeAddress {
		t.Errorf("renewed from %v for %v", q.Src, q.request.HomeAddress)
	}
}

// Deregistration through the agent: all, by the operator's order.
//
//rfc:5944#3.6.1.2
//rfc:5944#3.6.1.2-2
func TestDeregisterThroughAForeignAgent(t *testing.T) {
	r := visiting(t, foreign(t))
	r.step(engine.Command{Ticket: 5, Value: mn.Deregister{}})
	q := r.last()
	if q.Dst.Addr() != agentA || q.HW != hwA || q.request.Lifetime != 0 || q.request.CareOfAddress != homeAddress || q.request.Flags.Has(mip4.FlagD) {
		t.Errorf("request to %v: %+v", q.Dst, q.request)
	}
	r.run(time.Second)
	if s := r.status(); s.State != "deregistered" || r.entry().Deliver != (forward.Deliver{}) {
		t.Errorf("%s, %+v", s.State, r.entry())
	}
	n := len(r.solicited)
	r.step(advertA(lasting(0)))
	r.run(time.Minute)
	if len(r.solicited) != n {
		t.Error("solicits although the operator deregistered the node")
	}
}

// Home is where the home agent advertises: on the configured home link at any
// time, elsewhere only when nothing else works.
//
//rfc:5944#2.4.3
func TestHomeAgentAdvertisesAtHome(t *testing.T) {
	home := func(d func(...func(*advert)) engine.Discovery, link string) engine.Discovery {
		v := d(func(a *advert) { a.src, a.Agent.Flags = homeAgent, adv4.FlagH }, careOf(), router(homeAgent))
		v.Link = link
		return v
	}
	cfg := foreign(t)
	cfg.HomeNetwork, cfg.HomeLink = homeNetwork, "eth0"
	r := newRig(t, cfg)
	r.other = granting(-1)
	r.up("wlan0", wifiAddress)
	r.run(time.Second)
	r.step(home(advertA, "wlan0"))
	if r.status().State != "registered" {
		t.Error("somebody on another link says he is the home agent, and is believed")
	}
	r.bare("eth0", 1)
	r.step(home(advertA, "eth0"))
	q := r.last()
	if q.Link != "eth0" || q.request.Lifetime != 0 || q.request.CareOfAddress != homeAddress || q.Src.Addr() != homeAddress {
		t.Fatalf("no deregistration from home: %v over %s", q.request, q.Link)
	}
	r.run(time.Second)
	if s := r.status(); s.State != "home" || r.entry().HomeLink != "eth0" {
		t.Errorf("%s, home link %q", s.State, r.entry().HomeLink)
	}
	// Nothing but the home address is there: the way out is what the
	// advertisement names. With an address the link has its own routes.
	if d := r.entry().Deliver; d != (forward.Deliver{Link: "eth0", Via: homeAgent}) {
		t.Errorf("the way out is %+v", d)
	}
	r.up("eth0", netip.MustParseAddr("10.10.0.50"))
	r.run(time.Second)
	if e := r.entry(); e.HomeLink != "eth0" || e.Deliver != (forward.Deliver{}) {
		t.Errorf("with an address: %+v", e)
	}
	r.bare("eth0", 1)
	r.run(time.Second)
	// The home agent falls silent: not at home any more.
	r.run(time.Minute)
	if s := r.status(); s.State != "registered" || s.Link != "wlan0" {
		t.Errorf("%s over %s", s.State, s.Link)
	}
}

// After a restart the visit goes on: the agent is known until it is heard, or
// ten seconds are over.
func TestRestartWithAForeignAgent(t *testing.T) {
	for _, heard := range []bool{true, false} {
		r := visiting(t, foreign(t))
		r.run(20 * time.Second)
		r.boot(foreign(t))
		for e := range r.node.Entries() {
			if e.Deliver.HW != hwA || e.Deliver.Via != agentA {
				t.Errorf("restored %+v", e)
			}
		}
		n := len(r.requests)
		r.bare("wlan0", 5)
		if len(r.requests) != n+1 || r.last().HW != hwA || r.last().Dst.Addr() != agentA {
			t.Fatalf("%d requests after the restart", len(r.requests)-n)
		}
		if heard {
			r.step(advertA(sequence(2)))
		}
		r.run(15 * time.Second)
		want := "registered"
		if !heard {
			want = "idle"
		}
		if s := r.status(); s.State != want {
			t.Errorf("heard %v: %s", heard, s.State)
		}
	}
}

// A home agent that is looked for is asked through the agent: the broadcast
// address stays in the field.
//
//rfc:5944#3.6.1.2
//rfc:5944#3.6.1.1-9
func TestDiscoveryThroughAForeignAgent(t *testing.T) {
	cfg := foreign(t)
	cfg.HomeNetwork, cfg.HomeAgents = homeNetwork, nil
	r := newRig(t, cfg)
	r.bare("wlan0", 1)
	r.step(advertA())
	if q := r.last(); q.Dst.Addr() != agentA || q.request.HomeAgent != netip.MustParseAddr("10.10.0.255") {
		t.Errorf("sent to %v for %v", q.Dst, q.request.HomeAgent)
	}
}

// Nonces are retransmitted unchanged, to the same agent.
//
//rfc:5944#3.6.3
func TestNoncesThroughAForeignAgent(t *testing.T) {
	cfg := foreign(t)
	cfg.Association = association(t, assoc.Nonces)
	r := newRig(t, cfg)
	r.bare("wlan0", 1)
	r.step(advertA())
	r.run(1500 * time.Millisecond)
	if len(r.requests) != 2 || !slices.Equal(r.requests[0].Data, r.requests[1].Data) ||
		r.requests[1].HW != hwA || r.requests[1].Src != r.requests[0].Src || r.requests[1].TTL != r.requests[0].TTL {
		t.Errorf("requests %+v", r.requests)
	}
}

// onlyWrapped says that nothing is tunnelled but what the home agent wraps for
// the home address: broadcasts and multicasts.
//
//rfc:5944#4.3
//rfc:5944#4.4
func onlyWrapped(e forward.Entry) bool {
	return len(e.Tunnels) == 1 && e.Tunnels[0].Local.Addr() == homeAddress && e.Tunnels[0].Peer.Addr() == homeAgent &&
		e.Tunnels[0].Encap == encap.IPIP && e.Tunnels[0].Mode == forward.Receive
}

// What leaves beside the tunnel: nothing, a selection, or everything when there
// is no reverse tunnel.
//
//rfc:3024#5.4
func TestWhatLeavesDirectly(t *testing.T) {
	printer := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	everything := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	for name, c := range map[string]struct {
		change func(*mn.Config)
		flags  mip4.RequestFlags
		direct []netip.Prefix
		mode   forward.Mode
	}{
		"as usual":                   {func(*mn.Config) {}, mip4.FlagT, nil, forward.Both},
		"a selection":                {func(c *mn.Config) { c.Direct = printer }, mip4.FlagT, printer, forward.Both},
		"no reverse tunnel is asked": {func(c *mn.Config) { c.ReverseTunnel = mn.ReverseOff }, 0, everything, forward.Receive},
	} {
		cfg := config(t)
		c.change(&cfg)
		r := newRig(t, cfg)
		r.other = granting(-1)
		r.up("wlan0", wifiAddress)
		r.run(time.Second)
		if f := r.last().request.Flags & mip4.FlagT; f != c.flags {
			t.Errorf("%s: flags %v", name, r.last().request.Flags)
		}
		if e := r.entry(); !slices.Equal(e.Direct, c.direct) || len(e.Tunnels) != 1 || e.Tunnels[0].Mode != c.mode || e.LocalGroups {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// A foreign agent on the home network, even one that requires registration, is
// nobody for a node at home: it deregisters and needs no mobility services.
//
//rfc:5944#2.4.3
//rfc:5944#1.6
//rfc:5944#3.1-4
func TestForeignAgentOnTheHomeNetwork(t *testing.T) {
	cfg := foreign(t)
	cfg.HomeNetwork = homeNetwork
	r := newRig(t, cfg)
	r.other = granting(-1)
	r.up("wlan0", netip.MustParseAddr("10.10.0.50"))
	r.step(advertA(flags(adv4.FlagR), router(netip.MustParseAddr("10.10.0.2")), prefixes(24)))
	r.run(time.Minute)
	for _, q := range r.requests {
		if q.request.Lifetime != 0 || q.Dst.Addr() != homeAgent {
			t.Errorf("asks %v: %+v", q.Dst, q.request)
		}
	}
	if s := r.status(); s.State != "home" || r.entry().HomeLink != "wlan0" {
		t.Errorf("%s, home link %q", s.State, r.entry().HomeLink)
	}
}
